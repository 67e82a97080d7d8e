// The matrix product of f32 with f32, without tensor cores: routers and small models keep weights in f32.
//
// A block makes 64 rows of w times 64 columns of x, a thread 4 times 4; k goes in steps of 16 through shared
// memory. Grid x: 64 rows of w; y: 64 columns; z: outer dimensions of dst, over which w is repeated.
#include "common.cuh"

KERNEL(mat_mul_f32, 256, Tensor dst, Tensor w, Tensor x) {
    __shared__ float w_tile[16][65], x_tile[16][65];
    const int64_t row0 = (int64_t) blockIdx.x * 64, column0 = (int64_t) blockIdx.y * 64;
    const int64_t i2 = blockIdx.z % dst.ne[2], i3 = blockIdx.z / dst.ne[2];
    const char * w_base = w.data + i2 / (dst.ne[2] / w.ne[2]) * w.nb[2] + i3 / (dst.ne[3] / w.ne[3]) * w.nb[3];
    const char * x_base = x.data + i2 * x.nb[2] + i3 * x.nb[3];
    const int tr = threadIdx.x % 16, tc = threadIdx.x / 16;
    float sums[4][4] = {};
    for (int64_t k0 = 0; k0 < w.ne[0]; k0 += 16) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int line = tc + 16 * i;
            const int64_t k = k0 + tr;
            const char * from_w = w_base + smaller(row0 + line, w.ne[1] - 1) * w.nb[1];
            const char * from_x = x_base + smaller(column0 + line, dst.ne[1] - 1) * x.nb[1];
            w_tile[tr][line] = k < w.ne[0] ? ((const float *) from_w)[k] : 0.0f;
            x_tile[tr][line] = k < w.ne[0] ? ((const float *) from_x)[k] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < 16; k++) {
            float a[4], b[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                a[i] = w_tile[k][tr + 16 * i];
                b[i] = x_tile[k][tc + 16 * i];
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] += a[i] * b[j];
            }
        }
        __syncthreads();
    }
    char * out = dst.data + i2 * dst.nb[2] + i3 * dst.nb[3];
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int64_t row = row0 + tr + 16 * i, column = column0 + tc + 16 * j;
            if (row < dst.ne[0] && column < dst.ne[1]) *(float *) (out + row * 4 + column * dst.nb[1]) = sums[i][j];
        }
    }
}
