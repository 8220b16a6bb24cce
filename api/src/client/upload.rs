//! A request body that is read from a file or a pipe while it is sent.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use super::limits;

/// A source of bytes on its way to a hub. A thread of its own reads the source, because standard input cannot be
/// waited for in any other way; it ends when the source ends or the upload is dropped.
#[derive(Debug)]
pub struct Upload {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    sent: Arc<AtomicU64>,
    failed: Arc<std::sync::Mutex<Option<String>>>,
}

impl Upload {
    /// Starts to read `source`. Must be called inside a Tokio runtime.
    pub fn new(source: impl Read + Send + 'static) -> Self {
        let (pieces_in, pieces) = mpsc::channel(limits::UPLOAD_WAITING);
        tokio::task::spawn_blocking(move || pump(source, &pieces_in));
        Self { pieces, sent: Arc::default(), failed: Arc::default() }
    }

    /// A counter of the bytes handed to the connection so far, for a progress bar.
    pub fn progress(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }

    /// Where the reason is found when the source, not the connection, failed.
    pub(super) fn failure(&self) -> Arc<std::sync::Mutex<Option<String>>> {
        self.failed.clone()
    }
}

fn pump(mut source: impl Read, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; limits::UPLOAD_PIECE];
    loop {
        let piece = match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => Ok(Bytes::copy_from_slice(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = piece.is_err();
        if pieces.blocking_send(piece).is_err() || last {
            return;
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.pieces.poll_recv(cx)) {
            None => None,
            Some(Ok(piece)) => {
                this.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => {
                if let Ok(mut failed) = this.failed.lock() {
                    *failed = Some(error.to_string());
                }
                Some(Err(error))
            }
        })
    }
}
