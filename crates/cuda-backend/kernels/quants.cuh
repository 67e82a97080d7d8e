// The quantised formats: how a lane takes a piece of a row apart.
//
// Each format is a type with two faces. For the matrix-vector product: `Piece`, the registers a lane loads of
// a row (kElements elements, the p-th such piece), and `dot`, its product with quantised activations. For the
// matrix product and get_rows: `dequantize16`, elements 16 i .. 16 i + 15 of a row as f32.
//
// Block layouts are ggml's, see crates/quant/src/blocks.rs.
#pragma once
#include "common.cuh"

DEVICE uint32_t load16(const uint8_t * p) { return *(const uint16_t *) p; }
DEVICE uint32_t load32(const uint8_t * p) { return *(const uint32_t *) p; }
DEVICE float load_f16(const uint8_t * p) { return f16_to_f32(*(const uint16_t *) p); }

// Four bytes of any alignment, in aligned words: reads no word without a wanted byte.
DEVICE uint32_t load_bytes4(const uint8_t * p) {
    const uint8_t * base = (const uint8_t *) ((uintptr_t) p & ~(uintptr_t) 3);
    const uint32_t shift = ((uintptr_t) p & 3) * 8;
    const uint32_t w0 = load32(base), w1 = shift ? load32(base + 4) : 0;
    return funnel_right(w0, w1, shift);
}

// Eight bytes of any alignment, likewise.
DEVICE void load_bytes8(const uint8_t * p, uint32_t out[2]) {
    const uint8_t * base = (const uint8_t *) ((uintptr_t) p & ~(uintptr_t) 3);
    const uint32_t shift = ((uintptr_t) p & 3) * 8;
    const uint32_t w0 = load32(base), w1 = load32(base + 4), w2 = shift ? load32(base + 8) : 0;
    out[0] = funnel_right(w0, w1, shift);
    out[1] = funnel_right(w1, w2, shift);
}

DEVICE void load_bytes16(const uint8_t * p, uint32_t out[4]) {
    load_bytes8(p, out);
    load_bytes8(p + 8, out + 2);
}

DEVICE void load_aligned16(const uint8_t * p, uint32_t out[4]) {
    const uint4 v = *(const uint4 *) p;
    out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
}

// Quants of the activations, 8 in two words.
DEVICE uint2 load_x8(const int8_t * q) { return *(const uint2 *) q; }

// Bits 0..3 of `bits` as bit 0 of the four bytes.
DEVICE uint32_t spread4(uint32_t bits) { return ((bits & 15) * 0x00204081u) & 0x01010101u; }

constexpr uint32_t kNibbles = 0x0f0f0f0fu;
constexpr uint32_t kOnes = 0x01010101u;

DEVICE int byte_of(const uint32_t * words, int i) { return words[i / 4] >> (8 * (i % 4)) & 255; }
DEVICE int signed_byte_of(const uint32_t * words, int i) { return (int8_t) byte_of(words, i); }

// 6-bit scale and min of sub-block j from the 12 packed bytes in three words.
DEVICE void scale_min(const uint32_t s[3], int j, int & scale, int & min) {
    const int at = 8 * (j & 3);
    if (j < 4) {
        scale = s[0] >> at & 63;
        min = s[1] >> at & 63;
    } else {
        scale = (s[2] >> at & 15) | (s[0] >> at & 0xc0) >> 2;
        min = (s[2] >> at >> 4 & 15) | (s[1] >> at & 0xc0) >> 2;
    }
}

struct Q8_0 {
    static constexpr int kBlock = 32, kBytes = 34, kElements = 8;
    struct Piece {
        uint32_t q[2];
        float d;
    };
    DEVICE_MEMBER Piece load(const uint8_t * row, int p) {
        const uint8_t * b = row + (int64_t) (p / 4) * kBytes;
        Piece w;
        load_bytes8(b + 2 + 8 * (p & 3), w.q);
        w.d = load_f16(b);
        return w;
    }
    DEVICE_MEMBER float dot(const Piece & w, const int8_t * q, const float2 * d, int p) {
        const uint2 x = load_x8(q + 8 * p);
        return w.d * d[p / 4].x * dp4a(w.q[1], x.y, dp4a(w.q[0], x.x, 0));
    }
    DEVICE_MEMBER void dequantize16(const uint8_t * row, int i, float out[16]) {
        const uint8_t * b = row + (int64_t) (i / 2) * kBytes;
        uint32_t q[4];
        load_bytes16(b + 2 + 16 * (i & 1), q);
        const float d = load_f16(b);
#pragma unroll
        for (int j = 0; j < 16; j++) out[j] = d * signed_byte_of(q, j);
    }
};

