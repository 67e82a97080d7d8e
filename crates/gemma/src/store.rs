//! A model's file: config, tokenizer and tensors, in the single-file format and in the one of before 2025.
//!
//! Answers to gemma.cpp's `gemma/model_store`. A single file has the blobs `config` ([`ModelConfig`]), `tokenizer` (a
//! SentencePiece model) and `toc` (a [`Mat`] for each tensor), behind a blob for each tensor. Before 2025 the tokenizer
//! was another file, a tensor's type was the first letter of its blob's name, there was a blob `Fscales`, and the model
//! is deduced from the number of its layers.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use quipu_gguf::{ByteSource, SourceKind, open_source};

use crate::blob::{Blob, BlobStore, BlobWriter};
use crate::codec;
use crate::config::{LayerConfig, ModelConfig};
use crate::error::{Error, Result};
use crate::fields;
use crate::key::Key;
use crate::mat::Mat;
use crate::model::Model;
use crate::models::config_of;
use crate::tensors::{TensorInfos, base_name, layer_of, used_tensors};
use crate::types::Type;

const CONFIG: &str = "config";
const TOKENIZER: &str = "tokenizer";
const TOC: &str = "toc";
const SCALES: &str = "Fscales";

/// What the reference writes where there is no tokenizer (`kMockTokenizer`).
pub const MOCK_TOKENIZER: &str = "unavailable";
/// Largest head that the reference takes (`kMaxQKVDim`).
const MAX_QKV_DIM: u32 = 1024;

/// Most layers: their numbers have three digits in the names of blobs.
const MAX_LAYERS: usize = 999;

/// How a file of before 2025 is to be understood, which does not say it itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Whether the model was instructed; `None` where the model decides.
    pub instructed: Option<bool>,
}

/// A model in a `.sbs` file.
#[derive(Clone, Debug)]
pub struct SbsFile {
    blobs: BlobStore,
    config: ModelConfig,
    mats: Vec<(Mat, usize)>,
    by_name: HashMap<String, usize>,
    single_file: bool,
    notes: Vec<String>,
}

impl SbsFile {
    /// Opens the file at `path`, mapped.
    ///
    /// # Errors
    /// [`Error`]: what is wrong, in which blob and where.
    pub fn open(path: impl AsRef<Path>) -> Result<SbsFile> {
        SbsFile::from_source(open_source(path, SourceKind::Mapped)?, OpenOptions::default())
    }

    /// Reads and checks everything but the tensors' values.
    ///
    /// # Errors
    /// As [`SbsFile::open`].
    pub fn from_source(source: Arc<dyn ByteSource>, options: OpenOptions) -> Result<SbsFile> {
        SbsFile::from_blobs(BlobStore::open(source)?, options)
    }

    /// As [`SbsFile::from_source`], of a store that is open.
    ///
    /// # Errors
    /// As [`SbsFile::open`].
    pub fn from_blobs(blobs: BlobStore, options: OpenOptions) -> Result<SbsFile> {
        let mut notes = Vec::new();
        let config = match blobs.find(CONFIG) {
            Some(blob) => read_config(&blobs, blob, &mut notes)?,
            None => deduce_config(&blobs, options)?,
        };
        let infos = TensorInfos::new(&config);
        let (mats, single_file) = match blobs.find(TOC) {
            Some(blob) => (read_toc(&blobs, blob, &config, &mut notes)?, true),
            None => (from_prefixes(&blobs, &config, &infos)?, false),
        };
        let mut by_name = HashMap::with_capacity(mats.len());
        for (i, (mat, blob)) in mats.iter().enumerate() {
            mat.check(blobs.blobs()[*blob].bytes)?;
            if by_name.insert(mat.name.clone(), i).is_some() {
                return Err(Error::DuplicateTensor { name: mat.name.clone() });
            }
            let Some(info) = infos.find(&mat.name) else { continue };
            let (rows, cols) = info.extents();
            let (found_rows, found_cols) = (mat.rows as usize, mat.cols as usize);
            if (found_rows, found_cols) != (rows, cols) {
                let (name, model) = (mat.name.clone(), config.specifier());
                return Err(Error::Shape { name, found_rows, found_cols, rows, cols, model });
            }
        }
        Ok(SbsFile { blobs, config, mats, by_name, single_file, notes })
    }

    /// The blobs.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// The model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether config, tokenizer and descriptions are in the file (not so before 2025).
    pub fn is_single_file(&self) -> bool {
        self.single_file
    }

