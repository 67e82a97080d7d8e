//! `mistral4`: as `deepseek2`. Answers to `src/models/mistral4.cpp`.

use super::Architecture;
use super::deepseek2::{load, read, size_class};

pub(super) const ARCH: Architecture = Architecture { name: "mistral4", hparams: read, load, size_class };
