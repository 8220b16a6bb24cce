//! A running node, put together and taken apart in order.
//!
//! Up: data folder, database (reads and writes are served from here on), local API, then the link. Down: no more
//! connections, running requests drained, the link's session ended, the database closed with a checkpoint.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use metamanager::{Event, Metamanager, Options};
use proto::names::NodeName;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};
use transport::swap::Swap;
use transport::tls::CertificateClock;

use crate::clock::SystemClock;
use crate::config::{RunConfig, Tokens, is_open};
use crate::eventbus::{BusBoard, EventBus};
use crate::identity::{Identity, build_date, certificate_time};
use crate::join::{join_now, make_folder};
use crate::link::{self, Board, Linker, Verification, Volume};
use crate::local::{Access, LocalHub, Tally, Turns};
use crate::renew;
use crate::reserve::{self, NodeDisk};
use crate::serving::{self, NodeCertificate};

/// Everything must have ended this long after SIGTERM; systemd and operators rely on five seconds in all.
const DRAIN: Duration = Duration::from_secs(4);

/// Runs a node until SIGTERM or SIGINT.
pub fn run(config: RunConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .context("cannot start")?;
    // Boxed: see api's `block_on`.
    let result = runtime.block_on(Box::pin(async {
        // A damaged database is closed, and opened again as what could be saved from it.
        while Node::start(config.clone()).await? == Ended::Damaged {}
        Ok(())
    }));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// Why a node ended without an error.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// It was told to.
    Told,
    /// Its database is damaged.
    Damaged,
}

/// The parts that the tasks share.
struct Node {
    config: RunConfig,
    store: Metamanager,
    board: Arc<Board>,
    verification: Arc<Verification>,
    volume: Arc<Volume>,
    name: Arc<OnceLock<NodeName>>,
    outbox_grew: Arc<Notify>,
    clock: SystemClock,
    certificate_clock: CertificateClock,
    certificate: Arc<NodeCertificate>,
    bus: Arc<BusBoard>,
    changes: watch::Receiver<()>,
    answered: watch::Receiver<()>,
}

