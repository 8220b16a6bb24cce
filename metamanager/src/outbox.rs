//! Writes and their outcomes: what goes up, what came of it, what is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::frame::NumberedWrite;
use proto::ids::Revision;
use proto::names::Key;
use proto::op::{Outcome, Verdict, Write};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Done, Fault};
use crate::ledger::{Meta, number, optional, stored};
use crate::limits::DECODED_BYTES;
use crate::lost;
use crate::numbers::{pack, unpack};

/// A stretch of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxPart {
    /// In number order.
    pub writes: Vec<NumberedWrite>,
    /// Whether there is more behind it.
    pub more: bool,
}

/// Whether a write is about the system's collections alone.
pub(crate) fn is_system(write: &Write) -> bool {
    write.ops.iter().all(|op| op.collection.is_system())
}

/// Appends a write, with its encoded form. `prev` names, op by op, the write that lay over the record before (0: none).
pub(crate) fn append(conn: &Connection, meta: &mut Meta, new: u64, write: &Write, prev: &[u64], bytes: &[u8]) -> Done<()> {
    let mut statement =
        conn.prepare_cached("INSERT INTO writes (number, at_ms, prev, bytes, sum, system) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let system = is_system(write);
    statement.execute(params![stored(new), stored(write.at_ms), pack(prev.iter().copied()), bytes, sum(new, bytes), system])?;
    meta.newest = new;
    meta.outbox_writes += 1;
    meta.outbox_bytes += bytes.len() as u64;
    meta.system_bytes += if system { bytes.len() as u64 } else { 0 };
    Ok(())
}

/// By which a row is known to be whole: of its number and its bytes as they are stored.
pub(crate) fn sum(number: u64, bytes: &[u8]) -> [u8; 8] {
    let hash = proto::op::hash(&[&number.to_le_bytes(), bytes].concat());
    let mut short = [0; 8];
    short.copy_from_slice(&hash[..8]);
    short
}

/// What waits above a number, at least one write if there is any. Rejected writes whose outcome the cloud lost go up
/// as declared numbers, without content.
pub(crate) fn part(conn: &Connection, above: u64, max_bytes: usize) -> Done<OutboxPart> {
    let mut statement = conn.prepare_cached(
        "SELECT number, bytes, (SELECT declared FROM outcomes WHERE outcomes.number = writes.number), \
         (SELECT min(revision) FROM forks WHERE forks.number >= writes.number), hash FROM writes \
         WHERE number > max(?1, (SELECT answered FROM meta)) ORDER BY number",
    )?;
    let mut rows = statement.query([stored(above)])?;
    let mut part = OutboxPart::default();
    let mut room = max_bytes;
    while let Some(row) = rows.next()? {
        let fork = optional(row, 3)?.map(Revision);
        let write = match row.get::<_, Option<bool>>(2)? {
            Some(false) => continue,
            Some(true) => NumberedWrite { number: number(row, 0)?, bytes: Vec::new(), rejected: true, hash: None, fork, part: None },
            None => NumberedWrite { number: number(row, 0)?, bytes: row.get(1)?, rejected: false, hash: row.get(4)?, fork, part: None },
        };
        if write.bytes.len() > room && !part.writes.is_empty() {
            part.more = true;
            break;
        }
        room = room.saturating_sub(write.bytes.len().max(1));
        part.writes.push(write);
    }
    Ok(part)
}

/// The verdict of a write and the revision that it was decided at.
pub(crate) fn outcome_of(conn: &Connection, of: u64) -> Done<Option<(Verdict, Revision)>> {
    let mut statement = conn.prepare_cached("SELECT verdict, revision FROM outcomes WHERE number = ?1")?;
    let found = statement.query_row([stored(of)], |row| Ok((row.get::<_, i64>(0)?, number(row, 1)?))).optional()?;
    found.map(|(code, revision)| Ok((verdict(code)?, Revision(revision)))).transpose()
}

pub(crate) fn verdict(code: i64) -> Done<Verdict> {
    Ok(match code {
        0 => Verdict::Applied,
        1 => Verdict::Merged,
        2 => Verdict::Flagged,
        3 => Verdict::Rejected,
        4 => Verdict::Lost,
        _ => return Err(Fault::damaged("outcomes", format!("no verdict {code}"))),
    })
}

pub(crate) fn code(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Applied => 0,
        Verdict::Merged => 1,
        Verdict::Flagged => 2,
        Verdict::Rejected => 3,
        Verdict::Lost => 4,
    }
}

/// Whether its effect is nowhere.
pub(crate) fn without_effect(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Rejected | Verdict::Lost)
}

