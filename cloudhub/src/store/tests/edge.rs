//! An edge reduced to what the store sees of it: a base, staging, fills, a cursor, and an outbox.

use std::collections::{BTreeMap, BTreeSet};

use proto::clock::Hlc;
use proto::digest::{Digest, Hashed, RANGES, range_of};
use proto::frame::{
    Batch, Content, Entry, Fill, Grant, GrantDigest, Grants, Hello, NumberedWrite, RangeSums, Reason, Record, Repair, Report, Share,
};
use proto::ids::{Cursor, DatabaseId, EpochStart, Position, Revision};
use proto::json::{Raw, Value};
use proto::list::ListQuery;
use proto::names::{CollectionName, Key};
use proto::op::{Body, Change, Op, Outcome, To, Was, Write};
use proto::session::cloud::Scan;

use super::bench::{Bench, Fixture, key, name, node, value};
use crate::store::{AdmitJob, Admitted, Answer, Job, Peer, Refused, ScanRequest, StoreError, StoreRead, Taken};

type Place = (CollectionName, Key);

#[derive(Clone)]
pub(super) struct Edge {
    pub(super) node: String,
    pub(super) database: DatabaseId,
    pub(super) session: u64,
    epochs: Vec<EpochStart>,
    pub(super) cursor: Option<Cursor>,
    grants: Grants,
    pub(super) fills: Vec<Fill>,
    told: Revision,
    base: BTreeMap<Place, Record>,
    staged: Vec<Record>,
    pub(super) outbox: Vec<NumberedWrite>,
    pub(super) taken: u64,
    outcomes: BTreeMap<u64, Outcome>,
    peer: Option<Peer>,
    /// Rows of ranges that are being repaired, which neither the fill nor the stream has brought yet.
    untouched: BTreeSet<Place>,
    /// Most records and bytes of a batch.
    pub(super) bounds: (usize, usize),
    /// Every batch that was applied.
    pub(super) batches: Vec<Batch>,
}

impl Edge {
    pub(super) fn new(node: &str, database: u8) -> Self {
        Self {
            node: node.to_owned(),
            database: DatabaseId([database; 16]),
            session: 0,
            epochs: Vec::new(),
            cursor: None,
            grants: Grants::default(),
            fills: Vec::new(),
            told: Revision::ZERO,
            base: BTreeMap::new(),
            staged: Vec::new(),
            outbox: Vec::new(),
            taken: 0,
            outcomes: BTreeMap::new(),
            peer: None,
            untouched: BTreeSet::new(),
            bounds: (256, 256 * 1024),
            batches: Vec::new(),
        }
    }

    pub(super) fn hello(&self) -> Hello {
        let newest = self.outbox.last().map_or(0, |write| write.number);
        Hello {
            versions: (1, 1),
            features: Vec::new(),
            database: self.database,
            session: self.session,
            epochs: self.epochs.clone(),
            cursor: self.cursor.clone(),
            grants_hash: self.grants.hash(),
            fills: self.fills.clone(),
            newest_write: newest,
            outbox_first: if newest > self.taken { self.taken + 1 } else { 0 },
            gaps: Vec::new(),
            now_ms: 0,
            software: "0.1.0".to_owned(),
            metered: false,
            report: Report::default(),
            previous: None,
            ticket: Vec::new(),
            paused: None,
            held: None,
        }
    }

    pub(super) fn admit_job(&self, live: Option<DatabaseId>) -> AdmitJob {
        let hello = Box::new(self.hello());
        AdmitJob { node: node(&self.node), serial: None, hello, live, address: "10.0.0.1:1".to_owned(), transport: "memory" }
    }

    pub(super) fn connect<F: Fixture>(&mut self, bench: &mut Bench<F>) {
        self.try_connect(bench, None).unwrap();
    }

    pub(super) fn try_connect<F: Fixture>(&mut self, bench: &mut Bench<F>, live: Option<DatabaseId>) -> Result<(), Reason> {
        let admitted = bench.admit(self.admit_job(live))?;
        self.adopt(&admitted);
        Ok(())
    }

