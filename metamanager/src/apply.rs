//! What the cloud sends: batches of the one ordered stream, and parts of back-fills (docs/design.md §5).
//!
//! All batches that wait are applied in one transaction together with the cursor, so what is acknowledged is exactly
//! what is durable. A batch that comes twice does no harm: records up to the cursor are known, an older revision never
//! replaces a newer one, and an outcome counts once.

use std::collections::{BTreeMap, BTreeSet};

use proto::clock::Now;
use proto::digest::RangeSet;
use proto::frame::{Batch, Compared, Content, Entry, Fill, Record, Share};
use proto::ids::{Cursor, Epoch, Position, Revision};
use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::{Hash, Outcome, Verdict};

use crate::base::{self, NewBase, Stored};
use crate::check::Question;
use crate::conflicts::{self, About};
use crate::error::{ApplyError, Done};
use crate::grants::{self, Again};
use crate::limits::TRIM_STEP_APPLIED;
use crate::outbox::{self, Writes};
use crate::overlay;
use crate::staging::Staging;
use crate::store::{Event, Store, Tx};
use crate::{blocked, digests, fill, fork, pieces, repair, reported, trim};

/// What is durable now: an Ack carries the cursor and the fills.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The cursor.
    pub cursor: Position,
    /// The open back-fills.
    pub fills: Vec<Fill>,
    /// The outcomes of all writes up to this number are here.
    pub answered: u64,
    /// What came of comparing digests, where the figures that are kept were enough for it.
    pub compared: Option<Compared>,
    /// The rows have to be read for it: [`Store::take_check`] has what is to be done, away from the writer.
    pub check: bool,
    /// Grants whose repair began, and the ranges of their keys that are read again.
    pub repairs: Vec<(Share, RangeSet)>,
    /// Records to ask the cloud for.
    pub asks: Vec<(CollectionName, Key)>,
    /// Outcomes that were new.
    pub outcomes: Vec<(u64, Verdict)>,
    /// Records that were stored or removed.
    pub records: u64,
    /// Records that could not be stored and were put aside.
    pub blocked: u64,
    /// Grants that are gone, with their data.
    pub lost_rights: u64,
}

impl Store {
    /// Applies batches that follow the cursor, in one transaction: `Ok` is durable, after an error nothing of them is
    /// stored.
    pub fn apply(&mut self, batches: &[Batch], now: Now) -> Result<Applied, ApplyError> {
        // Outcomes ahead of the stream make the outbox shorter: they are stored while there is any room at all.
        let ahead = batches.iter().all(Batch::is_ahead);
        if let Some(free) = self.disk_pause().filter(|_| !ahead) {
            return Err(ApplyError::DiskLow { free });
        }
        let whole = self.whole(batches)?;
        let (in_pieces, batches) = (whole.is_some(), whole.as_deref().unwrap_or(batches));
        let trust = batches.iter().all(|batch| batch.digests.is_empty()) || !self.checking.is_due(now.mono_ms);
        let (mut applied, question, reported) = self.transaction(|tx| {
            if let Err(error) = follows(tx, batches) {
                return Ok(Err(error));
            }
            let reported = reported::leave(tx, now, batches)?;
            let mut applying = Applying::new(tx, now);
            for batch in batches {
                // Only what follows the last batch is the state that rows can be read in.
                applying.question = None;
                applying.batch(batch)?;
                applying.compare(batch, trust);
            }
            if in_pieces {
                pieces::clear(applying.tx.conn)?;
            }
            let question = applying.question.take();
            Ok(Ok((applying.finish()?, question, reported)))
        })??;
        self.checking.compared(batches, now.mono_ms);
        if let Some(question) = question {
            applied.check = self.ask_rows(question, now.mono_ms);
        }
        if !applied.outcomes.is_empty() {
            self.tell(&Event::Answered { outcomes: applied.outcomes.clone() });
        }
        if let Some(newest) = reported {
            self.tell(&Event::Committed { newest });
        }
        self.tell(&Event::Changed);
        self.tend();
        Ok(applied)
    }
}

