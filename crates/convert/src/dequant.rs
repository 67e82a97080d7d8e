//! Checkpoints in 8 bits with scales: each weight takes its scales along, and is multiplied when it is read. Answers to
//! `dequant_model` for fp8 and the unpacked kinds of compressed-tensors.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use super::error::{ConvertError, Result};
use super::json::JsonFile;
use super::safetensors::{Checkpoint, Scale};

/// Ends of the names of what is not used.
const UNUSED: [&str; 3] = [".activation_scale", "_activation_scale", ".qscale_act"];

/// Most dimensions of a weight with scales.
const MAX_DIMS: usize = 4;

/// Whether the experts are in MXFP4, which is kept.
pub(super) fn is_mxfp4(raw: &JsonFile) -> bool {
    let method = raw.get("quantization_config").and_then(|config| config.get("quant_method"));
    method.and_then(Json::as_str) == Some("mxfp4")
}

/// Gives the weights of a quantised checkpoint their scales. `keeps_mxfp4`: the family has a place for MXFP4.
///
/// # Errors
/// Another kind of quantisation; a scale without a weight, or of a shape that does not fit.
pub(super) fn attach(checkpoint: &mut Checkpoint, raw: &JsonFile, keeps_mxfp4: bool) -> Result<()> {
    let Some(config) = raw.get("quantization_config") else { return Ok(()) };
    let method = config.get("quant_method").filter(|method| !method.is_null());
    match method.map(|method| method.as_str().unwrap_or("unnamed")) {
        None => Ok(()),
        Some("mxfp4") if keeps_mxfp4 => Ok(()),
        Some("fp8") => {
            let block = blocks(raw, config.get("weight_block_size"))?;
            let suffixes = [("_scale_inv", ""), (".qscale_weight", ".weight")];
            pair(checkpoint, &suffixes, block.as_deref())?;
            checkpoint.tensors.retain(|tensor| !UNUSED.iter().any(|end| tensor.name.ends_with(end)));
            Ok(())
        }
        Some("compressed-tensors") => {
            let block = compressed(raw, config)?;
            pair(checkpoint, &[(".weight_scale", ".weight")], block.as_deref())
        }
        Some(other) => {
            let what = format!("a checkpoint quantised with {}", super::json::shown(&Json::from(other)));
            Err(ConvertError::Unsupported { what })
        }
    }
}

/// Blocks of a configuration of compressed-tensors whose values are not packed.
fn compressed(raw: &JsonFile, config: &Json) -> Result<Option<Vec<usize>>> {
    let format = config.get("format").unwrap_or(&Json::Null);
    let known = ["float-quantized", "int-quantized", "naive-quantized"];
    if !format.as_str().is_some_and(|name| known.contains(&name)) {
        return Err(raw.wrong("quantization_config.format", format, "float-, int- or naive-quantized"));
    }
    let groups = config.get("config_groups").unwrap_or(&Json::Null);
    let mut each = groups.as_object().into_iter().flat_map(|groups| groups.values());
    let (Some(weights), None) = (each.next().and_then(|group| group.get("weights")), each.next()) else {
        return Err(raw.wrong("quantization_config.config_groups", groups, "one group with weights"));
    };
    let strategy = weights.get("strategy").unwrap_or(&Json::Null);
    if !matches!(strategy.as_str(), Some("channel" | "block")) {
        return Err(raw.wrong("quantization_config.strategy", strategy, "channel or block"));
    }
    if let Some(size) = weights.get("group_size").filter(|size| !size.is_null()) {
        return Err(raw.wrong("quantization_config.group_size", size, "null"));
    }
    blocks(raw, weights.get("block_structure"))
}

fn blocks(raw: &JsonFile, value: Option<&Json>) -> Result<Option<Vec<usize>>> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let expected = "a list of at most 4 positive integers";
    let wrong = || raw.wrong("quantization_config.weight_block_size", value, expected);
    let items = value.as_array().filter(|items| items.len() <= MAX_DIMS).ok_or_else(wrong)?;
    let size = |item: &Json| item.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    items.iter().map(size).collect::<Option<Vec<usize>>>().map(Some).ok_or_else(wrong)
}

/// Takes the scales out of the checkpoint's tensors and gives them to their weights. `suffixes`: what a scale's name ends with,
/// and what the weight's has there.
fn pair(checkpoint: &mut Checkpoint, suffixes: &[(&str, &str)], block: Option<&[usize]>) -> Result<()> {
    let places: HashMap<String, usize> =
        checkpoint.tensors.iter().enumerate().map(|(i, tensor)| (tensor.name.clone(), i)).collect();
    let mut taken = HashSet::new();
    for index in 0..checkpoint.tensors.len() {
        let scale = checkpoint.tensors[index].clone();
        let weight =
            suffixes.iter().find_map(|(from, to)| Some(format!("{}{to}", scale.name.strip_suffix(from)?)));
        let Some(weight) = weight else { continue };
        let Some(&at) = places.get(&weight) else {
            return Err(ConvertError::MissingPart { name: scale.name, part: weight });
        };
        let shape = checkpoint.tensors[at].shape.clone();
        let Some((blocks, strides)) = spread(&scale.shape, &shape, block) else {
            return Err(ConvertError::ScaleShape { name: scale.name, found: scale.shape, weight: shape });
        };
        let mut values = Vec::new();
        checkpoint.read(&scale, 0, scale.n_elements(), &mut values);
        checkpoint.tensors[at].scale = Some(Arc::new(Scale { values, blocks, strides }));
        taken.insert(scale.name);
    }
    checkpoint.tensors.retain(|tensor| !taken.contains(&tensor.name));
    Ok(())
}

/// For each dimension of a weight: how many neighbours share a scale, and how far the next scale is; `None` if scales of this shape
/// do not cover it.
fn spread(scale: &[usize], weight: &[usize], block: Option<&[usize]>) -> Option<(Vec<usize>, Vec<usize>)> {
    if scale.len() > weight.len() || weight.is_empty() || weight.len() > MAX_DIMS {
        return None;
    }
    let mut sizes = vec![1usize; weight.len()];
    if let Some(block) = block {
        let start = scale.len().checked_sub(block.len())?;
        sizes[start..scale.len()].copy_from_slice(block);
    }
    let mut strides = vec![0usize; weight.len()];
    let mut stride = 1;
    for dim in (0..scale.len()).rev() {
        let covered = scale[dim].saturating_mul(sizes[dim]);
        if covered >= weight[dim] && (block.is_some() || covered == weight[dim]) {
            strides[dim] = stride;
        } else if covered != 1 {
            return None;
        }
        stride *= scale[dim];
    }
    Some((sizes, strides))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_cover_their_weights() {
        assert_eq!(spread(&[2, 3], &[130, 300], Some(&[128, 128])), Some((vec![128, 128], vec![3, 1])));
        assert_eq!(spread(&[2, 2], &[130, 300], Some(&[128, 128])), None);
        assert_eq!(spread(&[130], &[130, 300], None), Some((vec![1, 1], vec![1, 0])));
        assert_eq!(spread(&[130, 1], &[130, 300], None), Some((vec![1, 1], vec![1, 0])));
        assert_eq!(spread(&[], &[130, 300], None), Some((vec![1, 1], vec![0, 0])));
        assert_eq!(spread(&[7], &[130, 300], None), None);
        assert_eq!(spread(&[2, 3, 4], &[130, 300], None), None);
        assert_eq!(
            spread(&[usize::MAX, 1], &[4, 4], Some(&[usize::MAX, 4])).map(|(sizes, _)| sizes.len()),
            Some(2)
        );
    }
}
