//! Links over real loopback sockets, with certificates made for the occasion.
#![allow(clippy::unwrap_used)]

mod ahead;
mod authority;
mod bounds;
mod crowded;
mod deadlines;
mod joining;
mod lanes;
mod moving;
mod mutual_tls;
mod proxied;
mod quic_bounds;

use std::sync::Arc;

use authority::Authority;
use rustls::{ClientConfig, ServerConfig};
use transport::address::HostPort;
use transport::admission::{Admit, BindError, Refusal};
use transport::any::{AnyLink, AnyListener};
use transport::dial::ConnectError;
use transport::link::TransportKind;
use transport::quic::{QuicListener, ResetKey};
use transport::swap::Swap;
use transport::ws::WsListener;

/// What carries the links of a test that runs over each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    WebSocket,
    Quic,
}

/// Runs each of these over both carriers.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod websocket {
            $(#[tokio::test] async fn $name() { super::$name($crate::Carrier::WebSocket).await; })*
        }
        mod quic {
            $(#[tokio::test] async fn $name() { super::$name($crate::Carrier::Quic).await; })*
        }
    };
}
use on_both;

impl Carrier {
    fn kind(self) -> TransportKind {
        match self {
            Self::WebSocket => TransportKind::WebSocket,
            Self::Quic => TransportKind::Quic,
        }
    }

    fn bind(self, address: &str, tls: Arc<Swap<ServerConfig>>, admit: Admit) -> Result<AnyListener, BindError> {
        let address = address.parse().unwrap();
        match self {
            Self::WebSocket => WsListener::bind(address, tls, admit).map(AnyListener::Ws),
            Self::Quic => QuicListener::bind(address, tls, admit, ResetKey([7; 32])).map(AnyListener::Quic),
        }
    }

    async fn connect(self, server: &HostPort, tls: Arc<ClientConfig>) -> Result<AnyLink, ConnectError> {
        match self {
            Self::WebSocket => transport::ws::connect(server, tls).await.map(AnyLink::from),
            Self::Quic => transport::quic::connect(server, tls).await.map(AnyLink::from),
        }
    }
}

/// A listener on a free loopback port, which admits everybody whom the CA vouches for.
fn listen(carrier: Carrier, authority: &Authority) -> (AnyListener, HostPort) {
    listen_with(carrier, Arc::new(Swap::new(authority.link_server())), Arc::new(|_| Ok(())))
}

fn listen_with(carrier: Carrier, tls: Arc<Swap<ServerConfig>>, admit: Admit) -> (AnyListener, HostPort) {
    let listener = carrier.bind("127.0.0.1:0", tls, admit).unwrap();
    let server = HostPort { host: "localhost".to_owned(), port: listener.local_addr().port() };
    (listener, server)
}

/// What the server makes of its next connection, while `client` runs beside it.
async fn beside<T>(listener: &mut AnyListener, client: impl Future<Output = T>) -> (Result<AnyLink, Refusal>, T) {
    tokio::join!(listener.accept(), client)
}

/// Both ends of a link: the edge's, then the hub's.
async fn linked(carrier: Carrier) -> (AnyLink, AnyLink) {
    let authority = Authority::new();
    let (mut listener, server) = listen(carrier, &authority);
    let tls = authority.link_client(&authority.node("lyon"));
    let (accepted, connected) = beside(&mut listener, carrier.connect(&server, tls)).await;
    (connected.unwrap(), accepted.unwrap())
}
