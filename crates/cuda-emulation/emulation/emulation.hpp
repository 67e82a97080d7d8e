// What the kernels' sources need of a GPU, on a host: the words of CUDA C++ they use and the instructions that
// `common.cuh` otherwise has as inline PTX.
//
// A block's threads are fibers that hand over to each other where they wait: at __syncthreads, and where
// lanes of a warp exchange values. All lanes of a warp take part in each exchange, as the kernels' full masks
// promise; a block in which somebody waits for a thread that never comes is an error, not a hang.
// Shared memory is a block's in turn: blocks run one after the other, with garbage left in it.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __shared__ static thread_local
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(n)
#define DEVICE static inline
#define DEVICE_MEMBER static inline
#define DEVICE_CALL inline

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct uint2 { uint32_t x, y; };
struct uint4 { uint32_t x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

namespace emulation {

struct Dim3 { unsigned x, y, z; };

// What lanes hand each other in one exchange.
struct Slot { uint32_t words[8]; const void * pointer; };

struct Warp {
    // Exchanges alternate between two sets, so that one wait each suffices: a lane can be at most one ahead.
    Slot slots[2][32];
    int arrived;
    unsigned turn;
};

struct Fiber {
    void * stack_pointer;
    Dim3 thread;
    Warp * warp;
    // Exchanges this lane has taken part in.
    unsigned turns;
    // What this fiber waits for: it may go on once *waits_on != waits_for.
    const unsigned * waits_on;
    unsigned waits_for;
    bool done;
};

extern thread_local Fiber * current;
extern thread_local Dim3 block_index, block_size, grid_size;

void wait(const unsigned * on, unsigned value);
int barrier(int value);

// Puts `mine` where the warp can see it, and returns what all lanes put there.
inline const Slot * exchange(const Slot & mine) {
    Fiber * self = current;
    Warp * warp = self->warp;
    const unsigned parity = self->turns & 1;
    warp->slots[parity][self->thread.x % 32] = mine;
    const unsigned turn = self->turns++;
    if (++warp->arrived == 32) {
        warp->arrived = 0;
        warp->turn = turn + 1;
    } else {
        wait(&warp->turn, turn);
    }
    return warp->slots[parity];
}

inline int lane() { return current->thread.x % 32; }

struct Kernel {
    const char * name;
    void (*call)(void (*)(), void ** args);
    void (*function)();
    unsigned block;
    Kernel * next;
    Kernel(const char * name, unsigned block, void (*function)(), void (*call)(void (*)(), void **));
};

template <int... I> struct Indices {};
template <int N, int... I> struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I> struct MakeIndices<0, I...> { typedef Indices<I...> type; };

template <typename... A> struct Caller {
    template <int... I> static void go(void (*f)(A...), void ** args, Indices<I...>) { f(*(A *) args[I]...); }
    static void call(void (*f)(), void ** args) {
        go((void (*)(A...)) f, args, typename MakeIndices<sizeof...(A)>::type());
    }
};
template <typename... A> Kernel make_kernel(const char * name, unsigned block, void (*f)(A...)) {
    return Kernel(name, block, (void (*)()) f, Caller<A...>::call);
}

} // namespace emulation

#define KERNEL(name, block, ...)                                                                          \
    static void name(__VA_ARGS__);                                                                        \
    static emulation::Kernel registered_##name = emulation::make_kernel(#name, block, name);              \
    static void name(__VA_ARGS__)

#define KERNEL_PAIRED KERNEL

#define threadIdx (emulation::current->thread)
#define blockIdx emulation::block_index
#define blockDim emulation::block_size
#define gridDim emulation::grid_size

static inline void __syncthreads() { emulation::barrier(0); }
static inline int __syncthreads_or(int v) { return emulation::barrier(v); }

static inline uint32_t float_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline float bits_float(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }

static inline float f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t) (h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31) return bits_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        const float f = (float) mantissa * 5.9604644775390625e-8f;
        return sign ? -f : f;
    }
    return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t f32_to_f16(float f) {
    const uint32_t u = float_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return 0x7fff;
    // 65520 and beyond round to infinity.
    if (a >= 0x477ff000u) return (uint16_t) (sign | 0x7c00);
    if (a < 0x38800000u) {
        // Below the normal range: the addition rounds to even at the last place of f16.
        const float r = bits_float(a) + 0.5f;
        return (uint16_t) (sign | (float_bits(r) - 0x3f000000u));
    }
    const uint32_t odd = a >> 13 & 1;
    return (uint16_t) (sign | ((a + 0xfffu + odd - 0x38000000u) >> 13));
}

