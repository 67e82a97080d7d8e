//! `hunyuan_vl`: as `hunyuan-dense`. Answers to `src/models/hunyuan-vl.cpp`.

use super::Architecture;
use super::hunyuan_dense::{hparams, load, size_class};

pub(super) const ARCH: Architecture = Architecture { name: "hunyuan_vl", hparams, load, size_class };
