// Matrix-vector products with weights in f32, f16 and bf16; as mmvq.cu, but `x` is f32 where it lies.
//
// A lane takes 8 elements at a time: 16 or 32 bytes of weights in one or two loads where rows are aligned to 16
// bytes and k is a multiple of 8, element by element otherwise. For bf16 weights activations are rounded to
// bf16, as the reference's CPU backend does.
#include "common.cuh"

struct F32 {
    static constexpr int kBytes = 4;
    DEVICE_MEMBER float one(const char * row, int64_t i) { return ((const float *) row)[i]; }
    DEVICE_MEMBER void eight(const char * p, float out[8]) {
        const float4 a = *(const float4 *) p, b = *(const float4 *) (p + 16);
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
        out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    }
    DEVICE_MEMBER float activation(float x) { return x; }
};

struct F16 {
    static constexpr int kBytes = 2;
    DEVICE_MEMBER float one(const char * row, int64_t i) { return f16_to_f32(((const uint16_t *) row)[i]); }
    DEVICE_MEMBER void eight(const char * p, float out[8]) {
        const uint4 v = *(const uint4 *) p;
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            out[2 * j] = f16_to_f32((uint16_t) words[j]);
            out[2 * j + 1] = f16_to_f32((uint16_t) (words[j] >> 16));
        }
    }
    DEVICE_MEMBER float activation(float x) { return x; }
};

struct BF16 {
    static constexpr int kBytes = 2;
    DEVICE_MEMBER float one(const char * row, int64_t i) { return bf16_to_f32(((const uint16_t *) row)[i]); }
    DEVICE_MEMBER void eight(const char * p, float out[8]) {
        const uint4 v = *(const uint4 *) p;
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            out[2 * j] = bits_float(words[j] << 16);
            out[2 * j + 1] = bits_float(words[j] & 0xffff0000u);
        }
    }
    DEVICE_MEMBER float activation(float x) { return bf16_to_f32(f32_to_bf16(x)); }
};

template <typename W, int kColumns> DEVICE void mat_vec(const Tensor & dst, const Tensor & w, const Tensor & x, int split) {
    constexpr int kRows = kColumns == 1 ? 1 : 2;
    __shared__ float parts[4][kRows * kColumns];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int group = warp / split, part = warp % split;
    const int64_t row0 = ((int64_t) blockIdx.x * (4 / split) + group) * kRows;
    const int64_t column0 = (int64_t) blockIdx.y * kColumns;
    const int64_t i2 = blockIdx.z % dst.ne[2], i3 = blockIdx.z / dst.ne[2];
    const char * base = w.data + i2 / (dst.ne[2] / w.ne[2]) * w.nb[2] + i3 / (dst.ne[3] / w.ne[3]) * w.nb[3];
    const char * x_base = x.data + i2 * x.nb[2] + i3 * x.nb[3];
    const char * rows[kRows];
    bool wide = w.ne[0] % 8 == 0;
#pragma unroll
    for (int r = 0; r < kRows; r++) {
        rows[r] = base + smaller(row0 + r, w.ne[1] - 1) * w.nb[1];
        wide = wide && is_aligned16(rows[r]);
    }
    const char * columns[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; c++) {
        columns[c] = x_base + smaller(column0 + c, dst.ne[1] - 1) * x.nb[1];
        wide = wide && is_aligned16(columns[c]);
    }
    float sums[kRows * kColumns] = {};
    if (wide) {
        const int64_t k = w.ne[0];
#pragma unroll(kColumns > 4 ? 1 : 2)
        for (int64_t e = 8 * (part * 32 + lane); e < k; e += 256 * split) {
            float values[kRows][8];
#pragma unroll
            for (int r = 0; r < kRows; r++) W::eight(rows[r] + e * W::kBytes, values[r]);
#pragma unroll
            for (int c = 0; c < kColumns; c++) {
                float v[8];
                F32::eight(columns[c] + 4 * e, v);
#pragma unroll
                for (int j = 0; j < 8; j++) {
#pragma unroll
                    for (int r = 0; r < kRows; r++) sums[r * kColumns + c] += values[r][j] * W::activation(v[j]);
                }
            }
        }
    } else {
        for (int64_t e = part * 32 + lane; e < w.ne[0]; e += 32 * split) {
#pragma unroll
            for (int c = 0; c < kColumns; c++) {
                const float v = W::activation(((const float *) columns[c])[e]);
#pragma unroll
                for (int r = 0; r < kRows; r++) sums[r * kColumns + c] += W::one(rows[r], e) * v;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kRows * kColumns; i++) {
        sums[i] = warp_sum(sums[i]);
        if (lane == 0) parts[warp][i] = sums[i];
    }
    __syncthreads();
    if (part == 0 && lane < kRows * kColumns) {
        const int64_t row = row0 + lane / kColumns, column = column0 + lane % kColumns;
        if (row < dst.ne[0] && column < dst.ne[1]) {
            float sum = parts[warp][lane];
            for (int i = 1; i < split; i++) sum += parts[warp + i][lane];
            *(float *) (dst.data + row * 4 + column * dst.nb[1] + i2 * dst.nb[2] + i3 * dst.nb[3]) = sum;
        }
    }
}

#define MAT_VEC(name, W, columns) \
    KERNEL(name, 128, Tensor dst, Tensor w, Tensor x, int32_t split) { mat_vec<W, columns>(dst, w, x, split); }

MAT_VEC(mmvf_f32_1, F32, 1)
MAT_VEC(mmvf_f32_2, F32, 2)
MAT_VEC(mmvf_f32_4, F32, 4)
MAT_VEC(mmvf_f32_8, F32, 8)
MAT_VEC(mmvf_f16_1, F16, 1)
MAT_VEC(mmvf_f16_2, F16, 2)
MAT_VEC(mmvf_f16_4, F16, 4)
MAT_VEC(mmvf_f16_8, F16, 8)
MAT_VEC(mmvf_bf16_1, BF16, 1)
MAT_VEC(mmvf_bf16_2, BF16, 2)
MAT_VEC(mmvf_bf16_4, BF16, 4)
MAT_VEC(mmvf_bf16_8, BF16, 8)
