//! Connections: each direction in order, late, held by a black hole, reset where it is wanted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::lane::Lane;
use super::road::{Road, Way};

/// Bytes taken from a socket at a time.
const CHUNK: usize = 16 * 1024;
/// The same in front of a narrow path, where a large piece would arrive in one lump.
const NARROW_CHUNK: usize = 1_448;
/// Pieces on the way in one direction: more than the buffer in front of a path lets there be, unless each holds a few bytes.
const PIECES: usize = 4_096;

/// Why a connection ended: by itself, or it has to be reset.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

pub(super) async fn serve(road: Arc<Road>, listen: SocketAddr, target: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(connection(Arc::clone(&road), near, target));
        }
    });
    Ok(address)
}

async fn connection(road: Arc<Road>, mut near: TcpStream, target: SocketAddr) {
    if road.rules().cut {
        return reset(&road, [Some(near), None]);
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return reset(&road, [Some(near), None]) };
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let (seed, number) = road.connection();
    let end = {
        let (from_near, to_near) = near.split();
        let (from_far, to_far) = far.split();
        let up = pump(&road, Way::Up, Lane::new(seed, number, false), from_near, to_far);
        let down = pump(&road, Way::Down, Lane::new(seed, number, true), from_far, to_near);
        let both = async { tokio::try_join!(up, down).map_or(End::Reset, |_| End::Closed) };
        tokio::select! {
            end = both => end,
            () = road.until(|rules| rules.cut) => End::Reset,
        }
    };
    if end == End::Reset {
        reset(&road, [Some(near), Some(far)]);
    }
}

fn reset(road: &Road, streams: [Option<TcpStream>; 2]) {
    road.count(|counts| counts.resets += 1);
    for stream in streams.into_iter().flatten() {
        let _ = stream.set_zero_linger();
    }
}

/// One direction until its sender closes. Errors: a side is gone, or the connection has to be reset.
async fn pump(road: &Road, way: Way, lane: Lane, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin) -> Result<(), End> {
    let room = Semaphore::new(road.rules().weather[way.index()].buffer.max(CHUNK));
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::try_join!(take(road, way, lane, from, &room, sender), give(road, way, receiver, &room, to)).map(|_| ())
}

type Piece = (u64, Vec<u8>);

/// Reads while there is room in front of the path.
async fn take(
    road: &Road,
    way: Way,
    mut lane: Lane,
    mut from: impl AsyncRead + Unpin,
    room: &Semaphore,
    sender: mpsc::Sender<Piece>,
) -> Result<(), End> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let weather = road.rules().weather[way.index()];
        let size = if weather.bandwidth.is_some() { NARROW_CHUNK } else { CHUNK };
        let size = match lane.room(&weather, road.now(), size) {
            Ok(size) => size,
            Err(later) => {
                road.due(later).await;
                continue;
            }
        };
        let Ok(mut permits) = room.acquire_many(size as u32).await else { return Err(End::Reset) };
        match from.read(&mut chunk[..size]).await {
            Ok(0) => return Ok(()),
            Ok(read) => {
                drop(permits.split(size - read));
                permits.forget();
                let at = lane.piece(&weather, road.now(), read);
                if sender.send((at, chunk[..read].to_vec())).await.is_err() {
                    return Ok(());
                }
            }
            Err(_) => return Err(End::Reset),
        }
    }
}

/// Hands on what is due.
async fn give(
    road: &Road,
    way: Way,
    mut receiver: mpsc::Receiver<Piece>,
    room: &Semaphore,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), End> {
    while let Some((at, bytes)) = receiver.recv().await {
        road.due(at).await;
        road.until(|rules| !rules.hole[way.index()]).await;
        let last = road.until_reset(way, bytes.len());
        to.write_all(&bytes[..last.unwrap_or(bytes.len())]).await.map_err(|_| End::Reset)?;
        road.arrived(way, last.unwrap_or(bytes.len()));
        if last.is_some() {
            return Err(End::Reset);
        }
        room.add_permits(bytes.len());
    }
    road.until(|rules| !rules.hole[way.index()]).await;
    to.shutdown().await.map_err(|_| End::Reset)
}
