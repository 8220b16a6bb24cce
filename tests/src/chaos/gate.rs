//! When applications work, and when all of them have finished what they were about.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Open while there is load; whoever waits for anything waits here, so that the end wakes all.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    over: bool,
    inside: usize,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until it is open and goes in; false: all is over.
    pub(super) fn enter(&self) -> bool {
        let mut state = self.lock();
        while !state.open && !state.over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.inside += usize::from(!state.over);
        !state.over
    }

    /// Goes in if it is open.
    pub(super) fn try_enter(&self) -> bool {
        let mut state = self.lock();
        let enters = state.open && !state.over;
        state.inside += usize::from(enters);
        enters
    }

    /// Out again: what was begun is finished.
    pub(super) fn leave(&self) {
        self.change(|state| state.inside -= 1);
    }

    /// Lets applications in.
    pub(super) fn open(&self) {
        self.change(|state| state.open = true);
    }

    /// Lets nobody in, and waits for those inside. Errors: how many do not come out.
    pub(super) fn close(&self, patience: Duration) -> Result<(), usize> {
        self.change(|state| state.open = false);
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while state.inside > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(state.inside);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Everybody goes home.
    pub(super) fn end(&self) {
        self.change(|state| state.over = true);
    }

    /// Whether it is.
    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Waits for so long, or until all is over.
    pub(super) fn pause(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        while !state.over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
