// Drives the reference's samplers through llama.h and prints what survives and what is drawn.
//
//   sampler gen N SEED          writes N seeded cases to stdout
//   sampler run < cases         writes one header line and `draws` result lines per case
//
// A case is one line: N_VOCAB KIND LOGIT_SEED N_PRIME N_DRAWS [; SAMPLER ARG...]...
//   KIND      shape of the logits, see `logit_of`
//   N_PRIME   tokens accepted before the first draw
//   floats are 8 hex digits of their bits
// A result line: CHOSEN N_LEFT SORTED HASH(ids, logits) HASH(p) then up to 4 survivors as ID:LOGIT:P (hex bits).
#include "llama.h"

#include <cinttypes>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

struct splitmix {
    uint64_t s;
    uint64_t next() {
        uint64_t z = (s += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
    template <class T, size_t N> T pick(const T (&xs)[N]) { return xs[next() % N]; }
};

static uint32_t bits(float f) {
    if (std::isnan(f)) return 0x7fc00000u;
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static float logit_of(int kind, uint64_t r, int i, int n) {
    const float u = (float) (r >> 40) * (1.0f / 16777216.0f);
    const float special[] = { -INFINITY, INFINITY, 0.0f, -0.0f, 1.0f };
    switch (kind) {
        case 0: return u * 20.0f - 10.0f;
        case 1: return ((float) ((r >> 33) % 9) - 4.0f) * 0.5f;
        case 2: return u * 80.0f - 40.0f;
        case 3: return (r & 7) == 0 ? u * 20.0f - 10.0f : -INFINITY;
        case 4: { const float v = u * u; return v * v * 30.0f - 10.0f; }
        case 5: return 1.5f;
        case 6: { const float f = from_bits((uint32_t) (r >> 32)); return std::isnan(f) ? 0.0f : f; }
        case 7: return u * 2000000.0f - 1000000.0f;
        case 8: return ((float) ((r >> 33) % 64) - 32.0f) * 0.25f;
        case 9: return (float) i * 0.0009765625f;
        case 10: return (float) (n - i) * 0.0009765625f;
        case 11: return (float) (i < n - i ? i : n - i) * 0.0000152587890625f;
        default: return special[(r >> 33) % 5];
    }
}
enum { N_KINDS = 13 };

static void gen(int n, uint64_t seed) {
    splitmix g{seed};
    const int   top_k[]    = { 0, -1, 1, 2, 5, 40, 40, 127, 128, 129, 200, 1000, 100000 };
    const float top_p[]    = { 0.0f, 0.1f, 0.5f, 0.9f, 0.95f, 0.95f, 0.999f, 1.0f, 1.2f, -1.0f };
    const float min_p[]    = { 0.0f, -1.0f, 0.001f, 0.01f, 0.05f, 0.05f, 0.1f, 0.5f, 1.0f, 1.5f };
    const int   min_keep[] = { 0, 0, 1, 2, 5, 300 };
    const float temp[]     = { 0.8f, 0.8f, 0.7f, 1.0f, 0.0f, -1.0f, 0.001f, 1.5f, 100.0f };
    const float repeat[]   = { 1.0f, 1.1f, 1.5f, 0.5f };
    const float freq[]     = { 0.0f, 0.1f, -0.3f, 2.0f };
    const int   last_n[]   = { 0, -1, 1, 3, 64, 1000 };
    const int   vocab[]    = { 1, 2, 3, 16, 17, 100, 128, 129, 256, 500, 1024, 1025, 2000, 5000 };
    for (int c = 0; c < n; ++c) {
        int n_vocab = g.next() % 50 == 0 ? 32000 : g.pick(vocab);
        if (g.next() % 3 == 0) n_vocab = 1 + (int) (g.next() % n_vocab);
        printf("%d %d %" PRIu64 " %d %d", n_vocab, (int) (g.next() % N_KINDS), g.next() % 1000000, (int) (g.next() % 40), 1 + (int) (g.next() % 4));
        int order[] = { 0, 1, 2, 3, 4 };
        if (g.next() % 3 == 0) {
            for (int i = 4; i > 0; --i) std::swap(order[i], order[g.next() % (i + 1)]);
        }
        for (int s : order) {
            if (g.next() % 3 == 0) continue;
            switch (s) {
                case 0: {
                    const float present = g.pick(freq), f = g.pick(freq), r = g.pick(repeat);
                    printf(" ; penalties %d %08x %08x %08x", g.pick(last_n), bits(r), bits(f), bits(present));
                    break;
                }
                case 1: printf(" ; top_k %d", g.pick(top_k)); break;
                case 2: { const int k = g.pick(min_keep); printf(" ; top_p %08x %d", bits(g.pick(top_p)), k); break; }
                case 3: { const int k = g.pick(min_keep); printf(" ; min_p %08x %d", bits(g.pick(min_p)), k); break; }
                case 4: printf(" ; temp %08x", bits(g.pick(temp))); break;
            }
        }
        const int end = g.next() % 8;
        if (end == 0) printf(" ; greedy");
        else if (end > 1) printf(" ; dist %u", (uint32_t) (g.next() & 0x7fffffff));
        printf("\n");
    }
}

static uint64_t fnv(uint64_t h, uint32_t v) {
    for (int i = 0; i < 4; ++i) {
        h = (h ^ ((v >> (8 * i)) & 0xff)) * 0x100000001b3ull;
    }
    return h;
}

static llama_sampler * parse(const std::string & text, int n_vocab) {
    std::istringstream in(text);
    std::string name;
    in >> name;
    auto i32 = [&] { long v = 0; in >> v; return (int32_t) v; };
    auto f32 = [&] { std::string h; in >> h; return from_bits((uint32_t) std::stoul(h, nullptr, 16)); };
    if (name == "greedy") return llama_sampler_init_greedy();
    if (name == "dist") { uint32_t seed = 0; in >> seed; return llama_sampler_init_dist(seed); }
    if (name == "temp") return llama_sampler_init_temp(f32());
    if (name == "top_k") return llama_sampler_init_top_k(i32());
    if (name == "top_p") { const float p = f32(); return llama_sampler_init_top_p(p, (size_t) i32()); }
    if (name == "min_p") { const float p = f32(); return llama_sampler_init_min_p(p, (size_t) i32()); }
    if (name == "penalties") {
        const int32_t n = i32();
        const float r = f32(), f = f32(), p = f32();
        return llama_sampler_init_penalties(n_vocab, n, r, f, p);
    }
    fprintf(stderr, "unknown sampler '%s'\n", name.c_str());
    exit(1);
}

static void run() {
    std::string line;
    std::vector<llama_token_data> data;
    while (std::getline(std::cin, line)) {
        if (line.empty() || line[0] == '#') continue;
        printf("= %s\n", line.c_str());
        std::istringstream parts(line);
        std::string part;
        std::getline(parts, part, ';');
        std::istringstream head(part);
        int n_vocab = 0, kind = 0, n_prime = 0, n_draws = 0;
        uint64_t seed = 0;
        head >> n_vocab >> kind >> seed >> n_prime >> n_draws;
        llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
        while (std::getline(parts, part, ';')) llama_sampler_chain_add(chain, parse(part, n_vocab));
        splitmix g{seed};
        for (int i = 0; i < n_prime; ++i) llama_sampler_accept(chain, (llama_token) (g.next() % n_vocab));
        for (int d = 0; d < n_draws; ++d) {
            data.resize(n_vocab);
            for (int i = 0; i < n_vocab; ++i) data[i] = { i, logit_of(kind, g.next(), i, n_vocab), 0.0f };
            llama_token_data_array cur = { data.data(), data.size(), -1, false };
            llama_sampler_apply(chain, &cur);
            const llama_token chosen = cur.selected < 0 ? -1 : cur.data[cur.selected].id;
            if (chosen >= 0) llama_sampler_accept(chain, chosen);
            uint64_t hl = 0xcbf29ce484222325ull, hp = hl;
            for (size_t i = 0; i < cur.size; ++i) {
                hl = fnv(fnv(hl, (uint32_t) cur.data[i].id), bits(cur.data[i].logit));
                hp = fnv(hp, bits(cur.data[i].p));
            }
            printf("%d %zu %d %016" PRIx64 " %016" PRIx64, chosen, cur.size, cur.sorted ? 1 : 0, hl, hp);
            for (size_t i = 0; i < cur.size && i < 4; ++i) {
                printf(" %d:%08x:%08x", cur.data[i].id, bits(cur.data[i].logit), bits(cur.data[i].p));
            }
            printf("\n");
        }
        llama_sampler_free(chain);
    }
}

int main(int argc, char ** argv) {
    if (argc == 4 && std::string(argv[1]) == "gen") {
        gen(atoi(argv[2]), strtoull(argv[3], nullptr, 10));
    } else if (argc == 2 && std::string(argv[1]) == "run") {
        run();
    } else {
        fprintf(stderr, "usage: sampler gen N SEED | sampler run < cases\n");
        return 1;
    }
    return 0;
}
