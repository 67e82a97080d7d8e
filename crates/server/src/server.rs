//! A server: its threads, what its handlers share, and its life.

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quipu::{LoraUse, Model, SessionOptions};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::api_error::ApiError;
use crate::app::App;
use crate::embedder;
use crate::options::{Lora, ServerOptions};
use crate::routes;
use crate::shared::Shared;
use crate::worker;

/// What keeps a server from starting or running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model cannot serve: no vocabulary, no memory, bad options.
    #[error(transparent)]
    Quipu(#[from] quipu::Error),
    /// A route prefix that is none.
    #[error("the prefix of routes is '{found}', expected it to begin with / and not to end with it")]
    Prefix {
        /// What was given.
        found: String,
    },
    /// A thread could not be started, or a socket failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// How long readers have for the last thing they are told.
const FAREWELL: Duration = Duration::from_secs(1);

/// A server that is ready to answer.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
}

impl Server {
    /// Makes the context and starts the thread that computes.
    ///
    /// # Errors
    /// What making an engine or a session refuses; a prefix of routes that is none; no thread to be had.
    pub fn new(model: &Model, options: ServerOptions) -> Result<Server, Error> {
        let prefix = &options.api_prefix;
        if !prefix.is_empty()
            && (!prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['{', '}', '*']))
        {
            return Err(Error::Prefix { found: prefix.clone() });
        }
        let tokenizer = model.tokenizer()?.clone();
        let template = match options.chat_template.clone() {
            Some(template) => Ok(template),
            None => model.chat_template().map_err(|error| ApiError::invalid(error.to_string())),
        };
        let file = std::path::Path::new(model.name()).file_name();
        let file = file.map_or_else(|| model.name().into(), |name| name.to_string_lossy());
        let name: Arc<str> = options.aliases.iter().min().map_or(&*file, String::as_str).into();
        let n_slots = options.engine.n_seq_max;
        let scales = options.loras.iter().map(|lora| lora.scale).collect();
        let shared = Arc::new(Shared::new(n_slots, scales));
        let (mut jobs, mut embedder) = (None, None);
        let n_ctx_slot;
        if options.embeddings {
            let mut session =
                model.session(&SessionOptions { embeddings: true, ..options.engine.context.clone() })?;
            session.context().set_steering(options.steering.as_ref());
            let used = |lora: &Lora| LoraUse { scale: lora.scale, ..LoraUse::new(Arc::clone(&lora.adapter)) };
            session.context().set_loras(&options.loras.iter().map(used).collect::<Vec<_>>());
            n_ctx_slot = session.n_ctx();
            let (sender, receiver) = mpsc::channel(options.max_queued.max(1));
            embedder = Some(sender);
            spawn("embedder", move || embedder::work(session, receiver))?;
        } else {
            let mut engine = model.engine(&options.engine)?;
            engine.context().set_steering(options.steering.as_ref());
            engine.set_adapters(options.loras.iter().map(|lora| Arc::clone(&lora.adapter)).collect());
            n_ctx_slot = engine.n_ctx_seq();
            let (sender, receiver) = mpsc::channel(options.max_queued.max(1));
            jobs = Some(sender);
            let (shared, patience) = (Arc::clone(&shared), options.slow_client_timeout);
            spawn("engine", move || worker::work(engine, receiver, &shared, patience))?;
        }
        let model = model.clone();
        let started = Instant::now();
        // What sees later tokens too has none to choose.
        let generates = model.hparams().causal_attn;
        let (ending, _) = watch::channel(false);
        let app = App {
            model,
            tokenizer,
            template,
            name,
            options,
            n_ctx_slot,
            generates,
            shared,
            jobs,
            embedder,
            ending,
            started,
        };
        Ok(Server { app: Arc::new(app) })
    }

    /// Answers requests on `listener` until `shutdown` ends. Texts under way have [`ServerOptions::drain`] then; after that their readers are told
    /// that the server goes down, in a stream by a last event.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let router = routes::router(&self.app);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
        let mut serving = std::pin::pin!(serving.into_future());
        let failed = |source| Error::Io { what: "serving", source };
        tokio::select! {
            done = &mut serving => return done.map_err(failed),
            () = shutdown => drop(stop),
        }
        tokio::select! {
            done = &mut serving => return done.map_err(failed),
            () = tokio::time::sleep(self.app.options.drain) => {}
        }
        self.app.ending.send_replace(true);
        tokio::select! {
            done = serving => done.map_err(failed),
            // Who does not even read that is left behind.
            () = tokio::time::sleep(FAREWELL) => Ok(()),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(|source| Error::Io { what: "starting a thread", source })?;
    Ok(())
}
