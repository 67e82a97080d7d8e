//! `cargo xtask synth-model`: a model of a real model's shape with seeded random weights, so that anyone can
//! benchmark and audit without a download.
//!
//! Matrices are normal with standard deviation 1 / sqrt(n_in), so activations stay near 1 through the
//! layers as in a trained model. To be fast, a matrix is assembled from a pool of chunks quantised once:
//! each row draws its chunks anew, so no two rows are equal.

mod mix;
mod shapes;
mod weights;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use quipu_gguf::GgufWriter;
use quipu_quant::DType;

use self::mix::FileType;
use self::shapes::{Layers, Shape};
use self::weights::Pools;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// llama-3.2-1b, qwen2.5-0.5b, phi-3-mini or gpt-oss-20b; with `-4l` for the same with 4 layers. Quipu runs
    /// the first two in this version; the others are for audits of files and for llama.cpp.
    #[arg(long)]
    shape: String,
    /// F32, F16, BF16, Q8_0, Q4_0, Q5_0, Q4_K, Q5_K, Q6_K, MXFP4 for all matrices, or Q4_K_M for
    /// llama-quantize's mix.
    #[arg(long = "type")]
    file_type: String,
    /// Seed of the weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Output.
    #[arg(short = 'o', long)]
    output: PathBuf,
}

/// A tensor to write.
struct Planned {
    name: String,
    dtype: DType,
    ne: Vec<u64>,
    content: Content,
}

/// What a tensor holds.
enum Content {
    /// Normal weights over rows of `ne[0]`.
    Matrix,
    /// Values near 1.
    Norm,
    /// Small values around 0.
    Bias,
    /// These values.
    Values(Vec<f32>),
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let n_tensors = write(&args.shape, &args.file_type, args.seed, &args.output)?;
    println!("{}: {n_tensors} tensors", args.output.display());
    Ok(())
}

/// Writes a model and returns how many tensors it has.
pub(crate) fn write(shape: &str, file_type: &str, seed: u64, output: &Path) -> Result<usize, String> {
    let shape = Shape::find(shape)?;
    let file_type = FileType::find(file_type)?;
    let tensors = plan(&shape, file_type);
    let mut writer = GgufWriter::new();
    shape.metadata(&mut writer.metadata, file_type);
    for tensor in &tensors {
        writer.add_tensor(&tensor.name, tensor.dtype, &tensor.ne).map_err(|e| e.to_string())?;
    }
    let io = |error: std::io::Error| format!("{}: {error}", output.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(output).map_err(io)?);
    let mut pools = Pools::new(seed);
    writer
        .write_to(&mut out, |index, sink| pools.write(&tensors[index], index as u64, sink))
        .map_err(|error| format!("{}: {error}", output.display()))?;
    out.flush().map_err(io)?;
    Ok(tensors.len())
}

/// Tensors in the order of the file.
struct Plan {
    file_type: FileType,
    tensors: Vec<Planned>,
}

impl Plan {
    fn add(&mut self, name: String, dtype: DType, ne: &[u64], content: Content) {
        self.tensors.push(Planned { name, dtype, ne: ne.to_vec(), content });
    }

    fn matrix(&mut self, name: String, ne: &[u64]) {
        let dtype = self.file_type.of_matrix(ne[0]);
        self.add(name, dtype, ne, Content::Matrix);
    }

    /// `attn_v` and `ffn_down`, which llama-quantize's mixes treat better in some layers.
    fn important(&mut self, name: String, ne: &[u64], il: u64, n_layer: u64) {
        let dtype = self.file_type.of_important(ne[0], il, n_layer);
        self.add(name, dtype, ne, Content::Matrix);
    }

    fn norm(&mut self, name: String, n: u64) {
        self.add(name, DType::F32, &[n], Content::Norm);
    }

    fn bias(&mut self, name: String, ne: &[u64]) {
        self.add(name, DType::F32, ne, Content::Bias);
    }
}

