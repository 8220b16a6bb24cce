//! The cloud's store as the smallest thing that is obviously right: rows, outcomes, one counter of revisions.

use std::collections::{BTreeMap, BTreeSet};

use proto::frame::{Batch, Content, DefinitionText, Entry, Fill, FillPart, Grant, Grants, Hello, NumberedWrite, Reason, Record, Share};
use proto::ids::{Cursor, Epoch, Position, Revision};
use proto::names::{CollectionName, Key};
use proto::op::{Outcome, Verdict};
use proto::session::cloud::{Admission, Ahead, Scan};
use proto::session::handshake::Numbers;

pub(crate) type Name = (CollectionName, Key);

pub(crate) fn name(collection: &str, key: &str) -> Name {
    (CollectionName::parse(collection).unwrap(), Key::parse(key).unwrap())
}

/// What an application of these tests writes: it travels as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Adds to a counter.
    Add { key: String, delta: i64 },
    /// Applies, and changes nothing.
    Nothing { key: String, delta: i64 },
    /// Is rejected.
    Bad { key: String, delta: i64 },
}

impl Change {
    pub(crate) fn encode(&self, pad: usize) -> Vec<u8> {
        let (word, key, delta) = match self {
            Self::Add { key, delta } => ("add", key, delta),
            Self::Nothing { key, delta } => ("nothing", key, delta),
            Self::Bad { key, delta } => ("bad", key, delta),
        };
        format!("{word} {key} {delta} {}", "x".repeat(pad)).into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut words = text.split(' ');
        let (word, key, delta) = (words.next().unwrap(), words.next().unwrap().to_string(), words.next().unwrap().parse().unwrap());
        match word {
            "add" => Self::Add { key, delta },
            "nothing" => Self::Nothing { key, delta },
            "bad" => Self::Bad { key, delta },
            other => panic!("no change {other}"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) revision: u64,
    /// None: deleted.
    pub(crate) count: Option<i64>,
    pub(crate) pad: usize,
}

#[derive(Debug, Default)]
pub(crate) struct CloudModel {
    pub(crate) head: u64,
    pub(crate) rows: BTreeMap<Name, Row>,
    outcomes: BTreeMap<u64, (u64, Verdict)>,
    decided: BTreeSet<u64>,
    pub(crate) taken: u64,
    numbers: Numbers,
    granted: BTreeMap<CollectionName, u64>,
    grants_revision: u64,
}

impl CloudModel {
    /// One cloud transaction over these rows.
    pub(crate) fn change(&mut self, names: impl IntoIterator<Item = Name>, edit: impl Fn(&mut Row)) {
        self.head += 1;
        for name in names {
            let row = self.rows.entry(name).or_insert(Row { revision: 0, count: Some(0), pad: 0 });
            row.revision = self.head;
            edit(row);
        }
    }

    pub(crate) fn grant(&mut self, collection: &str, granted: bool) {
        self.head += 1;
        self.grants_revision = self.head;
        let collection = CollectionName::parse(collection).unwrap();
        if granted {
            self.granted.insert(collection, self.head);
        } else {
            self.granted.remove(&collection);
        }
    }

    pub(crate) fn is_granted(&self, collection: &CollectionName) -> bool {
        self.granted.contains_key(collection)
    }

    fn grants(&self) -> Grants {
        let grant = |(collection, since): (&CollectionName, &u64)| Grant {
            share: Share { collection: collection.clone(), partition: None },
            since: Revision(*since),
            from: Revision(self.head),
        };
        let definitions = Vec::<DefinitionText>::new();
        Grants {
            revision: Revision(self.grants_revision),
            grants: self.granted.iter().map(grant).collect(),
            definitions,
            labels: Vec::new(),
        }
    }

    pub(crate) fn admit(&mut self, hello: &Hello) -> Result<Admission, Reason> {
        let Some(numbers) = self.numbers.offer(hello.session) else {
            return Err(Reason { code: "copied_database".into(), detail: String::new() });
        };
        self.numbers = numbers;
        let grants = self.grants();
        let known = hello.cursor.is_some() && grants.hash() == hello.grants_hash;
        let cursor = hello.cursor.clone();
        Ok(Admission {
            session: numbers.offered,
            epochs: Vec::new(),
            head: Revision(self.head),
            cursor: cursor.unwrap_or(Cursor { epoch: Epoch(1), position: Position::at(Revision(self.head)) }),
            reset: false,
            taken: self.taken,
            told: grants.revision,
            grants: (!known).then_some(grants),
            fork: None,
            answer_first: 0,
            labels: Vec::new(),
            hashes: Vec::new(),
            held: None,
        })
    }

    pub(crate) fn confirm(&mut self, session: u64) {
        self.numbers = self.numbers.confirm(session);
    }

    /// Decides in order; a session that was replaced commits nothing.
    pub(crate) fn commit(&mut self, session: u64, writes: &[NumberedWrite]) -> Option<u64> {
        if session != self.numbers.offered {
            return None;
        }
        for write in writes {
            assert_eq!(write.number, self.taken + 1, "a write out of order reached the store");
            assert!(self.decided.insert(write.number), "write {} was decided twice", write.number);
            self.head += 1;
            self.taken = write.number;
            let verdict = match Change::decode(&write.bytes) {
                Change::Add { key, delta } => {
                    let row = self.rows.entry(name("c", &key)).or_insert(Row { revision: 0, count: Some(0), pad: 0 });
                    row.revision = self.head;
                    row.count = Some(row.count.unwrap_or(0) + delta);
                    Verdict::Applied
                }
                Change::Nothing { .. } => Verdict::Applied,
                Change::Bad { .. } => Verdict::Rejected,
            };
            self.outcomes.insert(self.head, (write.number, verdict));
        }
        Some(self.taken)
    }

    /// The chasing scan: one batch of the present state.
    pub(crate) fn scan(&self, scan: &Scan) -> Batch {
        let grants = self.grants();
        let mut batch = Batch::empty(scan.from.clone(), scan.from.clone());
        let mut room = Room { records: scan.max_records, bytes: scan.max_bytes, any: false };
        let mut stream: BTreeMap<u64, Vec<(&Name, &Row)>> = self.outcomes.keys().map(|at| (*at, Vec::new())).collect();
        for (name, row) in self.rows.iter().filter(|(name, _)| self.is_granted(&name.0)) {
            stream.entry(row.revision).or_default().push((name, row));
        }
        batch.at_head = true;
        'stream: for (at, rows) in stream.range(scan.from.revision.0 + 1..) {
            let inside = if *at == scan.from.revision.0 + 1 { scan.from.inside.clone() } else { None };
            if let (None, Some((number, verdict))) = (&inside, self.outcomes.get(at)) {
                if !room.take(40) {
                    batch.at_head = false;
                    break 'stream;
                }
                batch.entries.push(outcome(*number, *at, *verdict));
            }
            for (name, row) in rows.iter().filter(|(name, _)| inside.as_ref().is_none_or(|reached| *name > reached)) {
                let record = record(name, row);
                if !room.take(record.wire_len()) {
                    batch.at_head = false;
                    break 'stream;
                }
                batch.entries.push(Entry::Record(record));
                batch.through = Position { revision: Revision(at - 1), inside: Some((*name).clone()) };
            }
            batch.through = Position::at(Revision(*at));
        }
        if batch.at_head {
            batch.through = Position::at(Revision(self.head));
            let open = |fill: &&Fill| self.granted.get(&fill.grant.share.collection) == Some(&fill.grant.since.0);
            batch.fill = scan.fills.iter().find(open).and_then(|fill| self.fill(fill, &mut room));
        }
        if grants.revision != scan.told {
            batch.grants = Some(grants);
        }
        batch
    }

    /// Outcomes above what was read; where none is left, the records that were changed since.
    pub(crate) fn ahead(&self, ahead: &Ahead) -> (Batch, Revision, Revision) {
        let mut batch = Batch::empty(ahead.at.clone(), ahead.at.clone());
        let outcomes = self.outcomes.range(ahead.outcomes.0 + 1..).take(ahead.max_records);
        let mut reached = ahead.outcomes;
        for (at, (number, verdict)) in outcomes {
            batch.entries.push(outcome(*number, *at, *verdict));
            reached = Revision(*at);
        }
        let after = ahead.records.unwrap_or_default();
        if !batch.entries.is_empty() || ahead.records.is_none() {
            return (batch, reached, after);
        }
        let mut rows: Vec<_> = self.rows.iter().filter(|(name, row)| self.is_granted(&name.0) && row.revision > after.0).collect();
        rows.sort_by_key(|(_, row)| row.revision);
        let whole = rows.iter().take(ahead.max_records).next_back().map_or(self.head, |(_, row)| row.revision);
        batch.asked = rows.into_iter().take(ahead.max_records).map(|(name, row)| record(name, row)).collect();
        (batch, reached, Revision(whole))
    }

    fn fill(&self, fill: &Fill, room: &mut Room) -> Option<FillPart> {
        let place = |name: &Name, row: &Row| Position { revision: Revision(row.revision - 1), inside: Some(name.clone()) };
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(name, row)| {
                name.0 == fill.grant.share.collection
                    && row.count.is_some()
                    && row.revision <= fill.grant.from.0
                    && place(name, row) > fill.at
            })
            .collect();
        rows.sort_by_key(|(name, row)| (row.revision, (*name).clone()));
        let mut part = FillPart { fill: fill.clone(), done: true, records: Vec::new() };
        for (name, row) in rows {
            let record = record(name, row);
            if !room.take(record.wire_len()) {
                part.done = false;
                break;
            }
            part.fill.at = place(name, row);
            part.records.push(record);
        }
        if part.done {
            part.fill.at = Position::at(fill.grant.from);
        }
        (part.done || !part.records.is_empty()).then_some(part)
    }
}

/// What is left of a batch's bounds; one thing always fits.
struct Room {
    records: usize,
    bytes: usize,
    any: bool,
}

impl Room {
    fn take(&mut self, bytes: usize) -> bool {
        if self.any && (self.records == 0 || self.bytes < bytes) {
            return false;
        }
        self.any = true;
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

fn outcome(number: u64, at: u64, verdict: Verdict) -> Entry {
    let outcome = Outcome { verdict, revision: Revision(at), code: None, detail: None, conflicts: Vec::new() };
    Entry::Outcome { database: None, number, outcome }
}

fn record(name: &Name, row: &Row) -> Record {
    let content = match row.count {
        Some(count) => Content::Value(format!("{count} {}", "x".repeat(row.pad))),
        None => Content::Deleted,
    };
    Record {
        collection: name.0.clone(),
        key: name.1.clone(),
        revision: Revision(row.revision),
        born: Revision(1),
        partition: None,
        updated_ms: 0,
        writer: String::new(),
        actor: None,
        content,
    }
}
