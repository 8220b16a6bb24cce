//! Both ends of the link as state machines without I/O (`docs/design.md` §5).
//!
//! [`edge::EdgeSession`] and [`cloud::CloudSession`] live as long as one connection. A driver puts in what happened
//! (a frame, an answer of its store, a wake-up, the time) and takes out what to do: effects, and one frame at a time
//! whenever the link can take one. Of each heavy effect (apply, read the outbox, scan, commit) one is out at a time.
//! Whatever a session knows beside durable facts dies with it: a broken link loses nothing, because the next session
//! starts from what both stores hold.
//!
//! - `handshake`: versions, features, session numbers.
//! - Edge: `edge` (phases, timers), `edge_down` (batches until they are applied), `edge_up` (the outbox's window).
//! - Cloud: `cloud` (phases, timers), `cloud_words` (effects and facts), `follower` (what is scanned when), `inflight`
//!   (what is not acknowledged), `cloud_up` (the order of writes and their commit).
//! - `checks`: digests, repairs, records that were asked for. `ahead`: what goes to an edge that cannot take the stream.
//! - `pieces`: values that are larger than what a short contact carries. `outgoing`: small frames overtake bulk. `liveness`: silence, and a frame that is still on its way.

use alloc::vec::Vec;

use crate::frame::Reason;

mod ahead;
mod checks;
pub mod cloud;
mod cloud_up;
mod cloud_words;
pub mod edge;
mod edge_down;
mod edge_up;
mod follower;
pub mod handshake;
mod inflight;
mod liveness;
mod outgoing;
mod pieces;

pub use follower::Mode;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The peer said so; else this side did.
    pub by_peer: bool,
    /// The cloud did not let the session begin.
    pub refused: bool,
    /// Why.
    pub reason: Reason,
    /// When to come back, milliseconds; 0: as the back-off says.
    pub retry_ms: u64,
    /// The edge is to take another database id first: this one is a copy.
    pub renew: bool,
    /// Keeps the edge's place until it comes back with it; empty: none.
    pub ticket: Vec<u8>,
}

impl End {
    fn ours(reason: Reason) -> Self {
        Self { by_peer: false, refused: false, reason, retry_ms: 0, renew: false, ticket: Vec::new() }
    }

    fn theirs(reason: Reason) -> Self {
        // A hub that finds out later, by the content of a write, says it so.
        let renew = reason.code == "copied_database";
        Self { by_peer: true, refused: false, reason, retry_ms: 0, renew, ticket: Vec::new() }
    }
}

/// A breach of the protocol by the peer: the session says it and closes.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    code: &'static str,
    detail: alloc::string::String,
}

impl Breach {
    fn new(code: &'static str, detail: impl Into<alloc::string::String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<Breach> for Reason {
    fn from(breach: Breach) -> Self {
        Self { code: breach.code.into(), detail: breach.detail }
    }
}
