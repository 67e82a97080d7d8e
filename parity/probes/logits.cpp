// Teacher-forced logits of a llama.cpp build, and any tensor of its graph on the way there.
//
//   logits MODEL TOKENS OUT [--ubatch N] [--ctx N] [--threads N] [--repack] [--no-flash-attn] [--cache-type ID] [--tensors PREFIX,PREFIX,...]
//          [--lora FILE --scale S]... [--control-vector FILE --strength S --first LAYER --last LAYER]
//
// TOKENS holds ids separated by white space. OUT receives n_tokens x n_vocab little-endian f32. With --tensors,
// OUT.tensors receives, for every evaluated f32 tensor whose name starts with one of the prefixes:
// name, op, name of the first operand that is a weight, each as u32 length and text; 4 x u64 shape, f32 data. An empty
// prefix stands for all. Repacking is off unless asked for, so that two engines are compared on the same arithmetic.

#include "llama.h"
#include "ggml.h"
#include "ggml-backend.h"
#include "gguf.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Tap {
    std::vector<std::string> prefixes;
    std::ofstream out;
};

bool ends_with(const char * text, const char * end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool wanted(const Tap & tap, const char * name) {
    for (const auto & prefix : tap.prefixes) {
        if (strncmp(name, prefix.c_str(), prefix.size()) == 0) {
            return true;
        }
    }
    return false;
}

void write_text(Tap & tap, const char * text) {
    const uint32_t n = (uint32_t) strlen(text);
    tap.out.write(reinterpret_cast<const char *>(&n), sizeof(n));
    tap.out.write(text, n);
}

const char * weight_of(const ggml_tensor * tensor) {
    for (const ggml_tensor * source : tensor->src) {
        if (source && source->op == GGML_OP_NONE && (ends_with(source->name, ".weight") || ends_with(source->name, ".bias"))) {
            return source->name;
        }
    }
    return "";
}

bool on_tensor(ggml_tensor * tensor, bool ask, void * user) {
    Tap & tap = *static_cast<Tap *>(user);
    if (ask) {
        return tensor->type == GGML_TYPE_F32 && wanted(tap, tensor->name);
    }
    if (!ggml_is_contiguous(tensor)) {
        return true;
    }
    std::vector<char> data(ggml_nbytes(tensor));
    ggml_backend_tensor_get(tensor, data.data(), 0, data.size());
    write_text(tap, tensor->name);
    write_text(tap, ggml_op_name(tensor->op));
    write_text(tap, weight_of(tensor));
    for (int i = 0; i < 4; i++) {
        const uint64_t ne = (uint64_t) tensor->ne[i];
        tap.out.write(reinterpret_cast<const char *>(&ne), sizeof(ne));
    }
    tap.out.write(data.data(), (std::streamsize) data.size());
    return true;
}

int fail(const std::string & what) {
    fprintf(stderr, "logits probe: %s\n", what.c_str());
    return 1;
}

} // namespace

