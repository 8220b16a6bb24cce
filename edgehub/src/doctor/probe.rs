//! What the hub's addresses answer. Everything runs side by side, each within [`PATIENCE`].

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::client::exchange;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, header};
use rustls::ClientConfig;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use transport::address::HostPort;
use transport::dial::{ConnectError, ConnectReason};
use transport::identity::CertificateFacts;
use transport::proxy::{self, Proxy};
use transport::tls::{CertificateClock, TlsProblem, join_client_config, looking_client_config};
use transport::token::JoinToken;

use super::{PATIENCE, SERVERS};
use crate::config::{RunConfig, Transport};
use crate::identity::Identity;
use crate::link::{self, Way};

const API_PORT: u16 = 10002;

/// What an address is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Link,
    Api,
}

/// Where the hub should be, and how it is spoken to.
pub(super) struct Hub {
    links: Vec<HostPort>,
    quic: Vec<HostPort>,
    way: Way,
    apis: Vec<HostPort>,
    link_tls: Option<Arc<ClientConfig>>,
    api_tls: Option<Arc<ClientConfig>>,
    /// As `api_tls`, by the system's clock alone: only to ask for the time.
    plain_tls: Option<Arc<ClientConfig>>,
}

/// Why an address is not what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Trouble {
    /// Nothing came within the time, during this step.
    Silent(&'static str),
    /// Nothing listens there.
    Refused,
    /// There is no such name, or no name server.
    Unresolved(String),
    /// No way leads there.
    Unreachable(String),
    /// The proxy on the way opens none.
    Proxy(String),
    /// Certificates, or no TLS at all.
    Tls(TlsProblem),
    /// The other side said no, in words.
    Said { status: u16, text: String },
    /// What answers speaks something else.
    Foreign(String),
}

impl Trouble {
    /// Whether the link's door said it: it knows the node's certificate and does not let it in.
    pub(super) fn is_gate(&self) -> bool {
        matches!(self, Self::Said { status: 403, .. })
    }

    fn of(error: &io::Error) -> Self {
        match (TlsProblem::of(error), error.kind()) {
            (Some(problem), _) => Self::Tls(problem),
            (None, io::ErrorKind::ConnectionRefused) => Self::Refused,
            (None, io::ErrorKind::TimedOut) => Self::Silent("connecting"),
            (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Self::Foreign(format!("it hangs up ({error})")),
            (None, _) => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<ConnectError> for Trouble {
    fn from(error: ConnectError) -> Self {
        match error.reason {
            ConnectReason::Deadline { step } => Self::Silent(step),
            ConnectReason::Resolve(error) => Self::Unresolved(error.to_string()),
            ConnectReason::Tcp(error) => Self::of(&error),
            ConnectReason::Tls(problem) => Self::Tls(problem),
            ConnectReason::Refused { status, text } => Self::Said { status, text },
            ConnectReason::NotAdmitted(text) => Self::Said { status: 403, text },
            ConnectReason::WebSocket(text) | ConnectReason::Quic(text) => Self::Foreign(text),
            proxy @ ConnectReason::Proxy { .. } => Self::Proxy(proxy.to_string()),
        }
    }
}

/// What one address answered.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) role: Role,
    pub(super) server: HostPort,
    /// The proxy on the way.
    pub(super) through: Option<HostPort>,
    pub(super) took: Duration,
    pub(super) trouble: Option<Trouble>,
    /// The certificate that it showed, where that was looked at.
    pub(super) shown: Option<CertificateFacts>,
    /// Its time, milliseconds since 1970.
    pub(super) hub_ms: Option<u64>,
}

/// How a name was resolved.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    pub(super) host: String,
    pub(super) result: Result<Vec<String>, String>,
    pub(super) took: Duration,
}

/// What all addresses answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    pub(super) lookups: Vec<Lookup>,
    pub(super) links: Vec<Probe>,
    /// Where QUIC is tried beside the links.
    pub(super) quic: Vec<Probe>,
    pub(super) apis: Vec<Probe>,
}

impl Probes {
    /// Whether there was nothing to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.apis.is_empty()
    }

