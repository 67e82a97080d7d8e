// GET_ROWS: dst[i] = src[ids[i]], converted to f32. Bound by the bytes of the rows.
//
// Block 256; grid x: picked rows, y: 1024 elements. A row number out of range adds 1 to *status.
#include "quants.cuh"

// Calls copy(source row, destination row) for each picked row of this block.
template <typename Copy> DEVICE void pick_rows(const Tensor & dst, const Tensor & src, const Tensor & ids,
                                               int32_t * status, Copy copy) {
    for (int64_t i = blockIdx.x; i < ids.ne[0]; i += gridDim.x) {
        const int64_t id = ((const int32_t *) ids.data)[i];
        if (id < 0 || id >= src.ne[1]) {
            if (threadIdx.x == 0 && blockIdx.y == 0) add_atomic(status, 1);
            continue;
        }
        copy(src.data + id * src.nb[1], dst.data + i * dst.nb[1]);
    }
}

// `convert` gives element e of a row.
template <typename Out, typename Convert> DEVICE void pick_plain(const Tensor & dst, const Tensor & src, const Tensor & ids,
                                                   int32_t * status, Convert convert) {
    pick_rows(dst, src, ids, status, [&](const char * from, char * to) {
        for (int64_t e = blockIdx.y * 256 + threadIdx.x; e < dst.ne[0]; e += gridDim.y * 256)
            ((Out *) to)[e] = convert(from, e);
    });
}

template <typename Q> DEVICE void pick_quantised(const Tensor & dst, const Tensor & src, const Tensor & ids,
                                                 int32_t * status) {
    pick_rows(dst, src, ids, status, [&](const char * from, char * to) {
        for (int64_t i = blockIdx.y * 256 + threadIdx.x; i < dst.ne[0] / 16; i += gridDim.y * 256) {
            float values[16];
            Q::dequantize16((const uint8_t *) from, (int) i, values);
            float * out = (float *) to + 16 * i;
#pragma unroll
            for (int j = 0; j < 16; j++) out[j] = values[j];
        }
    });
}

// 4-byte elements as they are.
KERNEL(get_rows_32, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_plain<uint32_t>(dst, src, ids, status, [](const char * row, int64_t e) { return ((const uint32_t *) row)[e]; });
}
KERNEL(get_rows_f16, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_plain<float>(dst, src, ids, status,
                      [](const char * row, int64_t e) { return f16_to_f32(((const uint16_t *) row)[e]); });
}
KERNEL(get_rows_bf16, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_plain<float>(dst, src, ids, status,
                      [](const char * row, int64_t e) { return bf16_to_f32(((const uint16_t *) row)[e]); });
}
KERNEL(get_rows_q4_0, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_quantised<Q4_0>(dst, src, ids, status);
}
KERNEL(get_rows_q5_0, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_quantised<Q5_0>(dst, src, ids, status);
}
KERNEL(get_rows_q8_0, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_quantised<Q8_0>(dst, src, ids, status);
}
KERNEL(get_rows_q4_k, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_quantised<Q4_K>(dst, src, ids, status);
}
KERNEL(get_rows_q5_k, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_quantised<Q5_K>(dst, src, ids, status);
}
KERNEL(get_rows_q6_k, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_quantised<Q6_K>(dst, src, ids, status);
}
KERNEL(get_rows_mxfp4, 256, Tensor dst, Tensor src, Tensor ids, int32_t * status) {
    pick_quantised<MXFP4>(dst, src, ids, status);
}