    /// What an edge does with Welcome.
    pub(super) fn adopt(&mut self, admitted: &Admitted) {
        self.session = admitted.session;
        self.epochs.clone_from(&admitted.epochs);
        // Staging is as durable as the cursor, and worth nothing beside another one.
        if self.cursor.as_ref().is_none_or(|cursor| cursor.position != admitted.cursor.position) {
            self.staged.clear();
        }
        if admitted.reset {
            self.base.clear();
            self.fills.clear();
            self.grants = Grants::default();
        }
        self.cursor = Some(admitted.cursor.clone());
        self.taken = admitted.taken;
        self.told = admitted.told;
        self.peer = Some(admitted.peer);
        if let Some(grants) = &admitted.grants {
            self.change_grants(grants);
        }
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer.unwrap()
    }

    pub(super) fn position(&self) -> Position {
        self.cursor.as_ref().unwrap().position.clone()
    }

    fn change_grants(&mut self, grants: &Grants) {
        let same = |a: &Grant, b: &Grant| a.share == b.share && a.since == b.since;
        let held: BTreeSet<Share> =
            self.grants.grants.iter().filter(|old| grants.grants.iter().any(|new| same(old, new))).map(|old| old.share.clone()).collect();
        self.base.retain(|_, record| held.contains(&share_of(record)));
        self.staged.retain(|record| held.contains(&share_of(record)));
        self.fills.retain(|fill| held.contains(&fill.grant.share));
        for grant in grants.grants.iter().filter(|grant| !held.contains(&grant.share)) {
            self.fills.push(Fill { grant: grant.clone(), at: Position::default(), ranges: None });
        }
        self.told = grants.revision;
        self.grants = grants.clone();
    }

    /// Asserts every answer so far: number, verdict, code.
    pub(super) fn answered(&self, expected: &[(u64, &str, &str)]) {
        let answers = self.answers();
        let answers: Vec<_> = answers.iter().map(|(number, verdict, code)| (*number, *verdict, code.as_str())).collect();
        assert_eq!(answers, expected);
    }

    /// The revision of the grants that it was told.
    pub(super) fn told(&self) -> Revision {
        self.told
    }

    /// Reads and applies one batch; tells whether it stands at the head.
    pub(super) fn step<F: Fixture>(&mut self, bench: &mut Bench<F>) -> bool {
        if let Err(StoreError::BelowFloor { .. }) = bench.reader().scan(&ScanRequest { peer: self.peer(), scan: &self.plain() }) {
            // Its session is closed, and it comes again.
            self.connect(bench);
        }
        let batch = self.scan(bench, |_| {});
        self.apply(&batch);
        let at_head = batch.at_head;
        self.batches.push(batch);
        at_head
    }

    /// What its session would scan next.
    pub(super) fn plain(&self) -> Scan {
        Scan::plain(self.position(), self.fills.clone(), self.told, self.bounds.0, self.bounds.1)
    }

    /// The sums of a share, by range.
    pub(super) fn sums(&self, share: &Share) -> Vec<u128> {
        self.digest(share).1
    }

    pub(super) fn scan<F: Fixture>(&self, bench: &mut Bench<F>, change: impl FnOnce(&mut Scan)) -> Batch {
        let mut scan = self.plain();
        change(&mut scan);
        bench.reader().scan(&ScanRequest { peer: self.peer(), scan: &scan }).unwrap()
    }