    /// Links, then APIs.
    pub(super) fn all(&self) -> impl Iterator<Item = &Probe> {
        self.links.iter().chain(&self.apis)
    }

    /// The hub's time, where it told it.
    pub(super) fn hub_time_ms(&self) -> Option<u64> {
        self.all().find_map(|probe| probe.hub_ms)
    }
}

impl Hub {
    /// What the configuration says, or else what the hub said at the join.
    pub(super) fn of(config: &RunConfig, identity: Option<&Identity>, token: Option<&JoinToken>, clock: CertificateClock) -> Self {
        let told = identity.map(|identity| identity.servers().clone()).unwrap_or_default();
        let parse = |texts: &[String], port| texts.iter().filter_map(|text| HostPort::parse(text, port).ok()).take(SERVERS).collect();
        let written = |server: &api::config::HostPort, port: u16| HostPort { host: server.host.clone(), port: server.port.unwrap_or(port) };
        // TCP says more of what is wrong than UDP does: QUIC only where nothing else is to be used.
        let way = if config.link.transport == Transport::Quic { Way::Quic } else { Way::WebSocket };
        let servers = link::servers(&config.link, &told);
        let at = |way| servers.iter().take(SERVERS).filter_map(|server| server.at(way).cloned()).collect();
        let beside = config.link.transport == Transport::Auto && !config.link.metered && identity.is_some();
        let apis = match (&config.join.server, identity) {
            (Some(server), None) => vec![written(server, API_PORT)],
            _ => parse(&told.api, API_PORT),
        };
        let api_tls = |clock: CertificateClock| match (identity, token) {
            (Some(identity), _) => identity.api_tls(clock).ok(),
            (None, Some(token)) => Some(join_client_config(token.ca_sha256(), clock)),
            (None, None) => None,
        };
        Self {
            links: at(way),
            quic: if beside { at(Way::Quic) } else { Vec::new() },
            way,
            apis,
            link_tls: identity.and_then(|identity| identity.link_tls(Arc::clone(&clock)).ok()),
            api_tls: api_tls(clock),
            plain_tls: api_tls(Arc::new(SystemTime::now)),
        }
    }

    /// Asks all of them.
    pub(super) async fn probe(&self) -> Probes {
        let names: BTreeSet<&str> = self.links.iter().chain(&self.apis).map(|server| server.host.as_str()).collect();
        let names = names.into_iter().filter(|host| host.parse::<IpAddr>().is_err());
        let (lookups, links, quic, apis) = tokio::join!(
            join_all(names.map(resolve)),
            join_all(self.links.iter().map(|server| self.one(Role::Link, self.way, server))),
            join_all(self.quic.iter().map(|server| self.one(Role::Link, Way::Quic, server))),
            join_all(self.apis.iter().map(|server| self.one(Role::Api, Way::WebSocket, server))),
        );
        Probes { lookups, links, quic, apis }
    }

    async fn link(way: Way, server: &HostPort, tls: Arc<ClientConfig>) -> Result<(), Trouble> {
        let connected = match way {
            Way::Quic => transport::quic::connect(server, tls).await.map(drop),
            Way::WebSocket => transport::ws::connect_through(server, tls, proxy_to(server)?.as_ref()).await.map(drop),
        };
        connected.map_err(Trouble::from)
    }

