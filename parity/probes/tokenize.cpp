// Prints what llama.cpp makes of texts and tokens, through its public API, for comparison with quipu-tokenizer.
//
//   tokenize VOCAB.gguf ids TEXTS ADD_SPECIAL PARSE_SPECIAL   ids of every NUL-separated text, a line each
//   tokenize VOCAB.gguf hash TEXTS                            fingerprints of the ids: plain, add, parse, both
//   tokenize VOCAB.gguf detok IDS REMOVE_SPECIAL UNPARSE      hex of the text of every line of ids
//   tokenize VOCAB.gguf table                                 special ids, then per token: attr, eog, pieces in hex
//   tokenize VOCAB.gguf time TEXTS REPEAT                     seconds for all texts, best of REPEAT
//
// Build: c++ -O2 -std=c++17 -I LLAMA/include -I LLAMA/ggml/include tokenize.cpp -L BUILD/bin -lllama -lggml-base
#include "llama.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

static std::string slurp(const char * path) {
    std::ifstream file(path, std::ios::binary);
    return { std::istreambuf_iterator<char>(file), {} };
}

static std::vector<llama_token> ids_of(const llama_vocab * vocab, const std::string & text, bool special, bool parse) {
    std::vector<llama_token> ids(text.size() * 2 + 8);
    const int n = llama_tokenize(vocab, text.data(), text.size(), ids.data(), ids.size(), special, parse);
    if (n < 0) { std::fprintf(stderr, "buffer too small\n"); std::exit(1); }
    ids.resize(n);
    return ids;
}

static void print_hex(const char * data, int n) {
    for (int i = 0; i < n; i++) { std::printf("%02x", (unsigned char) data[i]); }
}

static std::vector<std::string> texts_of(const char * path) {
    std::vector<std::string> texts;
    std::stringstream all(slurp(path));
    for (std::string text; std::getline(all, text, '\0');) { texts.push_back(text); }
    return texts;
}

int main(int argc, char ** argv) {
    if (argc < 3) { return 2; }
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    auto params = llama_model_default_params();
    params.vocab_only = true;
    llama_model * model = llama_model_load_from_file(argv[1], params);
    if (!model) { std::fprintf(stderr, "cannot load %s\n", argv[1]); return 1; }
    const llama_vocab * vocab = llama_model_get_vocab(model);
    const std::string mode = argv[2];

    if (mode == "ids" && argc == 6) {
        for (const auto & text : texts_of(argv[3])) {
            const char * gap = "";
            for (auto id : ids_of(vocab, text, argv[4][0] == '1', argv[5][0] == '1')) { std::printf("%s%d", gap, id); gap = " "; }
            std::printf("\n");
        }
    } else if (mode == "hash" && argc == 4) {
        for (const auto & text : texts_of(argv[3])) {
            for (int flags = 0; flags < 4; flags++) {
                unsigned hash = 0x811c9dc5; // FNV-1a over the ids as little-endian words
                for (auto id : ids_of(vocab, text, flags & 1, flags & 2)) {
                    for (int shift = 0; shift < 32; shift += 8) { hash = (hash ^ ((unsigned) id >> shift & 0xff)) * 0x01000193; }
                }
                std::printf("%s%08x", flags ? " " : "", hash);
            }
            std::printf("\n");
        }
    } else if (mode == "detok" && argc == 6) {
        std::stringstream lines(slurp(argv[3]));
        std::vector<char> buffer(1 << 22);
        for (std::string line; std::getline(lines, line);) {
            std::stringstream words(line);
            std::vector<llama_token> ids;
            for (llama_token id; words >> id;) { ids.push_back(id); }
            const int n = llama_detokenize(vocab, ids.data(), ids.size(), buffer.data(), buffer.size(), argv[4][0] == '1', argv[5][0] == '1');
            print_hex(buffer.data(), n);
            std::printf("\n");
        }
    } else if (mode == "table") {
        std::printf("%d %d %d %d %d %d %d %d %d %d %d %d %d %d\n", llama_vocab_bos(vocab), llama_vocab_eos(vocab), llama_vocab_eot(vocab),
            llama_vocab_sep(vocab), llama_vocab_nl(vocab), llama_vocab_pad(vocab), llama_vocab_mask(vocab),
            llama_vocab_fim_pre(vocab), llama_vocab_fim_suf(vocab), llama_vocab_fim_mid(vocab), llama_vocab_fim_pad(vocab),
            llama_vocab_fim_rep(vocab), llama_vocab_fim_sep(vocab), (int) llama_vocab_get_add_bos(vocab));
        std::vector<char> buffer(1 << 16);
        for (llama_token id = 0; id < llama_vocab_n_tokens(vocab); id++) {
            std::printf("%d %d", (int) llama_vocab_get_attr(vocab, id), (int) llama_vocab_is_eog(vocab, id));
            for (bool special : { false, true }) {
                std::printf(" ");
                print_hex(buffer.data(), llama_token_to_piece(vocab, id, buffer.data(), buffer.size(), 0, special));
            }
            std::printf("\n");
        }
    } else if (mode == "time" && argc == 5) {
        const auto texts = texts_of(argv[3]);
        double best = 1e30;
        size_t n = 0;
        for (int i = 0; i < std::atoi(argv[4]); i++) {
            const auto start = std::chrono::steady_clock::now();
            n = 0;
            for (const auto & text : texts) { n += ids_of(vocab, text, false, false).size(); }
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
            if (took.count() < best) { best = took.count(); }
        }
        std::printf("%.6f s, %zu tokens\n", best, n);
    } else {
        return 2;
    }
    llama_model_free(model);
}
