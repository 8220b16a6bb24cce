//! What else could be sent on the same path: a plain stream, which is all that the path and the model of TCP let through, and one
//! message at a time with its acknowledgement, which is how KubeEdge serves a node.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::bench::report::rate;
use crate::bench::stage::VALUE_BYTES;
use crate::cut::{Carried, Cut, Weather};

/// Longer than any answer takes; a baseline that gets none counts what came.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes a second that come down a plain TCP stream.
pub(super) fn stream(weather: Weather, span: Duration) -> f64 {
    let server = serve(|mut stream| {
        let piece = vec![7; 64 * 1024];
        while stream.write_all(&piece).is_ok() {}
    });
    let (_path, mut client) = connect(server, weather);
    let (begun, mut bytes, mut piece) = (Instant::now(), 0, vec![0; 64 * 1024]);
    while begun.elapsed() < span {
        match client.read(&mut piece) {
            Ok(read @ 1..) => bytes += read,
            _ => break,
        }
    }
    rate(bytes, begun.elapsed())
}

/// Messages a second that come down one at a time, each as large as a record and sent when the one before is acknowledged.
pub(super) fn one_by_one(weather: Weather, span: Duration) -> f64 {
    let server = serve(|mut stream| {
        let mut ack = [0];
        while stream.write_all(&[7; VALUE_BYTES]).is_ok() && stream.read_exact(&mut ack).is_ok() {}
    });
    let (_path, mut client) = connect(server, weather);
    let (begun, mut count, mut message) = (Instant::now(), 0, [0; VALUE_BYTES]);
    while begun.elapsed() < span && client.read_exact(&mut message).is_ok() && client.write_all(&[1]).is_ok() {
        count += 1;
    }
    rate(count, begun.elapsed())
}

/// Serves one connection.
fn serve(with: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_nodelay(true).expect("a socket");
        with(stream);
    });
    address
}

fn connect(server: SocketAddr, weather: Weather) -> (Cut, TcpStream) {
    let path = Cut::to(Carried::Tcp, server, weather, 7).expect("a free port");
    let stream = TcpStream::connect(path.address()).expect("the path");
    stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE))).expect("a socket");
    (path, stream)
}
