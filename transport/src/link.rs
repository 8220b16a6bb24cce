//! What a session's driver knows of a link, whatever carries it.
//!
//! A link carries frames in two lanes each way, reliably. Within a lane frames keep their order, and a bulk frame is never
//! delivered before a control frame that was begun before it. A control frame may overtake bulk: always on its way into the link,
//! and over QUIC, which gives each lane a stream, also inside. Over a WebSocket both lanes share one stream.
//!
//! Transports that can open further streams (QUIC, for each ServiceBus request) will offer them beside these; a driver
//! that only knows this trait goes on working.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::counters::LinkCounters;
use crate::identity::PeerIdentity;
use crate::limits::{CLOSE_TEXT, MAX_FRAME};

/// A connection to a peer whose identity is proven, before it is split for use.
pub trait Link: Send + 'static {
    /// The half that sends.
    type Tx: LinkTx;
    /// The half that receives.
    type Rx: LinkRx;

    /// Who is at the other end, as its certificate says.
    fn peer(&self) -> &PeerIdentity;

    /// What carries the link.
    fn transport(&self) -> TransportKind;

    /// The other end's address, for people.
    fn remote(&self) -> String;

    /// Bytes in both directions, counted as they pass; valid for as long as the link.
    fn counters(&self) -> Arc<LinkCounters>;

    /// The two halves. The link ends when both are dropped.
    fn split(self) -> (Self::Tx, Self::Rx);
}

/// Which frames wait for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Small frames that something waits for.
    Control,
    /// Records and outcomes down, writes up.
    Bulk,
}

/// The sending half: a place for one frame a lane, or one for both where the transport has one stream.
pub trait LinkTx: Send + 'static {
    /// Whether [`LinkTx::begin`] can be called for this lane.
    fn is_free(&self, lane: Lane) -> bool;

    /// Hands over a frame. [`LinkTx::progress`] sends it.
    ///
    /// # Errors
    /// [`LinkError::FrameTooLarge`] sends nothing and leaves the link usable; [`LinkError::Busy`] where the lane is not free.
    fn begin(&mut self, lane: Lane, frame: Bytes) -> Result<(), LinkError>;

    /// Sends what was begun. Ready when the network's side has taken all of a frame, so a slow peer slows the caller down: a
    /// lane is free again. Never ready while nothing is under way. Dropping the future midway loses nothing.
    ///
    /// # Errors
    /// The link is over.
    fn progress(&mut self) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Tells the peer that and why the link ends, waiting a second at most. Afterwards drop both halves.
    fn close(&mut self, reason: CloseReason) -> impl Future<Output = ()> + Send;

    /// Sends one control frame and waits until it is on its way; what was begun before goes with it.
    ///
    /// # Errors
    /// As [`LinkTx::begin`] and [`LinkTx::progress`].
    fn send(&mut self, frame: Bytes) -> impl Future<Output = Result<(), LinkError>> + Send {
        self.send_in(Lane::Control, frame)
    }

    /// Sends one frame in a lane and waits until it is on its way.
    ///
    /// # Errors
    /// As [`LinkTx::begin`] and [`LinkTx::progress`].
    fn send_in(&mut self, lane: Lane, frame: Bytes) -> impl Future<Output = Result<(), LinkError>> + Send {
        async move {
            check_size(&frame)?;
            while !self.is_free(lane) {
                self.progress().await?;
            }
            self.begin(lane, frame)?;
            while !self.is_free(lane) {
                self.progress().await?;
            }
            Ok(())
        }
    }
}

/// The bound that both sides judge by.
pub(crate) fn check_size(frame: &Bytes) -> Result<(), LinkError> {
    if frame.len() > MAX_FRAME {
        return Err(LinkError::FrameTooLarge { bytes: frame.len(), max: MAX_FRAME });
    }
    Ok(())
}

/// The receiving half.
pub trait LinkRx: Send + 'static {
    /// The next frame, or the peer's goodbye. Dropping the future midway loses nothing. Bytes arrive only while
    /// it is polled; see [`LinkCounters`] for how many came so far.
    ///
    /// # Errors
    /// The link is over; where the peer broke a rule it has been told which.
    fn recv(&mut self) -> impl Future<Output = Result<Received, LinkError>> + Send;
}

/// What [`LinkRx::recv`] delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// One whole frame.
    Frame(Bytes),
    /// The peer ended the link in good order. Nothing follows.
    Closed(CloseReason),
}

/// What carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportKind {
    /// WebSocket over TLS over TCP.
    WebSocket,
    /// QUIC over UDP.
    Quic,
    /// Two ends in one process.
    Memory,
}

impl TransportKind {
    /// As in the API's `transport`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Quic => "quic",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a link was ended: a code for programs, a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// The kind of end.
    pub code: CloseCode,
    /// What happened; may be empty.
    pub text: String,
}

impl CloseReason {
    /// A reason; the text is cut to what a close frame can carry.
    pub fn new(code: CloseCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let end = text.floor_char_boundary(CLOSE_TEXT);
        text.truncate(end);
        Self { code, text }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.code {
            CloseCode::Done => "closed by the peer",
            CloseCode::GoingAway => "the peer is stopping",
            CloseCode::Protocol => "the peer reports a protocol error",
            CloseCode::Refused => "refused by the peer",
            CloseCode::TooLarge => "the peer refused a frame as too large",
            CloseCode::Other(code) => return write!(f, "closed by the peer with code {code}: {}", self.text),
        };
        if self.text.is_empty() { f.write_str(code) } else { write!(f, "{code}: {}", self.text) }
    }
}

/// The kinds of end that both sides know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// Nothing is left to say.
    Done,
    /// The process stops; try again.
    GoingAway,
    /// What came was no frame, or none that belongs here.
    Protocol,
    /// The session was refused; the frame before said why.
    Refused,
    /// A frame was larger than [`crate::limits::MAX_FRAME`].
    TooLarge,
    /// A code that this side does not use.
    Other(u16),
}

impl CloseCode {
    /// Its number on the wire, which is WebSocket's (RFC 6455, 7.4.1) on every transport.
    pub fn number(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Refused => 1008,
            Self::TooLarge => 1009,
            Self::Other(number) => number,
        }
    }

    /// What a number says.
    pub fn of(number: u16) -> Self {
        let known = [Self::Done, Self::GoingAway, Self::Protocol, Self::Refused, Self::TooLarge];
        known.into_iter().find(|code| code.number() == number).unwrap_or(Self::Other(number))
    }
}

/// Why a link cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A frame above the bound, sent or received. When sending, nothing left and the link is still good.
    #[error("a frame of {bytes} bytes is larger than the link's bound of {max} bytes")]
    FrameTooLarge {
        /// Its size, or how much of it had arrived when it passed the bound.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The lane still holds a frame: [`LinkTx::progress`] first.
    #[error("a frame is still on its way in this lane")]
    Busy,
    /// The peer sent something that this link does not speak; it has been told.
    #[error("the peer broke the link's rules: {0}")]
    Protocol(String),
    /// The connection broke or was cut. Connect again.
    #[error("the link is lost: {0}")]
    Lost(String),
}
