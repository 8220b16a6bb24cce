//! The edge's store as the smallest thing that is obviously right. What it holds is durable.

use std::collections::{BTreeMap, BTreeSet};

use proto::frame::{Batch, Content, Entry, Fill, Grant, Grants, Held, Hello, NumberedWrite, Piece, Record, Report, Welcome};
use proto::ids::{Cursor, DatabaseId, Epoch, Position, Revision};
use proto::op::{Hash, Outcome, Verdict, hash};
use proto::session::edge::Durable;

use super::cloud_model::{Change, Name, name};

/// An op that lies over base until it need not.
#[derive(Debug, Clone)]
struct Laid {
    name: Name,
    delta: i64,
    /// The revision that its write was applied at.
    applied: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct EdgeModel {
    pub(crate) session: u64,
    pub(crate) cursor: Option<Position>,
    /// Revision, and the count; none: deleted.
    base: BTreeMap<Name, (u64, Option<i64>)>,
    staging: Vec<Entry>,
    pub(crate) grants: Grants,
    fills: Vec<Fill>,
    filled: BTreeMap<Grant, BTreeSet<Name>>,
    pub(crate) writes: BTreeMap<u64, (Change, usize)>,
    pub(crate) outcomes: BTreeMap<u64, (Verdict, u64)>,
    laid: BTreeMap<u64, Laid>,
    /// What every reader must see of the counters that only this edge changes.
    own: BTreeMap<Name, i64>,
    /// What has come of a large value, and its hash.
    kept: Option<(Hash, Vec<u8>)>,
}

impl EdgeModel {
    pub(crate) fn hello(&self) -> Hello {
        let pending = self.writes.keys().find(|number| !self.outcomes.contains_key(number));
        Hello {
            versions: (0, 0),
            features: Vec::new(),
            database: DatabaseId([7; 16]),
            session: self.session,
            epochs: Vec::new(),
            cursor: self.cursor.clone().map(|position| Cursor { epoch: Epoch(1), position }),
            grants_hash: self.grants.hash(),
            fills: self.fills.clone(),
            newest_write: self.writes.len() as u64,
            outbox_first: pending.copied().unwrap_or(0),
            gaps: Vec::new(),
            now_ms: 0,
            software: "model".into(),
            metered: false,
            report: Report::default(),
            previous: None,
            ticket: Vec::new(),
            paused: None,
            held: self.kept.as_ref().map(|(hash, bytes)| Held { number: 0, hash: *hash, bytes: bytes.len() }),
        }
    }

    pub(crate) fn durable(&self) -> Durable {
        let answered = (1..).take_while(|number| self.outcomes.contains_key(number)).last().unwrap_or(0);
        Durable { cursor: self.cursor(), fills: self.fills.clone(), answered, ..Durable::default() }
    }

    pub(crate) fn cursor(&self) -> Position {
        self.cursor.clone().unwrap_or_default()
    }

    pub(crate) fn adopt(&mut self, welcome: &Welcome) {
        self.session = welcome.session;
        self.cursor = Some(welcome.cursor.position.clone());
        if let Some(grants) = &welcome.grants {
            self.adopt_grants(grants);
        }
    }

    /// A local commit: the op lies over base at once.
    pub(crate) fn write(&mut self, change: Change, pad: usize) {
        let number = self.writes.len() as u64 + 1;
        let (key, delta) = match &change {
            Change::Add { key, delta } | Change::Bad { key, delta } => (key, *delta),
            Change::Nothing { key, .. } => (key, 0),
        };
        let name = name("c", key);
        self.laid.insert(number, Laid { name: name.clone(), delta, applied: None });
        *self.own.entry(name).or_default() += delta;
        self.writes.insert(number, (change, pad));
    }

    pub(crate) fn outbox(&self, after: u64, max_bytes: usize) -> (Vec<NumberedWrite>, bool) {
        let mut writes = Vec::new();
        let mut bytes = 0;
        for (number, (change, pad)) in self.writes.range(after + 1..) {
            if self.outcomes.contains_key(number) {
                continue;
            }
            let write = NumberedWrite { number: *number, bytes: change.encode(*pad), rejected: false, hash: None, fork: None, part: None };
            if !writes.is_empty() && bytes + write.wire_len() > max_bytes {
                return (writes, true);
            }
            bytes += write.wire_len();
            writes.push(write);
        }
        (writes, false)
    }

    pub(crate) fn keep(&mut self, pieces: Vec<Piece>) -> Held {
        for Piece { part, bytes } in pieces {
            if part.at == 0 {
                self.kept = Some((part.hash, Vec::new()));
            }
            let (hash, kept) = self.kept.as_mut().unwrap();
            assert_eq!((*hash, kept.len()), (part.hash, part.at), "pieces follow each other");
            kept.extend(bytes);
        }
        self.hello().held.unwrap()
    }

    /// One transaction over all of them; checks what every reader must see.
    pub(crate) fn apply(&mut self, batches: &[Batch]) {
        for batch in batches {
            assert!(batch.from <= self.cursor(), "a stretch is missing below {:?}", batch.from);
            let mut batch = batch.clone();
            if let Some(wanted) = batch.pieces {
                let (of, bytes) = self.kept.take().unwrap();
                assert_eq!((of, hash(&bytes)), (wanted, wanted));
                *batch.missing_value().unwrap() = String::from_utf8(bytes).unwrap();
            }
            self.apply_one(&batch);
        }
        self.check_views();
    }

