//! Handshakes that go nowhere, as many as there may be, hold nobody up who comes from elsewhere.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use transport::admission::RefusalReason;
use transport::any::{AnyLink, AnyListener};
use transport::link::Link;

use crate::authority::Authority;
use crate::{Carrier, listen, on_both};

/// Another address of this machine.
const ELSEWHERE: &str = "127.0.0.2:0";

on_both!(a_crowd_of_silent_peers_holds_nobody_up);

async fn a_crowd_of_silent_peers_holds_nobody_up(carrier: Carrier) {
    let authority = Authority::new();
    let (mut listener, server) = listen(carrier, &authority);
    let hub = listener.local_addr();
    let (full, mut seen) = watch::channel(false);
    let newcomer = async {
        let mut all = Vec::new();
        tokio::select! {
            () = silent(carrier, &authority, hub, &mut all) => unreachable!("it goes on for ever"),
            told = seen.wait_for(|full| *full) => drop(told.unwrap()),
        }
        (carrier.connect(&server, authority.link_client(&authority.node("lyon"))).await, all)
    };
    let (link, (connected, _silent)) = tokio::join!(accepted(&mut listener, &full), newcomer);
    assert_eq!(link.peer().node().unwrap().name.as_str(), "lyon");
    assert!(connected.is_ok());
}

/// The first link; `full`: whether somebody was sent away because all places were taken.
async fn accepted(listener: &mut AnyListener, full: &watch::Sender<bool>) -> AnyLink {
    let mut made_room = false;
    loop {
        match listener.accept().await {
            Ok(link) => {
                assert!(made_room, "nobody gave way");
                return link;
            }
            Err(refusal) => match refusal.reason {
                RefusalReason::Crowd => drop(full.send_replace(true)),
                RefusalReason::GaveWay | RefusalReason::Deadline => made_room = true,
                // Those who were sent away go.
                RefusalReason::Lost(_) => {}
                _ => panic!("{refusal}"),
            },
        }
    }
}

/// Peers from one address that begin and say no more, again and again, for as long as they are kept.
async fn silent(carrier: Carrier, authority: &Authority, hub: SocketAddr, all: &mut Vec<Box<dyn Any>>) {
    let from: SocketAddr = ELSEWHERE.parse().unwrap();
    match carrier {
        Carrier::WebSocket => loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(from).unwrap();
            all.push(Box::new(socket.connect(hub).await.unwrap()));
            tokio::task::yield_now().await;
        },
        Carrier::Quic => {
            let mut tls = (*authority.link_client(&authority.node("oslo"))).clone();
            tls.alpn_protocols = vec![b"tombolo/1".to_vec()];
            let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
            let endpoint = Endpoint::client(from).unwrap();
            loop {
                // It opens no stream, so its handshake as a link does not end. Whoever is sent away is not kept.
                let begun = endpoint.connect_with(config.clone(), hub, "localhost").unwrap().await;
                all.extend(begun.map(|begun| Box::new(begun) as Box<dyn Any>));
                tokio::task::yield_now().await;
            }
        }
    }
}
