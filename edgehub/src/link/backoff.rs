//! How long to wait before the next try (design §5, "Alive"): full jitter between 0.5 and 30 s, capped at 5 s while
//! a session existed in the last ten minutes.

/// The shortest wait, milliseconds.
const FLOOR_MS: u64 = 500;
/// The longest wait, milliseconds.
const CEILING_MS: u64 = 30_000;
/// The longest wait while a session existed lately, milliseconds.
const RECENT_CEILING_MS: u64 = 5_000;
/// What "lately" means, milliseconds.
const RECENT_MS: u64 = 600_000;

/// Whatever a hub says, a node comes back after so long, milliseconds: hubs are replaced, and forget whom they told what.
const TOLD_CEILING_MS: u64 = 300_000;
/// The most that is added to what a hub said, milliseconds.
const TOLD_JITTER_MS: u64 = 500;

/// The wait of a node that a hub told when its turn is, milliseconds: never less, and little more.
pub(super) fn in_turn(retry_ms: u64, random: u64) -> u64 {
    let retry_ms = retry_ms.min(TOLD_CEILING_MS);
    retry_ms + random % (retry_ms / 20).clamp(1, TOLD_JITTER_MS)
}

/// The state of the waits between tries.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    tries: u32,
    last_session_ms: Option<u64>,
}

impl Backoff {
    /// A session exists, or existed until now.
    pub fn session(&mut self, now_ms: u64) {
        self.tries = 0;
        self.last_session_ms = Some(now_ms);
    }

    /// What was tried on another network says nothing about this one.
    pub fn network_changed(&mut self) {
        self.tries = 0;
    }

    /// The wait before the next try, milliseconds; `random` is uniform over all `u64`.
    pub fn next(&mut self, now_ms: u64, random: u64) -> u64 {
        let recent = self.last_session_ms.is_some_and(|last| now_ms.saturating_sub(last) < RECENT_MS);
        let ceiling = if recent { RECENT_CEILING_MS } else { CEILING_MS };
        let bound = FLOOR_MS.saturating_mul(1 << self.tries.min(16)).min(ceiling);
        self.tries = self.tries.saturating_add(1);
        // Full jitter needs a floor, or a fleet's first tries would all come at once.
        FLOOR_MS.min(bound) + random % (bound - FLOOR_MS.min(bound) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest(backoff: &mut Backoff, now_ms: u64, tries: usize) -> u64 {
        (0..tries).map(|_| backoff.next(now_ms, u64::MAX - 1)).max().unwrap_or(0)
    }

    #[test]
    fn grows_to_the_ceiling_and_no_further() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(0, 12_345), FLOOR_MS);
        assert!((0..200).map(|random| backoff.next(0, random * 7_919)).all(|wait| (FLOOR_MS..=CEILING_MS).contains(&wait)));
    }

    #[test]
    fn begins_anew_on_another_network() {
        let mut backoff = Backoff::default();
        assert!(longest(&mut backoff, 0, 50) > RECENT_CEILING_MS);
        backoff.network_changed();
        assert_eq!(backoff.next(0, 12_345), FLOOR_MS);
    }

    #[test]
    fn who_is_told_its_turn_comes_then_however_often_it_was_told() {
        for retry_ms in [1, 10, 999, 5_000, 60_000] {
            let waits = [0, 7_919, u64::MAX].map(|random| in_turn(retry_ms, random));
            assert!(waits.iter().all(|wait| (retry_ms..=retry_ms + TOLD_JITTER_MS).contains(wait)), "{waits:?}");
        }
        assert!(in_turn(u64::MAX, u64::MAX) <= TOLD_CEILING_MS + TOLD_JITTER_MS);
    }

    #[test]
    fn stays_short_after_a_session() {
        let mut backoff = Backoff::default();
        backoff.session(1_000);
        assert!(longest(&mut backoff, 2_000, 50) <= RECENT_CEILING_MS);
        assert!((0..50).map(|random| backoff.next(RECENT_MS + 1_000, random * 104_729)).any(|wait| wait > RECENT_CEILING_MS));
    }
}