impl Node {
    async fn start(config: RunConfig) -> anyhow::Result<Ended> {
        let data = config.data.clone();
        let identity = Identity::load(&data)?;
        // Only a machine without an identity needs the token: its file may be gone after the join.
        if identity.is_none() && config.join_options()?.is_none() {
            anyhow::bail!(
                "this machine has not joined: there is no identity in {}; run: edgehub join --server HOST --token T --data {}, \
                 or set [join] in the configuration",
                data.join("pki").display(),
                data.display()
            );
        }
        // Not before: who is sent away finds no folder that was not there.
        make_folder(&data)?;
        let clock = SystemClock::new();
        let outbox_grew = Arc::new(Notify::new());
        let tally = Arc::new(Tally::default());
        let damaged = Arc::new(Notify::new());
        let (answered, answers) = watch::channel(());
        let (noted, changes) = watch::channel(());
        // A machine that has joined answers from the first request on, whatever the link does.
        let name = Arc::new(identity.as_ref().map_or_else(OnceLock::new, |identity| OnceLock::from(identity.node().clone())));
        let options = Options {
            node: identity.as_ref().map(|identity| identity.node().clone()),
            max_outbox_bytes: config.outbox.max_bytes.0,
            observer: Some(observer(Arc::clone(&outbox_grew), Rung { answered, noted }, Arc::clone(&tally), Arc::clone(&damaged))),
            disk: Arc::new(NodeDisk),
        };
        let open = || Metamanager::open(&data.join("edge.db"), options, Arc::new(move || clock.now()));
        let store = api::reserve::opening(&data, reserve::free(&data), open)?;
        let stored_ms = store.run(|store, now| store.time_ms(now)).context("the database closed at once")?;
        let node = Self {
            board: Arc::new(Board::new(clock.now().wall_ms)),
            verification: Arc::new(Verification::new(Arc::clone(&outbox_grew))),
            volume: Arc::new(Volume::open(&data, config.link.daily_limit.map(|limit| limit.0), clock.now())),
            name: Arc::clone(&name),
            outbox_grew,
            clock,
            certificate_clock: certificate_clock(clock, stored_ms),
            certificate: Arc::default(),
            bus: Arc::default(),
            changes: changes.clone(),
            answered: answers.clone(),
            store: store.clone(),
            config,
        };
        let hub = LocalHub {
            store: store.clone(),
            node: name,
            board: Arc::clone(&node.board),
            verification: Arc::clone(&node.verification),
            volume: Arc::clone(&node.volume),
            answered: answers,
            changes,
            clock,
            data: data.clone(),
            tally,
            access: Access::new(node.config.api.tokens == Tokens::Required),
            queries: Turns::default(),
            bus: (Arc::clone(&node.bus), node.config.mqtt.clone()),
        };
        if let Some(identity) = &identity {
            node.certificate.show(identity, &node.certificate_clock);
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        // Before anybody reads that it serves, and tells it to stop.
        let mut told = Told::listen()?;
        let listening = serving::listen(&node.config, hub, (&node.certificate, &node.certificate_clock), &mut tasks, &stopped).await?;
        info!(data = %data.display(), api = %listening.join(" "), "serving");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tasks.spawn(api::reserve::keep(data.clone(), stopped.clone(), reserve::room));
        tasks.spawn(node.connect(identity, stopped.clone()));
        let ended = until_told(&mut told, &mut tasks, &damaged).await;
        if !matches!(ended, Ok(Ended::Damaged)) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        }
        let _ = stop.send(true);
        if tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            warn!("some requests were still running and were cut off");
        }
        tasks.abort_all();
        tokio::task::spawn_blocking(move || store.close()).await.context("closing the database")?;
        info!(data = %data.display(), "stopped");
        ended
    }

    /// Joins first where that is still to be done, then keeps the link and the certificate.
    async fn connect(self, identity: Option<Identity>, mut stop: watch::Receiver<bool>) {
        let identity = match identity {
            Some(identity) => identity,
            None => tokio::select! {
                joined = self.join() => match joined {
                    Some(identity) => identity,
                    None => return,
                },
                _ = stop.changed() => return,
            },
        };
        let _ = self.name.set(identity.node().clone());
        self.certificate.show(&identity, &self.certificate_clock);
        let servers = link::servers(&self.config.link, identity.servers());
        let tls = match identity.link_tls(Arc::clone(&self.certificate_clock)) {
            Ok(tls) => Arc::new(Swap::new(tls)),
            Err(problem) => return error!(error = %problem, "this node's certificate cannot be used; join again"),
        };
        let examined = self.store.clone();
        match tokio::task::spawn_blocking(move || examined.examine()).await {
            Ok(Ok(true)) => {}
            // What can be saved of it goes up when it has been opened again.
            Ok(Ok(false)) => return,
            Ok(Err(problem)) => warn!(error = %problem, "the database could not be examined"),
            Err(problem) => return error!(error = %problem, "examining the database ended early"),
        }
        let bus = EventBus {
            store: self.store.clone(),
            link: Arc::clone(&self.board),
            board: Arc::clone(&self.bus),
            config: self.config.mqtt.clone(),
            clock: self.clock,
            certificate_clock: Arc::clone(&self.certificate_clock),
            acceptor: self.certificate.acceptor(&self.certificate_clock),
            changes: self.changes,
            answered: self.answered,
        };
        let node = identity.node().clone();
        let linker = Linker {
            servers,
            transport: self.config.link.transport,
            data: self.config.data.clone(),
            tls: Arc::clone(&tls),
            store: self.store,
            board: self.board,
            verification: self.verification,
            volume: self.volume,
            bus: self.bus,
            outbox_grew: self.outbox_grew,
            metered: self.config.link.metered,
            compression: self.config.link.compression,
            clock: self.clock,
        };
        let serves = self.config.listen.iter().any(is_open);
        let renewing = renew::keep(identity, tls, serves.then_some(self.certificate), self.certificate_clock, stop.clone());
        tokio::join!(linker.run(stop.clone()), renewing, bus.run(node, stop));
    }

    async fn join(&self) -> Option<Identity> {
        let options = self.config.join_options().ok().flatten()?;
        match join_now(&options, &self.certificate_clock).await {
            Ok(identity) => {
                let node = identity.node().clone();
                self.store.run_then(move |store, _| store.set_node(node), |()| {});
                info!(node = %identity.node(), "joined");
                Some(identity)
            }
            Err(problem) => {
                error!(error = %format!("{problem:#}"), "cannot join; serving nothing but this status until it is mended and edgehub restarted");
                self.board.update(|view| view.last_error = Some(format!("{problem:#}")));
                None
            }
        }
    }
}

/// What wakes those who wait for the database; without payload, so that the writer never waits for them.
struct Rung {
    answered: watch::Sender<()>,
    noted: watch::Sender<()>,
}

fn observer(outbox_grew: Arc<Notify>, rung: Rung, tally: Arc<Tally>, damaged: Arc<Notify>) -> metamanager::Observer {
    Arc::new(move |event| match event {
        Event::Committed { .. } => outbox_grew.notify_one(),
        Event::Answered { outcomes } => {
            for (_, verdict) in outcomes {
                tally.verdicts[*verdict as usize].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            rung.answered.send_replace(());
        }
        Event::Noted => rung.noted.send_replace(()),
        Event::Changed => {}
        Event::Damaged => damaged.notify_one(),
    })
}

/// What certificates are judged by ([`certificate_time`]), carried on by the monotonic clock.
fn certificate_clock(clock: SystemClock, stored_ms: u64) -> CertificateClock {
    let begun = clock.now().mono_ms;
    Arc::new(move || {
        let now = clock.now();
        let stored = stored_ms.saturating_add(now.mono_ms.saturating_sub(begun));
        certificate_time(UNIX_EPOCH + Duration::from_millis(now.wall_ms), stored, build_date())
    })
}

/// The signals that end a node.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }
}

/// Waits for a signal, or for damage. A listener that ends by itself ends the process with an error.
async fn until_told(told: &mut Told, tasks: &mut JoinSet<()>, damaged: &Notify) -> anyhow::Result<Ended> {
    loop {
        tokio::select! {
            _ = told.terminate.recv() => return Ok(Ended::Told),
            _ = told.interrupt.recv() => return Ok(Ended::Told),
            () = damaged.notified() => return Ok(Ended::Damaged),
            Some(ended) = tasks.join_next() => if let Err(panicked) = ended {
                anyhow::bail!("a task failed: {panicked}");
            },
        }
    }
}
