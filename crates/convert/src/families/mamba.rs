//! Mamba and Mamba 2: state spaces without attention. Answers to `conversion/mamba.py`, which reads `config.json` as it is.

use super::{Names, Rows};

/// Kinds of models whose configuration has no defaults.
pub(crate) const MODEL_TYPES: [&str; 3] = ["mamba", "falcon_mamba", "mamba2"];

const WHOLE: Rows = &[
    ("backbone.embedding", "token_embd"),
    ("backbone.embeddings", "token_embd"),
    ("backbone.norm_f", "output_norm"),
    ("lm_head", "output"),
];

const MIXER: Rows = &[
    ("norm", "attn_norm"),
    ("mixer.in_proj", "ssm_in"),
    ("mixer.conv1d", "ssm_conv1d"),
    ("mixer.dt_proj", "ssm_dt"),
    ("mixer.A_log", "ssm_a"),
    ("mixer.D", "ssm_d"),
    ("mixer.out_proj", "ssm_out"),
];

pub(crate) const NAMES: Names = Names {
    lacks: "",
    whole: WHOLE,
    layers: "backbone.layers.",
    layer: &[MIXER, &[("mixer.x_proj", "ssm_x")]],
};

pub(crate) const NAMES_2: Names = Names { layer: &[MIXER, &[("mixer.norm", "ssm_norm")]], ..NAMES };

/// Mamba 2's names as Mamba's are.
pub(crate) fn renamed(name: &str) -> String {
    // Codestral's.
    let is_codestral = name.starts_with("model.backbone") || name.starts_with("model.lm_head");
    let name = if is_codestral { &name["model.".len()..] } else { name };
    match name.strip_suffix(".dt_bias") {
        Some(stem) => format!("{stem}.dt_proj.bias"),
        None => name.to_owned(),
    }
}