struct Q4_0 {
    static constexpr int kBlock = 32, kBytes = 18, kElements = 16;
    struct Piece {
        uint32_t q[2];
        float d;
    };
    DEVICE_MEMBER Piece load(const uint8_t * row, int p) {
        const uint8_t * b = row + (int64_t) (p / 2) * kBytes;
        Piece w;
        load_bytes8(b + 2 + 8 * (p & 1), w.q);
        w.d = load_f16(b);
        return w;
    }
    DEVICE_MEMBER float dot(const Piece & w, const int8_t * q, const float2 * d, int p) {
        const int8_t * at = q + 32 * (p / 2) + 8 * (p & 1);
        const uint2 lo = load_x8(at), hi = load_x8(at + 16);
        int sum = dp4a(w.q[0] & kNibbles, lo.x, 0);
        sum = dp4a(w.q[1] & kNibbles, lo.y, sum);
        sum = dp4a(w.q[0] >> 4 & kNibbles, hi.x, sum);
        sum = dp4a(w.q[1] >> 4 & kNibbles, hi.y, sum);
        // The offset of 8, once for each element.
        const uint32_t offset = 0xf8f8f8f8u;
        sum = dp4a(offset, lo.x, dp4a(offset, lo.y, dp4a(offset, hi.x, dp4a(offset, hi.y, sum))));
        return w.d * d[p / 2].x * sum;
    }
    DEVICE_MEMBER void dequantize16(const uint8_t * row, int i, float out[16]) {
        const uint8_t * b = row + (int64_t) (i / 2) * kBytes;
        uint32_t q[4];
        load_bytes16(b + 2, q);
        const float d = load_f16(b);
        const int shift = 4 * (i & 1);
#pragma unroll
        for (int j = 0; j < 16; j++) out[j] = d * ((byte_of(q, j) >> shift & 15) - 8);
    }
};

struct Q5_0 {
    static constexpr int kBlock = 32, kBytes = 22, kElements = 16;
    struct Piece {
        uint32_t q[2];
        uint32_t high;
        float d;
    };
    DEVICE_MEMBER Piece load(const uint8_t * row, int p) {
        const uint8_t * b = row + (int64_t) (p / 2) * kBytes;
        Piece w;
        load_bytes8(b + 6 + 8 * (p & 1), w.q);
        w.high = (load16(b + 2) | load16(b + 4) << 16) >> (8 * (p & 1));
        w.d = load_f16(b);
        return w;
    }
    DEVICE_MEMBER float dot(const Piece & w, const int8_t * q, const float2 * d, int p) {
        const int8_t * at = q + 32 * (p / 2) + 8 * (p & 1);
        const uint2 lo = load_x8(at), hi = load_x8(at + 16);
        int sum = dp4a((w.q[0] & kNibbles) | spread4(w.high) << 4, lo.x, 0);
        sum = dp4a((w.q[1] & kNibbles) | spread4(w.high >> 4) << 4, lo.y, sum);
        sum = dp4a((w.q[0] >> 4 & kNibbles) | spread4(w.high >> 16) << 4, hi.x, sum);
        sum = dp4a((w.q[1] >> 4 & kNibbles) | spread4(w.high >> 20) << 4, hi.y, sum);
        const uint32_t offset = 0xf0f0f0f0u;
        sum = dp4a(offset, lo.x, dp4a(offset, lo.y, dp4a(offset, hi.x, dp4a(offset, hi.y, sum))));
        return w.d * d[p / 2].x * sum;
    }
    DEVICE_MEMBER void dequantize16(const uint8_t * row, int i, float out[16]) {
        const uint8_t * b = row + (int64_t) (i / 2) * kBytes;
        uint32_t q[4];
        load_bytes16(b + 6, q);
        const uint32_t high = (load16(b + 2) | load16(b + 4) << 16) >> (16 * (i & 1));
        const float d = load_f16(b);
        const int shift = 4 * (i & 1);
#pragma unroll
        for (int j = 0; j < 16; j++)
            out[j] = d * ((byte_of(q, j) >> shift & 15 | (int) (high >> j & 1) << 4) - 16);
    }
};

