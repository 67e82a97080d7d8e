//! From checkpoint tensors to GGUF tensors: which there are, in which order, names, stacks, types. Answers to `prepare_tensors` and
//! the tensor name map.

use std::collections::BTreeMap;
use std::io::{self, Write};

use quipu_quant::DType;
use safetensors::Dtype;

use super::config::{Config, Family};
use super::error::{ConvertError, Result};
use super::families::Stacked;
use super::long_rope;
use super::outtype::OutType;
use super::parts;
use super::rope_freqs;
use super::safetensors::{Checkpoint, Tensor};
use super::source::Source;

/// A tensor of the file to be.
#[derive(Debug)]
pub(super) struct Planned {
    /// GGUF name.
    pub name: String,
    /// Type.
    pub dtype: DType,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// Its values.
    pub source: Source,
}

impl Planned {
    /// A tensor of the type that its name and shape ask for.
    pub(super) fn new(name: String, shape: Vec<usize>, source: Source, out_type: OutType) -> Planned {
        let dtype = match source {
            Source::Mxfp4 { .. } => DType::MXFP4,
            _ => type_of(&name, &shape, out_type),
        };
        Planned { name, dtype, shape, source }
    }

    /// Number of values.
    pub(super) fn n_params(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// Dimensions as GGUF has them, innermost first.
    pub(super) fn dims(&self) -> Vec<u64> {
        self.shape.iter().rev().map(|&n| n as u64).collect()
    }

    /// Writes the converted values.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(&self, checkpoint: &Checkpoint, out: &mut dyn Write) -> io::Result<()> {
        self.source.write(self.dtype, checkpoint, out)
    }
}

/// The type that `auto` stands for: that of the first matrix in half precision.
pub(super) fn guess(checkpoint: &Checkpoint) -> OutType {
    let half = |tensor: &&Tensor| tensor.shape.len() >= 2 && matches!(tensor.dtype, Dtype::BF16 | Dtype::F16);
    match checkpoint.tensors.iter().find(half) {
        Some(tensor) if tensor.dtype == Dtype::BF16 => OutType::Bf16,
        _ => OutType::F16,
    }
}

/// The file's tensors, in order.
///
/// # Errors
/// A tensor without a place in the architecture, or of a shape that its place cannot have.
pub(super) fn plan(checkpoint: &Checkpoint, config: &Config, out_type: OutType) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, source: Source| {
        planned.push(Planned::new(name, shape, source, out_type));
    };
    if config.family.is_llama()
        && let Some(factors) = rope_freqs::factors(config)?
    {
        add("rope_freqs.weight".to_owned(), vec![factors.len()], Source::Values(factors));
    }
    if config.family == Family::Phi3
        && let Some(scaling) = long_rope::scaling(config)?
    {
        for (name, factors) in [("long", scaling.long), ("short", scaling.short)] {
            add(format!("rope_factors_{name}.weight"), vec![factors.len()], Source::Values(factors));
        }
    }
    if config.family == Family::GptOss {
        for part in parts::packed_experts(checkpoint)? {
            add(gguf_name(&part.name, config)?, part.shape, part.source);
        }
    }
    let mut stacks = Stacks::default();
    for tensor in &checkpoint.tensors {
        let Some(full_name) = parts::full_name(&tensor.name, config) else { continue };
        if let Some(stacked) = stacked(&full_name, config.family) {
            for (name, tensors) in stacks.take(stacked, full_name, tensor.clone(), config)? {
                let mut shape = vec![tensors.len()];
                shape.extend(tensors.first().map(|tensor| tensor.shape.clone()).unwrap_or_default());
                add(name, shape, Source::Stack(tensors));
            }
            continue;
        }
        for part in parts::of(full_name, tensor, config, checkpoint)? {
            add(gguf_name(&part.name, config)?, part.shape, part.source);
        }
    }
    stacks.check(config)?;
    Ok(planned)
}

/// GGUF's name of a tensor.
///
/// # Errors
/// The family has no such tensor.
pub(super) fn gguf_name(name: &str, config: &Config) -> Result<String> {
    config.family.names().gguf_name(name, config.n_layer).ok_or_else(|| unknown(name, config.family))
}

/// What a tensor is a member of, if it is stored by itself but belongs in a stack.
pub(super) fn stacked(name: &str, family: Family) -> Option<&'static Stacked> {
    let is_whole = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
        .iter()
        .any(|whole| name.strip_suffix(".weight").unwrap_or(name).ends_with(whole));
    // A bias of the router may be named after the experts.
    let found = family.stacked().iter().find(|stacked| name.contains(stacked.marker));
    found.filter(|_| !is_whole || family == Family::Deepseek2)
}

