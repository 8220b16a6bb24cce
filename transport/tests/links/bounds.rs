//! A hostile or broken peer costs only its own connection.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode as WsCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use transport::address::HostPort;
use transport::admission::RefusalReason;
use transport::any::AnyLink;
use transport::limits::MAX_FRAME;
use transport::link::{Link, LinkError, LinkRx, LinkTx, Received};
use transport::ws::connect;

use crate::authority::Authority;
use crate::{Carrier, beside, listen};

type Foreign = WebSocketStream<TlsStream<TcpStream>>;

async fn secure(server: &HostPort, tls: Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await.unwrap();
    TlsConnector::from(tls).connect(server.server_name().unwrap(), tcp).await.unwrap()
}

/// A WebSocket client that is not ours: no fragments, no bound.
async fn foreign(server: &HostPort, tls: Arc<ClientConfig>, path: &str, protocol: Option<&str>) -> Result<Foreign, Error> {
    let mut request = format!("wss://{server}{path}").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    client_async_with_config(request, secure(server, tls).await, None).await.map(|(socket, _)| socket)
}

/// A foreign client with a link, and the hub's end of it.
async fn linked() -> (Foreign, AnyLink) {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::WebSocket, &authority);
    let tls = authority.link_client(&authority.node("lyon"));
    let client = foreign(&server, tls, "/link", Some("other, tombolo.1"));
    let (accepted, socket) = beside(&mut listener, client).await;
    (socket.unwrap(), accepted.unwrap())
}

/// What the hub makes of these messages of a peer that names lanes.
async fn in_lanes(messages: Vec<Vec<u8>>) -> (Result<Received, LinkError>, Foreign) {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::WebSocket, &authority);
    let client = foreign(&server, authority.link_client(&authority.node("lyon")), "/link", Some("tombolo.1, tombolo.1-lanes"));
    let (accepted, socket) = beside(&mut listener, client).await;
    let (mut socket, (_tx, mut rx)) = (socket.unwrap(), accepted.unwrap().split());
    let sends = async {
        for message in messages {
            // A hub that has ended it takes no more.
            let _ = socket.send(Message::Binary(message.into())).await;
        }
        socket
    };
    let (received, socket) = tokio::join!(rx.recv(), sends);
    (received, socket)
}

#[tokio::test]
async fn a_bulk_frame_in_pieces_lets_control_through_and_is_whole() {
    let (first, _) = in_lanes(vec![vec![1, 7, 8], vec![0, 5], vec![2, 9]]).await;
    assert_eq!(first.unwrap(), Received::Frame(Bytes::from_static(&[5])));
    let (whole, _) = in_lanes(vec![vec![1, 7, 8], vec![1, 9], vec![2]]).await;
    assert_eq!(whole.unwrap(), Received::Frame(Bytes::from_static(&[7, 8, 9])));
    let (empty, _) = in_lanes(vec![vec![2]]).await;
    assert_eq!(empty.unwrap(), Received::Frame(Bytes::new()));
}

#[tokio::test]
async fn what_names_no_lane_is_refused_with_a_reason() {
    for (bad, told) in [(vec![3, 1], "names no lane"), (vec![], "empty"), (vec![1], "empty")] {
        let (received, socket) = in_lanes(vec![bad]).await;
        assert!(matches!(&received, Err(LinkError::Protocol(text)) if text.contains(told)), "{received:?}");
        assert_eq!(close_code(socket).await.0, WsCode::Protocol);
    }
}

#[tokio::test]
async fn pieces_cannot_pass_the_bound_together() {
    let piece = || [&[1][..], &vec![0; MAX_FRAME / 2 + 1]].concat();
    let (received, _) = in_lanes(vec![piece(), piece()]).await;
    assert!(matches!(received, Err(LinkError::FrameTooLarge { max: MAX_FRAME, .. })), "{received:?}");
}

/// Reads up to the hub's goodbye, then goes away.
async fn close_code(mut socket: Foreign) -> (WsCode, String) {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Close(Some(frame)) => return (frame.code, frame.reason.to_string()),
            other => assert!(!other.is_binary(), "{other}"),
        }
    }
}

