//! Housekeeping in bounded steps, between group commits: what may go because nobody can ask for it any more.

use proto::ids::{Revision, WriteId};

use super::apply::By;
use super::compact;
use super::conflicts;
use super::error::{StoreError, limit, stored};
use super::parts;
use super::work::Work;
use crate::limits::{CLOSED_CONFLICT_MS, CLOUD_WRITES, TIDY_ROWS, WRITES_PER_DATABASE};

/// How long a token that cannot be used any more is kept, milliseconds: its holder is told that it expired.
const TOKEN_GRACE_MS: u64 = 86_400_000;

/// Databases that were used within this time are looked at for writes to remove, milliseconds.
const LATELY_MS: u64 = 7 * 86_400_000;

/// One step. Tells whether there is more to do.
pub(super) fn step(work: &mut Work<'_>) -> Result<bool, StoreError> {
    let doomed = doomed(work)?;
    let closed = closed_conflicts(work)?;
    let writes = cloud_writes(work)?;
    let acknowledged = acknowledged_writes(work)?;
    let partial = parts::tidy(work)?;
    let old = compact::step(work)?;
    for table in ["join_tokens", "access_tokens"] {
        work.conn
            .prepare_cached(&format!("DELETE FROM {table} WHERE expires_ms < ?1"))?
            .execute([stored(work.now_ms.saturating_sub(TOKEN_GRACE_MS))?])?;
    }
    Ok(doomed || closed || writes || acknowledged || partial || old)
}

/// Records and exit markers of deleted collections.
fn doomed(work: &Work<'_>) -> Result<bool, StoreError> {
    let mut all = work.conn.prepare_cached("SELECT collection FROM doomed ORDER BY collection LIMIT 1")?;
    let Some(collection) = all.query_map([], |row| row.get::<_, i64>(0))?.next().transpose()? else { return Ok(false) };
    let mut gone = 0;
    for statement in [
        "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE collection = ?1 LIMIT ?2)",
        "DELETE FROM exits WHERE collection = ?1 AND (share, key) IN (SELECT share, key FROM exits WHERE collection = ?1 LIMIT ?2)",
    ] {
        gone += work.conn.prepare_cached(statement)?.execute((collection, limit(TIDY_ROWS)))?;
    }
    if gone == 0 {
        work.conn.prepare_cached("DELETE FROM doomed WHERE collection = ?1")?.execute([collection])?;
    }
    Ok(true)
}

/// Conflict rows that were settled long ago. Nodes hold them too, so each leaves a tombstone.
fn closed_conflicts(work: &mut Work<'_>) -> Result<bool, StoreError> {
    let before = stored(work.now_ms.saturating_sub(CLOSED_CONFLICT_MS))?;
    let old: Vec<String> = work
        .conn
        .prepare_cached("SELECT id FROM conflicts WHERE state <> 'open' AND changed_ms < ?1 LIMIT ?2")?
        .query_map((before, limit(TIDY_ROWS)), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if old.is_empty() {
        return Ok(false);
    }
    let revision = work.head + 1;
    let by = By { writer: WriteId::Cloud(Revision(revision)).to_string(), actor: None, node: 0, revision };
    for id in &old {
        conflicts::remove(work, id, &by)?;
    }
    work.head = revision;
    Ok(old.len() == TIDY_ROWS)
}

/// Old writes of the cloud's API.
fn cloud_writes(work: &Work<'_>) -> Result<bool, StoreError> {
    let gone = work
        .conn
        .prepare_cached(
            "DELETE FROM writes WHERE revision IN (SELECT revision FROM writes WHERE database = 0 ORDER BY revision DESC LIMIT ?1 OFFSET ?2)",
        )?
        .execute((limit(TIDY_ROWS), stored(CLOUD_WRITES)?))?;
    Ok(gone == TIDY_ROWS)
}

/// Old writes of databases that took part lately: where the last ACKs came after the last write, nothing else removes
/// what they freed.
fn acknowledged_writes(work: &Work<'_>) -> Result<bool, StoreError> {
    let gone = work
        .conn
        .prepare_cached(
            "DELETE FROM writes WHERE revision IN (SELECT w.revision FROM databases d CROSS JOIN writes w
             WHERE d.last_used_ms >= ?1 AND w.database = d.id AND w.number <= d.taken - ?2 AND w.revision <= d.acked LIMIT ?3)",
        )?
        .execute((stored(work.now_ms.saturating_sub(LATELY_MS))?, stored(WRITES_PER_DATABASE)?, limit(TIDY_ROWS)))?;
    Ok(gone == TIDY_ROWS)
}
