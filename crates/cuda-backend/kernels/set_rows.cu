// SET_ROWS: dst[ids[i]] = rows[i], converted to the table's type; of equal row numbers the last counts.
//
// Block 256; grid x: rows, y: 1024 elements. A row number out of range adds 1 to *status. Looking for a later
// equal number costs each block a glance at all numbers behind its own: they are a ubatch's at most.
#include "common.cuh"

template <typename Id, typename Out, typename Convert> DEVICE void put_rows(const Tensor & dst, const Tensor & rows,
                                                              const Tensor & ids, int32_t * status,
                                                              Convert convert) {
    const Id * numbers = (const Id *) ids.data;
    for (int64_t i = blockIdx.x; i < ids.ne[0]; i += gridDim.x) {
        const int64_t id = numbers[i];
        const bool bad = id < 0 || id >= dst.ne[1];
        if (bad && threadIdx.x == 0 && blockIdx.y == 0) add_atomic(status, 1);
        int again = 0;
        for (int64_t j = i + 1 + threadIdx.x; j < ids.ne[0]; j += 256) again |= numbers[j] == id;
        if (__syncthreads_or(again) || bad) continue;
        const float * from = (const float *) (rows.data + i * rows.nb[1]);
        Out * to = (Out *) (dst.data + id * dst.nb[1]);
        for (int64_t e = blockIdx.y * 256 + threadIdx.x; e < dst.ne[0]; e += gridDim.y * 256) to[e] = convert(from[e]);
    }
}

struct ToF32 {
    DEVICE_CALL float operator()(float x) const { return x; }
};
struct ToF16 {
    DEVICE_CALL uint16_t operator()(float x) const { return f32_to_f16(x); }
};
struct ToBf16 {
    DEVICE_CALL uint16_t operator()(float x) const { return f32_to_bf16(x); }
};

KERNEL(set_rows_f32_i64, 256, Tensor dst, Tensor rows, Tensor ids, int32_t * status) {
    put_rows<int64_t, float>(dst, rows, ids, status, ToF32());
}
KERNEL(set_rows_f16_i64, 256, Tensor dst, Tensor rows, Tensor ids, int32_t * status) {
    put_rows<int64_t, uint16_t>(dst, rows, ids, status, ToF16());
}
KERNEL(set_rows_bf16_i64, 256, Tensor dst, Tensor rows, Tensor ids, int32_t * status) {
    put_rows<int64_t, uint16_t>(dst, rows, ids, status, ToBf16());
}
KERNEL(set_rows_f32_i32, 256, Tensor dst, Tensor rows, Tensor ids, int32_t * status) {
    put_rows<int32_t, float>(dst, rows, ids, status, ToF32());
}
KERNEL(set_rows_f16_i32, 256, Tensor dst, Tensor rows, Tensor ids, int32_t * status) {
    put_rows<int32_t, uint16_t>(dst, rows, ids, status, ToF16());
}
KERNEL(set_rows_bf16_i32, 256, Tensor dst, Tensor rows, Tensor ids, int32_t * status) {
    put_rows<int32_t, uint16_t>(dst, rows, ids, status, ToBf16());
}