// 2^(e - 128): half the scale, for doubled values.
DEVICE float e8m0_half(uint32_t e) { return bits_float(e < 2 ? 0x00200000u << e : (e - 1) << 23); }

struct MXFP4 {
    static constexpr int kBlock = 32, kBytes = 17, kElements = 16;
    struct Piece {
        uint32_t lo[2], hi[2];
        float d;
    };
    // Eight nibbles as doubled values: those of the low halves of the bytes, and those of the high halves.
    DEVICE_MEMBER void decode(uint32_t v, uint32_t & lo, uint32_t & hi) {
        const uint32_t index = v & 0x77777777u;
        const uint32_t p0 = byte_perm(0x03020100u, 0x0c080604u, index);
        const uint32_t p1 = byte_perm(0x03020100u, 0x0c080604u, index >> 16);
        const uint32_t n0 = byte_perm(0xfdfeff00u, 0xf4f8fafcu, index);
        const uint32_t n1 = byte_perm(0xfdfeff00u, 0xf4f8fafcu, index >> 16);
        const uint32_t lo_mask = (v >> 3 & kOnes) * 255, hi_mask = (v >> 7 & kOnes) * 255;
        lo = (byte_perm(p0, p1, 0x6420) & ~lo_mask) | (byte_perm(n0, n1, 0x6420) & lo_mask);
        hi = (byte_perm(p0, p1, 0x7531) & ~hi_mask) | (byte_perm(n0, n1, 0x7531) & hi_mask);
    }
    DEVICE_MEMBER Piece load(const uint8_t * row, int p) {
        const uint8_t * b = row + (int64_t) (p / 2) * kBytes;
        uint32_t q[2];
        load_bytes8(b + 1 + 8 * (p & 1), q);
        Piece w;
        decode(q[0], w.lo[0], w.hi[0]);
        decode(q[1], w.lo[1], w.hi[1]);
        w.d = e8m0_half(b[0]);
        return w;
    }
    DEVICE_MEMBER float dot(const Piece & w, const int8_t * q, const float2 * d, int p) {
        const int8_t * at = q + 32 * (p / 2) + 8 * (p & 1);
        const uint2 lo = load_x8(at), hi = load_x8(at + 16);
        int sum = dp4a(w.lo[0], lo.x, dp4a(w.lo[1], lo.y, 0));
        sum = dp4a(w.hi[0], hi.x, dp4a(w.hi[1], hi.y, sum));
        return w.d * d[p / 2].x * sum;
    }
    DEVICE_MEMBER void dequantize16(const uint8_t * row, int i, float out[16]) {
        const uint8_t * b = row + (int64_t) (i / 2) * kBytes;
        uint32_t q[4], v[4];
        load_bytes16(b + 1, q);
        const float d = e8m0_half(b[0]);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t lo, hi;
            decode(q[j], lo, hi);
            v[j] = i & 1 ? hi : lo;
        }
#pragma unroll
        for (int j = 0; j < 16; j++) out[j] = d * signed_byte_of(v, j);
    }
};

