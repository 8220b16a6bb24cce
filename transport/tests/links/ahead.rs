//! What a control frame waits for while bulk is on its way over a path that takes little: 64 KiB at most, counted at a relay
//! between the two (design §5).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use transport::address::HostPort;
use transport::any::AnyTx;
use transport::limits::MAX_FRAME;
use transport::link::{Lane, Link, LinkRx, LinkTx, Received};

use crate::authority::Authority;
use crate::{Carrier, beside, listen, on_both};

on_both!(control_waits_behind_64_kib_at_most_down, control_waits_behind_64_kib_at_most_up);

const BOUND: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// Which way the path takes little.
#[derive(Clone, Copy, PartialEq)]
enum Slow {
    Down,
    Up,
}

/// How much a relay may pass on, and what it took from the sender so far.
#[derive(Default)]
struct Path {
    allowed: AtomicU64,
    taken: AtomicU64,
}

impl Path {
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    fn allow(&self, more: u64) {
        self.allowed.store(self.taken().saturating_add(more), Ordering::SeqCst);
    }

    async fn room(&self, end: u64) -> u64 {
        loop {
            let allowed = self.allowed.load(Ordering::SeqCst);
            if allowed >= end {
                return allowed - end;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Two ways, of which one is slow. A socket of the slow one takes next to nothing that was not asked for.
async fn tcp(hub: SocketAddr, path: Arc<Path>, slow: Slow) -> SocketAddr {
    let door = TcpSocket::new_v4().unwrap();
    let far = TcpSocket::new_v4().unwrap();
    let narrow = if slow == Slow::Down { &far } else { &door };
    narrow.set_recv_buffer_size(4 * 1024).unwrap();
    door.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let door = door.listen(1).unwrap();
    let at = door.local_addr().unwrap();
    tokio::spawn(async move {
        let (near, _) = door.accept().await.unwrap();
        let (near_rx, near_tx) = near.into_split();
        let (far_rx, far_tx) = far.connect(hub).await.unwrap().into_split();
        let (mut from, mut to, mut fast_from, mut fast_to) = match slow {
            Slow::Down => (far_rx, near_tx, near_rx, far_tx),
            Slow::Up => (near_rx, far_tx, far_rx, near_tx),
        };
        let fast = async { tokio::io::copy(&mut fast_from, &mut fast_to).await };
        let slow = async {
            let mut space = [0; 1024];
            loop {
                let room = path.room(path.taken() + 1).await as usize + 1;
                let bytes = from.read(&mut space[..room.min(1024)]).await.unwrap_or(0);
                if bytes == 0 || to.write_all(&space[..bytes]).await.is_err() {
                    return;
                }
                path.taken.fetch_add(bytes as u64, Ordering::SeqCst);
            }
        };
        tokio::join!(fast, slow)
    });
    at
}

/// The same for datagrams: what was taken waits here, for a path takes what is sent.
async fn udp(hub: SocketAddr, path: Arc<Path>, slow: Slow) -> SocketAddr {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    far.connect(hub).await.unwrap();
    let at = near.local_addr().unwrap();
    tokio::spawn(async move {
        let mut space = vec![0; 65_536];
        let (bytes, edge) = near.recv_from(&mut space).await.unwrap();
        near.connect(edge).await.unwrap();
        far.send(&space[..bytes]).await.unwrap();
        let (up, down) = (carry(&near, &far), carry(&far, &near));
        let free = Arc::new(Path::default());
        free.allow(u64::MAX);
        let (up_path, down_path) = if slow == Slow::Up { (path, free) } else { (free, path) };
        tokio::join!(up(up_path), down(down_path))
    });
    at
}

fn carry(from: &Arc<UdpSocket>, to: &Arc<UdpSocket>) -> impl FnOnce(Arc<Path>) -> JoinHandle<()> {
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    move |path| {
        let (queue, mut waiting) = mpsc::channel::<(u64, Vec<u8>)>(4096);
        let passes = Arc::clone(&path);
        tokio::spawn(async move {
            while let Some((end, datagram)) = waiting.recv().await {
                passes.room(end).await;
                let _ = to.send(&datagram).await;
            }
        });
        tokio::spawn(async move {
            let mut space = vec![0; 65_536];
            while let Ok(bytes) = from.recv(&mut space).await {
                let end = path.taken.fetch_add(bytes as u64, Ordering::SeqCst) + bytes as u64;
                // A path whose queue is full drops.
                let _ = queue.try_send((end, space[..bytes].to_vec()));
            }
        })
    }
}

/// Sends bulk, and control when it is told, as a session does.
async fn send(mut tx: AnyTx, mut control: mpsc::Receiver<(Bytes, oneshot::Sender<()>)>) {
    tx.begin(Lane::Bulk, vec![1; MAX_FRAME].into()).unwrap();
    loop {
        tokio::select! {
            sent = tx.progress() => if sent.is_err() { return },
            Some((frame, begun)) = control.recv() => {
                assert!(tx.is_free(Lane::Control), "bulk has no place of its own");
                tx.begin(Lane::Control, frame).unwrap();
                let _ = begun.send(());
            }
        }
    }
}

async fn until(enough: impl Fn() -> bool) {
    let waits = async {
        while !enough() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap();
}

async fn control_waits_behind_64_kib(carrier: Carrier, slow: Slow) {
    let authority = Authority::new();
    let (mut listener, _) = listen(carrier, &authority);
    let path = Arc::new(Path::default());
    path.allow(u64::MAX);
    let hub = listener.local_addr();
    let relay = match carrier {
        Carrier::WebSocket => tcp(hub, Arc::clone(&path), slow).await,
        Carrier::Quic => udp(hub, Arc::clone(&path), slow).await,
    };
    let server = HostPort { host: "localhost".to_owned(), port: relay.port() };
    let tls = authority.link_client(&authority.node("lyon"));
    let (accepted, connected) = beside(&mut listener, carrier.connect(&server, tls)).await;
    let (hub, edge) = (accepted.unwrap(), connected.unwrap());
    let (sender, receiver) = if slow == Slow::Down { (hub, edge) } else { (edge, hub) };
    let counters = sender.counters();
    let ((tx, _kept), (_also, mut rx)) = (sender.split(), receiver.split());

    path.allow(200_000);
    let (tell, told) = mpsc::channel(1);
    let sending = tokio::spawn(send(tx, told));
    let stops_at = path.allowed.load(Ordering::SeqCst);
    until(|| path.taken() >= stops_at && (carrier == Carrier::Quic || counters.sent() >= path.taken() + 16 * 1024)).await;

    let word = Bytes::from_static(b"somebody waits for this");
    let (begun, has_begun) = oneshot::channel();
    tell.send((word.clone(), begun)).await.unwrap();
    let came = async {
        has_begun.await.unwrap();
        path.allow(BOUND);
        rx.recv().await.unwrap()
    };
    let came = timeout(PATIENCE, came).await.expect("more than 64 KiB go before it");
    assert_eq!(came, Received::Frame(word));
    path.allow(u64::MAX);
    let bulk = timeout(PATIENCE, rx.recv()).await.unwrap().unwrap();
    assert!(matches!(bulk, Received::Frame(frame) if frame.len() == MAX_FRAME), "and the bulk frame is whole");
    sending.abort();
}

async fn control_waits_behind_64_kib_at_most_down(carrier: Carrier) {
    control_waits_behind_64_kib(carrier, Slow::Down).await;
}

async fn control_waits_behind_64_kib_at_most_up(carrier: Carrier) {
    control_waits_behind_64_kib(carrier, Slow::Up).await;
}
