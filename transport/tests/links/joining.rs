//! Joining: the token's hash decides which CA is trusted, and clocks that are far behind do not matter.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::duplex;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use transport::tls::{Credentials, TlsConfigError, TlsProblem, api_client_config, api_server_config, join_client_config};

use crate::authority::{Authority, DAY, clock, today};

/// A handshake with the API of `hub`, as a client with this configuration sees it.
async fn handshake(server: Arc<ServerConfig>, client: Arc<ClientConfig>, name: &'static str) -> Result<(), TlsProblem> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from(name).unwrap();
    let connect = TlsConnector::from(client).connect(name, near);
    let (_accepted, connected) = tokio::join!(TlsAcceptor::from(server).accept(far), connect);
    connected.map(|_| ()).map_err(|error: io::Error| TlsProblem::of(&error).unwrap())
}

fn api(authority: &Authority) -> Arc<ServerConfig> {
    api_server_config(&authority.hub(), clock(today())).unwrap()
}

#[tokio::test]
async fn the_pinned_ca_is_trusted_and_no_other() {
    let (authority, other) = (Authority::new(), Authority::new());
    let join = |pin| join_client_config(pin, clock(today()));
    assert_eq!(handshake(api(&authority), join(authority.sha256()), "localhost").await, Ok(()));
    let wrong = handshake(api(&authority), join(other.sha256()), "localhost").await;
    assert_eq!(wrong, Err(TlsProblem::PinMismatch));
}

#[tokio::test]
async fn a_stolen_ca_certificate_in_the_chain_proves_nothing() {
    // Somebody in between sends the right CA, which is public, with a certificate of its own making.
    let (authority, attacker) = (Authority::new(), Authority::new());
    let Credentials { mut chain, key } = attacker.hub();
    chain[1] = authority.certificate.clone();
    let server = api_server_config(&Credentials { chain, key }, clock(today())).unwrap();
    let join = join_client_config(authority.sha256(), clock(today()));
    assert_eq!(handshake(server, join, "localhost").await, Err(TlsProblem::OtherCa));
}

#[tokio::test]
async fn the_name_counts_when_joining() {
    let authority = Authority::new();
    let join = join_client_config(authority.sha256(), clock(today()));
    let refused = handshake(api(&authority), join, "elsewhere.example").await;
    assert!(matches!(refused, Err(TlsProblem::WrongName { asked, .. }) if asked == "elsewhere.example"));
}

#[tokio::test]
async fn a_clock_of_1970_does_not_keep_a_node_out() {
    let authority = Authority::new();
    let join = join_client_config(authority.sha256(), clock(SystemTime::UNIX_EPOCH));
    assert_eq!(handshake(api(&authority), join, "localhost").await, Ok(()));
    let api_client = api_client_config(&authority.cas(), clock(SystemTime::UNIX_EPOCH)).unwrap();
    assert_eq!(handshake(api(&authority), api_client, "localhost").await, Ok(()));
}

#[tokio::test]
async fn an_expired_hub_is_refused() {
    let authority = Authority::new();
    let join = join_client_config(authority.sha256(), clock(today() + 60 * DAY));
    assert!(matches!(handshake(api(&authority), join, "localhost").await, Err(TlsProblem::Expired { .. })));
}

#[test]
fn credentials_that_do_not_fit_are_refused() {
    let authority = Authority::new();
    let mixed = Credentials { chain: authority.hub().chain, key: authority.hub().key };
    let error = api_server_config(&mixed, clock(today())).unwrap_err();
    assert!(matches!(error, TlsConfigError::Credentials(_)), "{error}");
    let none = api_client_config(&[], clock(today())).unwrap_err();
    assert!(matches!(none, TlsConfigError::Ca(_)), "{none}");
}

/// Found while node certificates were made fit to serve: a node that is called like the hub could have passed for it.
#[tokio::test]
async fn a_node_does_not_pass_for_the_hub() {
    let authority = Authority::new();
    let server = api_server_config(&authority.impostor(), clock(today())).unwrap();
    for client in [join_client_config(authority.sha256(), clock(today())), api_client_config(&authority.cas(), clock(today())).unwrap()] {
        assert_eq!(handshake(Arc::clone(&server), client, "localhost").await, Err(TlsProblem::NodeForHub));
    }
}