/// Whether every batch begins at or before where the one before it ended.
fn follows(tx: &Tx<'_>, batches: &[Batch]) -> Result<(), ApplyError> {
    let Some(mut at) = tx.ledger.position() else { return Err(ApplyError::NotAdopted) };
    for batch in batches {
        if batch.from > *at {
            return Err(ApplyError::Gap { cursor: at.clone(), from: batch.from.clone() });
        }
        at = at.max(&batch.through);
    }
    Ok(())
}

/// Batches being applied.
pub(crate) struct Applying<'t, 'c> {
    pub(crate) tx: &'t mut Tx<'c>,
    /// The cloud's time, where it is known.
    cloud_ms: Option<u64>,
    pub(crate) at_ms: u64,
    writes: Writes,
    pub(crate) staging: Staging,
    /// Records whose laid ops have to be looked at again, and the newest revision that arrived.
    unsettled: BTreeMap<(i64, Key), Revision>,
    /// Those of them whose row was of a lost history, and what was known of it goes with it.
    renewed: BTreeSet<(i64, Key)>,
    /// A scan reached its head.
    reached: bool,
    /// What is stored came by a repair.
    pub(crate) repairing: bool,
    /// Digests that only the rows can answer.
    question: Option<Question>,
    pub(crate) done: Applied,
}

impl<'t, 'c> Applying<'t, 'c> {
    pub(crate) fn new(tx: &'t mut Tx<'c>, now: Now) -> Self {
        let staging = Staging::default();
        let cloud_ms = tx.clock.cloud_ms(now);
        let at_ms = cloud_ms.unwrap_or_else(|| tx.clock.time_ms(now));
        Self {
            tx,
            cloud_ms,
            at_ms,
            writes: Writes::default(),
            staging,
            unsettled: BTreeMap::new(),
            renewed: BTreeSet::new(),
            reached: false,
            repairing: false,
            question: None,
            done: Applied::default(),
        }
    }

    fn batch(&mut self, batch: &Batch) -> Done<()> {
        let at = self.tx.ledger.position().cloned().unwrap_or_default();
        if let Some(new) = &batch.grants {
            grants::replace(self, new, Again::No)?;
        }
        let complete = batch.through.revision;
        if complete > at.revision {
            for record in self.staging.take(self.tx.conn)? {
                self.record(&record)?;
            }
        }
        for entry in &batch.entries {
            match entry {
                Entry::Outcome { database, number, outcome } => {
                    if database.is_none_or(|database| database == self.tx.own.database) {
                        self.outcome(*number, outcome)?;
                    }
                }
                Entry::Record(record) if known(&at, record) => {}
                Entry::Record(record) if record.revision > complete => self.staging.put(record),
                Entry::Record(record) => self.record(record)?,
            }
        }
        if let Some(part) = &batch.fill {
            fill::apply(self, part)?;
        }
        for record in &batch.asked {
            self.record(record)?;
        }
        for repair in &batch.repairs {
            repair::open(self, repair)?;
        }
        let meta = &mut self.tx.ledger.meta;
        meta.top = meta.top.max(newest(batch));
        self.move_cursor(&at, &batch.through);
        if batch.at_head && complete > self.tx.ledger.meta.reached {
            self.tx.ledger.meta.reached = complete;
            self.reached = true;
        }
        Ok(())
    }

    /// Compares the digests of a batch, when exactly that batch has been applied. `trust`: the figures that are kept are
    /// enough; a difference is looked at in the rows all the same.
    fn compare(&mut self, batch: &Batch, trust: bool) {
        let exactly = self.tx.ledger.position().is_some_and(|at| *at == batch.through);
        if batch.digests.is_empty() || !exactly {
            return;
        }
        let agreement = self.tx.ledger.agrees(&batch.digests);
        let revision = batch.through.revision;
        if !trust || !agreement.equal {
            self.question = Some(Question { revision, digests: batch.digests.clone() });
            return;
        }
        if agreement.complete {
            self.tx.ledger.meta.verified_ms = Some(self.at_ms);
        }
        self.done.compared = Some(Compared { revision, differing: Vec::new() });
    }

    fn move_cursor(&mut self, at: &Position, through: &Position) {
        if through > at {
            let ledger = &mut *self.tx.ledger;
            let before = ledger.meta.cursor.as_ref().map_or(Epoch(0), |cursor| cursor.epoch);
            let epoch = ledger.epoch_of(through.revision, before);
            ledger.meta.cursor = Some(Cursor { epoch, position: through.clone() });
        }
    }

