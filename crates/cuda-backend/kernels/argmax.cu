// ARGMAX: the i32 position of the first largest element of each row of f32. NaNs never win.
//
// dst holds one i32 per row of x, one after the other. Block 256, one row at a time; grid x: rows of x.
#include "common.cuh"

// The better of two candidates: the larger value, of equal ones the smaller position; -1 = none.
DEVICE void better(float & value, int & at, float other, int other_at) {
    if (other_at >= 0 && (at < 0 || other > value || (other == value && other_at < at))) {
        value = other;
        at = other_at;
    }
}

KERNEL(argmax, 256, Tensor dst, Tensor x) {
    __shared__ float values[8];
    __shared__ int places[8];
    const int64_t rows = n_rows(x);
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const float * from = (const float *) row_of(x, row);
        float value = 0.0f;
        int at = -1;
        for (int i = threadIdx.x; i < x.ne[0]; i += 256) {
            if (from[i] == from[i]) better(value, at, from[i], i);
        }
        for (int mask = 16; mask > 0; mask >>= 1) {
            const float other = shuffle_xor(value, mask);
            better(value, at, other, shuffle_xor(at, mask));
        }
        if (threadIdx.x % 32 == 0) {
            values[threadIdx.x / 32] = value;
            places[threadIdx.x / 32] = at;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int i = 1; i < 8; i++) better(value, at, values[i], places[i]);
            ((int32_t *) dst.data)[row] = at < 0 ? 0 : at;
        }
        __syncthreads();
    }
}