    /// What a person should know: fields that this program does not know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The tensors, in the order of the `toc` blob.
    pub fn mats(&self) -> impl ExactSizeIterator<Item = &Mat> {
        self.mats.iter().map(|(mat, _)| mat)
    }

    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<&Mat> {
        self.by_name.get(name).map(|&i| &self.mats[i].0)
    }

    /// The tensor's blob.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn blob_of(&self, name: &str) -> Result<&Blob> {
        let i = self.by_name.get(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?;
        Ok(&self.blobs.blobs()[self.mats[*i].1])
    }

    /// The SentencePiece model, if the file has one.
    ///
    /// # Errors
    /// [`Error::Gguf`] if it cannot be read.
    pub fn tokenizer(&self) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.blobs.find(TOKENIZER) else { return Ok(None) };
        let bytes = self.blobs.read(blob)?;
        Ok((bytes != MOCK_TOKENIZER.as_bytes()).then_some(bytes))
    }

    /// The stored bytes of a tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Gguf`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.blobs.read(self.blob_of(name)?)
    }

    /// `count` values of a tensor from `from` on, as f32, times the tensor's scale.
    ///
    /// # Errors
    /// [`Error`] if there are not so many, or for types without values.
    pub fn values(&self, name: &str, from: u64, count: usize) -> Result<Vec<f32>> {
        let mat = self.find(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?;
        if from.checked_add(count as u64).is_none_or(|end| end > mat.n_values()) {
            let what = format!("{} values long, and {count} from {from} on were asked for", mat.n_values());
            return Err(Error::Tensor { name: name.to_owned(), what });
        }
        // Types with tables are read from the begin of a group.
        let first = from / codec::GROUP * codec::GROUP;
        let last = (from + count as u64).next_multiple_of(codec::GROUP).min(mat.n_values());
        let sizes = (mat.dtype.n_bytes(first), mat.dtype.n_bytes(last));
        let (Some(start), Some(end)) = sizes else {
            return Err(Error::MissingTensor { name: name.to_owned() });
        };
        let mut bytes = vec![0; (end - start) as usize];
        self.blobs.read_part(self.blob_of(name)?, start, &mut bytes)?;
        let mut values = vec![0.0; (last - first) as usize];
        codec::decode(mat.dtype, &bytes, &mut values)?;
        let mut values = values.split_off((from - first) as usize);
        values.truncate(count);
        if mat.scale != 1.0 {
            for x in &mut values {
                *x *= mat.scale;
            }
        }
        Ok(values)
    }

    /// Writes the model as one file, with its tensors as they are (`migrate_weights`); `tokenizer` replaces the file's
    /// own. What is written again like that is the same byte for byte.
    ///
    /// The reference's tool writes what it has loaded: its rows may have padding, and it writes them with it, though not
    /// whole; and it has split and transposed some tensors, and writes both forms, which it then refuses to read.
    ///
    /// # Errors
    /// [`Error`]: tensors that must be there, writing.
    pub fn migrate<W: Write>(&self, sink: W, tokenizer: Option<&[u8]>) -> Result<W> {
        let own = self.tokenizer()?;
        let tokenizer = tokenizer.map(<[u8]>::to_vec).or(own);
        let mut writer = SbsWriter::new(sink)?;
        for (name, presence) in used_tensors(&self.config) {
            match self.find(&name) {
                Some(mat) => writer.add(mat, &self.read(&name)?)?,
                None if presence == crate::tensors::Presence::May => {}
                None => return Err(Error::MissingTensor { name }),
            }
        }
        writer.finish(&self.config, tokenizer.as_deref())
    }
}

/// Writes a model as a single file: tensors first. Answers to `SbsWriter` and `WriteSingleFile`.
#[derive(Debug)]
pub struct SbsWriter<W> {
    blobs: BlobWriter<W>,
    toc: Vec<u32>,
}

