// RMS_NORM and NORM, plain or with the weight and bias that follow them. Bound by latency: rows are few.
//
// Block 256, one row at a time; grid x: rows. Weights and biases are repeated over rows as for MUL and ADD, but
// have as many elements as a row. dst may be x.
#include "common.cuh"

template <bool kCenter, bool kMul, bool kAdd> DEVICE void normalise(const Tensor & dst, const Tensor & x,
                                                                    const Tensor * weight, const Tensor * bias,
                                                                    float eps) {
    __shared__ float space[2][32];
    const int64_t rows = n_rows(dst), n = dst.ne[0];
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const float * from = (const float *) row_of(x, row);
        float * to = (float *) row_of(dst, row);
        float mean = 0.0f;
        if (kCenter) {
            float sum = 0.0f;
            for (int64_t i = threadIdx.x; i < n; i += 256) sum += from[i];
            mean = block_sum(sum, space[0]) / n;
        }
        float squares = 0.0f;
        for (int64_t i = threadIdx.x; i < n; i += 256) {
            const float v = from[i] - mean;
            squares += v * v;
        }
        const float scale = 1.0f / sqrtf(block_sum(squares, space[1]) / n + eps);
        const float * w = kMul ? (const float *) repeated_row_of(*weight, dst, row) : nullptr;
        const float * b = kAdd ? (const float *) repeated_row_of(*bias, dst, row) : nullptr;
        for (int64_t i = threadIdx.x; i < n; i += 256) {
            float v = (from[i] - mean) * scale;
            if (kMul) v *= w[i];
            if (kAdd) v += b[i];
            to[i] = v;
        }
        // The next row's sums go to the same places.
        __syncthreads();
    }
}

KERNEL(rms_norm, 256, Tensor dst, Tensor x, float eps) {
    normalise<false, false, false>(dst, x, nullptr, nullptr, eps);
}
KERNEL(rms_norm_mul, 256, Tensor dst, Tensor x, Tensor weight, float eps) {
    normalise<false, true, false>(dst, x, &weight, nullptr, eps);
}
KERNEL(rms_norm_mul_add, 256, Tensor dst, Tensor x, Tensor weight, Tensor bias, float eps) {
    normalise<false, true, true>(dst, x, &weight, &bias, eps);
}
KERNEL(layer_norm, 256, Tensor dst, Tensor x, float eps) {
    normalise<true, false, false>(dst, x, nullptr, nullptr, eps);
}
KERNEL(layer_norm_mul_add, 256, Tensor dst, Tensor x, Tensor weight, Tensor bias, float eps) {
    normalise<true, true, true>(dst, x, &weight, &bias, eps);
}