/// The tensors of a shape, in llama-quantize's order: outside the layers first, then layer by layer.
fn plan(shape: &Shape, file_type: FileType) -> Vec<Planned> {
    let mut plan = Plan { file_type, tensors: Vec::new() };
    let table = [shape.n_embd, shape.n_vocab];
    let output = file_type.of_output(shape.n_embd);
    plan.norm("output_norm.weight".to_owned(), shape.n_embd);
    if shape.tied {
        plan.add("token_embd.weight".to_owned(), output, &table, Content::Matrix);
    } else {
        plan.matrix("token_embd.weight".to_owned(), &table);
        plan.add("output.weight".to_owned(), output, &table, Content::Matrix);
    }
    if let Some(factors) = shape.rope_factors() {
        let ne = [factors.len() as u64];
        plan.add("rope_freqs.weight".to_owned(), DType::F32, &ne, Content::Values(factors));
    }
    for il in 0..shape.n_layer {
        match shape.layers {
            Layers::Dense => {
                attention(&mut plan, shape, il);
                dense_ffn(&mut plan, shape, il);
            }
            Layers::Phi3 => phi3(&mut plan, shape, il),
            Layers::GptOss { n_expert, .. } => {
                attention(&mut plan, shape, il);
                gpt_oss_ffn(&mut plan, shape, il, n_expert);
            }
        }
    }
    plan.tensors
}

fn block(il: u64, rest: &str) -> String {
    format!("blk.{il}.{rest}")
}

fn attention(plan: &mut Plan, shape: &Shape, il: u64) {
    let n_embd = shape.n_embd;
    let (n_q, n_kv) = (shape.n_head * shape.head_size, shape.n_head_kv * shape.head_size);
    plan.norm(block(il, "attn_norm.weight"), n_embd);
    plan.matrix(block(il, "attn_q.weight"), &[n_embd, n_q]);
    plan.matrix(block(il, "attn_k.weight"), &[n_embd, n_kv]);
    plan.important(block(il, "attn_v.weight"), &[n_embd, n_kv], il, shape.n_layer);
    if shape.qkv_bias {
        plan.bias(block(il, "attn_q.bias"), &[n_q]);
        plan.bias(block(il, "attn_k.bias"), &[n_kv]);
        plan.bias(block(il, "attn_v.bias"), &[n_kv]);
    }
    plan.matrix(block(il, "attn_output.weight"), &[n_q, n_embd]);
}

fn dense_ffn(plan: &mut Plan, shape: &Shape, il: u64) {
    plan.norm(block(il, "ffn_norm.weight"), shape.n_embd);
    plan.matrix(block(il, "ffn_gate.weight"), &[shape.n_embd, shape.n_ff]);
    plan.matrix(block(il, "ffn_up.weight"), &[shape.n_embd, shape.n_ff]);
    plan.important(block(il, "ffn_down.weight"), &[shape.n_ff, shape.n_embd], il, shape.n_layer);
}

fn phi3(plan: &mut Plan, shape: &Shape, il: u64) {
    let n_embd = shape.n_embd;
    plan.norm(block(il, "attn_norm.weight"), n_embd);
    plan.matrix(block(il, "attn_qkv.weight"), &[n_embd, 3 * n_embd]);
    plan.matrix(block(il, "attn_output.weight"), &[n_embd, n_embd]);
    plan.norm(block(il, "ffn_norm.weight"), n_embd);
    plan.matrix(block(il, "ffn_up.weight"), &[n_embd, 2 * shape.n_ff]);
    plan.important(block(il, "ffn_down.weight"), &[shape.n_ff, n_embd], il, shape.n_layer);
}

fn gpt_oss_ffn(plan: &mut Plan, shape: &Shape, il: u64, n_expert: u64) {
    let (n_embd, n_ff) = (shape.n_embd, shape.n_ff);
    plan.bias(block(il, "attn_output.bias"), &[n_embd]);
    plan.bias(block(il, "attn_sinks.weight"), &[shape.n_head]);
    plan.norm(block(il, "post_attention_norm.weight"), n_embd);
    plan.add(block(il, "ffn_gate_inp.weight"), DType::F32, &[n_embd, n_expert], Content::Matrix);
    plan.bias(block(il, "ffn_gate_inp.bias"), &[n_expert]);
    for (name, n_in, n_out) in [("gate", n_embd, n_ff), ("up", n_embd, n_ff), ("down", n_ff, n_embd)] {
        plan.matrix(block(il, &format!("ffn_{name}_exps.weight")), &[n_in, n_out, n_expert]);
        plan.bias(block(il, &format!("ffn_{name}_exps.bias")), &[n_out, n_expert]);
    }
}
