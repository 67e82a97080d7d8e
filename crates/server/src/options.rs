//! How a server is made.

use std::time::Duration;

use quipu::{ChatTemplate, EngineOptions, GenerateOptions};
use serde_json::{Map, Value};

/// What a server does beside its model. The defaults are llama-server's.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, each one a flag of the reference")]
pub struct ServerOptions {
    /// The model's name in answers (`--alias`); `None`: its file's name.
    pub alias: Option<String>,
    /// Slots and their context. Rows are kept for embeddings if `embeddings` says so.
    pub engine: EngineOptions,
    /// What a request that says nothing else asks for.
    pub defaults: GenerateOptions,
    /// Only embeddings, no texts (`--embeddings`).
    pub embeddings: bool,
    /// A template instead of the model's (`--chat-template`).
    pub chat_template: Option<ChatTemplate>,
    /// Variables for the template; a request's own win (`--chat-template-kwargs`).
    pub chat_template_kwargs: Map<String, Value>,
    /// Keys of which one is wanted; none: everybody may (`--api-key`).
    pub api_keys: Vec<String>,
    /// Stands before every route (`--api-prefix`).
    pub api_prefix: String,
    /// Whether there is `GET /metrics` (`--metrics`).
    pub metrics: bool,
    /// Whether there is `GET /slots` (`--slots`).
    pub slots: bool,
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
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            alias: None,
            engine: EngineOptions::default(),
            defaults: GenerateOptions::default(),
            embeddings: false,
            chat_template: None,
            chat_template_kwargs: Map::new(),
            api_keys: Vec::new(),
            api_prefix: String::new(),
            metrics: false,
            slots: true,
            props: false,
            cors: Cors::default(),
            sse_ping_interval: Some(Duration::from_secs(30)),
            max_queued: 1024,
            max_texts: 128,
            max_body: 100 << 20,
            slow_client_timeout: Duration::from_secs(30),
        }
    }
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
