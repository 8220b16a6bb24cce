//! What a node's way down carries beside the stream, at the head only: digests, the answers to what the edge found by them,
//! and records that it asked for.

use alloc::vec::Vec;

use crate::frame::{Batch, RangeSums};
use crate::limits::VERIFY_MS;
use crate::names::{CollectionName, Key};

/// Comparisons in a row that may end in a repair. A difference that two repairs did not mend is shown, and looked at again
/// when the next verification is due: a link must not be kept busy by a disk that lies.
const REPAIRS_IN_A_ROW: u32 = 2;

/// What is owed to the edge.
#[derive(Debug, Default)]
pub(super) struct Checks {
    enabled: bool,
    verify: bool,
    verify_ms: Option<u64>,
    compare: Vec<RangeSums>,
    ask: Vec<(CollectionName, Key)>,
    repairs: u32,
    /// What the scan that is out was told of: digests, comparisons, records. What came since waits for the next one.
    out: [bool; 3],
}

impl Checks {
    /// `enabled`: the edge knows what to do with it.
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }

    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    /// The session has begun: the first batch at the head carries digests.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.verify = self.enabled;
        self.verify_ms = self.enabled.then_some(now_ms + VERIFY_MS);
    }

    /// Somebody wants to know. Tells, as the others here do, whether there is something to scan for.
    pub(super) fn verify(&mut self) -> bool {
        self.repairs = 0;
        self.verify = self.enabled;
        self.out[0] = false;
        self.enabled
    }

    /// The edge compared; what differs is narrowed, unless repairs do not help.
    pub(super) fn compared(&mut self, differing: Vec<RangeSums>) -> bool {
        self.repairs = if differing.is_empty() { 0 } else { self.repairs + 1 };
        self.compare = if self.repairs > REPAIRS_IN_A_ROW { Vec::new() } else { differing };
        self.out[1] = false;
        !self.compare.is_empty()
    }

    pub(super) fn asked(&mut self, records: Vec<(CollectionName, Key)>) -> bool {
        self.ask = records;
        self.out[2] = false;
        !self.ask.is_empty()
    }

    /// The last open back-fill is done: what came by it is compared too.
    pub(super) fn filled(&mut self) -> bool {
        self.verify |= self.enabled;
        self.out[0] = false;
        self.enabled
    }

    pub(super) fn tick(&mut self, now_ms: u64) -> bool {
        if self.verify_ms.is_none_or(|due| now_ms < due) {
            return false;
        }
        self.verify_ms = Some(now_ms + VERIFY_MS);
        self.verify()
    }

    pub(super) fn next_tick(&self) -> Option<u64> {
        self.verify_ms
    }

    /// A scan begins, and answers what there is now.
    pub(super) fn given(&mut self) {
        self.out = [self.verify, !self.compare.is_empty(), !self.ask.is_empty()];
    }

    pub(super) fn wants_digests(&self) -> bool {
        self.verify
    }

    /// What the next scan answers if it reaches the head.
    pub(super) fn to_answer(&self) -> (Vec<RangeSums>, Vec<(CollectionName, Key)>) {
        (self.compare.clone(), self.ask.clone())
    }

    /// A scan has read: at the head, everything that it was told of is in it. What differed a moment ago and differs no more brings
    /// digests once more, so that both sides know. Tells whether something is owed still.
    pub(super) fn scanned(&mut self, batch: &Batch) -> bool {
        let [verify, compare, ask] = core::mem::take(&mut self.out);
        if !batch.at_head {
            return false;
        }
        self.verify &= !verify;
        if compare {
            self.verify |= batch.repairs.iter().all(|repair| repair.ranges.is_empty());
            self.compare = Vec::new();
        }
        if ask {
            self.ask = Vec::new();
        }
        self.verify || !self.compare.is_empty() || !self.ask.is_empty()
    }

    /// A batch that was read is not sent after all.
    pub(super) fn dropped(&mut self, batch: &Batch) {
        self.verify |= !batch.digests.is_empty() || !batch.repairs.is_empty();
        if self.ask.is_empty() {
            self.ask = batch.asked.iter().map(|record| (record.collection.clone(), record.key.clone())).collect();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::digest::{Digest, RangeSet};
    use crate::frame::{Grant, GrantDigest, Repair, Share};
    use crate::ids::{Position, Revision};

    fn share() -> Share {
        Share { collection: CollectionName::parse("stock").unwrap(), partition: None }
    }

    fn batch() -> Batch {
        Batch { at_head: true, ..Batch::empty(Position::default(), Position::at(Revision(1))) }
    }

    fn with_digests() -> Batch {
        let digest = GrantDigest { share: share(), since: Revision(1), digest: Digest::default() };
        Batch { digests: alloc::vec![digest], ..batch() }
    }

    fn with_repairs() -> Batch {
        let grant = Grant { share: share(), since: Revision(1), from: Revision(1) };
        Batch { repairs: alloc::vec![Repair { grant, ranges: RangeSet::default() }], ..batch() }
    }

    /// Goes as if a scan had brought what was wanted.
    fn scan(checks: &mut Checks) {
        checks.given();
        checks.scanned(&with_digests());
    }

    #[test]
    fn digests_go_again_and_again() {
        let mut checks = Checks::new(true);
        assert_eq!(checks.next_tick(), None);
        checks.begin(5);
        for round in 1..4 {
            let due = 5 + round * VERIFY_MS;
            scan(&mut checks);
            assert!(!checks.wants_digests());
            assert_eq!(checks.next_tick(), Some(due));
            assert!(!checks.tick(due - 1) && !checks.wants_digests());
            assert!(checks.tick(due) && checks.wants_digests());
        }
        let mut older = Checks::new(false);
        older.begin(5);
        assert_eq!(older.next_tick(), None);
        assert!(!older.tick(2 * VERIFY_MS) && !older.wants_digests());
    }

    /// What was read and did not go is owed still, and nothing else.
    #[test]
    fn what_is_dropped_is_owed_again() {
        for (dropped, owed) in [(batch(), false), (with_digests(), true), (with_repairs(), true)] {
            let mut checks = Checks::new(true);
            checks.begin(0);
            scan(&mut checks);
            checks.dropped(&dropped);
            assert_eq!(checks.wants_digests(), owed, "{dropped:?}");
            checks.verify();
            checks.dropped(&dropped);
            assert!(checks.wants_digests(), "what is owed stays owed");
        }
    }
}
