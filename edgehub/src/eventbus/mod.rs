//! The event bus: devices over MQTT (design §6, decisions 0011 and 0017).
//!
//! `broker` carries messages to and from a broker beside edgehub, `internal` is a broker inside it, both over `prompt` connections, and
//! `way` is what the two have in common. `worker` judges and answers what devices say (with `members`, what is known of them, and
//! `rates`, how much each may say), `told` tells them what is desired of them, `reports` sends up what they reported, and `board` shows
//! how it goes. A broker that is not there costs nothing else anything.

mod board;
pub(crate) mod broker;
mod internal;
mod inward;
mod limits;
mod members;
mod meter;
mod prompt;
mod rates;
mod reports;
mod told;
pub(crate) mod trouble;
mod way;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use metamanager::Metamanager;
use proto::names::NodeName;
use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use transport::tls::CertificateClock;

pub use board::{BrokerView, BusBoard, BusView, InternalView, Kind, Stranger};
pub use meter::Meter;

use crate::clock::SystemClock;
use crate::config::MqttConfig;
use crate::link::Board;
use internal::Door;
use reports::Reports;
use trouble::Trouble;
use way::{Arrived, Way};
use worker::Worker;

/// Messages that are kept by one commit.
const TOGETHER: usize = 256;
/// After the database could not take a message: the pause before it is asked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// How long saying goodbye to a broker may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// What the event bus needs.
pub struct EventBus {
    /// The edge database.
    pub store: Metamanager,
    /// How the link stands.
    pub link: Arc<Board>,
    /// Where it shows how it stands itself.
    pub board: Arc<BusBoard>,
    /// What it was told.
    pub config: MqttConfig,
    /// The process's clocks.
    pub clock: SystemClock,
    /// What certificates are judged by.
    pub certificate_clock: CertificateClock,
    /// This node's certificate, for devices that speak TLS.
    pub acceptor: TlsAcceptor,
    /// Rung when the log of changes has more in it.
    pub changes: watch::Receiver<()>,
    /// Rung when writes have their outcomes.
    pub answered: watch::Receiver<()>,
}

/// The client id of a node at its broker.
pub(crate) fn client_id(node: &str) -> String {
    format!("edgehub-{node}")
}

impl EventBus {
    /// Serves the devices of a node until it is told to stop.
    pub async fn run(self, node: NodeName, stop: watch::Receiver<bool>) {
        let (external, inside) = (self.config.mode.is_external(), self.config.mode.is_internal());
        if !external && !inside {
            return;
        }
        self.board.meter.begin(self.store.read(|reader| reader.reported_waiting()).unwrap_or(0));
        let reports = Reports::new(self.store.clone(), self.link, Arc::clone(&self.board), self.clock, self.config.interval());
        // One for as long as edgehub runs: it knows which writes are under way, whatever becomes of a connection.
        let more = Arc::new(Notify::new());
        let sending = reports.run(Arc::clone(&more), self.answered, stop.clone());
        let line = |kind| Line {
            kind,
            node: node.to_string(),
            store: self.store.clone(),
            board: Arc::clone(&self.board),
            clock: self.clock,
            rate: self.config.device_rate.0,
            changes: self.changes.clone(),
            more: Arc::clone(&more),
        };
        let (config, clock, board) = (&self.config, &self.certificate_clock, &self.board);
        let beside = async {
            if external {
                let connect = || broker::connect(config, client_id(node.as_str()), Arc::clone(clock));
                line(Kind::External).run(connect, stop.clone()).await;
            }
        };
        let within = async {
            // Judged at the start: it would not have come here.
            if let (true, Ok(devices)) = (inside, config.devices()) {
                let door = Door { listen: config.listen, tls: config.listen_tls.then_some(self.acceptor), devices };
                line(Kind::Internal).run(|| internal::open(door.clone(), Arc::clone(board)), stop.clone()).await;
            }
        };
        tokio::join!(sending, beside, within);
    }
}

/// A broker, and what is done with what comes from it.
struct Line {
    kind: Kind,
    node: String,
    store: Metamanager,
    board: Arc<BusBoard>,
    clock: SystemClock,
    rate: u32,
    changes: watch::Receiver<()>,
    /// Rung when something was reported.
    more: Arc<Notify>,
}

impl Line {
    async fn run<C>(mut self, open: impl Fn() -> (Way, mpsc::Receiver<Arrived>, C), mut stop: watch::Receiver<bool>)
    where
        C: Future<Output = ()>,
    {
        loop {
            let (way, mut arrived, carrying) = open();
            let mut worker = Worker::new(&self, way, stop.clone());
            let mut carrying = std::pin::pin!(carrying);
            loop {
                let ended = tokio::select! {
                    ended = self.serve(&mut worker, &mut arrived, &mut stop) => ended,
                    () = &mut carrying => Ended::Stopped,
                };
                match ended {
                    Ended::Stopped => {
                        if worker.has_last_words() {
                            let _ = tokio::time::timeout(GOODBYE, carrying).await;
                        }
                        return;
                    }
                    Ended::Again => {}
                }
                if matches!(worker.way, Way::External(_)) {
                    // Who was refused hears it before the connection ends.
                    worker.way.disconnect();
                    let _ = tokio::time::timeout(GOODBYE, carrying.as_mut()).await;
                }
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    _ = stop.changed() => return,
                }
                match &worker.way {
                    // A new connection in the same session: what was not acknowledged comes again.
                    Way::External(_) => break,
                    Way::Internal(house) => {
                        house.again();
                        worker.connected(None).await;
                    }
                }
            }
        }
    }

    async fn serve(&mut self, worker: &mut Worker, arrived: &mut mpsc::Receiver<Arrived>, stop: &mut watch::Receiver<bool>) -> Ended {
        loop {
            let settling = worker.settling();
            tokio::select! {
                _ = stop.changed() => {
                    worker.way.disconnect();
                    return Ended::Stopped;
                }
                first = arrived.recv() => {
                    let Some(first) = first else { return Ended::Stopped };
                    if !self.take(worker, first, arrived).await {
                        worker.disconnected(&Trouble::Unkept);
                        return Ended::Again;
                    }
                }
                _ = self.changes.changed() => worker.changed().await,
                () = async { tokio::time::sleep(settling.unwrap_or_default()).await }, if settling.is_some() => worker.settle_rates().await,
            }
        }
    }

    /// What arrived, and what arrived with it. False: something has to come again.
    async fn take(&self, worker: &mut Worker, first: Arrived, arrived: &mut mpsc::Receiver<Arrived>) -> bool {
        let mut messages = Vec::new();
        let mut next = Some(first);
        let mut other = None;
        while let Some(one) = next.take() {
            match one {
                Arrived::Message(message) => messages.push(message),
                state => other = Some(state),
            }
            if other.is_none() && messages.len() < TOGETHER {
                next = arrived.try_recv().ok();
            }
        }
        let mut all = true;
        if !messages.is_empty() {
            all = worker.hear(messages).await;
            self.more.notify_one();
        }
        match other {
            Some(Arrived::Up { kept }) => worker.connected(kept).await,
            Some(Arrived::Down(trouble)) => worker.disconnected(&trouble),
            Some(Arrived::Message(_)) | None => {}
        }
        all
    }
}

enum Ended {
    Stopped,
    Again,
}
