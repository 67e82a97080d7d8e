//! `quipu serve`: the model behind llama-server's and OpenAI's HTTP routes.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use quipu::{EngineOptions, Pooling};
use quipu_server::{Cors, Server, ServerOptions};

use crate::chat_template::TemplateArgs;
use crate::context::ContextArgs;
use crate::fail::Failure;
use crate::generation::GenerationArgs;
use crate::input::read_text;
use crate::options::ModelArgs;
use crate::output::note;
use crate::sampling::SamplingArgs;

/// How long texts under way may take after the server was told to end.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // independent flags
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Address to listen on.
    #[arg(
        long,
        value_name = "HOST",
        default_value = "127.0.0.1",
        env = "LLAMA_ARG_HOST",
        hide_env_values = true
    )]
    host: String,
    /// Port to listen on; 0 = any free one.
    #[arg(long, value_name = "N", default_value_t = 8080, env = "LLAMA_ARG_PORT", hide_env_values = true)]
    port: u16,
    /// Texts under way at once (-np); they share the context.
    #[arg(long, value_name = "N", default_value_t = 4, env = "LLAMA_ARG_N_PARALLEL", hide_env_values = true)]
    parallel: usize,
    /// The model's name in answers (-a).
    #[arg(short = 'a', long, value_name = "NAME", env = "LLAMA_ARG_ALIAS", hide_env_values = true)]
    alias: Option<String>,
    /// Keys of which requests need one, separated by commas.
    #[arg(
        long,
        value_name = "KEY,...",
        value_delimiter = ',',
        env = "LLAMA_API_KEY",
        hide_env_values = true
    )]
    api_key: Vec<String>,
    /// File with such keys, one per line; # begins a comment.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Stands before every route.
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        env = "LLAMA_ARG_API_PREFIX",
        hide_env_values = true
    )]
    api_prefix: String,
    /// Give Prometheus text at /metrics.
    #[arg(long, env = "LLAMA_ARG_ENDPOINT_METRICS", hide_env_values = true)]
    metrics: bool,
    /// Do not say at /slots what is under way.
    #[arg(long)]
    no_slots: bool,
    /// Accept POST /props.
    #[arg(long)]
    props: bool,
    /// Embeddings instead of texts.
    #[arg(long, visible_alias = "embedding")]
    embeddings: bool,
    /// How the rows of a text become one embedding: none, mean, cls or last [default: as the model's file says].
    #[arg(long, value_name = "POOLING", value_parser = pooling)]
    pooling: Option<Pooling>,
    /// Pages that may read answers: * = all, localhost = those of this machine, or one origin.
    #[arg(long, value_name = "ORIGIN", default_value = "*")]
    cors_origins: String,
    /// Seconds of silence after which a stream is told that the server lives; 0 or less = never.
    #[arg(long, value_name = "N", default_value_t = 30, allow_negative_numbers = true)]
    sse_ping_interval: i64,
    /// Most tokens of a text; -1 = until it ends (-n).
    #[arg(short = 'n', long = "n-predict", value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    n_predict: i64,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    context: ContextArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut api_keys = args.api_key.clone();
    if let Some(path) = &args.api_key_file {
        let text = read_text(path)?;
        let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        api_keys.extend(keys.map(str::to_owned));
    }
    let address = (args.host.as_str(), args.port).to_socket_addrs();
    let address = address.map_err(|error| Failure::Io { what: format!("--host {}", args.host), error })?;
    let addresses: Vec<_> = address.collect();
    let model = args.model.open()?;
    let mut defaults = args.sampling.options(args.model.model.as_deref(), args.n_predict, &[])?;
    args.generation.apply(&mut defaults);
    let mut context = args.context.options();
    context.pooling = args.pooling;
    let chat_template =
        args.template.source()?.map(|source| model.chat_template_from(&source)).transpose()?;
    let options = ServerOptions {
        alias: args.alias.clone(),
        engine: EngineOptions { n_seq_max: args.parallel, n_ctx_seq: 0, context },
        defaults,
        embeddings: args.embeddings,
        chat_template,
        chat_template_kwargs: args.template.kwargs()?,
        api_keys,
        api_prefix: args.api_prefix.clone(),
        metrics: args.metrics,
        slots: !args.no_slots,
        props: args.props,
        cors: Cors { origins: args.cors_origins.clone(), ..Cors::default() },
        sse_ping_interval: u64::try_from(args.sse_ping_interval)
            .ok()
            .filter(|n| *n > 0)
            .map(Duration::from_secs),
        ..ServerOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Io { what: "starting threads".to_owned(), error })?;
    let done = runtime.block_on(serve(&model, options, &addresses));
    // Nothing that is still under way is waited for.
    runtime.shutdown_background();
    done
}

async fn serve(
    model: &quipu::Model,
    options: ServerOptions,
    addresses: &[std::net::SocketAddr],
) -> Result<(), Failure> {
    let server = Server::new(model, options).map_err(failed)?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let listener = tokio::net::TcpListener::bind(addresses).await;
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
        () = tokio::time::sleep(DRAIN) => Ok(()),
        () = told_to_end() => Ok(()),
    }
}

fn listening(addresses: &[std::net::SocketAddr]) -> String {
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
        _ => Err("expected none, mean, cls or last".to_owned()),
    }
}
