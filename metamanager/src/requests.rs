//! Requests that had an `Idempotency-Key`: which write answers each, so that a request which is made again has no second
//! effect and hears the same (docs/interfaces.md). The newest [`REQUESTS_KEPT`] are kept, in their order; clocks have no say.

use proto::ids::Revision;
use proto::op::{Body, Hash, Idempotency, Op, Verdict, Write, hash};
use proto::repeat::{self, Did};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Done, Fault, Refusal, WriteError};
use crate::group::Group;
use crate::ledger::{number, optional, stored};
use crate::limits::{REQUESTS_KEPT, REQUESTS_STEP};
use crate::local::{Committed, LocalRequest, LocalWrite, Place, WriteRef};
use crate::outbox;
use crate::store::Tx;

/// A request that was answered with 2xx.
#[derive(Debug)]
pub(crate) struct Known {
    request: Hash,
    write: WriteRef,
    at_ms: u64,
    told: Vec<u8>,
    /// What became of the write, once it is no longer kept.
    verdict: Option<Verdict>,
}

/// Bytes of a key by which the index is in its order.
const ORDERED: usize = 16;

/// Where a key stands in the index: its beginning, then its hash. Keys that rise, as times and UUIDv7 do, fall on the page that
/// was written last; keys in no order cost a page of the index each.
fn place(key: &str) -> [u8; ORDERED + size_of::<Hash>()] {
    let mut place = [0; ORDERED + size_of::<Hash>()];
    key.bytes().zip(&mut place[..ORDERED]).for_each(|(byte, at)| *at = byte);
    place[ORDERED..].copy_from_slice(&hash(key.as_bytes()));
    place
}