impl<W: Write> SbsWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn new(sink: W) -> Result<SbsWriter<W>> {
        Ok(SbsWriter { blobs: BlobWriter::new(sink)?, toc: Vec::new() })
    }

    /// Adds a tensor that is encoded already.
    ///
    /// # Errors
    /// [`Error::Tensor`] if description and bytes disagree; as [`BlobWriter::add`].
    pub fn add(&mut self, mat: &Mat, bytes: &[u8]) -> Result<()> {
        mat.check(bytes.len() as u64)?;
        fields::write(mat, &mut self.toc).map_err(Error::WriteFields)?;
        self.blobs.add(&mat.name, bytes)
    }

    /// Encodes a tensor and adds it. Values of SFP and NUQ are scaled into their range first (`SbsWriterImpl::InsertT`).
    ///
    /// # Errors
    /// As [`SbsWriter::add`]; values that the type does not have.
    pub fn encode(
        &mut self,
        name: &str,
        dtype: Type,
        rows: usize,
        cols: usize,
        values: &mut [f32],
    ) -> Result<()> {
        let scale = match dtype {
            Type::Sfp | Type::Nuq => codec::scale_weights(values),
            _ => 1.0,
        };
        let mat = Mat::new(name, dtype, rows, cols, scale)?;
        self.add(&mat, &codec::encode(dtype, values)?)
    }

    /// Writes the metadata and gives the sink back; without a tokenizer, the reference's word for that stands there.
    ///
    /// # Errors
    /// [`Error`]: a config without model or type, writing.
    pub fn finish(mut self, config: &ModelConfig, tokenizer: Option<&[u8]>) -> Result<W> {
        check_config(config)?;
        self.blobs.add(CONFIG, &config.to_bytes()?)?;
        self.blobs.add(TOKENIZER, tokenizer.unwrap_or(MOCK_TOKENIZER.as_bytes()))?;
        self.blobs.add(TOC, &fields::bytes(&self.toc))?;
        self.blobs.finish()
    }
}

fn field_error(blob: &Blob) -> impl Fn(crate::FieldError) -> Error {
    let (key, offset) = (blob.key, blob.offset);
    move |cause| Error::Fields { key, offset, cause }
}

fn read_config(blobs: &BlobStore, blob: &Blob, notes: &mut Vec<String>) -> Result<ModelConfig> {
    let words = fields::u32s(&blobs.read(blob)?).map_err(field_error(blob))?;
    let mut config = ModelConfig::default();
    let read = fields::read(&mut config, &words, 0).map_err(field_error(blob))?;
    if read.extra_u32 > 0 {
        notes.push(format!("blob '{CONFIG}' has {} u32 of unknown fields", read.extra_u32));
    }
    check_config(&config)?;
    Ok(config)
}

/// What the code that follows relies on.
fn check_config(config: &ModelConfig) -> Result<()> {
    let refused = |what: String| Err(Error::Config { what });
    if config.model == Model::Unknown || config.weight == Type::Unknown {
        return refused(format!("is of model '{}' and type {}", config.model.prefix(), config.weight));
    }
    let n_layers = config.layer_configs.len();
    if n_layers == 0
        || n_layers != config.num_layers as usize
        || n_layers != config.attention_window_sizes.len()
    {
        return refused(format!(
            "has {n_layers} layers and {} windows, expected {} of both",
            config.attention_window_sizes.len(),
            config.num_layers
        ));
    }
    let vit = &config.vit_config;
    if n_layers.max(vit.layer_configs.len()) > MAX_LAYERS {
        return refused(format!("has {n_layers} layers, expected at most {MAX_LAYERS}"));
    }
    let layers = config.layer_configs.iter().chain(&vit.layer_configs);
    for (il, layer) in layers.enumerate() {
        if layer.qkv_dim > MAX_QKV_DIM {
            return refused(format!(
                "has heads of {} in layer {il}, expected at most {MAX_QKV_DIM}",
                layer.qkv_dim
            ));
        }
        check_sizes(layer, il)?;
    }
    // Products of these are sizes of tensors.
    let sizes = [
        config.model_dim,
        config.vocab_size,
        config.max_seq_len,
        vit.model_dim,
        vit.seq_len,
        vit.patch_width,
    ];
    match sizes.into_iter().find(|&n| n > 1 << 24) {
        Some(n) => refused(format!("has a size of {n}, expected at most {}", 1 << 24)),
        None => Ok(()),
    }
}

fn check_sizes(layer: &LayerConfig, il: usize) -> Result<()> {
    let sizes = [layer.model_dim, layer.ff_hidden_dim, layer.heads, layer.kv_heads];
    if let Some(n) = sizes.into_iter().find(|&n| n > 1 << 20) {
        return Err(Error::Config {
            what: format!("has a size of {n} in layer {il}, expected at most {}", 1 << 20),
        });
    }
    if layer.kv_heads == 0 || layer.heads % layer.kv_heads != 0 {
        let what = format!(
            "has {} heads and {} key-value heads in layer {il}, expected a multiple",
            layer.heads, layer.kv_heads
        );
        return Err(Error::Config { what });
    }
    Ok(())
}

