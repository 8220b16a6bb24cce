//! The one outbound connection: tried for as long as the process runs, one session after another.
//!
//! `ways` knows the addresses and the order of transports, `race` decides between two of them, `connect` carries that out;
//! `driver` runs a session, `backoff` decides when to try again, `network` sees when that may be sooner, `board` is what
//! everyone else sees of it, `volume` (and `days`, its pure part) counts what passes, `offset` knows how far the hub's clock is away,
//! and `verification` is how somebody else asks whether all of it is here.

mod backoff;
mod board;
mod connect;
mod days;
mod driver;
mod network;
mod offset;
mod race;
mod verification;
mod volume;
mod ways;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::shapes::LinkState;
use metamanager::Metamanager;
use proto::clock::Now;
use proto::frame::{Hello, Reason};
use proto::session::End;
use proto::session::handshake::{DAILY_LIMIT, FEATURE_ZSTD, FEATURES};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};
use transport::link::Link;
use transport::pump::{Stopped, pump};
use transport::swap::Swap;

use crate::clock::SystemClock;
use crate::config::Transport;
use crate::eventbus::BusBoard;
pub use backoff::Backoff;
use backoff::in_turn;
pub use board::{Board, LinkView};
use connect::Dialler;
pub use days::Days;
use driver::{EVENTS, EdgeDriver};
use network::Network;
pub use verification::{News, Verification};
pub use volume::{Passed, Volume};
pub(crate) use ways::{Server, Way, servers};

/// How often the network is looked at while the link waits for its next try.
const LOOK: Duration = Duration::from_secs(1);

/// What the link needs to know, and whom it tells.
pub struct Linker {
    /// Where the hub is, best first.
    pub(crate) servers: Vec<Server>,
    /// What carries the link.
    pub transport: Transport,
    /// The data folder, where is remembered what carried the link last.
    pub data: PathBuf,
    /// The TLS configuration, swapped when the certificate is renewed.
    pub tls: Arc<Swap<rustls::ClientConfig>>,
    /// The edge database.
    pub store: Metamanager,
    /// What others see.
    pub board: Arc<Board>,
    /// Who wants to know whether everything is here.
    pub verification: Arc<Verification>,
    /// What has passed.
    pub volume: Arc<Volume>,
    /// How devices speak.
    pub bus: Arc<BusBoard>,
    /// Rung after each local write.
    pub outbox_grew: Arc<Notify>,
    /// Bytes are paid for: fewer pings, a dead link is noticed later.
    pub metered: bool,
    /// Large frames may be compressed.
    pub compression: bool,
    /// The process's clocks.
    pub clock: SystemClock,
}

/// How one try went.
enum Try {
    /// No session; why.
    Failed(String),
    /// The cloud said no, and when to ask again (milliseconds; 0: as the back-off says).
    Refused { code: String, detail: String, retry_ms: u64, ticket: Vec<u8> },
    /// This database is a copy of another one: it goes on under an id of its own. Why.
    Copied(String),
    /// There was a session, and it ended.
    Ended(String),
}

/// A copy that was told so comes back at once; one that is told so again soon waits as everyone does, milliseconds.
const RENEW_PAUSE_MS: u64 = 30_000;

/// The code of a hub to which many come at once.
pub(crate) const BUSY: &str = "busy";

