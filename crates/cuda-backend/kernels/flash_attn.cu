// FLASH_ATTN_EXT over keys and values in f16: attention without a score matrix.
//
// q f32 [d_k, n_tokens, n_head, n_batch], k and v f16 [d, n_kv, n_head_kv, n_batch], mask f16 [n_kv, >= n_tokens] or
// none, dst f32 [d_v, n_head, n_tokens, n_batch]. Any strides but the first.
//
// A warp holds 16 query rows: the heads that share a key head, token by token, so that grouped heads fill
// the tile and keys are read once. It goes over cells 16 at a time: scores by tensor cores, softmax as it goes,
// values by tensor cores. Keys and values come from global memory straight into fragments, 16 bytes a lane: as
// the order of a head's elements does not matter to a dot product, lane 4 g + t takes elements 8 t .. 8 t + 7 of
// each 32 of cell g for the keys, and, for the values, elements 8 g .. 8 g + 7 of each 64 of cells 2t, 2t + 1,
// 2t + 8, 2t + 9, which two byte permutations make pairs of cells. No shared memory, no barrier in the loop.
// Cells that no row of the tile sees are not read, and what they hold does not matter.
//
// Decode: the 4 warps of a block share 16 rows and take turns at the cells of the block's split; partial results
// of splits are joined by flash_attn_combine. Bound by the bytes of the cache. Prefill: each warp has rows of its
// own. Bound by level-1 cache and tensor cores.
//
// kSize: the head size compiled for, a multiple of 64; smaller heads are padded with zeros.
#include "common.cuh"

constexpr float kLog2E = 1.4426950408889634f;

struct Attention {
    Tensor dst, q, k, v, mask;
    const float * sinks;
    float scale, max_bias, cap;
};

// 8 halves of a row of n from element d on; zeros behind the end.
DEVICE void load8(const char * row, int d, int n, bool wide, uint32_t out[4]) {
    out[0] = out[1] = out[2] = out[3] = 0;
    if (wide && d + 8 <= n) {
        const uint4 w = *(const uint4 *) (row + 2 * d);
        out[0] = w.x, out[1] = w.y, out[2] = w.z, out[3] = w.w;
    } else if (d < n) {
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (d + j < n) out[j / 2] |= (uint32_t) ((const uint16_t *) row)[d + j] << (16 * (j % 2));
    }
}

// The powers' base is 2: exp2(x), with exp2(-inf - -inf) counted as 0.
DEVICE float power(float x, float top) { return x == -INFINITY ? 0.0f : exp2f(x - top); }

// A warp's 16 rows and their running softmax.
template <int kSize> struct Rows {
    static constexpr int kChunks = kSize / 32, kTiles = kSize / 8;
    static constexpr bool kKeep = kSize <= 128;
    uint32_t queries[kKeep ? kChunks : 1][8];
    float out[kTiles][4];
    // Of rows g and g + 8; sums are of this lane's cells only.
    float top[2], sum[2];
    int token[2], head[2];

    // Row numbers of this lane.
    DEVICE_CALL void place(const Attention & p, int first, int head_kv) {
        const int g = threadIdx.x % 32 / 4, group = (int) (p.q.ne[2] / p.k.ne[2]);
        const int n = (int) p.q.ne[1] * group;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int row = first + g + 8 * i;
            token[i] = row < n ? row / group : -1;
            head[i] = row < n ? head_kv * group + row % group : 0;
        }
    }

    // Queries as f16 fragments; in `space`, 256 words per chunk, if registers are too few.
    DEVICE_CALL void load(const Attention & p, int batch, uint4 * space) {
        const int lane = threadIdx.x % 32, t = lane % 4, dk = (int) p.q.ne[0];
#pragma unroll
        for (int c = 0; c < kChunks; c++) {
            uint32_t words[2][4] = {};
#pragma unroll
            for (int i = 0; i < 2; i++) {
                if (token[i] < 0) continue;
                const float * row = (const float *) (p.q.data + token[i] * p.q.nb[1] + head[i] * p.q.nb[2] + batch * p.q.nb[3]);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int d = 32 * c + 8 * t + 2 * j;
                    words[i][j] = pack_f16(d < dk ? row[d] : 0.0f, d + 1 < dk ? row[d + 1] : 0.0f);
                }
            }
            const uint32_t first[8] = {words[0][0], words[1][0], words[0][1], words[1][1],
                                       words[0][2], words[1][2], words[0][3], words[1][3]};
            if (kKeep) {
#pragma unroll
                for (int j = 0; j < 8; j++) queries[c][j] = first[j];
            } else {
                space[(2 * c) * 32 + lane] = make_uint4(first[0], first[1], first[2], first[3]);
                space[(2 * c + 1) * 32 + lane] = make_uint4(first[4], first[5], first[6], first[7]);
            }
        }
        top[0] = top[1] = -INFINITY;
        sum[0] = sum[1] = 0.0f;
