//! The event bus: devices over MQTT (design §6, decision 0011).
//!
//! `broker` carries messages, `worker` judges and answers what devices say (with `members`, what is known of them), `told` tells
//! them what is desired of them, `reports` sends up what they reported, and `board` shows how it goes. A broker that is not there
//! costs nothing else anything.

mod board;
mod broker;
mod members;
mod meter;
mod reports;
mod told;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use metamanager::Metamanager;
use proto::names::NodeName;
use tokio::sync::watch;

pub use board::{BusBoard, BusView, Stranger};
pub use meter::Meter;

use crate::clock::SystemClock;
use crate::config::MqttConfig;
use crate::link::Board;
use broker::Arrived;
use reports::Reports;
use worker::Worker;

/// Messages that are kept by one commit.
const TOGETHER: usize = 256;
/// After the database could not take a message: the pause before the broker is asked to send it again.
const AGAIN: Duration = Duration::from_secs(2);

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
    /// Rung when the log of changes has more in it.
    pub changes: watch::Receiver<()>,
    /// Rung when writes have their outcomes.
    pub answered: watch::Receiver<()>,
}

impl EventBus {
    /// Serves the devices of a node until it is told to stop.
    pub async fn run(mut self, node: NodeName, mut stop: watch::Receiver<bool>) {
        let Some(broker) = self.config.broker() else { return };
        self.board.meter.begin(self.store.read(|reader| reader.reported_waiting()).unwrap_or(0));
        loop {
            let (way, mut arrived, carrying) = broker::connect(&broker, format!("edgehub-{node}"));
            let mut worker = Worker::new(self.store.clone(), node.to_string(), Arc::clone(&self.board), self.clock, way);
            let mut reports =
                Reports::new(self.store.clone(), Arc::clone(&self.link), Arc::clone(&self.board), self.clock, self.config.interval());
            let serving = self.serve(&mut worker, &mut reports, &mut arrived, &mut stop);
            let ended = tokio::select! {
                ended = serving => ended,
                () = carrying => Ended::Stopped,
            };
            match ended {
                Ended::Stopped => return,
                // A new connection in the same session: what was not acknowledged comes again.
                Ended::Again => tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    _ = stop.changed() => return,
                },
            }
        }
    }

    async fn serve(
        &mut self,
        worker: &mut Worker,
        reports: &mut Reports,
        arrived: &mut tokio::sync::mpsc::Receiver<Arrived>,
        stop: &mut watch::Receiver<bool>,
    ) -> Ended {
        loop {
            let pause = reports.pause();
            tokio::select! {
                _ = stop.changed() => {
                    worker.way.disconnect();
                    return Ended::Stopped;
                }
                first = arrived.recv() => {
                    let Some(first) = first else { return Ended::Stopped };
                    if !take(worker, reports, first, arrived).await {
                        worker.disconnected("the database cannot take what devices say");
                        return Ended::Again;
                    }
                }
                _ = self.changes.changed() => worker.changed(),
                _ = self.answered.changed() => {}
                () = async { tokio::time::sleep(pause.unwrap_or_default()).await }, if pause.is_some() => {}
            }
            reports.send().await;
        }
    }
}

enum Ended {
    Stopped,
    Again,
}

/// What arrived, and what arrived with it. False: something has to come again.
async fn take(worker: &mut Worker, reports: &mut Reports, first: Arrived, arrived: &mut tokio::sync::mpsc::Receiver<Arrived>) -> bool {
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
        reports.more();
    }
    match other {
        Some(Arrived::Up) => worker.connected(),
        Some(Arrived::Down(error)) => worker.disconnected(&error),
        Some(Arrived::Message(_)) | None => {}
    }
    all
}
