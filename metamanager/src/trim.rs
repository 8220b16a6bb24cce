//! What was delivered or rejected is kept for a while (docs/design.md §4, §5), and removed in small steps inside
//! ordinary commits.

use proto::op::Verdict;
use rusqlite::{Connection, params};

use crate::error::Done;
use crate::ledger::{Meta, number, stored};
use crate::limits::{DELIVERED_BYTES, DELIVERED_KEPT, REJECTED_KEPT};
use crate::outbox::{self, without_effect};
use crate::requests;

/// One step: at most `rows` writes of either kind whose time is over. The bound on bytes holds whatever that takes: one
/// commit may bring many more outcomes than a step removes. `now_ms` is the cloud's time: where that is not known, no time is over.
pub(crate) fn step(conn: &Connection, meta: &mut Meta, now_ms: Option<u64>, rows: usize) -> Done<()> {
    if meta.delivered_bytes > 0 {
        delivered(conn, meta, now_ms, rows)?;
        while meta.delivered_bytes > DELIVERED_BYTES && delivered(conn, meta, now_ms, rows)? {}
    }
    let mut left = rows;
    while left > 0 && meta.rejected_writes > 0 && now_ms.is_some() && rejected(conn, meta, now_ms)? {
        left -= 1;
    }
    Ok(())
}

/// Removes the oldest rejected write, to make room. False: there is none that may go.
pub(crate) fn oldest_rejected(conn: &Connection, meta: &mut Meta) -> Done<bool> {
    if meta.rejected_writes == 0 { Ok(false) } else { rejected(conn, meta, None) }
}

/// An answered write near the trimming mark.
struct Old {
    number: u64,
    verdict: Verdict,
    revision: u64,
    at_ms: u64,
}

/// Removes the oldest delivered writes that may go; whether it came further.
fn delivered(conn: &Connection, meta: &mut Meta, now_ms: Option<u64>, rows: usize) -> Done<bool> {
    let before = meta.trimmed;
    for old in after(conn, meta.trimmed, rows)? {
        // A write whose op may still be laid, or that goes up again, is not old.
        if old.number > meta.answered || old.revision > meta.reached.0 {
            break;
        }
        if !without_effect(old.verdict) {
            if !now_ms.is_some_and(|now_ms| expired(old.at_ms, now_ms, DELIVERED_KEPT)) && meta.delivered_bytes <= DELIVERED_BYTES {
                break;
            }
            meta.delivered_bytes = meta.delivered_bytes.saturating_sub(remove(conn, old.number, old.verdict)?);
        }
        meta.trimmed = old.number;
    }
    Ok(meta.trimmed > before)
}

fn expired(at_ms: u64, now_ms: u64, kept: std::time::Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) > kept.as_millis()
}

fn after(conn: &Connection, trimmed: u64, rows: usize) -> Done<Vec<Old>> {
    let mut statement =
        conn.prepare_cached("SELECT number, verdict, revision, at_ms FROM outcomes WHERE number > ?1 ORDER BY number LIMIT ?2")?;
    let mut rows = statement.query(params![stored(trimmed), rows as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let verdict = outbox::verdict(row.get(1)?)?;
        found.push(Old { number: number(row, 0)?, verdict, revision: number(row, 2)?, at_ms: number(row, 3)? });
    }
    Ok(found)
}

/// Removes the oldest rejected (or lost) write when it is due, or whatever its age without `now_ms`.
fn rejected(conn: &Connection, meta: &mut Meta, now_ms: Option<u64>) -> Done<bool> {
    for verdict in [Verdict::Rejected, Verdict::Lost] {
        let mut statement = conn
            .prepare_cached("SELECT number, revision, at_ms FROM outcomes WHERE verdict = ?1 AND number <= ?2 ORDER BY number LIMIT 1")?;
        let mut rows = statement.query(params![outbox::code(verdict), stored(meta.answered)])?;
        let Some(row) = rows.next()? else { continue };
        let (old, revision, at_ms) = (number(row, 0)?, number(row, 1)?, number(row, 2)?);
        drop(rows);
        let due = now_ms.is_none_or(|now_ms| expired(at_ms, now_ms, REJECTED_KEPT));
        if due && revision <= meta.reached.0 {
            meta.rejected_bytes = meta.rejected_bytes.saturating_sub(remove(conn, old, verdict)?);
            meta.rejected_writes -= 1;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes a write and its outcome; tells how many bytes it had.
pub(crate) fn remove(conn: &Connection, old: u64, verdict: Verdict) -> Done<u64> {
    let (bytes, _) = outbox::length(conn, old)?.unwrap_or_default();
    conn.prepare_cached("DELETE FROM writes WHERE number = ?1")?.execute([stored(old)])?;
    conn.prepare_cached("DELETE FROM outcomes WHERE number = ?1")?.execute([stored(old)])?;
    requests::outlive(conn, old, verdict)?;
    Ok(bytes)
}
