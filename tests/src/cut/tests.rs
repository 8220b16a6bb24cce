#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::*;

/// A TCP server that sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut { stream }));
        }
    });
    address
}

/// A UDP server that answers with the address that it was asked from.
fn mirror() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut datagram = [0; 2_000];
        while let Ok((_, from)) = socket.recv_from(&mut datagram) {
            socket.send_to(from.to_string().as_bytes(), from).unwrap();
        }
    });
    address
}

fn tcp(weather: Weather) -> Cut {
    Cut::to(Carried::Tcp, echo(), weather, 1).unwrap()
}

fn exchange(path: &Cut, text: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(path.address())?;
    let mut sender = stream.try_clone()?;
    let sent = text.to_vec();
    let writing = std::thread::spawn(move || sender.write_all(&sent).and_then(|()| sender.shutdown(Shutdown::Write)));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    writing.join().unwrap()?;
    Ok(answer)
}

fn client(path: &Cut) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(path.address()).unwrap();
    socket.set_read_timeout(Some(crate::until::PATIENCE)).unwrap();
    socket
}

fn ask(socket: &UdpSocket) -> String {
    socket.send(b"?").unwrap();
    let mut answer = [0; 100];
    let size = socket.recv(&mut answer).unwrap();
    String::from_utf8(answer[..size].to_vec()).unwrap()
}

#[test]
fn a_stream_arrives_whole_in_order_and_late() {
    let mut weather = Weather::far(Duration::from_millis(5));
    weather.loss = 10_000;
    weather.jitter = Duration::from_millis(3);
    let path = tcp(weather);
    let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let begun = Instant::now();
    assert!(exchange(&path, &text).unwrap() == text);
    assert!(begun.elapsed() >= Duration::from_millis(10), "never earlier than both ways");
    assert_eq!(path.counts().bytes, [800_000; 2]);
}

#[test]
fn a_cut_path_resets_and_refuses_until_it_is_mended() {
    let path = tcp(Weather::default());
    let mut open = TcpStream::connect(path.address()).unwrap();
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0]).unwrap();
    path.cut();
    assert_eq!(open.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(exchange(&path, b"two").is_err());
    path.mend();
    assert_eq!(exchange(&path, b"three").unwrap(), b"three");
}

#[test]
fn a_connection_is_reset_in_the_middle_of_what_it_carries() {
    let path = tcp(Weather::default());
    path.reset_after(Way::Up, 100_001);
    assert!(exchange(&path, &[7; 300_000]).is_err());
    assert_eq!(path.counts().bytes[0], 100_001);
    assert_eq!(exchange(&path, &[7; 300_000]).unwrap().len(), 300_000, "once");
}

#[test]
fn a_black_hole_holds_a_stream_one_way_and_says_nothing() {
    let path = tcp(Weather::default());
    let mut open = TcpStream::connect(path.address()).unwrap();
    path.hole(Way::Down, true);
    open.write_all(b"hello").unwrap();
    crate::until::until("the other way is open", || (path.counts().bytes[0] == 5).then_some(()));
    assert_eq!(path.counts().bytes[1], 0);
    path.hole(Way::Down, false);
    let mut answer = [0; 5];
    open.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn a_sender_waits_in_front_of_a_path_that_is_full() {
    let path = tcp(Weather { buffer: 64 * 1024, ..Weather::default() });
    path.hole(Way::Up, true);
    let mut open = TcpStream::connect(path.address()).unwrap();
    open.set_nonblocking(true).unwrap();
    let mut taken = 0;
    // The path holds 64 KiB, the kernel some more, and then there is an end.
    while let Ok(more) = open.write(&[0; 65_536]) {
        taken += more;
        assert!(taken < 64 * 1024 * 1024);
    }
}

#[test]
fn a_client_moves_and_is_answered_at_its_new_address() {
    let path = Cut::to(Carried::Udp, mirror(), Weather::default(), 1).unwrap();
    let (socket, other) = (client(&path), client(&path));
    let first = ask(&socket);
    assert_eq!(ask(&socket), first);
    assert_ne!(ask(&other), first, "each client has an address of its own");
    path.move_clients();
    assert_ne!(ask(&socket), first);
}

#[test]
fn a_client_is_forgotten_at_a_datagram_which_is_lost() {
    let path = Cut::to(Carried::Udp, mirror(), Weather::default(), 1).unwrap();
    let socket = client(&path);
    let first = ask(&socket);
    path.reset_after(Way::Up, 3);
    assert_eq!(ask(&socket), first);
    assert_eq!(ask(&socket), first);
    socket.send(b"?").unwrap();
    crate::until::until("the third is lost", || (path.counts().resets == 1).then_some(()));
    assert_ne!(ask(&socket), first);
    assert_eq!((path.counts().packets[0], path.counts().dropped[0]), (4, 1));
}

#[test]
fn a_timetable_opens_and_closes_until_it_is_dropped() {
    let path = tcp(Weather::default());
    let mut open = TcpStream::connect(path.address()).unwrap();
    let timetable = path.timetable(Outage::Hole, Duration::from_millis(5), Duration::from_millis(10));
    for _ in 0..20 {
        open.write_all(b"a").unwrap();
        open.read_exact(&mut [0]).unwrap();
    }
    crate::until::until("several periods", || (timetable.periods() >= 3).then_some(()));
    drop(timetable);
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0]).unwrap();
}

#[test]
fn an_outage_ends_by_itself() {
    let path = tcp(Weather::default());
    let mut open = TcpStream::connect(path.address()).unwrap();
    path.outage(Outage::Hole, Duration::from_millis(3), || {});
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0]).unwrap();
    path.outage(Outage::Cut, Duration::from_millis(3), || {});
    assert!(open.read(&mut [0]).is_err());
    assert_eq!(exchange(&path, b"after").unwrap(), b"after");
}

#[test]
fn datagrams_are_lost_doubled_and_swallowed() {
    let lossy = Weather { loss: 500_000, duplicate: 500_000, ..Weather::default() };
    let path = Cut::to(Carried::Udp, mirror(), Weather::default(), 1).unwrap();
    path.set(Way::Up, lossy);
    let socket = client(&path);
    (0..200).for_each(|_| assert_eq!(socket.send(b"?").unwrap(), 1));
    let mut lane = lane::Lane::new(1, 0, false);
    let fates: Vec<_> = (0..200).map(|_| lane.datagram(&lossy, 0, 1).len() as u64).collect();
    let arrive: u64 = fates.iter().sum();
    crate::until::until("every datagram meets its fate, which the seed tells", || {
        let counts = path.counts();
        (counts.packets == [arrive; 2] && counts.dropped[0] == fates.iter().filter(|fate| **fate == 0).count() as u64).then_some(())
    });
    path.set(Way::Up, Weather::default());
    path.hole(Way::Down, true);
    let before = path.counts().packets[1];
    socket.send(b"?").unwrap();
    crate::until::until("the answer is swallowed", || (path.counts().dropped[1] == 1).then_some(()));
    assert_eq!(path.counts().packets[1], before);
}
