//! Between `.sbs` and GGUF: the same models under other names and in other layouts.
//!
//! [`to_gguf`] makes a GGUF file of a `.sbs` file, [`write_gguf`] writes one, [`write_sbs`] goes the other way. What
//! they agree on:
//!
//! | `.sbs` | GGUF |
//! |---|---|
//! | `c_embedding` | `token_embd` |
//! | `c_final_norm` | `output_norm` |
//! | `qkv_ein` (or `qkv1_w` and `qkv2_w`): all queries, then key and value of each key-value head in turn | `attn_q`, `attn_k`, `attn_v` |
//! | `att_ein`, one matrix for each head, or `att_w` | `attn_output` |
//! | `gating_ein` (or `gating1_w` and `gating2_w`): gate, then up | `ffn_gate`, `ffn_up` |
//! | `linear_w` | `ffn_down` |
//! | `pre_att_ns`, `post_att_ns`, `pre_ff_ns`, `post_ff_ns` | `attn_norm`, `post_attention_norm`, `ffn_norm`, `post_ffw_norm` |
//! | `query_norm`, `key_norm` | `attn_q_norm`, `attn_k_norm` |
//!
//! Norms are stored without the 1 that gemma.cpp adds while it runs, and with it in GGUF. Image encoders are left out.

mod read;
mod tokenizer;
mod write;

pub use read::{to_gguf, vocabulary, write_gguf};
pub use tokenizer::{sentencepiece_of, vocabulary_of};
pub use write::{WriteOptions, write_sbs, write_sbs_as};

/// A tensor of a layer in both worlds, but for those that are joined in `.sbs`: vectors and `ffn_down`.
const SAME: [(&str, &str); 7] = [
    ("pre_att_ns", "attn_norm"),
    ("post_att_ns", "post_attention_norm"),
    ("pre_ff_ns", "ffn_norm"),
    ("post_ff_ns", "post_ffw_norm"),
    ("query_norm", "attn_q_norm"),
    ("key_norm", "attn_k_norm"),
    ("linear_w", "ffn_down"),
];

/// `blk.{il}.{name}.weight`.
fn blk(il: usize, name: &str) -> String {
    format!("blk.{il}.{name}.weight")
}