// Rows of the formats with super-blocks below are aligned to 16 bytes.
struct Q4_K {
    static constexpr int kBlock = 256, kBytes = 144, kElements = 32;
    // Piece c of a super-block: 16 elements of sub-block 2 (c / 2) and 16 of the next, from 16 bytes.
    struct Piece {
        uint32_t head[4], q[4];
    };
    DEVICE_MEMBER Piece load(const uint8_t * row, int p) {
        const uint8_t * b = row + (int64_t) (p / 8) * kBytes;
        Piece w;
        load_aligned16(b, w.head);
        load_aligned16(b + 16 + 16 * (p & 7), w.q);
        return w;
    }
    // Product of 16 low and 16 high nibbles, to which fifth bits were added.
    DEVICE_MEMBER float dot_halves(const uint32_t head[4], const uint32_t lo[4], const uint32_t hi[4],
                                   const int8_t * q, const float2 * d, int p) {
        const int block = 8 * (p / 8) + 2 * ((p & 7) / 2);
        const int8_t * at = q + 32 * block + 16 * (p & 1);
        const uint4 xl = *(const uint4 *) at, xh = *(const uint4 *) (at + 32);
        const int dot_lo = dp4a(lo[0], xl.x, dp4a(lo[1], xl.y, dp4a(lo[2], xl.z, dp4a(lo[3], xl.w, 0))));
        const int dot_hi = dp4a(hi[0], xh.x, dp4a(hi[1], xh.y, dp4a(hi[2], xh.z, dp4a(hi[3], xh.w, 0))));
        const int sum_lo = dp4a(kOnes, xl.x, dp4a(kOnes, xl.y, dp4a(kOnes, xl.z, dp4a(kOnes, xl.w, 0))));
        const int sum_hi = dp4a(kOnes, xh.x, dp4a(kOnes, xh.y, dp4a(kOnes, xh.z, dp4a(kOnes, xh.w, 0))));
        int s0, m0, s1, m1;
        scale_min(head + 1, block & 7, s0, m0);
        scale_min(head + 1, (block & 7) + 1, s1, m1);
        const float d0 = d[block].x, d1 = d[block + 1].x;
        const float scaled = d0 * (s0 * dot_lo) + d1 * (s1 * dot_hi);
        const float mins = d0 * (m0 * sum_lo) + d1 * (m1 * sum_hi);
        return f16_to_f32((uint16_t) head[0]) * scaled - f16_to_f32((uint16_t) (head[0] >> 16)) * mins;
    }
    DEVICE_MEMBER float dot(const Piece & w, const int8_t * q, const float2 * d, int p) {
        uint32_t lo[4], hi[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            lo[j] = w.q[j] & kNibbles;
            hi[j] = w.q[j] >> 4 & kNibbles;
        }
        return dot_halves(w.head, lo, hi, q, d, p);
    }
    // Scale and min of sub-block j as floats.
    DEVICE_MEMBER void scales(const uint32_t head[4], int j, float & scale, float & min) {
        int s, m;
        scale_min(head + 1, j, s, m);
        scale = f16_to_f32((uint16_t) head[0]) * s;
        min = f16_to_f32((uint16_t) (head[0] >> 16)) * m;
    }
    DEVICE_MEMBER void dequantize16(const uint8_t * row, int i, float out[16]) {
        const uint8_t * b = row + (int64_t) (i / 16) * kBytes;
        const int j = (i & 15) / 2;
        uint32_t head[4], q[4];
        load_aligned16(b, head);
        load_aligned16(b + 16 + 32 * (j / 2) + 16 * (i & 1), q);
        float scale, min;
        scales(head, j, scale, min);
        const int shift = 4 * (j & 1);
#pragma unroll
        for (int l = 0; l < 16; l++) out[l] = scale * (byte_of(q, l) >> shift & 15) - min;
    }
};

