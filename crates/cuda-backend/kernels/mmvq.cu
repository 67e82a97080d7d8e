// Matrix-vector products with quantised weights: dst[n, m] = w[k, n] x[k, m], for few columns m.
//
// Bound by the bytes of the weights. Each lane takes whole pieces of a row (see quants.cuh) in as few and as
// wide loads as the format's alignment allows, and multiplies bytes by dp4a. Block: 4 warps; `split` (1, 2 or 4)
// of them share a row, for long rows in small matrices; with more than one column a warp takes two rows, so
// that activations, which come from cache, are loaded half as often.
//
// `x` holds rows as quantize_q8_1 leaves them, counted over dimensions 1 to 3 of dst; w is repeated over the
// outer dimensions. Grid x: 4 / split * rows of w; y: columns; z: outer dimensions.
#include "quants.cuh"

template <typename Q, int kColumns> DEVICE void mat_vec(const Tensor & dst, const Tensor & w, const char * x,
                                                        int64_t k_padded, int split) {
    constexpr int kRows = kColumns == 1 ? 1 : 2;
    __shared__ float parts[4][kRows * kColumns];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int group = warp / split, part = warp % split;
    const int64_t row0 = ((int64_t) blockIdx.x * (4 / split) + group) * kRows;
    const int64_t column0 = (int64_t) blockIdx.y * kColumns;
    const int64_t i2 = blockIdx.z % dst.ne[2], i3 = blockIdx.z / dst.ne[2];
    const char * base = w.data + i2 / (dst.ne[2] / w.ne[2]) * w.nb[2] + i3 / (dst.ne[3] / w.ne[3]) * w.nb[3];
    const uint8_t * rows[kRows];
#pragma unroll
    for (int r = 0; r < kRows; r++) rows[r] = (const uint8_t *) base + smaller(row0 + r, w.ne[1] - 1) * w.nb[1];
    const int64_t x_bytes = k_padded / 4 * 5;
    const char * columns[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; c++) {
        const int64_t column = smaller(column0 + c, dst.ne[1] - 1);
        columns[c] = x + (column + dst.ne[1] * blockIdx.z) * x_bytes;
    }
    float sums[kRows * kColumns] = {};
    const int n_pieces = (int) (w.ne[0] / Q::kElements);
#pragma unroll(kColumns == 1 ? 4 : kColumns == 2 ? 2 : 1)
    for (int p = part * 32 + lane; p < n_pieces; p += 32 * split) {
        typename Q::Piece pieces[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) pieces[r] = Q::load(rows[r], p);
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
            const int8_t * q = (const int8_t *) columns[c];
            const float2 * d = (const float2 *) (columns[c] + k_padded);
#pragma unroll
            for (int r = 0; r < kRows; r++) sums[r * kColumns + c] += Q::dot(pieces[r], q, d, p);
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

#define MAT_VEC(name, Q, columns)                                                                         \
    KERNEL(name, 128, Tensor dst, Tensor w, const char * x, int64_t k_padded, int32_t split) {            \
        mat_vec<Q, columns>(dst, w, x, k_padded, split);                                                  \
    }

MAT_VEC(mmvq_q4_0_1, Q4_0, 1)
MAT_VEC(mmvq_q4_0_2, Q4_0, 2)
MAT_VEC(mmvq_q4_0_4, Q4_0, 4)
MAT_VEC(mmvq_q4_0_8, Q4_0, 8)
MAT_VEC(mmvq_q5_0_1, Q5_0, 1)
MAT_VEC(mmvq_q5_0_2, Q5_0, 2)
MAT_VEC(mmvq_q5_0_4, Q5_0, 4)
MAT_VEC(mmvq_q5_0_8, Q5_0, 8)
MAT_VEC(mmvq_q8_0_1, Q8_0, 1)
MAT_VEC(mmvq_q8_0_2, Q8_0, 2)
MAT_VEC(mmvq_q8_0_4, Q8_0, 4)
MAT_VEC(mmvq_q8_0_8, Q8_0, 8)
MAT_VEC(mmvq_q4_k_1, Q4_K, 1)
MAT_VEC(mmvq_q4_k_2, Q4_K, 2)
MAT_VEC(mmvq_q4_k_4, Q4_K, 4)
MAT_VEC(mmvq_q4_k_8, Q4_K, 8)
MAT_VEC(mmvq_q5_k_1, Q5_K, 1)
MAT_VEC(mmvq_q5_k_2, Q5_K, 2)
MAT_VEC(mmvq_q5_k_4, Q5_K, 4)
MAT_VEC(mmvq_q5_k_8, Q5_K, 8)
MAT_VEC(mmvq_q6_k_1, Q6_K, 1)
MAT_VEC(mmvq_q6_k_2, Q6_K, 2)
MAT_VEC(mmvq_q6_k_4, Q6_K, 4)
MAT_VEC(mmvq_q6_k_8, Q6_K, 8)
MAT_VEC(mmvq_mxfp4_1, MXFP4, 1)
MAT_VEC(mmvq_mxfp4_2, MXFP4, 2)
MAT_VEC(mmvq_mxfp4_4, MXFP4, 4)
MAT_VEC(mmvq_mxfp4_8, MXFP4, 8)
