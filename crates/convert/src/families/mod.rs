//! Model families, one file each: which tensors they have under which names, their defaults, and what their files say besides.

pub(super) mod bert;
pub(super) mod dense;
pub(super) mod gemma;
pub(super) mod qwen_moe;

use serde_json::Value as Json;

/// What transformers takes for what the `config.json` of a model of this kind leaves out; `None` for kinds that no file here is about.
pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let bert = (model_type == "bert").then(bert::defaults);
    bert.or_else(|| gemma::defaults(model_type))
        .or_else(|| qwen_moe::defaults(model_type))
        .or_else(|| dense::defaults(model_type))
}

/// Names of a family's tensors: those outside of layers and those of a layer, each without `.weight` or `.bias`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// The checkpoint's name and GGUF's.
    pub whole: &'static [(&'static str, &'static str)],
    /// What stands before the number of a layer.
    pub layers: &'static str,
    /// The checkpoint's name behind that number and GGUF's behind `blk.N.`.
    pub layer: &'static [(&'static str, &'static str)],
}

impl Names {
    /// GGUF's name of a tensor of a model with `n_layer` layers.
    pub(super) fn gguf_name(&self, name: &str, n_layer: usize) -> Option<String> {
        let (stem, suffix) = [".weight", ".bias"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).map(|stem| (stem, *suffix)))?;
        let of = |names: &[(&str, &'static str)], stem: &str| {
            names.iter().find(|(from, _)| *from == stem).map(|(_, to)| *to)
        };
        if let Some(whole) = of(self.whole, stem) {
            return Some(format!("{whole}{suffix}"));
        }
        let (layer, part) = stem.strip_prefix(self.layers)?.split_once('.')?;
        // A number in another spelling is another name.
        let layer = layer.parse::<usize>().ok().filter(|n| *n < n_layer && n.to_string() == layer)?;
        Some(format!("blk.{layer}.{}{suffix}", of(self.layer, part)?))
    }
}