#[tokio::test]
async fn a_frame_above_the_bound_ends_that_connection_only() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::WebSocket, &authority);
    let good = connect(&server, authority.link_client(&authority.node("oslo")));
    let (accepted_good, good) = beside(&mut listener, good).await;
    let bad = foreign(&server, authority.link_client(&authority.node("lyon")), "/link", Some("tombolo.1"));
    let (accepted_bad, bad) = beside(&mut listener, bad).await;

    let (_tx, mut from_bad) = accepted_bad.unwrap().split();
    let mut bad = bad.unwrap();
    let hostile = async move {
        bad.send(Message::Binary(vec![0; MAX_FRAME + 1].into())).await.unwrap();
        close_code(bad).await
    };
    let (received, (code, text)) = tokio::join!(from_bad.recv(), hostile);
    assert!(matches!(received, Err(LinkError::FrameTooLarge { max: MAX_FRAME, .. })), "{received:?}");
    assert_eq!(code, WsCode::Size);
    assert!(text.contains("larger than the link's bound"), "{text}");

    let ((mut up, _), (_, mut from_good)) = (good.unwrap().split(), accepted_good.unwrap().split());
    let largest = Bytes::from(vec![1; MAX_FRAME]);
    let (sent, received) = tokio::join!(up.send(largest.clone()), from_good.recv());
    sent.unwrap();
    assert_eq!(received.unwrap(), Received::Frame(largest), "the bound itself passes");
}

#[tokio::test]
async fn our_own_side_refuses_to_send_above_the_bound_and_goes_on() {
    let (mut socket, link) = linked().await;
    let (mut tx, _rx) = link.split();
    let sent = tx.send(vec![0; MAX_FRAME + 1].into()).await;
    assert!(matches!(sent, Err(LinkError::FrameTooLarge { .. })), "{sent:?}");
    tx.send(Bytes::from_static(b"next")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Binary(Bytes::from_static(b"next")));
}

#[tokio::test]
async fn fragments_and_pings_of_others_are_understood() {
    let (mut socket, link) = linked().await;
    let (_tx, mut rx) = link.split();
    let piece = |bytes: &'static [u8], code, last| Message::Frame(Frame::message(bytes, OpCode::Data(code), last));
    for message in [
        piece(b"one ", Data::Binary, false),
        Message::Ping(Bytes::from_static(b"there?")),
        piece(b"frame", Data::Continue, true),
        Message::Binary(vec![9; 100_000].into()),
    ] {
        socket.feed(message).await.unwrap();
    }
    socket.flush().await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"one frame")));
    assert_eq!(rx.recv().await.unwrap(), Received::Frame(vec![9; 100_000].into()));
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
}

#[tokio::test]
async fn many_small_fragments_cannot_pass_the_bound_either() {
    let (mut socket, link) = linked().await;
    let (_tx, mut rx) = link.split();
    let hostile = async move {
        let piece = Bytes::from(vec![0; 64 * 1024]);
        for number in 0..=MAX_FRAME / piece.len() {
            let code = OpCode::Data(if number == 0 { Data::Binary } else { Data::Continue });
            socket.feed(Message::Frame(Frame::message(piece.clone(), code, false))).await.unwrap();
        }
        socket.flush().await.unwrap();
        close_code(socket).await.0
    };
    let (received, code) = tokio::join!(rx.recv(), hostile);
    assert!(matches!(received, Err(LinkError::FrameTooLarge { .. })), "{received:?}");
    assert_eq!(code, WsCode::Size);
}

#[tokio::test]
async fn text_is_refused_with_a_reason() {
    let (mut socket, link) = linked().await;
    let (_tx, mut rx) = link.split();
    socket.send(Message::Text("{}".into())).await.unwrap();
    let (received, (code, text)) = tokio::join!(rx.recv(), close_code(socket));
    assert!(matches!(received, Err(LinkError::Protocol(_))), "{received:?}");
    assert_eq!((code, text.as_str()), (WsCode::Protocol, "text messages are not spoken here, only binary ones"));
}

