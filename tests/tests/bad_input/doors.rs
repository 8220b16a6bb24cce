//! Who may not come in, and what is below a frame: bytes that are no TLS, no WebSocket, no QUIC, or not the link's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tests::shops::World;
use tests::until::until_shown;
use transport::identity::node_uri;
use transport::limits::{MAX_FRAME, QUIC_RETRY_ABOVE};
use transport::link::{CloseCode, LinkTx};
use transport::tls::Credentials;
use transport::ws::{SUBPROTOCOL, SUBPROTOCOL_LANES};

use super::kit::{
    Attacker, Carrier, Neighbour, SOON, cas, clock, credentials, descriptors, descriptors_return, no_panic, runtime, session,
};
use super::world;

/// A certificate of this world's own CA, for whatever name and time.
fn issued(world: &World, name: Option<&str>, years: (i32, i32)) -> Credentials {
    let read = |file: &str| std::fs::read_to_string(world.cloud.data.join("pki").join(file)).unwrap();
    let ca = cas(&world.cloud.data).remove(0);
    let issuer = Issuer::from_ca_cert_der(&ca, KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    if let Some(name) = name {
        let uri = node_uri(&proto::names::NodeName::parse(name).unwrap());
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let leaf = params.signed_by(&key, &issuer).unwrap();
    Credentials { chain: vec![leaf.der().clone(), ca], key: key.serialize_der().try_into().unwrap() }
}

/// Who shows a certificate that is not good is told why, and has no session.
#[test]
fn certificates_that_are_not_good_are_told_so_on_both_transports() {
    let mut world = world();
    let before = session(&world, 0);
    let neighbour = Neighbour::new(&world, 0);
    let mallory = world.join("mallory", &["role=shop"]);
    let other = World::new(&[]);
    let stranger = other.join("mallory", &[]);
    let mut own = Attacker::new(&world, &mallory.data);
    let good = own.credentials.clone();
    let runtime = runtime();
    for carrier in [Carrier::WebSocket, Carrier::Quic] {
        for (who, shown, told) in [
            ("of another CA", credentials(&stranger.data), "CA"),
            ("that has expired", issued(&world, Some("mallory"), (2001, 2002)), "expired"),
            ("for a time to come", issued(&world, Some("mallory"), (2080, 2081)), "certificate"),
            ("that names no node", issued(&world, None, (2020, 2080)), "node"),
        ] {
            own.credentials = shown;
            let refused = runtime.block_on(own.dial(carrier)).unwrap_err().to_string();
            assert!(refused.to_lowercase().contains(&told.to_lowercase()), "{who} over {}: {refused}", carrier.name());
        }
    }
    // A certificate of the CA that nobody gave out, for a name that is there, and one for a name that is not.
    for (name, code) in [("lyon", "Refuse: unknown_certificate"), ("nowhere", "Refuse: unknown_node")] {
        for carrier in [Carrier::WebSocket, Carrier::Quic] {
            own.credentials = issued(&world, Some(name), (2020, 2080));
            let hello = super::kit::frame(proto::wire::frame::Body::Hello(own.hello()));
            let (last, _) = runtime.block_on(async {
                let mut talk = own.connect(carrier).await;
                talk.say(hello.clone()).await;
                talk.end().await
            });
            assert_eq!(last.as_deref(), Some(code));
        }
    }
    world.cloud.cli(&["node", "revoke", "mallory"]).done();
    own.credentials = good;
    for carrier in [Carrier::WebSocket, Carrier::Quic] {
        let refused = runtime.block_on(own.dial(carrier)).unwrap_err().to_string();
        assert!(refused.contains("revoked"), "{}: {refused}", carrier.name());
    }
    neighbour.works_on("nobody is let in");
    neighbour.stop();
    assert_eq!(session(&world, 0), before);
    no_panic(world.cloud.process());
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// TLS as the link has it, and nothing in it yet.
fn secure(own: &Attacker, certificate: bool) -> Tls {
    let tls = if certificate { own.tls() } else { transport::tls::api_client_config(&own.cas, clock()).unwrap() };
    let tcp = TcpStream::connect((own.ws.host.as_str(), own.ws.port)).unwrap();
    tcp.set_read_timeout(Some(SOON)).unwrap();
    tcp.set_write_timeout(Some(SOON)).unwrap();
    let name = ServerName::try_from(own.ws.host.clone()).unwrap();
    StreamOwned::new(ClientConnection::new(tls, name).unwrap(), tcp)
}

/// All that comes until the hub ends the connection.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("the hub keeps the connection open; it said {:?}", String::from_utf8_lossy(&all))
            }
            Err(_) => return all,
        }
    }
}

