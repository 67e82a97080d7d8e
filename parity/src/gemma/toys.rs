//! Small Gemmas in `.sbs`: the toys of `logits`, as models of gemma.cpp.

use std::sync::Arc;

use quipu_gemma::gguf::{WriteOptions, to_gguf, write_sbs_as};
use quipu_gemma::{
    Mat, Model, ModelConfig, OpenOptions, PromptWrapping, SbsFile, SbsWriter, Type, codec, config_of,
};
use quipu_gguf::{GgufFile, GgufSet, GgufWriter, MemoryFile, Value};
use quipu_quant::DType;

use crate::error::Error;
use crate::logits::WEIGHT_SEED;
use crate::toy::{Arch, N_VOCAB, Rope, Toy};

/// A toy and the model that it is made to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct GemmaToy {
    pub name: &'static str,
    pub model: Model,
    arch: Arch,
    n_layer: usize,
    /// Positions that layers with windows see.
    window: u32,
    /// Caps of scores and logits; 0 for none.
    caps: [f32; 2],
}

/// Both generations with layers that see everything and ones that do not; one of those alone; and the size that
/// gemma.cpp rotates in its own way.
pub(super) const TOYS: [GemmaToy; 4] = [
    GemmaToy {
        name: "gemma2",
        model: Model::Gemma2_2B,
        arch: Arch::Gemma2,
        n_layer: 4,
        window: 8,
        caps: [1.5, 2.5],
    },
    GemmaToy {
        name: "gemma3",
        model: Model::Gemma3_1B,
        arch: Arch::Gemma3,
        n_layer: 7,
        window: 8,
        caps: [0.0; 2],
    },
    GemmaToy {
        name: "gemma3-windows",
        model: Model::Gemma3_1B,
        arch: Arch::Gemma3,
        n_layer: 3,
        window: 12,
        caps: [0.0; 2],
    },
    GemmaToy {
        name: "gemma3-270m",
        model: Model::Gemma3_270M,
        arch: Arch::Gemma3,
        n_layer: 7,
        window: 8,
        caps: [0.0; 2],
    },
];

/// Places that the reference's cache has, and what layers without windows see.
const N_CTX: u32 = 512;

impl GemmaToy {
    fn toy(&self) -> Toy {
        Toy {
            name: self.name,
            arch: self.arch,
            // The root is a power of two: the reference rounds it to bf16.
            n_embd: 256,
            n_head: 4,
            n_head_kv: 2,
            head_size: 64,
            n_ff: 512,
            tied: true,
            rope: Rope::Plain,
            n_rot: 64,
            n_layer: self.n_layer,
            n_swa: self.window as usize,
        }
    }

    fn config(&self, weight: Type) -> Result<ModelConfig, Error> {
        let mut config =
            config_of(self.model, weight, PromptWrapping::GemmaPt).map_err(Error::engine(self.name))?;
        let n_layer = self.n_layer;
        let global: Vec<bool> = (0..n_layer).map(|il| config.is_global_layer(il)).collect();
        config.num_layers = n_layer as u32;
        (config.model_dim, config.vocab_size, config.max_seq_len) = (256, N_VOCAB as u32, N_CTX);
        [config.att_cap, config.final_cap] = self.caps;
        config.attention_window_sizes =
            global.iter().map(|all| if *all { N_CTX } else { self.window }).collect();
        // No id of the tokens that are fed, so that none ends them.
        (config.eos_id, config.secondary_eos_id) = (END, END);
        config.layer_configs.truncate(n_layer);
        for layer in &mut config.layer_configs {
            (layer.model_dim, layer.ff_hidden_dim, layer.heads, layer.kv_heads, layer.qkv_dim) =
                (256, 512, 4, 2, 64);
        }
        Ok(config)
    }

    /// The file.
    pub(super) fn sbs(&self, weight: Type) -> Result<Vec<u8>, Error> {
        let gguf = GgufFile::from_vec(self.toy().gguf(DType::F32, WEIGHT_SEED)?)
            .map_err(Error::engine(self.name))?;
        let tokenizer = tokenizer();
        let options = WriteOptions { weight, instructed: Some(false), tokenizer: Some(&tokenizer) };
        write_sbs_as(&GgufSet::from(&gguf), &self.config(weight)?, &options, Vec::new())
            .map_err(Error::engine(self.name))
    }
}

/// The id that ends a text.
pub(super) const END: i32 = 1;

/// Tokens without [`END`].
pub(super) fn tokens(seed: u64, n: usize) -> Vec<u32> {
    let replaced = |id: u32| if id == END as u32 { 2 } else { id };
    crate::toy::tokens(seed, n).into_iter().map(replaced).collect()
}

