//! Waiting for a state of another process that it does not announce.
#![allow(clippy::disallowed_methods)] // the one place that polls

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long anything may take before it counts as hung. Generous: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; panics with `what` when there is none in [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    until_shown(what, || ask().ok_or_else(String::new))
}

/// The same for questions that can say how far it is; the last answer is shown when the patience is over.
#[track_caller]
pub fn until_shown<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = match ask() {
            Ok(answer) => return answer,
            Err(shown) => shown,
        };
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}\n{shown}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same for who has to go on when it was in vain: how long it took, or the last answer.
pub fn within(patience: Duration, mut ask: impl FnMut() -> Result<(), String>) -> Result<Duration, String> {
    let begun = Instant::now();
    while let Err(shown) = ask() {
        if begun.elapsed() > patience {
            return Err(shown);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(begun.elapsed())
}

/// Waits until the present day, in UTC, lasts for so long yet: for what is counted by the day, and would begin anew meanwhile.
pub fn well_before_midnight(span: Duration) {
    const DAY: u64 = 86_400;
    loop {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if DAY - since % DAY >= span.as_secs() {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
