//! Who gets a link and who does not, seen from both sides.

use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use transport::admission::RefusalReason;
use transport::dial::{ConnectError, ConnectReason};
use transport::identity::PeerIdentity;
use transport::limits::FRAGMENT;
use transport::link::{CloseCode, CloseReason, Link, LinkRx, LinkTx, Received};
use transport::swap::Swap;
use transport::tls::{TlsProblem, api_client_config, link_client_config, link_server_config};

use crate::authority::{Authority, DAY, clock, today};
use crate::{Carrier, beside, listen, listen_with, on_both};

on_both!(
    node_and_hub_prove_themselves_and_talk,
    no_certificate_no_session,
    a_certificate_of_another_ca_is_no_session,
    a_certificate_that_names_no_node_is_no_session,
    a_hub_certificate_is_no_node,
    a_revoked_node_is_told_so,
    the_edge_names_what_is_wrong_with_the_hub,
    an_expired_node_is_refused_by_the_hubs_clock,
    a_swapped_certificate_serves_the_next_handshake_and_leaves_links_alone,
    a_port_in_use_is_said_plainly,
);

async fn node_and_hub_prove_themselves_and_talk(carrier: Carrier) {
    let authority = Authority::new();
    let (mut listener, server) = listen(carrier, &authority);
    let tls = authority.link_client(&authority.node("lyon"));
    let (accepted, connected) = beside(&mut listener, carrier.connect(&server, tls)).await;
    let (accepted, connected) = (accepted.unwrap(), connected.unwrap());

    assert_eq!(accepted.peer().node().unwrap().name.as_str(), "lyon");
    assert!(matches!(connected.peer(), PeerIdentity::Hub(hub) if hub.name == server.to_string()));
    assert_eq!(accepted.transport(), carrier.kind());
    let counters = accepted.counters();
    let handshake = counters.received();

    let ((mut up, mut down), (mut to_edge, mut from_edge)) = (connected.split(), accepted.split());
    for size in [0, 1, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 300_000] {
        let frame = Bytes::from(vec![7; size]);
        let (sent, received) = tokio::join!(up.send(frame.clone()), from_edge.recv());
        sent.unwrap();
        assert_eq!(received.unwrap(), Received::Frame(frame), "{size} bytes");
    }
    assert!(counters.received() - handshake > 300_000 + 3 * FRAGMENT as u64, "every byte is counted");
    to_edge.send(Bytes::from_static(b"welcome")).await.unwrap();
    assert_eq!(down.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"welcome")));

    let reason = CloseReason::new(CloseCode::Refused, "copied_database");
    to_edge.close(reason.clone()).await;
    assert_eq!(down.recv().await.unwrap(), Received::Closed(reason.clone()));
    assert_eq!(from_edge.recv().await.unwrap(), Received::Closed(reason), "the peer's answer");
    assert!(up.send(Bytes::from_static(b"late")).await.is_err());
}

/// Tries to link, expecting that the hub sees no session; returns what either side says.
async fn refused(carrier: Carrier, authority: &Authority, client: Arc<ClientConfig>) -> (RefusalReason, ConnectError) {
    let (mut listener, server) = listen(carrier, authority);
    let (accepted, connected) = beside(&mut listener, carrier.connect(&server, client)).await;
    (accepted.unwrap_err().reason, connected.unwrap_err())
}

async fn no_certificate_no_session(carrier: Carrier) {
    let authority = Authority::new();
    let client = api_client_config(&authority.cas(), clock(today())).unwrap();
    let (seen, told) = refused(carrier, &authority, client).await;
    assert!(matches!(&seen, RefusalReason::Tls(why) if why == "it shows no certificate"), "{seen}");
    assert!(matches!(told.reason, ConnectReason::Tls(TlsProblem::CertificateRequired)), "{told}");
}

async fn a_certificate_of_another_ca_is_no_session(carrier: Carrier) {
    let (authority, other) = (Authority::new(), Authority::new());
    let client = authority.link_client(&other.node("lyon"));
    let (seen, told) = refused(carrier, &authority, client).await;
    assert!(matches!(&seen, RefusalReason::Tls(why) if why.contains("another CA")), "{seen}");
    assert!(matches!(told.reason, ConnectReason::Tls(TlsProblem::CertificateRefused(_))), "{told}");
}

async fn a_certificate_that_names_no_node_is_no_session(carrier: Carrier) {
    let authority = Authority::new();
    let (seen, told) = refused(carrier, &authority, authority.link_client(&authority.nobody())).await;
    assert!(matches!(seen, RefusalReason::NoNode(_)), "{seen}");
    assert!(told.reason.not_admitted().unwrap().contains("the certificate names no node"), "{told}");
}

async fn a_hub_certificate_is_no_node(carrier: Carrier) {
    let authority = Authority::new();
    let (seen, _) = refused(carrier, &authority, authority.link_client(&authority.hub())).await;
    assert!(matches!(seen, RefusalReason::Tls(_)), "{seen}");
}

