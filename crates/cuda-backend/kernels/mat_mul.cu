// Matrix products on tensor cores: dst[n, m] = w[k, n] x[k, m], for many columns m.
//
// x holds rows of f16 (of bf16 for bf16 and mxfp4 weights) as round_f16 and round_bf16 leave them: padded with
// zeros to k_padded, 16-byte aligned. A block of 8 warps makes 128 columns times 128 rows of w, a warp 64 times
// 32, as mma tiles with columns of x down and rows of w across, so that neighbours in a fragment are neighbours
// in dst. k goes in steps of 32 through two buffers in shared memory: x by cp.async; 16-bit weights likewise where
// rows are aligned to 16 bytes, element by element otherwise; quantised weights are taken apart on the way,
// one thread for 16 elements of a row, loaded before and stored after the products of the step before.
// 16-byte chunks of a row of 64 bytes are permuted by bits 1 and 2 of its number, which frees loads and
// stores of bank conflicts. Bound by tensor cores, for quantised weights by taking them apart.
//
// Grid x: 128 rows of w; y: 128 columns; z: outer dimensions of dst, over which w is repeated.
#include "quants.cuh"

constexpr int kTile = 128, kStep = 32;

// Byte offset of 16-byte chunk `chunk` (0..4) of row `row` in a tile.
DEVICE int chunk_at(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) * 16); }

// Weights of 16 bits as they are: a thread brings in two chunks of a step.
template <bool kBf16> struct Plain {
    static constexpr bool bf16 = kBf16;
    uint4 chunks[2];

    DEVICE_CALL void start(char * tile, const Tensor & w, const char * base, int64_t row0, int64_t k0, bool wide) {
        for (int i = 0; i < 2; i++) {
            const int at = threadIdx.x + 256 * i, row = at / 4, chunk = at % 4;
            const char * from = base + smaller(row0 + row, w.ne[1] - 1) * w.nb[1];
            const int64_t k = k0 + 8 * chunk;
            const int64_t left = w.ne[0] - k;
            if (wide) {
                const int n = left >= 8 ? 16 : left > 0 ? (int) left * 2 : 0;
                copy_async(tile + chunk_at(row, chunk), n ? from + 2 * k : from, n);
            } else {
                uint32_t words[4];
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const uint32_t lo = 2 * j < left ? ((const uint16_t *) from)[k + 2 * j] : 0;
                    const uint32_t hi = 2 * j + 1 < left ? ((const uint16_t *) from)[k + 2 * j + 1] : 0;
                    words[j] = lo | hi << 16;
                }
                chunks[i] = make_uint4(words[0], words[1], words[2], words[3]);
            }
        }
    }
    DEVICE_CALL void finish(char * tile, bool wide) {
        if (wide) return;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int at = threadIdx.x + 256 * i;
            *(uint4 *) (tile + chunk_at(at / 4, at % 4)) = chunks[i];
        }
    }
};

// Quantised weights: two threads take a row's 32 elements apart.
template <typename Q, bool kBf16> struct Quantised {
    static constexpr bool bf16 = kBf16;
    uint32_t words[8];

    DEVICE_CALL void start(char *, const Tensor & w, const char * base, int64_t row0, int64_t k0, bool) {
        const int row = threadIdx.x / 2, half = threadIdx.x % 2;
        if (k0 >= w.ne[0]) {
#pragma unroll
            for (int j = 0; j < 8; j++) words[j] = 0;
            return;
        }
        float values[16];
        const char * from = base + smaller(row0 + row, w.ne[1] - 1) * w.nb[1];
        Q::dequantize16((const uint8_t *) from, (int) (k0 / 16) + half, values);
#pragma unroll
        for (int j = 0; j < 8; j++)
            words[j] = kBf16 ? pack_bf16(values[2 * j], values[2 * j + 1]) : pack_f16(values[2 * j], values[2 * j + 1]);
    }
    DEVICE_CALL void finish(char * tile, bool) {
        const int row = threadIdx.x / 2, half = threadIdx.x % 2;
#pragma unroll
        for (int c = 0; c < 2; c++)
            *(uint4 *) (tile + chunk_at(row, 2 * half + c)) =
                make_uint4(words[4 * c], words[4 * c + 1], words[4 * c + 2], words[4 * c + 3]);
    }
};

