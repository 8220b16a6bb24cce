//! Links over real loopback sockets, with certificates made for the occasion.
#![allow(clippy::unwrap_used)]

mod authority;
mod bounds;
mod deadlines;
mod joining;
mod mutual_tls;

use std::sync::Arc;

use authority::Authority;
use rustls::ServerConfig;
use transport::address::HostPort;
use transport::swap::Swap;
use transport::ws::{Admit, Refusal, WsLink, WsListener};

/// A listener on a free loopback port, which admits everybody whom the CA vouches for.
fn listen(authority: &Authority) -> (WsListener, HostPort) {
    listen_with(Arc::new(Swap::new(authority.link_server())), Arc::new(|_| Ok(())))
}

fn listen_with(tls: Arc<Swap<ServerConfig>>, admit: Admit) -> (WsListener, HostPort) {
    let listener = WsListener::bind("127.0.0.1:0".parse().unwrap(), tls, admit).unwrap();
    let server = HostPort { host: "localhost".to_owned(), port: listener.local_addr().port() };
    (listener, server)
}

/// What the server makes of its next connection, while `client` runs beside it.
async fn beside<T>(listener: &mut WsListener, client: impl Future<Output = T>) -> (Result<WsLink, Refusal>, T) {
    tokio::join!(listener.accept(), client)
}
