// Prints what llama.cpp makes of texts and tokens, through its public API, for comparison with quipu-tokenizer.
//
//   tokenize VOCAB.gguf audit TEXTS OUT N                     N = 1 to 6 fingerprints of every text, see below
//   tokenize VOCAB.gguf hash TEXTS                            fingerprints of the ids of NUL-separated texts: plain, add,
//                                                             parse, both
//   tokenize VOCAB.gguf table                                 special ids, flags, kind, size, warnings, then per token:
//                                                             attr, eog, score, text, pieces
//   tokenize VOCAB.gguf time TEXTS                            seconds to load the vocabulary, seconds for all
//                                                             NUL-separated texts, number of tokens
//
// Build: c++ -O2 -std=c++17 -I LLAMA/include -I LLAMA/ggml/include tokenize.cpp -L BUILD/bin -lllama -lggml-base
#include "llama.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

static std::string logged;

// The id that the description of the vocabulary gives for a token, of those that llama.h has no function for.
static int logged_id(const char * name) {
    const size_t at = logged.find(name);
    const size_t equals = at == std::string::npos ? at : logged.find('=', at);
    return equals == std::string::npos ? -1 : std::atoi(logged.c_str() + equals + 1);
}

static int n_logged(const char * what) {
    int n = 0;
    for (size_t at = 0; (at = logged.find(what, at)) != std::string::npos; at++) { n++; }
    return n;
}

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

// FNV-1a over bytes; ids are little-endian words.
static unsigned fingerprint(const unsigned char * data, size_t n) {
    unsigned hash = 0x811c9dc5;
    for (size_t i = 0; i < n; i++) { hash = (hash ^ data[i]) * 0x01000193; }
    return hash;
}

static std::vector<std::string> texts_of(const char * path) {
    std::vector<std::string> texts;
    std::stringstream all(slurp(path));
    for (std::string text; std::getline(all, text, '\0');) { texts.push_back(text); }
    return texts;
}

int main(int argc, char ** argv) {
    if (argc < 3) { return 2; }
    const bool keep = std::string(argv[2]) == "table";
    llama_log_set([](ggml_log_level, const char * text, void * keep) { if (keep) { logged += text; } }, keep ? (void *) &logged : nullptr);
    llama_backend_init();
    auto params = llama_model_default_params();
    params.vocab_only = true;
    const auto before = std::chrono::steady_clock::now();
    llama_model * model = llama_model_load_from_file(argv[1], params);
    const std::chrono::duration<double> loading = std::chrono::steady_clock::now() - before;
    if (!model) { std::fprintf(stderr, "cannot load %s\n", argv[1]); return 1; }
    const llama_vocab * vocab = llama_model_get_vocab(model);
    const std::string mode = argv[2];

    if (mode == "audit" && argc == 6) {
        // Texts come behind their lengths as 32 bits. Fingerprints: ids in four combinations of flags, then the text of the
        // last of them without special tokens at the ends, and with special tokens as text. ~0: the call threw.
        const std::string all = slurp(argv[3]);
        const int n_prints = std::atoi(argv[5]);
        std::vector<unsigned> prints;
        std::vector<char> buffer(1 << 20);
        for (size_t at = 0; at + 4 <= all.size();) {
            unsigned len;
            std::memcpy(&len, all.data() + at, 4);
            const std::string text = all.substr(at + 4, len);
            at += 4 + len;
            std::vector<llama_token> ids;
            for (int flags = 0; flags < std::min(n_prints, 4); flags++) {
                unsigned hash = ~0u;
                try {
                    ids = ids_of(vocab, text, flags & 1, flags & 2);
                    hash = fingerprint((const unsigned char *) ids.data(), ids.size() * 4);
                } catch (const std::exception &) { ids.clear(); }
                prints.push_back(hash);
            }
            const bool threw = prints.back() == ~0u;
            for (int mode = 0; mode < n_prints - 4; mode++) {
                const int n = threw ? 0 : llama_detokenize(vocab, ids.data(), ids.size(), buffer.data(), buffer.size(), mode == 0, mode == 1);
                prints.push_back(threw || n < 0 ? ~0u : fingerprint((const unsigned char *) buffer.data(), n));
            }
        }
        std::ofstream(argv[4], std::ios::binary).write((const char *) prints.data(), prints.size() * 4);
    } else if (mode == "hash" && argc == 4) {
        for (const auto & text : texts_of(argv[3])) {
            for (int flags = 0; flags < 4; flags++) {
                const auto ids = ids_of(vocab, text, flags & 1, flags & 2);
                const unsigned hash = fingerprint((const unsigned char *) ids.data(), ids.size() * 4);
                std::printf("%s%08x", flags ? " " : "", hash);
            }
            std::printf("\n");
        }
    } else if (mode == "table") {
        std::printf("%d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d ", llama_vocab_bos(vocab), llama_vocab_eos(vocab), llama_vocab_eot(vocab),
            llama_vocab_sep(vocab), llama_vocab_nl(vocab), llama_vocab_pad(vocab), llama_vocab_mask(vocab),
            llama_vocab_fim_pre(vocab), llama_vocab_fim_suf(vocab), llama_vocab_fim_mid(vocab), llama_vocab_fim_pad(vocab),
            llama_vocab_fim_rep(vocab), llama_vocab_fim_sep(vocab), (int) llama_vocab_get_add_bos(vocab), (int) llama_vocab_get_add_eos(vocab), (int) llama_vocab_get_add_sep(vocab));
        std::printf("%d %d %d %d", logged_id("EOM token"), logged_id("UNK token"), (int) llama_vocab_type(vocab), llama_vocab_n_tokens(vocab));
        // Warnings at load, by kind.
        for (const char * what : { "control-looking token", "out of vocab range, disabling", "bad special token", "is not in special_eog_ids",
                "setting token '", "token from EOG list", "empty token at index", "Mask token", "for Gemma4", "missing pre-tokenizer type" }) {
            std::printf(" %d", n_logged(what));
        }
        std::printf("\n");
        std::vector<char> buffer(1 << 16);
        const bool none = llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE;
        for (llama_token id = 0; !none && id < llama_vocab_n_tokens(vocab); id++) {
            const float score = llama_vocab_get_score(vocab, id);
            unsigned bits;
            std::memcpy(&bits, &score, 4);
            const char * text = llama_vocab_get_text(vocab, id);
            std::printf("%d %d %x ", (int) llama_vocab_get_attr(vocab, id), (int) llama_vocab_is_eog(vocab, id), bits);
            print_hex(text, std::strlen(text));
            for (bool special : { false, true }) {
                std::printf(" ");
                print_hex(buffer.data(), llama_token_to_piece(vocab, id, buffer.data(), buffer.size(), 0, special));
            }
            std::printf(" ");
            print_hex(buffer.data(), llama_token_to_piece(vocab, id, buffer.data(), buffer.size(), 2, true));
            std::printf("\n");
        }
    } else if (mode == "time" && argc == 4) {
        const auto texts = texts_of(argv[3]);
        const auto start = std::chrono::steady_clock::now();
        size_t n = 0;
        for (const auto & text : texts) { n += ids_of(vocab, text, false, false).size(); }
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        std::printf("%.6f %.6f %zu\n", loading.count(), took.count(), n);
    } else {
        return 2;
    }
    llama_model_free(model);
}
