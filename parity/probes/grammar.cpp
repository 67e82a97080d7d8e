// Answers the lines of quipu-sampler's example `grammar_cases` with the reference's grammars.
//
//   grammar text < cases            GRAMMAR TEXT...          -> parsed N:END... | refused
//   grammar tokens VOCAB < cases    GRAMMAR SEED STEPS LAZY  -> COUNT:HASH... | refused
//   grammar time VOCAB GRAMMAR      for each token on stdin (-1: none) accepts it, masks all tokens -> NS COUNT
//   grammar schema < cases          SCHEMA                   -> grammar | refused | no json
//
// N: code points accepted, END: whether the text may end there. COUNT:HASH: the tokens allowed; then one of them is
// accepted. Fields are an x and bytes in hexadecimal.
#include "llama.h"
#include "../src/llama-grammar.h"
#include "../vendor/nlohmann/json.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <typeinfo>
#include <vector>

struct splitmix {
    uint64_t s;
    uint64_t next() {
        uint64_t z = (s += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
};

static std::string unhex(const std::string & text) {
    std::string out;
    for (size_t i = 1; i + 1 < text.size(); i += 2) out.push_back((char) std::stoi(text.substr(i, 2), nullptr, 16));
    return out;
}

static std::vector<uint32_t> code_points(const std::string & s) {
    std::vector<uint32_t> out;
    for (size_t i = 0; i < s.size();) {
        const uint8_t b = s[i];
        const int len = b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
        uint32_t c = len == 1 ? b : b & (0xff >> (len + 1));
        for (int k = 1; k < len; ++k) c = (c << 6) | (s[i + k] & 0x3f);
        out.push_back(c);
        i += len;
    }
    return out;
}

static void text(const std::string & line) {
    std::istringstream in(line);
    std::string field;
    in >> field;
    llama_grammar * grammar = llama_grammar_init_impl(nullptr, unhex(field).c_str(), "root", false, nullptr, 0, nullptr, 0);
    if (!grammar) {
        printf("refused\n");
        return;
    }
    printf("parsed");
    while (in >> field) {
        llama_grammar * copy = llama_grammar_clone_impl(*grammar);
        int n = 0;
        for (uint32_t c : code_points(unhex(field))) {
            llama_grammar_accept(copy, c);
            if (llama_grammar_get_stacks(copy).empty()) break;
            ++n;
        }
        bool end = false;
        for (const auto & stack : llama_grammar_get_stacks(copy)) end = end || stack.empty();
        printf(" %d:%d", n, end ? 1 : 0);
        llama_grammar_free_impl(copy);
    }
    printf("\n");
    llama_grammar_free_impl(grammar);
}

static void tokens(const std::string & line, const llama_vocab * vocab) {
    std::istringstream in(line);
    std::string grammar, lazy;
    uint64_t seed = 0;
    int steps = 0;
    in >> grammar >> seed >> steps >> lazy;
    const std::string text = unhex(grammar), pattern = unhex(lazy);
    const char * patterns[] = { pattern.c_str() };
    const llama_token wake[] = { 13 };
    llama_sampler * sampler = pattern.empty()
        ? llama_sampler_init_grammar(vocab, text.c_str(), "root")
        : llama_sampler_init_grammar_lazy_patterns(vocab, text.c_str(), "root", patterns, 1, wake, 1);
    if (!sampler) {
        printf("refused\n");
        return;
    }
    splitmix g{seed};
    std::vector<llama_token_data> data(llama_vocab_n_tokens(vocab));
    std::string out;
    for (int step = 0; step < steps; ++step) {
        for (size_t i = 0; i < data.size(); ++i) data[i] = { (llama_token) i, 0.0f, 0.0f };
        llama_token_data_array cur = { data.data(), data.size(), -1, false };
        llama_sampler_apply(sampler, &cur);
        std::vector<llama_token> allowed;
        for (const auto & d : data) if (d.logit == 0.0f) allowed.push_back(d.id);
        uint64_t h = 0xcbf29ce484222325ull;
        for (llama_token t : allowed) for (int i = 0; i < 4; ++i) h = (h ^ (((uint32_t) t >> (8 * i)) & 0xff)) * 0x100000001b3ull;
        char buf[64];
        snprintf(buf, sizeof(buf), "%zu:%016" PRIx64 " ", allowed.size(), h);
        out += buf;
        if (allowed.empty()) break;
        const llama_token token = allowed[g.next() % allowed.size()];
        try {
            llama_sampler_accept(sampler, token);
        } catch (const std::exception &) {
            out += "threw";
            break;
        }
        if (llama_vocab_is_eog(vocab, token)) break;
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    printf("%s\n", out.c_str());
    llama_sampler_free(sampler);
}

static void time_masks(const llama_vocab * vocab, const std::string & text) {
    llama_sampler * sampler = llama_sampler_init_grammar(vocab, text.c_str(), "root");
    std::vector<llama_token_data> data(llama_vocab_n_tokens(vocab));
    llama_token token = -1;
    while (std::cin >> token) {
        for (size_t i = 0; i < data.size(); ++i) data[i] = { (llama_token) i, 0.0f, 0.0f };
        llama_token_data_array cur = { data.data(), data.size(), -1, false };
        const auto start = std::chrono::steady_clock::now();
        if (token >= 0) llama_sampler_accept(sampler, token);
        llama_sampler_apply(sampler, &cur);
        const auto stop = std::chrono::steady_clock::now();
        size_t n = 0;
        for (const auto & d : data) n += d.logit == 0.0f;
        printf("%lld %zu\n", (long long) std::chrono::duration_cast<std::chrono::nanoseconds>(stop - start).count(), n);
        fflush(stdout);
    }
    llama_sampler_free(sampler);
}

using json = nlohmann::ordered_json;
using to_grammar = std::string (*)(const json &, bool);

static void schema(const std::string & line, to_grammar convert) {
    json schema;
    try {
        schema = json::parse(unhex(line));
    } catch (const std::exception &) {
        printf("no json\n");
        return;
    }
    try {
        const std::string text = convert(schema, true);
        printf("x");
        for (uint8_t c : text) printf("%02x", c);
        printf("\n");
    } catch (const std::exception &) {
        printf("refused\n");
    }
}

static void quiet(ggml_log_level, const char *, void *) {}

int main(int argc, char ** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    llama_log_set(quiet, nullptr);
    // Parse errors are printed there with the whole grammar.
    if (!freopen("/dev/null", "w", stderr)) return 1;
    const llama_vocab * vocab = nullptr;
    to_grammar convert = nullptr;
    if (mode == "tokens" || mode == "time") {
        llama_model_params params = llama_model_default_params();
        params.vocab_only = true;
        llama_model * model = llama_model_load_from_file(argv[2], params);
        if (!model) return 1;
        vocab = llama_model_get_vocab(model);
    }
    if (mode == "time") {
        time_masks(vocab, unhex(argv[3]));
        return 0;
    }
    if (mode == "schema") {
        void * library = dlopen("libllama-common.so", RTLD_NOW);
        const std::string symbol = std::string("_Z22json_schema_to_grammarRK") + typeid(json).name() + "b";
        convert = library ? (to_grammar) dlsym(library, symbol.c_str()) : nullptr;
        if (!convert) {
            printf("no libllama-common.so with json_schema_to_grammar\n");
            return 1;
        }
    }
    std::string line;
    while (std::getline(std::cin, line)) {
        if (mode == "tokens") tokens(line, vocab);
        else if (mode == "schema") schema(line, convert);
        else text(line);
    }
    return 0;
}
