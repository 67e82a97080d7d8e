//! Which type each tensor gets: llama-quantize's mixtures, word for word.
//!
//! The rules depend on the order in which tensors are visited (they count the attention and feed-forward
//! tensors seen so far), so a [`Policy`] is asked once for each tensor, in the order they are written.

use quipu_gguf::TensorInfo;
use quipu_quant::DType;

use super::error::Error;
use super::facts::Facts;
use super::file_type::FileType;

/// The part a tensor plays, by its name. Answers to `tensor_category`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    TokenEmbd,
    AttentionQ,
    AttentionK,
    AttentionV,
    AttentionQkv,
    AttentionKvB,
    AttentionOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Output,
    Other,
}

impl Category {
    pub fn of(name: &str) -> Category {
        const BY_PART: [(&str, Category); 9] = [
            ("attn_qkv.weight", Category::AttentionQkv),
            ("attn_kv_b.weight", Category::AttentionKvB),
            ("attn_v.weight", Category::AttentionV),
            ("attn_k.weight", Category::AttentionK),
            ("attn_q.weight", Category::AttentionQ),
            ("attn_output.weight", Category::AttentionOutput),
            ("ffn_up", Category::FfnUp),
            ("ffn_gate", Category::FfnGate),
            ("ffn_down", Category::FfnDown),
        ];
        if name == "output.weight" {
            return Category::Output;
        }
        if is_token_embd(name) {
            return Category::TokenEmbd;
        }
        let part = BY_PART.iter().find(|(part, _)| name.contains(part));
        part.map_or(Category::Other, |(_, category)| *category)
    }

    /// Like `attn_v`, more sensitive than the rest.
    fn is_attn_v(self) -> bool {
        matches!(self, Category::AttentionV | Category::AttentionQkv | Category::AttentionKvB)
    }
}

pub(super) fn is_token_embd(name: &str) -> bool {
    name == "token_embd.weight" || name == "per_layer_token_embd.weight"
}

/// Whether a tensor may be quantised at all. Answers to `tensor_allows_quantization`.
pub(super) fn allows_quantization(name: &str, info: &TensorInfo, leave_output_tensor: bool) -> bool {
    // Small, sensitive, or not a matrix to multiply with.
    const EXEMPT: [&str; 35] = [
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
        ".position_embd",
        "sam.pos_embd",
        "sam.neck.",
        "sam.net_",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
        "a.rvq.codebook",
        "mm.a.code_embd",
    ];
    let is_matrix = info.ne[1..].iter().any(|&n| n > 1);
    is_matrix
        && name.ends_with("weight")
        && !(leave_output_tensor && name == "output.weight")
        && !matches!(name, "position_embd.weight" | "token_types.weight")
        && !EXEMPT.iter().any(|part| name.contains(part))
}

/// True where garbage would come out without an importance matrix. Answers to `tensor_requires_imatrix`.
pub(super) fn requires_imatrix(name: &str, dtype: DType, file_type: FileType) -> bool {
    if is_token_embd(name) || name == "output.weight" {
        return false;
    }
    match dtype {
        DType::IQ3_XXS | DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S | DType::IQ1_M | DType::IQ1_S => true,
        DType::Q2_K => file_type == FileType::Q2_K_S,
        _ => false,
    }
}

/// The type used instead of `dtype` for rows of `ne0` elements that are not whole blocks of it; `None` if the
/// reference defines none. Answers to `tensor_type_fallback`.
pub(super) fn fallback(dtype: DType, ne0: u64) -> Option<DType> {
    let narrower = match dtype {
        DType::IQ1_S
        | DType::IQ1_M
        | DType::IQ2_XXS
        | DType::IQ2_XS
        | DType::IQ2_S
        | DType::IQ3_XXS
        | DType::IQ3_S
        | DType::IQ4_XS => DType::IQ4_NL,
        DType::Q2_0 | DType::Q2_K | DType::Q3_K | DType::TQ1_0 | DType::TQ2_0 => DType::Q4_0,
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        DType::Q6_K => DType::Q8_0,
        _ => return None,
    };
    Some(if ne0.is_multiple_of(narrower.block_len() as u64) { narrower } else { DType::F16 })
}

