//! One write, op by op: later ops see what earlier ones did, the first rejection ends it, and what holds for a record as
//! a whole (key, size, schema) is judged on what the write leaves behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::definition::Defined;
use proto::ids::Revision;
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key};
use proto::op::{Body, Op, Verdict};

use super::claims;
use super::clocks::Pair;
use super::conflict::{ConflictKind, Figures, Finding, Lost, RowKey, RowState};
use super::decision::Decision;
use super::entitlement::{Reach, not_entitled};
use super::resolve::Closing;
use super::world::{Content, Judged, Place, Stored, World};
use super::{append, counters, create, delete, fields, guard};
use crate::limits::JUDGED_BYTES;

/// Judges one write. Whatever it says, there is exactly one answer; an error means that the world could not be read, and
/// nothing is decided.
pub fn judge<W: World>(write: &Judged<'_>, world: &W) -> Result<Decision, W::Error> {
    let mut case = Case::new(write, world);
    match case.run() {
        Ok(()) => case.accept(),
        Err(Stop::Rejected(rejection)) => case.reject(*rejection),
        Err(Stop::World(error)) => Err(error),
    }
}

/// Why a judgement ends early.
pub(super) enum Stop<E> {
    World(E),
    Rejected(Box<Rejection>),
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Self::World(error)
    }
}

/// Why a write is rejected, for the outcome and for its conflict row.
pub(super) struct Rejection {
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) finding: Option<Finding>,
    /// The top-level field that it is about, where it is one.
    pub(super) field: Option<String>,
}

impl Rejection {
    pub(super) fn new(code: &'static str, detail: String, finding: Option<Finding>) -> Box<Self> {
        Box::new(Self { code, detail, finding, field: None })
    }
}

/// One write under judgement.
pub(super) struct Case<'a, W> {
    pub(super) write: &'a Judged<'a>,
    pub(super) world: &'a W,
    pub(super) records: BTreeMap<(CollectionName, Key), Record>,
    pub(super) findings: Vec<Finding>,
    pub(super) verdict: Verdict,
    /// Code and text of the first flag.
    pub(super) flag: Option<(String, String)>,
    /// Conflict rows that the write resolves.
    pub(super) closing: Closing,
    loaded: usize,
}

/// A record that the write touches.
pub(super) struct Record {
    /// Before the write.
    pub(super) before: Option<Stored>,
    /// After the ops so far.
    pub(super) now: Option<Stored>,
    pub(super) defined: Arc<Defined>,
    /// Something in `now` differs from `before`, if only a clock.
    pub(super) dirty: bool,
    /// Fields that the write claimed.
    claimed: BTreeSet<String>,
    /// One of the ops was made under an older definition.
    older: bool,
}

/// One op at its record.
pub(super) struct Site<'o> {
    pub(super) op: &'o Op,
    pub(super) record: Record,
    pub(super) reach: Reach,
    /// What it was made for is not there any more.
    pub(super) gone: bool,
    pub(super) floor: Revision,
}

impl<'a, W: World> Case<'a, W> {
    fn new(write: &'a Judged<'a>, world: &'a W) -> Self {
        Self {
            write,
            world,
            records: BTreeMap::new(),
            findings: Vec::new(),
            verdict: Verdict::Applied,
            flag: None,
            closing: Closing::new(),
            loaded: 0,
        }
    }

    fn run(&mut self) -> Result<(), Stop<W::Error>> {
        if append::is_repeat(self)? {
            return Ok(());
        }
        let ops = &self.write.write.ops;
        ops.iter().try_for_each(|op| self.op(op))?;
        self.finish()
    }

    fn op(&mut self, op: &Op) -> Result<(), Stop<W::Error>> {
        if self.close(op)? {
            return Ok(());
        }
        self.stands(op)?;
        let record = self.take(op)?;
        let reach = self.reach(op, &record)?;
        let gone = self.is_gone(op, &record, &reach)?;
        let floor = self.world.floor(&op.collection)?;
        let mut site = Site { op, record, reach, gone, floor };
        site.record.older |= !op.is_check() && op.definition < site.record.defined.revision;
        self.entitled(&site)?;
        guard::expect(self, &site)?;
        guard::writable(self, &site)?;
        claims::bounded(&site).map_err(Stop::Rejected)?;
        match &op.body {
            Body::Put(value) => create::put(self, &mut site, value)?,
            Body::Merge(changes) => fields::merge(self, &mut site, changes)?,
            Body::Increment(by) => counters::increment(self, &mut site, by)?,
            Body::Delete { force } => delete::delete(self, &mut site, *force)?,
            Body::Check(expected) => guard::check(self, &site, expected)?,
        }
        self.records.insert((op.collection.clone(), op.key.clone()), site.record);
        Ok(())
    }