    fn apply_one(&mut self, batch: &Batch) {
        if let Some(grants) = &batch.grants {
            self.adopt_grants(grants);
        }
        let partial = batch.through.inside.as_ref().map(|_| batch.through.revision.next());
        let entries = std::mem::take(&mut self.staging).into_iter().chain(batch.entries.iter().cloned());
        for entry in entries.collect::<Vec<_>>() {
            // Outcomes count at once: ahead of the stream they come while the cursor stands inside a revision.
            let staged = matches!(entry, Entry::Record(_)) && partial.is_some_and(|revision| revision_of(&entry) >= revision);
            if staged {
                self.staging.push(entry);
            } else {
                self.enter(&entry);
            }
        }
        if batch.at_head {
            let through = batch.through.revision.0;
            self.laid.retain(|_, laid| laid.applied.is_none_or(|at| at > through));
        }
        if let Some(part) = &batch.fill {
            self.fill(part);
        }
        for record in &batch.asked {
            self.record(record);
        }
        self.cursor = Some(self.cursor().max(batch.through.clone()));
    }

    fn enter(&mut self, entry: &Entry) {
        match entry {
            Entry::Record(record) => self.record(record),
            Entry::Outcome { number, outcome, .. } => self.outcome(*number, outcome),
        }
    }

    fn outcome(&mut self, number: u64, outcome: &Outcome) {
        let own = (outcome.verdict, outcome.revision.0);
        if let Some(before) = self.outcomes.insert(number, own) {
            assert_eq!(before, own, "write {number} has two outcomes");
            return;
        }
        let Some(laid) = self.laid.get_mut(&number) else { return };
        if outcome.verdict == Verdict::Rejected {
            *self.own.entry(laid.name.clone()).or_default() -= laid.delta;
            self.laid.remove(&number);
            return;
        }
        let name = laid.name.clone();
        laid.applied = Some(outcome.revision.0);
        self.release(&name);
    }

    fn record(&mut self, record: &Record) {
        let name = (record.collection.clone(), record.key.clone());
        let count = match &record.content {
            Content::Value(text) => Some(text.split(' ').next().unwrap().parse().unwrap()),
            Content::Deleted | Content::Left => None,
        };
        for fill in &self.fills {
            if fill.grant.share.collection == name.0 {
                self.filled.entry(fill.grant.clone()).or_default().insert(name.clone());
            }
        }
        let row = self.base.entry(name.clone()).or_insert((0, None));
        if row.0 <= record.revision.0 {
            *row = (record.revision.0, count);
        }
        self.release(&name);
    }

    /// Ops that base holds by now lie no more.
    fn release(&mut self, name: &Name) {
        let base = self.base.get(name).map_or(0, |row| row.0);
        self.laid.retain(|_, laid| laid.name != *name || laid.applied.is_none_or(|at| at > base));
    }

    fn fill(&mut self, part: &proto::frame::FillPart) {
        let grant = &part.fill.grant;
        let Some(at) = self.fills.iter().position(|fill| fill.grant == *grant) else { return };
        for record in &part.records {
            self.record(record);
        }
        if part.done {
            self.fills.remove(at);
            let filled = self.filled.remove(grant).unwrap_or_default();
            self.base.retain(|name, row| name.0 != grant.share.collection || row.0 > grant.from.0 || filled.contains(name));
        } else {
            let fill = &mut self.fills[at];
            fill.at = fill.at.clone().max(part.fill.at.clone());
        }
    }

    fn adopt_grants(&mut self, grants: &Grants) {
        let same = |a: &Grant, b: &Grant| a.share == b.share && a.since == b.since;
        for grant in &grants.grants {
            if !self.grants.grants.iter().any(|own| same(own, grant)) {
                self.fills.retain(|fill| fill.grant.share != grant.share);
                self.filled.retain(|own, _| own.share != grant.share);
                self.fills.push(Fill { grant: grant.clone(), at: Position::default(), ranges: None });
            }
        }
        self.fills.retain(|fill| grants.grants.iter().any(|grant| same(grant, &fill.grant)));
        self.base.retain(|name, _| grants.grants.iter().any(|grant| grant.share.collection == name.0));
        self.grants = grants.clone();
    }

    fn check_views(&self) {
        for (name, own) in &self.own {
            let base = self.base.get(name).and_then(|row| row.1).unwrap_or(0);
            let laid: i64 = self.laid.values().filter(|laid| laid.name == *name).map(|laid| laid.delta).sum();
            assert_eq!(base + laid, *own, "readers of {name:?} see own writes twice or not at all");
        }
    }

    /// Everything that lives in base.
    pub(crate) fn live(&self) -> BTreeMap<Name, (u64, i64)> {
        let live = |(name, row): (&Name, &(u64, Option<i64>))| Some((name.clone(), (row.0, row.1?)));
        self.base.iter().filter_map(live).collect()
    }

    /// No write waits, no op lies, no fill is open.
    pub(crate) fn is_settled(&self) -> bool {
        self.outcomes.len() == self.writes.len() && self.laid.is_empty() && self.fills.is_empty() && self.staging.is_empty()
    }
}

fn revision_of(entry: &Entry) -> Revision {
    match entry {
        Entry::Record(record) => record.revision,
        Entry::Outcome { outcome, .. } => outcome.revision,
    }
}
