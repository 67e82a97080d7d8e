// What a llama.cpp build generates from prompts given as ids, and the logits on the way there.
//
//   generate MODEL CASES [--ctx N] [--threads N] [--flash-attn 0|1] [--kv f16|f32] [--logits OUT] [--whole 0|1]
//
// A case is one line: N | ID ID ... | SAMPLER ARG... ; SAMPLER ARG... ; ...
// Without --logits generates up to N ids from the prompt and prints them on one line; an end-of-generation token ends
// the line and is printed. With --logits the first N ids are a prompt, the others are fed one at a time, as the
// generation would; OUT receives n_vocab little-endian f32 for the last id of the prompt and for each id after it.
// With --whole 1 all ids go through as one ubatch. Repacking is off, so that two engines are compared on the same
// arithmetic.

#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

// Not in llama.h, but exported for the reference's own test.
struct llama_sampler * llama_sampler_init_dry_testing(float, float, int32_t, int32_t, const std::vector<std::vector<llama_token>> &);

namespace {

[[noreturn]] void fail(const std::string & what) {
    fprintf(stderr, "generate probe: %s\n", what.c_str());
    exit(1);
}

struct Options {
    int n_ctx = 0, n_threads = 1, flash_attn = 1, whole = 0;
    ggml_type kv = GGML_TYPE_F16;
    std::string logits;
};

struct Case {
    int n = 0;
    std::vector<llama_token> ids;
    std::string samplers;
};

Options parse_options(int argc, char ** argv) {
    Options options;
    for (int i = 3; i + 1 < argc; i += 2) {
        const std::string arg = argv[i], value = argv[i + 1];
        if (arg == "--ctx") {
            options.n_ctx = std::stoi(value);
        } else if (arg == "--threads") {
            options.n_threads = std::stoi(value);
        } else if (arg == "--flash-attn") {
            options.flash_attn = std::stoi(value);
        } else if (arg == "--whole") {
            options.whole = std::stoi(value);
        } else if (arg == "--kv") {
            options.kv = value == "f32" ? GGML_TYPE_F32 : GGML_TYPE_F16;
        } else if (arg == "--logits") {
            options.logits = value;
        } else {
            fail("unknown option " + arg);
        }
    }
    return options;
}

Case parse_case(const std::string & line) {
    Case result;
    std::istringstream parts(line);
    std::string part;
    std::getline(parts, part, '|');
    result.n = std::stoi(part);
    std::getline(parts, part, '|');
    std::istringstream ids(part);
    for (llama_token id; ids >> id;) {
        result.ids.push_back(id);
    }
    std::getline(parts, result.samplers, '|');
    return result;
}

llama_sampler * parse_sampler(const std::string & text, const llama_vocab * vocab) {
    std::istringstream in(text);
    std::string name;
    in >> name;
    const auto f32 = [&] { std::string word; in >> word; return strtof(word.c_str(), nullptr); };
    const auto i32 = [&] { int32_t value = 0; in >> value; return value; };
    const auto u32 = [&] { uint32_t value = 0; in >> value; return value; };
    const int32_t n_vocab = llama_vocab_n_tokens(vocab);
    if (name == "greedy") return llama_sampler_init_greedy();
    if (name == "dist") return llama_sampler_init_dist(u32());
    if (name == "logit_bias") {
        std::vector<llama_logit_bias> biases;
        for (llama_token id; in >> id;) {
            biases.push_back({ id, f32() });
        }
        return llama_sampler_init_logit_bias(n_vocab, (int32_t) biases.size(), biases.data());
    }
    if (name == "top_k") return llama_sampler_init_top_k(i32());
    if (name == "temp") return llama_sampler_init_temp(f32());
    if (name == "top_n_sigma") return llama_sampler_init_top_n_sigma(f32());
    if (name == "top_p") { const float p = f32(); return llama_sampler_init_top_p(p, i32()); }
    if (name == "min_p") { const float p = f32(); return llama_sampler_init_min_p(p, i32()); }
    if (name == "typical") { const float p = f32(); return llama_sampler_init_typical(p, i32()); }
    if (name == "temp_ext") { const float t = f32(), d = f32(); return llama_sampler_init_temp_ext(t, d, f32()); }
    if (name == "xtc") { const float p = f32(), t = f32(); const int keep = i32(); return llama_sampler_init_xtc(p, t, keep, u32()); }
    if (name == "penalties") { const int32_t n = i32(); const float r = f32(), f = f32(); return llama_sampler_init_penalties(n_vocab, n, r, f, f32()); }
    if (name == "mirostat") { const uint32_t s = u32(); const float t = f32(), e = f32(); return llama_sampler_init_mirostat(n_vocab, s, t, e, i32()); }
    if (name == "mirostat_v2") { const uint32_t s = u32(); const float t = f32(); return llama_sampler_init_mirostat_v2(s, t, f32()); }
    if (name == "adaptive_p") { const float t = f32(), d = f32(); return llama_sampler_init_adaptive_p(t, d, u32()); }
    if (name == "dry") {
        const float m = f32(), b = f32();
        const int32_t length = i32(), last_n = i32();
        const char * breakers[] = { "\n", ":", "\"", "*" };
        return llama_sampler_init_dry(vocab, m, b, length, last_n, breakers, m == 0.0f ? 0 : 4);
    }
    if (name == "dry_ids") {
        const float m = f32(), b = f32();
        const int32_t length = i32(), last_n = i32();
        std::vector<std::vector<llama_token>> breakers;
        for (llama_token id; in >> id;) {
            breakers.push_back({ id });
        }
        return llama_sampler_init_dry_testing(m, b, length, last_n, breakers);
    }
    fail("unknown sampler " + name);
}

llama_sampler * parse_chain(const std::string & text, const llama_vocab * vocab) {
    llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, ';');) {
        llama_sampler_chain_add(chain, parse_sampler(part, vocab));
    }
    return chain;
}

