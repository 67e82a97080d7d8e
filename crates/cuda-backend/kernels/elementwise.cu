// ADD, MUL (b repeated to a's shape in every dimension) and SCALE, on f32 rows. Bound by bytes.
//
// Block 256; grid x: 4 elements per thread. dst may be an operand of its layout.
#include "common.cuh"

template <typename F> DEVICE void binary(const Tensor & dst, const Tensor & a, const Tensor & b, F f) {
    const int64_t n = dst.ne[0], total = n * n_rows(dst);
    const bool dense = is_dense(dst, 4) && is_dense(a, 4);
    // As dst, or one row for all of them: what residuals and biases are.
    const bool whole = dense && is_dense(b, 4) && same_shape(b, dst), one_row = dense && b.ne[0] == n && n_rows(b) == 1;
    for (int64_t at = (int64_t) blockIdx.x * 256 + threadIdx.x; at < total; at += (int64_t) gridDim.x * 256) {
        if (whole || one_row) {
            const int64_t other = whole ? at : total < 0x7fffffff ? (int) at % (int) n : at % n;
            ((float *) dst.data)[at] = f(((const float *) a.data)[at], ((const float *) b.data)[other]);
        } else {
            const int64_t row = at / n, i = at - row * n;
            const float x = ((const float *) row_of(a, row))[i];
            const float y = ((const float *) repeated_row_of(b, dst, row))[b.ne[0] == n ? i : i % b.ne[0]];
            ((float *) row_of(dst, row))[i] = f(x, y);
        }
    }
}

KERNEL(add, 256, Tensor dst, Tensor a, Tensor b) {
    binary(dst, a, b, [](float x, float y) { return x + y; });
}
KERNEL(mul, 256, Tensor dst, Tensor a, Tensor b) {
    binary(dst, a, b, [](float x, float y) { return x * y; });
}
KERNEL(scale, 256, Tensor dst, Tensor x, float scale, float bias) {
    binary(dst, x, x, [=](float v, float) { return v * scale + bias; });
}
