//! `nemotron_h_moe`: as nemotron_h, with experts. Answers to `src/models/nemotron-h-moe.cpp`.

use super::Architecture;
use super::nemotron_h::{hparams, load, size_class};

pub(super) const ARCH: Architecture = Architecture { name: "nemotron_h_moe", hparams, load, size_class };
