//! Bytes as they pass. On the wire (below TLS, or all of UDP's payload): what metrics show. Of frames: what "received n bytes"
//! reports while a large frame trickles in, and what the rule of silence is judged by; acknowledgements and probes of QUIC
//! are on the wire and say nothing about frames. By cause: what [`LinkCounters::traffic`] tells.
//!
//! A frame counts for its cause with what it has on the link, once it is handed over or has come whole. What the wire has carried beyond
//! the frames is [`Cause::Overhead`]. Not counted at all, because no program sees it: the headers of IP, TCP and UDP, and
//! what TCP sends again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use proto::traffic::{Cause, Causes, Traffic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a WebSocket, its TLS and their buffers may have read beyond the frame that was asked for, bytes.
const READ_AHEAD: u64 = 64 * 1024;
/// When nothing has come for so long, nothing waits in those buffers.
const QUIET: Duration = Duration::from_secs(1);

/// How many bytes a link has carried, and when the last one arrived.
#[derive(Debug)]
pub struct LinkCounters {
    start: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    arrived: AtomicU64,
    /// Milliseconds after `start`.
    last_received: AtomicU64,
    /// Bytes of `arrived` that are no frame's: lengths and counts before frames.
    framing: AtomicU64,
    /// Bytes of a frame that is here in part, where others may come whole meanwhile.
    held: AtomicU64,
    /// What the wire had brought when the newest frame was whole.
    settled: AtomicU64,
    /// The wire is counted apart from frames, so `arrived` tells how much of `received` is frames at any moment.
    is_apart: AtomicBool,
    out: Lot,
    into: Lot,
}

/// Whole frames of one direction by cause, and the overhead that they were seen to have.
#[derive(Debug, Default)]
struct Lot([AtomicU64; Cause::ALL.len()]);

