//! Datagrams: lost, late, twice, overtaken, swallowed; each client is seen by the server under an address of its own,
//! which changes when the path says so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::lane::Lane;
use super::road::{Road, Way};

/// Largest datagram.
const DATAGRAM: usize = 65_536;
/// Clients at once: more than a descriptor limit lets there be.
const CLIENTS: usize = 25_000;
/// Datagrams that wait for one client to be sorted by when they are due, one direction; what comes on top is dropped.
const QUEUED: usize = 4_096;

/// One client, as far as the way up is concerned.
struct Client {
    number: u64,
    moved: u64,
    lane: Lane,
    late: mpsc::Sender<Late>,
}

/// A datagram on its way.
type Late = (u64, Vec<u8>);

pub(super) async fn serve(road: Arc<Road>, listen: SocketAddr, target: SocketAddr) -> io::Result<SocketAddr> {
    let socket = Arc::new(UdpSocket::bind(listen).await?);
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        let (mut clients, mut moved) = (BTreeMap::<SocketAddr, Client>::new(), 0);
        let mut datagram = vec![0; DATAGRAM];
        loop {
            // An error tells of an earlier datagram that its receiver did not want: no reason to end.
            let Ok((size, from)) = socket.recv_from(&mut datagram).await else { continue };
            // Who has not come again since all moved has gone: a path of many hours holds no socket for each that ever came.
            let now = road.rules().moved;
            if moved != now && !clients.contains_key(&from) {
                clients.retain(|_, client| client.moved == now);
                moved = now;
            }
            if !clients.contains_key(&from) && clients.len() >= CLIENTS {
                continue;
            }
            if let Err(error) = upward(&road, &socket, target, &mut clients, from, &datagram[..size]).await {
                eprintln!("cut: nothing is carried for {from}: {error}");
            }
        }
    });
    Ok(address)
}

async fn upward(
    road: &Arc<Road>,
    socket: &Arc<UdpSocket>,
    target: SocketAddr,
    clients: &mut BTreeMap<SocketAddr, Client>,
    from: SocketAddr,
    datagram: &[u8],
) -> io::Result<()> {
    let (moved, weather) = {
        let rules = road.rules();
        (rules.moved, rules.weather[Way::Up.index()])
    };
    if clients.get(&from).is_none_or(|client| client.moved != moved) {
        let before = clients.remove(&from).map(|client| (client.number, client.lane));
        clients.insert(from, client(road, socket, target, from, moved, before).await?);
    }
    if let Some(client) = clients.get_mut(&from) {
        let fates = client.lane.datagram(&weather, road.now(), datagram.len());
        dispatch(road, Way::Up, &fates, datagram, &client.late);
    }
    Ok(())
}

async fn client(
    road: &Arc<Road>,
    socket: &Arc<UdpSocket>,
    target: SocketAddr,
    from: SocketAddr,
    moved: u64,
    before: Option<(u64, Lane)>,
) -> io::Result<Client> {
    let any = if target.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let out = Arc::new(UdpSocket::bind((any, 0)).await?);
    out.connect(target).await?;
    let (seed, number) = road.connection();
    let (number, lane) = before.unwrap_or_else(|| (number, Lane::new(seed, number, false)));
    let (late, queue) = mpsc::channel(QUEUED);
    tokio::spawn(deliver(Arc::clone(road), Way::Up, queue, Arc::clone(&out), None));
    tokio::spawn(downward(Arc::clone(road), out, Arc::clone(socket), from, moved, Lane::new(seed, number, true)));
    Ok(Client { number, moved, lane, late })
}

/// What the server answers to one address of a client, until the client has another.
async fn downward(road: Arc<Road>, out: Arc<UdpSocket>, socket: Arc<UdpSocket>, to: SocketAddr, moved: u64, mut lane: Lane) {
    let (late, queue) = mpsc::channel(QUEUED);
    tokio::spawn(deliver(Arc::clone(&road), Way::Down, queue, socket, Some(to)));
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let size = tokio::select! {
            received = out.recv(&mut datagram) => match received {
                Ok(size) => size,
                Err(_) => continue,
            },
            () = road.until(|rules| rules.moved != moved) => return,
        };
        let weather = road.rules().weather[Way::Down.index()];
        let fates = lane.datagram(&weather, road.now(), size);
        dispatch(&road, Way::Down, &fates, &datagram[..size], &late);
    }
}

fn dispatch(road: &Road, way: Way, fates: &[u64], datagram: &[u8], late: &mpsc::Sender<Late>) {
    if fates.is_empty() {
        road.count(|counts| counts.dropped[way.index()] += 1);
    }
    for at in fates {
        if late.try_send((*at, datagram.to_vec())).is_err() {
            road.count(|counts| counts.dropped[way.index()] += 1);
        }
    }
}

/// Hands on what is due, the earliest first.
async fn deliver(road: Arc<Road>, way: Way, mut queue: mpsc::Receiver<Late>, socket: Arc<UdpSocket>, to: Option<SocketAddr>) {
    let mut waiting: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>> = BinaryHeap::new();
    let mut place = 0;
    loop {
        let due = waiting.peek().map(|Reverse((at, ..))| *at);
        tokio::select! {
            more = queue.recv() => match more {
                Some((at, bytes)) => {
                    place += 1;
                    waiting.push(Reverse((at, place, bytes)));
                }
                None => return,
            },
            () = road.due(due.unwrap_or(0)), if due.is_some() => {
                let Some(Reverse((_, _, bytes))) = waiting.pop() else { continue };
                let swallowed = {
                    let rules = road.rules();
                    rules.cut || rules.hole[way.index()]
                };
                let swallowed = swallowed || forgets(&road, way, bytes.len());
                if swallowed {
                    road.count(|counts| counts.dropped[way.index()] += 1);
                    continue;
                }
                let sent = match to {
                    Some(to) => socket.send_to(&bytes, to).await,
                    None => socket.send(&bytes).await,
                };
                if sent.is_ok() {
                    road.arrived(way, bytes.len());
                }
            }
        }
    }
}

/// Whether this datagram is the one at which the clients' addresses are forgotten.
fn forgets(road: &Road, way: Way, bytes: usize) -> bool {
    let last = road.until_reset(way, bytes).is_some();
    if last {
        road.count(|counts| counts.resets += 1);
        road.change(|rules| rules.moved += 1);
    }
    last
}