impl Linker {
    /// Runs until `stop` says so.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let mut network = Network::new();
        let mut dialler = Dialler::new(self.transport, self.metered, &self.data, self.clock);
        let mut next_server = 0usize;
        let mut renewed_ms: Option<u64> = None;
        let mut ticket = Vec::new();
        while !*stop.borrow() {
            let Some(server) = self.servers.get(next_server % self.servers.len().max(1)) else {
                warn!("no server is known: set [link] servers in the configuration");
                return;
            };
            self.board.enter(LinkState::Connecting, self.now().wall_ms);
            let tried = self.attempt(server, &ticket, &mut dialler, &mut stop).await;
            if *stop.borrow() {
                break;
            }
            match &tried {
                Try::Refused { ticket: newest, .. } => ticket.clone_from(newest),
                // The hub was not reached, or said nothing: the place may still be good.
                Try::Failed(_) => {}
                Try::Copied(_) | Try::Ended(_) => ticket.clear(),
            }
            let copied = matches!(tried, Try::Copied(_));
            let (mut wait, hinted) = self.judge(tried, &mut backoff, &mut next_server);
            if copied && self.renew().await {
                let now_ms = self.now().mono_ms;
                let again = renewed_ms.replace(now_ms).is_some_and(|last| now_ms < last + RENEW_PAUSE_MS);
                wait = if again { wait } else { Duration::ZERO };
            }
            // A hub that names its time means it, on whatever network.
            let watched = (!hinted).then_some(&mut network);
            if rest(wait, watched, &mut stop).await == Rested::OnAnotherNetwork {
                info!("the network has changed: trying again");
                backoff.network_changed();
                dialler.network_changed();
                let settling = Duration::from_millis(backoff.next(self.now().mono_ms, random()));
                rest(settling, None, &mut stop).await;
            }
        }
        self.board.enter(LinkState::Offline, self.now().wall_ms);
        self.save_volume().await;
    }

    /// Writes down what has passed.
    async fn save_volume(&self) {
        let (volume, clock) = (Arc::clone(&self.volume), self.clock);
        let _saved = tokio::task::spawn_blocking(move || volume.save(clock.now())).await;
    }

    /// Shows how a try went; returns the wait before the next one, and whether the hub asked for it.
    fn judge(&self, tried: Try, backoff: &mut Backoff, next_server: &mut usize) -> (Duration, bool) {
        let now = self.now();
        self.board.enter(LinkState::Offline, now.wall_ms);
        let (text, refused, hint) = match tried {
            Try::Failed(text) => {
                *next_server += 1;
                (text, None, 0)
            }
            Try::Copied(text) => (format!("{text} (copied_database)"), Some("copied_database".to_owned()), 0),
            Try::Ended(text) => {
                backoff.session(now.mono_ms);
                (text, None, 0)
            }
            Try::Refused { code, detail, retry_ms, .. } if code == BUSY && retry_ms > 0 => {
                return self.waits(&detail, retry_ms);
            }
            Try::Refused { code, detail, retry_ms, .. } => {
                (format!("the cloud refused this node: {detail} ({code})"), Some(code), retry_ms)
            }
        };
        self.board.update(|view| {
            view.last_error = Some(text.clone());
            view.refused = refused;
        });
        warn!(error = %text, "link down");
        let wait = backoff.next(now.mono_ms, random());
        (Duration::from_millis(wait.max(hint)), hint > 0)
    }

    /// It is not this node's turn yet. The hub is there and names the time, so nothing backs off from it.
    fn waits(&self, detail: &str, retry_ms: u64) -> (Duration, bool) {
        self.board.update(|view| {
            view.last_error = Some(format!("waiting for its turn: {detail} ({BUSY})"));
            view.refused = Some(BUSY.to_owned());
        });
        info!(retry_ms, "the cloud is busy: waiting for this node's turn");
        (Duration::from_millis(in_turn(retry_ms, random())), true)
    }

    /// Another id for the database. False: it could not be stored, and the next try is told so once more.
    async fn renew(&self) -> bool {
        let (answer, renewed) = tokio::sync::oneshot::channel();
        self.store.run_then(|store, _| store.renew(), move |renewed| drop(answer.send(renewed)));
        match renewed.await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                warn!(%error, "this database is a copy, and cannot take an id of its own");
                false
            }
            Err(_) => false,
        }
    }

    async fn attempt(&self, server: &Server, ticket: &[u8], dialler: &mut Dialler, stop: &mut watch::Receiver<bool>) -> Try {
        let tls = self.tls.get();
        let link = tokio::select! {
            link = dialler.connect(server, &tls) => link,
            _ = stop.changed() => return Try::Ended("edgehub stops".into()),
        };
        match link {
            Ok(link) => self.session(link, ticket, stop).await,
            Err(failed) => match failed.not_admitted() {
                // The link's door knows the certificate, and this node is not to come in.
                Some(text) => Try::Refused { code: "revoked".into(), detail: text.to_owned(), retry_ms: 0, ticket: Vec::new() },
                None => Try::Failed(failed.to_string()),
            },
        }
    }

    async fn session<L: Link>(&self, link: L, ticket: &[u8], stop: &mut watch::Receiver<bool>) -> Try {
        let hello = match self.hello(ticket).await {
            Ok(hello) => hello,
            Err(error) => return Try::Failed(error),
        };
        let kind = link.transport();
        let remote = link.remote();
        let (answers, mut events) = mpsc::channel(EVENTS);
        self.volume.begin(link.counters());
        let mut driver = EdgeDriver::new(self, hello, answers, kind);
        let clock = self.clock;
        let now = move || clock.now();
        let stopped = tokio::select! {
            stopped = pump(link, &mut driver, &mut events, &self.outbox_grew, &now) => Some(stopped),
            _ = stop.changed() => None,
        };
        let save = self.volume.end(self.now());
        let Some(stopped) = stopped else { return Try::Ended("edgehub stops".into()) };
        if save {
            self.save_volume().await;
        }
        if driver.was_open() {
            info!(%remote, "the session has ended");
        }
        outcome(stopped, &driver)
    }

    /// What of this build the hub may choose from.
    fn features(&self) -> Vec<String> {
        FEATURES.iter().filter(|name| self.compression || **name != FEATURE_ZSTD).map(ToString::to_string).collect()
    }

    /// What the database says of itself, for the first frame.
    async fn hello(&self, ticket: &[u8]) -> Result<Hello, String> {
        let (answer, facts) = tokio::sync::oneshot::channel();
        self.store.run_then(|store, _| store.facts(), move |facts| drop(answer.send(facts)));
        let facts = facts.await.map_err(|_| "the database is closed".to_owned())?.map_err(|error| error.to_string())?;
        Ok(Hello {
            versions: proto::session::handshake::VERSIONS,
            features: self.features(),
            database: facts.database,
            session: facts.session,
            epochs: facts.epochs,
            cursor: facts.cursor,
            grants_hash: facts.grants_hash,
            fills: facts.fills,
            newest_write: facts.newest_write,
            outbox_first: facts.outbox_first,
            gaps: facts.gaps,
            now_ms: self.now().wall_ms,
            software: env!("CARGO_PKG_VERSION").into(),
            metered: self.metered,
            report: facts.report,
            previous: facts.previous,
            ticket: ticket.to_vec(),
            held: facts.held,
            paused: self.volume.used_up().map(|detail| Reason { code: DAILY_LIMIT.into(), detail }),
        })
    }

    fn now(&self) -> Now {
        self.clock.now()
    }
}

