// What encoders of a llama.cpp build make of tokens.
//
//   encode MODEL TOKENS OUT WHAT [--no-flash-attn]
//
// TOKENS holds ids separated by white space. WHAT is
//   rows      the final row of each token of one sequence
//   mean, cls, last, rank   the pooled row (or the scores) of each of three sequences, to which the tokens go in turn
//   decoder   the tokens are encoded, then decoded behind their own encoding: logits of each
// OUT receives little-endian f32. Repacking is off, one ubatch holds all tokens.

#include "llama.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

int fail(const std::string & what) {
    fprintf(stderr, "encode probe: %s\n", what.c_str());
    return 1;
}

} // namespace

int main(int argc, char ** argv) {
    if (argc < 5) {
        return fail("usage: encode MODEL TOKENS OUT rows|mean|cls|last|rank|decoder [--no-flash-attn]");
    }
    const std::string what = argv[4];
    const bool flash_attn = argc < 6 || strcmp(argv[5], "--no-flash-attn") != 0;
    const std::vector<std::string> poolings = {"rows", "mean", "cls", "last", "rank"};
    int pooling = 0;
    while (pooling < 5 && poolings[pooling] != what) {
        pooling++;
    }
    const bool decoder = what == "decoder";
    if (pooling == 5 && !decoder) {
        return fail("unknown kind " + what);
    }
    std::vector<llama_token> tokens;
    std::ifstream ids(argv[2]);
    for (llama_token id; ids >> id;) {
        tokens.push_back(id);
    }
    if (tokens.empty()) {
        return fail("no tokens in " + std::string(argv[2]));
    }
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) {
            fputs(text, stderr);
        }
    }, nullptr);
    llama_backend_init();
    llama_model_params mparams = llama_model_default_params();
    mparams.use_extra_bufts = false;
    llama_model * model = llama_model_load_from_file(argv[1], mparams);
    if (!model) {
        return fail("cannot load " + std::string(argv[1]));
    }
    llama_context_params cparams = llama_context_default_params();
    const uint32_t n = (uint32_t) tokens.size();
    const int n_seq = decoder || pooling == 0 ? 1 : 3;
    cparams.n_ctx = cparams.n_batch = cparams.n_ubatch = n;
    cparams.n_seq_max = n_seq;
    cparams.kv_unified = true;
    cparams.n_threads = cparams.n_threads_batch = 2;
    cparams.embeddings = !decoder;
    cparams.pooling_type = (enum llama_pooling_type) (decoder ? 0 : pooling);
    if (!flash_attn) {
        cparams.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    llama_context * ctx = llama_init_from_model(model, cparams);
    if (!ctx) {
        return fail("cannot create a context");
    }
    llama_batch batch = llama_batch_init((int32_t) n, 0, 1);
    for (uint32_t i = 0; i < n; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = (llama_pos) i / n_seq;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = (llama_seq_id) i % n_seq;
        batch.logits[i] = 1;
    }
    batch.n_tokens = (int32_t) n;
    const bool encodes = llama_model_has_encoder(model);
    if (const int status = encodes ? llama_encode(ctx, batch) : llama_decode(ctx, batch)) {
        return fail("the batch was refused with " + std::to_string(status));
    }
    if (decoder) {
        if (const int status = llama_decode(ctx, batch)) {
            return fail("llama_decode returned " + std::to_string(status));
        }
    }
    std::ofstream out(argv[3], std::ios::binary);
    const int n_embd = llama_model_n_embd(model);
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    const int width = decoder ? n_vocab : what == "rank" ? (int) llama_model_n_cls_out(model) : n_embd;
    const int n_rows = decoder || pooling == 0 ? (int) n : n_seq;
    for (int i = 0; i < n_rows; i++) {
        const float * row = decoder ? llama_get_logits_ith(ctx, i)
            : pooling == 0 ? llama_get_embeddings_ith(ctx, i) : llama_get_embeddings_seq(ctx, i);
        if (!row) {
            return fail("no row " + std::to_string(i));
        }
        out.write(reinterpret_cast<const char *>(row), (std::streamsize) sizeof(float) * width);
    }
    if (!out.good()) {
        return fail("cannot write " + std::string(argv[3]));
    }
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
