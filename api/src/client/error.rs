//! What can go wrong between a client and a hub.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Why a request has no good answer. The text is complete: it names the hub, the data folder and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket of an edge is not there.
    #[error("no edgehub runs on {} (there is no {}); start it: edgehub run --data {}", data.display(), socket.display(), data.display())]
    NotRunning {
        /// The edge's data folder.
        data: PathBuf,
        /// The socket that should be in it.
        socket: PathBuf,
    },
    /// The socket file is there, but nobody answers on it, or this user may not.
    #[error("cannot reach edgehub through {}: {reason}; {advice}", socket.display())]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// No connection.
    #[error("cannot reach {hub}: {reason}; {advice}")]
    Connect {
        /// The hub as it was named.
        hub: String,
        /// What the system said.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A connection, but not to a hub that our CA vouches for.
    #[error("{hub} is not the hub that {ca} vouches for: {reason}")]
    Tls {
        /// The hub as it was named.
        hub: String,
        /// The CA file.
        ca: String,
        /// What the handshake said.
        reason: String,
    },
    /// No answer in time.
    #[error("{hub} did not answer within {} s; the request may still have been done", deadline.as_secs())]
    Deadline {
        /// The hub as it was named.
        hub: String,
        /// How long it had.
        deadline: Duration,
    },
    /// The connection broke during a request or its answer.
    #[error("the connection to {hub} broke: {reason}; the request may still have been done")]
    Broken {
        /// The hub as it was named.
        hub: String,
        /// Where it broke.
        reason: String,
    },
    /// The answer is not what a hub of this version says.
    #[error("{hub} answered {what}")]
    Unexpected {
        /// The hub as it was named.
        hub: String,
        /// What it answered.
        what: String,
    },
    /// The input of an upload could not be read.
    #[error("cannot read {what}: {reason}; nothing was changed")]
    Input {
        /// The file, or standard input.
        what: String,
        /// What the system said.
        reason: String,
    },
    /// The hub refused the request and says why.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

/// A problem document (RFC 9457) as a hub sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Short text of the kind of problem.
    pub title: String,
    /// What happened and what to do, for people; may be empty.
    pub detail: String,
    /// Stable name of the problem, e.g. `key_taken`.
    pub code: String,
    /// The collection that it is about.
    pub collection: Option<String>,
    /// The key that it is about.
    pub key: Option<String>,
    /// The field that it is about, dotted in a definition.
    pub field: Option<String>,
    /// The line (from 1) of an import that is wrong.
    pub line: Option<u64>,
}

impl Refusal {
    /// What `status` says when the answer's body is no problem document.
    pub(super) fn plain(status: http::StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("an unknown status").to_owned();
        Self { status: status.as_u16(), title, ..Self::default() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        match self.code.as_str() {
            "" => write!(f, "{text} (status {})", self.status),
            code => write!(f, "{text} ({code})"),
        }
    }
}
