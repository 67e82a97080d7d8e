//! The checkpoint: `model*.safetensors`, one file or shards with an index, mapped and checked. Answers to
//! `index_tensors` and `filter_tensors`.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_gguf::{ByteSource, MappedFile};
use quipu_quant::convert::bf16_to_f32;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

use super::error::{ConvertError, Result};
use super::json::JsonFile;
use super::outtype::f16_to_f32;

/// A tensor of the checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// Name, without what the reference strips from it.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
    /// What each element is multiplied with, in a checkpoint of 8 bits.
    pub scale: Option<Arc<Scale>>,
    shard: usize,
    range: Range<usize>,
}

/// Factors of a tensor's elements, each for a block of them.
#[derive(Debug)]
pub(super) struct Scale {
    /// The factors.
    pub values: Vec<f32>,
    /// How many neighbours share one, for each dimension of the tensor.
    pub blocks: Vec<usize>,
    /// How far the next is, for each dimension.
    pub strides: Vec<usize>,
}

impl Scale {
    /// Multiplies elements from `from` on of a tensor of `shape`.
    fn apply(&self, shape: &[usize], from: usize, values: &mut [f32]) {
        let row_len = shape.last().copied().unwrap_or(1).max(1);
        let mut done = 0;
        while done < values.len() {
            let (mut row, column) = ((from + done) / row_len, (from + done) % row_len);
            let mut base = 0;
            for dim in (0..shape.len().saturating_sub(1)).rev() {
                base += row % shape[dim] / self.blocks[dim] * self.strides[dim];
                row /= shape[dim];
            }
            let n = (row_len - column).min(values.len() - done);
            let last = shape.len() - 1;
            for (i, x) in values[done..done + n].iter_mut().enumerate() {
                *x *= self.values[base + (column + i) / self.blocks[last] * self.strides[last]];
            }
            done += n;
        }
    }
}

impl Tensor {
    /// Number of elements of one index of the outermost dimension; 1 for vectors.
    pub(super) fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Number of elements.
    pub(super) fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The open shards and their tensors, in the reference's order: by shard, then by name.
#[derive(Debug)]
pub(super) struct Checkpoint {
    files: Vec<MappedFile>,
    /// What is in them.
    pub tensors: Vec<Tensor>,
}

impl Checkpoint {
    /// Opens all shards of `dir`.
    ///
    /// # Errors
    /// No shard; a shard that is not valid; an index that disagrees with the shards; a name twice; an element
    /// type that is not converted.
    pub(super) fn open(dir: &Path) -> Result<Checkpoint> {
        let index = JsonFile::read_optional(&dir.join("model.safetensors.index.json"))?;
        let weight_map = index.as_ref().map(weight_map).transpose()?;
        let shards: BTreeSet<String> = match &weight_map {
            Some(map) => map.values().cloned().collect(),
            None => shards_of(dir)?,
        };
        if shards.is_empty() {
            return Err(ConvertError::NoWeights { path: dir.to_owned() });
        }
        let shards: Vec<String> = shards.into_iter().collect();
        let mut checkpoint = Checkpoint { files: Vec::new(), tensors: Vec::new() };
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut names_in_files: HashMap<String, usize> = HashMap::new();
        for (shard, file_name) in shards.iter().enumerate() {
            let path = dir.join(file_name);
            let (file, mut tensors) = open_shard(&path, shard)?;
            checkpoint.files.push(file);
            tensors.sort_by(|a, b| a.name.cmp(&b.name));
            for mut tensor in tensors {
                let duplicate = |name: &str, first: usize| ConvertError::DuplicateTensor {
                    name: name.to_owned(),
                    first: shards[first].clone(),
                    second: file_name.clone(),
                };
                if let Some(first) = names_in_files.insert(tensor.name.clone(), shard) {
                    return Err(duplicate(&tensor.name, first));
                }
                let Some(name) = kept_name(&tensor.name) else { continue };
                tensor.name = name;
                if let Some(first) = seen.insert(tensor.name.clone(), shard) {
                    return Err(duplicate(&tensor.name, first));
                }
                checkpoint.tensors.push(tensor);
            }
        }
        if let (Some(map), Some(index)) = (weight_map, index) {
            compare(&index.path, &map, &names_in_files, &shards)?;
        }
        Ok(checkpoint)
    }

    /// Opens one file, whose tensors keep their names and the order in which they lie.
    ///
    /// # Errors
    /// The file is not valid, or has an element type that is not converted.
    pub(super) fn open_file(path: &Path) -> Result<Checkpoint> {
        let (file, mut tensors) = open_shard(&path.to_owned(), 0)?;
        tensors.sort_by_key(|tensor| tensor.range.start);
        Ok(Checkpoint { files: vec![file], tensors })
    }

    /// Whether what was read was in the files.
    ///
    /// # Errors
    /// A shard was cut off meanwhile.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        Ok(self.files.iter().try_for_each(ByteSource::check_unchanged)?)
    }

