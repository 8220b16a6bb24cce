//! Writes that come in parts (`docs/decisions/0016-writes-in-parts.md`): what has come of one is kept, in the transaction before it is
//! said to be held, until the write is whole. Then it is judged like any other, in the transaction in which its last part came.

use proto::frame::{Held, NumberedWrite, Part};
use proto::op::Hash;
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted, limit, stored};
use super::job::Peer;
use super::refused::Refused;
use super::work::{JobError, Work};
use crate::limits::{PARTIAL_IDLE_MS, PARTIAL_KEPT_MS, PARTIAL_WRITES};

/// Parts that follow each other in one piece: each piece that is kept is a row.
pub(super) fn joined(writes: Vec<NumberedWrite>) -> Vec<NumberedWrite> {
    let mut all: Vec<NumberedWrite> = Vec::with_capacity(writes.len());
    for write in writes {
        match all.last_mut().zip(write.part.as_ref()) {
            Some((last, part)) if last.number == write.number && goes_on(last, part) => last.bytes.extend(write.bytes),
            _ => all.push(write),
        }
    }
    all
}

fn goes_on(last: &NumberedWrite, part: &Part) -> bool {
    last.part.is_some_and(|own| own.hash == part.hash && own.total == part.total && own.at + last.bytes.len() == part.at)
}

/// A row of `partial_writes`.
struct Partial {
    number: u64,
    hash: Hash,
    total: u64,
    held: u64,
}

fn partial(conn: &Connection, database: u32) -> Result<Option<Partial>, StoreError> {
    let row: Option<(i64, Hash, i64, i64)> = conn
        .prepare_cached("SELECT number, hash, total, held FROM partial_writes WHERE database = ?1")?
        .query_row([database], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    row.map(|(number, hash, total, held)| Ok(Partial { number: counted(number)?, hash, total: counted(total)?, held: counted(held)? }))
        .transpose()
}

/// What is held of the write that comes next; what is held of any other goes.
pub(super) fn held(conn: &Connection, database: u32, next: u64) -> Result<Option<Held>, StoreError> {
    let Some(own) = partial(conn, database)? else { return Ok(None) };
    if own.number != next {
        forget(conn, database)?;
        return Ok(None);
    }
    Ok(Some(Held { number: own.number, hash: own.hash, bytes: length(own.held)? }))
}

fn length(bytes: u64) -> Result<usize, StoreError> {
    usize::try_from(bytes).map_err(|_| StoreError::Damaged("a part of a write that no memory holds".to_owned()))
}

/// Whether what is kept ends where this part begins.
fn follows(conn: &Connection, database: u32, number: u64, part: &Part) -> Result<bool, StoreError> {
    let same = |own: Partial| own.number == number && own.hash == part.hash && own.total == part.total as u64 && own.held == part.at as u64;
    Ok(partial(conn, database)?.is_some_and(same))
}

/// Keeps a part. `None`: what comes before it is not here.
pub(super) fn keep(work: &Work<'_>, peer: Peer, write: &NumberedWrite, part: &Part) -> Result<Option<Held>, JobError> {
    let Peer { node, database } = peer;
    if part.at == 0 {
        begin(work, node)?;
    } else if !follows(work.conn, database, write.number, part)? {
        return Ok(None);
    }
    let held = part.at + write.bytes.len();
    work.conn.prepare_cached("INSERT INTO parts (database, at, bytes) VALUES (?1, ?2, ?3)")?.execute((
        database,
        stored(part.at as u64)?,
        &write.bytes,
    ))?;
    work.conn
        .prepare_cached(
            "INSERT INTO partial_writes (database, number, hash, total, held, touched_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (database) DO UPDATE SET held = excluded.held, touched_ms = excluded.touched_ms",
        )?
        .execute((database, stored(write.number)?, part.hash, stored(part.total as u64)?, stored(held as u64)?, stored(work.now_ms)?))?;
    Ok(Some(Held { number: write.number, hash: part.hash, bytes: held }))
}

/// The write whose last part this is. `None`: what was kept and this are not what the hash says, or it is not all here.
pub(super) fn whole(conn: &Connection, database: u32, write: &NumberedWrite, part: &Part) -> Result<Option<NumberedWrite>, StoreError> {
    let mut bytes = Vec::with_capacity(part.total);
    if part.at > 0 {
        if !follows(conn, database, write.number, part)? {
            return Ok(None);
        }
        let mut query = conn.prepare_cached("SELECT bytes FROM parts WHERE database = ?1 ORDER BY at")?;
        let mut rows = query.query([database])?;
        while let Some(row) = rows.next()? {
            bytes.extend_from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        }
    }
    bytes.extend_from_slice(&write.bytes);
    let same = bytes.len() == part.total && proto::op::hash(&bytes) == part.hash;
    Ok(same.then(|| NumberedWrite { bytes, part: None, ..write.without_bytes() }))
}

/// Another write begins, or the same one anew. What other databases of the node had begun goes: of a node one is kept.
fn begin(work: &Work<'_>, node: i64) -> Result<(), JobError> {
    let conn = work.conn;
    let own = "database IN (SELECT id FROM databases WHERE node = ?1)";
    for table in ["parts", "partial_writes"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE {own}"))?.execute([node])?;
    }
    let count: i64 = conn.prepare_cached("SELECT count(*) FROM partial_writes")?.query_row([], |row| row.get(0))?;
    if count < limit(PARTIAL_WRITES) {
        return Ok(());
    }
    // Whoever goes on keeps its place and comes to its end; whoever has not for a while gives way.
    let idle = stored(work.now_ms.saturating_sub(PARTIAL_IDLE_MS))?;
    let oldest: Option<u32> = conn
        .prepare_cached("SELECT database FROM partial_writes WHERE touched_ms < ?1 ORDER BY touched_ms, database LIMIT 1")?
        .query_row([idle], |row| row.get(0))
        .optional()?;
    match oldest {
        Some(database) => Ok(forget(conn, database)?),
        None => Err(Refused::TooManyParts.into()),
    }
}

/// What was kept for a database goes.
pub(super) fn forget(conn: &Connection, database: u32) -> Result<(), StoreError> {
    let gone = conn.prepare_cached("DELETE FROM partial_writes WHERE database = ?1")?.execute([database])?;
    if gone > 0 {
        conn.prepare_cached("DELETE FROM parts WHERE database = ?1")?.execute([database])?;
    }
    Ok(())
}

/// Forgets one that nobody went on with for long. Tells whether there was one.
pub(super) fn tidy(work: &Work<'_>) -> Result<bool, StoreError> {
    let before = stored(work.now_ms.saturating_sub(PARTIAL_KEPT_MS))?;
    let old: Option<u32> = work
        .conn
        .prepare_cached("SELECT database FROM partial_writes WHERE touched_ms < ?1 LIMIT 1")?
        .query_row([before], |row| row.get(0))
        .optional()?;
    old.map(|database| forget(work.conn, database)).transpose()?;
    Ok(old.is_some())
}
