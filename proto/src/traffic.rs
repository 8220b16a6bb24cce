//! What bytes are spent on. Both sides judge a frame by its content alone, so what one has sent for a cause is what the other
//! has received for it.

use crate::frame::{Batch, Entry, Frame, Held};

/// Why bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Pings, pongs, and `received`: that the other end is there.
    Heartbeat,
    /// The beginning and the end of sessions.
    Session,
    /// Records down, and what acknowledges, pauses and resumes them.
    Records,
    /// Writes up, that they were taken, and their outcomes.
    Writes,
    /// Digests, what comes of comparing them, and records that are sent again because of that.
    Verification,
    /// Requests to services at the edge, and their answers.
    Requests,
    /// What TLS, TCP's users, UDP's payload and framing add to the frames.
    Overhead,
}

impl Cause {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Heartbeat, Self::Session, Self::Records, Self::Writes, Self::Verification, Self::Requests, Self::Overhead];

    /// As in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Session => "session",
            Self::Records => "records",
            Self::Writes => "writes",
            Self::Verification => "verification",
            Self::Requests => "requests",
            Self::Overhead => "overhead",
        }
    }
}

impl core::fmt::Display for Cause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes of one direction, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Causes([u64; Cause::ALL.len()]);

impl Causes {
    /// What one cause has come to.
    pub fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// More for one cause.
    pub fn add(&mut self, cause: Cause, bytes: u64) {
        let own = &mut self.0[cause as usize];
        *own = own.saturating_add(bytes);
    }

    /// All causes together.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, own| sum.saturating_add(*own))
    }

    fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self(core::array::from_fn(|at| with(self.0[at], other.0[at])))
    }
}

/// Bytes of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// To the peer.
    pub sent: Causes,
    /// From the peer.
    pub received: Causes,
}

impl Traffic {
    /// Both directions together.
    pub fn total(&self) -> u64 {
        self.sent.total().saturating_add(self.received.total())
    }

    /// This and that.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let sum = u64::saturating_add;
        Self { sent: self.sent.zip(&other.sent, sum), received: self.received.zip(&other.received, sum) }
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = u64::saturating_sub;
        Self { sent: self.sent.zip(&earlier.sent, less), received: self.received.zip(&earlier.received, less) }
    }
}

impl Frame {
    /// What its bytes are spent on.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Ping { .. } | Self::Pong { .. } | Self::Received { .. } => Cause::Heartbeat,
            Self::Hello(_) | Self::Welcome(_) | Self::Refuse(_) | Self::Started { .. } | Self::Close(_) => Cause::Session,
            Self::Ack(_) | Self::Nack(_) | Self::Ready | Self::Piece(_) | Self::Held(Held { number: 0, .. }) => Cause::Records,
            Self::Writes(_) | Self::Taken { .. } | Self::Held(_) => Cause::Writes,
            Self::Compared(_) | Self::Verify | Self::Ask(_) => Cause::Verification,
            Self::Batch(batch) => batch.cause(),
        }
    }
}

