//! Peers that do not keep to the protocol: a node with a certificate of the hub's own, and whoever tries from outside.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;
use proto::frame::{Frame, Welcome};
use proto::ids::Position;
use proto::wire::{self, frame::Body};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tests::process::Process;
use tests::shops::World;
use tests::until::until_shown;
use transport::address::HostPort;
use transport::any::{AnyLink, AnyRx, AnyTx};
use transport::dial::ConnectError;
use transport::link::{CloseReason, Lane, Link, LinkRx, LinkTx, Received};
use transport::tls::{CertificateClock, Credentials, certificates, link_client_config};

/// How long a hub may take to answer or to end a connection.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What carries the attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    WebSocket,
    Quic,
}

impl Carrier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Quic => "quic",
        }
    }
}

/// The bytes of a frame, by the schema: whatever one likes.
pub(crate) fn frame(body: Body) -> Vec<u8> {
    wire::Frame { body: Some(body) }.encode_to_vec()
}

pub(crate) fn at(revision: u64) -> wire::Position {
    wire::Position { revision, inside: None }
}

/// The system's time, by which certificates are judged.
pub(crate) fn clock() -> CertificateClock {
    Arc::new(SystemTime::now)
}

/// The CA of a data folder's `pki`.
pub(crate) fn cas(data: &Path) -> Vec<CertificateDer<'static>> {
    certificates(&std::fs::read_to_string(data.join("pki/ca.crt")).unwrap()).unwrap()
}

/// A node's certificate and key.
pub(crate) fn credentials(data: &Path) -> Credentials {
    let read = |name: &str| std::fs::read_to_string(data.join("pki").join(name)).unwrap();
    Credentials::from_pem(&read("node.crt"), &read("node.key")).unwrap()
}

/// A joined node whose program is this one.
pub(crate) struct Attacker {
    pub(crate) ws: HostPort,
    pub(crate) quic: HostPort,
    pub(crate) credentials: Credentials,
    pub(crate) cas: Vec<CertificateDer<'static>>,
    /// The session number that its database committed last.
    pub(crate) session: u64,
    /// The newest of its writes that the hub took.
    pub(crate) taken: u64,
}

impl Attacker {
    /// Of a node that has joined, in its data folder.
    pub(crate) fn new(world: &World, data: &Path) -> Self {
        let port = |port: u16| HostPort { host: "127.0.0.1".to_owned(), port };
        let quic = world.cloud.quic.unwrap();
        Self {
            ws: port(world.cloud.ws.port()),
            quic: port(quic.port()),
            credentials: credentials(data),
            cas: cas(data),
            session: 0,
            taken: 0,
        }
    }

    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        link_client_config(&self.credentials, &self.cas, clock()).unwrap()
    }

    pub(crate) async fn dial(&self, carrier: Carrier) -> Result<AnyLink, ConnectError> {
        match carrier {
            Carrier::WebSocket => transport::ws::connect(&self.ws, self.tls()).await.map(AnyLink::from),
            Carrier::Quic => transport::quic::connect(&self.quic, self.tls()).await.map(AnyLink::from),
        }
    }

    pub(crate) async fn connect(&self, carrier: Carrier) -> Talk {
        let (tx, rx) = self.dial(carrier).await.unwrap().split();
        Talk { tx, rx }
    }

    /// A Hello that the hub takes.
    pub(crate) fn hello(&self) -> wire::Hello {
        wire::Hello {
            version_min: 1,
            version_max: 1,
            features: ["repair", "parts"].map(str::to_owned).to_vec(),
            database: vec![0x66; 16],
            session: self.session,
            grants_hash: vec![0; 16],
            newest_write: self.taken,
            now_ms: 1_800_000_000_000,
            software: "hostile".to_owned(),
            ..wire::Hello::default()
        }
    }

    /// Hello and Welcome; with `newest` writes to come.
    pub(crate) async fn greet(&self, talk: &mut Talk, newest: u64) -> Welcome {
        let outbox_first = if newest > self.taken { self.taken + 1 } else { 0 };
        talk.say(frame(Body::Hello(wire::Hello { newest_write: newest.max(self.taken), outbox_first, ..self.hello() }))).await;
        match talk.next().await {
            Heard::Frame(Frame::Welcome(welcome)) => welcome,
            other => panic!("no Welcome but {other:?}"),
        }
    }

    /// A session that is open, and where its stream begins.
    pub(crate) async fn open(&mut self, carrier: Carrier, newest: u64) -> (Talk, Position) {
        let mut talk = self.connect(carrier).await;
        let welcome = self.greet(&mut talk, newest).await;
        self.session = welcome.session;
        let cursor = welcome.cursor.position;
        talk.say(frame(Body::Started(wire::Started { session: welcome.session }))).await;
        talk.say(frame(Body::Ack(wire::Ack { cursor: Some(at(cursor.revision.0)), ..wire::Ack::default() }))).await;
        (talk, cursor)
    }
}

