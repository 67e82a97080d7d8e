// What a model says in gemma.cpp, fed with given ids whatever it says. Built against its sources, as gemma.cpp is.
//
//     gemma_run logits FILE.sbs IDS OUT [threads=N] [prompt=N] [prefix=N] [queries=N] [turn=N] [bf16=1]
//         OUT: f32 for each query, each position from the last of the prompt on, and each token of the vocabulary.
//         IDS holds ids between spaces. prompt: how many of them are read as a batch (1). prefix: how many of those see
//         each other. queries: so many at once, each the ids rotated by its number. turn: the ids come in turns of so
//         many, each of which goes on where the last one ended; the logits of each turn's end are written.
//     gemma_run greedy FILE.sbs IDS COUNT [threads=N]
//         prints the ids that follow.
//     gemma_run save FILE.sbs OUT.sbs -
//         writes a file that is mapped, as migrate_weights does.

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fstream>
#include <string>
#include <vector>

#include "gemma/gemma.h"
#include "gemma/gemma_args.h"
#include "ops/matmul.h"
#include "util/threading_context.h"

using namespace gcpp;

static size_t Option(int argc, char** argv, const char* name, size_t otherwise) {
  const size_t length = strlen(name);
  for (int i = 0; i < argc; ++i) {
    if (!strncmp(argv[i], name, length) && argv[i][length] == '=') return strtoul(argv[i] + length + 1, nullptr, 10);
  }
  return otherwise;
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "see the head of gemma_run.cpp\n");
    return 2;
  }
  const std::string what = argv[1];
  if (what == "save") {
    ThreadingArgs args;
    args.max_lps = 1;
    ThreadingContext one(args);
    LoaderArgs mapped("", argv[2]);
    mapped.map = Tristate::kTrue;
    const Gemma gemma(mapped, InferenceArgs(), one);
    gemma.Save(Path(argv[3]), one);
    return 0;
  }
  std::vector<int> ids;
  {
    std::ifstream in(argv[3]);
    int id;
    while (in >> id) ids.push_back(id);
  }
  const size_t n = ids.size();
  ThreadingArgs threading;
  threading.max_lps = Option(argc, argv, "threads", 1);
  threading.pin = Tristate::kFalse;
  threading.spin = Tristate::kFalse;
  ThreadingContext ctx(threading);
  MatMulEnv env(ctx);
  LoaderArgs loader("", argv[2]);
  if (Option(argc, argv, "bf16", 0)) loader.to_bf16 = Tristate::kTrue;
  InferenceArgs inference;
  inference.verbosity = 0;
  inference.seq_len = Option(argc, argv, "seq_len", n + 1024);
  const Gemma gemma(loader, inference, ctx);
  const size_t vocab = gemma.Config().vocab_size;
  TimingInfo timing = {.verbosity = 0};
  RuntimeConfig runtime = {.max_generated_tokens = 0, .temperature = 0.0f, .verbosity = 0};
  runtime.batch_stream_token = [](size_t, size_t, int, float) { return true; };
  runtime.use_spinning = Tristate::kFalse;
  // Not an end, whatever the file says: the caller's ids are none.
  const int filler = 2;

  if (what == "greedy") {
    const size_t count = strtoul(argv[4], nullptr, 10);
    KVCache kv(gemma.Config(), inference, ctx.allocator);
    std::vector<int> said;
    runtime.max_generated_tokens = count;
    runtime.prefill_tbatch_size = 256;
    runtime.batch_stream_token = [&](size_t, size_t pos, int token, float) {
      if (pos >= n) said.push_back(token);
      return true;
    };
    gemma.Generate(runtime, PromptTokens(ids.data(), n), 0, kv, env, timing);
    for (int id : said) printf("%d ", id);
    printf("\n");
    return 0;
  }

  const size_t prompt = Option(argc, argv, "prompt", 1);
  const size_t prefix = Option(argc, argv, "prefix", 0);
  const size_t queries = Option(argc, argv, "queries", 1);
  const size_t turn = Option(argc, argv, "turn", 0);
  std::ofstream out(argv[4], std::ios::binary);
  runtime.prefill_tbatch_size = prompt < 1 ? 1 : prompt;

  if (turn) {
    KVCache kv(gemma.Config(), inference, ctx.allocator);
    runtime.max_generated_tokens = 1;
    runtime.prefill_tbatch_size = turn;
    runtime.sample_func = [&](size_t, size_t, Logits logits, size_t) -> TokenAndProb {
      out.write(reinterpret_cast<const char*>(logits.data()), vocab * sizeof(float));
      return TokenAndProb{.token = filler, .prob = 0.0f};
    };
    for (size_t from = 0; from + turn <= n; from += turn) {
      gemma.Generate(runtime, PromptTokens(ids.data() + from, turn), from, kv, env, timing);
    }
    return 0;
  }

  std::vector<std::vector<int>> of_query(queries);
  std::vector<PromptTokens> prompts;
  std::vector<KVCache> caches;
  std::vector<size_t> prefixes(queries, prefix);
  const size_t rows = n - prompt + 1;
  std::vector<float> all(queries * rows * vocab);
  for (size_t q = 0; q < queries; ++q) {
    for (size_t i = 0; i < n; ++i) of_query[q].push_back(ids[(i + q) % n]);
    caches.emplace_back(gemma.Config(), inference, ctx.allocator);
  }
  for (size_t q = 0; q < queries; ++q) prompts.emplace_back(of_query[q].data(), prompt);
  runtime.max_generated_tokens = rows;
  runtime.decode_qbatch_size = queries;
  runtime.sample_func = [&](size_t q, size_t pos, Logits logits, size_t) -> TokenAndProb {
    if (pos >= prompt && pos - prompt < rows) {
      memcpy(all.data() + (q * rows + pos - prompt) * vocab, logits.data(), vocab * sizeof(float));
    }
    return TokenAndProb{.token = pos < n ? of_query[q][pos] : filler, .prob = 0.0f};
  };
  AllQueries batch(hwy::Span<const PromptTokens>(prompts.data(), queries), hwy::Span<KVCache>(caches.data(), queries),
                   hwy::Span<const size_t>(prefixes.data(), queries));
  gemma.GenerateBatch(runtime, batch, env, timing);
  out.write(reinterpret_cast<const char*>(all.data()), all.size() * sizeof(float));
  return 0;
}
