//! Collects the small fragments of a frame into whole TLS records, and holds no memory between frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::GATHER;

/// A stream whose writes wait for the next flush, or until [`GATHER`] bytes are together.
#[derive(Debug)]
pub(super) struct Gather<S> {
    inner: S,
    waiting: Vec<u8>,
    written: usize,
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, waiting: Vec::new(), written: 0 }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.waiting.get(self.written..) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.written > 0 || self.waiting.len() + buf.len() > GATHER {
            ready!(self.poll_drain(cx))?;
        }
        if buf.len() > GATHER {
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        self.waiting.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        self.waiting = Vec::new();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_wait_for_the_flush_and_keep_their_order() {
        let (near, mut far) = tokio::io::duplex(1_000);
        let mut gather = Gather::new(near);
        gather.write_all(b"one ").await.unwrap();
        gather.write_all(b"two").await.unwrap();
        let early = std::future::poll_fn(|cx| {
            let mut space = [0; 8];
            Poll::Ready(Pin::new(&mut far).poll_read(cx, &mut ReadBuf::new(&mut space)).is_ready())
        });
        assert!(!early.await, "nothing leaves before the flush");
        gather.flush().await.unwrap();
        assert_eq!(gather.waiting.capacity(), 0, "nothing is held after it");
        let mut read = [0; 7];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"one two");
    }

    #[tokio::test]
    async fn more_than_fits_goes_through_a_narrow_stream_unharmed() {
        let (near, mut far) = tokio::io::duplex(100);
        let mut gather = Gather::new(near);
        let bytes: Vec<u8> = (0..3 * GATHER).map(|n| (n % 251) as u8).collect();
        let write = async {
            for piece in bytes.chunks(GATHER / 3 + 1).chain([&bytes[..]]) {
                gather.write_all(piece).await.unwrap();
            }
            gather.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let ((), got) = tokio::join!(write, far.read_to_end(&mut read));
        got.unwrap();
        assert!(read == [&bytes[..], &bytes[..]].concat());
    }
}