    fn outcome(&mut self, number: u64, outcome: &Outcome) -> Done<()> {
        if !outbox::answer(self.tx.conn, &mut self.tx.ledger.meta, number, outcome, self.at_ms)? {
            return Ok(());
        }
        self.done.outcomes.push((number, outcome.verdict));
        self.tx.ledger.note_outcome(self.tx.conn, number)?;
        let Some(kept) = self.writes.get(self.tx.conn, number)? else { return Ok(()) };
        for op in kept.write.ops.iter().filter(|op| !op.is_check()) {
            if let Some(collection) = self.tx.ledger.collections.get(&op.collection) {
                self.unsettle((collection.id, op.key.clone()), Revision::ZERO);
            }
        }
        Ok(())
    }

    pub(crate) fn unsettle(&mut self, id: (i64, Key), arrived: Revision) {
        let newest = self.unsettled.entry(id).or_default();
        *newest = arrived.max(*newest);
    }

    /// Stores the newest version of a record, or removes it.
    pub(crate) fn record(&mut self, record: &Record) -> Done<()> {
        match &record.content {
            Content::Value(text) => self.value(record, text),
            Content::Deleted | Content::Left => self.gone(record),
        }
    }

    fn value(&mut self, record: &Record, text: &str) -> Done<()> {
        let name = record.collection.as_str();
        let hash = digests::hash_of(record, text);
        let Some(place) = self.tx.ledger.granted(name, record.partition.as_deref()) else {
            return self.block(record, &hash, "it belongs to no partition that this node gets");
        };
        let conflict = name == "_conflicts";
        // A conflict row shows two values beside each other: larger and deeper than a record may be.
        let checked = if conflict { Value::read(text) } else { Value::parse(text) };
        if let Err(error) = checked {
            return self.block(record, &hash, &error.to_string());
        }
        let about = match conflict.then(|| About::parse(text)).transpose() {
            Ok(about) => about,
            Err(why) => return self.block(record, &hash, &why),
        };
        let granted = &self.tx.ledger.grants[place];
        let collection = granted.collection;
        let new = NewBase {
            granted: granted.id,
            revision: record.revision,
            born: record.born,
            updated_ms: record.updated_ms,
            fill: if granted.done { 0 } else { granted.generation },
            writer: &record.writer,
            actor: record.actor.as_deref(),
            value: text,
            hash,
            repairs: self.repairing,
        };
        let unsure = fork::is_unsure(self.tx.conn, self.tx.ledger, collection, &record.key)?;
        let stored = base::store(self.tx.conn, &mut self.tx.ledger.digests, collection, &record.key, &new)?;
        if stored == Stored::Kept {
            return blocked::follow(self.tx, collection, record, Some(record.revision));
        }
        self.done.records += 1;
        let laid = self.has_overlay(collection, &record.key)?;
        let new = i64::from(stored == Stored::New);
        self.tx.ledger.count(collection, new, if laid { 0 } else { new });
        if laid {
            self.unsettle((collection, record.key.clone()), record.revision);
            if unsure {
                self.renewed.insert((collection, record.key.clone()));
            }
        } else {
            // What is laid over is noted when it is settled.
            self.tx.ledger.note(self.tx.conn, collection, record.key.as_str())?;
        }
        if conflict {
            conflicts::follow(self.tx.conn, self.tx.ledger, &record.key, about.as_ref())?;
        }
        blocked::follow(self.tx, collection, record, Some(record.revision).filter(|_| !self.repairing))
    }

    fn gone(&mut self, record: &Record) -> Done<()> {
        let Some(collection) = self.tx.ledger.collections.get(&record.collection).map(|collection| collection.id) else { return Ok(()) };
        let unsure = fork::is_unsure(self.tx.conn, self.tx.ledger, collection, &record.key)?;
        let removed = base::remove(self.tx.conn, &mut self.tx.ledger.digests, collection, &record.key, record.revision)?;
        let laid = self.has_overlay(collection, &record.key)?;
        if removed {
            self.done.records += 1;
            self.tx.ledger.count(collection, -1, if laid { 0 } else { -1 });
            if !laid {
                self.tx.ledger.note(self.tx.conn, collection, record.key.as_str())?;
            }
            if record.collection.as_str() == "_conflicts" {
                conflicts::follow(self.tx.conn, self.tx.ledger, &record.key, None)?;
            }
        }
        if laid {
            self.unsettle((collection, record.key.clone()), record.revision);
            if unsure && removed {
                self.renewed.insert((collection, record.key.clone()));
            }
        }
        blocked::follow(self.tx, collection, record, Some(record.revision))
    }

