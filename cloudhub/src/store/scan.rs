//! The next stretch of a node's stream (design §5, down): one short read of one state.
//!
//! Whole revisions go into a batch; a revision that is larger than a batch goes in parts, whose end is a place inside it.
//! Outcomes stand before the records of their revision, so no node sees a write's effect before its answer.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::frame::{Batch, Content, Entry, Record};
use proto::ids::{Position, Revision};
use proto::limits::ASK_RECORDS;
use proto::names::{CollectionName, Key};
use proto::op::Outcome;
use rusqlite::{Connection, OptionalExtension};

use super::ScanRequest;
use super::ahead;
use super::digests;
use super::error::{StoreError, counted, limit, stored};
use super::fill;
use super::grants::{self, NodeShares};
use super::heads::Shared;
use super::lanes::{Kind, Lanes, Light};
use super::reads;
use super::share;
use super::world::{LIVE, to_verdict};
use crate::limits::SCAN_LOOKS;

/// What a batch may still hold.
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// Reads the next batch; the caller has begun the transaction.
pub(super) fn scan(conn: &Connection, shared: &Shared, request: &ScanRequest<'_>) -> Result<Batch, StoreError> {
    let ScanRequest { peer, scan } = *request;
    let head = reads::head(conn)?.max(scan.from.revision.0);
    let shares = grants::load(conn, shared, peer.node, u64::MAX)?;
    if let Some(missed) = grants::below_floor(conn, &shares, scan.from.revision.0)? {
        let (at, collection) = (scan.from.revision.0, missed.share.collection.to_string());
        return Err(StoreError::BelowFloor { at, collection, floor: missed.floor });
    }
    let told = if shares.revision == scan.told.0 { None } else { Some(shares.to_wire(conn, head)?) };
    let mut stretch = Stretch::new(conn, shared, &shares, request)?;
    let through = stretch.run(head)?;
    let at_head = through == Position::at(Revision(head));
    let fill = if at_head { fill::part(conn, &shares, &scan.fills, &stretch.room, head)? } else { None };
    let asked = if at_head { asked(conn, &shares, &scan.ask, &mut stretch.room, Revision(head))? } else { Vec::new() };
    let compare = if at_head { &*scan.compare } else { &[] };
    let repairs = digests::compare(conn, &shares, compare, Revision(head))?;
    let digests = match scan.digests.as_deref().filter(|_| at_head) {
        Some(open) => {
            // The edge opens again what is repaired, before it compares.
            let repaired = repairs.iter().map(|repair| &repair.grant.share);
            let open: Vec<_> = open.iter().chain(repaired).collect();
            digests::of_grants(conn, &shares, &open, scan.told)?
        }
        None => Vec::new(),
    };
    let empty = Batch::empty(scan.from.clone(), through);
    Ok(Batch { at_head, grants: told, entries: stretch.entries, fill, digests, repairs, asked, ..empty })
}

/// Records that the edge asked for, at least one; it asks again for what finds no room.
fn asked(
    conn: &Connection,
    shares: &NodeShares,
    ask: &[(CollectionName, Key)],
    room: &mut Room,
    head: Revision,
) -> Result<Vec<Record>, StoreError> {
    let mut found = Vec::new();
    for (collection, key) in ask.iter().take(ASK_RECORDS) {
        let record = ahead::record(conn, shares, collection, key)?.unwrap_or_else(|| ahead::absent(collection, key, head));
        let bytes = record.wire_len();
        if bytes > room.bytes && !found.is_empty() {
            break;
        }
        room.bytes = room.bytes.saturating_sub(bytes);
        found.push(record);
    }
    Ok(found)
}

struct Stretch<'a> {
    conn: &'a Connection,
    shares: &'a Arc<NodeShares>,
    lanes: Lanes<'a>,
    outcomes: VecDeque<Answered>,
    /// More outcomes follow the ones that were read: nothing at or above this revision is whole.
    outcomes_end: Option<u64>,
    entries: Vec<Entry>,
    room: Room,
    records: usize,
    looks: usize,
}

