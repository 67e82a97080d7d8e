//! `quipu serve`: the model behind llama-server's and OpenAI's HTTP routes.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use quipu::{EngineOptions, Pooling};
use quipu_server::{Cors, Server, ServerOptions};
use tokio::net::{TcpListener, TcpSocket};

use crate::adapters::AdapterArgs;
use crate::chat_template::TemplateArgs;
use crate::context::ContextArgs;
use crate::fail::Failure;
use crate::generation::GenerationArgs;
use crate::input::read_text;
use crate::options::ModelArgs;
use crate::output::note;
use crate::sampling::SamplingArgs;

/// Slots when nobody says how many.
const DEFAULT_SLOTS: usize = 4;
/// A share of the context is a multiple of this.
const CELLS: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 512;

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // independent flags
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Address to listen on.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 = any free one.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// Let other processes listen on the port too.
    #[arg(long)]
    reuse_port: bool,
    /// Threads that answer requests; 0 or less = one for each core.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    threads_http: i64,
    /// Texts under way at once (-np), each with its share of the context; -1 = 4 that have it together.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true, value_parser = parallel)]
    parallel: i64,
    /// Texts under way have the context together (-kvu), also with --parallel.
    #[arg(long, overrides_with = "no_kv_unified")]
    kv_unified: bool,
    /// Each text under way has its share of the context, also without --parallel.
    #[arg(long, overrides_with = "kv_unified")]
    no_kv_unified: bool,
    /// Tokens and probabilities of a text do not depend on what else is under way, bit by bit. Texts are computed one after the other then, and
    /// nothing is kept for the next prompt.
    #[arg(long)]
    deterministic: bool,
    /// The model's names (-a); answers have the first of them by the alphabet.
    #[arg(short = 'a', long, value_name = "NAME,...", value_delimiter = ',')]
    alias: Vec<String>,
    /// What /v1/models says of it besides.
    #[arg(long, value_name = "TAG,...", value_delimiter = ',')]
    tags: Vec<String>,
    /// Keys of which requests need one, separated by commas.
    #[arg(long, value_name = "KEY,...", value_delimiter = ',')]
    api_key: Vec<String>,
    /// File with such keys, one per line; # begins a comment.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Stands before every route.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    api_prefix: String,
    /// Give Prometheus text at /metrics.
    #[arg(long)]
    metrics: bool,
    /// Do not say at /slots what is under way.
    #[arg(long)]
    no_slots: bool,
    /// Accept POST /props.
    #[arg(long)]
    props: bool,
    /// Folder where slots are saved to and restored from.
    #[arg(long, value_name = "DIR")]
    slot_save_path: Option<PathBuf>,
    /// Embeddings instead of texts.
    #[arg(long)]
    embeddings: bool,
    /// Scores of documents instead of texts.
    #[arg(long)]
    reranking: bool,
    /// How the rows of a text become one embedding: none, mean, cls, last or rank [default: as the model's file says].
    #[arg(long, value_name = "POOLING", value_parser = pooling)]
    pooling: Option<Pooling>,
    /// How embeddings are scaled where a request does not say: -1 = not, 0 = largest value 32760, 1 = sum of sizes, 2 = length, else p-norm.
    #[arg(long, value_name = "N", default_value_t = 2, allow_negative_numbers = true)]
    embd_normalize: i32,
    /// Pages that may read answers: * = all, localhost = those of this machine, or one origin.
    #[arg(long, value_name = "ORIGIN", default_value = "*")]
    cors_origins: String,
    /// Methods that pages may use.
    #[arg(long, value_name = "METHODS", default_value = "GET, POST, DELETE, OPTIONS")]
    cors_methods: String,
    /// Headers that pages may send.
    #[arg(long, value_name = "HEADERS", default_value = "*")]
    cors_headers: String,
    /// Pages may not send credentials.
    #[arg(long)]
    no_cors_credentials: bool,
    /// Seconds of silence after which a stream is told that the server lives; 0 or less = never.
    #[arg(long, value_name = "N", default_value_t = 30, allow_negative_numbers = true)]
    sse_ping_interval: i64,
    /// Seconds that a reader may take nothing before its text is given up (-to).
    #[arg(long, value_name = "N", default_value_t = 30)]
    timeout: u64,
    /// Compute every prompt from its beginning, unless a request says otherwise.
    #[arg(long)]
    no_cache_prompt: bool,
    /// A last message of the assistant is one that has ended, and not one to go on with.
    #[arg(long)]
    no_prefill_assistant: bool,
    /// In /infill the text after the gap comes first.
    #[arg(long)]
    spm_infill: bool,
    /// Most tokens of a text; -1 = until it ends (-n).
    #[arg(short = 'n', long = "n-predict", value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    n_predict: i64,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    adapters: AdapterArgs,
    /// Adapters of --lora work only where a request or POST /lora-adapters says so.
    #[arg(long)]
    lora_init_without_apply: bool,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    context: ContextArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.generation.events.is_some() {
        let why = "--events is not supported: a server does not write down what it is asked";
        return Err(Failure::Input(why.to_owned()));
    }
    let address = (args.host.as_str(), args.port).to_socket_addrs();
    let address = address.map_err(|error| Failure::Io { what: format!("--host {}", args.host), error })?;
    let addresses: Vec<_> = address.collect();
    if let Some(path) = &args.slot_save_path
        && !path.is_dir()
    {
        return Err(Failure::Input(format!("--slot-save-path {}: expected a folder", path.display())));
    }
    let api_keys = api_keys(args)?;
    let recorder = args.generation.recorder(&args.model.inputs())?;
    let model = args.model.open()?;
    let options = options(args, &model, api_keys)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(n) = usize::try_from(args.threads_http).ok().filter(|n| *n > 0) {
        runtime.worker_threads(n);
    }
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Io { what: "starting threads".to_owned(), error })?;
    let done = runtime.block_on(serve(&model, options, &addresses, args.reuse_port));
    // Nothing that is still under way is waited for.
    runtime.shutdown_background();
    done?;
    args.generation.report(recorder.as_ref())
}

