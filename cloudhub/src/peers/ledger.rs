//! What is learned about nodes while they are connected. It need not be durable at once, so it is saved every few
//! seconds, for all of them together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::frame::Report;
use proto::ids::Position;
use proto::names::NodeName;
use tokio::sync::watch;

use crate::clock::SystemClock;
use crate::engine::{Engine, Failed};
use crate::limits::{EVENTS_WAITING, SAVE_PAUSE, SEEN_PER_JOB};
use crate::store::{Job, Peer, Seen};

/// What waits to be saved.
#[derive(Debug)]
pub struct Ledger {
    clock: SystemClock,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    seen: BTreeMap<Peer, Seen>,
    events: Vec<Job>,
}

impl Ledger {
    /// An empty one.
    pub fn new(clock: SystemClock) -> Self {
        Self { clock, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, peer: Peer, change: impl FnOnce(&mut Seen)) {
        let at_ms = self.clock.wall_ms();
        let mut waiting = self.lock();
        let seen = waiting.seen.entry(peer).or_insert(Seen { peer, at_ms, cursor: None, report: None, verified_ms: None });
        seen.at_ms = at_ms;
        change(seen);
    }

    /// The node is there.
    pub(super) fn seen(&self, peer: Peer) {
        self.note(peer, |_| {});
    }

    /// Its durable cursor moved.
    pub(super) fn acked(&self, peer: Peer, cursor: Position) {
        self.note(peer, |seen| seen.cursor = Some(cursor));
    }

    /// It holds what it should: its digests agree. Gives the time.
    pub(super) fn verified(&self, peer: Peer) -> u64 {
        let at_ms = self.clock.wall_ms();
        self.note(peer, |seen| seen.verified_ms = Some(at_ms));
        at_ms
    }

    /// It said how its outbox is.
    pub(super) fn report(&self, peer: Peer, report: Report) {
        self.note(peer, |seen| seen.report = Some(report));
    }

    /// Something that the operator should see in the node's list of events.
    pub fn event(&self, node: &NodeName, kind: &'static str, detail: String) {
        let at_ms = self.clock.wall_ms();
        let mut waiting = self.lock();
        if waiting.events.len() < EVENTS_WAITING {
            waiting.events.push(Job::Event { node: node.clone(), kind, detail, at_ms });
        }
    }

    /// Saves every few seconds until the hub stops, and then once more.
    pub(crate) async fn keep(self: Arc<Self>, engine: Engine, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(SAVE_PAUSE) => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if stopping {
                return;
            }
            self.save(&engine).await;
        }
    }

    /// Saves what waits. What cannot be saved is only for display and is learned again.
    pub(crate) async fn save(&self, engine: &Engine) {
        let Waiting { seen, events } = std::mem::take(&mut *self.lock());
        let seen: Vec<_> = seen.into_values().collect();
        let jobs: Vec<_> = seen.chunks(SEEN_PER_JOB).map(|part| Job::Seen(part.to_vec())).chain(events).collect();
        let mut waiting = Vec::with_capacity(jobs.len());
        for job in jobs {
            let (tell, done) = tokio::sync::oneshot::channel();
            engine.submit(job, Box::new(move |result| drop(tell.send(result))));
            waiting.push(done);
        }
        for done in waiting {
            match done.await {
                // An event of a node that was deleted meanwhile.
                Ok(Ok(_) | Err(Failed::Refused(_))) => {}
                Ok(Err(failed)) => tracing::debug!(error = %failed, "what was learned about nodes was not saved"),
                Err(_) => tracing::debug!("the hub stopped before what was learned about nodes was saved"),
            }
        }
    }
}
