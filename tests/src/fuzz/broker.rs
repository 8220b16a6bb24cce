//! What clients say to the broker inside edgehub, over a socket of this machine: packets as bytes, from the first one on.
//!
//! Whatever comes, no connection fails by a fault of ours, what the broker says is packets, and it listens to the next client.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use edgehub::config::{MqttConfig, MqttMode};
use edgehub::eventbus::{BusBoard, EventBus};
use edgehub::link::Board;
use metamanager::Metamanager;
use rumqttc::mqttbytes::v4::Packet;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use transport::tls::{CertificateClock, resolving_server_config};

use super::Memory;
use super::requests::{open_node, runtime};
use crate::lab::words::node;
use crate::until::until;

/// What one client may make it hold.
const HELD: usize = 24 * 1024 * 1024;
/// A client that hears no end for so long goes, and nothing is said about what it heard.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients on one broker: what they subscribe, retain and leave behind grows to its bounds.
const ROUND: u32 = 2_000;
/// What most inputs begin with: a client that comes anew.
const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02f1";

struct Broker {
    address: SocketAddr,
    board: Arc<BusBoard>,
    asked: u32,
    stop: watch::Sender<bool>,
    _runtime: Runtime,
    _folder: TempDir,
}

/// It speaks no TLS here.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

thread_local!(static BROKER: RefCell<Option<Broker>> = const { RefCell::new(None) });

/// One client. Where the first byte is even it has said CONNECT already.
pub(super) fn mqtt(bytes: &[u8], memory: &Memory) {
    let Some((first, said)) = bytes.split_first() else { return };
    BROKER.with_borrow_mut(|place| {
        let broker = match place.take().filter(|broker| broker.asked < ROUND) {
            Some(broker) => place.insert(broker),
            None => place.insert(open()),
        };
        broker.asked += 1;
        let greeting = if first % 2 == 0 { CONNECT } else { b"" };
        let Some(heard) = memory.within(HELD, || broker.client(&[greeting, said].concat())) else { return };
        let all_taken = broker.board.view().internal.turned_away == 0;
        assert!(greeting.is_empty() || !all_taken || heard.starts_with(b"\x20\x02"), "no CONNACK: {heard:?}");
        let mut heard = BytesMut::from(&heard[..]);
        while !heard.is_empty() {
            let packet = Packet::read(&mut heard, 1 << 20).unwrap_or_else(|error| panic!("{error:?} in what the broker says: {heard:?}"));
            assert!(!matches!(packet, Packet::Connect(_)), "{packet:?}");
        }
        assert_eq!(broker.board.view().internal.failed, 0, "a connection failed by a fault of ours");
    });
}

impl Broker {
    /// What it heard until the broker hung up.
    fn client(&self, said: &[u8]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut heard = Vec::new();
        // It may have hung up before all is said.
        let _ = stream.write_all(said).and_then(|()| stream.shutdown(Shutdown::Write));
        let late = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        let ended = stream.read_to_end(&mut heard).err().is_none_or(|error| !late(&error));
        ended.then_some(heard)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

fn open() -> Broker {
    let (folder, store): (TempDir, Metamanager) = open_node();
    // Free a moment ago; nobody else here asks for it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let clock = edgehub::clock::SystemClock::new();
    let certificate_clock: CertificateClock = Arc::new(std::time::SystemTime::now);
    let board = Arc::new(BusBoard::default());
    let bus = EventBus {
        store,
        link: Arc::new(Board::new(clock.now().wall_ms)),
        board: Arc::clone(&board),
        config: MqttConfig { mode: MqttMode::Internal, listen: address, ..MqttConfig::default() },
        clock,
        certificate_clock: Arc::clone(&certificate_clock),
        acceptor: TlsAcceptor::from(Arc::new(resolving_server_config(Arc::new(Nobody), certificate_clock))),
        changes: watch::channel(()).1,
        answered: watch::channel(()).1,
    };
    let (stop, stopped) = watch::channel(false);
    let runtime = runtime();
    runtime.spawn(bus.run(node("lyon"), stopped));
    until("the broker listens", || TcpStream::connect(address).ok());
    Broker { address, board, asked: 0, stop, _runtime: runtime, _folder: folder }
}