#pragma unroll
        for (int j = 0; j < kTiles; j++) out[j][0] = out[j][1] = out[j][2] = out[j][3] = 0.0f;
    }

    // Takes in cells `start` .. `start` + 15, of which those from `end` on do not exist.
    DEVICE_CALL void attend(const Attention & p, const char * k, const char * v, const char * mask, int start, int end,
                            bool wide_k, bool wide_v, const float slope[2], const uint4 * space) {
        const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        const int dk = (int) p.k.ne[0], dv = (int) p.v.ne[0];
        // bias[tile][row][cell]: the mask's share, -inf where there is nothing to see.
        float bias[2][2][2];
        int seen = 0;
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const int cell = start + 8 * tile + 2 * t + j;
                    float b = -INFINITY;
                    if (token[i] >= 0 && cell < end) {
                        b = mask ? f16_to_f32(((const uint16_t *) (mask + token[i] * p.mask.nb[1]))[cell]) : 0.0f;
                        if (b != -INFINITY) {
                            b *= slope[i];
                            seen |= 1 << (2 * tile + j);
                        }
                    }
                    bias[tile][i][j] = b;
                }
            }
        }
        // Which of the lane's four cells any row sees.
        seen |= shuffle_xor(seen, 4);
        seen |= shuffle_xor(seen, 8);
        seen |= shuffle_xor(seen, 16);
        if (!warp_any(seen)) return;

        float scores[2][4] = {};
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
            const int cell = start + 8 * tile + g;
            const char * row = k + (int64_t) cell * p.k.nb[1];
            // Few at a time, as registers are few.
            constexpr int kBatch = kChunks < 4 ? kChunks : 4;
#pragma unroll
            for (int c0 = 0; c0 < kChunks; c0 += kBatch) {
                uint32_t keys[kBatch][4];
#pragma unroll
                for (int c = 0; c < kBatch; c++)
                    load8(row, 32 * (c0 + c) + 8 * t, cell < end ? dk : 0, wide_k, keys[c]);
#pragma unroll
                for (int c = 0; c < kBatch; c++) {
                    if (kKeep) {
                        mma_f16(scores[tile], queries[kKeep ? c0 + c : 0], keys[c]);
                        mma_f16(scores[tile], queries[kKeep ? c0 + c : 0] + 4, keys[c] + 2);
                    } else {
                        const uint4 a = space[2 * (c0 + c) * 32 + lane], b = space[(2 * (c0 + c) + 1) * 32 + lane];
                        const uint32_t first[4] = {a.x, a.y, a.z, a.w}, second[4] = {b.x, b.y, b.z, b.w};
                        mma_f16(scores[tile], first, keys[c]);
                        mma_f16(scores[tile], second, keys[c] + 2);
                    }
                }
            }
        }
        float most[2] = {top[0], top[1]};
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
#pragma unroll
            for (int r = 0; r < 4; r++) {
                const float b = bias[tile][r / 2][r % 2];
                float s = scores[tile][r] * p.scale;
                if (p.cap != 0.0f) s = p.cap * tanhf(s / p.cap);
                // What an unseen cell holds must not matter, not even if it is NaN.
                s = b == -INFINITY ? b : (s + b) * kLog2E;
                scores[tile][r] = s;
                most[r / 2] = fmaxf(most[r / 2], s);
            }
        }
        uint32_t powers[4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            most[i] = fmaxf(most[i], shuffle_xor(most[i], 1));
            most[i] = fmaxf(most[i], shuffle_xor(most[i], 2));
            const float shrink = power(top[i], most[i]);
            top[i] = most[i];
            sum[i] *= shrink;
#pragma unroll
            for (int tile = 0; tile < 2; tile++) {
                const float a = power(scores[tile][2 * i], most[i]), b = power(scores[tile][2 * i + 1], most[i]);
                sum[i] += a + b;
                powers[2 * tile + i] = pack_f16(a, b);
            }
            if (shrink != 1.0f) {
#pragma unroll
                for (int j = 0; j < kTiles; j++) {
                    out[j][2 * i] *= shrink;
                    out[j][2 * i + 1] *= shrink;
                }
            }
        }
