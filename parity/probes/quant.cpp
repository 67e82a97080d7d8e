// Runs the reference's conversions and dot products over seeded rows and prints a hash of each result.
//
//   quant TYPE SEED FIRST N HOSTILE     N chunks from number FIRST, one line each
//
// TYPE is a ggml type id. A chunk is 12 rows of 512 floats, one of each kind (see `fill`); with HOSTILE every
// row is arbitrary bits, NaN and infinity included. A line:
//   CHUNK INPUT PLAIN WEIGHTED CPU EXPANDED RANDOM DOT VERDICTS
// hashes of the floats, ggml_quantize_chunk without and with importances, from_float of the CPU library,
// to_float of PLAIN and of arbitrary bytes, the portable dot products of both with the next row's activations,
// and ggml_validate_row_data of arbitrary bytes; `-` where the reference has no such function.
// With HOSTILE, blocks are compared by what they expand to: the sign of a NaN scale is the compiler's choice
// of operand order. Quants of `iq4_nl` blocks of zeros are left out of CPU: the reference does not set them.
#include "ggml.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#define GGML_COMMON_DECL_C
#define GGML_COMMON_IMPL_C
#include "ggml-common.h"
#include "ggml-cpu/ggml-cpu-impl.h"
#include "ggml-cpu/simd-mappings.h"
#include "ggml-quants.h"
#include "ggml-cpu/quants.h"
#include "ggml-cpu/arch-fallback.h"

#include <cassert>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

// The portable dot products of a build contract multiply-adds to FMA where its flags allow it. Compiled here,
// without, they are the same on every machine. (They are C; the conversions of pointers need -fpermissive.)
namespace generic {

#include "ggml-cpu/quants.c"
}

