//! Bytes as they pass. On the wire (below TLS, or all of UDP's payload): what metrics show. Of frames: what "received n bytes"
//! reports while a large frame trickles in, and what the rule of silence is judged by; acknowledgements and probes of QUIC
//! are on the wire and say nothing about frames.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How many bytes a link has carried, and when the last one arrived.
#[derive(Debug)]
pub struct LinkCounters {
    start: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    arrived: AtomicU64,
    /// Milliseconds after `start`.
    last_received: AtomicU64,
}

impl LinkCounters {
    /// Counters of a link that begins now.
    pub fn new() -> Arc<Self> {
        let (received, sent, arrived) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { start: Instant::now(), received, sent, arrived, last_received: AtomicU64::new(0) })
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

    /// What the wire has carried so far, as somebody else counted it.
    pub(crate) fn wire(&self, received: u64, sent: u64) {
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
