//! Why no link came up, in words for an operator, whatever was to carry it.

use std::future::Future;
use std::io;

use tokio::time::{Instant, timeout_at};

use crate::address::HostPort;
use crate::limits::HANDSHAKE;
use crate::tls::TlsProblem;

/// Why no link came up. Try again later, except where the reason says what to change.
#[derive(Debug, thiserror::Error)]
#[error("no link to {server}: {reason}")]
pub struct ConnectError {
    /// The address that was tried.
    pub server: HostPort,
    /// What went wrong.
    pub reason: ConnectReason,
}

/// The step that failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectReason {
    /// The five seconds were over.
    #[error("no answer within {} s ({step})", HANDSHAKE.as_secs())]
    Deadline {
        /// What was under way.
        step: &'static str,
    },
    /// The name is unknown, or there is no name server.
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// Nothing listens there, or no way leads there.
    #[error("{0}")]
    Tcp(io::Error),
    /// The proxy on the way there did not let it through.
    #[error("the proxy {proxy} {why}")]
    Proxy {
        /// Which one, without a password.
        proxy: String,
        /// What it did, and what to do.
        why: String,
    },
    /// The certificates do not fit.
    #[error("{0}")]
    Tls(TlsProblem),
    /// The hub said no, in words of HTTP.
    #[error("it refused with HTTP {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// The hub knows this node's certificate and does not let it in.
    #[error("it refused this node: {0}")]
    NotAdmitted(String),
    /// What answers does not speak our WebSocket.
    #[error("what answers is no link port: {0}")]
    WebSocket(String),
    /// UDP cannot be used here, or what answers does not speak our QUIC.
    #[error("QUIC failed: {0}")]
    Quic(String),
}

impl ConnectReason {
    /// What a node is told whose certificate is good and who is not to come in (it was revoked).
    pub fn not_admitted(&self) -> Option<&str> {
        match self {
            Self::NotAdmitted(text) | Self::Refused { status: 403, text } => Some(text),
            _ => None,
        }
    }
}

pub(crate) async fn by<T>(deadline: Instant, step: &'static str, future: impl Future<Output = T>) -> Result<T, ConnectReason> {
    timeout_at(deadline, future).await.map_err(|_| ConnectReason::Deadline { step })
}