/// A SentencePiece model with a piece for each token, which nobody looks at.
fn tokenizer() -> Vec<u8> {
    let mut model = Vec::new();
    for id in 0..N_VOCAB {
        let text = match id {
            0 => "<pad>".to_owned(),
            1 => "<eos>".to_owned(),
            2 => "<bos>".to_owned(),
            3 => "<unk>".to_owned(),
            _ => format!("piece{id:03}"),
        };
        // Control, unknown, user-defined.
        let kind = match id {
            0..3 => 3,
            3 => 2,
            _ => 4,
        };
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text.bytes());
        piece.extend([0x15, 0, 0, 0, 0, 0x18, kind]);
        model.extend([0x0a, piece.len() as u8]);
        model.extend(piece);
    }
    // BPE; ids of unknown, begin, end and padding.
    model.extend([0x12, 14, 0x18, 2, 0xc0, 0x02, 3, 0xc8, 0x02, 2, 0xd0, 0x02, 1, 0xd8, 0x02, 0]);
    // Text as it is.
    model.extend([0x1a, 4, 0x18, 0, 0x20, 0]);
    model
}

pub(super) fn open(case: &str, bytes: Vec<u8>) -> Result<SbsFile, Error> {
    let source = Arc::new(MemoryFile::from_vec(bytes));
    SbsFile::from_source(source, OpenOptions::default()).map_err(Error::engine(case))
}

/// The model as Quipu runs it.
pub(super) fn gguf(case: &str, sbs: &SbsFile) -> Result<GgufFile, Error> {
    to_gguf(sbs, None).map_err(Error::engine(case))
}

/// The same model with every joined tensor taken apart, as the reference has it in memory and writes it.
pub(super) fn separate(case: &str, sbs: &SbsFile) -> Result<Vec<u8>, Error> {
    let fail = Error::engine::<quipu_gemma::Error>(case);
    let layer = &sbs.config().layer_configs[0];
    let (heads, h) = (layer.heads as usize, layer.qkv_dim as usize);
    let (n_q, f) = (heads * h, layer.ff_hidden_dim as usize);
    let mut writer = SbsWriter::new(Vec::new()).map_err(&fail)?;
    for mat in sbs.mats() {
        let (rows, cols) = (mat.rows as usize, mat.cols as usize);
        let (base, il) = mat.name.rsplit_once('_').unwrap_or((&mat.name, ""));
        let bytes = sbs.read(&mat.name).map_err(&fail)?;
        let of_rows = |rows: usize| bytes.len() / mat.rows as usize * rows;
        let mut add = |name: &str, rows: std::ops::Range<usize>| {
            let part = Mat::new(&format!("{name}_{il}"), mat.dtype, rows.len(), cols, mat.scale)?;
            writer.add(&part, &bytes[of_rows(rows.start)..of_rows(rows.end)])
        };
        match base {
            "qkv_ein" => add("qkv1_w", 0..n_q).and_then(|()| add("qkv2_w", n_q..rows)),
            "gating_ein" => add("gating1_w", 0..f).and_then(|()| add("gating2_w", f..rows)),
            "att_ein" => {
                let values = sbs.values(&mat.name, 0, rows * cols).map_err(&fail)?;
                let width = rows / heads;
                let row = |m: usize| {
                    (0..heads).flat_map(move |head| (0..h).map(move |i| (head * width + m) * h + i))
                };
                let turned: Vec<f32> = (0..width).flat_map(row).map(|i| values[i] / mat.scale).collect();
                let part =
                    Mat::new(&format!("att_w_{il}"), mat.dtype, width, n_q, mat.scale).map_err(&fail)?;
                codec::encode(mat.dtype, &turned).and_then(|bytes| writer.add(&part, &bytes))
            }
            _ => writer.add(mat, &bytes),
        }
        .map_err(&fail)?;
    }
    let tokenizer = sbs.tokenizer().map_err(&fail)?;
    writer.finish(sbs.config(), tokenizer.as_deref()).map_err(&fail)
}

/// The same model with one number changed: what is left of it without a part, and the part's name.
pub(super) fn without(case: &str, file: &GgufFile) -> Result<Vec<(&'static str, GgufFile)>, Error> {
    let arch = file.metadata().str("general.architecture").map_err(Error::engine(case))?.to_owned();
    let changes = [
        ("windows", "attention.sliding_window", Value::U32(N_CTX)),
        ("the cap of scores", "attn_logit_softcapping", Value::F32(1e4)),
        ("the cap of logits", "final_logit_softcapping", Value::F32(1e4)),
        ("the base of rotation", "rope.freq_base", Value::F32(300.0)),
    ];
    let mut files = Vec::new();
    for (part, key, value) in changes {
        let key = format!("{arch}.{key}");
        // All layers have the windows' own base where none sees everything.
        if file.metadata().get(&key).is_none() || (part == "the base of rotation" && case.contains("windows"))
        {
            continue;
        }
        let mut writer = GgufWriter::from_gguf(file.gguf());
        writer.metadata.set(&key, value);
        let mut out = Vec::new();
        writer
            .write_to(&mut out, |i, sink| {
                let bytes = file.tensor_bytes_at(i).map_err(std::io::Error::other)?;
                sink.write_all(bytes)
            })
            .map_err(Error::engine(case))?;
        files.push((part, GgufFile::from_vec(out).map_err(Error::engine(case))?));
    }
    Ok(files)
}