int main(int argc, char ** argv) {
    if (argc < 4) {
        return fail("usage: logits MODEL TOKENS OUT [options]");
    }
    int n_ubatch = 512, n_ctx = 0, n_threads = 2, cache_type = GGML_TYPE_F16;
    bool repack = false, flash_attn = true;
    Tap tap;
    std::vector<std::pair<std::string, float>> loras;
    std::string control_vector;
    float strength = 1.0f;
    int first = 1, last = 1;
    for (int i = 4; i < argc; i++) {
        const std::string arg = argv[i];
        if (arg == "--repack") {
            repack = true;
        } else if (arg == "--no-flash-attn") {
            flash_attn = false;
        } else if (i + 1 >= argc) {
            return fail("missing value of " + arg);
        } else if (arg == "--ubatch") {
            n_ubatch = atoi(argv[++i]);
        } else if (arg == "--ctx") {
            n_ctx = atoi(argv[++i]);
        } else if (arg == "--threads") {
            n_threads = atoi(argv[++i]);
        } else if (arg == "--cache-type") {
            cache_type = atoi(argv[++i]);
        } else if (arg == "--lora") {
            loras.emplace_back(argv[++i], 1.0f);
        } else if (arg == "--scale" && !loras.empty()) {
            loras.back().second = (float) atof(argv[++i]);
        } else if (arg == "--control-vector") {
            control_vector = argv[++i];
        } else if (arg == "--strength") {
            strength = (float) atof(argv[++i]);
        } else if (arg == "--first") {
            first = atoi(argv[++i]);
        } else if (arg == "--last") {
            last = atoi(argv[++i]);
        } else if (arg == "--tensors") {
            const std::string list = argv[++i];
            for (size_t from = 0; from <= list.size();) {
                const size_t to = std::min(list.find(',', from), list.size());
                tap.prefixes.push_back(list.substr(from, to - from));
                from = to + 1;
            }
        } else {
            return fail("unknown option " + arg);
        }
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
    mparams.use_extra_bufts = repack;
    llama_model * model = llama_model_load_from_file(argv[1], mparams);
    if (!model) {
        return fail("cannot load " + std::string(argv[1]));
    }
    llama_context_params cparams = llama_context_default_params();
    cparams.n_ctx = n_ctx > 0 ? n_ctx : (uint32_t) tokens.size();
    cparams.n_batch = (uint32_t) tokens.size();
    cparams.n_ubatch = n_ubatch;
    cparams.n_threads = n_threads;
    cparams.n_threads_batch = n_threads;
    cparams.type_k = (ggml_type) cache_type;
    cparams.type_v = (ggml_type) cache_type;
    if (!flash_attn) {
        cparams.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    if (!tap.prefixes.empty()) {
        tap.out.open(std::string(argv[3]) + ".tensors", std::ios::binary);
        cparams.cb_eval = on_tensor;
        cparams.cb_eval_user_data = &tap;
    }
    llama_context * ctx = llama_init_from_model(model, cparams);
    if (!ctx) {
        return fail("cannot create a context");
    }

    std::vector<llama_adapter_lora *> adapters;
    std::vector<float> scales;
    for (const auto & [path, scale] : loras) {
        llama_adapter_lora * adapter = llama_adapter_lora_init(model, path.c_str());
        if (!adapter) {
            return fail("cannot load the adapter " + path);
        }
        adapters.push_back(adapter);
        scales.push_back(scale);
    }
    if (!adapters.empty() && llama_set_adapters_lora(ctx, adapters.data(), adapters.size(), scales.data())) {
        return fail("adapters were refused");
    }
    if (!control_vector.empty()) {
        // Directions as their files have them: direction.N for layer N.
        ggml_context * tensors = nullptr;
        gguf_init_params gparams = { false, &tensors };
        gguf_context * file = gguf_init_from_file(control_vector.c_str(), gparams);
        if (!file) {
            return fail("cannot read " + control_vector);
        }
        const int n_embd = llama_model_n_embd(model);
        std::vector<float> data;
        for (ggml_tensor * t = ggml_get_first_tensor(tensors); t; t = ggml_get_next_tensor(tensors, t)) {
            const int layer = atoi(t->name + strlen("direction."));
            data.resize(std::max(data.size(), (size_t) layer * n_embd), 0.0f);
            for (int i = 0; i < n_embd; i++) {
                data[(size_t) (layer - 1) * n_embd + i] += strength * ((const float *) t->data)[i];
            }
        }
        gguf_free(file);
        ggml_free(tensors);
        if (llama_set_adapter_cvec(ctx, data.data(), data.size(), n_embd, first, last)) {
            return fail("the control vector was refused");
        }
    }

    llama_batch batch = llama_batch_init((int32_t) tokens.size(), 0, 1);
    for (size_t i = 0; i < tokens.size(); i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = (llama_pos) i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = (int32_t) tokens.size();
    if (const int status = llama_decode(ctx, batch)) {
        return fail("llama_decode returned " + std::to_string(status));
    }

    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    std::ofstream out(argv[3], std::ios::binary);
    for (size_t i = 0; i < tokens.size(); i++) {
        const float * row = llama_get_logits_ith(ctx, (int32_t) i);
        out.write(reinterpret_cast<const char *>(row), (std::streamsize) sizeof(float) * n_vocab);
    }
    if (!out.good()) {
        return fail("cannot write " + std::string(argv[3]));
    }
    printf("%zu %d\n", tokens.size(), n_vocab);
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