async fn a_revoked_node_is_told_so(carrier: Carrier) {
    let authority = Authority::new();
    let tls = Arc::new(Swap::new(authority.link_server()));
    let (mut listener, server) = listen_with(carrier, tls, Arc::new(|node| Err(format!("{} was revoked", node.name))));
    let client = authority.link_client(&authority.node("lyon"));
    let (accepted, connected) = beside(&mut listener, carrier.connect(&server, client)).await;
    assert!(matches!(accepted.unwrap_err().reason, RefusalReason::NotAdmitted { node, .. } if node == "lyon"));
    let told = connected.unwrap_err();
    assert_eq!(told.reason.not_admitted(), Some("lyon was revoked"));
    let word = if carrier == Carrier::Quic { "it refused this node" } else { "it refused with HTTP 403" };
    assert_eq!(told.to_string(), format!("no link to {server}: {word}: lyon was revoked"));
}

async fn the_edge_names_what_is_wrong_with_the_hub(carrier: Carrier) {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.node("lyon");

    let foreign = link_client_config(&own, &other.cas(), clock(today())).unwrap();
    let (seen, told) = refused(carrier, &authority, foreign).await;
    assert!(matches!(seen, RefusalReason::Tls(_)), "{seen}");
    assert!(told.to_string().contains("issued by another CA than the one trusted here"), "{told}");

    // Found by hand with a proxy that opens TLS: rustls has no word for a certificate that signed itself.
    let device = link_server_config(&Authority::of_a_device(), &authority.cas(), clock(today())).unwrap();
    let (mut listener, server) = listen_with(carrier, Arc::new(Swap::new(device)), Arc::new(|_| Ok(())));
    let (_, told) = beside(&mut listener, carrier.connect(&server, authority.link_client(&own))).await;
    assert!(matches!(told.unwrap_err().reason, ConnectReason::Tls(TlsProblem::OtherCa)));

    let later = link_client_config(&own, &authority.cas(), clock(today() + 100 * DAY)).unwrap();
    let (_, told) = refused(carrier, &authority, later).await;
    assert!(matches!(told.reason, ConnectReason::Tls(TlsProblem::Expired { .. })), "{told}");
}

#[tokio::test]
async fn a_hub_under_a_name_it_does_not_have_is_refused() {
    let authority = Authority::new();
    let carrier = Carrier::WebSocket;
    let (mut listener, mut server) = listen(carrier, &authority);
    server.host = "127.0.0.2".to_owned();
    let tls = authority.link_client(&authority.node("lyon"));
    // Linux routes all of 127.0.0.0/8 to the loopback, but the listener has one address: a proxy lends its own.
    let door = tokio::net::TcpListener::bind((server.host.as_str(), 0)).await.unwrap();
    let hub = listener.local_addr();
    server.port = door.local_addr().unwrap().port();
    let proxy = async {
        let (mut near, _) = door.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(hub).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    };
    let (accepted, (told, ())) = beside(&mut listener, async { tokio::join!(carrier.connect(&server, tls), proxy) }).await;
    assert!(accepted.is_err());
    let told = told.unwrap_err().to_string();
    assert!(told.contains("not valid for 127.0.0.2, only for localhost, 127.0.0.1"), "{told}");
    assert!(told.contains("--advertise 127.0.0.2"), "{told}");
}

async fn an_expired_node_is_refused_by_the_hubs_clock(carrier: Carrier) {
    let authority = Authority::new();
    let later = link_server_config(&authority.hub(), &authority.cas(), clock(today() + 60 * DAY)).unwrap();
    let (mut listener, server) = listen_with(carrier, Arc::new(Swap::new(later)), Arc::new(|_| Ok(())));
    let client = authority.link_client(&authority.node("lyon"));
    let (accepted, connected) = beside(&mut listener, carrier.connect(&server, client)).await;
    let seen = accepted.unwrap_err();
    assert_eq!(seen.reason.to_string(), "its certificate has expired");
    let told = connected.unwrap_err();
    assert!(told.to_string().contains("has expired"), "{told}");
}

async fn a_swapped_certificate_serves_the_next_handshake_and_leaves_links_alone(carrier: Carrier) {
    let (authority, next) = (Authority::new(), Authority::new());
    let tls = Arc::new(Swap::new(authority.link_server()));
    let (mut listener, server) = listen_with(carrier, tls.clone(), Arc::new(|_| Ok(())));
    let old = authority.link_client(&authority.node("lyon"));
    let (accepted, connected) = beside(&mut listener, carrier.connect(&server, old.clone())).await;
    tls.set(next.link_server());

    let (refused, _) = beside(&mut listener, carrier.connect(&server, old)).await;
    assert!(refused.is_err());
    let new = next.link_client(&next.node("oslo"));
    let (second, _link) = beside(&mut listener, carrier.connect(&server, new)).await;
    assert_eq!(second.unwrap().peer().to_string(), "node oslo");

    let ((mut up, _), (_, mut from_edge)) = (connected.unwrap().split(), accepted.unwrap().split());
    up.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(from_edge.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"still here")));
}

async fn a_port_in_use_is_said_plainly(carrier: Carrier) {
    let authority = Authority::new();
    let (listener, _) = listen(carrier, &authority);
    let tls = Arc::new(Swap::new(authority.link_server()));
    let again = carrier.bind(&listener.local_addr().to_string(), tls, Arc::new(|_| Ok(())));
    let error = again.unwrap_err().to_string();
    assert!(error.contains(&listener.local_addr().to_string()) && error.contains("another process"), "{error}");
}
