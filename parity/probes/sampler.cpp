// Drives the reference's samplers through llama.h and prints what survives and what is drawn.
//
//   sampler gen N SEED          writes N seeded cases to stdout
//   sampler vgen N SEED         the same, with samplers that ask a vocabulary
//   sampler time N              for each line on stdin samples one row of N logits by the default chain, prints ns
//   sampler run [VOCAB] < cases writes one header line and `draws` result lines per case
//
// A case is one line: N_VOCAB KIND LOGIT_SEED N_PRIME N_DRAWS [; SAMPLER ARG...]...
//   KIND      shape of the logits, see `logit_of`
//   N_PRIME   tokens accepted before the first draw
//   floats are 8 hex digits of their bits, texts are bytes in hex
//   "clone" is no sampler: after the first draw a clone of the chain goes on in its place
// A result line: CHOSEN N_LEFT SORTED HASH(ids, logits) HASH(p) then up to 4 survivors as ID:LOGIT:P (hex bits).
// A line "rejected" instead of a result: a grammar did not take a token accepted before; the case ends there.
#include "llama.h"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

struct llama_sampler * llama_sampler_init_dry_testing(float, float, int32_t, int32_t, const std::vector<std::vector<llama_token>> &);

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

static void gen(int n, uint64_t seed, bool with_vocab) {
    splitmix g{seed};
    const int   top_k[]    = { 0, -1, 1, 2, 5, 40, 40, 127, 128, 129, 200, 1000, 100000 };
    const float top_p[]    = { 0.0f, 0.1f, 0.5f, 0.9f, 0.95f, 0.95f, 0.999f, 1.0f, 1.2f, -1.0f };
    const float min_p[]    = { 0.0f, -1.0f, 0.001f, 0.01f, 0.05f, 0.05f, 0.1f, 0.5f, 1.0f, 1.5f };
    const int   min_keep[] = { 0, 0, 1, 2, 5, 300 };
    const float temp[]     = { 0.8f, 0.8f, 0.7f, 1.0f, 0.0f, -1.0f, 0.001f, 1.5f, 100.0f };
    const float delta[]    = { 0.0f, 0.0f, 0.3f, 0.5f, 1.0f, 2.0f, -1.0f };
    const float exponent[] = { 1.0f, 0.5f, 2.0f, 1.7f, 0.0f };
    const float repeat[]   = { 1.0f, 1.1f, 1.5f, 0.5f };
    const float freq[]     = { 0.0f, 0.1f, -0.3f, 2.0f };
    const int   last_n[]   = { 0, -1, 1, 3, 64, 1000 };
    const float sigma[]    = { -1.0f, 0.0f, 0.5f, 1.0f, 1.5f, 3.0f };
    const float xtc_p[]    = { 0.0f, 0.1f, 0.5f, 1.0f, 1.0f };
    const float xtc_t[]    = { 0.0f, 0.01f, 0.05f, 0.1f, 0.3f, 0.5f, 0.6f };
    const float dry_mult[] = { 0.0f, 0.8f, 1.0f, 2.5f, -1.0f };
    const float dry_base[] = { 1.75f, 1.0f, 2.0f, 1.1f, 0.5f, 30.0f };
    const int   dry_len[]  = { 2, 1, 0, 3, 5, -1 };
    const float tau[]      = { 5.0f, 1.0f, 3.3f, 8.0f, 0.0f };
    const float eta[]      = { 0.1f, 0.01f, 0.9f };
    const int   mira_m[]   = { 100, 1, 2, 10, 0 };
    const float target[]   = { 0.0f, 0.1f, 0.25f, 0.5f, 1.0f, 1.5f, -1.0f };
    const float decay[]    = { 0.9f, 0.0f, 0.5f, 0.99f, 1.0f };
    const float bias[]     = { 1.0f, -1.0f, 100.0f, 0.25f, -INFINITY };
    const int   vocab[]    = { 1, 2, 3, 16, 17, 100, 128, 129, 256, 500, 1024, 1025, 2000, 5000 };
    const char * texts[]   = { "\n", ":", "\"", "*", ".", " the", "and ", "</s>", "ing", "\n\n", "\xc3\xa9", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz" };
    const char * grammars[] = {
        "root ::= .*", "root ::= [a-z ]+ [.!]?", "root ::= \"yes\" | \"no\" | [0-9]{2,}", "root ::= ([^a-m] [^\\n])* \"x\"",
        "root ::= \"{\" pair (\",\" pair)* \"}\"\npair ::= [a-c]+ \":\" (pair | [0-9]*)", "root ::= !<[300]> <[301]>? root | \"\"",
    };
    const char * patterns[] = { "[a-m]", "([0-9])", "x[^y]*(y)", "^[\\s\\S]*( [\\s\\S]*)$" };
    const auto hex = [](const char * t) { for (printf(" x"); *t; ++t) printf("%02x", (uint8_t) *t); };
    enum { N = 11 };
    for (int c = 0; c < n; ++c) {
        int n_vocab = g.next() % 50 == 0 ? 32000 : g.pick(vocab);
        if (g.next() % 3 == 0) n_vocab = 1 + (int) (g.next() % n_vocab);
        // The reference's infill compares all pairs of candidates; a grammar needs the bytes, which are the first tokens.
        const bool infill = with_vocab && g.next() % 3 == 0;
        const int grammar = with_vocab ? (int) (g.next() % 3) : 0;
        if (with_vocab) n_vocab = 1 + (int) (g.next() % (infill ? 250 : g.next() % 8 == 0 ? 32000 : 1000));
        if (grammar) n_vocab = std::min(n_vocab + 259, 32000);
        const int kind = (int) (g.next() % N_KINDS);
        printf("%d %d %" PRIu64 " %d %d", n_vocab, kind, g.next() % 1000000, grammar == 1 ? 0 : (int) (g.next() % 40), 1 + (int) (g.next() % 4));
        if (grammar == 1) { printf(" ; grammar"); hex(g.pick(grammars)); }
        if (grammar == 2) { printf(" ; grammar_lazy"); hex(g.pick(grammars)); hex(g.pick(patterns)); printf(" %d", (int) (g.next() % 400)); }
        // The common order; a third of the cases shuffle it, and each sampler is often left out.
        int order[N] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
        if (g.next() % 3 == 0) {
            for (int i = N - 1; i > 0; --i) std::swap(order[i], order[g.next() % (i + 1)]);
        }
        const int present = 1 + (int) (g.next() % 3);
        for (int s : order) {
            if ((int) (g.next() % 4) >= present) continue;
            const int k = g.pick(min_keep);
            switch (s) {
                case 0: {
                    if (g.next() % 2) break;
                    const int m = 1 + (int) (g.next() % 5);
                    printf(" ; logit_bias %d", m);
                    for (int i = 0; i < m; ++i) {
                        float b = g.pick(bias);
                        if ((kind == 6 || kind == 12) && std::isinf(b)) b = 3.0f; // no NaN out of two infinities
                        printf(" %d %08x", (int) (g.next() % (n_vocab + 2)) - 1, bits(b));
                    }
                    break;
                }
                case 1: {
                    const float present = g.pick(freq), f = g.pick(freq), r = g.pick(repeat);
                    printf(" ; penalties %d %08x %08x %08x", g.pick(last_n), bits(r), bits(f), bits(present));
                    break;
                }
                case 2: {
                    const float base = g.pick(dry_base), mult = g.pick(dry_mult);
                    const int len = g.pick(dry_len), ln = g.pick(last_n);
                    if (with_vocab) {
                        const int m = (int) (g.next() % 3);
                        printf(" ; dry_text %08x %08x %d %d %d", bits(mult), bits(base), len, ln, m);
                        for (int i = 0; i < m; ++i) {
                            printf(" ");
                            for (const char * t = g.pick(texts); *t; ++t) printf("%02x", (uint8_t) *t);
                        }
                        break;
                    }
                    const int m = (int) (g.next() % 4);
                    printf(" ; dry %08x %08x %d %d %d", bits(mult), bits(base), len, ln, m);
                    for (int i = 0; i < m; ++i) {
                        const int l = 1 + (int) (g.next() % 3);
                        printf(" %d", l);
                        for (int j = 0; j < l; ++j) printf(" %d", (int) (g.next() % n_vocab));
                    }
                    break;
                }
                case 3: printf(" ; top_n_sigma %08x", bits(g.pick(sigma))); break;
                case 4: printf(" ; top_k %d", g.pick(top_k)); break;
                case 5: printf(" ; typical %08x %d", bits(g.pick(top_p)), k); break;
                case 6: printf(" ; top_p %08x %d", bits(g.pick(top_p)), k); break;
                case 7: printf(" ; min_p %08x %d", bits(g.pick(min_p)), k); break;
                case 8: {
                    const float t = g.pick(xtc_t), p = g.pick(xtc_p);
                    printf(" ; xtc %08x %08x %d %u", bits(p), bits(t), k, (uint32_t) (g.next() & 0x7fffffff));
                    break;
                }
                case 9: {
                    if (g.next() % 2) { printf(" ; temp %08x", bits(g.pick(temp))); break; }
                    const float e = g.pick(exponent), d = g.pick(delta), t = g.pick(temp);
                    printf(" ; temp_ext %08x %08x %08x", bits(t), bits(d), bits(e));
                    break;
                }
                case 10: if (infill) printf(" ; infill"); break;
            }
        }
        const int end = g.next() % 12;
        const uint32_t s = (uint32_t) (g.next() & 0x7fffffff);
        if (end == 0) printf(" ; greedy");
        else if (end == 2) { const float e = g.pick(eta), t = g.pick(tau); printf(" ; mirostat %u %08x %08x %d", s, bits(t), bits(e), g.pick(mira_m)); }
        else if (end == 3) { const float e = g.pick(eta), t = g.pick(tau); printf(" ; mirostat_v2 %u %08x %08x", s, bits(t), bits(e)); }
        else if (end == 4) { const float d = g.pick(decay), t = g.pick(target); printf(" ; adaptive_p %08x %08x %u", bits(t), bits(d), s); }
        else if (end > 1) printf(" ; dist %u", s);
        if (end > 4 && g.next() % 4 == 0) printf(" ; clone");
        printf("\n");
    }
}

static uint64_t fnv(uint64_t h, uint32_t v) {
    for (int i = 0; i < 4; ++i) {
        h = (h ^ ((v >> (8 * i)) & 0xff)) * 0x100000001b3ull;
    }
    return h;
}

static std::string unhex(const std::string & text) {
    std::string out;
    for (size_t i = 1; i + 1 < text.size(); i += 2) out.push_back((char) std::stoi(text.substr(i, 2), nullptr, 16));
    return out;
}

static llama_sampler * parse(const std::string & text, int n_vocab, const llama_vocab * vocab) {
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
    if (name == "typical") { const float p = f32(); return llama_sampler_init_typical(p, (size_t) i32()); }
    if (name == "temp_ext") { const float t = f32(), d = f32(), e = f32(); return llama_sampler_init_temp_ext(t, d, e); }
    if (name == "xtc") {
        const float p = f32(), t = f32();
        const size_t k = (size_t) i32();
        uint32_t seed = 0;
        in >> seed;
        return llama_sampler_init_xtc(p, t, k, seed);
    }
    if (name == "top_n_sigma") return llama_sampler_init_top_n_sigma(f32());
    if (name == "mirostat") {
        uint32_t seed = 0;
        in >> seed;
        const float t = f32(), e = f32();
        return llama_sampler_init_mirostat(n_vocab, seed, t, e, i32());
    }
    if (name == "mirostat_v2") {
        uint32_t seed = 0;
        in >> seed;
        const float t = f32(), e = f32();
        return llama_sampler_init_mirostat_v2(seed, t, e);
    }
    if (name == "adaptive_p") {
        const float t = f32(), d = f32();
        uint32_t seed = 0;
        in >> seed;
        return llama_sampler_init_adaptive_p(t, d, seed);
    }
    if (name == "logit_bias") {
        std::vector<llama_logit_bias> list(i32());
        for (auto & entry : list) { entry.token = i32(); entry.bias = f32(); }
        return llama_sampler_init_logit_bias(n_vocab, list.size(), list.data());
    }
    if (name == "dry") {
        const float m = f32(), b = f32();
        const int32_t len = i32(), last_n = i32();
        std::vector<std::vector<llama_token>> breakers(i32());
        for (auto & breaker : breakers) {
            breaker.resize(i32());
            for (auto & token : breaker) token = i32();
        }
        // The testing constructor does not expect the disabled form.
        if (m == 0.0f || b < 1.0f || last_n <= 0) return llama_sampler_init_dry(nullptr, m, b, len, last_n, nullptr, 0);
        return llama_sampler_init_dry_testing(m, b, len, last_n, breakers);
    }
    if (name == "dry_text") {
        const float m = f32(), b = f32();
        const int32_t len = i32(), last_n = i32();
        std::vector<std::string> texts(i32());
        std::vector<const char *> breakers;
        for (auto & text : texts) {
            std::string hex;
            in >> hex;
            for (size_t i = 0; i + 1 < hex.size(); i += 2) text.push_back((char) std::stoi(hex.substr(i, 2), nullptr, 16));
            breakers.push_back(text.c_str());
        }
        return llama_sampler_init_dry(vocab, m, b, len, last_n, breakers.data(), breakers.size());
    }
    if (name == "infill") return llama_sampler_init_infill(vocab);
    if (name == "grammar") {
        std::string grammar;
        in >> grammar;
        return llama_sampler_init_grammar(vocab, unhex(grammar).c_str(), "root");
    }
    if (name == "grammar_lazy") {
        std::string grammar, pattern;
        llama_token token = 0;
        in >> grammar >> pattern >> token;
        const std::string text = unhex(pattern);
        const char * patterns[] = { text.c_str() };
        return llama_sampler_init_grammar_lazy_patterns(vocab, unhex(grammar).c_str(), "root", patterns, 1, &token, 1);
    }
    fprintf(stderr, "unknown sampler '%s'\n", name.c_str());
    exit(1);
}

// False where a grammar does not take it. The end of generation is never told to a grammar here: out of place it aborts.
static bool accept(llama_sampler * chain, llama_token token, const llama_vocab * eog_of) {
    if (eog_of && llama_vocab_is_eog(eog_of, token)) return true;
    try {
        llama_sampler_accept(chain, token);
    } catch (const std::exception &) {
        return false;
    }
    return true;
}

static void run(const llama_vocab * vocab) {
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
        bool clone = false;
        while (std::getline(parts, part, ';')) {
            if (part.find("clone") != std::string::npos) clone = true;
            else llama_sampler_chain_add(chain, parse(part, n_vocab, vocab));
        }
        splitmix g{seed};
        const llama_vocab * eog_of = line.find("; grammar") == std::string::npos ? nullptr : vocab;
        bool taken = true;
        for (int i = 0; i < n_prime; ++i) {
            const auto token = (llama_token) (g.next() % n_vocab);
            taken = taken && accept(chain, token, eog_of);
        }
        for (int d = 0; d < n_draws; ++d) {
            if (!taken) {
                printf("rejected\n");
                break;
            }
            data.resize(n_vocab);
            for (int i = 0; i < n_vocab; ++i) data[i] = { i, logit_of(kind, g.next(), i, n_vocab), 0.0f };
            if (d == 1 && clone) {
                llama_sampler * copy = llama_sampler_clone(chain);
                llama_sampler_free(chain);
                chain = copy;
            }
            llama_token_data_array cur = { data.data(), data.size(), -1, false };
            llama_sampler_apply(chain, &cur);
            const llama_token chosen = cur.selected < 0 ? -1 : cur.data[cur.selected].id;
            if (chosen >= 0) taken = accept(chain, chosen, eog_of);
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

// The command line's default chain; what is timed is the work of llama_sampler_sample.
static void time_default_chain(int n_vocab) {
    llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    llama_sampler_chain_add(chain, llama_sampler_init_penalties(n_vocab, 64, 1.0f, 0.0f, 0.0f));
    llama_sampler_chain_add(chain, llama_sampler_init_dry(nullptr, 0.0f, 1.75f, 2, 64, nullptr, 0));
    llama_sampler_chain_add(chain, llama_sampler_init_top_n_sigma(-1.0f));
    llama_sampler_chain_add(chain, llama_sampler_init_top_k(40));
    llama_sampler_chain_add(chain, llama_sampler_init_typical(1.0f, 0));
    llama_sampler_chain_add(chain, llama_sampler_init_top_p(0.95f, 0));
    llama_sampler_chain_add(chain, llama_sampler_init_min_p(0.05f, 0));
    llama_sampler_chain_add(chain, llama_sampler_init_xtc(0.0f, 0.1f, 0, 1));
    llama_sampler_chain_add(chain, llama_sampler_init_temp_ext(0.8f, 0.0f, 1.0f));
    llama_sampler_chain_add(chain, llama_sampler_init_dist(1));
    splitmix g{1};
    std::vector<float> logits(n_vocab);
    std::vector<llama_token_data> data;
    std::string line;
    while (std::getline(std::cin, line)) {
        for (int i = 0; i < n_vocab; ++i) logits[i] = logit_of(4, g.next(), i, n_vocab);
        const auto start = std::chrono::steady_clock::now();
        data.resize(n_vocab);
        for (int i = 0; i < n_vocab; ++i) data[i] = { i, logits[i], 0.0f };
        llama_token_data_array cur = { data.data(), data.size(), -1, false };
        llama_sampler_apply(chain, &cur);
        const llama_token chosen = cur.data[cur.selected].id;
        llama_sampler_accept(chain, chosen);
        const auto stop = std::chrono::steady_clock::now();
        printf("%lld %d\n", (long long) std::chrono::duration_cast<std::chrono::nanoseconds>(stop - start).count(), chosen);
        fflush(stdout);
    }
    llama_sampler_free(chain);
}

static void quiet(ggml_log_level, const char *, void *) {}

int main(int argc, char ** argv) {
    llama_log_set(quiet, nullptr);
    const std::string mode = argc > 1 ? argv[1] : "";
    if (argc == 4 && (mode == "gen" || mode == "vgen")) {
        gen(atoi(argv[2]), strtoull(argv[3], nullptr, 10), mode == "vgen");
    } else if (argc == 3 && mode == "time") {
        time_default_chain(atoi(argv[2]));
    } else if (argc == 2 && mode == "run") {
        run(nullptr);
    } else if (argc == 3 && mode == "run") {
        llama_model_params params = llama_model_default_params();
        params.vocab_only = true;
        llama_model * model = llama_model_load_from_file(argv[2], params);
        if (!model) {
            fprintf(stderr, "cannot load '%s'\n", argv[2]);
            return 1;
        }
        run(llama_model_get_vocab(model));
        llama_model_free(model);
    } else {
        fprintf(stderr, "usage: sampler gen|vgen N SEED | sampler run [VOCAB] < cases\n");
        return 1;
    }
    return 0;
}
