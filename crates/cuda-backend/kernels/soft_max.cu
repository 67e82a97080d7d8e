// SOFT_MAX: softmax(x * scale + slope * mask) per row, with an optional sink per head that takes a share.
//
// x and dst f32 [n, rows, heads, ..]; mask [n, >= rows, ..] in f16 or f32, repeated over heads. Block 256, one row
// at a time; grid x: rows. Scores are computed three times rather than kept. dst may be x. A row without any
// finite score becomes NaN, as it does on the CPU.
#include "common.cuh"

KERNEL(soft_max, 256, Tensor dst, Tensor x, Tensor mask, int32_t mask_is_f16, const float * sinks, float scale,
       float max_bias) {
    __shared__ float space[2][32];
    const int64_t rows = n_rows(dst), n = dst.ne[0];
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const int64_t i1 = row % dst.ne[1], i2 = row / dst.ne[1] % dst.ne[2], i3 = row / dst.ne[1] / dst.ne[2];
        const float * from = (const float *) row_of(x, row);
        float * to = (float *) row_of(dst, row);
        const float slope = alibi_slope((int) i2, (int) dst.ne[2], max_bias);
        const char * bias = mask.data ? mask.data + i1 * mask.nb[1] + i2 % mask.ne[2] * mask.nb[2] +
                                            i3 % mask.ne[3] * mask.nb[3]
                                      : nullptr;
        auto score = [&](int64_t i) {
            const float s = from[i] * scale;
            if (!bias) return s;
            return s + slope * (mask_is_f16 ? f16_to_f32(((const uint16_t *) bias)[i]) : ((const float *) bias)[i]);
        };
        float top = sinks ? sinks[i2] : -INFINITY;
        for (int64_t i = threadIdx.x; i < n; i += 256) top = fmaxf(top, score(i));
        top = block_max(top, space[0]);
        float sum = 0.0f;
        for (int64_t i = threadIdx.x; i < n; i += 256) sum += expf(score(i) - top);
        sum = block_sum(sum, space[1]);
        if (sinks) sum += expf(sinks[i2] - top);
        const float share = 1.0f / sum;
        for (int64_t i = threadIdx.x; i < n; i += 256) to[i] = expf(score(i) - top) * share;
        __syncthreads();
    }
}
