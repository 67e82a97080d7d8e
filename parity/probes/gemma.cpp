// What gemma.cpp says about its formats, for quipu-gemma to be compared with. Built against its sources and
// highway's, with compression/python/compression_clif_aux.cc, one instruction set (HWY_COMPILE_ONLY_STATIC), NUQ
// enabled (GEMMA_ENABLE_NUQ=1). Of NUQ the decoder is compared with AVX2 (-march=haswell): with AVX-512 and VBMI the
// reference's takes the wrong half of its input for every second 32 values (Replicate4x, kAdd).
//
//     gemma codec TYPE VALUES BYTES DECODED   encodes the f32 in VALUES, compares with BYTES; decodes BYTES, compares
//                                             with the f32 in DECODED; prints counts and the distortion's figures
//     gemma encode TYPE VALUES                prints the f32 in VALUES encoded, in hex
//     gemma configs                           a line for each model, type and wrapping: specifier, its u32 in hex
//     gemma tensors SPECIFIER                 a line for each tensor that has values
//     gemma sbs SPECIFIER DIR OUT [TOKENIZER] the model in DIR (order.txt: name and type a line; NAME.f32) as a file
//     gemma tokenize FILE.sbs                 the ids of each line on stdin, by the file's tokenizer
//     gemma blobs IN OUT                      reads all blobs of a store and writes them again
//     gemma stats VALUES DISTORTED            the distortion's figures of two files of f32

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "compression/compress-inl.h"
#include "compression/distortion.h"
#include "compression/python/compression_clif_aux.h"
#include "gemma/configs.h"
#include "gemma/tensor_info.h"
#include "gemma/tokenizer.h"
#include "io/blob_store.h"
#include "util/mat.h"
#include "util/threading_context.h"

using namespace gcpp;
namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
static std::vector<T> Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) {
    fprintf(stderr, "cannot read %s\n", path.c_str());
    exit(2);
  }
  const size_t bytes = static_cast<size_t>(in.tellg());
  std::vector<T> out(bytes / sizeof(T));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(out.data()), out.size() * sizeof(T));
  return out;
}

template <typename Packed>
static int Codec(const char* values_path, const char* bytes_path, const char* decoded_path) {
  const std::vector<float> values = Slurp<float>(values_path);
  const std::vector<uint8_t> theirs = Slurp<uint8_t>(bytes_path);
  const std::vector<float> theirs_decoded = Slurp<float>(decoded_path);
  const size_t num = values.size();
  ThreadingArgs args;
  ThreadingContext ctx(args);
  CompressWorkingSet work;
  const size_t elements = CompressedArrayElements<Packed>(num);
  // Vector code may read and write beyond the end.
  std::vector<uint8_t> own(elements * sizeof(Packed) + 1024);
  Packed* packed = reinterpret_cast<Packed*>(own.data());
  HWY_NAMESPACE::Compress(values.data(), num, work, MakeSpan(packed, elements), 0, ctx);
  size_t bytes_wrong = 0, first_wrong = ~size_t{0};
  const size_t n_bytes = elements * sizeof(Packed);
  if (theirs.size() != n_bytes) printf("size %zu, expected %zu\n", theirs.size(), n_bytes);
  for (size_t i = 0; i < n_bytes && i < theirs.size(); ++i) {
    if (theirs[i] != own[i]) {
      if (bytes_wrong++ == 0) first_wrong = i;
    }
  }
  std::vector<float> decoded(num + 256);
  const hn::ScalableTag<float> df;
  HWY_NAMESPACE::DecompressAndZeroPad(df, MakeConst(MakeSpan(packed, elements)), 0, decoded.data(), num);
  size_t floats_wrong = 0;
  DistortionStats stats;
  for (size_t i = 0; i < num; ++i) {
    floats_wrong += memcmp(&decoded[i], &theirs_decoded[i], 4) != 0;
    if (hwy::ScalarIsFinite(values[i]) && hwy::ScalarIsFinite(decoded[i]) && (values[i] != 0.0f || decoded[i] == 0.0f)) stats.Notify(values[i], decoded[i]);
  }
  printf("values %zu bytes %zu wrong %zu first %zd decoded wrong %zu\n", num, n_bytes, bytes_wrong,
         static_cast<ssize_t>(first_wrong), floats_wrong);
  fflush(stdout);
  // Of all of f32 as BF16 the reference has no figures: it gives up where weights of errors do not add up.
  if (hwy::IsSame<Packed, BF16>()) return 0;
  printf("distortion exact %zu flips %zu zeros %zu sum %.9e rounded %.9e snr %.9e weighted %.9e\n",
         stats.NumExact(), stats.NumSignFlip(), stats.NumRoundedToZero(), stats.SumL1(), stats.SumL1Rounded(),
         stats.GeomeanValueDivL1(), stats.WeightedAverageL1());
  return 0;
}

