// ROPE: rotary position embedding with YaRN scaling and per-frequency divisors.
//
// x and dst [head size, heads, tokens, ..] of f32, pos i32 [tokens]. Block 256; grid x: a thread per pair of
// elements. dst may be x. The angle is multiplied on from pair to pair in f32 as the CPU does it: a power
// would differ in the last bits, which far positions blow up; the few multiplications hide behind memory.
#include "common.cuh"

template <bool kNeox> DEVICE void rotate(const Tensor & dst, const Tensor & x, const Tensor & pos,
                                         const float * factors, int n_dims, float theta_scale, float freq_scale,
                                         float ext_factor, float magnitude, float ramp_low, float ramp_high) {
    // The last element of an odd row counts as a pair.
    const int64_t pairs = (dst.ne[0] + 1) / 2, total = pairs * n_rows(dst);
    for (int64_t at = (int64_t) blockIdx.x * 256 + threadIdx.x; at < total; at += (int64_t) gridDim.x * 256) {
        const int64_t row = at / pairs;
        const int pair = (int) (at % pairs);
        const float * from = (const float *) row_of(x, row);
        float * to = (float *) row_of(dst, row);
        if (2 * pair >= n_dims) {
            to[2 * pair] = from[2 * pair];
            if (2 * pair + 1 < dst.ne[0]) to[2 * pair + 1] = from[2 * pair + 1];
            continue;
        }
        float theta = (float) ((const int32_t *) pos.data)[row / dst.ne[1] % dst.ne[2]];
        for (int i = 0; i < pair; i++) theta *= theta_scale;
        const float extrapolated = factors ? theta / factors[pair] : theta;
        const float interpolated = freq_scale * extrapolated;
        float angle = interpolated;
        if (ext_factor != 0.0f) {
            const float along = (pair - ramp_low) / fmaxf(ramp_high - ramp_low, 0.001f);
            const float mix = (1.0f - fminf(fmaxf(along, 0.0f), 1.0f)) * ext_factor;
            angle = interpolated * (1.0f - mix) + extrapolated * mix;
        }
        float sine, cosine;
        sincosf(angle, &sine, &cosine);
        sine *= magnitude;
        cosine *= magnitude;
        const int first = kNeox ? pair : 2 * pair, second = kNeox ? pair + n_dims / 2 : 2 * pair + 1;
        const float a = from[first], b = from[second];
        to[first] = a * cosine - b * sine;
        to[second] = a * sine + b * cosine;
    }
}

KERNEL(rope_norm, 256, Tensor dst, Tensor x, Tensor pos, const float * factors, int32_t n_dims, float theta_scale,
       float freq_scale, float ext_factor, float magnitude, float ramp_low, float ramp_high) {
    rotate<false>(dst, x, pos, factors, n_dims, theta_scale, freq_scale, ext_factor, magnitude, ramp_low, ramp_high);
}
KERNEL(rope_neox, 256, Tensor dst, Tensor x, Tensor pos, const float * factors, int32_t n_dims, float theta_scale,
       float freq_scale, float ext_factor, float magnitude, float ramp_low, float ramp_high) {
    rotate<true>(dst, x, pos, factors, n_dims, theta_scale, freq_scale, ext_factor, magnitude, ramp_low, ramp_high);
}
