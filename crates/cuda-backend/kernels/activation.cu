// UNARY and GLU: silu, gelu, relu, tanh, swiglu, geglu, on f32 rows. Bound by bytes.
//
// Block 256; grid x: 4 elements per thread. dst may be an operand.
#include "common.cuh"

DEVICE float silu_of(float x) { return x / (1.0f + expf(-x)); }

// Through f16, as the reference's table has it; beyond 10 the limits.
DEVICE float gelu_of(float x) {
    if (x <= -10.0f) return 0.0f;
    if (x >= 10.0f) return x;
    const float v = f16_to_f32(f32_to_f16(x));
    return f16_to_f32(f32_to_f16(0.5f * v * (1.0f + tanhf(0.7978845608f * v * (1.0f + 0.044715f * v * v)))));
}

template <typename F> DEVICE void zip(const Tensor & dst, const Tensor & a, const Tensor & b, F f) {
    const int64_t n = dst.ne[0], total = n * n_rows(dst);
    const bool dense = is_dense(dst, 4) && is_dense(a, 4) && is_dense(b, 4);
    for (int64_t at = (int64_t) blockIdx.x * 256 + threadIdx.x; at < total; at += (int64_t) gridDim.x * 256) {
        if (dense) {
            ((float *) dst.data)[at] = f(((const float *) a.data)[at], ((const float *) b.data)[at]);
        } else {
            const int64_t row = at / n, i = at - row * n;
            ((float *) row_of(dst, row))[i] = f(((const float *) row_of(a, row))[i], ((const float *) row_of(b, row))[i]);
        }
    }
}

template <typename F> DEVICE void map(const Tensor & dst, const Tensor & x, F f) {
    zip(dst, x, x, [&](float v, float) { return f(v); });
}

KERNEL(silu, 256, Tensor dst, Tensor x) {
    map(dst, x, [](float v) { return silu_of(v); });
}
KERNEL(gelu, 256, Tensor dst, Tensor x) {
    map(dst, x, [](float v) { return gelu_of(v); });
}
KERNEL(relu, 256, Tensor dst, Tensor x) {
    map(dst, x, [](float v) { return v > 0.0f ? v : 0.0f; });
}
KERNEL(tanh_f32, 256, Tensor dst, Tensor x) {
    map(dst, x, [](float v) { return tanhf(v); });
}
KERNEL(swiglu, 256, Tensor dst, Tensor gate, Tensor up) {
    zip(dst, gate, up, [](float g, float u) { return silu_of(g) * u; });
}
KERNEL(geglu, 256, Tensor dst, Tensor gate, Tensor up) {
    zip(dst, gate, up, [](float g, float u) { return gelu_of(g) * u; });
}