/// `i / 8` of the first layers, the last, and every third between get more bits.
fn use_more_bits(i: u32, n: u32) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// Chooses types tensor by tensor. Answers to `quantize_state_impl` and `llama_tensor_get_type_impl`.
#[derive(Debug)]
pub(super) struct Policy<'a> {
    facts: &'a Facts,
    file_type: FileType,
    output_tensor_type: Option<DType>,
    has_imatrix: bool,
    /// No `output.weight`: the token embeddings serve as output matrix.
    has_tied_embeddings: bool,
    n_attention_wv: u32,
    i_attention_wv: u32,
    i_ffn_down: u32,
    i_ffn_gate: u32,
    i_ffn_up: u32,
}

#[allow(clippy::match_same_arms)] // one rule to an arm, in the reference's order
impl<'a> Policy<'a> {
    /// For the tensors called `names`.
    pub fn new<'n>(
        facts: &'a Facts,
        params: &super::QuantizeParams,
        names: impl Iterator<Item = &'n str>,
    ) -> Policy<'a> {
        let mut policy = Policy {
            facts,
            file_type: params.file_type,
            output_tensor_type: params.output_tensor_type,
            has_imatrix: params.imatrix.is_some(),
            has_tied_embeddings: true,
            n_attention_wv: 0,
            i_attention_wv: 0,
            i_ffn_down: 0,
            i_ffn_gate: 0,
            i_ffn_up: 0,
        };
        for category in names.map(Category::of) {
            policy.n_attention_wv += u32::from(category.is_attn_v());
            policy.has_tied_embeddings &= category != Category::Output;
        }
        policy
    }

    /// The mixture's type for the next tensor.
    pub fn choose(&mut self, name: &str, info: &TensorInfo) -> Result<DType, Error> {
        use FileType as Ft;
        let category = Category::of(name);
        let ft = self.file_type;
        let default = ft.default_type();
        if category == Category::Output || (self.has_tied_embeddings && category == Category::TokenEmbd) {
            return Ok(self.output(default, info.ne[0]));
        }
        if ft == Ft::MXFP4_MOE {
            return Ok(if info.ne[2] > 1 { DType::MXFP4 } else { DType::Q8_0 });
        }
        if category == Category::TokenEmbd {
            return Ok(self.token_embd(default));
        }
        let very_low = matches!(ft, Ft::IQ2_XXS | Ft::IQ2_XS | Ft::IQ1_S | Ft::IQ2_S | Ft::IQ2_M | Ft::IQ1_M);
        if very_low {
            return Ok(self.very_low(default, category));
        }
        if category.is_attn_v() {
            return Ok(self.attention_v(default));
        }
        Ok(match category {
            Category::AttentionK if self.facts.n_expert == 8 => DType::Q8_0,
            Category::AttentionK | Category::AttentionQ => match ft {
                Ft::IQ3_XS => DType::IQ3_XXS,
                Ft::IQ3_XXS => DType::IQ2_S,
                _ => default,
            },
            Category::FfnDown => {
                let layer = self.layer(self.i_ffn_down, name)?;
                self.i_ffn_down += 1;
                self.ffn_down(default, layer)
            }
            Category::AttentionOutput => self.attention_output(default),
            Category::FfnGate => {
                let layer = self.layer(self.i_ffn_gate, name)?;
                self.i_ffn_gate += 1;
                self.ffn_gate_up(default, layer)
            }
            Category::FfnUp => {
                let layer = self.layer(self.i_ffn_up, name)?;
                self.i_ffn_up += 1;
                self.ffn_gate_up(default, layer)
            }
            _ => default,
        })
    }

    /// The layer of a feed-forward tensor: in dense models its count, in mixtures of experts (whose tensors may
    /// come in any order) the number in its name.
    fn layer(&self, count: u32, name: &str) -> Result<u32, Error> {
        let n_layer = self.facts.n_layer;
        if self.facts.n_expert <= 1 {
            return Ok(count);
        }
        super::layers::block_number(name)
            .and_then(|il| u32::try_from(il).ok())
            .filter(|il| *il < n_layer)
            .ok_or_else(|| Error::LayerOfTensor { name: name.to_owned(), n_layer })
    }

    fn output(&self, default: DType, ne0: u64) -> DType {
        use FileType as Ft;
        if let Some(dtype) = self.output_tensor_type {
            return dtype;
        }
        let whole = ne0.is_multiple_of(default.block_len() as u64);
        match self.file_type {
            Ft::MXFP4_MOE => DType::Q8_0,
            _ if self.facts.is_falcon || !whole => DType::Q8_0,
            Ft::IQ2_XXS | Ft::IQ2_XS | Ft::IQ3_XXS | Ft::IQ1_S | Ft::IQ2_S | Ft::IQ2_M | Ft::IQ1_M => {
                DType::Q5_K
            }
            _ if default != DType::Q8_0 => DType::Q6_K,
            _ => default,
        }
    }

    fn token_embd(&self, default: DType) -> DType {
        use FileType as Ft;
        match self.file_type {
            Ft::IQ2_XXS | Ft::IQ2_XS | Ft::IQ1_S | Ft::IQ1_M => DType::Q2_K,
            Ft::IQ2_S | Ft::IQ2_M | Ft::IQ3_XXS => DType::IQ3_S,
            Ft::TQ1_0 | Ft::TQ2_0 | Ft::Q2_0 => DType::Q4_K,
            _ => default,
        }
    }

    /// The mixtures of one and two bits.
    fn very_low(&mut self, default: DType, category: Category) -> DType {
        use FileType as Ft;
        let two_bits_small = matches!(self.file_type, Ft::IQ2_S | Ft::IQ2_M);
        let better = if two_bits_small { DType::IQ3_S } else { DType::Q2_K };
        match category {
            _ if category.is_attn_v() => {
                self.i_attention_wv += 1;
                if self.facts.n_gqa >= 4 || self.facts.n_expert >= 4 { DType::Q4_K } else { better }
            }
            Category::AttentionK if self.facts.n_expert == 8 => DType::Q4_K,
            Category::FfnDown => {
                let early = self.i_ffn_down < self.facts.n_layer / 8;
                self.i_ffn_down += 1;
                if early { better } else { default }
            }
            Category::AttentionOutput if self.facts.n_expert == 8 => DType::Q5_K,
            Category::AttentionOutput => match self.file_type {
                Ft::IQ1_S | Ft::IQ1_M => DType::IQ2_XXS,
                Ft::IQ2_S | Ft::IQ2_M => DType::IQ3_S,
                _ => default,
            },
            _ => default,
        }
    }

    fn attention_v(&mut self, default: DType) -> DType {
        use FileType as Ft;
        let i = self.i_attention_wv;
        self.i_attention_wv += 1;
        let grouped = self.facts.n_gqa >= 4;
        let mut dtype = match self.file_type {
            Ft::Q2_K => {
                if grouped {
                    DType::Q4_K
                } else {
                    DType::Q3_K
                }
            }
            Ft::IQ3_XXS => match (grouped, self.has_imatrix) {
                (true, _) => DType::Q4_K,
                (false, false) => DType::IQ3_S,
                (false, true) => DType::IQ3_XXS,
            },
            Ft::Q2_K_S | Ft::IQ3_XS | Ft::IQ3_S if grouped => DType::Q4_K,
            Ft::IQ3_M => DType::Q4_K,
            Ft::Q3_K_M if i < 2 => DType::Q5_K,
            Ft::Q3_K_M => DType::Q4_K,
            Ft::Q3_K_L => DType::Q5_K,
            Ft::IQ4_NL | Ft::IQ4_XS if grouped => DType::Q5_K,
            Ft::Q4_K_M | Ft::Q5_K_M if use_more_bits(i, self.n_attention_wv) => DType::Q6_K,
            Ft::Q4_K_S if i < 4 => DType::Q5_K,
            _ => default,
        };
        if self.facts.is_70b && matches!(dtype, DType::Q3_K | DType::Q4_K) {
            dtype = DType::Q5_K;
        }
        // Shared by eight experts, it is small enough for eight bits.
        if self.facts.n_expert == 8 { DType::Q8_0 } else { dtype }
    }

    fn ffn_down(&self, default: DType, il: u32) -> DType {
        use FileType as Ft;
        let n = self.facts.n_layer;
        let falcon = self.facts.is_falcon;
        match self.file_type {
            Ft::Q2_K => DType::Q3_K,
            Ft::Q2_K_S if il < n / 8 => DType::Q4_K,
            Ft::IQ3_XXS if !self.has_imatrix => {
                if il < n / 8 {
                    DType::Q4_K
                } else {
                    DType::Q3_K
                }
            }
            Ft::Q3_K_M if il < n / 16 => DType::Q5_K,
            Ft::Q3_K_M if !falcon || use_more_bits(il, n) => DType::Q4_K,
            Ft::Q3_K_M => DType::Q3_K,
            Ft::IQ3_M if il < n / 8 || (self.facts.n_expert == 8 && use_more_bits(il, n)) => DType::Q4_K,
            Ft::Q3_K_L if falcon => DType::Q4_K,
            Ft::Q3_K_L => DType::Q5_K,
            Ft::Q4_K_M if falcon && il < n / 16 => DType::Q6_K,
            Ft::Q4_K_M if use_more_bits(il, n) => {
                if falcon {
                    DType::Q5_K
                } else {
                    DType::Q6_K
                }
            }
            Ft::Q4_K_M if falcon => DType::Q4_K,
            Ft::IQ4_NL | Ft::IQ4_XS if il < n / 8 && !self.has_imatrix => DType::Q5_K,
            Ft::Q5_K_M if use_more_bits(il, n) => DType::Q6_K,
            Ft::Q4_K_S if !falcon && il < n / 8 => DType::Q5_K,
            // With an importance matrix the first of these layers can go astray in the symmetric formats.
            Ft::Q4_0 if self.has_imatrix && il < n / 8 => DType::Q4_1,
            Ft::Q5_0 if self.has_imatrix && il < n / 8 => DType::Q5_1,
            _ => default,
        }
    }

    fn attention_output(&self, default: DType) -> DType {
        use FileType as Ft;
        if self.facts.is_falcon {
            return if self.file_type == Ft::Q3_K_L { DType::Q4_K } else { default };
        }
        if self.facts.n_expert == 8 {
            return match self.file_type {
                Ft::Q2_K
                | Ft::IQ3_XS
                | Ft::IQ3_XXS
                | Ft::Q3_K_S
                | Ft::Q3_K_M
                | Ft::IQ4_NL
                | Ft::Q4_K_S
                | Ft::Q4_K_M
                | Ft::IQ3_S
                | Ft::IQ3_M
                | Ft::IQ4_XS => DType::Q5_K,
                _ => default,
            };
        }
        match self.file_type {
            Ft::Q2_K => DType::Q3_K,
            Ft::IQ3_XXS => DType::IQ3_S,
            Ft::Q3_K_M | Ft::IQ3_M => DType::Q4_K,
            Ft::Q3_K_L => DType::Q5_K,
            _ => default,
        }
    }

    fn ffn_gate_up(&self, default: DType, il: u32) -> DType {
        let n = self.facts.n_layer;
        let middle = il >= n / 8 && il < 7 * n / 8;
        if self.file_type == FileType::IQ3_XS && middle { DType::IQ3_XXS } else { default }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_follow_the_names() {
        for (name, category) in [
            ("output.weight", Category::Output),
            ("output_norm.weight", Category::Other),
            ("token_embd.weight", Category::TokenEmbd),
            ("blk.3.attn_v.weight", Category::AttentionV),
            ("blk.3.attn_qkv.weight", Category::AttentionQkv),
            ("blk.3.attn_kv_b.weight", Category::AttentionKvB),
            ("blk.3.attn_output.weight", Category::AttentionOutput),
            ("blk.3.ffn_down_exps.weight", Category::FfnDown),
            ("blk.3.ffn_gate_up_exps.weight", Category::FfnGate),
            ("blk.3.ffn_up_shexp.weight", Category::FfnUp),
            ("blk.3.attn_q_a.weight", Category::Other),
        ] {
            assert_eq!(Category::of(name), category, "{name}");
        }
    }

    #[test]
    fn more_bits_at_both_ends_and_every_third() {
        let chosen: Vec<u32> = (0..16).filter(|&i| use_more_bits(i, 16)).collect();
        assert_eq!(chosen, [0, 1, 4, 7, 10, 13, 14, 15]);
    }

    #[test]
    fn widths_that_do_not_divide_fall_back() {
        assert_eq!(fallback(DType::Q4_K, 96), Some(DType::Q5_0));
        assert_eq!(fallback(DType::Q4_K, 40), Some(DType::F16));
        assert_eq!(fallback(DType::IQ3_S, 32), Some(DType::IQ4_NL));
        assert_eq!(fallback(DType::Q8_0, 40), None);
    }
}
