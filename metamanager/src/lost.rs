//! Numbers that can never come: the cloud lost them when its store was restored, and they were delivered longer ago than
//! they are kept here (docs/design.md §5). They end `lost`, are declared in every Hello, and stay listed by id.

use proto::clock::Hlc;
use proto::ids::Revision;
use proto::limits::HELLO_LIST;
use proto::op::{Outcome, Verdict, Write};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Done;
use crate::history::{WriteRow, WriteState, WritesPage};
use crate::ledger::{number, stored};
use crate::limits::{LOST_RANGES, REJECTED_KEPT};
use crate::store::Tx;

/// Numbers from the first to the last.
type Range = (u64, u64);

/// Finds and keeps the numbers above `taken` whose writes are gone. Tells how many were not known to be.
pub(crate) fn find(tx: &Tx<'_>, taken: u64, at_ms: u64) -> Done<u64> {
    trim(tx.conn, tx.ledger.meta.answered, at_ms)?;
    let meta = &tx.ledger.meta;
    // Where the counts agree nothing is scanned.
    if meta.newest.saturating_sub(taken) == meta.outbox_writes + meta.declared {
        return Ok(0);
    }
    let mut count = 0;
    for (first, last) in missing(tx.conn, taken, meta.newest)? {
        let mut statement = tx.conn.prepare_cached("INSERT INTO lost (first, last, at_ms) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![stored(first), stored(last), stored(at_ms)])?;
        count += last - first + 1;
    }
    Ok(count)
}

/// Ranges above a number without a write that are not known to be lost.
pub(crate) fn missing(conn: &Connection, above: u64, newest: u64) -> Done<Vec<Range>> {
    let mut statement = conn
        .prepare("SELECT number, number FROM writes WHERE number > ?1 UNION ALL SELECT first, last FROM lost WHERE last > ?1 ORDER BY 1")?;
    let mut rows = statement.query([stored(above)])?;
    let (mut found, mut next) = (Vec::new(), above + 1);
    while let Some(row) = rows.next()? {
        let (first, last) = (number(row, 0)?, number(row, 1)?);
        if first > next {
            found.push((next, first - 1));
        }
        next = next.max(last + 1);
    }
    if next <= newest {
        found.push((next, newest));
    }
    Ok(found)
}

/// Old ranges go when they are answered: their rejected neighbours go then too.
fn trim(conn: &Connection, answered: u64, now_ms: u64) -> Done<()> {
    let old = now_ms.saturating_sub(u64::try_from(REJECTED_KEPT.as_millis()).unwrap_or(u64::MAX));
    let mut statement = conn.prepare_cached(
        "DELETE FROM lost WHERE last <= ?1 AND (at_ms < ?2 OR first <= (SELECT first FROM lost ORDER BY first DESC LIMIT 1 OFFSET ?3))",
    )?;
    statement.execute(params![stored(answered), stored(old), LOST_RANGES as i64])?;
    Ok(())
}

/// What Hello declares: the newest ranges. Those that the cloud has passed do no harm.
pub(crate) fn declared(conn: &Connection) -> Done<Vec<Range>> {
    let mut statement = conn.prepare_cached("SELECT first, last FROM (SELECT * FROM lost ORDER BY first DESC LIMIT ?1) ORDER BY first")?;
    let rows = statement.query_map([HELLO_LIST as i64], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The last number of the range that begins right behind `answered`.
pub(crate) fn behind(conn: &Connection, answered: u64) -> Done<Option<u64>> {
    let mut statement = conn.prepare_cached("SELECT last FROM lost WHERE first <= ?1 AND last >= ?1")?;
    Ok(statement.query_row([stored(answered + 1)], |row| number(row, 0)).optional()?)
}

/// A lost write, for people.
pub(crate) fn row(conn: &Connection, of: u64) -> Done<Option<WriteRow>> {
    let mut statement = conn.prepare_cached("SELECT at_ms FROM lost WHERE first <= ?1 AND last >= ?1")?;
    let at_ms = statement.query_row([stored(of)], |row| number(row, 0)).optional()?;
    Ok(at_ms.map(|at_ms| shown(of, at_ms)))
}

fn shown(number: u64, at_ms: u64) -> WriteRow {
    let detail =
        "the cloud's store was restored to a time before it took this write, which was delivered longer ago than writes are kept here";
    let outcome =
        Outcome { verdict: Verdict::Lost, revision: Revision::ZERO, code: None, detail: Some(detail.to_owned()), conflicts: Vec::new() };
    let write = Write { hlc: Hlc(0), at_ms, actor: None, request_id: None, idempotency: None, ops: Vec::new() };
    WriteRow { number, state: WriteState::Answered(Verdict::Lost), at_ms, outcome: Some(outcome), write, resent: None }
}

/// Adds the lost numbers to a page of writes whose outcome is `lost`.
pub(crate) fn fill_page(conn: &Connection, page: &mut WritesPage, after: u64, limit: usize) -> Done<()> {
    let end = page.next.unwrap_or(u64::MAX);
    let mut statement = conn.prepare_cached("SELECT first, last, at_ms FROM lost WHERE last > ?1 ORDER BY first")?;
    let mut rows = statement.query([stored(after)])?;
    let mut added = 0;
    'ranges: while let Some(row) = rows.next()? {
        let (first, last, at_ms) = (number(row, 0)?, number(row, 1)?, number(row, 2)?);
        for lost in first.max(after + 1)..=last.min(end) {
            page.writes.push(shown(lost, at_ms));
            added += 1;
            if added > limit {
                break 'ranges;
            }
        }
    }
    page.writes.sort_by_key(|write| write.number);
    if page.writes.len() > limit {
        page.writes.truncate(limit);
        page.next = page.writes.last().map(|write| write.number);
    }
    Ok(())
}
