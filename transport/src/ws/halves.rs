//! The two halves of a WebSocket link.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode as WsCode, Data, OpCode};

use super::{Shared, lane};
use crate::counters::LinkCounters;
use crate::limits::{FRAGMENT, GOODBYE, GOODBYE_BYTES, MAX_FRAME, PIECE};
use crate::link::{CloseCode, CloseReason, Lane, LinkError, LinkRx, LinkTx, Received, check_size};
use crate::tls::TlsProblem;

/// The sending half of a WebSocket link: a place for each lane, or one for both with a peer that knows no lanes.
pub struct WsTx {
    socket: Shared,
    lanes: bool,
    control: Option<Bytes>,
    bulk: Option<Bytes>,
    under_way: Option<UnderWay>,
}

/// A message that has begun: what is left of it, and then of its flush.
struct UnderWay {
    /// Its first byte, where messages name their lane.
    lane: Option<u8>,
    rest: Bytes,
    begun: bool,
    /// All of it is queued.
    queued: bool,
    /// With it, a frame in this lane has left.
    ends: Option<Lane>,
}

impl WsTx {
    pub(super) fn new(socket: Shared, lanes: bool) -> Self {
        Self { socket, lanes, control: None, bulk: None, under_way: None }
    }

    /// The next message: control first.
    fn next(&mut self) -> Option<UnderWay> {
        let message = |lane, rest, ends| UnderWay { lane, rest, begun: false, queued: false, ends };
        if !self.lanes {
            let frame =
                self.control.take().map(|frame| (frame, Lane::Control)).or_else(|| self.bulk.take().map(|frame| (frame, Lane::Bulk)));
            return frame.map(|(frame, lane)| message(None, frame, Some(lane)));
        }
        if let Some(frame) = self.control.take() {
            return Some(message(Some(lane::CONTROL), frame, Some(Lane::Control)));
        }
        let mut rest = self.bulk.take()?;
        if rest.len() <= PIECE {
            return Some(message(Some(lane::BULK_END), rest, Some(Lane::Bulk)));
        }
        let piece = rest.split_to(PIECE);
        self.bulk = Some(rest);
        Some(message(Some(lane::BULK), piece, None))
    }

    /// Sends messages until a frame has left.
    async fn finish(&mut self) -> Result<(), LinkError> {
        loop {
            if self.under_way.is_none() {
                self.under_way = self.next();
            }
            let Some(message) = &mut self.under_way else { return Ok(()) };
            while !message.queued {
                poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_ready(cx)).await.map_err(lost)?;
                // From here to the next await nothing can be dropped: the piece is queued and noted as gone together.
                let fragment = message.fragment();
                Pin::new(&mut *self.socket.lock()).start_send(fragment).map_err(lost)?;
            }
            poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_flush(cx)).await.map_err(lost)?;
            if self.under_way.take().is_some_and(|message| message.ends.is_some()) {
                return Ok(());
            }
        }
    }

    async fn say_goodbye(&mut self, reason: &CloseReason) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_ready(cx)).await?;
        Pin::new(&mut *self.socket.lock()).start_send(goodbye(reason))?;
        poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_flush(cx)).await?;
        poll_fn(|cx| Pin::new(self.socket.lock().get_mut()).poll_shutdown(cx)).await?;
        Ok(())
    }
}

impl UnderWay {
    /// The next fragment of it; the lane's byte is one of its own, so that nothing is copied.
    fn fragment(&mut self) -> Message {
        let piece = match self.lane.take() {
            Some(lane) => Bytes::copy_from_slice(&[lane]),
            None => self.rest.split_to(self.rest.len().min(FRAGMENT)),
        };
        self.queued = self.rest.is_empty();
        let code = OpCode::Data(if self.begun { Data::Continue } else { Data::Binary });
        self.begun = true;
        Message::Frame(Frame::message(piece, code, self.queued))
    }
}

impl LinkTx for WsTx {
    fn is_free(&self, lane: Lane) -> bool {
        let sends = self.under_way.as_ref();
        if !self.lanes {
            return sends.is_none() && self.control.is_none() && self.bulk.is_none();
        }
        let waits = match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        };
        waits.is_none() && sends.is_none_or(|message| message.ends != Some(lane))
    }

    fn begin(&mut self, lane: Lane, frame: Bytes) -> Result<(), LinkError> {
        check_size(&frame)?;
        if !self.is_free(lane) {
            return Err(LinkError::Busy);
        }
        match lane {
            Lane::Control => self.control = Some(frame),
            Lane::Bulk => self.bulk = Some(frame),
        }
        Ok(())
    }

    async fn progress(&mut self) -> Result<(), LinkError> {
        if self.under_way.is_none() && self.control.is_none() && self.bulk.is_none() {
            return std::future::pending().await;
        }
        self.finish().await
    }

    async fn close(&mut self, reason: CloseReason) {
        // A peer that cannot be told will see the connection end.
        let _ = timeout(GOODBYE, self.say_goodbye(&reason)).await;
    }
}

/// What a peer may not send.
enum Wrong {
    TooLarge(usize),
    Rule(String),
}

/// The receiving half of a WebSocket link.
pub struct WsRx {
    socket: Shared,
    lanes: bool,
    counters: Arc<LinkCounters>,
    /// What has come of a bulk frame.
    bulk: BytesMut,
}

impl WsRx {
    pub(super) fn new(socket: Shared, counters: Arc<LinkCounters>, lanes: bool) -> Self {
        Self { socket, lanes, counters, bulk: BytesMut::new() }
    }