impl Lot {
    fn add(&self, cause: Cause, bytes: usize) {
        self.0[cause as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn frames(&self) -> u64 {
        self.0[..Cause::Overhead as usize].iter().map(|own| own.load(Ordering::Relaxed)).sum()
    }

    /// Overhead only grows, as a counter must.
    fn beyond(&self, bytes: u64) {
        self.0[Cause::Overhead as usize].fetch_max(bytes, Ordering::Relaxed);
    }

    fn causes(&self) -> Causes {
        let mut all = Causes::default();
        Cause::ALL.into_iter().for_each(|cause| all.add(cause, self.0[cause as usize].load(Ordering::Relaxed)));
        all
    }
}

impl LinkCounters {
    /// Counters of a link that begins now.
    pub fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            start: Instant::now(),
            received: zero(),
            sent: zero(),
            arrived: zero(),
            last_received: zero(),
            framing: zero(),
            held: zero(),
            settled: zero(),
            is_apart: AtomicBool::new(false),
            out: Lot::default(),
            into: Lot::default(),
        })
    }

    /// A frame was handed to the link.
    pub fn sent_frame(&self, cause: Cause, bytes: usize) {
        self.out.add(cause, bytes);
    }

    /// A frame came whole.
    pub fn received_frame(&self, cause: Cause, bytes: usize) {
        self.into.add(cause, bytes);
        if !self.is_apart.load(Ordering::Relaxed) {
            // What was read may hold frames that nobody has asked for yet; they are no overhead.
            let (wire, known) = (self.received(), self.into.frames() + self.held.load(Ordering::Relaxed));
            self.into.beyond(wire.saturating_sub(known + READ_AHEAD));
            self.settled.store(wire, Ordering::Relaxed);
        }
    }

    /// Bytes by cause. A frame that is partly here is in none yet; one that is on its way out is in its own already. While much
    /// comes, its overhead is shown a little late.
    pub fn traffic(&self) -> Traffic {
        self.out.beyond(self.sent().saturating_sub(self.out.frames()));
        let quiet = self.settled.load(Ordering::Relaxed) == self.received() && self.last_received().elapsed() >= QUIET;
        if quiet {
            // The last byte that came ended a frame, and nothing was read beyond it.
            self.into.beyond(self.received().saturating_sub(self.into.frames() + self.held.load(Ordering::Relaxed)));
        }
        if self.is_apart.load(Ordering::Relaxed) {
            let frames = self.arrived().saturating_sub(self.framing.load(Ordering::Relaxed));
            self.into.beyond(self.received().saturating_sub(frames));
        }
        Traffic { sent: self.out.causes(), received: self.into.causes() }
    }

    /// The same when the link is over: a frame of which only a part came was overhead.
    pub fn final_traffic(&self) -> Traffic {
        self.into.beyond(self.received().saturating_sub(self.into.frames()));
        self.traffic()
    }

    /// All that has passed both ways so far, parts of frames too.
    pub fn total(&self) -> u64 {
        self.received() + self.sent().max(self.out.frames())
    }

    /// Bytes of frames that arrived so far, also of one that is not whole yet.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Bytes that came over the network so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes handed to the network so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// When the last byte arrived; the link's beginning if none did.
    pub fn last_received(&self) -> Instant {
        self.start + Duration::from_millis(self.last_received.load(Ordering::Relaxed))
    }

    /// Ready once not a byte has arrived for `limit`. Poll [`crate::link::LinkRx::recv`] beside it.
    pub async fn silence(&self, limit: Duration) {
        loop {
            let due = self.last_received() + limit;
            if Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// Bytes came in a stream that carries frames and nothing else.
    pub(crate) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.add_arrived(bytes);
    }

    /// Bytes of frames came; the wire is counted apart, by [`LinkCounters::wire`].
    pub(crate) fn add_arrived(&self, bytes: usize) {
        if bytes > 0 {
            self.arrived.fetch_add(bytes as u64, Ordering::Relaxed);
            self.last_received.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
    }

    /// Bytes of a stream that stand before frames.
    pub(crate) fn add_framing(&self, bytes: usize) {
        self.framing.fetch_add(bytes as u64, Ordering::Relaxed);
        self.add_arrived(bytes);
    }

    /// So much of a frame is here that comes in pieces.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.store(bytes as u64, Ordering::Relaxed);
    }

    /// What the wire has carried so far, as somebody else counted it.
    pub(crate) fn wire(&self, received: u64, sent: u64) {
        self.is_apart.store(true, Ordering::Relaxed);
        self.received.fetch_max(received, Ordering::Relaxed);
        self.sent.fetch_max(sent, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A stream that counts what passes.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    counters: Arc<LinkCounters>,
}

impl<S> Metered<S> {
    pub(crate) fn new(inner: S, counters: Arc<LinkCounters>) -> Self {
        Self { inner, counters }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.counters.add_received(buf.filled().len() - before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.counters.add_sent(*bytes);
        }
        polled
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.counters.add_sent(*bytes);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn both_directions_are_counted() {
        let (near, mut far) = tokio::io::duplex(64);
        let counters = LinkCounters::new();
        let mut metered = Metered::new(near, counters.clone());
        metered.write_all(b"seven b").await.unwrap();
        far.write_all(b"abc").await.unwrap();
        let mut got = [0; 3];
        metered.read_exact(&mut got).await.unwrap();
        assert_eq!((counters.sent(), counters.received()), (7, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_sum_of_all_causes_is_what_the_wire_carried() {
        let counters = LinkCounters::new();
        counters.add_received(120);
        assert_eq!(counters.traffic().received.total(), 0, "a part of a frame, maybe");
        counters.received_frame(Cause::Records, 100);
        counters.sent_frame(Cause::Writes, 50);
        assert_eq!(counters.traffic().sent.total(), 50, "it is on its way");
        counters.add_sent(58);
        assert_eq!(counters.traffic().received.total(), 100, "the rest may be of the next frame");
        tokio::time::sleep(QUIET).await;
        let traffic = counters.traffic();
        let overhead = |causes: &Causes| (causes.total(), causes.get(Cause::Overhead));
        assert_eq!((overhead(&traffic.sent), overhead(&traffic.received)), ((58, 8), (120, 20)));
        counters.add_received(7);
        assert_eq!(counters.final_traffic().received.total(), 127, "a frame that broke off");
        assert_eq!(counters.total(), 127 + 58);
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_of_a_frame_are_no_overhead_of_the_one_that_overtakes_it() {
        let counters = LinkCounters::new();
        counters.add_received(700);
        counters.hold(600);
        counters.received_frame(Cause::Heartbeat, 10);
        tokio::time::sleep(QUIET).await;
        assert_eq!(counters.traffic().received.get(Cause::Overhead), 90);
        counters.add_received(420);
        counters.hold(0);
        counters.received_frame(Cause::Records, 1_000);
        tokio::time::sleep(QUIET).await;
        assert_eq!((counters.traffic().received.total(), counters.traffic().received.get(Cause::Overhead)), (1_120, 110));
    }

    #[tokio::test]
    async fn where_the_wire_is_counted_apart_overhead_is_exact_at_any_moment() {
        let counters = LinkCounters::new();
        counters.wire(1_000, 0);
        counters.add_framing(12);
        counters.add_arrived(500);
        let part = counters.traffic().received;
        assert_eq!((part.total(), part.get(Cause::Overhead)), (500, 500), "the frame is not whole");
        counters.add_arrived(300);
        counters.received_frame(Cause::Records, 800);
        counters.wire(1_300, 0);
        let whole = counters.traffic().received;
        assert_eq!((whole.total(), whole.get(Cause::Overhead)), (1_300, 500));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_byte() {
        let counters = LinkCounters::new();
        let start = Instant::now();
        let bytes = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(40)).await;
                counters.add_received(1);
            }
        };
        tokio::join!(counters.silence(Duration::from_secs(45)), bytes);
        assert_eq!(start.elapsed().as_secs(), 3 * 40 + 45);
    }
}
