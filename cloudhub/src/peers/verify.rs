//! What one session finds out by digests, from the first that differs until all agree, and for whom.
//!
//! The state machine of `proto` decides when digests travel and what is sent again; this follows it, so that people hear
//! how it went: a node event when something differed and when it was mended, an answer for whoever asked.

use proto::frame::{Batch, Share};
use proto::ids::Revision;

/// Digests on their way that are remembered; a node that never answers must not make the list grow.
const ON_THEIR_WAY: usize = 8;

/// What came of comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The state that was compared.
    pub revision: Revision,
    /// All agreed; else they differ still, although it was sent again.
    pub agreed: bool,
    /// What differed, and was sent again.
    pub differences: Vec<Difference>,
}

/// A partition of which a node held something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The partition.
    pub share: Share,
    /// How many of the [`proto::digest::RANGES`] ranges of its keys.
    pub ranges: u32,
}

/// What follows from a comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing yet: what differs is sent again, or grants are still being filled.
    Open,
    /// Digests should go once more: these were not of all grants, and nothing else will bring the others.
    Again,
    /// It came to its end; who asked up to this ticket has the answer.
    Done(u64, Checked),
}

/// Digests that were sent.
#[derive(Debug)]
struct Sent {
    revision: Revision,
    ticket: u64,
    whole: bool,
}

/// Where a session stands.
#[derive(Debug, Default)]
pub(super) struct Verification {
    /// The newest request that the session was told of.
    asked: u64,
    /// What the scan that is out will answer, if it brings digests: up to which request, and whether no grant is left out.
    reading: Option<(u64, bool)>,
    sent: Vec<Sent>,
    differences: Vec<Difference>,
}

impl Verification {
    /// The session was told to compare.
    pub(super) fn asked(&mut self, ticket: u64) {
        self.asked = self.asked.max(ticket);
    }

    /// A scan begins. `open`: grants whose digests it is to leave out, if it is to bring digests at all.
    pub(super) fn scan(&mut self, open: Option<&[Share]>) {
        self.reading = open.map(|open| (self.asked, open.is_empty()));
    }

    /// What it read. Gives what differs, where that is new.
    pub(super) fn scanned(&mut self, batch: &Batch) -> Vec<Difference> {
        if let Some((ticket, whole)) = self.reading.take().filter(|_| !batch.digests.is_empty()) {
            let whole = whole && batch.grants.is_none();
            self.sent.push(Sent { revision: batch.through.revision, ticket, whole });
            let old = self.sent.len().saturating_sub(ON_THEIR_WAY);
            self.sent.drain(..old);
        }
        let found = batch.repairs.iter().filter(|repair| !repair.ranges.is_empty());
        let found = found.map(|repair| Difference { share: repair.grant.share.clone(), ranges: repair.ranges.len() });
        let new: Vec<_> = found.filter(|found| !self.differences.contains(found)).collect();
        for found in &new {
            self.differences.retain(|known| known.share != found.share);
            self.differences.push(found.clone());
        }
        new
    }

    /// The node compared. `differing`: in how many grants; `goes_on`: what differs is narrowed and sent again; `filling`: the
    /// node has open grants, after which digests come by themselves.
    pub(super) fn compared(&mut self, revision: Revision, differing: usize, goes_on: bool, filling: bool) -> Finding {
        let at = self.sent.iter().rposition(|sent| sent.revision == revision);
        let sent = at.and_then(|at| self.sent.drain(..=at).next_back());
        let agreed = differing == 0;
        match sent {
            _ if goes_on || filling => Finding::Open,
            Some(Sent { whole: false, .. }) if agreed => Finding::Again,
            None if agreed => Finding::Open,
            sent => {
                let differences = std::mem::take(&mut self.differences);
                Finding::Done(sent.map_or(0, |sent| sent.ticket), Checked { revision, agreed, differences })
            }
        }
    }
}

/// The partitions that differed, for people.
pub(super) fn in_words(differences: &[Difference]) -> String {
    let one = |Difference { share, ranges }: &Difference| {
        let partition = share.partition.as_ref().map(|partition| format!("/{partition}")).unwrap_or_default();
        format!("{}{partition} ({ranges} of {} ranges of keys)", share.collection, proto::digest::RANGES)
    };
    differences.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
