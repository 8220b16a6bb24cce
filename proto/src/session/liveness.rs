//! Silence, and the difference between it and one large frame on a slow link.

/// When bytes last came. The shell counts them as they pass, because a frame of 1 MiB takes two minutes at 64 kbit/s
/// and nothing but its bytes tells that the peer is alive.
#[derive(Debug)]
pub(super) struct Liveness {
    total: u64,
    at_frame_end: u64,
    at_check: u64,
    at_progress: u64,
    heard_ms: u64,
}

impl Liveness {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { total: 0, at_frame_end: 0, at_check: 0, at_progress: 0, heard_ms: now_ms }
    }

    /// How many bytes came so far. A count that goes back is ignored.
    pub(super) fn bytes(&mut self, total: u64) {
        self.total = self.total.max(total);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// A whole frame came.
    pub(super) fn frame(&mut self, now_ms: u64) {
        self.at_frame_end = self.total;
        self.at_check = self.total;
        self.heard_ms = now_ms;
    }

    /// Looks at the count; tells since when nothing came.
    pub(super) fn heard(&mut self, now_ms: u64) -> u64 {
        if self.total > self.at_check {
            self.at_check = self.total;
            self.heard_ms = now_ms;
        }
        self.heard_ms
    }

    /// The same as of the last look.
    pub(super) fn heard_ms(&self) -> u64 {
        self.heard_ms
    }

    /// Whether a frame is partly here and has grown since this was last asked.
    pub(super) fn frame_grows(&mut self) -> bool {
        let grows = self.total > self.at_frame_end && self.total > self.at_progress;
        self.at_progress = self.total;
        grows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_frame_is_neither_silence_nor_idle() {
        let mut liveness = Liveness::new(0);
        liveness.bytes(10);
        liveness.frame(5);
        assert!(!liveness.frame_grows(), "all of it was one whole frame");
        assert_eq!(liveness.heard(50), 5);
        liveness.bytes(30);
        liveness.bytes(20);
        assert_eq!(liveness.total(), 30, "a count does not go back");
        assert!(liveness.frame_grows());
        assert!(!liveness.frame_grows(), "not since the last question");
        assert_eq!(liveness.heard(60), 60);
        assert_eq!(liveness.heard(70), 60);
    }
}
