//! A hostile or broken peer over QUIC costs only its own connection.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use transport::admission::RefusalReason;
use transport::any::AnyLink;
use transport::limits::{MAX_FRAME, QUIC_RETRY_ABOVE};
use transport::link::{CloseCode, CloseReason, Link, LinkError, LinkRx, LinkTx, Received};
use transport::quic::{BULK, CONTROL};

use crate::authority::Authority;
use crate::{Carrier, beside, listen};

/// A QUIC client that is not ours: it opens what it likes.
async fn foreign(authority: &Authority, hub: SocketAddr, alpn: &[u8]) -> Result<Connection, ConnectionError> {
    let mut tls = (*authority.link_client(&authority.node("lyon"))).clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_uni_streams(100u32.into());
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.connect_with(config, hub, "localhost").unwrap().await
}

struct Foreign {
    connection: Connection,
    control: (SendStream, RecvStream),
    bulk: SendStream,
}

async fn open(connection: Connection) -> Foreign {
    let mut control = connection.open_bi().await.unwrap();
    control.0.write_all(&[CONTROL]).await.unwrap();
    let mut bulk = connection.open_uni().await.unwrap();
    bulk.write_all(&[BULK]).await.unwrap();
    Foreign { connection, control, bulk }
}

/// A foreign client with a link, and the hub's end of it.
async fn linked() -> (Foreign, AnyLink) {
    let authority = Authority::new();
    let (mut listener, _) = listen(Carrier::Quic, &authority);
    let hub = listener.local_addr();
    let client = async { open(foreign(&authority, hub, b"tombolo/1").await.unwrap()).await };
    let (accepted, client) = beside(&mut listener, client).await;
    (client, accepted.unwrap())
}

/// The hub's goodbye to a foreign client.
async fn told(connection: &Connection) -> (CloseCode, String) {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => {
            let code = u16::try_from(close.error_code.into_inner()).unwrap();
            (CloseCode::of(code), String::from_utf8(close.reason.to_vec()).unwrap())
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_thousand_streams_are_not_let_in() {
    let (mut client, link) = linked().await;
    let (_tx, mut rx) = link.split();
    for _ in 0..1_000 {
        assert!(client.connection.open_bi().now_or_never().is_none(), "one is allowed, and open");
        assert!(client.connection.open_uni().now_or_never().is_none(), "one is allowed, and open");
    }
    client.control.0.write_all(b"\0\0\0\x02ok").await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"ok")), "its link goes on");
}

#[tokio::test]
async fn a_length_above_the_bound_ends_that_connection_only() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::Quic, &authority);
    let good = Carrier::Quic.connect(&server, authority.link_client(&authority.node("oslo")));
    let (accepted_good, good) = beside(&mut listener, good).await;
    let hub = listener.local_addr();
    let hostile = async { open(foreign(&authority, hub, b"tombolo/1").await.unwrap()).await };
    let (accepted, mut hostile) = beside(&mut listener, hostile).await;
    let (_tx, mut rx) = accepted.unwrap().split();

    let length = u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes();
    hostile.bulk.write_all(&[&length[..], &[0; 8]].concat()).await.unwrap();
    let (received, (code, text)) = tokio::join!(rx.recv(), told(&hostile.connection));
    assert!(matches!(received, Err(LinkError::FrameTooLarge { max: MAX_FRAME, .. })), "{received:?}");
    assert_eq!(code, CloseCode::TooLarge);
    assert!(text.contains("larger than the link's bound"), "{text}");

    let ((mut up, _), (_, mut from_good)) = (good.unwrap().split(), accepted_good.unwrap().split());
    up.send(Bytes::from_static(b"undisturbed")).await.unwrap();
    assert_eq!(from_good.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"undisturbed")));
}

#[tokio::test]
async fn garbage_instead_of_a_length_is_told() {
    let (mut client, link) = linked().await;
    let (_tx, mut rx) = link.split();
    client.control.0.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let (received, (code, _)) = tokio::join!(rx.recv(), told(&client.connection));
    assert!(matches!(received, Err(LinkError::FrameTooLarge { .. })), "{received:?}");
    assert_eq!(code, CloseCode::TooLarge);
}