#pragma unroll
        for (int c = 0; c < kSize / 64; c++) {
            uint32_t values[4][4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int cell = start + 8 * (i / 2) + 2 * t + i % 2;
                load8(v + (int64_t) cell * p.v.nb[1], 64 * c + 8 * g, seen >> i & 1 ? dv : 0, wide_v, values[i]);
            }
#pragma unroll
            for (int j = 0; j < 8; j++) {
                const uint32_t pick = j % 2 ? 0x7632 : 0x5410;
                const uint32_t b[2] = {byte_perm(values[0][j / 2], values[1][j / 2], pick),
                                       byte_perm(values[2][j / 2], values[3][j / 2], pick)};
                mma_f16(out[8 * c + j], powers, b);
            }
        }
    }

    // Adds up the sums of the lanes that share a row.
    DEVICE_CALL void finish() {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            sum[i] += shuffle_xor(sum[i], 1);
            sum[i] += shuffle_xor(sum[i], 2);
        }
    }

    // The element of a head that out[j][r] belongs to.
    DEVICE_CALL int element(int j, int r) const { return 64 * (j / 8) + 8 * (2 * (threadIdx.x % 4) + r % 2) + j % 8; }
};

// What is left to multiply by: the sum of powers, with the head's sink, turned round; 0 if nothing was seen.
DEVICE float share(const float * sinks, int head, float top, float sum) {
    if (sinks) {
        const float sink = sinks[head] * kLog2E, most = fmaxf(top, sink);
        const float ours = power(top, most);
        sum = sum * ours + exp2f(sink - most);
        return ours / sum;
    }
    return sum == 0.0f ? 0.0f : 1.0f / sum;
}

// The operands of one key head as a warp needs them.
struct Cells {
    const char *k, *v, *mask;
    bool wide_k, wide_v;

    DEVICE_CALL void place(const Attention & p, int head_kv, int batch) {
        k = p.k.data + head_kv * p.k.nb[2] + batch * p.k.nb[3];
        v = p.v.data + head_kv * p.v.nb[2] + batch * p.v.nb[3];
        mask = p.mask.data ? p.mask.data + batch % p.mask.ne[3] * p.mask.nb[3] : nullptr;
        wide_k = is_aligned16(k) && p.k.nb[1] % 16 == 0;
        wide_v = is_aligned16(v) && p.v.nb[1] % 16 == 0;
    }
};

template <int kSize> DEVICE void slopes(const Attention & p, const Rows<kSize> & rows, float out[2]) {
    for (int i = 0; i < 2; i++) out[i] = alibi_slope(rows.head[i], (int) p.q.ne[2], p.max_bias);
}

template <int kSize> DEVICE void prefill(const Attention & p) {
    __shared__ uint4 space[kSize <= 128 ? 1 : 4 * kSize / 32 * 64];
    const int warp = threadIdx.x / 32, head_kv = blockIdx.y, batch = blockIdx.z;
    uint4 * own = space + (kSize <= 128 ? 0 : warp * (kSize / 32 * 64));
    Rows<kSize> rows;
    rows.place(p, ((int) blockIdx.x * 4 + warp) * 16, head_kv);
    rows.load(p, batch, own);
    Cells cells;
    cells.place(p, head_kv, batch);
    float slope[2];
    slopes(p, rows, slope);
    const int n_kv = (int) p.k.ne[1];
    for (int start = 0; start < n_kv; start += 16)
        rows.attend(p, cells.k, cells.v, cells.mask, start, n_kv, cells.wide_k, cells.wide_v, slope, own);
    rows.finish();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (rows.token[i] < 0) continue;
        float * to = (float *) (p.dst.data + rows.head[i] * p.dst.nb[1] + rows.token[i] * p.dst.nb[2] + batch * p.dst.nb[3]);
        const float factor = share(p.sinks, rows.head[i], rows.top[i], rows.sum[i]);
#pragma unroll
        for (int j = 0; j < kSize / 8; j++) {
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int e = rows.element(j, r);
                if (e < p.dst.ne[0]) to[e] = rows.out[j][2 * i + r] * factor;
            }
        }
    }
}

