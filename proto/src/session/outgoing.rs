//! Frames that wait for the link and are small: they go before bulk, and each kind waits at most once, so that a
//! link that takes nothing costs nothing.

use alloc::collections::VecDeque;

use crate::frame::Frame;

/// Small frames in the order of their first mention.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    frames: VecDeque<Frame>,
}

impl Outgoing {
    /// Adds a frame. One of its kind that still waits is out of date: the new one takes its place. Nack and Ready
    /// are one kind, and the newer word goes last.
    pub(super) fn push(&mut self, frame: Frame) {
        if matches!(frame, Frame::Nack(_) | Frame::Ready) {
            self.frames.retain(|own| !matches!(own, Frame::Nack(_) | Frame::Ready));
        }
        let kind = core::mem::discriminant(&frame);
        match self.frames.iter_mut().find(|own| core::mem::discriminant(*own) == kind) {
            Some(own) => *own = frame,
            None => self.frames.push_back(frame),
        }
    }

    /// A last word: nothing else goes out any more.
    pub(super) fn last(&mut self, frame: Option<Frame>) {
        self.frames.clear();
        self.frames.extend(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_frame_takes_the_place_of_one_that_waits() {
        let mut outgoing = Outgoing::default();
        for number in 1..100 {
            outgoing.push(Frame::Taken { number });
            outgoing.push(Frame::Pong { sent_ms: number, now_ms: 0 });
        }
        assert_eq!(outgoing.pop(), Some(Frame::Taken { number: 99 }));
        assert_eq!(outgoing.pop(), Some(Frame::Pong { sent_ms: 99, now_ms: 0 }));
        assert_eq!(outgoing.pop(), None);
    }

    #[test]
    fn the_newest_of_nack_and_ready_counts() {
        let nack = Frame::Nack(crate::frame::Reason { code: "disk".into(), detail: "".into() });
        let mut outgoing = Outgoing::default();
        outgoing.push(nack.clone());
        outgoing.push(Frame::Ready);
        outgoing.push(nack.clone());
        assert_eq!((outgoing.pop(), outgoing.pop()), (Some(nack), None));
    }
}