    /// Asks for digests of what is not being filled, applies what comes, and compares: the grants that differ.
    pub(super) fn compare<F: Fixture>(&mut self, bench: &mut Bench<F>) -> Vec<RangeSums> {
        let open: Vec<_> = self.fills.iter().map(|fill| fill.grant.share.clone()).collect();
        let batch = self.scan(bench, |scan| scan.digests = Some(open.clone()));
        assert!(batch.at_head, "the edge is at the head");
        let known = self.grants.grants.iter().filter(|grant| !open.contains(&grant.share));
        let shares: Vec<_> = known.map(|grant| (grant.share.clone(), grant.since)).collect();
        self.apply(&batch);
        let told: Vec<_> = batch.digests.iter().map(|digest| (digest.share.clone(), digest.since)).collect();
        if batch.grants.is_none() {
            assert_eq!(told, shares, "a digest for each grant that is done");
        }
        let differs = |digest: &&GrantDigest| self.digest(&digest.share).0 != digest.digest;
        let sums =
            |digest: &GrantDigest| RangeSums { share: digest.share.clone(), since: digest.since, sums: self.digest(&digest.share).1 };
        batch.digests.iter().filter(differs).map(sums).collect()
    }

    /// What a share holds here: its digest, and the sums by range.
    fn digest(&self, share: &Share) -> (Digest, Vec<u128>) {
        let (mut all, mut ranges) = (Digest::default(), vec![Digest::default(); RANGES]);
        for record in self.base.values().filter(|record| share_of(record) == *share) {
            let Content::Value(value) = &record.content else { panic!("{record:?}") };
            let Record { revision, born, updated_ms, .. } = *record;
            let (key, writer, actor) = (record.key.as_str(), record.writer.as_str(), record.actor.as_deref());
            let hash = Hashed { key, revision, born, updated_ms, writer, actor, value }.hash();
            all.add(&hash);
            ranges[usize::from(range_of(key))].add(&hash);
        }
        (all, ranges.iter().map(|digest| digest.sum).collect())
    }

    /// Says what is held of the grants that differ, and opens again what the cloud names.
    pub(super) fn repair<F: Fixture>(&mut self, bench: &mut Bench<F>, differing: Vec<RangeSums>) -> Vec<Repair> {
        let batch = self.scan(bench, |scan| scan.compare = differing);
        self.apply(&batch);
        for Repair { grant, ranges } in batch.repairs.iter().filter(|repair| !repair.ranges.is_empty()) {
            self.fills.push(Fill { grant: grant.clone(), at: Position::default(), ranges: Some(*ranges) });
            let rows =
                self.base.values().filter(|record| share_of(record) == grant.share && ranges.contains(range_of(record.key.as_str())));
            self.untouched = rows.map(place).collect();
        }
        batch.repairs
    }

    /// Changes what is held, as a disk or a person would.
    pub(super) fn damage(&mut self, collection: &str, record: &str, change: impl FnOnce(&mut Record)) {
        change(self.base.get_mut(&(name(collection), key(record))).unwrap());
    }

    /// Loses a row, or finds one that never was.
    pub(super) fn forge(&mut self, collection: &str, from: &str, record: &str) {
        let mut forged = self.base.remove(&(name(collection), key(from))).unwrap();
        forged.key = key(record);
        self.base.insert(place(&forged), forged);
    }

    /// Until the stream stands at the head and nothing is left to fill.
    pub(super) fn sync<F: Fixture>(&mut self, bench: &mut Bench<F>) {
        for _ in 0..10_000 {
            if self.step(bench) && self.fills.is_empty() {
                return;
            }
        }
        panic!("{} does not reach the head", self.node);
    }

    fn apply(&mut self, batch: &Batch) {
        assert_eq!(batch.from, self.position());
        assert!(batch.through >= batch.from);
        if let Some(grants) = &batch.grants {
            self.change_grants(grants);
        }
        let mut last = Revision::ZERO;
        let part = batch.from.revision.next();
        for entry in &batch.entries {
            match entry {
                Entry::Outcome { number, outcome, .. } => {
                    assert!(outcome.revision >= last && outcome.revision > batch.from.revision);
                    last = outcome.revision;
                    assert!(self.outcomes.keys().next_back().is_none_or(|newest| newest < number), "answers come in write order");
                    self.outcomes.insert(*number, outcome.clone());
                }
                Entry::Record(record) => {
                    assert!(record.revision >= last && record.revision > batch.from.revision);
                    last = record.revision;
                    if record.revision > part {
                        self.unstage();
                    }
                    if record.revision == part && (batch.from.inside.is_some() || batch.through.inside.is_some()) {
                        self.staged.push(record.clone());
                    } else {
                        self.upsert(record);
                    }
                }
            }
        }
        if batch.through.revision >= part {
            self.unstage();
        }
        if let Some(cursor) = &mut self.cursor {
            cursor.position = batch.through.clone();
        }
        self.apply_fill(batch);
    }