template <int kSize> DEVICE void decode(const Attention & p, float * partial, int n_splits) {
    __shared__ uint4 space[kSize <= 128 ? 1 : kSize / 32 * 64];
    __shared__ float tops[4][16], sums[4][16];
    __shared__ float total[16][kSize];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
    const int head_kv = blockIdx.y % (int) p.k.ne[2], first = blockIdx.y / (int) p.k.ne[2] * 16;
    const int batch = blockIdx.z, split = blockIdx.x, n_kv = (int) p.k.ne[1];
    Rows<kSize> rows;
    rows.place(p, first, head_kv);
    // All four warps write the same queries.
    rows.load(p, batch, space);
    __syncthreads();
    Cells cells;
    cells.place(p, head_kv, batch);
    float slope[2];
    slopes(p, rows, slope);
    const int per = ((n_kv + n_splits - 1) / n_splits + 15) / 16 * 16;
    const int end = n_kv < (split + 1) * per ? n_kv : (split + 1) * per;
    for (int start = split * per + 16 * warp; start < end; start += 64)
        rows.attend(p, cells.k, cells.v, cells.mask, start, end, cells.wide_k, cells.wide_v, slope, space);
    rows.finish();
    if (lane % 4 == 0) {
        for (int i = 0; i < 2; i++) {
            tops[warp][g + 8 * i] = rows.top[i];
            sums[warp][g + 8 * i] = rows.sum[i];
        }
    }
    __syncthreads();
    float most[2], factor[2];
    for (int i = 0; i < 2; i++) {
        const int row = g + 8 * i;
        most[i] = fmaxf(fmaxf(tops[0][row], tops[1][row]), fmaxf(tops[2][row], tops[3][row]));
        factor[i] = power(rows.top[i], most[i]);
    }
    // One warp after the other: the order of the sum is fixed.
    for (int turn = 0; turn < 4; turn++) {
        if (turn == warp) {
#pragma unroll
            for (int j = 0; j < kSize / 8; j++) {
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    float * at = &total[g + r / 2 * 8][rows.element(j, r)];
                    *at = (turn ? *at : 0.0f) + rows.out[j][r] * factor[r / 2];
                }
            }
        }
        __syncthreads();
    }
    const int group = (int) (p.q.ne[2] / p.k.ne[2]), n = (int) p.q.ne[1] * group, dv = (int) p.dst.ne[0];
    for (int row = warp; row < 16 && first + row < n; row += 4) {
        const int token = (first + row) / group, head = head_kv * group + (first + row) % group;
        float top = -INFINITY, sum = 0.0f;
        for (int i = 0; i < 4; i++) top = fmaxf(top, tops[i][row]);
        for (int i = 0; i < 4; i++) sum += sums[i][row] * power(tops[i][row], top);
        if (n_splits == 1) {
            float * to = (float *) (p.dst.data + head * p.dst.nb[1] + token * p.dst.nb[2] + batch * p.dst.nb[3]);
            const float by = share(p.sinks, head, top, sum);
            for (int e = lane; e < dv; e += 32) to[e] = total[row][e] * by;
        } else {
            const int64_t number = head + p.dst.ne[1] * (token + p.dst.ne[2] * batch);
            float * to = partial + (number + n_rows(p.dst) * split) * (dv + 2);
            for (int e = lane; e < dv; e += 32) to[e] = total[row][e];
            if (lane == 0) {
                to[dv] = top;
                to[dv + 1] = sum;
            }
        }
    }
}

// Joins the splits of one row of dst at a time, in order. Block 128; grid x: rows of dst.
KERNEL(flash_attn_combine, 128, Tensor dst, const float * partial, const float * sinks, int32_t n_splits) {
    const int64_t rows = n_rows(dst), n = dst.ne[0];
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const float * first = partial + row * (n + 2);
        const int64_t next = rows * (n + 2);
        float top = -INFINITY, sum = 0.0f;
        for (int s = 0; s < n_splits; s++) top = fmaxf(top, first[s * next + n]);
        for (int s = 0; s < n_splits; s++) sum += first[s * next + n + 1] * power(first[s * next + n], top);
        const float by = share(sinks, (int) (row % dst.ne[1]), top, sum);
        float * to = (float *) row_of(dst, row);
        for (int64_t e = threadIdx.x; e < n; e += 128) {
            float value = 0.0f;
            for (int s = 0; s < n_splits; s++) value += first[s * next + e] * power(first[s * next + n], top);
            to[e] = value * by;
        }
    }
}

#define PREFILL(name, size)                                                                                     \
    KERNEL(name, 128, Tensor dst, Tensor q, Tensor k, Tensor v, Tensor mask, const float * sinks, float scale,  \
           float max_bias, float logit_softcap) {                                                               \
        const Attention p = {dst, q, k, v, mask, sinks, scale, max_bias, logit_softcap};                        \
        prefill<size>(p);                                                                                       \
    }
#define DECODE(name, size)                                                                                      \
    KERNEL(name, 128, Tensor dst, Tensor q, Tensor k, Tensor v, Tensor mask, const float * sinks,               \
           float * partial, float scale, float max_bias, float logit_softcap, int32_t n_splits) {               \
        const Attention p = {dst, q, k, v, mask, sinks, scale, max_bias, logit_softcap};                        \
        decode<size>(p, partial, n_splits);                                                                     \
    }

PREFILL(flash_attn_prefill_64, 64)
PREFILL(flash_attn_prefill_128, 128)
PREFILL(flash_attn_prefill_256, 256)
DECODE(flash_attn_decode_64, 64)
DECODE(flash_attn_decode_128, 128)
DECODE(flash_attn_decode_256, 256)