    /// An op that stands on a rejected write is rejected with it. This speaks of the writer's own writes alone, so it may
    /// come before entitlement.
    fn stands(&self, op: &Op) -> Result<(), Stop<W::Error>> {
        let Some(number) = op.depends else { return Ok(()) };
        if !self.world.outcome(number)?.is_some_and(|decided| decided.is_void()) {
            return Ok(());
        }
        let place = self.fallback(op)?;
        let fields = claims::content(op, None);
        let hidden = !place.as_ref().map_or(Ok(false), |place| self.is_granted(&op.collection, place.as_deref()))?;
        let key = row_key(op, ConflictKind::Depends, "", hidden);
        let finding = Finding { key, state: RowState::Open, lost: Lost::Edge, op: Some(op.body.word()), place, fields };
        let detail = format!("{}/{} was created by write {number}, which was rejected", op.collection, op.key);
        rejected(Rejection::new("depends", detail, Some(finding)))
    }

    /// Where a row about a record goes that the cloud may not hold.
    fn fallback(&self, op: &Op) -> Result<Place, W::Error> {
        if let Some(stored) = self.world.record(&op.collection, &op.key)? {
            return Ok(stored.place);
        }
        Ok(self.world.definition(&op.collection)?.and_then(|defined| claims::place_of(op, &defined)))
    }

    /// The record of an op, as the ops before left it.
    pub(super) fn take(&mut self, op: &Op) -> Result<Record, Stop<W::Error>> {
        if let Some(record) = self.records.remove(&(op.collection.clone(), op.key.clone())) {
            return Ok(record);
        }
        let Some(defined) = self.world.definition(&op.collection)? else {
            return rejected(self.unknown_collection(op));
        };
        let before = self.world.record(&op.collection, &op.key)?;
        self.loaded += before.as_ref().and_then(Stored::live).map_or(0, Value::text_len);
        if self.loaded > JUDGED_BYTES {
            let detail = format!("its records have more than {} MiB together: split the write", JUDGED_BYTES >> 20);
            return rejected(Rejection::new("too_large", detail, None));
        }
        Ok(Record { now: before.clone(), before, defined, dirty: false, claimed: BTreeSet::new(), older: false })
    }

    fn unknown_collection(&self, op: &Op) -> Box<Rejection> {
        if self.write.is_edge() {
            // A conflict row belongs to a collection: of one that is not there nothing is kept but the answer.
            return Box::new(Rejection { finding: None, ..*not_entitled(op) });
        }
        Rejection::new("malformed", format!("there is no collection {}", op.collection), None)
    }

    /// Whether the record that an op was made for is not there any more: there is none, or one that was born later.
    fn is_gone(&self, op: &Op, record: &Record, reach: &Reach) -> Result<bool, W::Error> {
        let Some(stored) = record.now.as_ref().filter(|stored| stored.live().is_some() && *reach != Reach::Elsewhere) else {
            return Ok(true);
        };
        let own = stored.clocks.born.database == self.write.database();
        if !self.write.is_edge() || own || op.seen == Revision::ZERO || stored.born <= op.seen {
            return Ok(false);
        }
        // Its own pending write may have found the newer record and merged into it.
        let stood = op.depends.map_or(Ok(None), |number| self.world.outcome(number))?;
        Ok(stood.is_none_or(|decided| decided.revision < stored.born))
    }

    /// An open conflict asks a person to look.
    pub(super) fn flag(&mut self, code: &str, detail: String, finding: Finding) {
        if self.settles(&finding.key.collection, &finding.key.key) {
            return;
        }
        self.verdict = self.verdict.max(Verdict::Flagged);
        self.flag.get_or_insert_with(|| (code.to_owned(), detail));
        self.findings.push(finding);
    }

    /// Single fields lose; the row keeps them.
    pub(super) fn lost(&mut self, finding: Finding) {
        if self.settles(&finding.key.collection, &finding.key.key) {
            return;
        }
        self.verdict = self.verdict.max(Verdict::Merged);
        self.findings.push(finding);
    }

    /// What holds for whole records: key, size, schema.
    fn finish(&mut self) -> Result<(), Stop<W::Error>> {
        let mut records = std::mem::take(&mut self.records);
        for ((collection, key), record) in records.iter_mut().filter(|(_, record)| record.dirty) {
            let Some(Content::Live(value)) = record.now.as_mut().map(|stored| &mut stored.content) else { continue };
            if let Err(error) = record.defined.definition.fill_key(key, value) {
                return rejected(Rejection::new("malformed", format!("{collection}/{key}: {error}"), None));
            }
            if let Err(error) = value.check_bounds() {
                return rejected(Rejection::new("too_large", format!("{collection}/{key}: {error}"), None));
            }
            self.schema((collection, key), record)?;
        }
        self.records = records;
        Ok(())
    }