#[tokio::test]
async fn half_a_frame_and_no_more_is_told() {
    let (mut client, link) = linked().await;
    let counters = link.counters();
    let (_tx, mut rx) = link.split();
    client.control.0.write_all(b"\0\0\x01\0half").await.unwrap();
    let arrived = async {
        while counters.arrived() < 8 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        received = rx.recv() => panic!("{received:?}"),
        () = arrived => {}
    }
    client.control.0.finish().unwrap();
    let (received, (code, text)) = tokio::join!(rx.recv(), told(&client.connection));
    assert!(matches!(received, Err(LinkError::Protocol(_))), "{received:?}");
    assert_eq!((code, text.as_str()), (CloseCode::Protocol, "a stream ended inside a frame"));
}

#[tokio::test]
async fn a_bulk_frame_waits_for_the_control_that_it_names() {
    let (mut client, link) = linked().await;
    let (_tx, mut rx) = link.split();
    client.bulk.write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\x02bulk").await.unwrap();
    client.control.0.write_all(b"\0\0\0\x03one").await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"one")));
    assert!(rx.recv().now_or_never().is_none(), "one of two has come");
    client.control.0.write_all(b"\0\0\0\x03two").await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"two")));
    assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"bulk")));
}

#[tokio::test]
async fn a_bulk_frame_whose_control_never_comes_is_not_delivered() {
    let (mut client, link) = linked().await;
    let (_tx, mut rx) = link.split();
    client.bulk.write_all(b"\0\0\0\x04\xff\xff\xff\xff\xff\xff\xff\xffbulk").await.unwrap();
    client.control.0.write_all(b"\0\0\0\x03one").await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"one")));
    client.connection.close(VarInt::from_u32(1000), b"enough");
    let end = rx.recv().await.unwrap();
    assert!(matches!(end, Received::Closed(reason) if reason.code == CloseCode::Done && reason.text == "enough"));
}

/// Streams end with their connection, or a moment before; one that ends alone is no goodbye.
#[tokio::test]
async fn a_control_stream_that_ends_alone_is_told() {
    for reset in [false, true] {
        let (mut client, link) = linked().await;
        let (_tx, mut rx) = link.split();
        client.control.0.write_all(b"\0\0\0\x02ok").await.unwrap();
        assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"ok")));
        if reset {
            client.control.0.write_all(b"\0\0\x01\0half").await.unwrap();
            client.control.0.reset(VarInt::from_u32(7)).unwrap();
        } else {
            client.control.0.finish().unwrap();
        }
        let (received, (code, text)) = tokio::join!(rx.recv(), told(&client.connection));
        assert!(matches!(received, Err(LinkError::Protocol(_))), "{received:?}");
        assert_eq!((code, text.as_str()), (CloseCode::Protocol, "the control stream has ended, and the connection goes on"));
    }
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_told() {
    let (mut client, link) = linked().await;
    let (mut tx, _rx) = link.split();
    client.control.1.stop(VarInt::from_u32(9)).unwrap();
    let write = async {
        loop {
            if let Err(error) = tx.send(Bytes::from_static(b"there?")).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let (error, (code, text)) = tokio::join!(write, told(&client.connection));
    assert!(matches!(error, LinkError::Protocol(_)), "{error:?}");
    assert_eq!((code, text.as_str()), (CloseCode::Protocol, "a stream was stopped, and the connection goes on"));
}

/// A peer that goes stops reading first: its last word is heard all the same, also while this side is sending.
#[tokio::test]
async fn the_last_word_of_a_peer_that_stopped_reading_is_heard() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::Quic, &authority);
    let (accepted, connected) = beside(&mut listener, Carrier::Quic.connect(&server, authority.link_client(&authority.node("lyon")))).await;
    let ((mut tx, mut rx), (mut going, unread)) = (accepted.unwrap().split(), connected.unwrap().split());
    drop(unread);
    let busy = async {
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                received = rx.recv() => match received.unwrap() {
                    Received::Frame(frame) => heard.push(frame),
                    Received::Closed(reason) => return (heard, reason.text),
                },
                // When the connection is over, what is received says why.
                _ = tx.send(Bytes::from_static(b"more")) => {}
            }
            tokio::task::yield_now().await;
        }
    };
    let go = async {
        going.send(Bytes::from_static(b"last word")).await.unwrap();
        going.close(CloseReason::new(CloseCode::Done, "bye")).await;
    };
    let ((heard, text), ()) = tokio::join!(busy, go);
    assert_eq!((heard, text.as_str()), (vec![Bytes::from_static(b"last word")], "bye"));
}

