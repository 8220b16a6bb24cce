//! Distance for a TCP connection: what goes in comes out after a fixed time, at any bandwidth, in each direction.
//!
//! It works above the kernel: both ends of the connection see a near peer, so slow start and lost packets are not
//! part of it, only the time that an answer needs. It can also cut the path, and mend it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pace::sleep_until;

/// Bytes taken from a socket at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks on the way, one direction: a bound that is never reached at the rates of these benchmarks.
const ON_THE_WAY: usize = 4_096;

/// A path to one server.
pub struct Line {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    open: Vec<TcpStream>,
    /// When the first connection since the last [`Line::mend`] was taken.
    carried: Option<Instant>,
    over: bool,
}

impl Line {
    /// A path to `target` that takes `one_way` in each direction.
    pub fn to(target: SocketAddr, one_way: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let line = Self { address: listener.local_addr().expect("its address"), state: Arc::default() };
        let state = Arc::clone(&line.state);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if lock(&state).over {
                    return;
                }
                // Where the server is not there, the connection closes: that is what the client should see.
                let _ = carry(&state, near, target, one_way);
            }
        });
        line
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes what is open, and every new connection at once.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.cut = true;
        state.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        let mut state = lock(&self.state);
        state.cut = false;
        state.carried = None;
    }

    /// When the first connection since the mending was taken: the link is up from there on, whatever the back-off was.
    pub fn carried(&self) -> Option<Instant> {
        lock(&self.state).carried
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
        lock(&self.state).over = true;
        // Wakes the listener, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry(state: &Mutex<State>, near: TcpStream, target: SocketAddr, one_way: Duration) -> io::Result<()> {
    let mut state = lock(state);
    if state.cut {
        return Ok(());
    }
    state.carried.get_or_insert_with(Instant::now);
    let far = TcpStream::connect(target)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        state.open.push(stream.try_clone()?);
    }
    relay(near.try_clone()?, far.try_clone()?, one_way);
    relay(far, near, one_way);
    Ok(())
}

/// One direction, until either end closes.
fn relay(from: TcpStream, to: TcpStream, one_way: Duration) {
    if one_way.is_zero() {
        std::thread::spawn(move || pass(from, to));
        return;
    }
    let (sender, receiver) = sync_channel(ON_THE_WAY);
    std::thread::spawn(move || take(from, &sender, one_way));
    std::thread::spawn(move || give(&receiver, to));
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(size @ 1..) = from.read(&mut chunk) {
        if to.write_all(&chunk[..size]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn take(mut from: TcpStream, way: &SyncSender<(Instant, Vec<u8>)>, one_way: Duration) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(size @ 1..) = from.read(&mut chunk) {
        if way.send((Instant::now() + one_way, chunk[..size].to_vec())).is_err() {
            break;
        }
    }
}

fn give(way: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, chunk) in way {
        sleep_until(due);
        if to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || pass(stream.try_clone().unwrap(), stream));
            }
        });
        address
    }

    fn exchange(line: &Line, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(line.address())?;
        stream.write_all(text)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn everything_arrives_in_order_and_late() {
        let line = Line::to(echo(), Duration::from_millis(5));
        let text: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let begun = Instant::now();
        assert!(exchange(&line, &text).unwrap() == text);
        assert!(begun.elapsed() >= Duration::from_millis(10), "never earlier than both ways");
    }

    #[test]
    fn a_cut_line_carries_nothing_until_it_is_mended() {
        let line = Line::to(echo(), Duration::ZERO);
        assert_eq!(exchange(&line, b"one").unwrap(), b"one");
        line.cut();
        assert!(exchange(&line, b"two").map_or(true, |answer| answer.is_empty()));
        line.mend();
        assert!(line.carried().is_none());
        assert_eq!(exchange(&line, b"three").unwrap(), b"three");
        assert!(line.carried().is_some());
    }
}
