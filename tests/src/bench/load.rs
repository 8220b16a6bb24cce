//! HTTP load that costs little: many kept connections on one thread, requests that are bytes already, answers of which
//! only the status and the length are looked at.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::report::{Latencies, rate};
use super::stage::{key, path, product};

/// Room for one answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// When a load ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// No new request after this span.
    Elapsed(Duration),
    /// After so many requests.
    Requests(usize),
}

/// What a load met.
#[derive(Debug, Clone)]
pub struct Met {
    /// From the first request to the last answer.
    pub span: Duration,
    /// One entry an answer.
    pub latencies: Latencies,
}

impl Met {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        rate(self.latencies.count(), self.span)
    }

    /// Both percentiles, for people.
    pub fn percentiles(&self) -> String {
        format!("p50 {:.2} ms, p99 {:.2} ms", self.latencies.percentile(0.5), self.latencies.percentile(0.99))
    }
}

struct Shared<F> {
    target: SocketAddr,
    status: u16,
    request: F,
    until: Until,
    begun: Instant,
    next: Cell<usize>,
    latencies: RefCell<Latencies>,
}

impl<F> Shared<F> {
    /// The next request's number; none: it is over.
    fn next(&self) -> Option<usize> {
        let number = self.next.get();
        let over = match self.until {
            Until::Elapsed(span) => self.begun.elapsed() >= span,
            Until::Requests(count) => number >= count,
        };
        self.next.set(number + 1);
        (!over).then_some(number)
    }
}

/// Keeps `clients` connections busy, each with one request at a time. `request` writes request number n; every answer
/// must have this status.
pub fn run(target: SocketAddr, clients: usize, until: Until, status: u16, request: impl Fn(usize, &mut Vec<u8>) + 'static) -> Met {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (next, latencies) = (Cell::new(0), RefCell::default());
    let shared = Rc::new(Shared { target, status, request, until, begun: Instant::now(), next, latencies });
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let clients: Vec<_> = (0..clients).map(|_| tokio::task::spawn_local(client(Rc::clone(&shared)))).collect();
        for client in clients {
            client.await.expect("a client that ends").expect("answers");
        }
    });
    Met { span: shared.begun.elapsed(), latencies: shared.latencies.take() }
}

async fn client<F: Fn(usize, &mut Vec<u8>)>(shared: Rc<Shared<F>>) -> io::Result<()> {
    let mut stream = TcpStream::connect(shared.target).await?;
    stream.set_nodelay(true)?;
    let mut answer = vec![0; ANSWER_BYTES];
    let mut request = Vec::new();
    while let Some(number) = shared.next() {
        request.clear();
        (shared.request)(number, &mut request);
        let begun = Instant::now();
        stream.write_all(&request).await?;
        let (status, length) = read_answer(&mut stream, &mut answer).await?;
        if status != shared.status {
            return Err(io::Error::other(String::from_utf8_lossy(&answer[..length]).into_owned()));
        }
        shared.latencies.borrow_mut().add(begun.elapsed());
    }
    Ok(())
}

/// Reads one whole answer; its status and how many bytes it has.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<(u16, usize)> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            size => filled += size,
        }
        if let Some((status, length)) = measure(&buffer[..filled])
            && filled >= length
        {
            return Ok((status, filled));
        }
    }
}

/// The status of an answer and its length with its head, once the head is there.
fn measure(answer: &[u8]) -> Option<(u16, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some((status, end + length.expect("an answer with a length")))
}

/// Requests that read products 0 to `records` - 1, scattered.
pub fn reading(target: SocketAddr, records: usize) -> impl Fn(usize, &mut Vec<u8>) + 'static {
    let requests: Vec<String> =
        (0..records).map(|n| format!("GET {} HTTP/1.1\r\nhost: {target}\r\n\r\n", path(&key(super::stage::scatter(n, records))))).collect();
    move |number, request| request.extend_from_slice(requests[number % requests.len()].as_bytes())
}

/// Requests that create products from number `first` on, by PUT.
pub fn creating(target: SocketAddr, first: usize) -> impl Fn(usize, &mut Vec<u8>) + 'static {
    let head = format!("host: {target}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", super::stage::VALUE_BYTES);
    move |number, request| {
        let line = format!("PUT {} HTTP/1.1\r\n", path(&key(first + number)));
        [line.as_str(), &head, &product(first + number)].iter().for_each(|part| request.extend_from_slice(part.as_bytes()));
    }
}

/// Requests that change the price of products 0 to `records` - 1, scattered.
pub fn repricing(target: SocketAddr, records: usize) -> impl Fn(usize, &mut Vec<u8>) + 'static {
    move |number, request| {
        let body = format!("{{\"Price\":{number}.5}}");
        let path = path(&key(super::stage::scatter(number, records)));
        let head =
            format!("PATCH {path} HTTP/1.1\r\nhost: {target}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        [head, body].iter().for_each(|part| request.extend_from_slice(part.as_bytes()));
    }
}
