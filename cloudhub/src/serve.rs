//! A running hub, put together and taken apart in order.
//!
//! Up: data folder, store, certificates, listeners, then everything that uses them. Down: no more connections, requests
//! drained and sessions told, what was learned about nodes saved, the store closed with a checkpoint.

mod addresses;
mod certificate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::http::serve::{Listening, serve as serve_api};
use api::http::{Hosts, ServerOptions, cloud};
use proto::names::NodeName;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};
use transport::admission::Admit;
use transport::any::AnyListener;
use transport::quic::{QuicListener, ResetKey};
use transport::swap::Swap;
use transport::tls::CertificateClock;
use transport::ws::WsListener;

use crate::backup::check_interrupted;
use crate::clock::SystemClock;
use crate::config::{QuicListen, ServeConfig};
use crate::disk;
use crate::engine::{Engine, Setup, Threads};
use crate::http::{Access, CloudHub, JoinAnswers};
use crate::limits::{DRAIN, REOPEN_PAUSE};
use crate::peers::{Gate, Ledger, Peers, Registry};
use crate::pki::Pki;
use crate::store::{Job, OpenOptions, SqliteStore};
use certificate::Certificates;

/// Serves until SIGTERM or SIGINT.
pub fn serve(config: ServeConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(16).enable_all().build().context("cannot start")?;
    let result = runtime.block_on(async {
        let mut told = Signals::listen()?;
        let mut running = Running::start(config).await?;
        running.announce();
        let failed = tokio::select! {
            () = told.wait() => None,
            failed = running.failed() => Some(failed),
        };
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        running.stop().await?;
        failed.map_or(Ok(()), Err)
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A hub that serves.
pub struct Running {
    config: ServeConfig,
    /// Where nodes connect over WebSocket.
    pub websocket: SocketAddr,
    /// Where nodes connect over QUIC, where they can.
    pub quic: Option<SocketAddr>,
    /// Where the API is.
    pub api: SocketAddr,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// The store.
    pub engine: Engine,
    ledger: Arc<Ledger>,
    threads: Threads,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Starts everything; when this returns, all addresses are listened on.
    ///
    /// # Errors
    /// For the operator: what cannot be used, and what to do.
    pub async fn start(config: ServeConfig) -> anyhow::Result<Self> {
        let clock = SystemClock::new();
        let data = config.data.clone();
        make_folder(&data)?;
        check_interrupted(&data)?;
        let registry = Arc::new(Registry::default());
        let (engine, threads) = open_store(&data, clock, Arc::clone(&registry)).await?;
        define_devices(&engine).await;
        match Self::listen(&config, clock, Arc::clone(&registry), engine.clone()).await {
            Ok(Parts { websocket, quic, api, ledger, tasks, stop }) => {
                Ok(Self { config, websocket, quic, api, registry, engine, ledger, threads, tasks, stop })
            }
            Err(error) => {
                let _ = tokio::task::spawn_blocking(|| threads.stop()).await;
                Err(error)
            }
        }
    }

    /// Certificates, listeners, and the tasks that serve them.
    async fn listen(config: &ServeConfig, clock: SystemClock, registry: Arc<Registry>, engine: Engine) -> anyhow::Result<Parts> {
        let data = &config.data;
        let hosts = addresses::certificate_hosts(&config.advertise);
        let pki = Arc::new(Pki::open(data, &hosts, clock.system())?);
        let certificate_clock: CertificateClock = Arc::new(move || clock.system());
        let certificates = Certificates::new(Arc::clone(&pki), hosts, certificate_clock)?;
        let api_listener = bind_api(config.listen.api, data).await?;
        let api = api_listener.local_addr().context("the API's address")?;
        let admit = admit(Arc::clone(&pki));
        let over_websocket = listen_ws(config, Arc::clone(&admit), certificates.link())?;
        let over_quic = listen_quic(config, admit, certificates.link(), &pki)?;
        let (websocket, quic) = (over_websocket.local_addr(), over_quic.as_ref().map(AnyListener::local_addr));
        let (stop, stopped) = watch::channel(false);
        let ledger = Arc::new(Ledger::new(clock));
        let gate = Arc::new(Gate::new(config.link.gate(), &fresh_key()?));
        let peers = Arc::new(Peers {
            engine: engine.clone(),
            registry: Arc::clone(&registry),
            gate: Arc::clone(&gate),
            ledger: Arc::clone(&ledger),
            clock,
        });
        let mut listen = BTreeMap::from([("api".to_owned(), api.to_string()), ("websocket".to_owned(), websocket.to_string())]);
        listen.extend(quic.map(|quic| ("quic".to_owned(), quic.to_string())));
        let hub = CloudHub {
            engine: engine.clone(),
            registry,
            gate,
            pki,
            access: Access::open(data)?,
            joins: JoinAnswers::default(),
            servers: addresses::servers(&config.advertise, api, websocket, quic),
            listen,
            clock,
            started_ms: clock.wall_ms(),
            data: data.clone(),
        };
        let options =
            ServerOptions { hosts: Hosts::Any, origins: Vec::new(), spool: data.clone(), files: None, version: env!("CARGO_PKG_VERSION") };
        let router = cloud::router(Arc::new(hub), options);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_api(Listening::Tls(api_listener, certificates.acceptor()), router, stopped.clone()));
        for links in std::iter::once(over_websocket).chain(over_quic) {
            tasks.spawn(Arc::clone(&peers).accept(links, stopped.clone()));
        }
        tasks.spawn(api::reserve::keep(data.clone(), stopped.clone(), disk::reserve_room));
        tasks.spawn(Arc::clone(&ledger).keep(engine, stopped.clone()));
        tasks.spawn(certificates.keep(stopped));
        Ok(Parts { websocket, quic, api, ledger, tasks, stop })
    }

    /// Tells the operator and systemd that everything listens.
    fn announce(&self) {
        let quic = self.quic.map_or_else(|| "off".to_owned(), |quic| format!("{quic}/udp"));
        info!(data = %self.config.data.display(), websocket = %self.websocket, quic, api = %self.api, "serving");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Ready when a part of the hub ended that never should, which ends all of it: a supervisor starts it again.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Err(error)) => anyhow::anyhow!("a part of the hub failed: {error}"),
            _ => anyhow::anyhow!("a part of the hub ended by itself"),
        }
    }

    /// Stops in order: connections, sessions, what is to be saved, the store.
    ///
    /// # Errors
    /// A thread that cannot be waited for.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        if tokio::time::timeout(DRAIN, async { while self.tasks.join_next().await.is_some() {} }).await.is_err() {
            warn!("some requests were still running and were cut off");
        }
        self.tasks.shutdown().await;
        self.ledger.save(&self.engine).await;
        let threads = self.threads;
        tokio::task::spawn_blocking(|| threads.stop()).await.context("closing the database")?;
        info!(data = %self.config.data.display(), "stopped");
        Ok(())
    }
}

