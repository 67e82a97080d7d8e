//! llama-bench's flags.

use super::LIST_DEVICES;
use super::common::NO_DOWNLOADS;
use super::table::{Answer, Flag, Takes, Tool};

const BENCH: &[Tool] = &[Tool::Bench];

/// They have a parser of their own in the reference, and switches with values.
#[rustfmt::skip] // one row a line
pub(super) const FLAGS: &[Flag] = &[
    Flag::new(BENCH, &["-h", "--help"], Takes::Nothing, Answer::Is("--help")),
    Flag::new(BENCH, &["-m", "--model"], Takes::One, Answer::Is("--model")),
    Flag::new(BENCH, &["-hf", "-hfr", "--hf-repo"], Takes::One, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(BENCH, &["-hff", "--hf-file"], Takes::One, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(BENCH, &["-hft", "--hf-token"], Takes::One, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(BENCH, &["--offline"], Takes::Nothing, Answer::Nothing("nothing is ever downloaded")),
    Flag::new(BENCH, &["-p", "--n-prompt"], Takes::One, Answer::Is("--n-prompt")),
    Flag::new(BENCH, &["-n", "--n-gen"], Takes::One, Answer::Is("--n-gen")),
    Flag::new(BENCH, &["-pg"], Takes::One, Answer::Refused("prompts and generations are measured apart")),
    Flag::new(BENCH, &["-d", "--n-depth"], Takes::One, Answer::Values(&[("0", &[])])),
    Flag::new(BENCH, &["-b", "--batch-size"], Takes::One, Answer::Is("--batch-size")),
    Flag::new(BENCH, &["-ub", "--ubatch-size"], Takes::One, Answer::Is("--ubatch-size")),
    Flag::new(BENCH, &["-ctk", "--cache-type-k"], Takes::One, Answer::Is("--cache-type-k")),
    Flag::new(BENCH, &["-ctv", "--cache-type-v"], Takes::One, Answer::Is("--cache-type-v")),
    Flag::new(BENCH, &["-dev", "--device"], Takes::One, Answer::Is("--device")),
    Flag::new(BENCH, &["--list-devices"], Takes::Nothing, Answer::Is(LIST_DEVICES)),
    Flag::new(BENCH, &["-t", "--threads"], Takes::One, Answer::Is("--threads")),
    Flag::new(BENCH, &["-C", "--cpu-mask"], Takes::One, Answer::Values(&[("0x0", &[]), ("0", &[])])),
    Flag::new(BENCH, &["--cpu-strict"], Takes::One, Answer::Values(&[("0", &[])])),
    Flag::new(BENCH, &["--poll"], Takes::One, Answer::Nothing("the pool waits in its own way")),
    Flag::new(BENCH, &["-ngl", "--n-gpu-layers"], Takes::One, Answer::Is("--n-gpu-layers")),
    Flag::new(BENCH, &["-ncmoe", "--n-cpu-moe"], Takes::One, Answer::Values(&[("0", &[])])),
    Flag::new(BENCH, &["-rpc", "--rpc"], Takes::One, Answer::Refused("devices are those of this machine")),
    Flag::new(BENCH, &["-sm", "--split-mode"], Takes::One, Answer::Is("--split-mode")),
    Flag::new(BENCH, &["-lm", "--load-mode"], Takes::One, Answer::Is("--load-mode")),
    Flag::new(BENCH, &["-mg", "--main-gpu"], Takes::One, Answer::Is("--main-gpu")),
    Flag::new(BENCH, &["-nkvo", "--no-kv-offload"], Takes::One, Answer::Values(&[("0", &[])])),
    Flag::new(BENCH, &["--numa"], Takes::One, Answer::Refused("the system places threads and memory")),
    Flag::new(BENCH, &["-fa", "--flash-attn"], Takes::One, Answer::Values(&[("on", &[]), ("off", &[]), ("auto", &[]), ("enabled", &[]), ("disabled", &[]), ("true", &[]), ("false", &[]), ("1", &[]), ("0", &[]), ("-1", &[])])),
    Flag::new(BENCH, &["-mmp", "--mmap"], Takes::One, Answer::Values(&[("1", &["--load-mode=mmap"]), ("0", &["--load-mode=none"])])),
    Flag::new(BENCH, &["-dio", "--direct-io"], Takes::One, Answer::Values(&[("1", &["--load-mode=dio"]), ("0", &[])])),
    Flag::new(BENCH, &["-embd", "--embeddings"], Takes::One, Answer::Values(&[("0", &[])])),
    Flag::new(BENCH, &["-nopo", "--no-op-offload"], Takes::One, Answer::Nothing("an operation is computed where its weights are")),
    Flag::new(BENCH, &["--no-host"], Takes::One, Answer::Nothing("there are no host buffers to bypass")),
    Flag::new(BENCH, &["-ts", "--tensor-split"], Takes::One, Answer::Is("--tensor-split")),
    Flag::new(BENCH, &["-ot", "--override-tensor"], Takes::One, Answer::Is("--override-tensor")),
    Flag::new(BENCH, &["-r", "--repetitions"], Takes::One, Answer::Is("--repetitions")),
    Flag::new(BENCH, &["--prio"], Takes::One, Answer::Values(&[("0", &[])])),
    Flag::new(BENCH, &["--delay"], Takes::One, Answer::Values(&[("0", &[])])),
    Flag::new(BENCH, &["-o", "--output"], Takes::One, Answer::Is("--output")),
    Flag::new(BENCH, &["-oe", "--output-err"], Takes::One, Answer::Values(&[("none", &[])])),
    Flag::new(BENCH, &["-v", "--verbose"], Takes::Nothing, Answer::Is("--verbose")),
    Flag::new(BENCH, &["--progress"], Takes::Nothing, Answer::Nothing("nothing is shown on the way")),
    Flag::new(BENCH, &["--no-warmup"], Takes::Nothing, Answer::Refused("each test has a warm-up")),
    Flag::new(BENCH, &["-fitt", "--fit-target"], Takes::One, Answer::Refused("nothing is fitted to memory")),
    Flag::new(BENCH, &["-fitc", "--fit-ctx"], Takes::One, Answer::Refused("nothing is fitted to memory")),
];
