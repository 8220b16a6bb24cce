//! What travels when a node joins (`POST /v1/join`) and when it renews its certificate (`POST /v1/renew`), JSON
//! both ways, over HTTPS.

use serde::{Deserialize, Serialize};

/// What a new machine asks.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token's secret, see [`crate::token::Secret::to_text`].
    pub secret: String,
    /// The name that the machine would like; a token that is bound to a name decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The signing request, PEM. Only its public key is used.
    pub csr: String,
    /// The version of the edgehub that asks.
    pub version: String,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("node", &self.node).field("version", &self.version).finish_non_exhaustive()
    }
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinResponse {
    /// The node's name from now on.
    pub node: String,
    /// Its certificate, PEM, with the chain up to the CA.
    pub certificate: String,
    /// The CA's certificate, PEM.
    pub ca: String,
    /// Where the hub can be reached.
    pub servers: Servers,
    /// The hub's time, RFC 3339.
    pub time: String,
}

/// The hub's addresses, `HOST:PORT` each, best first. A list may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Servers {
    /// Links over WebSocket.
    #[serde(default)]
    pub websocket: Vec<String>,
    /// Links over QUIC.
    #[serde(default)]
    pub quic: Vec<String>,
    /// The HTTPS API.
    #[serde(default)]
    pub api: Vec<String>,
}

/// How a node asks for its next certificate, also after the present one has ended: the request is signed with
/// the certificate's own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// The present certificate, PEM.
    pub certificate: String,
    /// A signing request made with the same key, PEM.
    pub csr: String,
}