/// What comes next: an outcome, or a row.
enum Next {
    Outcome(u64),
    Row(u64),
    Nothing,
}

impl<'a> Stretch<'a> {
    fn new(conn: &'a Connection, shared: &Shared, shares: &'a Arc<NodeShares>, request: &ScanRequest<'_>) -> Result<Self, StoreError> {
        let ScanRequest { peer, scan } = *request;
        let from = &scan.from;
        let changed = shared.changed(&shares.grants, from.revision.0);
        let lanes = Lanes::open(conn, changed, &[Kind::Record, Kind::Exit], from, scan.max_records)?;
        // Inside a revision its outcome has been sent.
        let above = from.revision.0 + u64::from(from.inside.is_some());
        let (outcomes, outcomes_end) = outcomes(conn, peer.database, above, scan.max_records)?;
        let room = Room { records: scan.max_records, bytes: scan.max_bytes };
        Ok(Self { conn, shares, lanes, outcomes, outcomes_end, entries: Vec::new(), room, records: 0, looks: 0 })
    }

    fn next(&self) -> Next {
        let outcome = self.outcomes.front().map(|answered| answered.place);
        match (outcome, self.lanes.peek().map(|light| light.revision)) {
            (Some(outcome), Some(row)) if row < outcome => Next::Row(row),
            (Some(outcome), _) => Next::Outcome(outcome),
            (None, Some(row)) => Next::Row(row),
            (None, None) => Next::Nothing,
        }
    }

    /// Collects entries until the batch is full; tells how far it came.
    fn run(&mut self, head: u64) -> Result<Position, StoreError> {
        // The revision that is being collected, and how many entries whole revisions before it have.
        let (mut current, mut whole) = (0, 0);
        let mut last = None;
        loop {
            let revision = match self.next() {
                Next::Outcome(revision) | Next::Row(revision) => revision,
                Next::Nothing => match self.outcomes_end {
                    Some(end) => return Ok(Position::at(Revision(end - 1))),
                    None => return Ok(Position::at(Revision(head))),
                },
            };
            if revision != current {
                if let Some(end) = self.outcomes_end.filter(|end| revision >= *end) {
                    // The next row may lie far above the first outcome that was not read: nothing in between is passed.
                    return Ok(Position::at(Revision(end - 1)));
                }
                if self.looks >= SCAN_LOOKS {
                    return Ok(Position::at(Revision(revision - 1)));
                }
                (current, whole, last) = (revision, self.entries.len(), None);
            }
            if self.add(&mut last)? {
                continue;
            }
            if whole > 0 || last.is_none() {
                self.entries.truncate(whole);
                return Ok(Position::at(Revision(current - 1)));
            }
            return Ok(Position { revision: Revision(current - 1), inside: last });
        }
    }

    /// Adds what comes next; false: it does not fit.
    fn add(&mut self, last: &mut Option<(CollectionName, Key)>) -> Result<bool, StoreError> {
        if let Next::Outcome(_) = self.next() {
            if let Some(Answered { number, outcome, .. }) = self.outcomes.pop_front() {
                self.entries.push(Entry::Outcome { database: None, number, outcome });
            }
            return Ok(true);
        }
        let Some(light) = self.lanes.take()? else { return Ok(true) };
        self.looks += 1;
        let place = (light.grant.name.clone(), to_key(&light.key)?);
        let record = match light.kind {
            Kind::Record => Some(record(self.conn, &light)?),
            Kind::Exit if self.still_gets(&light)? => None,
            Kind::Exit => Some(exit(&light)?),
        };
        if let Some(record) = record {
            let bytes = record.wire_len();
            let fits = self.records == 0 || (self.room.records > 0 && bytes <= self.room.bytes);
            if !fits {
                return Ok(false);
            }
            self.records += 1;
            self.room.records = self.room.records.saturating_sub(1);
            self.room.bytes = self.room.bytes.saturating_sub(bytes);
            self.entries.push(Entry::Record(record));
        }
        *last = Some(place);
        Ok(true)
    }