    /// Reads `n` elements of `tensor` from element `from` on as f32, replacing what `out` held. The range
    /// must lie inside the tensor.
    pub(super) fn read(&self, tensor: &Tensor, from: usize, n: usize, out: &mut Vec<f32>) {
        let bytes = &self.files[tensor.shard].in_place().unwrap_or_default()[tensor.range.clone()];
        let size = element_size(tensor.dtype);
        let bytes = &bytes[from * size..(from + n) * size];
        out.clear();
        match tensor.dtype {
            Dtype::F32 => out.extend(elements(bytes).map(f32::from_le_bytes)),
            Dtype::F16 => out.extend(elements(bytes).map(|b| f16_to_f32(u16::from_le_bytes(b)))),
            Dtype::BF16 => {
                out.extend(elements(bytes).map(|b| bf16_to_f32(u16::from_le_bytes(b))));
            }
            Dtype::F64 => out.extend(elements(bytes).map(|b| f64::from_le_bytes(b) as f32)),
            Dtype::I64 => out.extend(elements(bytes).map(|b| i64::from_le_bytes(b) as f32)),
            Dtype::I32 => out.extend(elements(bytes).map(|b| i32::from_le_bytes(b) as f32)),
            Dtype::I16 => out.extend(elements(bytes).map(|b| f32::from(i16::from_le_bytes(b)))),
            Dtype::F8_E4M3 => out.extend(bytes.iter().map(|&b| f8_e4m3_to_f32(b))),
            Dtype::F8_E5M2 => out.extend(bytes.iter().map(|&b| f8_e5m2_to_f32(b))),
            Dtype::I8 => out.extend(elements(bytes).map(|b| f32::from(i8::from_le_bytes(b)))),
            // `open_shard` lets only the types above and bytes pass.
            _ => out.extend(bytes.iter().map(|&b| f32::from(b))),
        }
        if let Some(scale) = &tensor.scale {
            scale.apply(&tensor.shape, from, out);
        }
    }

    /// The bytes of `tensor` as they are stored.
    pub(super) fn bytes(&self, tensor: &Tensor) -> &[u8] {
        &self.files[tensor.shard].in_place().unwrap_or_default()[tensor.range.clone()]
    }

    /// Whether two tensors have the same shape and values.
    pub(super) fn equal(&self, a: &Tensor, b: &Tensor) -> bool {
        const CHUNK: usize = 1 << 16;
        let n = a.n_elements();
        let (mut x, mut y) = (Vec::new(), Vec::new());
        a.shape == b.shape
            && (0..n).step_by(CHUNK).all(|from| {
                self.read(a, from, CHUNK.min(n - from), &mut x);
                self.read(b, from, CHUNK.min(n - from), &mut y);
                x == y
            })
    }
}

/// A float of 8 bits with 4 of exponent, without infinities: one NaN of each sign.
fn f8_e4m3_to_f32(byte: u8) -> f32 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    sign * match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    }
}

/// A float of 8 bits with 5 of exponent: the upper half of an f16.
fn f8_e5m2_to_f32(byte: u8) -> f32 {
    f16_to_f32(u16::from(byte) << 8)
}

fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Bytes of an element, for the types that are converted.
const fn element_size(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F64 | Dtype::I64 => 8,
        Dtype::F32 | Dtype::I32 => 4,
        Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
        _ => 1,
    }
}

/// True for a file name that stays in its folder.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(part)), None) if part == name)
}

