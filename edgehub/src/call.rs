//! One call to the hub's HTTPS API, for joining and for renewing a certificate: JSON there, JSON back.

use std::sync::Arc;
use std::time::Duration;

use api::client::exchange;
use bytes::Bytes;
use http::{Method, Request, header};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use transport::address::HostPort;
use transport::proxy::{self, Proxy};
use transport::tls::TlsProblem;

/// How long a call may take; a join waits for two fsyncs at the hub.
const DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer: a certificate chain is a few KiB.
const MAX_ANSWER: usize = 256 * 1024;

/// Why a call has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody answers; later may be better.
    #[error("cannot reach {server}: {reason}")]
    Unreachable {
        /// The hub.
        server: HostPort,
        /// What the system said.
        reason: String,
    },
    /// Somebody answers, and certificates do not fit.
    #[error("{server}: {problem}")]
    Tls {
        /// The hub.
        server: HostPort,
        /// What does not fit.
        problem: TlsProblem,
    },
    /// The hub said no.
    #[error("{detail}")]
    Refused {
        /// The stable code.
        code: String,
        /// For people.
        detail: String,
    },
    /// The answer cannot be read.
    #[error("{server} answered what this version cannot read: {reason}")]
    Answer {
        /// The hub.
        server: HostPort,
        /// What is wrong with it.
        reason: String,
    },
}

impl CallError {
    /// Whether trying again later can help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => matches!(code.as_str(), "unavailable" | "rate" | "internal"),
            _ => false,
        }
    }
}

/// POSTs `body` to `path` of the hub's API.
pub(crate) async fn call<T: DeserializeOwned>(
    server: &HostPort,
    tls: Arc<ClientConfig>,
    path: &str,
    body: &impl Serialize,
) -> Result<T, CallError> {
    let text = serde_json::to_vec(body).map_err(|error| answer(server, error))?;
    let (status, text) = tokio::time::timeout(DEADLINE, post(server, tls, path, text))
        .await
        .map_err(|_| unreachable(server, format!("no answer within {} s", DEADLINE.as_secs())))??;
    if status.is_success() {
        return serde_json::from_slice(&text).map_err(|error| answer(server, error));
    }
    let problem: Problem = serde_json::from_slice(&text).map_err(|error| answer(server, format!("{status}, {error}")))?;
    Err(CallError::Refused { code: problem.code, detail: problem.detail })
}

#[derive(serde::Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

async fn post(server: &HostPort, tls: Arc<ClientConfig>, path: &str, body: Vec<u8>) -> Result<(http::StatusCode, Bytes), CallError> {
    let proxy = Proxy::of_environment(server).map_err(|error| unreachable(server, error))?;
    let (tcp, _) = proxy::open(server, proxy.as_ref(), Instant::now() + DEADLINE).await.map_err(|error| unreachable(server, error))?;
    let name = server.server_name().ok_or_else(|| unreachable(server, "its name is not valid"))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| broken(server, error))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, server.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body))
        .map_err(|error| unreachable(server, error))?;
    let (head, body) = exchange(Box::new(stream), request, Some(MAX_ANSWER)).await.map_err(|error| hyper_problem(server, &error))?;
    Ok((head.status, body.map_err(|reason| answer(server, reason))?))
}

/// In TLS 1.3 the link port's demand for a certificate arrives only with the first read.
fn hyper_problem(server: &HostPort, error: &hyper::Error) -> CallError {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match io.and_then(TlsProblem::of) {
        Some(problem) => CallError::Tls { server: server.clone(), problem },
        None => unreachable(server, error),
    }
}

fn broken(server: &HostPort, error: std::io::Error) -> CallError {
    match TlsProblem::of(&error) {
        Some(problem) => CallError::Tls { server: server.clone(), problem },
        None => unreachable(server, error),
    }
}

fn unreachable(server: &HostPort, reason: impl ToString) -> CallError {
    CallError::Unreachable { server: server.clone(), reason: reason.to_string() }
}

fn answer(server: &HostPort, reason: impl ToString) -> CallError {
    CallError::Answer { server: server.clone(), reason: reason.to_string() }
}
