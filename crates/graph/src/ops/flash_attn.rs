//! FLASH_ATTN_EXT: attention without a score matrix.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh, is_vector};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "FLASH_ATTN_EXT",
    ggml_id: 74,
    n_src: 3..=5,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    let (q, k, v) = (src[0], src[1], src[2]);
    let heads = k.ne[2] != 0 && q.ne[2].is_multiple_of(k.ne[2]) && q.ne[3] == k.ne[3];
    let expected = "equal head size, and n_head a multiple of n_head_kv";
    ensure(q.ne[0] == k.ne[0] && heads, Broken::two(0, 1, expected))?;
    let rows = k.has_contiguous_rows() && v.has_contiguous_rows();
    let expected = "keys and values of the same cells, rows without gaps";
    ensure(k.ne[1..] == v.ne[1..] && rows, Broken::two(1, 2, expected))?;
    if let Some(mask) = src.get(3) {
        let streams = mask.ne[2] == 1 && (mask.ne[3] == 1 || mask.ne[3] == q.ne[3]);
        let fits = mask.ne[0] == k.ne[1] && mask.ne[1] >= q.ne[1] && streams;
        let is_mask = mask.dtype == DType::F16 && mask.is_contiguous();
        ensure(
            fits && is_mask,
            Broken::two(1, 3, "a contiguous f16 mask [n_kv, n_tokens], for all streams or for each"),
        )?;
    }
    if let Some(sinks) = src.get(4) {
        let one_each = is_vector(sinks, DType::F32) && sinks.ne[0] == q.ne[2];
        ensure(one_each, Broken::two(0, 4, "an f32 sink for each query head"))?;
    }
    fresh(DType::F32, [v.ne[0], q.ne[2], q.ne[1], q.ne[3]])
}

impl Graph {
    /// Attention of queries `q` (f32 `[d_k, n_tokens, n_head]`) over keys `k` (`[d_k, n_kv, n_head_kv]`) and
    /// values `v` (`[d_v, n_kv, n_head_kv]`) with an f16 mask `[n_kv, >= n_tokens]`, giving f32
    /// `[d_v, n_head, n_tokens]` (`ggml_flash_attn_ext`). A fourth dimension counts streams; the mask has it too, or serves all of them.
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    #[allow(clippy::too_many_arguments)] // the op's operands and parameters, as the reference names them
    pub fn flash_attn(
        &mut self,
        q: TensorId,
        k: TensorId,
        v: TensorId,
        mask: Option<TensorId>,
        scale: f32,
        max_bias: f32,
        logit_softcap: f32,
    ) -> Result<TensorId, Error> {
        let op = Op::FlashAttn { scale, max_bias, logit_softcap };
        match mask {
            Some(mask) => self.node(op, &[q, k, v, mask]),
            None => self.node(op, &[q, k, v]),
        }
    }

    /// [`Graph::flash_attn`] where each head has a sink (f32 `[n_head]`): a score that takes its share of the weights and has no value
    /// (`ggml_flash_attn_ext_add_sinks`).
    ///
    /// # Errors
    /// As [`Graph::flash_attn`].
    #[allow(clippy::too_many_arguments)] // the op's operands and parameters, as the reference names them
    pub fn flash_attn_with_sinks(
        &mut self,
        q: TensorId,
        k: TensorId,
        v: TensorId,
        mask: TensorId,
        sinks: TensorId,
        scale: f32,
        max_bias: f32,
        logit_softcap: f32,
    ) -> Result<TensorId, Error> {
        self.node(Op::FlashAttn { scale, max_bias, logit_softcap }, &[q, k, v, mask, sinks])
    }
}
