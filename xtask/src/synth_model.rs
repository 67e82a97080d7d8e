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
use std::path::PathBuf;

use quipu_gguf::GgufWriter;
use quipu_quant::DType;

use self::mix::FileType;
use self::shapes::Shape;
use self::weights::Pools;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// llama-3.2-1b or qwen2.5-0.5b; with `-4l` for the same with 4 layers.
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
    let shape = Shape::find(&args.shape)?;
    let file_type = FileType::find(&args.file_type)?;
    let tensors = plan(&shape, file_type);
    let mut writer = GgufWriter::new();
    shape.metadata(&mut writer.metadata, file_type);
    for tensor in &tensors {
        writer.add_tensor(&tensor.name, tensor.dtype, &tensor.ne).map_err(|e| e.to_string())?;
    }
    let io = |error: std::io::Error| format!("{}: {error}", args.output.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&args.output).map_err(io)?);
    let mut pools = Pools::new(args.seed);
    writer
        .write_to(&mut out, |index, sink| pools.write(&tensors[index], index as u64, sink))
        .map_err(|error| format!("{}: {error}", args.output.display()))?;
    out.flush().map_err(io)?;
    println!("{}: {} tensors", args.output.display(), tensors.len());
    Ok(())
}

/// The tensors of a shape, in llama-quantize's order: outside the layers first, then layer by layer.
fn plan(shape: &Shape, file_type: FileType) -> Vec<Planned> {
    let (n_embd, n_ff, n_vocab) = (shape.n_embd, shape.n_ff, shape.n_vocab);
    let n_q = shape.n_head * shape.head_size();
    let n_kv = shape.n_head_kv * shape.head_size();
    let mut tensors = Vec::new();
    let mut add = |name: String, dtype: DType, ne: &[u64], content: Content| {
        tensors.push(Planned { name, dtype, ne: ne.to_vec(), content });
    };
    let embd_type = file_type.of_output(n_embd);
    add("token_embd.weight".to_owned(), embd_type, &[n_embd, n_vocab], Content::Matrix);
    add("output_norm.weight".to_owned(), DType::F32, &[n_embd], Content::Norm);
    if let Some(factors) = shape.rope_factors() {
        add("rope_freqs.weight".to_owned(), DType::F32, &[factors.len() as u64], Content::Values(factors));
    }
    for il in 0..shape.n_layer {
        let name = |rest: &str| format!("blk.{il}.{rest}");
        let plain = |n_in: u64| file_type.of_matrix(n_in);
        let more = |n_in: u64| file_type.of_important(n_in, il, shape.n_layer);
        add(name("attn_norm.weight"), DType::F32, &[n_embd], Content::Norm);
        add(name("attn_q.weight"), plain(n_embd), &[n_embd, n_q], Content::Matrix);
        add(name("attn_k.weight"), plain(n_embd), &[n_embd, n_kv], Content::Matrix);
        add(name("attn_v.weight"), more(n_embd), &[n_embd, n_kv], Content::Matrix);
        if shape.qkv_bias {
            add(name("attn_q.bias"), DType::F32, &[n_q], Content::Bias);
            add(name("attn_k.bias"), DType::F32, &[n_kv], Content::Bias);
            add(name("attn_v.bias"), DType::F32, &[n_kv], Content::Bias);
        }
        add(name("attn_output.weight"), plain(n_q), &[n_q, n_embd], Content::Matrix);
        add(name("ffn_norm.weight"), DType::F32, &[n_embd], Content::Norm);
        add(name("ffn_gate.weight"), plain(n_embd), &[n_embd, n_ff], Content::Matrix);
        add(name("ffn_up.weight"), plain(n_embd), &[n_embd, n_ff], Content::Matrix);
        add(name("ffn_down.weight"), more(n_ff), &[n_ff, n_embd], Content::Matrix);
    }
    tensors
}
