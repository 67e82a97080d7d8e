// Token ids a llama.cpp build generates from prompts given as ids.
//
//   generate MODEL PROMPTS N_PREDICT [--ctx N] [--threads N] [--seed S] [--temp T] [--top-k K] [--top-p P] [--min-p P]
//           [--flash-attn 0|1]
//
// PROMPTS holds one prompt per line, ids separated by spaces. Prints one line of generated ids per prompt; stops a
// line early at an end-of-generation token, which is printed. Temperature 0 is greedy.

#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

int fail(const std::string & what) {
    fprintf(stderr, "generate probe: %s\n", what.c_str());
    return 1;
}

} // namespace

int main(int argc, char ** argv) {
    if (argc < 4) {
        return fail("usage: generate MODEL PROMPTS N_PREDICT [options]");
    }
    const int n_predict = atoi(argv[3]);
    int n_ctx = 0, n_threads = 2, top_k = 40, flash_attn = 1;
    uint32_t seed = 0;
    float temp = 0.0f, top_p = 0.95f, min_p = 0.05f;
    for (int i = 4; i + 1 < argc; i += 2) {
        const std::string arg = argv[i];
        const char * value = argv[i + 1];
        if (arg == "--ctx") {
            n_ctx = atoi(value);
        } else if (arg == "--threads") {
            n_threads = atoi(value);
        } else if (arg == "--seed") {
            seed = (uint32_t) strtoul(value, nullptr, 10);
        } else if (arg == "--temp") {
            temp = strtof(value, nullptr);
        } else if (arg == "--top-k") {
            top_k = atoi(value);
        } else if (arg == "--top-p") {
            top_p = strtof(value, nullptr);
        } else if (arg == "--flash-attn") {
            flash_attn = atoi(value);
        } else if (arg == "--min-p") {
            min_p = strtof(value, nullptr);
        } else {
            return fail("unknown option " + arg);
        }
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
    const llama_vocab * vocab = llama_model_get_vocab(model);
    llama_context_params cparams = llama_context_default_params();
    cparams.n_ctx = n_ctx;
    cparams.n_threads = n_threads;
    cparams.n_threads_batch = n_threads;
    if (!flash_attn) {
        cparams.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    llama_context * ctx = llama_init_from_model(model, cparams);
    if (!ctx) {
        return fail("cannot create a context");
    }

    std::ifstream prompts(argv[2]);
    for (std::string line; std::getline(prompts, line);) {
        std::vector<llama_token> tokens;
        std::istringstream ids(line);
        for (llama_token id; ids >> id;) {
            tokens.push_back(id);
        }
        llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
        if (temp <= 0.0f) {
            llama_sampler_chain_add(chain, llama_sampler_init_greedy());
        } else {
            llama_sampler_chain_add(chain, llama_sampler_init_top_k(top_k));
            llama_sampler_chain_add(chain, llama_sampler_init_top_p(top_p, 1));
            llama_sampler_chain_add(chain, llama_sampler_init_min_p(min_p, 1));
            llama_sampler_chain_add(chain, llama_sampler_init_temp(temp));
            llama_sampler_chain_add(chain, llama_sampler_init_dist(seed));
        }
        llama_memory_clear(llama_get_memory(ctx), true);
        llama_batch batch = llama_batch_get_one(tokens.data(), (int32_t) tokens.size());
        llama_token next = 0;
        for (int n = 0; n < n_predict; n++) {
            if (const int status = llama_decode(ctx, batch)) {
                return fail("llama_decode returned " + std::to_string(status));
            }
            next = llama_sampler_sample(chain, ctx, -1);
            printf("%s%d", n == 0 ? "" : " ", next);
            if (llama_vocab_is_eog(vocab, next)) {
                break;
            }
            batch = llama_batch_get_one(&next, 1);
        }
        printf("\n");
        llama_sampler_free(chain);
    }
    llama_free(ctx);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