void decode(llama_context * ctx, llama_batch batch) {
    if (const int status = llama_decode(ctx, batch)) {
        fail("llama_decode returned " + std::to_string(status));
    }
}

void generate(llama_context * ctx, const llama_vocab * vocab, Case & request) {
    llama_sampler * chain = parse_chain(request.samplers, vocab);
    llama_batch batch = llama_batch_get_one(request.ids.data(), (int32_t) request.ids.size());
    llama_token next = 0;
    for (int n = 0; n < request.n; n++) {
        decode(ctx, batch);
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

void write_row(std::ofstream & out, const float * row, int n_vocab) {
    out.write(reinterpret_cast<const char *>(row), (std::streamsize) sizeof(float) * n_vocab);
}

void force(llama_context * ctx, Case & request, bool whole, std::ofstream & out, int n_vocab) {
    const size_t n_prompt = (size_t) request.n;
    if (!whole) {
        decode(ctx, llama_batch_get_one(request.ids.data(), request.n));
        write_row(out, llama_get_logits_ith(ctx, -1), n_vocab);
        for (size_t i = n_prompt; i < request.ids.size(); i++) {
            decode(ctx, llama_batch_get_one(&request.ids[i], 1));
            write_row(out, llama_get_logits_ith(ctx, -1), n_vocab);
        }
        return;
    }
    llama_batch batch = llama_batch_init((int32_t) request.ids.size(), 0, 1);
    for (size_t i = 0; i < request.ids.size(); i++) {
        batch.token[i] = request.ids[i];
        batch.pos[i] = (llama_pos) i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i + 1 >= n_prompt;
    }
    batch.n_tokens = (int32_t) request.ids.size();
    decode(ctx, batch);
    for (size_t i = n_prompt - 1; i < request.ids.size(); i++) {
        write_row(out, llama_get_logits_ith(ctx, (int32_t) i), n_vocab);
    }
    llama_batch_free(batch);
}

} // namespace

int main(int argc, char ** argv) {
    if (argc < 3) {
        fail("usage: generate MODEL CASES [options]");
    }
    const Options options = parse_options(argc, argv);
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
        fail("cannot load " + std::string(argv[1]));
    }
    const llama_vocab * vocab = llama_model_get_vocab(model);
    llama_context_params cparams = llama_context_default_params();
    cparams.n_ctx = options.n_ctx;
    cparams.n_threads = options.n_threads;
    cparams.n_threads_batch = options.n_threads;
    cparams.type_k = options.kv;
    cparams.type_v = options.kv;
    if (!options.flash_attn) {
        cparams.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    llama_context * ctx = llama_init_from_model(model, cparams);
    if (!ctx) {
        fail("cannot create a context");
    }
    std::ofstream out;
    if (!options.logits.empty()) {
        out.open(options.logits, std::ios::binary);
    }
    std::ifstream cases(argv[2]);
    for (std::string line; std::getline(cases, line);) {
        Case request = parse_case(line);
        llama_memory_clear(llama_get_memory(ctx), true);
        if (options.logits.empty()) {
            generate(ctx, vocab, request);
        } else {
            force(ctx, request, options.whole != 0, out, llama_vocab_n_tokens(vocab));
        }
    }
    llama_free(ctx);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