fn read_toc(
    blobs: &BlobStore,
    toc: &Blob,
    config: &ModelConfig,
    notes: &mut Vec<String>,
) -> Result<Vec<(Mat, usize)>> {
    let words = fields::u32s(&blobs.read(toc)?).map_err(field_error(toc))?;
    let mut mats = Vec::new();
    let mut pos = 0;
    while pos < words.len() {
        let mut mat = Mat::default();
        let read = fields::read(&mut mat, &words, pos).map_err(field_error(toc))?;
        if read.extra_u32 > 0 {
            notes.push(format!("tensor '{}' has {} u32 of unknown fields", mat.name, read.extra_u32));
        }
        pos = read.end;
        let blob = blobs.require(&mat.name)?;
        mats.push((mat, index_of(blobs, blob)));
    }
    let smallest = mats.iter().map(|(mat, _)| mat.dtype).min_by_key(|dtype| dtype.bits());
    match smallest {
        Some(found) if found != config.weight => Err(Error::WeightType { found, expected: config.weight }),
        Some(_) => Ok(mats),
        None => Err(Error::MissingTensor { name: "c_embedding".to_owned() }),
    }
}

/// A blob's number, from its place: blobs are in the order of their offsets.
fn index_of(blobs: &BlobStore, blob: &Blob) -> usize {
    blobs.blobs().partition_point(|other| other.offset < blob.offset)
}

/// The type that a blob's name begins with, and the rest of it.
fn prefixed(key: &Key) -> Option<(Type, &str)> {
    let text = key.as_str()?;
    let dtype = Type::from_prefix(*text.as_bytes().first()?);
    (dtype != Type::Unknown).then(|| (dtype, &text[1..]))
}

fn deduce_config(blobs: &BlobStore, options: OpenOptions) -> Result<ModelConfig> {
    let mut counts = [0; Type::ALL.len()];
    let (mut last, mut vit, mut large) = (0, false, false);
    for blob in blobs.blobs() {
        let text = blob.key.as_str().unwrap_or_default();
        last = last.max(layer_of(text));
        vit |= text.contains("qkv_ein_w");
        large |= text.contains("img_pos_emb") && blob.bytes > 448 * 448 * 5 * 2;
        if let Some((dtype, _)) = prefixed(&blob.key) {
            counts[dtype as usize] += 1;
        }
    }
    let n_layers = last.saturating_add(1);
    let model = Model::deduce(n_layers, vit, large).ok_or(Error::UnknownModel { n_layers })?;
    // The smallest type of four blobs or more: others may be metadata.
    let weight = Type::ALL.into_iter().filter(|&t| t != Type::Unknown && counts[t as usize] >= 4);
    let weight = weight.min_by_key(|t| t.bits()).ok_or(Error::UnknownModel { n_layers })?;
    config_of(model, weight, model.wrapping(options.instructed))
}

/// The tensors of a file of before 2025, with their scales.
fn from_prefixes(blobs: &BlobStore, config: &ModelConfig, infos: &TensorInfos) -> Result<Vec<(Mat, usize)>> {
    let mut mats: Vec<(Mat, usize)> = Vec::new();
    for (index, blob) in blobs.blobs().iter().enumerate() {
        let Some((dtype, name)) = prefixed(&blob.key) else { continue };
        if name == "scales" {
            continue;
        }
        let Some(info) = infos.find(name) else {
            return Err(Error::Tensor {
                name: name.to_owned(),
                what: format!("unknown in {}", config.specifier()),
            });
        };
        let (rows, cols) = info.extents();
        mats.push((Mat::new(name, dtype, rows, cols, 1.0)?, index));
    }
    let Some(blob) = blobs.find(SCALES) else { return Ok(mats) };
    let bytes = blobs.read(blob)?;
    let (scales, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        let expected = bytes.len() as u64 / 4 * 4;
        return Err(Error::BlobBytes { key: blob.key, found: blob.bytes, expected });
    }
    // One for each tensor that takes one, in the order in which tensors are visited.
    let places: HashMap<String, usize> =
        mats.iter().enumerate().map(|(i, (mat, _))| (mat.name.clone(), i)).collect();
    let takes = |name: &str| config.scale_base_names.iter().any(|base| base == base_name(name));
    let used = used_tensors(config);
    let needing: Vec<usize> =
        used.iter().filter_map(|(name, _)| places.get(name).copied().filter(|_| takes(name))).collect();
    if needing.len() != scales.len() {
        return Err(Error::Scales { have: scales.len(), needed: needing.len() });
    }
    for (i, scale) in needing.into_iter().zip(scales) {
        mats[i].0.scale = f32::from_le_bytes(*scale);
    }
    Ok(mats)
}