/// What serves.
struct Parts {
    websocket: SocketAddr,
    quic: Option<SocketAddr>,
    api: SocketAddr,
    ledger: Arc<Ledger>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// The data folder, for its owner alone.
fn make_folder(data: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.and_then(|()| std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot use the data folder {}; name another one with --data", data.display()))
}

/// The collections of devices exist from the first start on. A disk without room must not keep everything else from starting.
async fn define_devices(engine: &Engine) {
    if let Err(failed) = engine.job(Job::DefineDevices).await {
        warn!(%failed, "the collections of devices are not defined; the next start tries again");
    }
}

async fn open_store(data: &Path, clock: SystemClock, registry: Arc<Registry>) -> anyhow::Result<(Engine, Threads)> {
    let options = OpenOptions { data: data.to_owned() };
    let folder = data.to_owned();
    let setup = Setup {
        open: Box::new(move || {
            let open = || SqliteStore::open(&options, clock.wall_ms(), &mut random);
            api::reserve::opening(&options.data, disk::free(&options.data), open)
        }),
        clock,
        witness: registry,
        has_room: Box::new(move || disk::has_room(&folder)),
        reopen_pause: REOPEN_PAUSE,
    };
    // A large log of a store that was killed is read here.
    let started = tokio::task::spawn_blocking(move || Engine::start(setup)).await.context("opening the database")?;
    started.with_context(|| format!("cannot start with the data folder {}", data.display()))
}

/// For what holds only until the hub's next start.
fn fresh_key() -> anyhow::Result<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).context("the system has no random numbers")?;
    Ok(key)
}

fn random() -> u64 {
    getrandom::u64().expect("the operating system has random numbers")
}

async fn bind_api(address: SocketAddr, data: &Path) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; another process has this port: stop it, or choose another one with --listen-api",
            _ => "; choose another address with --listen-api",
        };
        anyhow::anyhow!("cannot listen on {address} for the API: {error}{hint} (data folder {})", data.display())
    })
}

fn admit(pki: Arc<Pki>) -> Admit {
    Arc::new(move |node| if pki.is_revoked(&node.serial) { Err(revoked(&node.name)) } else { Ok(()) })
}

fn listen_ws(config: &ServeConfig, admit: Admit, tls: Arc<Swap<rustls::ServerConfig>>) -> anyhow::Result<AnyListener> {
    WsListener::bind(config.listen.ws, tls, admit)
        .map(AnyListener::Ws)
        .map_err(|error| anyhow::anyhow!("{error} (--listen-ws for links; data folder {})", config.data.display()))
}

fn listen_quic(config: &ServeConfig, admit: Admit, tls: Arc<Swap<rustls::ServerConfig>>, pki: &Pki) -> anyhow::Result<Option<AnyListener>> {
    let QuicListen::At(address) = config.listen.quic else { return Ok(None) };
    QuicListener::bind(address, tls, admit, ResetKey(pki.secret("quic stateless reset")))
        .map(|links| Some(AnyListener::Quic(links)))
        .map_err(|error| anyhow::anyhow!("{error} (--listen-quic for links over UDP, off for none; data folder {})", config.data.display()))
}

fn revoked(node: &NodeName) -> String {
    format!("the certificate of {node} was revoked; the machine must join again with a new token")
}
