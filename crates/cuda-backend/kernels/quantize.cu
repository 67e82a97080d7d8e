// Rows of f32 activations, prepared for a product: quantised to 8 bits, or rounded to 16-bit floats.
//
// Block 256; grid x: 1024 elements of the padded row, y: rows (dimension 1 fastest). Elements from ne[0] to
// k_padded count as zeros. Bound by latency: activations are few.
#include "common.cuh"

// Four consecutive elements from `e` on; zeros behind the end.
DEVICE float4 load_row4(const float * row, int64_t e, int64_t n) {
    if (e + 4 <= n && is_aligned16(row)) return *(const float4 *) (row + e);
    float4 v;
    v.x = e < n ? row[e] : 0.0f;
    v.y = e + 1 < n ? row[e + 1] : 0.0f;
    v.z = e + 2 < n ? row[e + 2] : 0.0f;
    v.w = e + 3 < n ? row[e + 3] : 0.0f;
    return v;
}

// Per row: k_padded i8 quants, then for each 32 of them {scale, scale * sum of quants} as f32. The scale is the
// largest magnitude / 127, as f16 holds it, and quants are rounded to even with the unrounded inverse: what the
// reference's CPU backend does for Q8_0 and Q8_1.
KERNEL(quantize_q8_1, 256, Tensor x, char * out, int64_t k_padded) {
    const int64_t row_bytes = k_padded / 4 * 5, rows = n_rows(x);
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const float * from = (const float *) row_of(x, row);
        char * to = out + row * row_bytes;
        // k_padded is a multiple of 256: the warps of a block go all or none.
        for (int64_t e = blockIdx.x * 1024 + threadIdx.x * 4; e < k_padded; e += gridDim.x * 1024) {
            const float4 v = load_row4(from, e, x.ne[0]);
            float top = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
            top = fmaxf(top, shuffle_xor(top, 1));
            top = fmaxf(top, shuffle_xor(top, 2));
            top = fmaxf(top, shuffle_xor(top, 4));
            const float inverse = top > 0.0f ? 127.0f / top : 0.0f;
            const int q0 = __float2int_rn(v.x * inverse), q1 = __float2int_rn(v.y * inverse);
            const int q2 = __float2int_rn(v.z * inverse), q3 = __float2int_rn(v.w * inverse);
            *(uint32_t *) (to + e) = (q0 & 255) | (q1 & 255) << 8 | (q2 & 255) << 16 | (uint32_t) (q3 & 255) << 24;
            int sum = q0 + q1 + q2 + q3;
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            sum += shuffle_xor(sum, 4);
            if (threadIdx.x % 8 == 0) {
                const float d = f16_to_f32(f32_to_f16(top / 127.0f));
                ((float2 *) (to + k_padded))[e / 32] = make_float2(d, d * sum);
            }
        }
    }
}

// `pack` makes a word of two elements.
template <typename Pack> DEVICE void round_rows(const Tensor & x, char * out, int64_t k_padded, Pack pack) {
    const int64_t rows = n_rows(x);
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const float * from = (const float *) row_of(x, row);
        char * to = out + row * k_padded * 2;
        for (int64_t e = blockIdx.x * 1024 + threadIdx.x * 4; e < k_padded; e += gridDim.x * 1024) {
            const float4 v = load_row4(from, e, x.ne[0]);
            *(uint2 *) (to + 2 * e) = make_uint2(pack(v.x, v.y), pack(v.z, v.w));
        }
    }
}

// Finite values beyond f16 stay finite: the largest f16 instead of infinity.
DEVICE float clamp_f16(float x) {
    return fabsf(x) <= 65504.0f || !(fabsf(x) < INFINITY) ? x : copysignf(65504.0f, x);
}

KERNEL(round_f16, 256, Tensor x, char * out, int64_t k_padded) {
    round_rows(x, out, k_padded, [](float a, float b) { return pack_f16(clamp_f16(a), clamp_f16(b)); });
}
KERNEL(round_bf16, 256, Tensor x, char * out, int64_t k_padded) {
    round_rows(x, out, k_padded, [](float a, float b) { return pack_bf16(a, b); });
}