struct splitmix {
    uint64_t s;
    uint64_t next() {
        uint64_t z = (s += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
    float uniform() { return (float) (next() >> 40) * 0x1p-24f; }
    float bell() {
        float sum = uniform();
        for (int i = 0; i < 3; i++) sum = sum + uniform();
        return (sum - 2.0f) * 1.75f;
    }
    float bits() {
        const uint32_t u = (uint32_t) (next() >> 32);
        float f;
        memcpy(&f, &u, 4);
        return f;
    }
};

static const int ROW = 512;
static const int ROWS = 12;

static float pow2(int e) {
    const uint32_t u = (uint32_t) (127 + e) << 23;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static void fill(splitmix & r, int kind, float * x) {
    const int e = (int) (r.next() % 24);
    const float constant = r.bell();
    float scale = 1.0f;
    for (int i = 0; i < ROW; i++) {
        if (i % 32 == 0) scale = r.next() % 4 == 0 ? 0.0f : pow2((int) (r.next() % 8) - 4);
        switch (kind) {
            case 0: x[i] = r.bell() * pow2(e - 12); break;
            case 1: { const float g = r.bell(); x[i] = g * g * g * g * g * pow2(e - 12); } break;
            case 2: x[i] = constant; break;
            case 3: x[i] = r.next() % 8 == 0 ? -0.0f : 0.0f; break;
            case 4: x[i] = r.bell() * pow2(-110) * pow2(-e); break;
            case 5: x[i] = r.bell() * pow2(100) * pow2(e); break;
            case 6: { const float f = r.bits(); x[i] = std::isfinite(f) ? f : 1.0f; } break;
            case 7: x[i] = r.next() % 8 == 0 ? r.bell() : 0.0f; break;
            case 8: x[i] = ((float) (r.next() % 33) - 16.0f) * 0.125f; break;
            case 9: x[i] = 1.0f + r.uniform(); break;
            case 10: x[i] = -1.0f + r.uniform() * pow2(-8 - e / 2); break;
            case 11: x[i] = r.bell() * scale; break;
            default: x[i] = r.bits(); break;
        }
    }
}

struct fnv {
    uint64_t h = 0xcbf29ce484222325ull;
    void byte(uint8_t b) { h = (h ^ b) * 0x100000001b3ull; }
    void bytes(const std::vector<uint8_t> & v) { for (uint8_t b : v) byte(b); }
    // One NaN for all.
    void number(float f) {
        uint32_t u;
        memcpy(&u, &f, 4);
        if (f != f) u = 0x7fc00000u;
        h = (h ^ u) * 0x100000001b3ull;
    }
};

typedef void (*dot_t)(int, float *, size_t, const void *, size_t, const void *, size_t, int);

static dot_t dot_of(int type) {
    switch (type) {
#define DOT(T, NAME) case GGML_TYPE_##T: return (dot_t) generic::ggml_vec_dot_##NAME##_generic;
        DOT(Q4_0, q4_0_q8_0) DOT(Q4_1, q4_1_q8_1) DOT(Q5_0, q5_0_q8_0) DOT(Q5_1, q5_1_q8_1) DOT(Q8_0, q8_0_q8_0)
        DOT(Q2_K, q2_K_q8_K) DOT(Q3_K, q3_K_q8_K) DOT(Q4_K, q4_K_q8_K) DOT(Q5_K, q5_K_q8_K) DOT(Q6_K, q6_K_q8_K)
        DOT(IQ4_NL, iq4_nl_q8_0) DOT(IQ4_XS, iq4_xs_q8_K) DOT(TQ1_0, tq1_0_q8_K) DOT(TQ2_0, tq2_0_q8_K)
        DOT(MXFP4, mxfp4_q8_0) DOT(NVFP4, nvfp4_q8_0) DOT(Q1_0, q1_0_q8_0) DOT(Q2_0, q2_0_q8_0)
        DOT(IQ2_XXS, iq2_xxs_q8_K) DOT(IQ2_XS, iq2_xs_q8_K) DOT(IQ2_S, iq2_s_q8_K) DOT(IQ3_XXS, iq3_xxs_q8_K)
        DOT(IQ3_S, iq3_s_q8_K) DOT(IQ1_S, iq1_s_q8_K) DOT(IQ1_M, iq1_m_q8_K)
#undef DOT
        default: return nullptr;
    }
}

// The blocks' bytes, or what they expand to.
static uint64_t blocks_hash(const ggml_type_traits * traits, const std::vector<uint8_t> & bytes, bool hostile) {
    fnv f;
    if (!hostile || !traits->to_float) {
        f.bytes(bytes);
        return f.h;
    }
    std::vector<float> y(ROW * ROWS);
    traits->to_float(bytes.data(), y.data(), ROW * ROWS);
    for (float v : y) f.number(v);
    return f.h;
}

static void print(bool there, uint64_t hash) {
    if (there) printf(" %016llx", (unsigned long long) hash); else printf(" -");
}

static bool in_chunk_table(int type) {
    switch (type) {
        case GGML_TYPE_Q8_1: case GGML_TYPE_Q8_K: case GGML_TYPE_F64: case GGML_TYPE_I8: case GGML_TYPE_I16:
        case GGML_TYPE_I32: case GGML_TYPE_I64: return false;
        default: return true;
    }
}

int main(int argc, char ** argv) {
    if (argc != 6) return 2;
    const int type = atoi(argv[1]);
    const uint64_t seed = strtoull(argv[2], nullptr, 10);
    const int first = atoi(argv[3]), n = atoi(argv[4]), hostile = atoi(argv[5]);
    ggml_cpu_init();
    const ggml_type t = (ggml_type) type;
    const auto * traits = ggml_get_type_traits(t);
    const auto * cpu = ggml_get_type_traits_cpu(t);
    const dot_t dot = dot_of(type);
    const size_t row_bytes = ggml_row_size(t, ROW);
    // The reference says on stderr what it refuses; only the verdict is wanted.
    if (!freopen("/dev/null", "w", stderr)) return 3;

    const bool grid = type == GGML_TYPE_IQ2_XXS || type == GGML_TYPE_IQ2_XS || type == GGML_TYPE_IQ2_S ||
                      type == GGML_TYPE_IQ3_XXS || type == GGML_TYPE_IQ3_S || type == GGML_TYPE_IQ1_S || type == GGML_TYPE_IQ1_M;
    for (int c = first; c < first + n; c++) {
        splitmix r = { seed + ((uint64_t) type << 48) + ((uint64_t) c << 8) };
        std::vector<float> x(ROW * ROWS), w(ROW), y(ROW * ROWS);
        for (int i = 0; i < ROWS; i++) {
            // The grid types' searches abort on rows of extreme magnitudes, and IQ3_S misplaces what follows 32 zeros.
            const bool extreme = grid && i >= 4 && i <= 6;
            const bool sparse = type == GGML_TYPE_IQ3_S && (i == 7 || i == 11);
            fill(r, hostile ? -1 : extreme || sparse ? 0 : i, &x[ROW * i]);
        }
        for (float & v : w) {
            const float u = r.uniform();
            v = hostile ? r.bits() : c % 8 == 7 || r.next() % 16 == 0 ? 0.0f : u * u * 4.0f;
        }
        std::vector<uint8_t> junk(row_bytes * ROWS);
        for (uint8_t & b : junk) b = (uint8_t) (r.next() >> 56);

        fnv input;
        for (float v : x) input.number(v);
        for (float v : w) input.number(v);
        printf("%d", c);
        print(true, input.h);

        const bool table = in_chunk_table(type);
        std::vector<uint8_t> plain(row_bytes * ROWS);
        if (table && !ggml_quantize_requires_imatrix(t)) {
            ggml_quantize_chunk(t, x.data(), plain.data(), 0, ROWS, ROW, nullptr);
        } else if (traits->from_float_ref && !ggml_quantize_requires_imatrix(t)) {
            traits->from_float_ref(x.data(), plain.data(), ROW * ROWS);
        } else if (t == GGML_TYPE_Q8_K) {
            quantize_row_q8_K_ref(x.data(), (block_q8_K *) plain.data(), ROW * ROWS);
        }
        const bool plainly = (table || t == GGML_TYPE_Q8_1 || t == GGML_TYPE_Q8_K) && !ggml_quantize_requires_imatrix(t);
        print(plainly, blocks_hash(traits, plain, hostile));

        if (table) {
            std::vector<uint8_t> out(row_bytes * ROWS);
            ggml_quantize_chunk(t, x.data(), out.data(), 0, ROWS, ROW, w.data());
            print(true, blocks_hash(traits, out, hostile));
            if (!plainly) plain = out;
        } else print(false, 0);

        if (cpu->from_float) {
            std::vector<uint8_t> out(row_bytes * ROWS);
            for (int i = 0; i < ROWS; i++) cpu->from_float(&x[ROW * i], &out[row_bytes * i], ROW);
            for (size_t at = 0; t == GGML_TYPE_IQ4_NL && at < out.size(); at += 18) {
                if (out[at] == 0 && (out[at + 1] & 0x7f) == 0) memset(&out[at + 2], 0, 16);
            }
            print(true, blocks_hash(traits, out, hostile));
        } else print(false, 0);

        for (const auto * bytes : { &plain, &junk }) {
            const bool there = traits->to_float || t == GGML_TYPE_Q8_K || t == GGML_TYPE_F32;
            fnv f;
            if (there) {
                if (t == GGML_TYPE_Q8_K) dequantize_row_q8_K((const block_q8_K *) bytes->data(), y.data(), ROW * ROWS);
                else if (t == GGML_TYPE_F32) memcpy(y.data(), bytes->data(), bytes->size());
                else traits->to_float(bytes->data(), y.data(), ROW * ROWS);
                for (float v : y) f.number(v);
            }
            print(there, f.h);
        }

        fnv d;
        if (dot) {
            const auto * partner = ggml_get_type_traits_cpu(cpu->vec_dot_type);
            std::vector<uint8_t> a(ggml_row_size(cpu->vec_dot_type, ROW));
            for (int i = 0; i < ROWS; i++) {
                partner->from_float(&x[ROW * ((i + 1) % ROWS)], a.data(), ROW);
                for (const auto * bytes : { &plain, &junk }) {
                    float s = 0;
                    dot(ROW, &s, 0, bytes->data() + row_bytes * i, 0, a.data(), 0, 1);
                    d.number(s);
                }
            }
        }
        print(dot != nullptr, d.h);

        // Arbitrary blocks are hardly ever all finite, so block by block.
        fnv v;
        const size_t block = ggml_type_size(t);
        for (size_t at = 0; at + block <= junk.size(); at += block) v.byte(ggml_validate_row_data(t, &junk[at], block));
        v.byte(ggml_validate_row_data(t, plain.data(), plain.size()));
        v.byte(ggml_validate_row_data(t, junk.data(), block - 1));
        print(true, v.h);
        printf("\n");
    }
}