/// What a peer hears.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Heard {
    Frame(Frame),
    Closed(CloseReason),
    /// A test that fails shows why.
    Lost(#[allow(dead_code)] String),
}

/// One connection.
pub(crate) struct Talk {
    pub(crate) tx: AnyTx,
    pub(crate) rx: AnyRx,
}

impl Talk {
    pub(crate) async fn say(&mut self, bytes: Vec<u8>) {
        self.say_in(Lane::Control, bytes).await;
    }

    /// Sends while it reads nothing. Whoever has been sent away learns it by what it hears.
    pub(crate) async fn say_in(&mut self, lane: Lane, bytes: Vec<u8>) {
        let _ = tokio::time::timeout(SOON, self.tx.send_in(lane, Bytes::from(bytes))).await.expect("the hub takes what it is sent");
    }

    pub(crate) async fn next(&mut self) -> Heard {
        let received = tokio::time::timeout(SOON, self.rx.recv()).await.expect("the hub says something, or ends the link");
        match received {
            Ok(Received::Frame(bytes)) => Heard::Frame(Frame::decode(&bytes).unwrap()),
            Ok(Received::Closed(reason)) => Heard::Closed(reason),
            Err(error) => Heard::Lost(error.to_string()),
        }
    }

    /// The last word of the peer's session (`Close: CODE` or `Refuse: CODE`), and how its link ended.
    pub(crate) async fn end(&mut self) -> (Option<String>, Heard) {
        let mut last = None;
        loop {
            match self.next().await {
                Heard::Frame(Frame::Close(reason)) => last = Some(format!("Close: {}", reason.code)),
                Heard::Frame(Frame::Refuse(refuse)) => last = Some(format!("Refuse: {}", refuse.reason.code)),
                Heard::Frame(_) => {}
                over => return (last, over),
            }
        }
    }

    /// Asks for a sign of life of the session, which answers in order.
    pub(crate) async fn is_alive(&mut self) -> Result<(), String> {
        const NONCE: u64 = 0x1234_5678;
        self.say(frame(Body::Ping(wire::Ping { sent_ms: NONCE, report: None }))).await;
        loop {
            match self.next().await {
                Heard::Frame(Frame::Pong { sent_ms: NONCE, .. }) => return Ok(()),
                Heard::Frame(Frame::Close(reason)) => return Err(format!("Close: {} {}", reason.code, reason.detail)),
                Heard::Frame(_) => {}
                over => return Err(format!("{over:?}")),
            }
        }
    }

    pub(crate) async fn leave(mut self) {
        self.tx.close(CloseReason::new(transport::link::CloseCode::Done, "")).await;
    }
}

/// A shop that goes on working: it writes and waits for each outcome.
pub(crate) struct Neighbour {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    pub(crate) fn new(world: &World, edge: usize) -> Self {
        let mut api = world.edges[edge].client().with("prefer", "wait=30");
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ends) = (Arc::clone(&done), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for turn in 0u64.. {
                if ends.load(Ordering::Acquire) {
                    break;
                }
                let path = format!("/v1/collections/products/records/n{}", turn % 10);
                let answer = api.json("PUT", &path, &json!({"Name": format!("turn {turn}")})).unwrap();
                let write = answer.json()["write"].clone();
                assert!(write["final"] == true && write["accepted"] == true, "turn {turn}: {answer}");
                count.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { done, stop, thread: Some(thread) }
    }

    /// Waits until it has had one more whole write, outcome included.
    #[track_caller]
    pub(crate) fn works_on(&self, during: &str) {
        let goal = self.done.load(Ordering::Acquire) + 2;
        until_shown(&format!("the neighbour's next write while {during}"), || {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the neighbour's write failed while {during}");
            let done = self.done.load(Ordering::Acquire);
            (done >= goal).then_some(()).ok_or_else(|| format!("{done} of {goal}"))
        });
    }

    pub(crate) fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Since when a shop has had its session: another one begins later.
pub(crate) fn session(world: &World, edge: usize) -> String {
    let status = world.edges[edge].client().get("/v1/status").unwrap().ok(200);
    assert_eq!(status["link"]["state"], "online", "{status}");
    status["link"]["since"].as_str().unwrap().to_owned()
}

#[track_caller]
pub(crate) fn no_panic(process: &Process) {
    let log = process.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("panicked") || line.contains("a session's task failed")).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

/// The most memory that a process ever had, KiB.
pub(crate) fn peak_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Open descriptors of a process.
pub(crate) fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count()
}

/// Waits until a process has no more descriptors open than it had.
#[track_caller]
pub(crate) fn descriptors_return(process: &Process, before: usize) {
    until_shown("descriptors are given back", || {
        let now = descriptors(process);
        (now <= before + 2).then_some(()).ok_or_else(|| format!("{before} before, {now} now"))
    });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