    /// The newest schema judges what the write leaves behind, unless that was wrong before and the write did not touch it.
    fn schema(&mut self, (collection, key): (&CollectionName, &Key), record: &Record) -> Result<(), Stop<W::Error>> {
        let Some(value) = record.now.as_ref().and_then(Stored::live) else { return Ok(()) };
        let Some(error) = self.world.schema_error(&record.defined, value)? else { return Ok(()) };
        let before = record.before.as_ref().and_then(Stored::live);
        if let (Some(before), false) = (before, record.claimed.contains(&error.field))
            && self.world.schema_error(&record.defined, before)?.is_some()
        {
            return Ok(());
        }
        let applies = record.older || self.write.is_forced();
        let figures = |field: &String| Figures {
            name: field.clone(),
            cloud: before.and_then(|before| before.get(field)).cloned(),
            edge: value.get(field).cloned(),
            result: if applies { value.get(field).cloned() } else { before.and_then(|before| before.get(field)).cloned() },
            ..Figures::default()
        };
        let fields = record.claimed.iter().map(figures).collect();
        let row =
            RowKey { collection: collection.clone(), key: key.clone(), kind: ConflictKind::Schema, field: error.field, hidden: false };
        let stored = if applies { record.now.as_ref() } else { record.before.as_ref().or(record.now.as_ref()) };
        let place = stored.and_then(|stored| stored.place.clone());
        let finding = Finding { key: row, state: RowState::Open, lost: Lost::Edge, op: None, place, fields };
        let detail = format!("{collection}/{key}: {}", error.message);
        if !applies {
            let field = Some(finding.key.field.clone()).filter(|field| !field.is_empty());
            return rejected(Box::new(Rejection { field, ..*Rejection::new("schema", detail, Some(finding)) }));
        }
        self.flag("schema", detail, finding);
        Ok(())
    }
}

impl Record {
    /// A field of the value changed, or was claimed at all.
    pub(super) fn claim(&mut self, field: &str) {
        self.claimed.insert(field.to_owned());
        self.dirty = true;
    }

    /// The value changed: the record is of this write's revision.
    pub(super) fn changed(&mut self, write: &Judged<'_>) {
        self.dirty = true;
        if let Some(stored) = &mut self.now {
            stored.revision = write.revision;
            stored.clocks.touch(write.stamp());
            if let Some(value) = stored.live() {
                stored.place = self.defined.definition.partition_of(value);
            }
        }
    }
}

impl Site<'_> {
    /// The live value, where the op speaks of it.
    pub(super) fn value(&self) -> Option<&Value> {
        if self.gone { None } else { self.live() }
    }

    /// The live value, whoever made it.
    pub(super) fn live(&self) -> Option<&Value> {
        self.record.now.as_ref().and_then(Stored::live)
    }

    pub(super) fn get(&self, field: &str) -> Option<&Raw> {
        self.value().and_then(|value| value.get(field))
    }

    pub(super) fn clock(&self, field: &str) -> Option<Pair> {
        let stored = self.record.now.as_ref()?;
        stored.clocks.field(field, self.live()?.get(field).is_some())
    }

    /// A name for texts.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.op.collection, self.op.key)
    }

    /// A row about this op. It goes where the record is; a record elsewhere is not the writer's to talk about.
    pub(super) fn finding(&self, kind: ConflictKind, field: &str, state: RowState, fields: Vec<Figures>) -> Finding {
        let held = self.record.before.as_ref().or(self.record.now.as_ref());
        let place = match held {
            Some(stored) => stored.place.clone(),
            None => claims::place_of(self.op, &self.record.defined),
        };
        let key = row_key(self.op, kind, field, self.reach == Reach::Elsewhere);
        Finding { key, state, lost: Lost::Edge, op: Some(self.op.body.word()), place, fields }
    }

    /// A row about a record that is gone keeps what it was beside what was to become of it, so that one call restores
    /// both. Of a record that went elsewhere nothing is told.
    pub(super) fn with_what_was(&self, mut finding: Finding) -> Finding {
        let Some(Content::Deleted { last }) = self.record.now.as_ref().map(|stored| &stored.content) else { return finding };
        if self.reach == Reach::Elsewhere {
            return finding;
        }
        for (field, raw) in last.fields() {
            match finding.fields.iter_mut().find(|figures| figures.name == field) {
                Some(figures) => figures.cloud = Some(raw.clone()),
                None => finding.fields.push(Figures { name: field.to_owned(), cloud: Some(raw.clone()), ..Figures::default() }),
            }
        }
        finding.lost = Lost::Both;
        finding
    }

    /// A rejection that shows all that the op said.
    pub(super) fn refuse(&self, code: &'static str, kind: ConflictKind, detail: &str) -> Box<Rejection> {
        let finding = self.finding(kind, "", RowState::Open, claims::content(self.op, self.value()));
        Rejection::new(code, format!("{}: {detail}", self.name()), Some(finding))
    }

    /// A rejection of what no honest peer sends: its content is not kept.
    pub(super) fn malformed(&self, detail: &str) -> Box<Rejection> {
        Rejection::new("malformed", format!("{}: {detail}", self.name()), None)
    }
}

fn row_key(op: &Op, kind: ConflictKind, field: &str, hidden: bool) -> RowKey {
    RowKey { collection: op.collection.clone(), key: op.key.clone(), kind, field: field.to_owned(), hidden }
}

/// Ends the judgement.
pub(super) fn rejected<T, E>(rejection: Box<Rejection>) -> Result<T, Stop<E>> {
    Err(Stop::Rejected(rejection))
}