/// Stores an outcome. False: it was known, or it is about a number that was never given.
pub(crate) fn answer(conn: &Connection, meta: &mut Meta, of: u64, outcome: &Outcome, at_ms: u64) -> Done<bool> {
    if of == 0 || of > meta.newest {
        tracing::warn!(number = of, newest = meta.newest, "an outcome came for a write that this database does not have");
        return Ok(false);
    }
    let mut known = conn.prepare_cached("SELECT declared FROM outcomes WHERE number = ?1")?;
    match known.query_row([stored(of)], |row| row.get::<_, bool>(0)).optional()? {
        Some(false) => return Ok(false),
        Some(true) => {
            // Declared: it stays what it was, and now the cloud knows it again.
            let mut statement = conn.prepare_cached("UPDATE outcomes SET declared = 0, revision = ?2 WHERE number = ?1")?;
            statement.execute(params![stored(of), stored(outcome.revision.0)])?;
            meta.declared = meta.declared.saturating_sub(1);
        }
        None => {
            insert(conn, of, outcome, at_ms)?;
            move_out(conn, meta, of, outcome.verdict)?;
        }
    }
    advance(conn, meta)?;
    Ok(true)
}

fn insert(conn: &Connection, of: u64, outcome: &Outcome, at_ms: u64) -> Done<()> {
    let conflicts = if outcome.conflicts.is_empty() { None } else { Some(outcome.conflicts.join("\n")) };
    let mut statement = conn.prepare_cached(
        "INSERT INTO outcomes (number, verdict, revision, at_ms, code, detail, conflicts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let (revision, at_ms) = (stored(outcome.revision.0), stored(at_ms));
    statement.execute(params![stored(of), code(outcome.verdict), revision, at_ms, outcome.code, outcome.detail, conflicts])?;
    Ok(())
}

/// Moves a write's bytes from the outbox's account to that of what is kept.
fn move_out(conn: &Connection, meta: &mut Meta, of: u64, verdict: Verdict) -> Done<()> {
    let Some((bytes, system)) = length(conn, of)? else {
        // The number of a declared gap: only its outcome is kept, as long as that of a rejected write.
        meta.rejected_writes += u64::from(without_effect(verdict));
        return Ok(());
    };
    meta.outbox_writes = meta.outbox_writes.saturating_sub(1);
    meta.outbox_bytes = meta.outbox_bytes.saturating_sub(bytes);
    meta.system_bytes = meta.system_bytes.saturating_sub(system);
    if without_effect(verdict) {
        meta.rejected_writes += 1;
        meta.rejected_bytes += bytes;
    } else {
        meta.delivered_bytes += bytes;
    }
    Ok(())
}

/// How long a write is, and how much of that counts for the system's collections: all of it or nothing.
pub(crate) fn length(conn: &Connection, of: u64) -> Done<Option<(u64, u64)>> {
    let mut statement = conn.prepare_cached("SELECT length(bytes), length(bytes) * system FROM writes WHERE number = ?1")?;
    Ok(statement.query_row([stored(of)], |row| Ok((number(row, 0)?, number(row, 1)?))).optional()?)
}

/// Moves `answered` over every number that has its outcome or is lost; a declared one waits for it once more.
pub(crate) fn advance(conn: &Connection, meta: &mut Meta) -> Done<()> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM outcomes WHERE number = ?1 AND declared = 0")?;
    while meta.answered < meta.newest {
        if statement.exists([stored(meta.answered + 1)])? {
            meta.answered += 1;
        } else if let Some(last) = lost::behind(conn, meta.answered)? {
            meta.answered = last.min(meta.newest);
        } else {
            break;
        }
    }
    Ok(())
}

/// A write as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) write: Write,
    prev: Vec<u64>,
    size: usize,
}

/// Decoded writes, kept at hand inside one transaction up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    kept: BTreeMap<u64, Arc<Kept>>,
    bytes: usize,
}

impl Writes {
    pub(crate) fn get(&mut self, conn: &Connection, of: u64) -> Done<Option<Arc<Kept>>> {
        if let Some(kept) = self.kept.get(&of) {
            return Ok(Some(kept.clone()));
        }
        let mut statement = conn.prepare_cached("SELECT prev, bytes FROM writes WHERE number = ?1")?;
        let row = statement.query_row([stored(of)], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
        let Some((prev, bytes)) = row else { return Ok(None) };
        let write = Write::decode(&bytes).map_err(|error| Fault::damaged("a stored write", error))?;
        let kept = Arc::new(Kept { write, prev: unpack(&prev)?, size: bytes.len() });
        if self.bytes + kept.size > DECODED_BYTES {
            *self = Self::default();
        }
        self.bytes += kept.size;
        self.kept.insert(of, kept.clone());
        Ok(Some(kept))
    }

    /// The write that lay over a record before this one (0: none); none when this one is not there or not about it.
    pub(crate) fn before(&mut self, conn: &Connection, of: u64, collection: &str, key: &Key) -> Done<Option<u64>> {
        let Some(kept) = self.get(conn, of)? else { return Ok(None) };
        let place = kept.write.ops.iter().position(|op| !op.is_check() && op.key == *key && op.collection.as_str() == collection);
        Ok(place.and_then(|place| kept.prev.get(place).copied()).filter(|before| *before < of))
    }
}
