//! BERT: an encoder with learned positions and WordPiece. Answers to `BertModel` of `conversion/bert.py`.

use serde_json::{Value as Json, json};

use super::Names;
use crate::json::JsonFile;
use crate::spm::piece_type;

pub(crate) const NAMES: Names = Names {
    lacks: "",
    whole: &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("classifier", "cls"),
        ("classifier.dense", "cls"),
        ("classifier.out_proj", "cls.output"),
    ],
    layers: "encoder.layer.",
    layer: &[&[
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
    ]],
};

/// What transformers takes for what `config.json` leaves out.
pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let defaults = json!({
        "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "pad_token_id": 0,
    });
    (model_type == "bert").then_some(defaults)
}

/// The name of a tensor without what heads put in front, and `None` for tensors that are left out.
pub(crate) fn kept(name: &str, raw: &JsonFile) -> Option<String> {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    let name = match (name.strip_suffix(".gamma"), name.strip_suffix(".beta")) {
        (Some(stem), _) => format!("{stem}.weight"),
        (_, Some(stem)) => format!("{stem}.bias"),
        _ => name.to_owned(),
    };
    let left_out = ["embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"];
    let heads = ["cls.predictions", "cls.seq_relationship"];
    if left_out.contains(&name.as_str()) || heads.iter().any(|head| name.starts_with(head)) {
        return None;
    }
    if labels(raw).is_some()
        && let Some(part) = name.strip_prefix("classifier.").filter(|part| ["weight", "bias"].contains(part))
    {
        return Some(format!("classifier.out_proj.{part}"));
    }
    Some(name)
}

/// The labels of a classifier in the order of their numbers; the two that transformers makes up are none.
pub(crate) fn labels(raw: &JsonFile) -> Option<Vec<String>> {
    let map = raw.get("id2label")?.as_object()?;
    let mut labels: Vec<(i64, String)> =
        map.iter().filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str()?.to_owned()))).collect();
    labels.sort();
    let made_up = labels.len() == 2 && labels.iter().any(|(id, label)| *id == 0 && label == "LABEL_0");
    (!labels.is_empty() && !made_up).then(|| labels.into_iter().map(|(_, label)| label).collect())
}

/// The text of a token with a space before what begins a word, instead of `##` before what does not.
pub(crate) fn phantom(text: Vec<u8>, kind: i32) -> Vec<u8> {
    if kind == piece_type::CONTROL {
        return text;
    }
    match text.strip_prefix(b"##") {
        Some(rest) => rest.to_vec(),
        None => ["\u{2581}".as_bytes(), &text].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped() {
        let name = |text| NAMES.gguf_name(text, 2);
        assert_eq!(
            name("encoder.layer.1.attention.output.LayerNorm.bias").as_deref(),
            Some("blk.1.attn_output_norm.bias")
        );
        assert_eq!(name("embeddings.LayerNorm.weight").as_deref(), Some("token_embd_norm.weight"));
        assert_eq!(name("encoder.layer.2.output.dense.weight"), None);
        assert_eq!(name("encoder.layer.01.output.dense.weight"), None);
    }

    #[test]
    fn words_begin_with_a_space() {
        assert_eq!(phantom(b"[CLS]".to_vec(), piece_type::CONTROL), b"[CLS]");
        assert_eq!(phantom(b"##ing".to_vec(), piece_type::NORMAL), b"ing");
        assert_eq!(phantom(b"word".to_vec(), piece_type::NORMAL), "\u{2581}word".as_bytes());
    }
}