static inline uint32_t pack_f16(float lo, float hi) { return f32_to_f16(lo) | (uint32_t) f32_to_f16(hi) << 16; }

static inline uint32_t one_bf16(float f) {
    const uint32_t u = float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (u + 0x7fffu + (u >> 16 & 1)) >> 16;
}
static inline uint32_t pack_bf16(float lo, float hi) { return one_bf16(lo) | one_bf16(hi) << 16; }

static inline int dp4a(uint32_t a, uint32_t b, int c) {
    for (int i = 0; i < 4; i++) c += (int8_t) (a >> 8 * i) * (int8_t) (b >> 8 * i);
    return c;
}

static inline uint32_t byte_perm(uint32_t lo, uint32_t hi, uint32_t pick) {
    const uint64_t bytes = lo | (uint64_t) hi << 32;
    uint32_t r = 0;
    for (int i = 0; i < 4; i++) r |= (uint32_t) (bytes >> 8 * (pick >> 4 * i & 7) & 255) << 8 * i;
    return r;
}

static inline uint32_t funnel_right(uint32_t lo, uint32_t hi, uint32_t shift) {
    return (uint32_t) ((lo | (uint64_t) hi << 32) >> (shift & 31));
}

static inline int __float2int_rn(float f) { return (int) rintf(f); }

static inline uint32_t shuffle_word(uint32_t v, int mask) {
    emulation::Slot s;
    s.words[0] = v;
    return emulation::exchange(s)[emulation::lane() ^ mask].words[0];
}
static inline float shuffle_xor(float v, int mask) { return bits_float(shuffle_word(float_bits(v), mask)); }
static inline int shuffle_xor(int v, int mask) { return (int) shuffle_word((uint32_t) v, mask); }

static inline int warp_any(int v) {
    emulation::Slot s;
    s.words[0] = v != 0;
    const emulation::Slot * all = emulation::exchange(s);
    for (int i = 0; i < 32; i++)
        if (all[i].words[0]) return 1;
    return 0;
}

static inline void add_atomic(int32_t * p, int32_t v) { *p += v; }

// Lane 4 g + t of the fragments as `common.cuh` describes them.
template <typename Widen> static inline void mma(float d[4], const uint32_t a[4], const uint32_t b[2], Widen widen) {
    emulation::Slot s;
    for (int i = 0; i < 4; i++) s.words[i] = a[i];
    for (int i = 0; i < 2; i++) s.words[4 + i] = b[i];
    const emulation::Slot * all = emulation::exchange(s);
    const int g = emulation::lane() / 4, t = emulation::lane() % 4;
    for (int r = 0; r < 4; r++) {
        const int column = 2 * t + r % 2;
        float sum = 0.0f;
        for (int k = 0; k < 16; k++) {
            // Element k of a row lies with lane k % 8 / 2 of the row's group, in the register of its half.
            const uint32_t left = all[4 * g + k % 8 / 2].words[r / 2 + k / 8 * 2];
            const uint32_t right = all[4 * column + k % 8 / 2].words[4 + k / 8];
            sum += widen((uint16_t) (left >> 16 * (k % 2))) * widen((uint16_t) (right >> 16 * (k % 2)));
        }
        d[r] += sum;
    }
}
static inline void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    mma(d, a, b, [](uint16_t h) { return f16_to_f32(h); });
}
static inline void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    mma(d, a, b, [](uint16_t h) { return bits_float((uint32_t) h << 16); });
}

static inline void load_matrix(uint32_t r[4], const void * row) {
    emulation::Slot s;
    s.pointer = row;
    const emulation::Slot * all = emulation::exchange(s);
    const int g = emulation::lane() / 4, t = emulation::lane() % 4;
    for (int i = 0; i < 4; i++) memcpy(&r[i], (const char *) all[8 * i + g].pointer + 4 * t, 4);
}

// Copies are done at once: a kernel that reads too early is not caught by this, one that writes too early is.
static inline void copy_async(void * to, const void * from, int n) {
    char bytes[16] = {};
    memcpy(bytes, from, n);
    memcpy(to, bytes, 16);
}
static inline void copy_commit() {}
template <int N> static inline void copy_wait() {}