    /// A whole frame, if this message ends one.
    fn frame(&mut self, mut message: Bytes) -> Result<Option<Bytes>, Wrong> {
        if !self.lanes {
            return if message.len() > MAX_FRAME { Err(Wrong::TooLarge(message.len())) } else { Ok(Some(message)) };
        }
        let lane = message.split_to(message.len().min(1));
        match lane.first() {
            Some(&lane::CONTROL) => Ok(Some(message)),
            Some(&lane::BULK_END) if self.bulk.is_empty() => Ok(Some(message)),
            Some(&(lane::BULK | lane::BULK_END)) if self.bulk.len() + message.len() > MAX_FRAME => {
                Err(Wrong::TooLarge(self.bulk.len() + message.len()))
            }
            Some(&lane::BULK) if message.is_empty() => Err(Wrong::Rule("a piece of a frame is empty".to_owned())),
            Some(&lane) if lane == lane::BULK || lane == lane::BULK_END => {
                self.bulk.extend_from_slice(&message);
                // An idle connection keeps no buffer.
                Ok((lane == lane::BULK_END).then(|| std::mem::take(&mut self.bulk).freeze()))
            }
            Some(lane) => Err(Wrong::Rule(format!("a message begins with {lane}, which names no lane"))),
            None => Err(Wrong::Rule("a message is empty".to_owned())),
        }
    }

    async fn next(&self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_next(cx)).await
    }

    /// The socket answers a goodbye by itself, at its next turn: this is that turn. A server's leaves the answer in the stream below.
    async fn answer_goodbye(&self) {
        poll_fn(|cx| {
            let mut socket = self.socket.lock();
            let _ = Pin::new(&mut *socket).poll_next(cx);
            let _ = Pin::new(socket.get_mut()).poll_flush(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Tells the peer why its link ends and lets it read that: its input is thrown away for a moment.
    async fn refuse(&self, reason: CloseReason) {
        // Queued and tried at once; what the socket cannot take now was not going to be read anyway.
        let _ = Pin::new(&mut *self.socket.lock()).start_send(goodbye(&reason));
        let mut left = GOODBYE_BYTES;
        let listen = poll_fn(|cx| self.throw_away(cx, &mut left));
        let _ = timeout(GOODBYE, listen).await;
    }

    fn throw_away(&self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let mut socket = self.socket.lock();
        loop {
            let mut space = [0; 4096];
            let mut buf = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(socket.get_mut()).poll_read(cx, &mut buf));
            let bytes = buf.filled().len();
            *left = left.saturating_sub(bytes);
            if read.is_err() || bytes == 0 || *left == 0 {
                return Poll::Ready(());
            }
        }
    }

    async fn fail(&self, error: Error) -> LinkError {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => self.too_large(size, max_size).await,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => LinkError::Lost(NO_GOODBYE.to_owned()),
            error @ (Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_)) => self.rule(error.to_string()).await,
            other => lost(other),
        }
    }

    async fn too_large(&self, bytes: usize, max: usize) -> LinkError {
        let error = LinkError::FrameTooLarge { bytes, max };
        self.refuse(CloseReason::new(CloseCode::TooLarge, error.to_string())).await;
        error
    }

    async fn rule(&self, broken: String) -> LinkError {
        self.refuse(CloseReason::new(CloseCode::Protocol, broken.clone())).await;
        LinkError::Protocol(broken)
    }
}

impl LinkRx for WsRx {
    async fn recv(&mut self) -> Result<Received, LinkError> {
        loop {
            match self.next().await {
                Some(Ok(Message::Binary(message))) => {
                    let frame = self.frame(message);
                    self.counters.hold(self.bulk.len());
                    match frame {
                        Ok(Some(frame)) => return Ok(Received::Frame(frame)),
                        Ok(None) => {}
                        Err(Wrong::TooLarge(size)) => return Err(self.too_large(size, MAX_FRAME).await),
                        Err(Wrong::Rule(broken)) => return Err(self.rule(broken).await),
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    return Err(self.rule("text messages are not spoken here, only binary ones".to_owned()).await);
                }
                Some(Ok(Message::Close(frame))) => {
                    self.answer_goodbye().await;
                    return Ok(Received::Closed(received_reason(frame)));
                }
                Some(Err(error)) => return Err(self.fail(error).await),
                None => return Err(LinkError::Lost("the link has ended".to_owned())),
            }
        }
    }
}

/// What is said of a peer that was there and is gone.
const NO_GOODBYE: &str = "the connection ended without a goodbye";

fn lost(error: Error) -> LinkError {
    LinkError::Lost(match &error {
        // A process that was killed, or a path that ends connections: TLS calls it an attack, and it happens every day.
        Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => NO_GOODBYE.to_owned(),
        Error::Io(io) => TlsProblem::of(io).map_or_else(|| io.to_string(), |problem| problem.to_string()),
        Error::AlreadyClosed | Error::ConnectionClosed | Error::Protocol(ProtocolError::SendAfterClosing) => {
            "the link has ended".to_owned()
        }
        other => other.to_string(),
    })
}

fn goodbye(reason: &CloseReason) -> Message {
    Message::Close(Some(CloseFrame { code: WsCode::from(reason.code.number()), reason: reason.text.as_str().into() }))
}

fn received_reason(frame: Option<CloseFrame>) -> CloseReason {
    let Some(frame) = frame else { return CloseReason::new(CloseCode::Done, "") };
    CloseReason::new(CloseCode::of(frame.code.into()), frame.reason.as_str())
}