static int Stats(const char* values_path, const char* distorted_path) {
  const std::vector<float> values = Slurp<float>(values_path), distorted = Slurp<float>(distorted_path);
  DistortionStats stats;
  for (size_t i = 0; i < values.size(); ++i) stats.Notify(values[i], distorted[i]);
  printf("distortion exact %zu flips %zu zeros %zu sum %.9e rounded %.9e snr %.9e weighted %.9e\n",
         stats.NumExact(), stats.NumSignFlip(), stats.NumRoundedToZero(), stats.SumL1(), stats.SumL1Rounded(),
         stats.GeomeanValueDivL1(), stats.WeightedAverageL1());
  return 0;
}

template <typename Packed>
static int Encode(const char* values_path) {
  const std::vector<float> values = Slurp<float>(values_path);
  ThreadingArgs args;
  ThreadingContext ctx(args);
  CompressWorkingSet work;
  const size_t elements = CompressedArrayElements<Packed>(values.size());
  std::vector<uint8_t> own(elements * sizeof(Packed) + 1024);
  Packed* packed = reinterpret_cast<Packed*>(own.data());
  HWY_NAMESPACE::Compress(values.data(), values.size(), work, MakeSpan(packed, elements), 0, ctx);
  for (size_t i = 0; i < elements * sizeof(Packed); ++i) printf("%02x", own[i]);
  printf("\n");
  return 0;
}

static int Configs() {
  ForEachModel([](Model model) {
    for (int w = 0; w < static_cast<int>(PromptWrapping::kSentinel); ++w) {
      for (Type type : {Type::kF32, Type::kBF16, Type::kSFP, Type::kNUQ, Type::kI8}) {
        const ModelConfig config(model, type, static_cast<PromptWrapping>(w));
        printf("%d %d %d %s", static_cast<int>(model), static_cast<int>(type), w, config.Specifier().c_str());
        for (uint32_t u : config.Write()) printf(" %x", u);
        printf("\n");
      }
    }
  });
  return 0;
}

// All names that the registry can have, by trying those of weights.h.
static int Tensors(const char* specifier) {
  const ModelConfig config{std::string(specifier)};
  const TensorInfoRegistry registry(config);
  static const char* kNames[] = {
      "c_embedding", "c_final_norm", "enc_norm_bias", "enc_norm_scale", "img_emb_bias", "img_emb_kernel",
      "img_head_bias", "img_head_kernel", "img_pos_emb", "mm_embed_norm", "attn_out_w", "attn_out_b", "q_ein_w",
      "k_ein_w", "v_ein_w", "qkv_ein_w", "q_ein_b", "k_ein_b", "v_ein_b", "qkv_ein_b", "linear_0_w", "linear_0_b",
      "linear_1_w", "linear_1_b", "ln_0_bias", "ln_0_scale", "ln_1_bias", "ln_1_scale", "key_norm", "query_norm",
      "qkv1_w", "qkv2_w", "q_ein", "k_ein", "v_ein", "qkv_ein", "attn_ob", "gating_ein", "gating1_w", "gating2_w",
      "linear_w", "pre_att_ns", "pre_ff_ns", "post_att_ns", "post_ff_ns", "ffw_gat_b", "ffw_out_b", "att_ein",
      "att_w"};
  for (const char* base : kNames) {
    for (int layer = -1; layer < 64; ++layer) {
      const std::string name = layer < 0 ? std::string(base) : base + LayerSuffix(layer);
      const TensorInfo* info = registry.Find(name);
      if (!info) continue;
      const Extents2D e = ExtentsFromInfo(info);
      printf("%s %zu %zu %s %d %zu", name.c_str(), e.rows, e.cols, TypeName(info->min_size),
             info->cols_take_extra_dims, info->concat_axis);
      for (size_t a : info->axes) printf(" a%zu", a);
      for (size_t p : info->preshape) printf(" p%zu", p);
      for (const std::string& c : info->concat_names) printf(" c%s", c.c_str());
      for (const std::string& s : info->source_names) printf(" s%s", s.c_str());
      printf("\n");
    }
  }
  return 0;
}

