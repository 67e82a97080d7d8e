// ADD, MUL (b repeated to a's shape in every dimension) and SCALE, on f32 rows. Bound by bytes.
//
// Block 256; grid x: 4 elements per thread. dst may be an operand of its layout.
#include "common.cuh"

template <typename F> DEVICE void each(const Tensor & dst, F f) {
    const int64_t n = dst.ne[0], total = n * n_rows(dst);
    for (int64_t at = (int64_t) blockIdx.x * 256 + threadIdx.x; at < total; at += (int64_t) gridDim.x * 256)
        f(at / n, at % n);
}

template <typename F> DEVICE void binary(const Tensor & dst, const Tensor & a, const Tensor & b, F f) {
    each(dst, [&](int64_t row, int64_t i) {
        const float x = ((const float *) row_of(a, row))[i];
        const float y = ((const float *) repeated_row_of(b, dst, row))[b.ne[0] == dst.ne[0] ? i : i % b.ne[0]];
        ((float *) row_of(dst, row))[i] = f(x, y);
    });
}

KERNEL(add, 256, Tensor dst, Tensor a, Tensor b) {
    binary(dst, a, b, [](float x, float y) { return x + y; });
}
KERNEL(mul, 256, Tensor dst, Tensor a, Tensor b) {
    binary(dst, a, b, [](float x, float y) { return x * y; });
}
KERNEL(scale, 256, Tensor dst, Tensor x, float scale, float bias) {
    each(dst, [&](int64_t row, int64_t i) {
        ((float *) row_of(dst, row))[i] = ((const float *) row_of(x, row))[i] * scale + bias;
    });
}