#[tokio::test]
async fn a_stream_of_another_kind_is_no_link() {
    let authority = Authority::new();
    let (mut listener, _) = listen(Carrier::Quic, &authority);
    let hub = listener.local_addr();
    let client = async {
        let connection = foreign(&authority, hub, b"tombolo/1").await.unwrap();
        let mut control = connection.open_bi().await.unwrap();
        control.0.write_all(b"{").await.unwrap();
        told(&connection).await
    };
    let (accepted, (code, text)) = beside(&mut listener, client).await;
    let reason = accepted.unwrap_err().reason;
    assert!(matches!(&reason, RefusalReason::Quic(why) if why.contains("begins with 123")), "{reason}");
    assert!(code == CloseCode::Protocol && text.contains("begins with 123"), "{text}");
}

#[tokio::test]
async fn another_protocol_is_no_link() {
    let authority = Authority::new();
    let (mut listener, _) = listen(Carrier::Quic, &authority);
    let hub = listener.local_addr();
    let (accepted, connected) = beside(&mut listener, foreign(&authority, hub, b"h3")).await;
    let reason = accepted.unwrap_err().reason;
    assert!(matches!(&reason, RefusalReason::Quic(why) if why.contains("tombolo/1")), "{reason}");
    assert!(connected.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_nothing_is_dropped() {
    let authority = Authority::new();
    let (mut listener, _) = listen(Carrier::Quic, &authority);
    let hub = listener.local_addr();
    let client = async {
        let connection = foreign(&authority, hub, b"tombolo/1").await.unwrap();
        connection.closed().await
    };
    let (accepted, _closed) = beside(&mut listener, client).await;
    assert!(matches!(accepted.unwrap_err().reason, RefusalReason::Deadline));
}

#[tokio::test]
async fn while_many_only_begin_a_newcomer_shows_its_address_and_gets_in() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::Quic, &authority);
    let hub = listener.local_addr();
    let begun = async {
        let mut begun = Vec::new();
        for _ in 0..QUIC_RETRY_ABOVE {
            begun.push(foreign(&authority, hub, b"tombolo/1").await.unwrap());
        }
        let tls = authority.link_client(&authority.node("lyon"));
        (Carrier::Quic.connect(&server, tls).await, begun)
    };
    // The first link that comes is the newcomer's: the others open no stream.
    let (accepted, (connected, _begun)) = beside(&mut listener, begun).await;
    assert!(accepted.is_ok() && connected.is_ok());
}

#[tokio::test]
async fn datagrams_of_garbage_disturb_nobody() {
    let authority = Authority::new();
    let (mut listener, server) = listen(Carrier::Quic, &authority);
    let hostile = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..500usize {
        let bytes: Vec<u8> = (0..number * 3 % 1_400).map(|byte| (byte * 31 + number * 7) as u8).collect();
        hostile.send_to(&bytes, listener.local_addr()).unwrap();
    }
    let tls = authority.link_client(&authority.node("lyon"));
    let (accepted, connected) = beside(&mut listener, Carrier::Quic.connect(&server, tls)).await;
    assert!(accepted.is_ok() && connected.is_ok());
}