static Type TypeOf(const std::string& name) {
  for (size_t i = 0; i < kNumTypes; ++i) {
    if (name == kTypeStrings[i]) return static_cast<Type>(i);
  }
  fprintf(stderr, "no type %s\n", name.c_str());
  exit(2);
}

static int Sbs(const char* specifier, const std::string& dir, const char* out, const char* tokenizer) {
  ModelConfig config{std::string(specifier)};
  config.vit_config = VitConfig();
  const TensorInfoRegistry registry(config);
  SbsWriter writer(out);
  std::ifstream order(dir + "/order.txt");
  std::string name, type;
  while (order >> name >> type) {
    std::vector<float> values = Slurp<float>(dir + "/" + name + ".f32");
    writer.Insert(name.c_str(), F32Span(values.data(), values.size()), TypeOf(type), *registry.Find(name));
  }
  writer.Write(config, tokenizer ? tokenizer : "");
  return 0;
}

static int Blobs(const char* in, const char* out) {
  const Path in_path(in), out_path(out);
  BlobReader reader(in_path);
  ThreadingArgs args;
  ThreadingContext ctx(args);
  BlobWriter writer(out_path, ctx);
  for (const std::string& key : reader.Keys()) {
    reader.CallWithSpan<char>(key, [&](const hwy::Span<const char> bytes) {
      writer.Add(key, bytes.data(), bytes.size());
    });
  }
  writer.Finalize();
  printf("%zu blobs\n", reader.Keys().size());
  return 0;
}

static int Tokenize(const char* path) {
  BlobReader reader{Path(path)};
  std::string proto;
  reader.CallWithSpan<char>("tokenizer",
                            [&](const hwy::Span<const char> bytes) { proto.assign(bytes.data(), bytes.size()); });
  const GemmaTokenizer tokenizer(proto);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::vector<int> ids;
    if (!tokenizer.Encode(line, &ids)) return 1;
    for (size_t i = 0; i < ids.size(); ++i) printf("%s%d", i ? " " : "", ids[i]);
    printf("\n");
  }
  return 0;
}

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "codec" && argc == 6) {
    const std::string type = argv[2];
    if (type == "sfp") return Codec<SfpStream>(argv[3], argv[4], argv[5]);
    if (type == "i8") return Codec<I8Stream>(argv[3], argv[4], argv[5]);
    if (type == "nuq") return Codec<NuqStream>(argv[3], argv[4], argv[5]);
    if (type == "bf16") return Codec<BF16>(argv[3], argv[4], argv[5]);
  }
  if (what == "encode" && argc == 4) {
    const std::string type = argv[2];
    if (type == "sfp") return Encode<SfpStream>(argv[3]);
    if (type == "i8") return Encode<I8Stream>(argv[3]);
    if (type == "nuq") return Encode<NuqStream>(argv[3]);
    if (type == "bf16") return Encode<BF16>(argv[3]);
  }
  if (what == "stats" && argc == 4) return Stats(argv[2], argv[3]);
  if (what == "configs") return Configs();
  if (what == "tensors" && argc == 3) return Tensors(argv[2]);
  if (what == "sbs" && argc >= 5) return Sbs(argv[2], argv[3], argv[4], argc > 5 ? argv[5] : nullptr);
  if (what == "tokenize" && argc == 3) return Tokenize(argv[2]);
  if (what == "blobs" && argc == 4) return Blobs(argv[2], argv[3]);
  fprintf(stderr, "see the head of gemma.cpp\n");
  return 2;
}
