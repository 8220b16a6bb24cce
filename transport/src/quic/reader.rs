//! Frames out of a stream: a length is judged before anything is allocated for it, and memory grows only with the bytes that come.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use crate::counters::LinkCounters;
use crate::limits::{GROWTH, MAX_FRAME};

/// The bytes of a frame's length.
pub(super) const LENGTH: usize = 4;
/// The bytes of the count that a bulk frame bears.
pub(super) const COUNT: usize = 8;

/// One direction of one stream. `HEADER` is what stands before each frame: its length, and in a bulk stream the count.
pub(super) struct Reader<const HEADER: usize> {
    stream: RecvStream,
    header: [u8; HEADER],
    have: usize,
    body: Option<Body>,
    /// Why nothing follows.
    over: bool,
}

struct Body {
    bytes: BytesMut,
    length: usize,
}

/// What a stream gave.
#[derive(Debug)]
pub(super) enum Step {
    /// A frame, and the count before it (0 in a control stream).
    Frame(u64, Bytes),
    /// It announces a frame that is too large.
    TooLarge(usize),
    /// It ended inside a frame.
    Torn,
    /// Nothing follows: the peer has finished it, or the connection is lost.
    Over,
}

impl<const HEADER: usize> Reader<HEADER> {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, header: [0; HEADER], have: 0, body: None, over: false }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, counters: &LinkCounters) -> Poll<Step> {
        let step = ready!(self.poll_step(cx, counters));
        self.over |= !matches!(step, Step::Frame(..));
        Poll::Ready(step)
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, counters: &LinkCounters) -> Poll<Step> {
        if self.over {
            return Poll::Ready(Step::Over);
        }
        while self.have < HEADER {
            match ready!(self.stream.poll_read(cx, &mut self.header[self.have..])) {
                Ok(0) if self.have == 0 => return Poll::Ready(Step::Over),
                Ok(0) => return Poll::Ready(Step::Torn),
                Ok(bytes) => {
                    self.have += bytes;
                    counters.add_framing(bytes);
                }
                Err(error) => return Poll::Ready(ended(&error)),
            }
        }
        let (length, count) = parse(&self.header);
        if length > MAX_FRAME {
            return Poll::Ready(Step::TooLarge(length));
        }
        let body = self.body.get_or_insert_with(|| Body { bytes: BytesMut::new(), length });
        while body.bytes.len() < body.length {
            let filled = body.bytes.len();
            body.bytes.resize(filled + (body.length - filled).min(GROWTH), 0);
            let polled = self.stream.poll_read(cx, &mut body.bytes[filled..]);
            body.bytes.truncate(filled + if let Poll::Ready(Ok(bytes)) = polled { bytes } else { 0 });
            match ready!(polled) {
                Ok(0) => return Poll::Ready(Step::Torn),
                Ok(bytes) => counters.add_arrived(bytes),
                Err(error) => return Poll::Ready(ended(&error)),
            }
        }
        let frame = self.body.take().map(|body| body.bytes.freeze()).unwrap_or_default();
        self.have = 0;
        Poll::Ready(Step::Frame(count, frame))
    }
}

fn parse(header: &[u8]) -> (usize, u64) {
    let (length, count) = header.split_at(LENGTH);
    let length = length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
    (length, count.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A peer that gives a stream up says why when it ends the connection; so does a lost connection.
fn ended(_error: &ReadError) -> Step {
    Step::Over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_big_endian() {
        assert_eq!(parse(&[0, 0, 1, 2]), (258, 0));
        assert_eq!(parse(&[0xff; LENGTH + COUNT]), (u32::MAX as usize, u64::MAX));
        assert_eq!(parse(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0]), (1, 512));
    }
}
