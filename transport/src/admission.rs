//! Who comes in at a link port, whatever it speaks: the judge, and why a connection did not become a link.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::identity::{CertificateError, NodeIdentity};
use crate::limits::{HANDSHAKE, HANDSHAKES_SHARE};

/// Judges a node whose certificate is proven, before it gets a link: `Err` is the text that it is told (the
/// certificate was revoked). Called on the runtime's threads, so it must not block.
pub type Admit = Arc<dyn Fn(&NodeIdentity) -> Result<(), String> + Send + Sync>;

pub(crate) const NO_CERTIFICATE: &str = "it shows no certificate";
pub(crate) const OTHER_CA: &str = "its certificate was issued by another CA";
pub(crate) const EXPIRED: &str = "its certificate has expired";

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port: stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
        _ => "",
    }
}

/// A connection that did not become a link. It cost nobody else anything.
#[derive(Debug, thiserror::Error)]
#[error("connection{} refused: {reason}", from(*remote))]
pub struct Refusal {
    /// Where it came from, if that is known.
    pub remote: Option<SocketAddr>,
    /// Why.
    pub reason: RefusalReason,
}

/// Without the port, which is another one each time: a log counts equal lines.
fn from(remote: Option<SocketAddr>) -> String {
    remote.map(|remote| format!(" from {}", remote.ip())).unwrap_or_default()
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub enum RefusalReason {
    /// The handshake took too long.
    #[error("no complete handshake within {} s", HANDSHAKE.as_secs())]
    Deadline,
    /// Too many were in a handshake, and it was the one to give way.
    #[error("many handshakes are in progress; it gave way to one from elsewhere, or had its time")]
    GaveWay,
    /// Too many from its address are in a handshake.
    #[error("more than {HANDSHAKES_SHARE} from its address are in a handshake; it is to come back")]
    Crowd,
    /// It went away by itself.
    #[error("it went away during the handshake: {0}")]
    Lost(io::Error),
    /// It does not speak TLS, shows no certificate, or one of another CA, or an expired one.
    #[error("{0}")]
    Tls(String),
    /// Its certificate is ours but names no node.
    #[error("{0}")]
    NoNode(CertificateError),
    /// [`Admit`] said no.
    #[error("node {node} is not admitted: {text}")]
    NotAdmitted {
        /// The node.
        node: String,
        /// What it was told.
        text: String,
    },
    /// It does not ask for `/link` with our subprotocol.
    #[error("it does not speak the link's WebSocket: {0}")]
    WebSocket(String),
    /// Its first streams are not those of the link.
    #[error("it does not speak the link's QUIC: {0}")]
    Quic(String),
    /// The system could not accept (no descriptors left?); the listener goes on after a pause.
    #[error("the system does not accept connections: {0}")]
    Accept(io::Error),
}
