//! The two halves of a WebSocket link.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode as WsCode, Data, OpCode};

use super::Shared;
use crate::limits::{FRAGMENT, GOODBYE, GOODBYE_BYTES};
use crate::link::{CloseCode, CloseReason, Lane, LinkError, LinkRx, LinkTx, Received, check_size};
use crate::tls::TlsProblem;

/// The sending half of a WebSocket link: one place, which both lanes share.
pub struct WsTx {
    socket: Shared,
    under_way: Option<UnderWay>,
}

/// What is left of a frame, and then of its flush.
struct UnderWay {
    rest: Option<Bytes>,
    begun: bool,
}

impl WsTx {
    pub(super) fn new(socket: Shared) -> Self {
        Self { socket, under_way: None }
    }

    async fn finish(&mut self) -> Result<(), LinkError> {
        let Some(frame) = &mut self.under_way else { return Ok(()) };
        while let Some(rest) = &mut frame.rest {
            poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_ready(cx)).await.map_err(lost)?;
            // From here to the next await nothing can be dropped: the piece is queued and noted as gone together.
            let piece = rest.split_to(rest.len().min(FRAGMENT));
            let last = rest.is_empty();
            let code = OpCode::Data(if frame.begun { Data::Continue } else { Data::Binary });
            frame.begun = true;
            if last {
                frame.rest = None;
            }
            let fragment = Message::Frame(Frame::message(piece, code, last));
            Pin::new(&mut *self.socket.lock()).start_send(fragment).map_err(lost)?;
        }
        poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_flush(cx)).await.map_err(lost)?;
        self.under_way = None;
        Ok(())
    }

    async fn say_goodbye(&mut self, reason: &CloseReason) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_ready(cx)).await?;
        Pin::new(&mut *self.socket.lock()).start_send(goodbye(reason))?;
        poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_flush(cx)).await?;
        poll_fn(|cx| Pin::new(self.socket.lock().get_mut()).poll_shutdown(cx)).await?;
        Ok(())
    }
}

impl LinkTx for WsTx {
    fn is_free(&self, _lane: Lane) -> bool {
        self.under_way.is_none()
    }

    fn begin(&mut self, lane: Lane, frame: Bytes) -> Result<(), LinkError> {
        check_size(&frame)?;
        if !self.is_free(lane) {
            return Err(LinkError::Busy);
        }
        self.under_way = Some(UnderWay { rest: Some(frame), begun: false });
        Ok(())
    }

    async fn progress(&mut self) -> Result<(), LinkError> {
        if self.under_way.is_none() {
            return std::future::pending().await;
        }
        self.finish().await
    }

    async fn close(&mut self, reason: CloseReason) {
        // A peer that cannot be told will see the connection end.
        let _ = timeout(GOODBYE, self.say_goodbye(&reason)).await;
    }
}

/// The receiving half of a WebSocket link.
pub struct WsRx {
    socket: Shared,
}

impl WsRx {
    pub(super) fn new(socket: Shared) -> Self {
        Self { socket }
    }

    async fn next(&self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| Pin::new(&mut *self.socket.lock()).poll_next(cx)).await
    }

    /// The socket answers a goodbye by itself, at its next turn: this is that turn.
    async fn answer_goodbye(&self) {
        poll_fn(|cx| {
            let _ = Pin::new(&mut *self.socket.lock()).poll_next(cx);
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
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                let error = LinkError::FrameTooLarge { bytes: size, max: max_size };
                self.refuse(CloseReason::new(CloseCode::TooLarge, error.to_string())).await;
                error
            }
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                LinkError::Lost("the connection ended without a goodbye".to_owned())
            }
            error @ (Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_)) => self.rule(error.to_string()).await,
            other => lost(other),
        }
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
                Some(Ok(Message::Binary(frame))) => return Ok(Received::Frame(frame)),
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

fn lost(error: Error) -> LinkError {
    LinkError::Lost(match &error {
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
