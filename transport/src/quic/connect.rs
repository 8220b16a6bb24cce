//! The edge's side of a QUIC link: name, UDP, QUIC, the link's streams, five seconds for all of it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep};

use super::{BULK, CONTROL, QuicLink, Streams, config, reason};
use crate::address::HostPort;
use crate::dial::{ConnectError, ConnectReason, by};
use crate::identity::{HubIdentity, PeerIdentity};
use crate::limits::{HANDSHAKE, QUIC_STAGGER};

/// Connects to a hub's QUIC port. The peer of the link is the hub, under the name it was asked for.
///
/// # Errors
/// [`ConnectError`], in words for an operator.
pub async fn connect(server: &HostPort, tls: Arc<rustls::ClientConfig>) -> Result<QuicLink, ConnectError> {
    let deadline = Instant::now() + HANDSHAKE;
    dial(server, &tls, deadline).await.map_err(|reason| ConnectError { server: server.clone(), reason })
}

async fn dial(server: &HostPort, tls: &rustls::ClientConfig, deadline: Instant) -> Result<QuicLink, ConnectReason> {
    let addresses = by(deadline, "resolving its name", lookup_host((server.host.as_str(), server.port))).await?;
    let addresses = addresses.map_err(ConnectReason::Resolve)?;
    let config = config::client(tls).map_err(ConnectReason::Quic)?;
    let mut tries: FuturesUnordered<_> = addresses
        .zip(0u32..)
        .map(|(address, place)| {
            let config = config.clone();
            async move {
                sleep(QUIC_STAGGER * place).await;
                handshake(address, config, &server.host).await
            }
        })
        .collect();
    let peer = PeerIdentity::Hub(HubIdentity { name: server.to_string() });
    let mut failed = ConnectReason::Resolve(std::io::Error::other("the name has no address"));
    // The first that is up; the others are dropped with their sockets.
    let first = async {
        while let Some(tried) = tries.next().await {
            match tried {
                Ok((connection, streams)) => return Ok(QuicLink::new(connection, streams, peer)),
                Err(reason) => failed = reason,
            }
        }
        Err(failed)
    };
    by(deadline, "QUIC handshake", first).await?
}

/// A socket of its own, not bound to the way that leads to the hub today: when this machine's address changes, the connection
/// lives on under the new one.
async fn handshake(address: SocketAddr, config: quinn::ClientConfig, host: &str) -> Result<(Connection, Streams), ConnectReason> {
    let any: SocketAddr = if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let endpoint = Endpoint::client(any).map_err(|error| ConnectReason::Quic(format!("no UDP socket: {error}")))?;
    let connecting = endpoint.connect_with(config, address, host).map_err(|error| ConnectReason::Quic(error.to_string()))?;
    let connection = connecting.await.map_err(|error| reason::of_connect(&error))?;
    let streams = match open(&connection).await {
        Ok(streams) => streams,
        // What went wrong with a stream is what went wrong with its connection.
        Err(Unopened::Lost) => return Err(reason::of_connect(&connection.closed().await)),
        Err(Unopened::Foreign) => return Err(ConnectReason::Quic("it opens a stream that is none of the link's".to_owned())),
    };
    Ok((connection, streams))
}

enum Unopened {
    Lost,
    Foreign,
}

/// Opens this side's streams; the hub's shows that it lets this node in.
async fn open(connection: &Connection) -> Result<Streams, Unopened> {
    let control = connection.open_bi().await.map_err(|_| Unopened::Lost)?;
    let mut bulk = connection.open_uni().await.map_err(|_| Unopened::Lost)?;
    let mut control = control;
    say(&mut control.0, CONTROL).await?;
    say(&mut bulk, BULK).await?;
    let mut down = connection.accept_uni().await.map_err(|_| Unopened::Lost)?;
    match kind(&mut down).await? {
        BULK => Ok(Streams { control, bulk: (bulk, down) }),
        _ => Err(Unopened::Foreign),
    }
}

async fn say(stream: &mut SendStream, kind: u8) -> Result<(), Unopened> {
    stream.write_all(&[kind]).await.map_err(|_| Unopened::Lost)
}

async fn kind(stream: &mut RecvStream) -> Result<u8, Unopened> {
    let mut kind = [0];
    stream.read_exact(&mut kind).await.map_err(|_| Unopened::Lost)?;
    Ok(kind[0])
}
