//! The loop between a session's state machine and its link, the same on both sides: bytes and answers go in, frames
//! and wishes come out, timers fire. All decisions are the machine's.

use std::time::Duration;

use bytes::Bytes;
use proto::clock::Now;
use proto::frame::Frame;
use proto::traffic::Cause;
use tokio::sync::{Notify, mpsc};

use crate::counters::LinkCounters;
use crate::link::{CloseCode, CloseReason, Lane, Link, LinkError, LinkRx, LinkTx, Received};

/// How long a last word may take before the link is dropped without it.
const FAREWELL: Duration = Duration::from_secs(1);

/// One side's session with everything that carries out its wishes.
pub trait Driver: Send {
    /// What comes back from work that the driver started elsewhere.
    type Event: Send;

    /// Bytes that arrived so far, also those of a frame that is not whole yet.
    fn bytes(&mut self, total: u64);
    /// One whole frame. Tells what its bytes were spent on.
    fn frame(&mut self, now: Now, frame: &[u8]) -> Cause;
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
    /// The next control frame to send, if there is one.
    fn poll_control(&mut self, now: Now) -> Option<Outgoing>;
    /// The next bulk frame to send. Asked for only when no control frame waits.
    fn poll_bulk(&mut self, now: Now) -> Option<Outgoing>;
    /// Whether the session has ended; what [`Driver::poll_control`] still gives is its last word.
    fn is_over(&self) -> bool;
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// What its bytes are spent on.
    pub cause: Cause,
    /// The frame as the link is to carry it.
    pub bytes: Bytes,
}

impl Outgoing {
    /// A frame, and its bytes as the session made them.
    pub fn new(frame: &Frame, bytes: Vec<u8>) -> Self {
        Self { cause: frame.cause(), bytes: bytes.into() }
    }
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
    let (mut tx, mut rx) = link.split();
    loop {
        driver.work(now());
        if let Err(error) = fill(&mut tx, driver, &counters, now()) {
            return Stopped::Broken(error);
        }
        // Handing out a frame can be the end of something, too.
        driver.work(now());
        if driver.is_over() {
            drop(rx);
            farewell(tx, driver, &counters, now).await;
            return Stopped::Over;
        }
        let due = driver.next_tick().map(|due| Duration::from_millis(due.saturating_sub(now().mono_ms)));
        tokio::select! {
            received = rx.recv() => {
                driver.bytes(counters.arrived());
                match received {
                    Ok(Received::Frame(frame)) => {
                        let cause = driver.frame(now(), &frame);
                        counters.received_frame(cause, frame.len());
                    }
                    Ok(Received::Closed(reason)) => return Stopped::Closed(reason),
                    Err(error) => return Stopped::Broken(error),
                }
            }
            Some(event) = events.recv() => driver.event(now(), event),
            () = wake.notified() => driver.woken(),
            sent = tx.progress() => if let Err(error) = sent {
                return Stopped::Broken(error);
            },
            () = sleep(due) => {
                driver.bytes(counters.arrived());
                driver.tick(now());
            }
        }
    }
}

/// Hands over one frame where there is room: control first, and bulk only behind all of it. One frame at a time is asked for, so
/// that the machine can let control overtake bulk until the last moment.
fn fill<T: LinkTx, D: Driver>(tx: &mut T, driver: &mut D, counters: &LinkCounters, now: Now) -> Result<(), LinkError> {
    if !tx.is_free(Lane::Control) {
        return Ok(());
    }
    if let Some(frame) = driver.poll_control(now) {
        return begin(tx, Lane::Control, frame, counters);
    }
    if tx.is_free(Lane::Bulk)
        && let Some(frame) = driver.poll_bulk(now)
    {
        begin(tx, Lane::Bulk, frame, counters)?;
    }
    Ok(())
}

fn begin<T: LinkTx>(tx: &mut T, lane: Lane, frame: Outgoing, counters: &LinkCounters) -> Result<(), LinkError> {
    let bytes = frame.bytes.len();
    tx.begin(lane, frame.bytes)?;
    counters.sent_frame(frame.cause, bytes);
    Ok(())
}

async fn sleep(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

/// What is left to say, and the end. Bulk that is still under way is of no use any more, but a transport with one stream
/// has to finish it.
async fn farewell<T: LinkTx, D: Driver>(mut tx: T, driver: &mut D, counters: &LinkCounters, now: &(dyn Fn() -> Now + Send + Sync)) {
    let last_words = async {
        loop {
            while !tx.is_free(Lane::Control) {
                tx.progress().await?;
            }
            match driver.poll_control(now()) {
                Some(frame) => begin(&mut tx, Lane::Control, frame, counters)?,
                None => break,
            }
        }
        Ok::<_, LinkError>(())
    };
    // A peer that does not take the last word learns of the end by the link's.
    let _ = tokio::time::timeout(FAREWELL, last_words).await;
    tx.close(CloseReason::new(CloseCode::Done, "")).await;
}
