//! The loop between a session's state machine and its link, the same on both sides: bytes and answers go in, frames
//! and wishes come out, timers fire. All decisions are the machine's.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use proto::clock::Now;
use tokio::sync::{Notify, mpsc};

use crate::link::{CloseCode, CloseReason, Link, LinkError, LinkRx, LinkTx, Received};

/// How long a last word may take before the link is dropped without it.
const FAREWELL: Duration = Duration::from_secs(1);

/// One side's session with everything that carries out its wishes.
pub trait Driver: Send {
    /// What comes back from work that the driver started elsewhere.
    type Event: Send;

    /// Bytes that arrived so far, also those of a frame that is not whole yet.
    fn bytes(&mut self, total: u64);
    /// One whole frame.
    fn frame(&mut self, now: Now, frame: &[u8]);
    /// An answer to work that [`Driver::work`] started.
    fn event(&mut self, now: Now, event: Self::Event);
    /// Something happened elsewhere that may concern the session.
    fn woken(&mut self);
    /// The time of [`Driver::next_tick`] has come.
    fn tick(&mut self, now: Now);
    /// Starts what the machine wants to be done. Called after every input; must not block.
    fn work(&mut self, now: Now);
    /// When [`Driver::tick`] is due, on the monotonic clock, milliseconds.
    fn next_tick(&self) -> Option<u64>;
    /// The next frame to send, if there is one.
    fn poll_send(&mut self, now: Now) -> Option<Bytes>;
    /// Whether the session has ended; what [`Driver::poll_send`] still gives is its last word.
    fn is_over(&self) -> bool;
}

/// Why the pump stopped.
#[derive(Debug)]
pub enum Stopped {
    /// The session ended; the driver knows why.
    Over,
    /// The link broke.
    Broken(LinkError),
    /// The peer closed the link.
    Closed(CloseReason),
}

/// Runs a session over a link to its end. Dropping the future breaks the link, which loses nothing: what matters is
/// durable on either side.
pub async fn pump<L: Link, D: Driver>(
    link: L,
    driver: &mut D,
    events: &mut mpsc::Receiver<D::Event>,
    wake: &Notify,
    now: &(dyn Fn() -> Now + Send + Sync),
) -> Stopped {
    let counters = link.counters();
    let (tx, mut rx) = link.split();
    let mut sender = Sender::Idle(tx);
    loop {
        driver.work(now());
        sender.fill(driver, now());
        // Handing out a frame can be the end of something, too.
        driver.work(now());
        if driver.is_over() {
            drop(rx);
            farewell(sender, driver, now).await;
            return Stopped::Over;
        }
        let due = driver.next_tick().map(|due| Duration::from_millis(due.saturating_sub(now().mono_ms)));
        tokio::select! {
            received = rx.recv() => {
                driver.bytes(counters.received());
                match received {
                    Ok(Received::Frame(frame)) => driver.frame(now(), &frame),
                    Ok(Received::Closed(reason)) => return Stopped::Closed(reason),
                    Err(error) => return Stopped::Broken(error),
                }
            }
            Some(event) = events.recv() => driver.event(now(), event),
            () = wake.notified() => driver.woken(),
            sent = sender.sent() => if let Err(error) = sent {
                return Stopped::Broken(error);
            },
            () = sleep(due) => {
                driver.bytes(counters.received());
                driver.tick(now());
            }
        }
    }
}

async fn sleep(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

/// The sending half: at rest, or inside one send. One frame is asked for at a time, so that the machine can let
/// control overtake bulk until the last moment.
enum Sender<T> {
    Idle(T),
    Busy(Sending<T>),
    Gone,
}

/// One send under way; gives the sending half back.
type Sending<T> = Pin<Box<dyn Future<Output = (T, Result<(), LinkError>)> + Send>>;

impl<T: LinkTx> Sender<T> {
    fn fill<D: Driver>(&mut self, driver: &mut D, now: Now) {
        if !matches!(self, Self::Idle(_)) {
            return;
        }
        let Some(frame) = driver.poll_send(now) else { return };
        if let Self::Idle(mut tx) = std::mem::replace(self, Self::Gone) {
            *self = Self::Busy(Box::pin(async move {
                let sent = tx.send(frame).await;
                (tx, sent)
            }));
        }
    }

    async fn sent(&mut self) -> Result<(), LinkError> {
        let Self::Busy(sending) = self else { return std::future::pending().await };
        let (tx, sent) = sending.await;
        *self = Self::Idle(tx);
        sent
    }
}

async fn farewell<T: LinkTx, D: Driver>(mut sender: Sender<T>, driver: &mut D, now: &(dyn Fn() -> Now + Send + Sync)) {
    let last_words = async {
        loop {
            sender.fill(driver, now());
            match sender {
                Sender::Busy(_) => sender.sent().await?,
                Sender::Idle(ref mut tx) => {
                    tx.close(CloseReason::new(CloseCode::Done, "")).await;
                    return Ok::<_, LinkError>(());
                }
                Sender::Gone => return Ok(()),
            }
        }
    };
    // A peer that does not take the last word learns of the end by the link's.
    let _ = tokio::time::timeout(FAREWELL, last_words).await;
}