    /// Whether the node gets the record where it is now: then the record itself says where it went.
    fn still_gets(&self, light: &Light<'_>) -> Result<bool, StoreError> {
        let column: Option<Option<String>> = self
            .conn
            .prepare_cached("SELECT share FROM records WHERE collection = ?1 AND key = ?2")?
            .query_row((light.grant.collection, &light.key), |row| row.get(0))
            .optional()?;
        Ok(column.flatten().is_some_and(|column| self.shares.has(light.grant.collection, &column)))
    }
}

/// A write's outcome and its place in the stream.
pub(super) struct Answered {
    /// The revision that it was decided at.
    pub(super) place: u64,
    pub(super) number: u64,
    /// At the revision of its effect, which is an older one where another database of the node had brought the write.
    pub(super) outcome: Outcome,
}

/// Outcomes of a database above a revision, and where the ones begin that were not read.
pub(super) fn outcomes(
    conn: &Connection,
    database: u32,
    above: u64,
    count: usize,
) -> Result<(VecDeque<Answered>, Option<u64>), StoreError> {
    let mut found = VecDeque::new();
    let mut query = conn.prepare_cached(
        "SELECT number, revision, verdict, code, detail, conflicts, coalesce(effect, revision) FROM writes
         WHERE database = ?1 AND revision > ?2 ORDER BY revision LIMIT ?3",
    )?;
    let mut rows = query.query((database, stored(above)?, limit(count + 1)))?;
    while let Some(row) = rows.next()? {
        let place = counted(row.get(1)?)?;
        if found.len() == count {
            return Ok((found, Some(place)));
        }
        let outcome = Outcome {
            verdict: to_verdict(row.get(2)?)?,
            revision: Revision(counted(row.get(6)?)?),
            code: row.get(3)?,
            detail: row.get(4)?,
            conflicts: reads::strings(row.get(5)?)?,
        };
        found.push_back(Answered { place, number: counted(row.get(0)?)?, outcome });
    }
    Ok((found, None))
}

/// A record as it travels. Its value is passed on as it was accepted, never parsed.
pub(super) fn record(conn: &Connection, light: &Light<'_>) -> Result<Record, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT born, deleted, updated_ms, writer, actor, CASE WHEN deleted = 0 THEN value END FROM records WHERE id = ?1",
    )?;
    let mut rows = query.query([light.row])?;
    let Some(row) = rows.next()? else {
        return Err(StoreError::Damaged(format!("record {} of {} is in the index alone", light.key, light.grant.name)));
    };
    let content = match row.get::<_, i64>(1)? {
        LIVE => Content::Value(row.get(5)?),
        _ => Content::Deleted,
    };
    Ok(Record {
        collection: light.grant.name.clone(),
        key: to_key(&light.key)?,
        revision: Revision(light.revision),
        born: Revision(counted(row.get(0)?)?),
        partition: share::decode(&light.grant.share),
        updated_ms: counted(row.get(2)?)?,
        writer: row.get(3)?,
        actor: row.get(4)?,
        content,
    })
}

/// What a node hears of a record that it does not get any more: that it left, and nothing else.
fn exit(light: &Light<'_>) -> Result<Record, StoreError> {
    Ok(Record {
        collection: light.grant.name.clone(),
        key: to_key(&light.key)?,
        revision: Revision(light.revision),
        born: Revision::ZERO,
        partition: share::decode(&light.grant.share),
        updated_ms: 0,
        writer: String::new(),
        actor: None,
        content: Content::Left,
    })
}

pub(super) fn to_key(text: &str) -> Result<Key, StoreError> {
    Key::parse(text).map_err(|error| StoreError::Damaged(error.to_string()))
}
