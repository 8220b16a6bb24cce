//! Silent peers are let go. Time stands still until nothing else can happen, then jumps to the deadline.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};

use transport::address::HostPort;
use transport::admission::RefusalReason;
use transport::dial::ConnectReason;
use transport::limits::HANDSHAKE;
use transport::ws::connect;

use crate::authority::Authority;
use crate::{Carrier, listen};

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_dropped() {
    let authority = Authority::new();
    let (mut listener, _) = listen(Carrier::WebSocket, &authority);
    let start = tokio::time::Instant::now();
    let _silent = TcpStream::connect(listener.local_addr()).unwrap();
    let refusal = listener.accept().await.unwrap_err();
    assert!(matches!(refusal.reason, RefusalReason::Deadline), "{refusal}");
    assert!(start.elapsed() >= HANDSHAKE);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_midway_is_dropped() {
    let authority = Authority::new();
    let (mut listener, _) = listen(Carrier::WebSocket, &authority);
    let mut slow = TcpStream::connect(listener.local_addr()).unwrap();
    // The beginning of a TLS record that says it has 512 bytes.
    slow.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    let refusal = listener.accept().await.unwrap_err();
    assert!(matches!(refusal.reason, RefusalReason::Deadline), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = Authority::new();
    let server = HostPort { host: "127.0.0.1".to_owned(), port: silent.local_addr().unwrap().port() };
    let error = connect(&server, authority.link_client(&authority.node("lyon"))).await.unwrap_err();
    assert!(matches!(error.reason, ConnectReason::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn nothing_listening_is_said_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let authority = Authority::new();
    let server = HostPort { host: "127.0.0.1".to_owned(), port };
    let error = connect(&server, authority.link_client(&authority.node("lyon"))).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("no link to 127.0.0.1:{port}: Connection refused")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_over_quic_too() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let authority = Authority::new();
    let server = HostPort { host: "127.0.0.1".to_owned(), port: silent.local_addr().unwrap().port() };
    let error = Carrier::Quic.connect(&server, authority.link_client(&authority.node("lyon"))).await.unwrap_err();
    assert!(matches!(error.reason, ConnectReason::Deadline { step: "QUIC handshake" }), "{error}");
}
