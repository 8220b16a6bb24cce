//! The two halves of a QUIC link.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, WriteError};
use tokio::time::{Instant, timeout, timeout_at};

use super::reader::{COUNT, LENGTH, Reader, Step};
use super::{Shared, reason};
use crate::limits::{GOODBYE, MAX_FRAME};
use crate::link::{CloseCode, CloseReason, Lane, LinkError, LinkRx, LinkTx, Received, check_size};

/// How long after a stream's end the goodbye that belongs to it may take.
const LAST_WORDS: Duration = GOODBYE.saturating_mul(2);

/// The sending half of a QUIC link: a place for each lane.
pub struct QuicTx {
    shared: Arc<Shared>,
    control: LaneTx,
    bulk: LaneTx,
    /// Control frames that were begun: what the next bulk frame waits for at the peer.
    begun: u64,
}

struct LaneTx {
    stream: SendStream,
    /// Header and frame, as far as they are not in the stream.
    rest: [Bytes; 2],
    /// The peer reads no more: when its goodbye is due.
    unheard: Option<Instant>,
}

impl LaneTx {
    fn new(stream: SendStream) -> Self {
        Self { stream, rest: [Bytes::new(), Bytes::new()], unheard: None }
    }

    fn is_free(&self) -> bool {
        self.rest.iter().all(Bytes::is_empty)
    }

