// State files of a llama.cpp build: written after a prompt, or read and continued.
//
//   state MODEL save|load session|sequence FILE TOKENS [on|off: flash attention]
//
// TOKENS holds ids separated by white space; all but the last are in the memory that is saved. After saving or loading, the last one is
// decoded and 20 likeliest tokens follow, which are printed. A file that cannot be loaded prints "refused".
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "llama.h"

int main(int argc, char ** argv) {
    if (argc < 6) {
        return 1;
    }
    const bool save = !strcmp(argv[2], "save"), session = !strcmp(argv[3], "session");
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    std::vector<llama_token> tokens;
    std::ifstream ids(argv[5]);
    for (llama_token id; ids >> id;) {
        tokens.push_back(id);
    }
    llama_model_params mparams = llama_model_default_params();
    mparams.use_extra_bufts = false;
    llama_model * model = llama_model_load_from_file(argv[1], mparams);
    llama_context_params cparams = llama_context_default_params();
    cparams.n_ctx = 512, cparams.n_batch = 512, cparams.n_ubatch = 64, cparams.n_threads = 2, cparams.n_threads_batch = 2;
    cparams.swa_full = false, cparams.kv_unified = true;
    if (argc > 6 && !strcmp(argv[6], "off")) {
        cparams.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    llama_context * ctx = model ? llama_init_from_model(model, cparams) : nullptr;
    if (!ctx || tokens.size() < 2) {
        return 1;
    }
    const size_t n = tokens.size() - 1;
    if (save) {
        if (llama_decode(ctx, llama_batch_get_one(tokens.data(), (int32_t) n))) {
            return 1;
        }
        const bool done = session ? llama_state_save_file(ctx, argv[4], tokens.data(), tokens.size())
                                  : llama_state_seq_save_file(ctx, argv[4], 0, tokens.data(), tokens.size()) > 0;
        if (!done) {
            return 1;
        }
    } else {
        std::vector<llama_token> loaded(4096);
        size_t count = 0;
        const bool done = session ? llama_state_load_file(ctx, argv[4], loaded.data(), loaded.size(), &count)
                                  : llama_state_seq_load_file(ctx, argv[4], 0, loaded.data(), loaded.size(), &count) > 0;
        loaded.resize(count);
        if (!done || loaded != tokens) {
            printf("refused\n");
            return 0;
        }
    }
    llama_token next = tokens[n];
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int i = 0; i < 20; ++i) {
        if (llama_decode(ctx, llama_batch_get_one(&next, 1))) {
            return 1;
        }
        const float * logits = llama_get_logits_ith(ctx, -1);
        next = 0;
        for (int t = 1; t < n_vocab; ++t) {
            if (logits[t] > logits[next]) {
                next = t;
            }
        }
        printf("%d ", next);
    }
    printf("\n");
    return 0;
}