impl Batch {
    /// A batch goes for the weightiest thing in it: records, else outcomes, else what verification brings. What goes ahead of the stream does
    /// so for the sake of writes, records too.
    fn cause(&self) -> Cause {
        let again = |repair: bool| self.fill.as_ref().is_some_and(|part| part.fill.ranges.is_some() == repair);
        let record = |entry: &Entry| matches!(entry, Entry::Record(_));
        if self.is_ahead() {
            Cause::Writes
        } else if self.grants.is_some() || again(false) || self.entries.iter().any(record) {
            Cause::Records
        } else if !self.entries.is_empty() {
            Cause::Writes
        } else if again(true) || !(self.digests.is_empty() && self.repairs.is_empty() && self.asked.is_empty()) {
            Cause::Verification
        } else {
            Cause::Records
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::digest::{Digest, RangeSet};
    use crate::frame::{Content, Fill, FillPart, Grant, GrantDigest, Grants, Record, Share};
    use crate::ids::{Position, Revision};
    use crate::names::{CollectionName, Key};
    use crate::op::{Outcome, Verdict};

    fn share() -> Share {
        Share { collection: CollectionName::parse("stock").unwrap(), partition: None }
    }

    fn record() -> Record {
        Record {
            collection: share().collection,
            key: Key::parse("1").unwrap(),
            revision: Revision(2),
            born: Revision(2),
            partition: None,
            updated_ms: 0,
            writer: "cloud:2".into(),
            actor: None,
            content: Content::Value("{}".into()),
        }
    }

    fn outcome() -> Entry {
        let outcome = Outcome { verdict: Verdict::Applied, revision: Revision(2), code: None, detail: None, conflicts: Vec::new() };
        Entry::Outcome { database: None, number: 1, outcome }
    }

    fn fill(ranges: Option<RangeSet>) -> Option<FillPart> {
        let grant = Grant { share: share(), since: Revision(1), from: Revision(1) };
        Some(FillPart { fill: Fill { grant, at: Position::default(), ranges }, done: true, records: vec![record()] })
    }

    #[test]
    fn a_batch_goes_for_the_weightiest_thing_in_it() {
        let empty = || Batch::empty(Position::at(Revision(1)), Position::at(Revision(2)));
        let digest = || vec![GrantDigest { share: share(), since: Revision(1), digest: Digest::default() }];
        let ahead = || Batch::empty(Position::at(Revision(1)), Position::at(Revision(1)));
        let cases = [
            (empty(), Cause::Records),
            (Batch { entries: vec![Entry::Record(record())], digests: digest(), ..empty() }, Cause::Records),
            (Batch { grants: Some(Grants::default()), ..empty() }, Cause::Records),
            (Batch { entries: vec![outcome()], digests: digest(), ..empty() }, Cause::Writes),
            (Batch { entries: vec![outcome(), Entry::Record(record())], ..empty() }, Cause::Records),
            (Batch { grants: Some(Grants::default()), digests: digest(), ..empty() }, Cause::Records),
            (Batch { grants: Some(Grants::default()), entries: vec![outcome()], ..empty() }, Cause::Records),
            (Batch { fill: fill(None), digests: digest(), ..empty() }, Cause::Records),
            (Batch { fill: fill(None), entries: vec![outcome()], ..empty() }, Cause::Records),
            (Batch { digests: digest(), at_head: true, ..empty() }, Cause::Verification),
            (Batch { fill: fill(Some(RangeSet::default())), ..empty() }, Cause::Verification),
            (Batch { fill: fill(None), ..empty() }, Cause::Records),
            (Batch { asked: vec![record()], at_head: true, ..empty() }, Cause::Verification),
            (Batch { asked: vec![record()], ..ahead() }, Cause::Writes),
            (Batch { entries: vec![outcome()], ..ahead() }, Cause::Writes),
        ];
        for (place, (batch, cause)) in cases.into_iter().enumerate() {
            assert_eq!(Frame::Batch(batch).cause(), cause, "case {place}");
        }
    }

    #[test]
    fn sums_and_differences_are_by_cause() {
        let mut early = Traffic::default();
        early.sent.add(Cause::Writes, 5);
        let mut late = early;
        late.sent.add(Cause::Writes, 2);
        late.received.add(Cause::Overhead, 3);
        let since = late.since(&early);
        assert_eq!((since.sent.get(Cause::Writes), since.received.get(Cause::Overhead), since.total()), (2, 3, 5));
        assert_eq!(early.plus(&since), late);
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
    }

    /// The API and the metrics show them under these.
    #[test]
    fn causes_have_names() {
        let names = Cause::ALL.map(|cause| alloc::string::ToString::to_string(&cause));
        assert_eq!(names, ["heartbeat", "session", "records", "writes", "verification", "requests", "overhead"]);
    }
}
