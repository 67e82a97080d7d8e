// What all kernels share: the tensor argument, conversions, and the few machine instructions they use.
//
// The instructions have two homes: here, as inline PTX without any header of the toolkit, and in the host
// emulation (`emulation.hpp` of the crate quipu-cuda-emulation), which runs the same sources in tests.
#pragma once

#ifdef QUIPU_EMULATE
#include "emulation.hpp"
#else
#include <stdint.h>

// A kernel with C linkage and a fixed number of threads.
#define KERNEL(name, block, ...) extern "C" __global__ void __launch_bounds__(block, 1) name(__VA_ARGS__)
// One that takes few enough registers for two blocks to share a processor.
#define KERNEL_PAIRED(name, block, ...) extern "C" __global__ void __launch_bounds__(block, 2) name(__VA_ARGS__)
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER static __device__ __forceinline__
#define DEVICE_CALL __device__ __forceinline__

DEVICE float f16_to_f32(uint16_t h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

DEVICE uint16_t f32_to_f16(float f) {
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}

// Two floats as f16, the first in the low half.
DEVICE uint32_t pack_f16(float lo, float hi) {
    uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}

// Two floats as bf16, the first in the low half.
DEVICE uint32_t pack_bf16(float lo, float hi) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}

DEVICE uint32_t float_bits(float f) { return __float_as_uint(f); }
DEVICE float bits_float(uint32_t u) { return __uint_as_float(u); }

// c + the dot product of four signed bytes.
DEVICE int dp4a(uint32_t a, uint32_t b, int c) {
    int r;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}

// Four bytes of the eight of (hi, lo), picked by the low four nibbles of `pick` (their low three bits).
DEVICE uint32_t byte_perm(uint32_t lo, uint32_t hi, uint32_t pick) { return __byte_perm(lo, hi, pick); }

// The low word of (hi, lo) >> shift, shift < 32.
DEVICE uint32_t funnel_right(uint32_t lo, uint32_t hi, uint32_t shift) { return __funnelshift_r(lo, hi, shift); }

DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE int shuffle_xor(int v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }

// Whether any lane of the warp has a nonzero value.
DEVICE int warp_any(int v) { return __any_sync(0xffffffffu, v); }

DEVICE void add_atomic(int32_t * p, int32_t v) { atomicAdd(p, v); }

// d += a b for a 16x16 and an 16x8 tile of f16, accumulated in f32. Lane 4 g + t holds, two to a register,
// a[g][2t..], a[g + 8][2t..], a[g][2t + 8..], a[g + 8][2t + 8..]; b[2t..][g], b[2t + 8..][g];
// d[g][2t], d[g][2t + 1], d[g + 8][2t], d[g + 8][2t + 1].
DEVICE void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// As mma_f16, for bf16.
DEVICE void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8x8 tiles of 16-bit elements from shared memory: lane 8 i + r points to row r of tile i; register i of
// lane 4 g + t holds elements 2t and 2t + 1 of row g of tile i.
DEVICE void load_matrix(uint32_t r[4], const void * row) {
    uint32_t address = (uint32_t) __cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// Starts copying 16 bytes, of which the last 16 - n are zeros, from global to shared memory.
DEVICE void copy_async(void * to, const void * from, int n) {
    uint32_t address = (uint32_t) __cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(n) : "memory");
}

DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most N groups are under way.
template <int N> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
#endif

// A ggml tensor by value: dimension 0 fastest, strides in bytes. data == nullptr: no tensor.
struct Tensor {
    char * data;
    int64_t ne[4];
    int64_t nb[4];
};

DEVICE float bf16_to_f32(uint16_t b) { return bits_float((uint32_t) b << 16); }
DEVICE uint16_t f32_to_bf16(float f) { return (uint16_t) pack_bf16(f, 0.0f); }

DEVICE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Rows of a tensor: elements of all dimensions but the first.
DEVICE int64_t n_rows(const Tensor & t) { return t.ne[1] * t.ne[2] * t.ne[3]; }

// Start of row `row`, counted with dimension 1 fastest.
DEVICE char * row_of(const Tensor & t, int64_t row) {
    const int64_t i1 = row % t.ne[1], rest = row / t.ne[1];
    return t.data + i1 * t.nb[1] + rest % t.ne[2] * t.nb[2] + rest / t.ne[2] * t.nb[3];
}

// Start of the row of `t`, repeated to the shape of `like`, that belongs to row `row` of `like`.
DEVICE char * repeated_row_of(const Tensor & t, const Tensor & like, int64_t row) {
    const int64_t i1 = row % like.ne[1], rest = row / like.ne[1];
    return t.data + i1 % t.ne[1] * t.nb[1] + rest % like.ne[2] % t.ne[2] * t.nb[2] +
           rest / like.ne[2] % t.ne[3] * t.nb[3];
}

// Rows lie one after the other: elements of `size` bytes can be counted through, without divisions.
DEVICE bool is_dense(const Tensor & t, int64_t size) {
    return t.nb[0] == size && t.nb[1] == t.ne[0] * size && t.nb[2] == t.nb[1] * t.ne[1] && t.nb[3] == t.nb[2] * t.ne[2];
}

DEVICE bool same_shape(const Tensor & a, const Tensor & b) {
    return a.ne[0] == b.ne[0] && a.ne[1] == b.ne[1] && a.ne[2] == b.ne[2] && a.ne[3] == b.ne[3];
}

DEVICE bool is_aligned16(const void * p) { return ((uintptr_t) p & 15) == 0; }

DEVICE float warp_sum(float v) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) v += shuffle_xor(v, mask);
    return v;
}

DEVICE float warp_max(float v) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}

// Sum over a block of at most 1024 threads, for all of them. `space` holds 32 floats, one use per call.
DEVICE float block_sum(float v, float * space) {
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) space[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x % 32 < blockDim.x / 32 ? space[threadIdx.x % 32] : 0.0f;
    return warp_sum(v);
}

// As block_sum, for the maximum.
DEVICE float block_max(float v, float * space) {
    v = warp_max(v);
    if (threadIdx.x % 32 == 0) space[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x % 32 < blockDim.x / 32 ? space[threadIdx.x % 32] : -INFINITY;
    return warp_max(v);
}

// How strongly the mask counts for a head (ALiBi); 1 without a bias.
DEVICE float alibi_slope(int head, int n_head, float max_bias) {
    if (max_bias <= 0.0f) return 1.0f;
    int n_log2 = 1;
    while (2 * n_log2 <= n_head) n_log2 *= 2;
    return head < n_log2 ? exp2f(-max_bias / n_log2 * (head + 1))
                         : exp2f(-max_bias / (2 * n_log2) * (2 * (head - n_log2) + 1));
}
