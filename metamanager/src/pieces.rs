//! Large values come in pieces (`docs/decisions/0018-values-in-pieces.md`): what has come of one outlives the session, until the batch
//! that it belongs to is applied.

use proto::frame::{Batch, Held, Piece};
use proto::op::Hash;
use rusqlite::{Connection, OptionalExtension};

use crate::error::{ApplyError, Done};
use crate::ledger::stored;
use crate::store::Store;

impl Store {
    /// Keeps pieces of one value: `Ok` is durable. The first goes on where what is kept ends, or begins a value, in whose favour what is
    /// kept goes.
    pub fn keep_pieces(&mut self, pieces: &[Piece]) -> Result<Held, ApplyError> {
        if let Some(free) = self.disk_pause() {
            return Err(ApplyError::DiskLow { free });
        }
        let held = self.transaction(|tx| {
            for piece in pieces {
                keep(tx.conn, piece)?;
            }
            held(tx.conn)
        })?;
        // What did not go on is not there: so much is true all the same.
        held.ok_or(ApplyError::Pieces)
    }

    /// The batches with the values that came before them; none: they have all that they say.
    pub(crate) fn whole(&mut self, batches: &[Batch]) -> Result<Option<Vec<Batch>>, ApplyError> {
        if batches.iter().all(|batch| batch.pieces.is_none()) {
            return Ok(None);
        }
        let mut whole = batches.to_vec();
        for batch in &mut whole {
            let Some(hash) = batch.pieces.take() else { continue };
            let value = self.ask(|conn, _| value(conn, &hash))?;
            match (value, batch.missing_value()) {
                (Some(value), Some(missing)) => *missing = value,
                _ => {
                    self.transaction(|tx| clear(tx.conn))?;
                    return Err(ApplyError::Pieces);
                }
            }
        }
        Ok(Some(whole))
    }
}

fn keep(conn: &Connection, piece: &Piece) -> Done<()> {
    let part = &piece.part;
    if part.at == 0 {
        clear(conn)?;
    } else if held(conn)?.is_none_or(|held| held.hash != part.hash || held.bytes != part.at) {
        return Ok(());
    }
    let mut insert = conn.prepare_cached("INSERT INTO pieces (at, hash, bytes) VALUES (?1, ?2, ?3)")?;
    insert.execute((stored(part.at as u64), part.hash, &piece.bytes))?;
    Ok(())
}

/// What is kept.
pub(crate) fn held(conn: &Connection) -> Done<Option<Held>> {
    let row: Option<(Hash, i64)> = conn
        .prepare_cached("SELECT hash, at + length(bytes) FROM pieces ORDER BY at DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(hash, bytes)| Held { number: 0, hash, bytes: usize::try_from(bytes).unwrap_or(0) }))
}

/// The whole value, if that is what its hash says.
fn value(conn: &Connection, hash: &Hash) -> Done<Option<String>> {
    let mut query = conn.prepare_cached("SELECT bytes FROM pieces ORDER BY at")?;
    let mut rows = query.query([])?;
    let mut bytes = Vec::new();
    while let Some(row) = rows.next()? {
        bytes.extend(row.get::<_, Vec<u8>>(0)?);
    }
    Ok(String::from_utf8(bytes).ok().filter(|text| proto::op::hash(text.as_bytes()) == *hash))
}

/// What is kept goes: it was applied, or what it is of may not be held any more.
pub(crate) fn clear(conn: &Connection) -> Done<()> {
    conn.prepare_cached("DELETE FROM pieces")?.execute([])?;
    Ok(())
}