    pub(crate) fn has_overlay(&self, collection: i64, key: &Key) -> Done<bool> {
        if self.tx.ledger.meta.overlays == 0 { Ok(false) } else { overlay::exists(self.tx.conn, collection, key) }
    }

    /// Puts a record aside: what was there stays, the cursor goes on, and the status shows it.
    fn block(&mut self, record: &Record, hash: &Hash, why: &str) -> Done<()> {
        tracing::error!(collection = %record.collection, key = %record.key, revision = %record.revision, why, "a record cannot be stored");
        self.done.blocked += 1;
        blocked::put(self.tx, record, hash, why, self.at_ms)?;
        let open = self.tx.ledger.granted(record.collection.as_str(), record.partition.as_deref());
        if let Some(granted) = open.map(|place| &self.tx.ledger.grants[place]).filter(|granted| !granted.done) {
            // What a back-fill brought, if only to be put aside, is there in the cloud: its end must not take the older version away.
            let mut seen = self.tx.conn.prepare_cached("UPDATE base SET fill = ?3 WHERE collection = ?1 AND key = ?2 AND granted = ?4")?;
            seen.execute((granted.collection, record.key.as_str(), crate::ledger::stored(granted.generation), granted.id))?;
        }
        Ok(())
    }

    /// Settles every record whose laid ops may have changed, once, and keeps what is still incomplete.
    pub(crate) fn finish(mut self) -> Done<Applied> {
        self.staging.keep(self.tx.conn)?;
        if self.reached {
            self.unsettle_held()?;
        }
        for (collection, key) in std::mem::take(&mut self.renewed) {
            overlay::include(self.tx.conn, collection, &key, 0)?;
        }
        let unsettled = std::mem::take(&mut self.unsettled);
        for ((collection, key), arrived) in unsettled {
            overlay::settle(self.tx.conn, self.tx.ledger, self.tx.own, &mut self.writes, (collection, &key), arrived)?;
        }
        trim::step(self.tx.conn, &mut self.tx.ledger.meta, self.cloud_ms, TRIM_STEP_APPLIED)?;
        self.done.cursor = self.tx.ledger.position().cloned().unwrap_or_default();
        self.done.fills = self.tx.ledger.fills();
        self.done.answered = self.tx.ledger.meta.answered;
        self.done.asks = fork::asks(self.tx.conn, self.tx.ledger)?;
        Ok(self.done)
    }

    fn unsettle_held(&mut self) -> Done<()> {
        let mut statement = self.tx.conn.prepare_cached("SELECT collection, key FROM held")?;
        let mut rows = statement.query([])?;
        let mut held = Vec::new();
        while let Some(row) = rows.next()? {
            held.push((row.get(0)?, crate::ledger::record_key(&row.get::<_, String>(1)?)?));
        }
        held.into_iter().for_each(|id| self.unsettle(id, Revision::ZERO));
        Ok(())
    }
}

/// The newest revision that a batch says anything of.
fn newest(batch: &Batch) -> Revision {
    let entries = batch.entries.iter().map(|entry| match entry {
        Entry::Record(record) => record.revision,
        Entry::Outcome { outcome, .. } => outcome.revision,
    });
    let filled = batch.fill.iter().flat_map(|part| &part.records).chain(&batch.asked).map(|record| record.revision);
    let granted = batch.grants.iter().map(|grants| grants.revision);
    entries.chain(filled).chain(granted).chain([batch.through.revision]).max().unwrap_or_default()
}

/// Whether a stream record was applied before: everything up to the cursor was, in this or a newer version.
fn known(at: &Position, record: &Record) -> bool {
    let inside = || at.inside.as_ref().is_some_and(|(collection, key)| (&record.collection, &record.key) <= (collection, key));
    record.revision <= at.revision || (record.revision.0 == at.revision.0.saturating_add(1) && inside())
}