/// The keys of both flags.
fn api_keys(args: &Args) -> Result<Vec<String>, Failure> {
    let mut keys: Vec<String> = args.api_key.iter().filter(|key| !key.is_empty()).cloned().collect();
    if let Some(path) = &args.api_key_file {
        let text = read_text(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        keys.extend(lines.map(str::to_owned));
        // A file was given so that keys are needed.
        if keys.is_empty() {
            return Err(Failure::Input(format!("{}: no key, expected at least one", path.display())));
        }
    }
    Ok(keys)
}

fn options(args: &Args, model: &quipu::Model, api_keys: Vec<String>) -> Result<ServerOptions, Failure> {
    let stop = &args.generation.stop;
    let mut defaults = args.sampling.options(args.model.model.as_deref(), args.n_predict, stop)?;
    args.generation.apply(&mut defaults);
    defaults.cache_prompt = !args.no_cache_prompt;
    let chat_template =
        args.template.source()?.map(|source| model.chat_template_from(&source)).transpose()?;
    let mut engine = engine(args, model);
    if args.reranking {
        engine.context.pooling = Some(Pooling::Rank);
    }
    let mut loras = args.adapters.load(model)?;
    if args.lora_init_without_apply {
        for lora in &mut loras {
            lora.scale = 0.0;
        }
    }
    Ok(ServerOptions {
        aliases: args.alias.clone(),
        tags: args.tags.clone(),
        engine,
        defaults,
        embeddings: args.embeddings || args.reranking,
        embd_normalize: args.embd_normalize,
        reranking: args.reranking,
        chat_template,
        chat_template_kwargs: args.template.kwargs()?,
        prefill_assistant: !args.no_prefill_assistant,
        spm_infill: args.spm_infill,
        loras,
        steering: args.adapters.steering(model)?,
        api_keys,
        api_prefix: args.api_prefix.clone(),
        metrics: args.metrics,
        slots: !args.no_slots,
        slot_save_path: args.slot_save_path.clone(),
        props: args.props,
        cors: Cors {
            origins: args.cors_origins.clone(),
            methods: args.cors_methods.clone(),
            headers: args.cors_headers.clone(),
            credentials: !args.no_cors_credentials,
        },
        sse_ping_interval: u64::try_from(args.sse_ping_interval)
            .ok()
            .filter(|n| *n > 0)
            .map(Duration::from_secs),
        slow_client_timeout: Duration::from_secs(args.timeout),
        ..ServerOptions::default()
    })
}

/// Slots and their context: shared unless a number of slots was asked for, as in llama-server.
fn engine(args: &Args, model: &quipu::Model) -> EngineOptions {
    let mut context = args.context.options();
    context.pooling = args.pooling;
    let n_seq_max = usize::try_from(args.parallel).unwrap_or(DEFAULT_SLOTS);
    let is_unified = args.kv_unified || (args.parallel < 0 && !args.no_kv_unified);
    let mut n_ctx_seq = 0;
    if !is_unified && !args.embeddings && !args.reranking {
        let n_ctx = if context.n_ctx == 0 {
            model.hparams().n_ctx_train.min(quipu::DEFAULT_N_CTX)
        } else {
            context.n_ctx
        };
        // As the reference rounds each share.
        n_ctx_seq = n_ctx.div_ceil(n_seq_max).next_multiple_of(CELLS);
        context.n_ctx = n_ctx_seq.saturating_mul(n_seq_max);
    }
    EngineOptions { n_seq_max, n_ctx_seq, deterministic: args.deterministic, context }
}

async fn serve(
    model: &quipu::Model,
    options: ServerOptions,
    addresses: &[SocketAddr],
    reuse_port: bool,
) -> Result<(), Failure> {
    let server = Server::new(model, options).map_err(failed)?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let listener = listen(addresses, reuse_port).await;
    let listener = listener.map_err(|error| Failure::Io { what: listening(addresses), error })?;
    let address = listener.local_addr().map_err(|error| Failure::Io { what: listening(addresses), error })?;
    note(format_args!("listening on http://{address}"));
    let mut served = std::pin::pin!(server.run(listener, async { drop(ended.await) }));
    tokio::select! {
        done = &mut served => return done.map_err(failed),
        () = told_to_end() => {}
    }
    note("ending; what is under way has five seconds");
    drop(end);
    tokio::select! {
        done = served => done.map_err(failed),
        () = told_to_end() => Ok(()),
    }
}

/// Listens on the first of these addresses that lets it.
async fn listen(addresses: &[SocketAddr], reuse_port: bool) -> std::io::Result<TcpListener> {
    if !reuse_port {
        return TcpListener::bind(addresses).await;
    }
    let mut failed = None;
    for address in addresses {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        #[cfg(unix)]
        socket.set_reuseport(true)?;
        match socket.bind(*address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()))
}

fn listening(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("listening on {}", addresses.join(", "))
}

fn failed(error: quipu_server::Error) -> Failure {
    match error {
        quipu_server::Error::Quipu(error) => error.into(),
        error => Failure::Input(error.to_string()),
    }
}

/// Ends when the program is interrupted or terminated.
async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn pooling(name: &str) -> Result<Pooling, String> {
    match name {
        "none" => Ok(Pooling::None),
        "mean" => Ok(Pooling::Mean),
        "cls" => Ok(Pooling::Cls),
        "last" => Ok(Pooling::Last),
        "rank" => Ok(Pooling::Rank),
        _ => Err("expected none, mean, cls, last or rank".to_owned()),
    }
}

/// A number of slots; every negative one means that nobody says.
fn parallel(text: &str) -> Result<i64, String> {
    match text.trim().parse() {
        Ok(n) if n != 0 && n <= quipu::MAX_SEQ as i64 => Ok(n),
        _ => Err(format!("expected -1, or 1 to {}", quipu::MAX_SEQ)),
    }
}
