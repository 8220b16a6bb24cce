//! What bounds how much begins at once: sessions ([`super::turns`]) and back-fills ([`super::snapshots`]), for all connections.

use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::names::NodeName;

use super::snapshots::Snapshots;
use super::turns::{Pace, Turn, TurnCounts, Turns};

/// How much may begin at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateConfig {
    /// How fast sessions begin.
    pub pace: Pace,
    /// How many nodes read back-fills.
    pub snapshots: u32,
}

/// What the operator sees of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Sessions that begin.
    pub turns: TurnCounts,
    /// Nodes that read back-fills.
    pub filling: u64,
    /// Nodes that have something to fill and wait for it.
    pub waiting_to_fill: u64,
}

/// Held only for moments.
#[derive(Debug)]
pub struct Gate {
    turns: Mutex<Turns>,
    snapshots: Mutex<Snapshots>,
}

impl Gate {
    /// `key`: random, of this start of the hub alone.
    pub fn new(config: GateConfig, key: &[u8; 32]) -> Self {
        Self { turns: Mutex::new(Turns::new(config.pace, key)), snapshots: Mutex::new(Snapshots::new(config.snapshots)) }
    }

    /// See [`Turns::ask`].
    pub(super) fn turn(&self, node: &NodeName, ticket: &[u8], patient: bool, now_ms: u64) -> Turn {
        lock(&self.turns).ask(node, ticket, patient, now_ms)
    }

    /// Whether a connection may read of its back-fills now, and which others are to be woken: it is their turn.
    pub(super) fn may_fill(&self, id: u64, now_ms: u64) -> (bool, Vec<u64>) {
        let mut wake = Vec::new();
        let may = lock(&self.snapshots).may(id, now_ms, &mut wake);
        (may, wake)
    }

    /// A connection has nothing to fill; which others are to be woken.
    pub(super) fn filled(&self, id: u64, now_ms: u64) -> Vec<u64> {
        let mut wake = Vec::new();
        lock(&self.snapshots).done(id, now_ms, &mut wake);
        wake
    }

    /// What was counted.
    pub fn counts(&self, now_ms: u64) -> GateCounts {
        let (filling, waiting) = lock(&self.snapshots).counts();
        GateCounts { turns: lock(&self.turns).counts(now_ms), filling: filling as u64, waiting_to_fill: waiting as u64 }
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left can only make somebody wait for longer.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
