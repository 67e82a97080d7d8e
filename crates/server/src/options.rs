//! How a server is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quipu::{ChatTemplate, EngineOptions, GenerateOptions, LoraAdapter, Steering};
use serde_json::{Map, Value};

/// What a server does beside its model. The defaults are llama-server's.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, each one a flag of the reference")]
pub struct ServerOptions {
    /// The model's names (`--alias`), of which answers have the first by the alphabet; none: its file's name.
    pub aliases: Vec<String>,
    /// What `/v1/models` says of it besides (`--tags`).
    pub tags: Vec<String>,
    /// Slots and their context. Rows are kept for embeddings if `embeddings` says so.
    pub engine: EngineOptions,
    /// What a request that says nothing else asks for.
    pub defaults: GenerateOptions,
    /// Only embeddings, no texts (`--embeddings`).
    pub embeddings: bool,
    /// How embeddings are scaled where a request does not say ([`quipu::normalize_row`], `--embd-normalize`).
    pub embd_normalize: i32,
    /// Only scores of documents, no texts (`--reranking`); `embeddings` is set then, and rows are pooled by rank.
    pub reranking: bool,
    /// A template instead of the model's (`--chat-template`).
    pub chat_template: Option<ChatTemplate>,
    /// Variables for the template; a request's own win (`--chat-template-kwargs`).
    pub chat_template_kwargs: Map<String, Value>,
    /// A last message of the assistant has begun and is gone on with (`--prefill-assistant`).
    pub prefill_assistant: bool,
    /// In `/infill` the text after the gap comes first (`--spm-infill`).
    pub spm_infill: bool,
    /// Adapters, with the strengths they have until somebody says otherwise (`--lora`).
    pub loras: Vec<Lora>,
    /// What is added to the rows between layers (`--control-vector`).
    pub steering: Option<Arc<Steering>>,
    /// Keys of which one is wanted; none: everybody may (`--api-key`).
    pub api_keys: Vec<String>,
    /// Stands before every route (`--api-prefix`).
    pub api_prefix: String,
    /// Whether there is `GET /metrics` (`--metrics`).
    pub metrics: bool,
    /// Whether there is `GET /slots` (`--slots`).
    pub slots: bool,
    /// Folder where slots are saved to and restored from (`--slot-save-path`); `None`: nowhere.
    pub slot_save_path: Option<PathBuf>,
    /// Whether `POST /props` is there (`--props`).
    pub props: bool,
    /// Who may read answers in a browser.
    pub cors: Cors,
    /// Silence after which a stream is told that the server lives; `None`: never (`--sse-ping-interval`).
    pub sse_ping_interval: Option<Duration>,
    /// Most texts that wait for a slot; further ones are answered 503.
    pub max_queued: usize,
    /// Most texts of one request.
    pub max_texts: usize,
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// How long a reader may take nothing before its text is cancelled.
    pub slow_client_timeout: Duration,
    /// How long texts under way may take after the server was told to end; then their readers are told so.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            aliases: Vec::new(),
            tags: Vec::new(),
            engine: EngineOptions::default(),
            defaults: GenerateOptions::default(),
            embeddings: false,
            embd_normalize: 2,
            reranking: false,
            chat_template: None,
            chat_template_kwargs: Map::new(),
            prefill_assistant: true,
            spm_infill: false,
            loras: Vec::new(),
            steering: None,
            api_keys: Vec::new(),
            api_prefix: String::new(),
            metrics: false,
            slots: true,
            slot_save_path: None,
            props: false,
            cors: Cors::default(),
            sse_ping_interval: Some(Duration::from_secs(30)),
            max_queued: 1024,
            max_texts: 128,
            max_body: 100 << 20,
            slow_client_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// A LoRA adapter that a server has.
#[derive(Clone, Debug)]
pub struct Lora {
    /// Its file, as it is called in answers.
    pub path: String,
    /// The adapter, loaded for the server's model.
    pub adapter: Arc<LoraAdapter>,
    /// How strongly it works; 0: not at all.
    pub scale: f32,
}

/// What browsers are told (`--cors-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may; `*`: all, `localhost`: pages of this machine.
    pub origins: String,
    /// Methods that may.
    pub methods: String,
    /// Headers that may.
    pub headers: String,
    /// Whether requests may carry credentials.
    pub credentials: bool,
}

impl Default for Cors {
    fn default() -> Cors {
        Cors {
            origins: "*".to_owned(),
            methods: "GET, POST, DELETE, OPTIONS".to_owned(),
            headers: "*".to_owned(),
            credentials: true,
        }
    }
}
