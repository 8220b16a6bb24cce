//! WebSocket through an HTTP proxy.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use transport::address::HostPort;
use transport::admission::Refusal;
use transport::any::AnyLink;
use transport::dial::{ConnectError, ConnectReason};
use transport::link::Link;
use transport::proxy::Proxy;
use transport::ws::{WsLink, connect_through};

use crate::authority::Authority;
use crate::{Carrier, beside, listen};

/// A proxy for one connection: what it was asked, line by line. It answers `answer` and, when that is a 200, goes on to `to`.
async fn proxy(door: TcpListener, answer: &'static str, to: SocketAddr) -> Vec<String> {
    let (mut near, _) = door.accept().await.unwrap();
    let mut asked = Vec::new();
    {
        let mut lines = BufReader::with_capacity(1, &mut near).lines();
        while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
            asked.push(line);
        }
    }
    near.write_all(answer.as_bytes()).await.unwrap();
    if answer.starts_with("HTTP/1.1 200") {
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
    }
    asked
}

/// Links through a proxy that answers so: what the hub has, what the edge has, what the proxy was asked.
async fn through(answer: &'static str) -> (Option<Result<AnyLink, Refusal>>, Result<WsLink, ConnectError>, Vec<String>) {
    let authority = Authority::new();
    let (mut listener, _) = listen(Carrier::WebSocket, &authority);
    let hub = listener.local_addr();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = door.local_addr().unwrap();
    let get = |name: &str| (name == "HTTPS_PROXY").then(|| format!("http://me:pass@{at}"));
    // The proxy is the one who knows where that is.
    let server = HostPort { host: "hub.example".to_owned(), port: 10_000 };
    let found = Proxy::of(get, &server).unwrap();
    let tls = authority.link_client(&authority.node("lyon"));
    let client = async { tokio::join!(connect_through(&server, tls, found.as_ref()), proxy(door, answer, hub)) };
    if answer.starts_with("HTTP/1.1 200") {
        let (accepted, (connected, asked)) = beside(&mut listener, client).await;
        return (Some(accepted), connected, asked);
    }
    let (connected, asked) = client.await;
    (None, connected, asked)
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_hub_by_name_and_the_certificate_is_the_hubs() {
    let (_accepted, connected, asked) = through("HTTP/1.1 200 Connection established\r\nVia: wall\r\n\r\n").await;
    assert_eq!(asked, ["CONNECT hub.example:10000 HTTP/1.1", "Host: hub.example:10000", "Proxy-Authorization: Basic bWU6cGFzcw=="]);
    // TLS goes through whole: the hub of this test has no such name, and that is what counts.
    let told = connected.unwrap_err().to_string();
    assert!(told.contains("not valid for hub.example"), "{told}");
}

#[tokio::test]
async fn what_a_proxy_answers_is_told() {
    for (answer, told) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants a user and a password"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "allow CONNECT to this port"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1", "hung up"),
    ] {
        let (_, connected, _) = through(answer).await;
        let error = connected.unwrap_err();
        assert!(matches!(error.reason, ConnectReason::Proxy { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(told) && !text.contains("pass@"), "{text}");
    }
}

#[tokio::test]
async fn a_link_through_a_proxy_is_a_link() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::WebSocket, &authority);
    let hub = listener.local_addr();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = door.local_addr().unwrap();
    let elsewhere = HostPort { host: "elsewhere.example".to_owned(), port: 1 };
    let found = Proxy::of(|name| (name == "https_proxy").then(|| at.to_string()), &elsewhere).unwrap();
    let tls = authority.link_client(&authority.node("lyon"));
    let answer = "HTTP/1.1 200 OK\r\n\r\n";
    let client = async { tokio::join!(connect_through(&server, tls, found.as_ref()), proxy(door, answer, hub)) };
    let (accepted, (connected, _)) = beside(&mut listener, client).await;
    assert_eq!(accepted.unwrap().peer().to_string(), "node lyon");
    assert_eq!(connected.unwrap().peer().to_string(), format!("hub {server}"));
}
