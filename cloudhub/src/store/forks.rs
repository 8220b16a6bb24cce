//! How far a node and this store have one history (design §5, copies and restores): both keep the list of epochs, and the
//! end of the last one that both have is where their histories part.

use proto::frame::Hello;
use proto::ids::{Epoch, Position, Revision};
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted};

/// Where they part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fork {
    /// The last revision that both have in common; 0: there is none.
    pub(super) end: Revision,
    /// The node knows what this store never had. Else the store was only started again, as far as it can tell: the node
    /// may still hold single records above the end, and looks.
    pub(super) passed: bool,
}

/// The fork of a Hello; none where all that the node can hold is of this store.
pub(super) fn of(conn: &Connection, head: u64, hello: &Hello) -> Result<Option<Fork>, StoreError> {
    let Some(cursor) = &hello.cursor else { return Ok(None) };
    let known = place(conn, cursor.epoch)?.is_some();
    let mut after: Option<u64> = None;
    for start in hello.epochs.iter().rev() {
        if let Some(seq) = place(conn, start.epoch)? {
            let next = next_first(conn, seq)?;
            // Either side may have gone on in this epoch for longer than the other knows.
            let end = next.unwrap_or(head + 1).min(after.unwrap_or(u64::MAX)).saturating_sub(1);
            let passed = !known || after.is_some() || cursor.position > Position::at(Revision(end));
            return Ok((passed || next.is_some()).then_some(Fork { end: Revision(end), passed }));
        }
        after = Some(start.first.0);
    }
    Ok(Some(Fork { end: Revision::ZERO, passed: true }))
}

fn place(conn: &Connection, epoch: Epoch) -> Result<Option<i64>, StoreError> {
    Ok(conn
        .prepare_cached("SELECT seq FROM epochs WHERE epoch = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([epoch.0.cast_signed()], |row| row.get(0))
        .optional()?)
}

/// Where the epoch after this one begins.
fn next_first(conn: &Connection, seq: i64) -> Result<Option<u64>, StoreError> {
    let first: Option<i64> = conn
        .prepare_cached("SELECT first FROM epochs WHERE seq > ?1 ORDER BY seq LIMIT 1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    first.map(counted).transpose()
}