fn unknown(name: &str, family: Family) -> ConvertError {
    ConvertError::UnknownTensor { name: name.to_owned(), arch: family.name() }
}

/// Vectors, norms and whatever is not a weight stay F32, as do routers, positions, kinds of tokens and kernels.
fn type_of(name: &str, shape: &[usize], out_type: OutType) -> DType {
    let ends = ["_norm.weight", ".ffn_gate_inp.weight", ".ffn_gate_inp_shexp.weight", ".ssm_conv1d.weight"];
    let always_f32 = shape.len() <= 1
        || ends.iter().any(|end| name.ends_with(end))
        || ![".weight", ".lora_a", ".lora_b"].iter().any(|end| name.ends_with(end))
        || ["position_embd.weight", "token_types.weight"].contains(&name);
    if always_f32 { DType::F32 } else { out_type.of_matrix(shape.last().copied().unwrap_or(1)) }
}

/// The first part of the name that is a number: the layer.
fn first_number(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| {
        (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()
    })
}

/// The number of members of a stack.
fn n_members(stacked: &Stacked, config: &Config) -> Result<usize> {
    config.size(stacked.counts)
}

/// What is stacked, and the members that are there, by name.
type Waiting<T> = (&'static Stacked, BTreeMap<String, T>);

/// Members of stacks that are not whole yet, by layer and by what stands in their names.
pub(super) struct Stacks<T> {
    waiting: BTreeMap<(usize, &'static str), Waiting<T>>,
}

impl<T> Default for Stacks<T> {
    fn default() -> Stacks<T> {
        Stacks { waiting: BTreeMap::new() }
    }
}

/// What members of one stack must have in common.
pub(super) trait Member {
    /// Shape, outermost first.
    fn shape(&self) -> Vec<usize>;
}

impl Member for Tensor {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }
}

impl<T: Member> Stacks<T> {
    /// Takes a member in; with the last of a layer its stacks are whole: their names and members.
    ///
    /// # Errors
    /// A member of no layer, with a name that is none, or of another shape.
    pub(super) fn take(
        &mut self,
        stacked: &'static Stacked,
        name: String,
        member: T,
        config: &Config,
    ) -> Result<Vec<(String, Vec<T>)>> {
        let layer = first_number(&name)
            .filter(|layer| *layer < config.n_layer)
            .ok_or_else(|| unknown(&name, config.family))?;
        let n = n_members(stacked, config)?;
        let (_, waiting) =
            self.waiting.entry((layer, stacked.marker)).or_insert_with(|| (stacked, BTreeMap::new()));
        waiting.insert(name, member);
        if waiting.len() < n.saturating_mul(stacked.stacks.len()) {
            return Ok(Vec::new());
        }
        let mut whole = Vec::with_capacity(stacked.stacks.len());
        for (before, behind, to) in stacked.stacks {
            let mut members: Vec<T> = Vec::new();
            for i in 0..n {
                let name = format!("model.layers.{layer}.{before}.{i}.{behind}");
                let member = waiting.remove(&name).ok_or_else(|| {
                    let stray = waiting.keys().next().cloned();
                    unknown(stray.as_deref().unwrap_or(&name), config.family)
                })?;
                if let Some(first) = members.first().filter(|first| first.shape() != member.shape()) {
                    let (first, second) = (first.shape(), member.shape());
                    return Err(ConvertError::ExpertShape { layer, first, second });
                }
                members.push(member);
            }
            whole.push((format!("blk.{layer}.{to}"), members));
        }
        Ok(whole)
    }

    /// # Errors
    /// A stack that is not whole.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        let left = self.waiting.iter().find(|(_, (_, waiting))| !waiting.is_empty());
        let Some((&(layer, _), (stacked, waiting))) = left else { return Ok(()) };
        let expected = n_members(stacked, config)?.saturating_mul(stacked.stacks.len());
        Err(ConvertError::ExpertCount { layer, found: waiting.len(), expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_norms_and_routers_stay_f32() {
        assert_eq!(type_of("blk.0.attn_q.bias", &[64], OutType::F16), DType::F32);
        assert_eq!(type_of("blk.0.attn_norm.weight", &[64], OutType::F16), DType::F32);
        assert_eq!(type_of("blk.0.ffn_gate_inp.weight", &[8, 64], OutType::Q8_0), DType::F32);
        assert_eq!(type_of("blk.0.ssm_conv1d.weight", &[8, 64], OutType::Q8_0), DType::F32);
        assert_eq!(type_of("blk.0.attn_q.weight", &[64, 64], OutType::Q8_0), DType::Q8_0);
        assert_eq!(type_of("blk.0.attn_q.weight", &[64, 40], OutType::Q8_0), DType::F16);
        assert_eq!(type_of("output.weight", &[64, 64], OutType::Bf16), DType::BF16);
    }
}
