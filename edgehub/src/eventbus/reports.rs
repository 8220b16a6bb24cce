//! When what devices reported goes up: the link is there, few such writes wait for their outcomes, and each field's interval is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::shapes::LinkState;
use devicetwin::pace::Pace;
use metamanager::{Metamanager, Sent};
use proto::names::Key;
use tokio::sync::{Notify, oneshot, watch};

use super::board::BusBoard;
use crate::clock::SystemClock;
use crate::link::Board;

/// How often is looked where nothing else says when.
const LOOK: Duration = Duration::from_secs(1);

/// Makes writes of reports.
pub(super) struct Reports {
    store: Metamanager,
    link: Arc<Board>,
    board: Arc<BusBoard>,
    clock: SystemClock,
    pace: Arc<Mutex<Pace>>,
    /// Something may wait.
    waiting: bool,
    /// The device that the last write ended at.
    round: Option<Key>,
}

fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reports {
    pub(super) fn new(store: Metamanager, link: Arc<Board>, board: Arc<BusBoard>, clock: SystemClock, interval: Duration) -> Self {
        let pace = Arc::new(Mutex::new(Pace::new(interval.as_millis() as u64)));
        Self { store, link, board, clock, pace, waiting: true, round: None }
    }

    /// Sends what devices report, whenever there is `more` or room for it, until it is told to stop.
    pub(super) async fn run(mut self, more: Arc<Notify>, mut answered: watch::Receiver<()>, mut stop: watch::Receiver<bool>) {
        loop {
            let pause = self.pause();
            tokio::select! {
                _ = stop.changed() => return,
                () = more.notified() => self.waiting = true,
                Ok(()) = answered.changed() => {}
                () = async { tokio::time::sleep(pause.unwrap_or_default()).await }, if pause.is_some() => {}
            }
            self.send().await;
        }
    }

    /// How long to wait before it is worth to look again; none: until something happens.
    fn pause(&self) -> Option<Duration> {
        if !self.waiting {
            return None;
        }
        let now_ms = self.clock.now().mono_ms;
        let next = lock(&self.pace).next_ms().map(|next| Duration::from_millis(next.saturating_sub(now_ms)));
        Some(next.unwrap_or(LOOK).clamp(Duration::from_millis(5), LOOK))
    }

    /// Sends what may go now.
    async fn send(&mut self) {
        if !self.waiting || self.link.view().state != LinkState::Online {
            return;
        }
        self.look_for_outcomes();
        while lock(&self.pace).has_room() {
            let Some(sent) = self.one().await else { return };
            let whole = self.round.is_none() && sent.next.is_none();
            self.round = sent.next;
            match sent.number {
                Some(number) => {
                    let now_ms = self.clock.now().mono_ms;
                    lock(&self.pace).sent(number, &sent.fields, now_ms);
                    self.board.meter.sent(sent.fields.len() as u64);
                }
                None if whole => {
                    self.waiting = self.store.read(|reader| reader.reported_waiting()).map_or(true, |count| count > 0);
                    return;
                }
                None => {}
            }
        }
    }

    async fn one(&self) -> Option<Sent> {
        let (pace, after) = (Arc::clone(&self.pace), self.round.clone());
        let (answer, sent) = oneshot::channel();
        let work = move |store: &mut metamanager::Store, now: proto::clock::Now| {
            let pace = lock(&pace);
            store.send_reported(now, after.as_ref(), &|device, field| pace.is_due(device, field, now.mono_ms))
        };
        self.store.run_then(work, move |result| drop(answer.send(result)));
        match sent.await {
            Ok(Ok(sent)) => Some(sent),
            Ok(Err(error)) => {
                tracing::warn!(%error, "reports wait: they could not become a write");
                None
            }
            Err(_) => None,
        }
    }

    fn look_for_outcomes(&self) {
        if lock(&self.pace).has_room() {
            return;
        }
        if let Ok(part) = self.store.read(|reader| reader.outbox_after(0, 1)) {
            lock(&self.pace).answered(part.writes.first().map(|write| write.number));
        }
    }
}