struct Q5_K {
    static constexpr int kBlock = 256, kBytes = 176, kElements = 32;
    struct Piece {
        uint32_t head[4], high[4], q[4];
    };
    DEVICE_MEMBER Piece load(const uint8_t * row, int p) {
        const uint8_t * b = row + (int64_t) (p / 8) * kBytes;
        Piece w;
        load_aligned16(b, w.head);
        load_aligned16(b + 16 + 16 * (p & 1), w.high);
        load_aligned16(b + 48 + 16 * (p & 7), w.q);
        return w;
    }
    DEVICE_MEMBER float dot(const Piece & w, const int8_t * q, const float2 * d, int p) {
        const int bit = 2 * ((p & 7) / 2);
        uint32_t lo[4], hi[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            lo[j] = (w.q[j] & kNibbles) | (w.high[j] >> bit & kOnes) << 4;
            hi[j] = (w.q[j] >> 4 & kNibbles) | (w.high[j] >> (bit + 1) & kOnes) << 4;
        }
        return Q4_K::dot_halves(w.head, lo, hi, q, d, p);
    }
    DEVICE_MEMBER void dequantize16(const uint8_t * row, int i, float out[16]) {
        const uint8_t * b = row + (int64_t) (i / 16) * kBytes;
        const int j = (i & 15) / 2;
        uint32_t head[4], high[4], q[4];
        load_aligned16(b, head);
        load_aligned16(b + 16 + 16 * (i & 1), high);
        load_aligned16(b + 48 + 32 * (j / 2) + 16 * (i & 1), q);
        float scale, min;
        Q4_K::scales(head, j, scale, min);
        const int shift = 4 * (j & 1);
#pragma unroll
        for (int l = 0; l < 16; l++)
            out[l] = scale * ((byte_of(q, l) >> shift & 15) | (byte_of(high, l) >> j & 1) << 4) - min;
    }
};

// Blocks of 210 bytes: aligned to 2.
struct Q6_K {
    static constexpr int kBlock = 256, kBytes = 210, kElements = 32;
    // Piece c: half h = c / 4 of the super-block, columns 8 (c & 3) .. + 7 of each of its four groups of 32.
    struct Piece {
        uint32_t low[2], next[2], high[2], scales[2];
        float d;
    };
    DEVICE_MEMBER Piece load(const uint8_t * row, int p) {
        const uint8_t * b = row + (int64_t) (p / 8) * kBytes;
        const int half = (p & 7) / 4, column = 8 * (p & 3);
        Piece w;
        load_bytes8(b + 64 * half + column, w.low);
        load_bytes8(b + 64 * half + 32 + column, w.next);
        load_bytes8(b + 128 + 32 * half + column, w.high);
        load_bytes8(b + 192 + 8 * half, w.scales);
        w.d = load_f16(b + 208);
        return w;
    }
    DEVICE_MEMBER float dot(const Piece & w, const int8_t * q, const float2 * d, int p) {
        const int column = 8 * (p & 3), block = 4 * (p / 4);
        const uint32_t offset = 0xe0e0e0e0u;
        float total = 0.0f;
#pragma unroll
        for (int g = 0; g < 4; g++) {
            const uint2 x = load_x8(q + 32 * (block + g) + column);
            const uint32_t * low = g & 1 ? w.next : w.low;
            const int shift = 4 * (g / 2);
            const uint32_t q0 = (low[0] >> shift & kNibbles) | (w.high[0] >> (2 * g) & 0x03030303u) << 4;
            const uint32_t q1 = (low[1] >> shift & kNibbles) | (w.high[1] >> (2 * g) & 0x03030303u) << 4;
            int sum = dp4a(q0, x.x, dp4a(q1, x.y, 0));
            sum = dp4a(offset, x.x, dp4a(offset, x.y, sum));
            total += d[block + g].x * (sum * signed_byte_of(w.scales, 2 * g + (column >> 4)));
        }
        return w.d * total;
    }
    DEVICE_MEMBER void dequantize16(const uint8_t * row, int i, float out[16]) {
        const uint8_t * b = row + (int64_t) (i / 16) * kBytes;
        const int half = (i & 15) / 8, group = (i & 7) / 2, column = 16 * (i & 1);
        uint32_t low[4], high[4];
        load_bytes16(b + 64 * half + 32 * (group & 1) + column, low);
        load_bytes16(b + 128 + 32 * half + column, high);
        const float d = load_f16(b + 208) * (int8_t) b[192 + (i & 15)];
        const int shift = 4 * (group / 2);
#pragma unroll
        for (int l = 0; l < 16; l++)
            out[l] = d * (((byte_of(low, l) >> shift & 15) | (byte_of(high, l) >> (2 * group) & 3) << 4) - 32);
    }
};