/// RFC 6455, 5.5.1: a goodbye gets one.
#[tokio::test]
async fn a_goodbye_is_answered() {
    let (mut socket, link) = linked().await;
    let (tx, mut rx) = link.split();
    socket.close(Some(CloseFrame { code: WsCode::Away, reason: "off".into() })).await.unwrap();
    let received = rx.recv().await.unwrap();
    assert!(matches!(&received, Received::Closed(reason) if reason.text == "off"), "{received:?}");
    drop((tx, rx));
    let (code, text) = close_code(socket).await;
    assert_eq!((code, text.as_str()), (WsCode::Away, "off"));
}

#[tokio::test]
async fn bytes_show_before_their_frame_is_whole() {
    let (mut socket, link) = linked().await;
    let counters = link.counters();
    let (_tx, mut rx) = link.split();
    let before = counters.arrived();
    let half = Message::Frame(Frame::message(vec![0; 50_000], OpCode::Data(Data::Binary), false));
    socket.send(half).await.unwrap();
    let arrived = async {
        while counters.arrived() < before + 50_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        received = rx.recv() => panic!("{received:?}"),
        () = arrived => {}
    }
}

#[tokio::test]
async fn a_dropped_send_does_not_garble_the_next_frame() {
    let (mut socket, link) = linked().await;
    let (mut tx, _rx) = link.split();
    let large = Bytes::from(vec![5; MAX_FRAME]);
    // Nobody reads yet, so the frame cannot leave whole and the send is dropped midway.
    tokio::select! {
        biased;
        sent = tx.send(large.clone()) => panic!("{sent:?}"),
        () = std::future::ready(()) => {}
    }
    let read = async { (socket.next().await.unwrap().unwrap(), socket.next().await.unwrap().unwrap()) };
    let (sent, (first, second)) = tokio::join!(tx.send(Bytes::from_static(b"after")), read);
    sent.unwrap();
    assert!(first == Message::Binary(large) && second == Message::Binary(Bytes::from_static(b"after")));
}

#[tokio::test]
async fn a_vanished_peer_is_an_error_and_a_goodbye_is_not() {
    let (socket, link) = linked().await;
    let (_tx, mut rx) = link.split();
    drop(socket);
    assert!(matches!(rx.recv().await, Err(LinkError::Lost(_))));

    let (mut socket, link) = linked().await;
    let (_tx, mut rx) = link.split();
    socket.close(None).await.unwrap();
    assert!(matches!(rx.recv().await, Ok(Received::Closed(_))));
    assert!(matches!(rx.recv().await, Err(LinkError::Lost(_))), "nothing follows a goodbye");
}

#[tokio::test]
async fn what_is_no_link_is_told_so() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::WebSocket, &authority);
    for (path, protocol, status) in [("/", Some("tombolo.1"), 404), ("/link", None, 400), ("/link", Some("tombolo.2"), 400)] {
        let tls = authority.link_client(&authority.node("lyon"));
        let (accepted, answer) = beside(&mut listener, foreign(&server, tls, path, protocol)).await;
        assert!(matches!(accepted.unwrap_err().reason, RefusalReason::WebSocket(_)));
        assert!(matches!(answer, Err(Error::Http(answer)) if answer.status() == status), "{path} {protocol:?}");
    }
}

#[tokio::test]
async fn garbage_instead_of_tls_is_refused() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::WebSocket, &authority);
    let garbage = async {
        let mut tcp = TcpStream::connect((server.host.as_str(), server.port)).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer).await;
        answer
    };
    let (accepted, answer) = beside(&mut listener, garbage).await;
    let reason = accepted.unwrap_err().reason;
    assert!(matches!(&reason, RefusalReason::Tls(why) if why == "it does not speak TLS 1.3"), "{reason}");
    assert!(answer.len() < 16, "a TLS alert at most: {answer:?}");
}

#[tokio::test]
async fn garbage_inside_tls_is_refused() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::WebSocket, &authority);
    let tls = authority.link_client(&authority.node("lyon"));
    let garbage = async {
        let mut stream = secure(&server, tls).await;
        stream.write_all(&[0xff; 3_000]).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (accepted, ()) = beside(&mut listener, garbage).await;
    assert!(matches!(accepted.unwrap_err().reason, RefusalReason::WebSocket(_)));
}