    /// Never ready while there is nothing to do, and while a peer that wants no more is there.
    async fn finish(&mut self, connection: &Connection) -> Result<(), WriteError> {
        if self.is_free() {
            return pending().await;
        }
        while !self.is_free() {
            // What the stream has taken is gone from the pieces: this may be dropped and called again.
            match self.stream.write_chunks(&mut self.rest).await {
                Ok(_) => {}
                // The peer reads no more because it ends the link, and says why where it is listened to: in the control stream, or
                // by the connection's end. One that only stops reading breaks a rule.
                Err(stopped @ WriteError::Stopped(_)) => {
                    let due = *self.unheard.get_or_insert_with(|| Instant::now() + LAST_WORDS);
                    let closed = timeout_at(due, connection.closed()).await;
                    return Err(closed.map_or(stopped, WriteError::ConnectionLost));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ready when the peer has all of it. A frame that was begun and is not in the stream yet is given up.
    async fn end(&mut self) {
        let ended = if self.is_free() { self.stream.finish() } else { self.stream.reset(0u32.into()) };
        if ended.is_ok() {
            let _ = self.stream.stopped().await;
        }
    }
}

impl QuicTx {
    pub(super) fn new(shared: Arc<Shared>, control: SendStream, bulk: SendStream) -> Self {
        Self { shared, control: LaneTx::new(control), bulk: LaneTx::new(bulk), begun: 0 }
    }
}

impl LinkTx for QuicTx {
    fn is_free(&self, lane: Lane) -> bool {
        match lane {
            Lane::Control => self.control.is_free(),
            Lane::Bulk => self.bulk.is_free(),
        }
    }

    fn begin(&mut self, lane: Lane, frame: Bytes) -> Result<(), LinkError> {
        check_size(&frame)?;
        if !self.is_free(lane) {
            return Err(LinkError::Busy);
        }
        let mut header = BytesMut::with_capacity(LENGTH + COUNT);
        header.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        let lane = match lane {
            Lane::Control => {
                self.begun += 1;
                &mut self.control
            }
            Lane::Bulk => {
                header.put_u64(self.begun);
                &mut self.bulk
            }
        };
        lane.rest = [header.freeze(), frame];
        Ok(())
    }

    async fn progress(&mut self) -> Result<(), LinkError> {
        let connection = &self.shared.connection;
        let sent = tokio::select! {
            biased;
            sent = self.control.finish(connection) => sent,
            sent = self.bulk.finish(connection) => sent,
        };
        self.shared.count();
        match sent {
            Ok(()) => Ok(()),
            Err(WriteError::Stopped(_)) => Err(self.shared.break_off("a stream was stopped, and the connection goes on")),
            Err(WriteError::ConnectionLost(error)) => Err(reason::lost(&error)),
            Err(other) => Err(LinkError::Lost(other.to_string())),
        }
    }

    async fn close(&mut self, reason: CloseReason) {
        // Half of the time for what was sent to arrive, or the end would overtake it; the other half for the end itself.
        let (control, bulk) = (&mut self.control, &mut self.bulk);
        let arrived = async { tokio::join!(control.end(), bulk.end()) };
        let _ = timeout(GOODBYE / 2, arrived).await;
        self.shared.end(&reason);
        self.shared.count();
    }
}

/// The receiving half of a QUIC link.
pub struct QuicRx {
    shared: Arc<Shared>,
    control: Reader<LENGTH>,
    bulk: Reader<{ LENGTH + COUNT }>,
    /// Control frames that were handed out.
    delivered: u64,
    /// A bulk frame, and how many control frames go before it.
    held: Option<(u64, Bytes)>,
    /// The peer's goodbye was handed out.
    over: bool,
    /// Its control has ended: when its goodbye is due.
    unheard: Option<Instant>,
}

/// What is to be done about what came.
enum Came {
    Frame(Bytes),
    Wrong(CloseReason, LinkError),
    /// The control stream has ended; of the other lane there may be more.
    Ending,
    /// Nothing comes any more in either lane: the connection says why.
    Nothing,
    /// The control stream has ended long ago.
    Late,
}

impl QuicRx {
    pub(super) fn new(shared: Arc<Shared>, control: RecvStream, bulk: RecvStream) -> Self {
        Self { shared, control: Reader::new(control), bulk: Reader::new(bulk), delivered: 0, held: None, over: false, unheard: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        if !self.control.is_over() {
            match self.control.poll(cx, &self.shared.counters) {
                Poll::Ready(Step::Frame(_, frame)) => {
                    self.delivered += 1;
                    return Poll::Ready(Came::Frame(frame));
                }
                Poll::Ready(step) => return Poll::Ready(wrong(&step).unwrap_or(Came::Ending)),
                Poll::Pending => {}
            }
        }
        if self.held.is_none() && !self.bulk.is_over() {
            match self.bulk.poll(cx, &self.shared.counters) {
                Poll::Ready(Step::Frame(count, frame)) => self.held = Some((count, frame)),
                Poll::Ready(step) => {
                    if let Some(wrong) = wrong(&step) {
                        return Poll::Ready(wrong);
                    }
                }
                Poll::Pending => {}
            }
        }
        if let Some((_, frame)) = self.held.take_if(|(count, _)| *count <= self.delivered) {
            return Poll::Ready(Came::Frame(frame));
        }
        // A bulk frame that waits for control which never comes is not delivered.
        let nothing = self.control.is_over() && (self.bulk.is_over() || self.held.is_some());
        if nothing { Poll::Ready(Came::Nothing) } else { Poll::Pending }
    }

    fn late(&mut self) -> LinkError {
        self.over = true;
        self.shared.break_off("the control stream has ended, and the connection goes on")
    }

    fn ended(&mut self, error: &ConnectionError) -> Result<Received, LinkError> {
        let goodbye = match error {
            ConnectionError::ApplicationClosed(close) => reason::goodbye(close),
            ConnectionError::LocallyClosed => self.shared.said.get().cloned(),
            _ => None,
        };
        match goodbye {
            Some(reason) if !self.over => {
                self.over = true;
                Ok(Received::Closed(reason))
            }
            _ => Err(reason::lost(error)),
        }
    }
}

fn wrong(step: &Step) -> Option<Came> {
    let (code, error) = match step {
        Step::TooLarge(bytes) => (CloseCode::TooLarge, LinkError::FrameTooLarge { bytes: *bytes, max: MAX_FRAME }),
        Step::Torn => (CloseCode::Protocol, LinkError::Protocol("a stream ended inside a frame".to_owned())),
        Step::Frame(..) | Step::Over => return None,
    };
    let text = match &error {
        LinkError::Protocol(text) => text.clone(),
        other => other.to_string(),
    };
    Some(Came::Wrong(CloseReason::new(code, text), error))
}

impl LinkRx for QuicRx {
    async fn recv(&mut self) -> Result<Received, LinkError> {
        loop {
            let came = match self.unheard {
                None => poll_fn(|cx| self.poll(cx)).await,
                Some(due) => timeout_at(due, poll_fn(|cx| self.poll(cx))).await.unwrap_or(Came::Late),
            };
            self.shared.count();
            match came {
                Came::Frame(frame) => return Ok(Received::Frame(frame)),
                Came::Wrong(reason, error) => {
                    self.over = true;
                    self.shared.end(&reason);
                    return Err(error);
                }
                Came::Ending => self.unheard = Some(Instant::now() + LAST_WORDS),
                Came::Nothing => {
                    let due = *self.unheard.get_or_insert_with(|| Instant::now() + LAST_WORDS);
                    if let Ok(error) = timeout_at(due, self.shared.connection.closed()).await {
                        return self.ended(&error);
                    }
                    return Err(self.late());
                }
                Came::Late => return Err(self.late()),
            }
        }
    }
}
