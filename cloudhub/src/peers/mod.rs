//! The nodes that are connected: a task for each, which holds what it must and no buffer.
//!
//! `driver` runs a session and hands its wishes to the engine; [`Registry`] knows who is connected and wakes the sessions
//! that a commit concerns; [`Live`] is what others see of a connection; [`Ledger`] saves lazily what is learned;
//! [`Gate`] bounds how much begins at once: `turns` for sessions, `snapshots` for back-fills.
//! `verify` follows what a session finds out by digests.

mod driver;
mod gate;
mod ledger;
mod live;
mod registry;
mod snapshots;
mod turns;
mod verify;

use std::sync::Arc;

use proto::clock::Now;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use transport::admission::RefusalReason;
use transport::any::AnyListener;
use transport::identity::NodeIdentity;
use transport::link::Link;
use transport::pump::{Stopped, pump};

use crate::clock::SystemClock;
use crate::engine::Engine;
use crate::limits::{DAY_LOOK, SESSIONS_END};
use driver::{CloudDriver, EVENTS};
pub use gate::{Gate, GateConfig, GateCounts};
pub use ledger::Ledger;
pub use live::{Ending, Live, View};
pub use registry::{Checks, Passed, Presence, Registry};
pub use turns::{Pace, TurnCounts};
pub use verify::{Checked, Difference};

/// What the sessions share.
#[derive(Debug)]
pub struct Peers {
    /// The store.
    pub engine: Engine,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// How much may begin at once.
    pub gate: Arc<Gate>,
    /// What waits to be saved.
    pub ledger: Arc<Ledger>,
    /// The process's clocks.
    pub clock: SystemClock,
}

impl Peers {
    /// Takes nodes in until the hub stops; then tells every session, and waits until they have ended, for
    /// [`SESSIONS_END`] at most.
    pub async fn accept(self: Arc<Self>, mut listener: AnyListener, mut stop: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        let mut clock = tokio::time::interval(DAY_LOOK);
        loop {
            tokio::select! {
                _ = clock.tick() => drop(self.registry.day(self.clock.wall_ms())),
                accepted = listener.accept() => match accepted {
                    Ok(link) => {
                        sessions.spawn(Arc::clone(&self).session(link));
                    }
                    Err(refusal) => match refusal.reason {
                        RefusalReason::Lost(_) | RefusalReason::Deadline => debug!("{refusal}"),
                        _ => warn!("{refusal}"),
                    },
                },
                Some(ended) = sessions.join_next() => report(ended),
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        drop(listener);
        self.registry.close();
        let ended = tokio::time::timeout(SESSIONS_END, async {
            while let Some(ended) = sessions.join_next().await {
                report(ended);
            }
        });
        if ended.await.is_err() {
            debug!(sessions = sessions.len(), "some nodes did not hear that the hub stops; their links end with it");
        }
    }

    /// One connection, from its handshake to its end.
    pub async fn session<L: Link>(self: Arc<Self>, link: L) {
        let Some(NodeIdentity { name, serial, .. }) = link.peer().node().cloned() else {
            return warn!(remote = link.remote(), "a connection without a node");
        };
        let live = self.registry.connect(name, link.remote(), link.transport(), link.counters());
        let _leaves = Leaves { peers: Arc::clone(&self), live: Arc::clone(&live) };
        let (answers, mut events) = mpsc::channel(EVENTS);
        let mut driver = CloudDriver::new(self.clock.now(), Arc::clone(&self), Arc::clone(&live), serial, answers);
        let clock = self.clock;
        let now = move || -> Now { clock.now() };
        let stopped = pump(link, &mut driver, &mut events, &live.wake, &now).await;
        self.ended(&live, &driver, &stopped);
    }

    fn ended(&self, live: &Live, driver: &CloudDriver, stopped: &Stopped) {
        let text = match (stopped, driver.end()) {
            (Stopped::Over, Some(end)) => format!("{} ({})", end.reason.detail, end.reason.code),
            (Stopped::Over, None) => "the session ended".to_owned(),
            (Stopped::Broken(error), _) => error.to_string(),
            (Stopped::Closed(reason), _) => reason.to_string(),
        };
        if live.view().open {
            info!(node = %live.node, address = %live.address, reason = %text, "node disconnected");
            self.ledger.event(&live.node, "disconnected", text);
        } else if driver.is_to_come_back() {
            debug!(node = %live.node, address = %live.address, reason = %text, "no session yet");
        } else if driver.end().is_none() && driver.peer().is_none() {
            // It said no word: a node that tries two ways at once takes the faster one.
            debug!(node = %live.node, address = %live.address, reason = %text, "no session");
        } else {
            warn!(node = %live.node, address = %live.address, reason = %text, "no session");
        }
        if let Some(peer) = driver.peer() {
            self.ledger.seen(peer);
        }
    }
}

/// Takes a connection off the registry, however its task ends.
struct Leaves {
    peers: Arc<Peers>,
    live: Arc<Live>,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.peers.registry.leave(&self.live);
        let next = self.peers.gate.filled(self.live.id, self.peers.clock.now().mono_ms);
        self.peers.registry.wake(&next);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a session's task failed; only its node is concerned");
    }
}
