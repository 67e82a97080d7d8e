// CPY and CONT: copies between any layouts, with conversion. The i-th element of src becomes the i-th of dst.
//
// Block 256; grid x: 4 elements per thread. Bound by bytes where rows are dense on both sides.
#include "common.cuh"

// Address of element `i`, counted with dimension 0 fastest.
DEVICE char * element(const Tensor & t, int64_t i) {
    const int64_t row = i / t.ne[0];
    return row_of(t, row) + (i - row * t.ne[0]) * t.nb[0];
}

template <typename From, typename To, typename F> DEVICE void copy(const Tensor & dst, const Tensor & src, F f) {
    const int64_t total = dst.ne[0] * n_rows(dst);
    const bool dense = is_dense(dst, sizeof(To)) && is_dense(src, sizeof(From));
    for (int64_t i = (int64_t) blockIdx.x * 256 + threadIdx.x; i < total; i += (int64_t) gridDim.x * 256)
        if (dense) ((To *) dst.data)[i] = f(((const From *) src.data)[i]);
        else *(To *) element(dst, i) = f(*(const From *) element(src, i));
}

KERNEL(copy_32, 256, Tensor dst, Tensor src) {
    copy<uint32_t, uint32_t>(dst, src, [](uint32_t v) { return v; });
}
KERNEL(copy_16, 256, Tensor dst, Tensor src) {
    copy<uint16_t, uint16_t>(dst, src, [](uint16_t v) { return v; });
}
KERNEL(copy_f32_f16, 256, Tensor dst, Tensor src) {
    copy<float, uint16_t>(dst, src, [](float v) { return f32_to_f16(v); });
}
KERNEL(copy_f16_f32, 256, Tensor dst, Tensor src) {
    copy<uint16_t, float>(dst, src, [](uint16_t v) { return f16_to_f32(v); });
}
KERNEL(copy_f32_bf16, 256, Tensor dst, Tensor src) {
    copy<float, uint16_t>(dst, src, [](float v) { return f32_to_bf16(v); });
}
KERNEL(copy_bf16_f32, 256, Tensor dst, Tensor src) {
    copy<uint16_t, float>(dst, src, [](uint16_t v) { return bf16_to_f32(v); });
}