    /// A revision that came in parts is whole.
    fn unstage(&mut self) {
        for record in std::mem::take(&mut self.staged) {
            self.upsert(&record);
        }
    }

    fn apply_fill(&mut self, batch: &Batch) {
        let Some(part) = &batch.fill else { return };
        assert!(batch.at_head, "a fill never overtakes an outcome");
        for record in &part.records {
            assert!(matches!(record.content, Content::Value(_)));
            let repaired = part.fill.ranges.is_some_and(|ranges| ranges.contains(range_of(record.key.as_str())));
            assert_eq!(repaired, part.fill.ranges.is_some(), "only what differs is sent again");
            if repaired {
                self.untouched.remove(&place(record));
                self.base.insert(place(record), record.clone());
            } else if self.base.get(&place(record)).is_none_or(|held| held.revision <= record.revision) {
                self.upsert(record);
            }
        }
        let own = |fill: &Fill| fill.grant == part.fill.grant;
        match part.done {
            true => {
                self.fills.retain(|fill| !own(fill));
                for gone in std::mem::take(&mut self.untouched) {
                    self.base.remove(&gone);
                }
            }
            false => self.fills.iter_mut().filter(|fill| own(fill)).for_each(|fill| fill.at = part.fill.at.clone()),
        }
    }

    fn upsert(&mut self, record: &Record) {
        let held = self.base.get(&place(record)).map(|held| held.revision);
        assert!(held.is_none_or(|held| held <= record.revision), "a record never goes back");
        self.untouched.remove(&place(record));
        match record.content {
            Content::Value(_) => drop(self.base.insert(place(record), record.clone())),
            Content::Deleted | Content::Left => drop(self.base.remove(&place(record))),
        }
    }

    pub(super) fn value(&self, collection: &str, record: &str) -> Option<String> {
        match &self.base.get(&(name(collection), key(record)))?.content {
            Content::Value(text) => Some(text.clone()),
            Content::Deleted | Content::Left => None,
        }
    }

    pub(super) fn holds(&self, collection: &str) -> usize {
        self.base.keys().filter(|(own, _)| own.as_str() == collection).count()
    }

    pub(super) fn outcome(&self, number: u64) -> &Outcome {
        &self.outcomes[&number]
    }

    fn answers(&self) -> Vec<(u64, &'static str, String)> {
        let code = |outcome: &Outcome| outcome.code.clone().unwrap_or_default();
        self.outcomes.iter().map(|(number, outcome)| (*number, outcome.verdict.as_str(), code(outcome))).collect()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.outbox.last().map_or(self.taken, |write| write.number) + 1
    }

    pub(super) fn commit(&mut self, ops: Vec<Op>) -> u64 {
        self.commit_at(Hlc::from_ms(1_800_000_000_000 + self.next_number()), ops)
    }

    pub(super) fn commit_at(&mut self, hlc: Hlc, ops: Vec<Op>) -> u64 {
        let number = self.next_number();
        self.outbox.push(self.numbered(number, hlc, ops));
        number
    }

    /// A write as it goes up.
    pub(super) fn numbered(&self, number: u64, hlc: Hlc, ops: Vec<Op>) -> NumberedWrite {
        let write = Write { hlc, at_ms: hlc.ms(), actor: Some(format!("till-{}", self.node)), request_id: None, idempotency: None, ops };
        NumberedWrite { number, bytes: write.encode(), rejected: false, hash: None, fork: None, part: None }
    }

