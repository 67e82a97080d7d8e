// What common_sampler chooses, and from which logits, for quipu-sampler's example `replay`.
//
//   common_sampler OUT [--lazy-word TEXT] [--lazy-pattern TEXT] [--lazy-full TEXT] [--budget N START END]
//                  [--grammar-first] [llama-completion's flags]
//
// OUT receives lines `key value` of the sampling parameters as they were parsed, up to a line `end`, and then for each
// token chosen its id and n_vocab logits (little-endian i32 and f32). Floats are written as their bits, texts as x and
// hexadecimal bytes.
//
// Compiled with common/ and vendor/ among the includes and with -lllama-common, unlike the other probes:
//   c++ -std=c++20 -O2 -DNDEBUG -I SRC/include -I SRC/ggml/include -I SRC/common -I SRC/vendor common_sampler.cpp
//       -o common_sampler -L BUILD/bin -lllama-common -lllama -lggml -lggml-base -Wl,-rpath,BUILD/bin
#include "arg.h"
#include "common.h"
#include "log.h"
#include "reasoning-budget.h"
#include "sampling.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

static std::string hex(const std::string & text) {
    static const char * digits = "0123456789abcdef";
    std::string out = "x";
    for (unsigned char c : text) {
        out += digits[c >> 4];
        out += digits[c & 15];
    }
    return out;
}

static uint32_t bits(float x) {
    uint32_t out;
    memcpy(&out, &x, sizeof(out));
    return out;
}

static void tokens(std::ofstream & out, const char * key, const std::vector<llama_token> & ids) {
    out << key;
    for (auto id : ids) out << " " << id;
    out << "\n";
}

int main(int argc, char ** argv) {
    if (argc < 2) return 1;
    const std::string path = argv[1];
    std::vector<char *> rest = { argv[0] };
    std::vector<common_grammar_trigger> triggers;
    bool grammar_first = false;
    int budget = -2;
    std::string start, end;
    for (int i = 2; i < argc; ++i) {
        const std::string arg = argv[i];
        if (arg == "--lazy-word" && i + 1 < argc) triggers.push_back({ COMMON_GRAMMAR_TRIGGER_TYPE_WORD, argv[++i], LLAMA_TOKEN_NULL });
        else if (arg == "--lazy-pattern" && i + 1 < argc) triggers.push_back({ COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN, argv[++i], LLAMA_TOKEN_NULL });
        else if (arg == "--lazy-full" && i + 1 < argc) triggers.push_back({ COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL, argv[++i], LLAMA_TOKEN_NULL });
        else if (arg == "--grammar-first") grammar_first = true;
        else if (arg == "--budget" && i + 3 < argc) { budget = std::stoi(argv[i + 1]); start = argv[i + 2]; end = argv[i + 3]; i += 3; }
        else rest.push_back(argv[i]);
    }
    common_params params;
    common_log_set_verbosity_thold(-1);
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    if (!common_params_parse((int) rest.size(), rest.data(), params, LLAMA_EXAMPLE_COMPLETION)) return 1;
    common_init();
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    auto & s = params.sampling;
    s.grammar_lazy = !triggers.empty();
    s.grammar_triggers = triggers;
    auto init = common_init_from_params(params);
    llama_model * model = init->model();
    llama_context * ctx = init->context();
    if (!model || !ctx) return 1;
    const llama_vocab * vocab = llama_model_get_vocab(model);
    if (budget > -2) {
        s.reasoning_budget_tokens = budget;
        s.reasoning_budget_start = common_tokenize(vocab, start, false, true);
        s.reasoning_budget_end = { common_tokenize(vocab, end, false, true) };
        s.reasoning_budget_forced = s.reasoning_budget_end[0];
    }
    std::ofstream out(path, std::ios::binary);
    out << "seed " << s.seed << "\nsamplers ";
    for (auto kind : s.samplers) out << common_sampler_type_to_chr(kind);
    out << "\ntop_k " << s.top_k << "\npenalty_last_n " << s.penalty_last_n << "\ndry_allowed_length " << s.dry_allowed_length
        << "\ndry_penalty_last_n " << s.dry_penalty_last_n << "\nmirostat " << s.mirostat << "\nmin_keep " << s.min_keep
        << "\nignore_eos " << s.ignore_eos << "\ngrammar_first " << grammar_first << "\nn_prev " << s.n_prev << "\n";
    for (auto & [key, value] : std::vector<std::pair<const char *, float>>{
        {"top_p", s.top_p}, {"min_p", s.min_p}, {"typ_p", s.typ_p}, {"top_n_sigma", s.top_n_sigma},
        {"xtc_probability", s.xtc_probability}, {"xtc_threshold", s.xtc_threshold}, {"temp", s.temp},
        {"dynatemp_range", s.dynatemp_range}, {"dynatemp_exponent", s.dynatemp_exponent}, {"penalty_repeat", s.penalty_repeat},
        {"penalty_freq", s.penalty_freq}, {"penalty_present", s.penalty_present}, {"dry_multiplier", s.dry_multiplier},
        {"dry_base", s.dry_base}, {"adaptive_target", s.adaptive_target}, {"adaptive_decay", s.adaptive_decay},
        {"mirostat_tau", s.mirostat_tau}, {"mirostat_eta", s.mirostat_eta},
    }) out << key << " " << bits(value) << "\n";
    for (auto & text : s.dry_sequence_breakers) out << "breaker " << hex(text) << "\n";
    const size_t n_user = s.logit_bias.size() - (s.ignore_eos ? s.logit_bias_eog.size() : 0);
    for (size_t i = 0; i < n_user; ++i) out << "bias " << s.logit_bias[i].token << " " << bits(s.logit_bias[i].bias) << "\n";
    if (!s.grammar.grammar.empty()) out << "grammar " << hex(s.grammar.grammar) << "\n";
    for (auto & t : triggers) {
        const char * kind = t.type == COMMON_GRAMMAR_TRIGGER_TYPE_WORD ? "word" : t.type == COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN ? "pattern" : "full";
        out << kind << " " << hex(t.value) << "\n";
    }
    if (budget > -2) {
        out << "budget " << budget << "\n";
        tokens(out, "start", s.reasoning_budget_start);
        tokens(out, "stop", s.reasoning_budget_end[0]);
    }
    common_sampler * sampler = common_sampler_init(model, s);
    std::vector<llama_token> prompt = common_tokenize(vocab, params.prompt, true, true);
    tokens(out, "prompt", prompt);
    const int n_vocab = llama_vocab_n_tokens(vocab);
    out << "n_vocab " << n_vocab << "\nend\n";
    for (auto id : prompt) common_sampler_accept(sampler, id, false);
    if (llama_decode(ctx, llama_batch_get_one(prompt.data(), prompt.size()))) return 1;
    for (int i = 0; i < params.n_predict; ++i) {
        const std::vector<float> row(llama_get_logits_ith(ctx, -1), llama_get_logits_ith(ctx, -1) + n_vocab);
        llama_token id = common_sampler_sample(sampler, ctx, -1, grammar_first);
        common_sampler_accept(sampler, id, true);
        out.write((const char *) &id, sizeof(id));
        out.write((const char *) row.data(), n_vocab * sizeof(float));
        if (llama_vocab_is_eog(vocab, id)) break;
        if (llama_decode(ctx, llama_batch_get_one(&id, 1))) return 1;
    }
    out.flush();
    common_sampler_free(sampler);
    return 0;
}