const UPGRADE: &str = "GET /link HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A WebSocket that was opened by hand, under one of the link's subprotocols.
fn upgraded(own: &Attacker, protocol: &str) -> Tls {
    let mut stream = secure(own, true);
    stream.write_all(format!("{UPGRADE}Sec-WebSocket-Protocol: {protocol}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// One WebSocket frame: the first byte, and a length that may lie.
fn piece(first: u8, masked: bool, length: u64, payload: &[u8]) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(bit | length as u8),
        126..=0xffff => {
            bytes.push(bit | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(bit | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    if masked {
        // The mask of zeros is a mask.
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

/// The code of a WebSocket's goodbye among what the hub said; frames before it are passed over.
fn goodbye(said: &[u8]) -> Option<u16> {
    let mut at = 0;
    while let [first, length, ..] = said.get(at..)? {
        let (length, head) = match *length {
            126 => (usize::from(u16::from_be_bytes(said.get(at + 2..at + 4)?.try_into().ok()?)), 4),
            short => (usize::from(short), 2),
        };
        let payload = said.get(at + head..at + head + length)?;
        if first & 0x0f == 8 {
            return payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        }
        at += head + length;
    }
    None
}

#[test]
fn below_websocket_the_connection_ends_with_a_reason() {
    let mut world = world();
    let mallory = world.join("mallory", &["role=shop"]);
    let own = Attacker::new(&world, &mallory.data);
    let before = session(&world, 0);
    let neighbour = Neighbour::new(&world, 0);
    let open = descriptors(world.cloud.process());
    // Instead of TLS, and in TLS instead of HTTP.
    for bytes in [&b"GET /link HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 4_096], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut tcp = TcpStream::connect(world.cloud.ws).unwrap();
        tcp.set_read_timeout(Some(SOON)).unwrap();
        let _ = tcp.write_all(bytes);
        assert!(rest(&mut tcp).len() < 64, "an alert at most");
    }
    let headers = format!("{UPGRADE}Sec-WebSocket-Protocol: tombolo.1\r\n");
    for (what, bytes, status) in [
        ("garbage", vec![0xff; 3_000], None),
        ("another subprotocol", format!("{UPGRADE}Sec-WebSocket-Protocol: chat\r\n\r\n").into_bytes(), Some("HTTP/1.1 400")),
        ("no subprotocol", format!("{UPGRADE}\r\n").into_bytes(), Some("HTTP/1.1 400")),
        ("another path", format!("{headers}\r\n").replace("/link", "/v1/status").into_bytes(), Some("HTTP/1.1 404")),
        ("no WebSocket", b"GET /link HTTP/1.1\r\nHost: hub\r\n\r\n".to_vec(), None),
        ("a header of 1 MiB", format!("{headers}X-Long: {}\r\n\r\n", "x".repeat(1024 * 1024)).into_bytes(), None),
        ("headers without an end", format!("{headers}{}", "X-Long: x\r\n".repeat(100_000)).into_bytes(), None),
    ] {
        let mut stream = secure(&own, true);
        let _ = stream.write_all(&bytes);
        let _ = stream.flush();
        let said = String::from_utf8_lossy(&rest(&mut stream)).into_owned();
        assert!(!said.contains("101 Switching"), "{what}: {said}");
        status.inspect(|status| assert!(said.starts_with(status), "{what}: {said}"));
    }
    assert!(rest(&mut secure(&own, false)).is_empty(), "without a certificate there is nothing to read");
    // In the WebSocket instead of frames.
    // With lanes a message has a byte before its frame.
    let large = MAX_FRAME as u64 + 2;
    let endless =
        (0..=MAX_FRAME / 65_536).map(|turn| piece(if turn == 0 { 0x02 } else { 0 }, true, 65_536, &[0; 65_536])).collect::<Vec<_>>();
    for (what, bytes, codes) in [
        ("text", piece(0x81, true, 2, b"{}"), &[1002][..]),
        ("a reserved bit", piece(0xc2, true, 2, b"ok"), &[1002]),
        ("all reserved bits", piece(0xf2, true, 2, b"ok"), &[1002]),
        ("without a mask", piece(0x82, false, 2, b"ok"), &[1002]),
        ("a kind to come", piece(0x83, true, 2, b"ok"), &[1002]),
        ("a control kind to come", piece(0x8b, true, 2, b"ok"), &[1002]),
        ("a long ping", piece(0x89, true, 126, &[0; 126]), &[1002]),
        ("a ping in pieces", piece(0x09, true, 2, b"ok"), &[1002]),
        ("a continuation of nothing", piece(0x80, true, 2, b"ok"), &[1002]),
        ("a beginning inside a message", [piece(0x02, true, 2, b"ok"), piece(0x82, true, 2, b"ok")].concat(), &[1002]),
        ("a goodbye of one byte", piece(0x88, true, 1, b"x"), &[1002]),
        ("more than the bound", piece(0x82, true, large, &[0; 100]), &[1009]),
        ("4 GiB", piece(0x82, true, 1 << 32, &[0; 100]), &[1009]),
        ("more than there can be", piece(0x82, true, u64::MAX, &[0; 100]), &[1002, 1009]),
        ("pieces without an end", endless.concat(), &[1009]),
        ("garbage", vec![0xff; 2_000], &[1002]),
        ("an honest goodbye", piece(0x88, true, 2, &1000u16.to_be_bytes()), &[1000]),
    ] {
        let mut stream = upgraded(&own, SUBPROTOCOL);
        let _ = stream.write_all(&bytes);
        let _ = stream.flush();
        let said = rest(&mut stream);
        assert!(goodbye(&said).is_some_and(|code| codes.contains(&code)), "{what}: {:?} in {said:?}", goodbye(&said));
    }
    let bulk = [&[1u8][..], &[0; 65_536]].concat();
    for (what, bytes, code) in [
        ("no lane", piece(0x82, true, 0, b""), 1002),
        ("a lane to come", piece(0x82, true, 3, &[7, 0, 0]), 1002),
        ("a piece of nothing", piece(0x82, true, 1, &[1]), 1002),
        ("pieces above the bound", piece(0x82, true, 65_537, &bulk).repeat(MAX_FRAME / 65_536 + 1), 1009),
    ] {
        let mut stream = upgraded(&own, SUBPROTOCOL_LANES);
        let _ = stream.write_all(&bytes);
        let _ = stream.flush();
        assert_eq!(goodbye(&rest(&mut stream)), Some(code), "{what}");
    }
    // What is allowed, and much of it: pings are answered or left out, and cost nothing; empty pieces are no frame.
    let mut stream = upgraded(&own, SUBPROTOCOL);
    stream.write_all(&piece(0x89, true, 2, b"hi").repeat(20_000)).unwrap();
    stream.write_all(&piece(0x02, true, 0, b"")).unwrap();
    stream.write_all(&piece(0x00, true, 0, b"").repeat(20_000)).unwrap();
    stream.write_all(&piece(0x81, true, 0, b"")).unwrap();
    stream.flush().unwrap();
    assert_eq!(goodbye(&rest(&mut stream)), Some(1002));
    neighbour.works_on("strangers knock");
    descriptors_return(world.cloud.process(), open);
    neighbour.stop();
    assert_eq!(session(&world, 0), before);
    no_panic(world.cloud.process());
}

/// A QUIC client that opens what it likes.
async fn foreign(own: &Attacker, alpn: &[u8]) -> (Endpoint, Result<Connection, ConnectionError>) {
    let mut tls = (*own.tls()).clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let hub: SocketAddr = ([127, 0, 0, 1], own.quic.port).into();
    let connection = endpoint.connect_with(config, hub, "127.0.0.1").unwrap().await;
    (endpoint, connection)
}

/// How the hub ended a connection.
async fn told(connection: &Connection) -> (u64, String) {
    match tokio::time::timeout(SOON, connection.closed()).await.expect("the hub ends it") {
        ConnectionError::ApplicationClosed(close) => (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned()),
        other => panic!("{other}"),
    }
}

#[test]
fn below_quic_the_connection_ends_with_a_reason() {
    let mut world = world();
    world.edges[0].stop();
    world.edges[0].transport = "quic".into();
    world.edges[0].start();
    world.settle();
    let mallory = world.join("mallory", &["role=shop"]);
    let own = Attacker::new(&world, &mallory.data);
    let before = session(&world, 0);
    let neighbour = Neighbour::new(&world, 0);
    noise(&own);
    runtime().block_on(async {
        let (_endpoint, other) = foreign(&own, b"h3").await;
        assert!(other.is_err(), "another protocol is none");
        for (what, control, bulk, code) in [
            ("another kind of stream", &b"{"[..], &b""[..], 1002),
            ("two of a kind", &[1], &[1], 1002),
            ("a byte above the bound", &[1, 0, 0x40, 0, 1], &[2], 1009),
            ("4 GiB", &[1, 0xff, 0xff, 0xff, 0xff], &[2], 1009),
            ("4 GiB of bulk", &[1], &[2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
            ("a request in clear", b"\x01GET / HTTP/1.1\r\n", &[2], 1009),
        ] {
            let (_endpoint, connection) = foreign(&own, b"tombolo/1").await;
            let connection = connection.unwrap();
            let (mut up, _down) = connection.open_bi().await.unwrap();
            let mut more = connection.open_uni().await.unwrap();
            let _ = up.write_all(control).await;
            let _ = more.write_all(bulk).await;
            let (number, text) = told(&connection).await;
            assert_eq!(number, code, "{what}: {text}");
            assert!(!text.is_empty(), "{what} is told why");
        }
        for reset in [true, false] {
            let (_endpoint, connection) = foreign(&own, b"tombolo/1").await;
            let connection = connection.unwrap();
            assert!(connection.max_datagram_size().is_none(), "datagrams are not spoken here");
            let (mut up, mut down) = connection.open_bi().await.unwrap();
            let mut more = connection.open_uni().await.unwrap();
            up.write_all(&[1, 0, 0, 1, 0, b'h']).await.unwrap();
            // A frame of bulk that waits for control which never comes: it is held, and what follows it is not read.
            more.write_all(&[&[2u8, 0, 0, 0, 4][..], &[0xff; 8], b"bulk"].concat()).await.unwrap();
            if reset {
                up.reset(VarInt::from_u32(7)).unwrap();
                assert_eq!(told(&connection).await.0, 1002, "a stream that is given up");
            } else {
                // The hub has something to say to a stream that nobody reads: that no Hello has come.
                down.stop(VarInt::from_u32(7)).unwrap();
                let (number, _) = told(&connection).await;
                assert!([1000, 1002].contains(&number), "a stream that is not read: {number}");
            }
        }
    });
    flood(&own, &mut world);
    neighbour.works_on("strangers knock");
    neighbour.stop();
    assert_eq!(session(&world, 0), before);
    no_panic(world.cloud.process());
}

/// Datagrams that are no QUIC, or of a version to come; the hub says which it speaks, and no more.
fn noise(own: &Attacker) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect((own.quic.host.as_str(), own.quic.port)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    for number in 0..2_000usize {
        let bytes: Vec<u8> = (0..1 + number % 1_400).map(|byte| (byte * 31 + number * 7) as u8).collect();
        let _ = socket.send(&bytes);
    }
    // Version 0x0a0a0a0a, ids of eight bytes: the answer is a version negotiation with its ids turned round.
    let mut future = [&[0xc0u8, 0x0a, 0x0a, 0x0a, 0x0a, 8][..], b"HUBSIDE_", &[8], b"CLIENTS_"].concat();
    future.resize(1_200, 0);
    let mut answer = [0; 2_000];
    until_shown("a version negotiation", || {
        socket.send(&future).map_err(|error| error.to_string())?;
        let length = socket.recv(&mut answer).map_err(|error| error.to_string())?;
        let negotiation = answer[1..5] == [0; 4] && answer[6..14] == *b"CLIENTS_";
        negotiation.then_some(()).ok_or_else(|| format!("{:02x?}", &answer[..length.min(40)]))
    });
}

/// Many that only begin, each from an address of its own, and never answer: a newcomer has to show its address, and gets in.
fn flood(own: &Attacker, world: &mut World) {
    let first_flights: Vec<Vec<u8>> = runtime().block_on(async {
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut tls = (*own.tls()).clone();
        tls.alpn_protocols = vec![b"tombolo/1".to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut flights = Vec::new();
        while flights.len() < 3 * QUIC_RETRY_ABOVE {
            let _begun = endpoint.connect_with(config.clone(), sink.local_addr().unwrap(), "127.0.0.1").unwrap();
            let mut bytes = vec![0; 2_000];
            let length = sink.recv(&mut bytes).await.unwrap();
            bytes.truncate(length);
            flights.push(bytes);
        }
        flights
    });
    let hub: SocketAddr = ([127, 0, 0, 1], own.quic.port).into();
    for (number, bytes) in first_flights.iter().enumerate() {
        let own: SocketAddr = ([127, 0, 1 + (number / 200) as u8, 1 + (number % 200) as u8], 0).into();
        let from = UdpSocket::bind(own).unwrap();
        from.send_to(bytes, hub).unwrap();
    }
    let newcomer = Attacker::new(world, &world.join("oslo", &["role=shop"]).data);
    let talk = runtime().block_on(async { newcomer.dial(Carrier::Quic).await.map(drop) });
    assert!(talk.is_ok(), "{talk:?}");
}

/// Silence costs a place for five seconds, and one node cannot take them all.
#[test]
fn a_node_that_only_connects_takes_nobodys_place() {
    let mut world = world();
    let before = session(&world, 0);
    let neighbour = Neighbour::new(&world, 0);
    let mallory = world.join("mallory", &["role=shop"]);
    let own = Attacker::new(&world, &mallory.data);
    let open = descriptors(world.cloud.process());
    let runtime = runtime();
    for carrier in [Carrier::WebSocket, Carrier::Quic] {
        let silent = runtime.block_on(async {
            let mut silent = Vec::new();
            for _ in 0..60 {
                silent.push(own.connect(carrier).await);
            }
            silent
        });
        let hub = world.cloud.process();
        let most = open + cloudhub::limits::CONNECTIONS_PER_NODE + 2;
        until_shown("all but a few connections are ended", || {
            let now = descriptors(hub);
            (now <= most).then_some(()).ok_or_else(|| format!("{open} before, {now} now"))
        });
        let mut oldest = silent.into_iter().next().unwrap();
        let (last, _) = runtime.block_on(oldest.end());
        assert_eq!(last.as_deref(), Some("Close: replaced"), "{}", carrier.name());
        runtime.block_on(oldest.tx.close(transport::link::CloseReason::new(CloseCode::Done, "")));
    }
    // Slower than anybody: a byte now and then of TLS, and of the request inside it; and nothing at all.
    let mut slow: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(world.cloud.ws).unwrap()).collect();
    slow.iter_mut().take(20).for_each(|tcp| tcp.write_all(&[0x16]).unwrap());
    let mut request = secure(&own, true);
    request.write_all(b"GET /li").unwrap();
    request.flush().unwrap();
    slow.iter_mut().for_each(|tcp| tcp.set_read_timeout(Some(SOON)).unwrap());
    slow.iter_mut().for_each(|tcp| assert!(rest(tcp).len() < 64));
    rest(&mut request);
    neighbour.works_on("others are silent");
    descriptors_return(world.cloud.process(), open);
    neighbour.stop();
    assert_eq!(session(&world, 0), before);
    no_panic(world.cloud.process());
}
