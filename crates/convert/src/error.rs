//! Why a model directory could not be converted: what was found, in which file, and what was expected.

use std::path::PathBuf;

/// Everything that [`convert`](super::convert) can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are what the messages say
pub enum ConvertError {
    // Files.
    #[error("{} is not a directory, expected one with config.json and model*.safetensors", path.display())]
    NotADirectory { path: PathBuf },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not UTF-8 text: byte {at} is not", path.display())]
    NotText { path: PathBuf, at: usize },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} is not valid JSON: {message}", path.display())]
    Json { path: PathBuf, message: String },
    #[error("front matter of {} is not valid YAML: {message}", path.display())]
    Yaml { path: PathBuf, message: String },
    #[error("{}: {key} is {found}, expected {expected}", path.display())]
    Field { path: PathBuf, key: String, found: String, expected: &'static str },

    // What the model is.
    #[error("architecture {found} cannot be converted, expected one of: {expected}")]
    Architecture { found: String, expected: String },
    #[error("{what} cannot be converted")]
    Unsupported { what: String },

    // Weights.
    #[error("{} has no model*.safetensors", path.display())]
    NoWeights { path: PathBuf },
    #[error("{} is not a valid safetensors file: {message}", path.display())]
    Safetensors { path: PathBuf, message: String },
    #[error("{} names the shard {found:?}, expected the name of a file beside it", path.display())]
    ShardName { path: PathBuf, found: String },
    #[error("tensor {name} is in two shards: {first} and {second}, expected once")]
    DuplicateTensor { name: String, first: String, second: String },
    #[error("{} lists tensor {name}, which is not in {shard}", path.display())]
    MissingTensor { path: PathBuf, name: String, shard: String },
    #[error("tensor {name} in {shard} is not listed in {}", path.display())]
    UnlistedTensor { path: PathBuf, name: String, shard: String },
    #[error(
        "tensor {name} is of type {found}, expected F32, F16, BF16, F64, F8_E4M3, F8_E5M2 or an integer type"
    )]
    TensorType { name: String, found: String },
    #[error("tensor {name} has no place in a {arch} model")]
    UnknownTensor { name: String, arch: &'static str },
    #[error("tensor {name} has {found} rows, expected a multiple of {expected} (two halves of each head)")]
    HeadRows { name: String, found: usize, expected: usize },
    #[error("layer {layer} has expert tensors of different shapes: {first:?} and {second:?}")]
    ExpertShape { layer: usize, first: Vec<usize>, second: Vec<usize> },
    #[error("layer {layer} has {found} expert tensors, expected {expected}")]
    ExpertCount { layer: usize, found: usize, expected: usize },

    #[error("tensor {name} has shape {found:?}, expected {expected}")]
    TensorShape { name: String, found: Vec<usize>, expected: String },
    #[error("tensor {name} is there, but {part} is not, expected both")]
    MissingPart { name: String, part: String },
    #[error("tensor {name} has shape {found:?}, expected scales of a weight of shape {weight:?}")]
    ScaleShape { name: String, found: Vec<usize>, weight: Vec<usize> },

    // Adapters.
    #[error("{} has no adapter_model.safetensors", path.display())]
    NoAdapter { path: PathBuf },
    #[error("tensor {name} belongs to no adapter, expected lora_A, lora_B or a norm")]
    NotLora { name: String },
    #[error("tensor {name} of an adapter cannot be converted for a {arch} model")]
    LoraTensor { name: String, arch: &'static str },

    // Vocabulary.
    #[error("{} has no tokenizer.model and no tokenizer.json", path.display())]
    NoTokenizer { path: PathBuf },
    #[error("{} is not a SentencePiece model: {message}", path.display())]
    SentencePiece { path: PathBuf, message: String },
    #[error("{} is not a usable tokenizer: {message}", path.display())]
    Tokenizer { path: PathBuf, message: String },
    #[error("the tokenizer has id {id} ({text:?}), but the vocabulary has {n_vocab} tokens")]
    TokenOutOfRange { id: u64, text: String, n_vocab: usize },
    #[error(
        "the pre-tokenizer with hash {hash} is unknown; name it with --pre if you know which one it is \
         (llama-bpe, qwen2, ...)"
    )]
    UnknownPreTokenizer { hash: String },

    /// The converted model is not writable as GGUF.
    #[error(transparent)]
    Gguf(#[from] quipu_gguf::Error),
}

/// The module's results.
pub(super) type Result<T> = std::result::Result<T, ConvertError>;
