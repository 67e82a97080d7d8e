//! A llama small enough for a test, written as GGUF and loaded like any other model.

use quipu_gguf::{GgufWriter, Value};
use quipu_quant::DType;

use crate::SplitMix;
use crate::rows::encode;

/// The sizes of a llama with random weights; all its heads are `n_embd / n_head` long.
#[derive(Clone, Copy, Debug)]
pub struct TinyLlama<'a> {
    /// Layers.
    pub n_layer: usize,
    /// Tokens of the vocabulary, which has no texts.
    pub n_vocab: usize,
    /// Length of an embedding.
    pub n_embd: usize,
    /// Inner length of the feed-forward network.
    pub n_ff: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Types of the matrices, used in turn. Vectors are F32.
    pub types: &'a [DType],
}

impl TinyLlama<'_> {
    /// A number for element after element of tensor `index`: norms near 1, matrices scaled to keep the variance.
    fn values(index: usize, dims: &[u64]) -> Vec<f32> {
        let mut random = SplitMix::new(index as u64 + 1);
        let n: u64 = dims.iter().product();
        let (scale, shift) = if dims.len() == 1 { (0.1, 1.0) } else { (1.7 / (dims[0] as f32).sqrt(), 0.0) };
        (0..n).map(|_| random.signed() * scale + shift).collect()
    }

    /// The embedding table as it was before it got its type, row by row.
    pub fn token_embeddings(&self) -> Vec<f32> {
        TinyLlama::values(0, &[self.n_embd as u64, self.n_vocab as u64])
    }

    /// Names and dimensions of all tensors, the embedding table first.
    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let [e, ff, vocab] = [self.n_embd, self.n_ff, self.n_vocab].map(|n| n as u64);
        let kv = e / self.n_head as u64 * self.n_head_kv as u64;
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![e, vocab]),
            ("output_norm.weight".to_owned(), vec![e]),
            ("output.weight".to_owned(), vec![e, vocab]),
        ];
        for il in 0..self.n_layer {
            let layer = [
                ("attn_norm", vec![e]),
                ("attn_q", vec![e, e]),
                ("attn_k", vec![e, kv]),
                ("attn_v", vec![e, kv]),
                ("attn_output", vec![e, e]),
                ("ffn_norm", vec![e]),
                ("ffn_gate", vec![e, ff]),
                ("ffn_up", vec![e, ff]),
                ("ffn_down", vec![ff, e]),
            ];
            tensors.extend(layer.map(|(name, dims)| (format!("blk.{il}.{name}.weight"), dims)));
        }
        tensors
    }

    /// The whole file.
    ///
    /// # Panics
    /// If the sizes do not go together, or rows are no whole blocks of their type.
    pub fn gguf(&self) -> Vec<u8> {
        self.file(&self.tensors())
    }

    /// As [`TinyLlama::gguf`], with a factor for each pair of a head beside the rotary frequencies.
    ///
    /// # Panics
    /// As there.
    pub fn gguf_with_rope_factors(&self) -> Vec<u8> {
        let mut tensors = self.tensors();
        tensors.push(("rope_freqs.weight".to_owned(), vec![(self.n_embd / self.n_head / 2) as u64]));
        self.file(&tensors)
    }

    fn file(&self, tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        let mut set = |key: &str, value: Value| writer.metadata.set(key, value);
        set("general.architecture", Value::from("llama"));
        set("tokenizer.ggml.model", Value::from("none"));
        let sizes = [
            ("block_count", self.n_layer),
            ("embedding_length", self.n_embd),
            ("attention.head_count", self.n_head),
            ("attention.head_count_kv", self.n_head_kv),
            ("feed_forward_length", self.n_ff),
            ("context_length", 512),
            ("vocab_size", self.n_vocab),
        ];
        for (key, value) in sizes {
            set(&format!("llama.{key}"), Value::U32(value as u32));
        }
        set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
        let dtype =
            |i: usize| if tensors[i].1.len() == 1 { DType::F32 } else { self.types[i % self.types.len()] };
        for (i, (name, dims)) in tensors.iter().enumerate() {
            writer.add_tensor(name, dtype(i), dims).expect("a valid tensor");
        }
        let mut bytes = Vec::new();
        let written = writer.write_to(&mut bytes, |i, sink| {
            let dims = &tensors[i].1;
            sink.write_all(&encode(dtype(i), &TinyLlama::values(i, dims), dims[0] as usize))
        });
        written.expect("writing to memory");
        bytes
    }

    /// `n` tokens that look random.
    pub fn tokens(&self, n: usize, seed: u64) -> Vec<u32> {
        let mut random = SplitMix::new(seed + 1000);
        (0..n).map(|_| random.index(self.n_vocab) as u32).collect()
    }
}