/// Why a wait is over.
#[derive(Debug, PartialEq, Eq)]
enum Rested {
    /// All of it, or the process stops.
    Enough,
    OnAnotherNetwork,
}

/// Waits, at most until the network changes or the process stops.
async fn rest(wait: Duration, mut network: Option<&mut Network>, stop: &mut watch::Receiver<bool>) -> Rested {
    let due = Instant::now() + wait;
    loop {
        let step = if network.is_some() { due.min(Instant::now() + LOOK) } else { due };
        tokio::select! {
            () = tokio::time::sleep_until(step) => {}
            _ = stop.changed() => return Rested::Enough,
        }
        if network.as_mut().is_some_and(|network| network.has_changed()) {
            return Rested::OnAnotherNetwork;
        }
        if Instant::now() >= due {
            return Rested::Enough;
        }
    }
}

fn outcome(stopped: Stopped, driver: &EdgeDriver) -> Try {
    if let Some(why) = driver.copied() {
        return Try::Copied(why);
    }
    match (stopped, driver.end()) {
        (Stopped::Over, Some(End { refused: true, reason, retry_ms, ticket, .. })) => {
            Try::Refused { code: reason.code.clone(), detail: reason.detail.clone(), retry_ms: *retry_ms, ticket: ticket.clone() }
        }
        (Stopped::Over, Some(end)) => ended(driver, format!("{} ({})", end.reason.detail, end.reason.code)),
        (Stopped::Over, None) => ended(driver, "the session ended".into()),
        (Stopped::Broken(error), _) => ended(driver, error.to_string()),
        (Stopped::Closed(reason), _) => ended(driver, reason.to_string()),
    }
}

fn ended(driver: &EdgeDriver, text: String) -> Try {
    if driver.was_open() { Try::Ended(text) } else { Try::Failed(text) }
}

fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}
