//! A bounded queue between tasks, which never wait here, and a thread, which does. A full queue is an answer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Too much waits already.
    Full,
    /// Nobody takes anything out any more.
    Closed,
}

/// What a wait came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited<T> {
    /// At least one entry, in order.
    Entries(Vec<T>),
    /// Nothing came in time.
    Idle,
    /// Nothing is left and nothing will come.
    Closed,
}

/// Entries with their weights, bytes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    grew: Condvar,
    entries: usize,
    bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(entries: usize, bytes: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, closed: false };
        Self { state: Mutex::new(state), grew: Condvar::new(), entries, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here panics while it is held half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the entry, or gives it back. However heavy, it fits where nothing waits.
    pub(super) fn push(&self, entry: T, weight: usize) -> Result<(), (T, NoRoom)> {
        let mut state = self.lock();
        if state.closed {
            return Err((entry, NoRoom::Closed));
        }
        let full = state.waiting.len() >= self.entries || state.bytes.saturating_add(weight) > self.bytes;
        if full && !state.waiting.is_empty() {
            return Err((entry, NoRoom::Full));
        }
        state.bytes += weight;
        state.waiting.push_back((entry, weight));
        drop(state);
        self.grew.notify_one();
        Ok(())
    }

    /// Waits until something is there, and takes as much of it as `goes` says: it is asked with each entry
    /// and the weight up to there, and the first goes whatever it says.
    pub(super) fn take(&self, until: Option<Instant>, most: usize, mut goes: impl FnMut(&T, usize) -> bool) -> Waited<T> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return Waited::Closed;
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Waited::Idle,
                Some(left) => self.grew.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.grew.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some((entry, weight)) = state.waiting.front() {
            bytes += *weight;
            let fits = goes(entry, bytes);
            if taken.len() >= most || !(fits || taken.is_empty()) {
                break;
            }
            let Some((entry, weight)) = state.waiting.pop_front() else { break };
            state.bytes -= weight;
            taken.push(entry);
        }
        if state.waiting.is_empty() && state.waiting.capacity() > 1_024 {
            // A burst is over; an idle hub keeps no room for it.
            state.waiting = VecDeque::new();
        }
        Waited::Entries(taken)
    }

    /// Takes nothing more; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.grew.notify_all();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn full_is_an_answer_and_one_always_fits() {
        let queue = Queue::new(2, 10);
        queue.push("heavy", 99).unwrap();
        assert_eq!(queue.push("light", 1), Err(("light", NoRoom::Full)));
        assert_eq!(queue.take(None, 9, |_, _| true), Waited::Entries(vec!["heavy"]));
        queue.push("a", 1).unwrap();
        queue.push("b", 1).unwrap();
        assert_eq!(queue.push("c", 1), Err(("c", NoRoom::Full)));
        queue.close();
        assert_eq!(queue.push("d", 1), Err(("d", NoRoom::Closed)));
        assert_eq!(queue.take(None, 9, |_, _| true), Waited::Entries(vec!["a", "b"]));
        assert_eq!(queue.take(None, 9, |_, _| true), Waited::Closed);
    }

    #[test]
    fn a_group_is_cut_and_keeps_the_order() {
        let queue = Queue::new(9, 99);
        (1..=5).for_each(|n| queue.push(n, 10).unwrap());
        assert_eq!(queue.take(None, 9, |_, bytes| bytes <= 30), Waited::Entries(vec![1, 2, 3]));
        assert_eq!(queue.take(None, 1, |_, _| true), Waited::Entries(vec![4]));
        assert_eq!(queue.take(None, 9, |_, _| false), Waited::Entries(vec![5]), "the first always goes");
        assert_eq!(queue.take(Some(Instant::now()), 9, |_, _| true), Waited::Idle);
    }
}
