//! Numbers of an outbox that will never come: the store was restored, and the node keeps them no longer (design §5). They
//! are passed over in their turn, and listed by id in an event.

use proto::frame::Hello;
use proto::ids::WriteId;
use rusqlite::Connection;

use super::error::{StoreError, counted, limit, stored};
use super::job::AdmitJob;
use super::nodes;
use super::work::Work;
use crate::limits::{EVENT_BYTES, LOST_RANGES};

/// Numbers from the first to the last.
type Range = (u64, u64);

/// Keeps what a Hello declares above `taken`, tells of it once, and gives the last number that is decided now.
pub(super) fn declare(work: &Work<'_>, node: i64, database: u32, taken: u64, job: &AdmitJob) -> Result<u64, StoreError> {
    let declared = ranges(&job.hello, taken);
    if declared.is_empty() {
        return Ok(taken);
    }
    let known = above(work.conn, database, taken)?;
    let new: Vec<Range> = declared.iter().filter(|range| known.binary_search(range).is_err()).copied().collect();
    // What is said last counts, so that no sequence of Hellos makes the table grow.
    work.conn.prepare_cached("DELETE FROM lost WHERE database = ?1 AND last > ?2")?.execute((database, stored(taken)?))?;
    for (first, last) in &declared {
        let mut insert = work.conn.prepare_cached("INSERT OR REPLACE INTO lost (database, first, last) VALUES (?1, ?2, ?3)")?;
        insert.execute((database, stored(*first)?, stored(*last)?))?;
    }
    tell(work, node, job, &new)?;
    work.conn
        .prepare_cached(
            "DELETE FROM lost WHERE database = ?1 AND last <= ?2
             AND first <= (SELECT first FROM lost WHERE database = ?1 ORDER BY first DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute((database, stored(taken)?, limit(LOST_RANGES)))?;
    let passed = next(&declared, taken) - 1;
    if passed > taken {
        work.conn.prepare_cached("UPDATE databases SET taken = ?2 WHERE id = ?1")?.execute((database, stored(passed)?))?;
    }
    Ok(passed)
}

/// What is declared above `taken`, in order and apart from each other.
fn ranges(hello: &Hello, taken: u64) -> Vec<Range> {
    let mut all: Vec<Range> = hello
        .gaps
        .iter()
        .map(|(first, last)| ((*first).max(taken + 1), (*last).min(hello.newest_write)))
        .filter(|(first, last)| first <= last)
        .collect();
    all.sort_unstable();
    all.dedup_by(|next, own| {
        let touches = next.0 <= own.1.saturating_add(1);
        if touches {
            own.1 = own.1.max(next.1);
        }
        touches
    });
    all
}

/// The ranges of a database above a number.
pub(super) fn above(conn: &Connection, database: u32, taken: u64) -> Result<Vec<Range>, StoreError> {
    conn.prepare_cached("SELECT first, last FROM lost WHERE database = ?1 AND last > ?2 ORDER BY first")?
        .query_map((database, stored(taken)?), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?
        .map(|row| {
            let (first, last) = row?;
            Ok((counted(first)?, counted(last)?))
        })
        .collect()
}

/// The number that comes after `taken`.
pub(super) fn next(lost: &[Range], taken: u64) -> u64 {
    lost.iter().fold(taken + 1, |next, (first, last)| if *first <= next && *last >= next { last + 1 } else { next })
}

/// Lists all of them by id, in as many events as that takes.
fn tell(work: &Work<'_>, node: i64, job: &AdmitJob, new: &[Range]) -> Result<(), StoreError> {
    let count: u64 = new.iter().map(|(first, last)| last - first + 1).sum();
    let begin = format!("{count} writes were decided before an older copy of the store was put back, and the node keeps them no longer: ");
    let mut detail = String::new();
    for (first, last) in new {
        let mut text = WriteId::edge(&job.node, &job.hello.database, *first).to_string();
        if last > first {
            text.push_str(&format!(" to {last}"));
        }
        if !detail.is_empty() && begin.len() + detail.len() + text.len() + 2 > EVENT_BYTES {
            nodes::event(work, node, "writes_lost", &format!("{begin}{detail}"))?;
            detail.clear();
        }
        if !detail.is_empty() {
            detail.push_str(", ");
        }
        detail.push_str(&text);
    }
    if detail.is_empty() { Ok(()) } else { nodes::event(work, node, "writes_lost", &format!("{begin}{detail}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_passed_over_in_its_turn() {
        let lost = [(3, 5), (6, 6), (9, 20)];
        let after = |taken| next(&lost, taken);
        assert_eq!([after(0), after(1), after(2), after(4), after(6), after(7), after(8), after(20)], [1, 2, 7, 7, 7, 8, 21, 21]);
        assert_eq!(next(&[], 7), 8);
    }
}
