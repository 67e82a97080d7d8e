// Prints what llama.cpp makes of a model file: hyper-parameters, metadata as text, vocabulary, and a checksum of every weight.
//
//   loader MODEL.gguf LOAD_MODE     everything; LOAD_MODE is none, mmap, mlock, mmap+mlock or dio
//   loader MODEL.gguf vocab_only    without weights
//
// One fact a line, "KEY VALUE"; bytes that would not print are written \xNN. The weights are read back from where they were loaded to.
#include "llama.h"
#include "ggml-backend.h"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

// The one function that is not in a public header.
const std::vector<std::pair<std::string, ggml_tensor *>> & llama_internal_get_tensor_map(const llama_model * model);

static uint64_t fnv1a(const void * data, size_t n, uint64_t hash = 0xcbf29ce484222325ull) {
    const auto * bytes = (const unsigned char *) data;
    for (size_t i = 0; i < n; i++) { hash = (hash ^ bytes[i]) * 0x100000001b3ull; }
    return hash;
}

static void print_text(const char * key, const std::string & text) {
    std::printf("%s ", key);
    for (unsigned char c : text) {
        if (c < 0x20 || c > 0x7e || c == '\\') { std::printf("\\x%02x", c); } else { std::putchar(c); }
    }
    std::putchar('\n');
}

template <typename Read> static std::string text_of(Read read) {
    std::vector<char> buf(256);
    int n = read(buf.data(), buf.size());
    if (n < 0) { return "(none)"; }
    if ((size_t) n >= buf.size()) { buf.resize(n + 1); n = read(buf.data(), buf.size()); }
    return { buf.data(), (size_t) n };
}

static void print_vocab(const llama_vocab * vocab) {
    static const char * names[] = { "none", "spm", "bpe", "wpm", "ugm", "rwkv", "plamo2" };
    const auto type = llama_vocab_type(vocab);
    std::printf("vocab_type %s\n", names[type]);
    if (type == LLAMA_VOCAB_TYPE_NONE) { return; }
    const std::pair<const char *, llama_token> special[] = {
        { "bos", llama_vocab_bos(vocab) }, { "eos", llama_vocab_eos(vocab) }, { "eot", llama_vocab_eot(vocab) },
        { "sep", llama_vocab_sep(vocab) }, { "nl", llama_vocab_nl(vocab) }, { "pad", llama_vocab_pad(vocab) },
        { "mask", llama_vocab_mask(vocab) }, { "fim_pre", llama_vocab_fim_pre(vocab) }, { "fim_suf", llama_vocab_fim_suf(vocab) },
        { "fim_mid", llama_vocab_fim_mid(vocab) }, { "fim_pad", llama_vocab_fim_pad(vocab) }, { "fim_rep", llama_vocab_fim_rep(vocab) },
        { "fim_sep", llama_vocab_fim_sep(vocab) },
    };
    for (const auto & [name, id] : special) { std::printf("token_%s %d\n", name, id); }
    std::printf("add_bos %d\nadd_eos %d\nadd_sep %d\n", llama_vocab_get_add_bos(vocab), llama_vocab_get_add_eos(vocab), llama_vocab_get_add_sep(vocab));
    uint64_t texts = fnv1a("", 0), scores = texts, attrs = texts, eog = texts;
    for (int id = 0; id < llama_vocab_n_tokens(vocab); id++) {
        const char * text = llama_vocab_get_text(vocab, id);
        texts = fnv1a(text, std::strlen(text) + 1, texts);
        const float score = llama_vocab_get_score(vocab, id);
        scores = fnv1a(&score, sizeof(score), scores);
        const uint32_t attr = llama_vocab_get_attr(vocab, id);
        attrs = fnv1a(&attr, sizeof(attr), attrs);
        const uint8_t is_eog = llama_vocab_is_eog(vocab, id);
        eog = fnv1a(&is_eog, 1, eog);
    }
    std::printf("texts %016llx\nscores %016llx\nattrs %016llx\neog %016llx\n", (unsigned long long) texts, (unsigned long long) scores,
        (unsigned long long) attrs, (unsigned long long) eog);
}

int main(int argc, char ** argv) {
    if (argc != 3) { return 2; }
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    auto params = llama_model_default_params();
    params.use_extra_bufts = false; // weights as they are in the file
    params.vocab_only = std::strcmp(argv[2], "vocab_only") == 0;
    if (!params.vocab_only) { params.load_mode = llama_load_mode_from_str(argv[2]); }
    llama_model * model = llama_model_load_from_file(argv[1], params);
    if (!model) { std::fprintf(stderr, "cannot load %s\n", argv[1]); return 1; }
    const llama_vocab * vocab = llama_model_get_vocab(model);

    std::printf("n_vocab %d\n", llama_vocab_n_tokens(vocab));
    print_text("desc", text_of([&](char * buf, size_t n) { return llama_model_desc(model, buf, n); }));
    std::printf("size %llu\n", (unsigned long long) llama_model_size(model));
    std::printf("n_params %llu\n", (unsigned long long) llama_model_n_params(model));
    if (!params.vocab_only) {
        std::printf("n_ctx_train %d\nn_embd %d\nn_layer %d\n", llama_model_n_ctx_train(model), llama_model_n_embd(model), llama_model_n_layer(model));
        std::printf("n_head %d\nn_head_kv %d\n", llama_model_n_head(model), llama_model_n_head_kv(model));
        std::printf("rope_type %d\n", (int) llama_model_rope_type(model));
        const float scale = llama_model_rope_freq_scale_train(model);
        uint32_t bits;
        std::memcpy(&bits, &scale, sizeof(bits));
        std::printf("rope_freq_scale %08x\n", bits);
    }
    print_vocab(vocab);
    const int n_meta = llama_model_meta_count(model);
    std::printf("meta_count %d\n", n_meta);
    for (int i = 0; i < n_meta; i++) {
        const auto key = text_of([&](char * buf, size_t n) { return llama_model_meta_key_by_index(model, i, buf, n); });
        print_text(("meta:" + key).c_str(), text_of([&](char * buf, size_t n) { return llama_model_meta_val_str_by_index(model, i, buf, n); }));
    }
    if (!params.vocab_only) {
        std::vector<unsigned char> bytes;
        for (const auto & [name, tensor] : llama_internal_get_tensor_map(model)) {
            bytes.resize(ggml_nbytes(tensor));
            ggml_backend_tensor_get(tensor, bytes.data(), 0, bytes.size());
            std::printf("tensor:%s %s %zu %016llx\n", name.c_str(), ggml_type_name(tensor->type), bytes.size(),
                (unsigned long long) fnv1a(bytes.data(), bytes.size()));
        }
    }
    llama_model_free(model);
}
