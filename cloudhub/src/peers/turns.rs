//! Who comes in when (design §5): sessions begin at a rate, and who has to wait keeps its place by a ticket.
//!
//! Every session takes a turn. Turns lie on a line of time, so many a second; while nobody comes, some of them are kept for a
//! burst. A newcomer takes the next free turn. One that has come begins a session; one that comes soon is waited for on the open
//! link, which costs less than another handshake; who has a later one is sent away with a ticket, which names the turn and
//! proves that this hub gave it to this node. Nothing is kept of those who wait, so a fleet of any size may, and one that never
//! comes back held up nobody: its turn passes.
//!
//! Pure: the time is an argument.

use std::collections::{BTreeMap, BTreeSet};

use proto::names::NodeName;
use ring::hmac;

use crate::limits::{TURN_LATE_MS, TURN_OWN_BURST, TURN_OWN_EVERY_MS, TURN_RETRY_BLIND_MS, TURN_RETRY_MS, TURN_SOON_MS, TURNS_AHEAD_MS};

/// How fast sessions may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A second.
    pub rate: u32,
    /// At once, after a quiet time.
    pub burst: u32,
}

/// Whether a session may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Now.
    Now,
    /// Ask again then, with this ticket; the link may stay open so long. Milliseconds on the monotonic clock.
    Soon { at_ms: u64, ticket: Vec<u8> },
    /// Later: it is to come back after so many milliseconds. With a ticket it has a place.
    Later { retry_ms: u64, ticket: Vec<u8> },
}

/// What the operator sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnCounts {
    /// Places that were given out and whose turn has not come.
    pub waiting: u64,
    /// Sessions that were let in.
    pub admitted: u64,
    /// How often a node was told to come back: with a ticket,
    pub tickets: u64,
    /// and without.
    pub sent_away: u64,
}

/// The line of turns. All times inside are microseconds on the monotonic clock.
#[derive(Debug)]
pub(super) struct Turns {
    every_us: u64,
    /// How long ago a turn may lie that nobody took.
    kept_us: u64,
    next_us: u64,
    key: hmac::Key,
    /// Turns that were taken by ticket, as long as that ticket is good.
    used: BTreeSet<u64>,
    /// When a node's own allowance is whole again, for nodes that came lately.
    own: BTreeMap<NodeName, u64>,
    cleaned_us: u64,
    counts: TurnCounts,
}

const MS: u64 = 1000;
/// Bytes of a ticket before its proof.
const TURN: usize = 8;
/// How often what is out of date is thrown away.
const CLEAN_US: u64 = 1_000_000;
/// Steps that go around the time in which who was sent away comes back.
const SPREAD_MS: u64 = 997;

impl Turns {
    /// `key`: random, of this start of the hub alone.
    pub(super) fn new(pace: Pace, key: &[u8; 32]) -> Self {
        let every_us = (1_000_000 / u64::from(pace.rate.max(1))).max(1);
        Self {
            every_us,
            kept_us: every_us * u64::from(pace.burst.saturating_sub(1)),
            next_us: 0,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            used: BTreeSet::new(),
            own: BTreeMap::new(),
            cleaned_us: 0,
            counts: TurnCounts::default(),
        }
    }

    /// A Hello came. `ticket`: what it brought; `patient`: it repeats the one that it is given.
    pub(super) fn ask(&mut self, node: &NodeName, ticket: &[u8], patient: bool, now_ms: u64) -> Turn {
        // Above 0, so that an empty hub has its whole burst from its first millisecond on.
        let now_us = (now_ms * MS).saturating_add(self.kept_us);
        self.clean(now_us);
        match self.place(node, ticket, now_us) {
            Some(turn_us) => self.judge(node, turn_us, true, now_us),
            None => self.newcomer(node, patient, now_us),
        }
    }

    /// What was counted.
    pub(super) fn counts(&self, now_ms: u64) -> TurnCounts {
        let ahead_us = self.next_us.saturating_sub((now_ms * MS).saturating_add(self.kept_us));
        TurnCounts { waiting: ahead_us / self.every_us, ..self.counts }
    }

    /// The turn that a ticket is good for.
    fn place(&self, node: &NodeName, ticket: &[u8], now_us: u64) -> Option<u64> {
        let (turn, proof) = ticket.split_first_chunk::<TURN>()?;
        hmac::verify(&self.key, &proven(*turn, node), proof).ok()?;
        let turn_us = u64::from_be_bytes(*turn);
        let fresh = turn_us.saturating_add(TURN_LATE_MS * MS) >= now_us && !self.used.contains(&turn_us);
        fresh.then_some(turn_us)
    }

    fn newcomer(&mut self, node: &NodeName, patient: bool, now_us: u64) -> Turn {
        let own_us = self.own.get(node).copied().unwrap_or(0).max(now_us);
        let allowed_us = own_us.saturating_sub(TURN_OWN_EVERY_MS * MS * u64::from(TURN_OWN_BURST - 1));
        if allowed_us > now_us {
            // One node that comes again and again takes no turns from the others.
            return self.send_away();
        }
        let turn_us = self.next_us.max(now_us.saturating_sub(self.kept_us));
        let reserves = patient || turn_us <= now_us + TURN_SOON_MS * MS;
        if !reserves || turn_us > now_us + TURNS_AHEAD_MS * MS {
            // It would not come with its ticket, or would have to wait for too long: no turn is kept, and none is lost.
            return self.send_away();
        }
        self.next_us = turn_us + self.every_us;
        self.own.insert(node.clone(), own_us + TURN_OWN_EVERY_MS * MS);
        self.judge(node, turn_us, false, now_us)
    }

    fn judge(&mut self, node: &NodeName, turn_us: u64, by_ticket: bool, now_us: u64) -> Turn {
        if turn_us <= now_us {
            self.counts.admitted += 1;
            if by_ticket {
                self.used.insert(turn_us);
            }
            return Turn::Now;
        }
        let ticket = self.ticket(node, turn_us);
        let wait_ms = (turn_us - now_us).div_ceil(MS);
        if wait_ms <= TURN_SOON_MS {
            return Turn::Soon { at_ms: (now_us - self.kept_us) / MS + wait_ms, ticket };
        }
        self.counts.tickets += 1;
        Turn::Later { retry_ms: wait_ms.min(TURN_RETRY_MS), ticket }
    }

    /// Without a place. Not all at the same time, or they would come back as they came.
    fn send_away(&mut self) -> Turn {
        self.counts.sent_away += 1;
        let spread_ms = self.counts.sent_away.wrapping_mul(SPREAD_MS) % (TURN_RETRY_BLIND_MS / 2);
        Turn::Later { retry_ms: TURN_RETRY_BLIND_MS - spread_ms, ticket: Vec::new() }
    }

    fn ticket(&self, node: &NodeName, turn_us: u64) -> Vec<u8> {
        let turn = turn_us.to_be_bytes();
        let proof = hmac::sign(&self.key, &proven(turn, node));
        [&turn, proof.as_ref()].concat()
    }

    fn clean(&mut self, now_us: u64) {
        if now_us < self.cleaned_us + CLEAN_US {
            return;
        }
        self.cleaned_us = now_us;
        self.used = self.used.split_off(&now_us.saturating_sub(TURN_LATE_MS * MS));
        self.own.retain(|_, whole_us| *whole_us > now_us);
    }
}

/// What a ticket proves: this turn is this node's.
fn proven(turn: [u8; TURN], node: &NodeName) -> Vec<u8> {
    [&turn, node.as_str().as_bytes()].concat()
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
