//! llama-server's flags that no other program has, and those that mean something else there.

use super::common::{NO_DOWNLOADS, NO_DRAFTS, NO_IMAGES};
use super::table::{Answer, Flag, Takes, Tool};

const SERVE: &[Tool] = &[Tool::Serve];

/// Why flags of the prompt cache change nothing: they trade memory for time.
const NO_CHECKPOINTS: &str = "what slots hold is kept for the next prompt, and nothing besides";
/// Why flags about a page are refused.
const NO_PAGE: &str = "there is no page";
/// Why flags about tools on the server's side are refused.
const NO_TOOLS: &str = "the server runs no tools";
/// Why flags about several models are refused.
const ONE_MODEL: &str = "a server has one model";
/// Why flags about encrypted connections are refused.
const NO_TLS: &str = "connections are not encrypted here: a proxy in front does that";
/// Why flags about reasoning are refused.
const NO_REASONING: &str = "answers are given as they are; --chat-template-kwargs may switch reasoning off";

/// In the reference's order.
#[rustfmt::skip] // one row a line
pub(super) const FLAGS: &[Flag] = &[
    Flag::new(SERVE, &["-lcs", "--lookup-cache-static"], Takes::One, Answer::Refused(NO_DRAFTS)),
    Flag::new(SERVE, &["-lcd", "--lookup-cache-dynamic"], Takes::One, Answer::Refused(NO_DRAFTS)),
    Flag::new(SERVE, &["-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"], Takes::One, Answer::Nothing(NO_CHECKPOINTS)).env("LLAMA_ARG_CTX_CHECKPOINTS"),
    Flag::new(SERVE, &["-cms", "--checkpoint-min-step"], Takes::One, Answer::Nothing(NO_CHECKPOINTS)).env("LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT"),
    Flag::new(SERVE, &["-cram", "--cache-ram"], Takes::One, Answer::Nothing(NO_CHECKPOINTS)).env("LLAMA_ARG_CACHE_RAM"),
    Flag::new(SERVE, &["-kvu", "--kv-unified"], Takes::On, Answer::Is("--kv-unified")).env("LLAMA_ARG_KV_UNIFIED"),
    Flag::new(SERVE, &["-no-kvu", "--no-kv-unified"], Takes::Off, Answer::Is("--no-kv-unified")).env("LLAMA_ARG_KV_UNIFIED"),
    Flag::new(SERVE, &["--cache-idle-slots"], Takes::On, Answer::Nothing(NO_CHECKPOINTS)).env("LLAMA_ARG_CACHE_IDLE_SLOTS"),
    Flag::new(SERVE, &["--no-cache-idle-slots"], Takes::Off, Answer::Nothing(NO_CHECKPOINTS)).env("LLAMA_ARG_CACHE_IDLE_SLOTS"),
    Flag::new(SERVE, &["--spm-infill"], Takes::Nothing, Answer::Is("--spm-infill")),
    Flag::new(SERVE, &["--pooling"], Takes::One, Answer::Is("--pooling")).env("LLAMA_ARG_POOLING"),
    Flag::new(SERVE, &["-np", "--parallel"], Takes::One, Answer::Is("--parallel")).env("LLAMA_ARG_N_PARALLEL"),
    Flag::new(SERVE, &["-cb", "--cont-batching"], Takes::On, Answer::Nothing("texts are always computed together")).env("LLAMA_ARG_CONT_BATCHING"),
    Flag::new(SERVE, &["-nocb", "--no-cont-batching"], Takes::Off, Answer::Refused("texts are always computed together")).env("LLAMA_ARG_CONT_BATCHING"),
    Flag::new(SERVE, &["--mtmd-batch-max-tokens"], Takes::One, Answer::Refused(NO_IMAGES)).env("LLAMA_ARG_MTMD_BATCH_MAX_TOKENS"),
    Flag::new(SERVE, &["-a", "--alias"], Takes::One, Answer::Is("--alias")).env("LLAMA_ARG_ALIAS"),
    Flag::new(SERVE, &["--tags"], Takes::One, Answer::Is("--tags")).env("LLAMA_ARG_TAGS"),
    Flag::new(SERVE, &["--embd-normalize"], Takes::One, Answer::Is("--embd-normalize")),
    Flag::new(SERVE, &["--host"], Takes::One, Answer::Is("--host")).env("LLAMA_ARG_HOST"),
    Flag::new(SERVE, &["--port"], Takes::One, Answer::Is("--port")).env("LLAMA_ARG_PORT"),
    Flag::new(SERVE, &["--reuse-port"], Takes::Nothing, Answer::Is("--reuse-port")).env("LLAMA_ARG_REUSE_PORT"),
    Flag::new(SERVE, &["--path"], Takes::One, Answer::Refused(NO_PAGE)).env("LLAMA_ARG_STATIC_PATH"),
    Flag::new(SERVE, &["--cors-origins"], Takes::One, Answer::Is("--cors-origins")).env("LLAMA_ARG_CORS_ORIGINS"),
    Flag::new(SERVE, &["--cors-methods"], Takes::One, Answer::Is("--cors-methods")).env("LLAMA_ARG_CORS_METHODS"),
    Flag::new(SERVE, &["--cors-headers"], Takes::One, Answer::Is("--cors-headers")).env("LLAMA_ARG_CORS_HEADERS"),
    Flag::new(SERVE, &["--cors-credentials"], Takes::On, Answer::Unset("--no-cors-credentials")).env("LLAMA_ARG_CORS_CREDENTIALS"),
    Flag::new(SERVE, &["--no-cors-credentials"], Takes::Off, Answer::Is("--no-cors-credentials")).env("LLAMA_ARG_CORS_CREDENTIALS"),
    Flag::new(SERVE, &["--api-prefix"], Takes::One, Answer::Is("--api-prefix")).env("LLAMA_ARG_API_PREFIX"),
    Flag::new(SERVE, &["--ui-config", "--webui-config"], Takes::One, Answer::Refused(NO_PAGE)).env("LLAMA_ARG_UI_CONFIG"),
    Flag::new(SERVE, &["--ui-config-file", "--webui-config-file"], Takes::One, Answer::Refused(NO_PAGE)).env("LLAMA_ARG_UI_CONFIG_FILE"),
    Flag::new(SERVE, &["--ui-mcp-proxy", "--webui-mcp-proxy"], Takes::On, Answer::Refused(NO_PAGE)).env("LLAMA_ARG_UI_MCP_PROXY"),
    Flag::new(SERVE, &["--no-ui-mcp-proxy", "--no-webui-mcp-proxy"], Takes::Off, Answer::Nothing(NO_PAGE)).env("LLAMA_ARG_UI_MCP_PROXY"),
    Flag::new(SERVE, &["--tools"], Takes::One, Answer::Refused(NO_TOOLS)).env("LLAMA_ARG_TOOLS"),
    Flag::new(SERVE, &["--mcp-servers-config"], Takes::One, Answer::Refused(NO_TOOLS)).env("LLAMA_ARG_MCP_SERVERS_CONFIG"),
    Flag::new(SERVE, &["--mcp-servers-json"], Takes::One, Answer::Refused(NO_TOOLS)).env("LLAMA_ARG_MCP_SERVERS_JSON"),
    Flag::new(SERVE, &["-ag", "--agent"], Takes::On, Answer::Refused(NO_TOOLS)).env("LLAMA_ARG_AGENT"),
    Flag::new(SERVE, &["-no-ag", "--no-agent"], Takes::Off, Answer::Nothing(NO_TOOLS)).env("LLAMA_ARG_AGENT"),
    Flag::new(SERVE, &["--ui", "--webui"], Takes::On, Answer::Refused(NO_PAGE)).env("LLAMA_ARG_UI"),
    Flag::new(SERVE, &["--no-ui", "--no-webui"], Takes::Off, Answer::Nothing(NO_PAGE)).env("LLAMA_ARG_UI"),
    Flag::new(SERVE, &["--embedding", "--embeddings"], Takes::Nothing, Answer::Is("--embeddings")).env("LLAMA_ARG_EMBEDDINGS"),
    Flag::new(SERVE, &["--rerank", "--reranking"], Takes::Nothing, Answer::Is("--reranking")).env("LLAMA_ARG_RERANKING"),
    Flag::new(SERVE, &["--api-key"], Takes::One, Answer::Is("--api-key")).env("LLAMA_API_KEY"),
    Flag::new(SERVE, &["--api-key-file"], Takes::One, Answer::Is("--api-key-file")).env("LLAMA_ARG_API_KEY_FILE"),
    Flag::new(SERVE, &["--ssl-key-file"], Takes::One, Answer::Refused(NO_TLS)).env("LLAMA_ARG_SSL_KEY_FILE"),
    Flag::new(SERVE, &["--ssl-cert-file"], Takes::One, Answer::Refused(NO_TLS)).env("LLAMA_ARG_SSL_CERT_FILE"),
    Flag::new(SERVE, &["-to", "--timeout"], Takes::One, Answer::Is("--timeout")).env("LLAMA_ARG_TIMEOUT"),
    Flag::new(SERVE, &["--sse-ping-interval"], Takes::One, Answer::Is("--sse-ping-interval")).env("LLAMA_ARG_SSE_PING_INTERVAL"),
    Flag::new(SERVE, &["--threads-http"], Takes::One, Answer::Is("--threads-http")).env("LLAMA_ARG_THREADS_HTTP"),
    Flag::new(SERVE, &["--cache-prompt"], Takes::On, Answer::Unset("--no-cache-prompt")).env("LLAMA_ARG_CACHE_PROMPT"),
    Flag::new(SERVE, &["--no-cache-prompt"], Takes::Off, Answer::Is("--no-cache-prompt")).env("LLAMA_ARG_CACHE_PROMPT"),
    Flag::new(SERVE, &["--cache-reuse"], Takes::One, Answer::Values(&[("0", &[])])).env("LLAMA_ARG_CACHE_REUSE"),
    Flag::new(SERVE, &["--metrics"], Takes::Nothing, Answer::Is("--metrics")).env("LLAMA_ARG_ENDPOINT_METRICS"),
    Flag::new(SERVE, &["--props"], Takes::Nothing, Answer::Is("--props")).env("LLAMA_ARG_ENDPOINT_PROPS"),
    Flag::new(SERVE, &["--slots"], Takes::On, Answer::Unset("--no-slots")).env("LLAMA_ARG_ENDPOINT_SLOTS"),
    Flag::new(SERVE, &["--no-slots"], Takes::Off, Answer::Is("--no-slots")).env("LLAMA_ARG_ENDPOINT_SLOTS"),
    Flag::new(SERVE, &["--slot-save-path"], Takes::One, Answer::Is("--slot-save-path")),
    Flag::new(SERVE, &["--media-path"], Takes::One, Answer::Refused(NO_IMAGES)),
    Flag::new(SERVE, &["--models-dir"], Takes::One, Answer::Refused(ONE_MODEL)).env("LLAMA_ARG_MODELS_DIR"),
    Flag::new(SERVE, &["--models-preset"], Takes::One, Answer::Refused(ONE_MODEL)).env("LLAMA_ARG_MODELS_PRESET"),
    Flag::new(SERVE, &["--models-max"], Takes::One, Answer::Refused(ONE_MODEL)).env("LLAMA_ARG_MODELS_MAX"),
    Flag::new(SERVE, &["--models-autoload"], Takes::On, Answer::Nothing(ONE_MODEL)).env("LLAMA_ARG_MODELS_AUTOLOAD"),
    Flag::new(SERVE, &["--no-models-autoload"], Takes::Off, Answer::Nothing(ONE_MODEL)).env("LLAMA_ARG_MODELS_AUTOLOAD"),
    Flag::new(SERVE, &["--no-jinja"], Takes::Off, Answer::Nothing("templates are Jinja all the same")).env("LLAMA_ARG_JINJA"),
    Flag::new(SERVE, &["--reasoning-format"], Takes::One, Answer::Values(&[("none", &[])])).env("LLAMA_ARG_THINK"),
    Flag::new(SERVE, &["-rea", "--reasoning"], Takes::One, Answer::Values(&[("auto", &[])])).env("LLAMA_ARG_REASONING"),
    Flag::new(SERVE, &["--reasoning-budget"], Takes::One, Answer::Values(&[("-1", &[])])).env("LLAMA_ARG_THINK_BUDGET"),
    Flag::new(SERVE, &["--reasoning-budget-message"], Takes::One, Answer::Refused(NO_REASONING)).env("LLAMA_ARG_THINK_BUDGET_MESSAGE"),
    Flag::new(SERVE, &["--prefill-assistant"], Takes::On, Answer::Unset("--no-prefill-assistant")).env("LLAMA_ARG_PREFILL_ASSISTANT"),
    Flag::new(SERVE, &["--no-prefill-assistant"], Takes::Off, Answer::Is("--no-prefill-assistant")).env("LLAMA_ARG_PREFILL_ASSISTANT"),
    Flag::new(SERVE, &["-sps", "--slot-prompt-similarity"], Takes::One, Answer::Values(&[("0.1", &[]), ("0.10", &[])])),
    Flag::new(SERVE, &["--lora-init-without-apply"], Takes::Nothing, Answer::Is("--lora-init-without-apply")),
    Flag::new(SERVE, &["--sleep-idle-seconds"], Takes::One, Answer::Values(&[("-1", &[])])),
    Flag::new(SERVE, &["--spec-ngram-size-n"], Takes::One, Answer::Refused(NO_DRAFTS)),
    Flag::new(SERVE, &["--spec-ngram-size-m"], Takes::One, Answer::Refused(NO_DRAFTS)),
    Flag::new(SERVE, &["--spec-ngram-min-hits"], Takes::One, Answer::Refused(NO_DRAFTS)),
    Flag::new(SERVE, &["--fim-qwen-1.5b-default"], Takes::Nothing, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(SERVE, &["--fim-qwen-3b-default"], Takes::Nothing, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(SERVE, &["--fim-qwen-7b-default"], Takes::Nothing, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(SERVE, &["--fim-qwen-7b-spec"], Takes::Nothing, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(SERVE, &["--fim-qwen-14b-spec"], Takes::Nothing, Answer::Refused(NO_DOWNLOADS)),
    Flag::new(SERVE, &["--fim-qwen-30b-default"], Takes::Nothing, Answer::Refused(NO_DOWNLOADS)),
];