    async fn one(&self, role: Role, way: Way, server: &HostPort) -> Probe {
        let proxy = if way == Way::Quic { None } else { proxy_to(server).ok().flatten() };
        let through = proxy.map(|proxy| proxy.at);
        let mut probe = Probe { role, server: server.clone(), through, took: Duration::ZERO, trouble: None, shown: None, hub_ms: None };
        let begun = Instant::now();
        let asked = timeout(PATIENCE, async {
            let result = match (role, &self.link_tls, &self.api_tls) {
                (Role::Link, Some(tls), _) => Self::link(way, server, Arc::clone(tls)).await,
                (Role::Api, _, Some(tls)) => https(server, Arc::clone(tls)).await.map(|found| {
                    probe.shown = found.shown;
                    probe.hub_ms = found.hub_ms;
                }),
                // Without an identity or a token nobody can be trusted: only whether somebody speaks TLS there.
                _ => speaks_tls(server).await,
            };
            probe.took = begun.elapsed();
            if let Err(trouble) = result {
                if let (Trouble::Tls(TlsProblem::Expired { .. }), Role::Api, Some(tls)) = (&trouble, role, &self.plain_tls) {
                    probe.hub_ms = https(server, Arc::clone(tls)).await.ok().and_then(|found| found.hub_ms);
                }
                if let Trouble::Tls(TlsProblem::OtherCa | TlsProblem::PinMismatch | TlsProblem::Expired { .. }) = trouble {
                    probe.shown = shown_by(server).await;
                }
                probe.trouble = Some(trouble);
            }
        });
        if asked.await.is_err() && probe.trouble.is_none() {
            probe.trouble = Some(Trouble::Silent("connecting, or its first answer"));
        }
        probe
    }
}

async fn resolve(host: &str) -> Lookup {
    let begun = Instant::now();
    let result = match timeout(PATIENCE, lookup_host((host, 0))).await {
        Ok(Ok(found)) => {
            let found: BTreeSet<_> = found.map(|address| address.ip().to_string()).collect();
            if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found.into_iter().collect()) }
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer from the name server within {} s", PATIENCE.as_secs())),
    };
    Lookup { host: host.to_owned(), result, took: begun.elapsed() }
}

/// What a hub's API shows.
struct Found {
    shown: Option<CertificateFacts>,
    hub_ms: Option<u64>,
}

fn proxy_to(server: &HostPort) -> Result<Option<Proxy>, Trouble> {
    Proxy::of_environment(server).map_err(|error| Trouble::Proxy(error.to_string()))
}

async fn dial(server: &HostPort, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Trouble> {
    let opened = proxy::open(server, proxy_to(server)?.as_ref(), tokio::time::Instant::now() + PATIENCE).await;
    let (tcp, _) = opened.map_err(|reason| Trouble::from(ConnectError { server: server.clone(), reason }))?;
    let name = server.server_name().ok_or_else(|| Trouble::Unresolved("it is not a valid name".to_owned()))?;
    TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| Trouble::of(&error))
}

/// GET /healthz: who answers, and what its clock says.
async fn https(server: &HostPort, tls: Arc<ClientConfig>) -> Result<Found, Trouble> {
    let stream = dial(server, tls).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(|own| CertificateFacts::read(own).ok());
    let broken = |error: hyper::Error| {
        let io = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
        io.map_or_else(|| Trouble::Foreign(error.to_string()), Trouble::of)
    };
    let request = Request::get("/healthz").header(header::HOST, server.to_string()).body(Bytes::new());
    let request = request.map_err(|error| Trouble::Foreign(error.to_string()))?;
    let (head, _) = exchange(Box::new(stream), request, None).await.map_err(broken)?;
    let date = head.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let hub_ms = date.and_then(|date| httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok());
    match head.status.as_u16() {
        200 => Ok(Found { shown, hub_ms: hub_ms.and_then(|since| u64::try_from(since.as_millis()).ok()) }),
        status => Err(Trouble::Foreign(format!("it answers HTTP {status} where a hub's API says that it lives"))),
    }
}

/// The certificate that is shown there, whoever's it is.
async fn shown_by(server: &HostPort) -> Option<CertificateFacts> {
    let (tls, shown) = looking_client_config();
    // Ends in an error by design.
    let _ = dial(server, tls).await;
    shown.chain().first().and_then(|own| CertificateFacts::read(own).ok())
}

async fn speaks_tls(server: &HostPort) -> Result<(), Trouble> {
    let (tls, shown) = looking_client_config();
    match dial(server, tls).await {
        Err(trouble) if shown.chain().is_empty() => Err(trouble),
        _ => Ok(()),
    }
}
