//! Waiting, in benchmarks only: for a state that another process does not announce, and for time to pass.
#![allow(clippy::disallowed_methods)] // a benchmark polls finely, and measures spans

use std::time::{Duration, Instant};

/// How long anything may take until a benchmark counts as failed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks every `pace` until there is an answer; panics with `what` after ten minutes.
#[track_caller]
pub fn poll<T>(what: &str, pace: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(pace);
    }
}

/// Lets a span pass.
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