/// `model*.safetensors` of a directory.
fn shards_of(dir: &Path) -> Result<BTreeSet<String>> {
    let unreadable = |source| ConvertError::Read { path: dir.to_owned(), source };
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(name) = name.to_str()
            && name.starts_with("model")
            && name.strip_suffix(".safetensors").is_some()
        {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// Tensor names and their shards, as the index says.
fn weight_map(index: &JsonFile) -> Result<HashMap<String, String>> {
    let found = index.map.get("weight_map").unwrap_or(&Json::Null);
    let Json::Object(map) = found else {
        return Err(index.wrong("weight_map", found, "an object of names and shards"));
    };
    let mut shards = HashMap::with_capacity(map.len());
    for (name, shard) in map {
        let file = shard.as_str().ok_or_else(|| index.wrong(name, shard, "the name of a shard"))?;
        if !is_plain_name(file) {
            return Err(ConvertError::ShardName { path: index.path.clone(), found: file.to_owned() });
        }
        shards.insert(name.clone(), file.to_owned());
    }
    Ok(shards)
}

/// Index and shards must name the same tensors.
fn compare(
    index: &Path,
    listed: &HashMap<String, String>,
    found: &HashMap<String, usize>,
    shards: &[String],
) -> Result<()> {
    let missing = listed.iter().filter(|(name, _)| !found.contains_key(*name)).min();
    if let Some((name, shard)) = missing {
        let (path, name, shard) = (index.to_owned(), name.clone(), shard.clone());
        return Err(ConvertError::MissingTensor { path, name, shard });
    }
    let extra = found.iter().filter(|(name, _)| !listed.contains_key(*name)).min();
    if let Some((name, &shard)) = extra {
        let (path, name, shard) = (index.to_owned(), name.clone(), shards[shard].clone());
        return Err(ConvertError::UnlistedTensor { path, name, shard });
    }
    Ok(())
}

fn open_shard(path: &PathBuf, shard: usize) -> Result<(MappedFile, Vec<Tensor>)> {
    let invalid = |message: String| ConvertError::Safetensors { path: path.clone(), message };
    let meta = std::fs::metadata(path).map_err(|source| ConvertError::Read { path: path.clone(), source })?;
    if !meta.is_file() || meta.len() < 8 {
        return Err(invalid("expected a file of at least 8 bytes".to_owned()));
    }
    let file = MappedFile::open(path).map_err(|error| invalid(error.to_string()))?;
    let bytes = file.in_place().unwrap_or_default();
    let views = SafeTensors::deserialize(bytes);
    file.check_unchanged()?;
    let views = views.map_err(|error| invalid(error.to_string()))?;
    let mut tensors = Vec::with_capacity(views.len());
    for (name, view) in views.iter() {
        let data = view.data();
        // Views point into the file; their place in it outlives them.
        let start = data.as_ptr().addr() - bytes.as_ptr().addr();
        tensors.push(Tensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            dtype: view.dtype(),
            scale: None,
            shard,
            range: start..start + data.len(),
        });
    }
    if let Some(tensor) = tensors.iter().find(|tensor| !is_converted(tensor.dtype)) {
        let found = format!("{:?}", tensor.dtype);
        return Err(ConvertError::TensorType { name: tensor.name.clone(), found });
    }
    drop(views);
    Ok((file, tensors))
}

const fn is_converted(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::F64
            | Dtype::F32
            | Dtype::F16
            | Dtype::BF16
            | Dtype::I64
            | Dtype::I32
            | Dtype::I16
            | Dtype::I8
            | Dtype::U8
            | Dtype::F8_E4M3
            | Dtype::F8_E5M2
            | Dtype::BOOL
    )
}

/// Name of a tensor of the text model, or `None` for one of another part (`filter_tensors`).
pub(super) fn kept_name(name: &str) -> Option<String> {
    const STARTS: [&str; 10] = [
        "mlp",
        "vit.",
        "vpm.",
        "siglip2.",
        "conformer.",
        "merger.",
        "resampler.",
        "sound_encoder.",
        "sound_projection.",
        "speech_embeddings.",
    ];
    const PARTS: [&str; 17] = [
        "visual.",
        "vision.",
        "audio.",
        "talker.",
        "vision_",
        "audio_",
        "token2wav.",
        "code2wav.",
        "projector.",
        "pre_mm_projector_norm",
        "image_newline",
        "view_seperator",
        "patch_embed",
        "patch_embedding",
        "patch_merger.",
        "patch_merge_mlp.",
        "model.connector.",
    ];
    let other =
        STARTS.iter().any(|start| name.starts_with(start)) || PARTS.iter().any(|part| name.contains(part));
    let name = name
        .strip_suffix("e_score_correction_bias")
        .map_or_else(|| name.to_owned(), |stem| format!("{stem}e_score_correction.bias"));
    (!other).then(|| name.replace("language_model.", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_stay_in_their_folder() {
        assert!(is_plain_name("model-00001-of-00002.safetensors"));
        for name in ["", ".", "..", "../x", "/x", "a/b", "a/"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }

    #[test]
    fn floats_of_8_bits() {
        let e4m3: Vec<f32> = [0x00, 0x01, 0x08, 0x38, 0x7e, 0xb8].map(f8_e4m3_to_f32).to_vec();
        assert_eq!(e4m3, [0.0, 2f32.powi(-9), 2f32.powi(-6), 1.0, 448.0, -1.0]);
        assert!(f8_e4m3_to_f32(0x7f).is_nan() && f8_e4m3_to_f32(0xff).is_nan());
        assert_eq!([0x3c, 0x7b, 0xfc].map(f8_e5m2_to_f32), [1.0, 57344.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn scales_are_applied_from_any_place_on() {
        let scale = Scale { values: vec![1.0, 10.0, 2.0, 20.0], blocks: vec![2, 3], strides: vec![2, 1] };
        let mut values = vec![1.0; 12];
        scale.apply(&[3, 5], 2, &mut values);
        assert_eq!(values, [1.0, 10.0, 10.0, 1.0, 1.0, 1.0, 10.0, 10.0, 2.0, 2.0, 2.0, 20.0]);
    }

    #[test]
    fn parts_of_other_modalities_are_left_out() {
        assert_eq!(kept_name("model.language_model.norm.weight").as_deref(), Some("model.norm.weight"));
        assert_eq!(kept_name("model.visual.norm.weight"), None);
        assert_eq!(kept_name("mlp1.0.weight"), None);
        assert!(kept_name("model.layers.0.mlp.up_proj.weight").is_some());
    }
}
