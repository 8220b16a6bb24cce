//! A node whose address changes, and a hub that has forgotten its nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::timeout;
use transport::address::HostPort;
use transport::link::{Link, LinkError, LinkRx, LinkTx, Received};
use transport::quic::{QuicListener, ResetKey, connect};
use transport::swap::Swap;

use crate::authority::Authority;
use crate::{Carrier, beside, listen};

/// What a NAT does: gives whoever is behind it another source port whenever it is told to.
struct Nat {
    front: UdpSocket,
    hub: SocketAddr,
    forget: Arc<Notify>,
}

impl Nat {
    async fn before(hub: SocketAddr) -> (Self, SocketAddr, Arc<Notify>) {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, forget) = (front.local_addr().unwrap(), Arc::new(Notify::new()));
        (Self { front, hub, forget: Arc::clone(&forget) }, address, forget)
    }

    async fn run(self) {
        let mut client = None;
        loop {
            let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (mut up, mut down) = ([0; 2_000], [0; 2_000]);
            loop {
                tokio::select! {
                    got = self.front.recv_from(&mut up) => {
                        let (bytes, from) = got.unwrap();
                        client = Some(from);
                        back.send_to(&up[..bytes], self.hub).await.unwrap();
                    }
                    got = back.recv_from(&mut down) => {
                        let (bytes, _) = got.unwrap();
                        self.front.send_to(&down[..bytes], client.unwrap()).await.unwrap();
                    }
                    () = self.forget.notified() => break,
                }
            }
        }
    }
}

#[tokio::test]
async fn a_link_survives_another_address_without_a_new_handshake() {
    let authority = Authority::new();
    let (mut listener, mut server) = listen(Carrier::Quic, &authority);
    let (nat, address, forget) = Nat::before(listener.local_addr()).await;
    server.port = address.port();
    let talk = async {
        let tls = authority.link_client(&authority.node("lyon"));
        let (accepted, connected) = beside(&mut listener, Carrier::Quic.connect(&server, tls)).await;
        let ((mut up, mut down), (mut to_edge, mut from_edge)) = (connected.unwrap().split(), accepted.unwrap().split());
        for round in 0..5u8 {
            let (asked, answered) = (Bytes::from(vec![round; 10_000]), Bytes::from(vec![round; 3]));
            // The hub knows the new address from the edge's next packet on, and sends there.
            up.send(asked.clone()).await.unwrap();
            assert_eq!(from_edge.recv().await.unwrap(), Received::Frame(asked));
            to_edge.send(answered.clone()).await.unwrap();
            assert_eq!(down.recv().await.unwrap(), Received::Frame(answered));
            forget.notify_one();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        // One handshake was accepted: a second one would have nobody to accept it.
        () = talk => {}
        () = nat.run() => unreachable!("it forwards for ever"),
    }
}

fn hub_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_hub_that_was_killed_says_so_when_it_is_back() {
    let authority = Authority::new();
    let tls = Arc::new(Swap::new(authority.link_server()));
    let bind = move |address: SocketAddr| QuicListener::bind(address, Arc::clone(&tls), Arc::new(|_| Ok(())), ResetKey([9; 32])).unwrap();
    let first = hub_runtime();
    let mut listener = first.block_on(async { bind("127.0.0.1:0".parse().unwrap()) });
    let address = listener.local_addr();
    let accepting = first.spawn(async move {
        let link = listener.accept().await.unwrap();
        (link, listener)
    });
    let edge = hub_runtime();
    edge.block_on(async {
        let server = HostPort { host: "127.0.0.1".to_owned(), port: address.port() };
        let link = connect(&server, authority.link_client(&authority.node("lyon"))).await.unwrap();
        let (mut up, mut down) = link.split();
        let held = accepting.await.unwrap();
        // As a kill does it: the socket is gone, and not a word was sent.
        tokio::task::block_in_place(|| first.shutdown_timeout(Duration::from_secs(5)));
        drop(held);
        let second = hub_runtime();
        let again = second.spawn(async move {
            let mut listener = bind(address);
            loop {
                let _ = listener.accept().await;
            }
        });
        up.send(Bytes::from_static(b"are you there?")).await.unwrap();
        let told = timeout(Duration::from_secs(30), down.recv()).await.unwrap();
        assert!(matches!(&told, Err(LinkError::Lost(why)) if why.contains("it has restarted")), "{told:?}");
        again.abort();
        second.shutdown_background();
    });
}