/// The request under this key.
pub(crate) fn find(conn: &Connection, key: &str) -> Done<Option<Known>> {
    let mut statement = conn.prepare_cached("SELECT request, number, writer, at_ms, told, verdict FROM requests WHERE key = ?1")?;
    let mut rows = statement.query([place(key)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let write = match (optional(row, 1)?, row.get(2)?) {
        (Some(number), _) => WriteRef::Own(number),
        (None, Some(id)) => WriteRef::Known(id),
        (None, None) => return Err(Fault::damaged("requests", "a row names no write")),
    };
    let verdict = row.get::<_, Option<i64>>(5)?.map(outbox::verdict).transpose()?;
    Ok(Some(Known { request: row.get(0)?, write, at_ms: number(row, 3)?, told: row.get(4)?, verdict }))
}

/// Remembers a request with the write that answers it; part of the transaction that commits the write.
pub(crate) fn keep(
    conn: &Connection,
    named: &Idempotency,
    write: &WriteRef,
    verdict: Option<Verdict>,
    at_ms: u64,
    told: &[u8],
) -> Done<()> {
    let (own, writer) = match write {
        WriteRef::Own(number) => (Some(stored(*number)), None),
        WriteRef::Known(id) => (None, Some(id)),
    };
    let verdict = verdict.map(outbox::code);
    let mut statement = conn
        .prepare_cached("INSERT INTO requests (key, request, number, writer, at_ms, told, verdict) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    statement.execute(params![place(&named.key), named.request, own, writer, stored(at_ms), told, verdict])?;
    let seq = conn.last_insert_rowid();
    if seq % REQUESTS_STEP == 0 {
        conn.prepare_cached("DELETE FROM requests WHERE seq <= ?1")?.execute([seq - REQUESTS_KEPT])?;
    }
    Ok(())
}

/// What is known of the first write of an append that came again under a new name: its record is the proof that it was
/// applied, where the write itself is no longer kept.
pub(crate) fn first_verdict(conn: &Connection, first: &WriteRef) -> Done<Option<Verdict>> {
    Ok(match first {
        WriteRef::Own(number) if outbox::length(conn, *number)?.is_some() => None,
        _ => Some(Verdict::Applied),
    })
}

/// A write is no longer kept: what became of it goes on to answer its request.
pub(crate) fn outlive(conn: &Connection, write: u64, verdict: Verdict) -> Done<()> {
    let mut statement = conn.prepare_cached("UPDATE requests SET verdict = ?2 WHERE number = ?1")?;
    statement.execute(params![stored(write), outbox::code(verdict)])?;
    Ok(())
}

/// What is told about a write's records.
pub(crate) fn told(requests: &[LocalRequest], places: &[Place]) -> Vec<u8> {
    if requests.len() != places.len() {
        // What it became in the end, its ops tell.
        return Vec::new();
    }
    let own = |(place, asked): (&'_ Place, &LocalRequest)| (place.did, asked.own_key.then(|| place.key.clone()));
    let all: Vec<_> = places.iter().zip(requests).map(own).collect();
    repeat::pack(all.iter().map(|(did, key)| (*did, key.as_ref())))
}

/// Answers a request that was made before: with its write, and its records as they are now.
pub(crate) fn answer(tx: &Tx<'_>, group: &mut Group, write: &LocalWrite, known: Known) -> Done<Result<Committed, WriteError>> {
    if write.idempotency.as_ref().is_none_or(|named| named.request != known.request) {
        let write = match &known.write {
            WriteRef::Own(number) => tx.own.spell(*number),
            WriteRef::Known(id) => id.clone(),
        };
        return Ok(Err(Refusal::KeyReused { write }.into()));
    }
    let places = places(tx, write, &known)?;
    let results = group.results(tx, &places)?;
    Ok(Ok(Committed { write: known.write, repeat: true, at_ms: known.at_ms, kept_verdict: known.verdict, results }))
}

/// Where the records are that the first answer named.
fn places(tx: &Tx<'_>, write: &LocalWrite, known: &Known) -> Done<Vec<Place>> {
    let found = |name: &proto::names::CollectionName, key: proto::names::Key, did| {
        // Nothing is under -1: a collection that is gone shows no record.
        let collection = tx.ledger.collections.get(name).map_or(-1, |collection| collection.id);
        Place { collection, name: name.clone(), key, did }
    };
    let told = repeat::unpack(&known.told).ok_or_else(|| Fault::damaged("requests", "an answer cannot be read"))?;
    if !told.is_empty() && told.len() == write.requests.len() {
        let one = |(asked, told): (&LocalRequest, repeat::Told)| {
            found(&asked.request.collection, told.key.unwrap_or_else(|| asked.request.key.clone()), told.did)
        };
        return Ok(write.requests.iter().zip(told).map(one).collect());
    }
    // It was sent again, resolved a conflict, or was saved from a damaged file: its ops say it, while they are kept.
    let WriteRef::Own(number) = known.write else { return Ok(Vec::new()) };
    let mut statement = tx.conn.prepare_cached("SELECT bytes FROM writes WHERE number = ?1")?;
    let bytes: Option<Vec<u8>> = statement.query_row([stored(number)], |row| row.get(0)).optional()?;
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let kept = Write::decode(&bytes).map_err(|error| Fault::damaged("a stored write", error))?;
    Ok(kept.ops.iter().map(|op| found(&op.collection, op.key.clone(), did(op))).collect())
}

fn did(op: &Op) -> Did {
    match op.body {
        Body::Put(_) => Did::Created,
        Body::Merge(_) if op.seen == Revision::ZERO => Did::Created,
        Body::Merge(_) | Body::Increment(_) => Did::Changed,
        Body::Delete { .. } => Did::Deleted,
        Body::Check(_) => Did::Checked,
    }
}

/// Takes over what a damaged file remembers: of the writes that were saved, and whatever else of it can be read.
pub(crate) fn salvage(from: &Connection, into: &Connection) {
    let copy = || -> Done<()> {
        let mut query = from.prepare("SELECT key, request, number, writer, at_ms, told, verdict FROM requests ORDER BY seq")?;
        let mut insert = into.prepare(
            "INSERT OR IGNORE INTO requests (key, request, number, writer, at_ms, told, verdict) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..7).map(|place| row.get::<_, rusqlite::types::Value>(place)).collect::<Result<Vec<_>, _>>()?;
            insert.execute(rusqlite::params_from_iter(values))?;
        }
        Ok(())
    };
    if let Err(error) = copy() {
        tracing::warn!(?error, "some Idempotency-Keys cannot be read; the cloud knows the newest of them too");
    }
}

/// A number that is given out anew names no old request.
pub(crate) fn forget_above(into: &Connection, newest: u64) -> Done<()> {
    into.execute("DELETE FROM requests WHERE number > ?1", [stored(newest)])?;
    Ok(())
}

/// A write that was saved names its own request; it is whole, where the table may not be.
pub(crate) fn salvage_write(into: &Connection, of: u64, write: &Write) -> Done<()> {
    let Some(named) = &write.idempotency else { return Ok(()) };
    let mut insert = into.prepare_cached(
        "INSERT INTO requests (key, request, number, at_ms, told) VALUES (?1, ?2, ?3, ?4, x'') \
         ON CONFLICT (key) DO UPDATE SET request = excluded.request, number = excluded.number",
    )?;
    insert.execute(params![place(&named.key), named.request, stored(of), stored(write.at_ms)])?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_by_number() {
        let mut conn = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut conn, 0).unwrap();
        let named = |n: u64| Idempotency { key: format!("k{n}"), request: [0; 16] };
        let put = |n: u64, at_ms| keep(&conn, &named(n), &WriteRef::Own(n), None, at_ms, &[1]).unwrap();
        let known = |n: u64| find(&conn, &named(n).key).unwrap().is_some();
        // Clocks that jump ten years to and fro say nothing about age.
        put(1, 315_576_000_000);
        put(2, 0);
        let step = REQUESTS_KEPT / REQUESTS_STEP + 1;
        conn.execute("UPDATE requests SET seq = ?1 WHERE seq = 2", [step * REQUESTS_STEP - 1]).unwrap();
        assert!(known(1) && known(2));
        put(3, 1);
        assert!(!known(1));
        assert!(known(2) && known(3));
    }
}