    /// Sends what was not taken.
    pub(super) fn upload<F: Fixture>(&mut self, bench: &mut Bench<F>) -> Result<Taken, Refused> {
        let writes = self.outbox.iter().filter(|write| write.number > self.taken).cloned().collect();
        self.send(bench, writes)
    }

    pub(super) fn send<F: Fixture>(&mut self, bench: &mut Bench<F>, writes: Vec<NumberedWrite>) -> Result<Taken, Refused> {
        match bench.job(Job::Take { peer: self.peer(), session: self.session, writes })? {
            Answer::Taken(taken) => {
                self.taken = taken.taken;
                Ok(taken)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Convergence: base is what the cloud holds in this node's grants, and nothing else.
    pub(super) fn same_as_cloud<F: Fixture>(&mut self, bench: &mut Bench<F>) {
        assert_eq!(self.compare(bench), [], "{}: digests agree", self.node);
        let mut expected = BTreeMap::new();
        for definition in &self.grants.definitions {
            let mut request = ListQuery::all(definition.name.clone(), 1_000);
            loop {
                let page = bench.reader().list(&request).unwrap().unwrap();
                for row in page.records {
                    expected.insert((row.collection, row.key), (row.revision, row.value));
                }
                match page.next {
                    Some(next) => request.after = Some(next),
                    None => break,
                }
            }
        }
        // The list knows no partitions: what this node must hold is what its own grants name.
        let partition_of = |place: &Place, text: &str| self.partition_of(place, &value_of(text));
        expected.retain(|place, (_, text)| {
            let partition = partition_of(place, text);
            partition.is_some_and(|partition| {
                self.grants.grants.iter().any(|grant| grant.share.collection == place.0 && grant.share.partition == partition)
            })
        });
        let text = |record: &Record| match &record.content {
            Content::Value(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let held: BTreeMap<_, _> = self.base.iter().map(|(place, record)| (place.clone(), (record.revision, text(record)))).collect();
        assert_eq!(held, expected, "{}", self.node);
    }

    /// Where a record goes, by its definition; a conflict row goes where the record in it goes, which its base row says.
    fn partition_of(&self, place: &Place, value: &Value) -> Option<Option<String>> {
        if place.0 == CollectionName::conflicts() {
            return self.base.get(place).map(|record| record.partition.clone());
        }
        let definition = self.grants.definitions.iter().find(|definition| definition.name == place.0)?;
        proto::definition::Definition::parse(&definition.json).unwrap().partition_of(value)
    }
}

fn value_of(text: &str) -> Value {
    Value::read(text).unwrap()
}

fn place(record: &Record) -> Place {
    (record.collection.clone(), record.key.clone())
}

fn share_of(record: &Record) -> Share {
    Share { collection: record.collection.clone(), partition: record.partition.clone() }
}

/// A creating put.
pub(super) fn put(collection: &str, record: &str, json: &str) -> Vec<Op> {
    vec![op(collection, record, 0, Body::Put(value(json)))]
}

/// A sale, or its opposite.
pub(super) fn increment(record: &str, seen: u64, delta: i64) -> Vec<Op> {
    vec![op("products", record, seen, Body::Increment(vec![("UnitsInStock".to_owned(), delta)]))]
}

/// One field set.
pub(super) fn set(collection: &str, record: &str, seen: u64, field: &str, to: &str) -> Vec<Op> {
    let change = Change { field: field.to_owned(), to: To::Set(Raw::parse(to).unwrap()), was: Was::Absent };
    vec![op(collection, record, seen, Body::Merge(vec![change]))]
}

pub(super) fn op(collection: &str, record: &str, seen: u64, body: Body) -> Op {
    Op {
        collection: name(collection),
        key: key(record),
        seen: Revision(seen),
        // The revision of a definition only matters where there is a schema.
        definition: Revision(u64::MAX >> 1),
        depends: None,
        stands_on: Vec::new(),
        expect: None,
        body,
    }
}