template <typename W> DEVICE void mat_mul(const Tensor & dst, const Tensor & w, const char * x, int64_t k_padded) {
    __shared__ __align__(128) char x_tiles[2][kTile * 64];
    __shared__ __align__(128) char w_tiles[2][kTile * 64];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64_t row0 = (int64_t) blockIdx.x * kTile, column0 = (int64_t) blockIdx.y * kTile;
    const int64_t i2 = blockIdx.z % dst.ne[2], i3 = blockIdx.z / dst.ne[2];
    const char * base = w.data + i2 / (dst.ne[2] / w.ne[2]) * w.nb[2] + i3 / (dst.ne[3] / w.ne[3]) * w.nb[3];
    const char * x_base = x + dst.ne[1] * blockIdx.z * k_padded * 2;
    const bool wide = is_aligned16(base) && w.nb[1] % 16 == 0;
    const int n_steps = (int) ((w.ne[0] + kStep - 1) / kStep);
    W weights;
    auto start_x = [&](int step) {
        for (int i = 0; i < 2; i++) {
            const int at = threadIdx.x + 256 * i, row = at / 4, chunk = at % 4;
            const char * from = x_base + smaller(column0 + row, dst.ne[1] - 1) * k_padded * 2;
            copy_async(x_tiles[step & 1] + chunk_at(row, chunk), from + (int64_t) step * 64 + 16 * chunk, 16);
        }
    };
    float sums[4][4][4] = {};
    start_x(0);
    weights.start(w_tiles[0], w, base, row0, 0, wide);
    copy_commit();
    weights.finish(w_tiles[0], wide);
    const int down = warp % 2 * 64, across = warp / 2 * 32;
    for (int step = 0; step < n_steps; step++) {
        copy_wait<0>();
        // The tiles of this step are in; those of the step before are no longer read.
        __syncthreads();
        const int next = step + 1 < n_steps;
        if (next) {
            start_x(step + 1);
            weights.start(w_tiles[(step + 1) & 1], w, base, row0, (int64_t) (step + 1) * kStep, wide);
            copy_commit();
        }
        const char * xt = x_tiles[step & 1], * wt = w_tiles[step & 1];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint32_t a[4][4], b[4][2];
#pragma unroll
            for (int i = 0; i < 4; i++)
                load_matrix(a[i], xt + chunk_at(down + 16 * i + lane % 16, 2 * half + lane / 16));
#pragma unroll
            for (int j = 0; j < 2; j++) {
                // Tiles: rows 0-7 and k 0-7, k 8-15, then rows 8-15 likewise.
                uint32_t r[4];
                load_matrix(r, wt + chunk_at(across + 16 * j + lane % 8 + lane / 16 * 8, 2 * half + lane / 8 % 2));
                b[2 * j][0] = r[0], b[2 * j][1] = r[1], b[2 * j + 1][0] = r[2], b[2 * j + 1][1] = r[3];
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    if (W::bf16) mma_bf16(sums[i][j], a[i], b[j]);
                    else mma_f16(sums[i][j], a[i], b[j]);
                }
            }
        }
        if (next) weights.finish(w_tiles[(step + 1) & 1], wide);
    }
    const int g = lane / 4, t = lane % 4;
    char * out = dst.data + i2 * dst.nb[2] + i3 * dst.nb[3];
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int r = 0; r < 4; r++) {
                const int64_t column = column0 + down + 16 * i + g + r / 2 * 8;
                const int64_t row = row0 + across + 8 * j + 2 * t + r % 2;
                if (column < dst.ne[1] && row < dst.ne[0]) *(float *) (out + row * 4 + column * dst.nb[1]) = sums[i][j][r];
            }
        }
    }
}

#define MAT_MUL(name, W) \
    KERNEL_PAIRED(name, 256, Tensor dst, Tensor w, const char * x, int64_t k_padded) { mat_mul<W>(dst, w, x, k_padded); }

typedef Plain<false> PlainF16;
typedef Plain<true> PlainBf16;
typedef Quantised<Q4_0, false> TakenQ4_0;
typedef Quantised<Q5_0, false> TakenQ5_0;
typedef Quantised<Q8_0, false> TakenQ8_0;
typedef Quantised<Q4_K, false> TakenQ4_K;
typedef Quantised<Q5_K, false> TakenQ5_K;
typedef Quantised<Q6_K, false> TakenQ6_K;
// Scales of MXFP4 span more than f16 does; its values fit bf16 exactly.
typedef Quantised<MXFP4, true> TakenMXFP4;

MAT_MUL(mat_mul_f16, PlainF16)
MAT_MUL(mat_mul_bf16, PlainBf16)
MAT_MUL(mat_mul_q4_0, TakenQ4_0)
MAT_MUL(mat_mul_q5_0, TakenQ5_0)
MAT_MUL(mat_mul_q8_0, TakenQ8_0)
MAT_MUL(mat_mul_q4_k, TakenQ4_K)
MAT_MUL(mat_mul_q5_k, TakenQ5_K)
MAT_MUL(mat_mul_q6_k, TakenQ6_K)
MAT_MUL(mat_mul_mxfp4, TakenMXFP4)
