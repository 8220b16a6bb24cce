//! Records that could not be stored: put aside, so that one of them stops nothing. What was there of such a record stays
//! readable, and it counts as held: by what the cloud sent, not by what is still there.

use proto::digest::{RangeSet, range_of};
use proto::frame::{Record, Share};
use proto::ids::Revision;
use proto::names::Key;
use proto::op::Hash;
use rusqlite::params;

use crate::base;
use crate::digests::stored_hash;
use crate::error::Done;
use crate::ledger::stored;
use crate::store::Tx;

/// Puts a record aside.
pub(crate) fn put(tx: &mut Tx<'_>, record: &Record, hash: &Hash, why: &str, at_ms: u64) -> Done<()> {
    let (collection, key) = (record.collection.as_str(), record.key.as_str());
    release(tx, collection, key, None)?;
    let granted = tx.ledger.granted(collection, record.partition.as_deref()).map(|place| tx.ledger.grants[place].id);
    let hash = granted.map(|_| hash);
    let mut statement = tx
        .conn
        .prepare_cached("INSERT INTO blocked (collection, key, share, revision, at_ms, why, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    statement.execute(params![collection, key, record.partition, stored(record.revision.0), stored(at_ms), why, hash])?;
    tx.ledger.blocked += 1;
    if let Some(granted) = granted {
        tx.ledger.digests.add(granted, hash);
    }
    if let Some(collection) = tx.ledger.collections.get(&record.collection).map(|collection| collection.id) {
        base::uncount(tx.conn, &mut tx.ledger.digests, collection, &record.key)?;
    }
    Ok(())
}

/// A record was stored or is gone at `at`: this version and older ones are not blocked any more. Where something newer stays
/// blocked, the row does not count. None: whatever its revision.
pub(crate) fn follow(tx: &mut Tx<'_>, collection: i64, record: &Record, at: Option<Revision>) -> Done<()> {
    if tx.ledger.blocked == 0 {
        return Ok(());
    }
    let (name, key) = (record.collection.as_str(), &record.key);
    release(tx, name, key.as_str(), at)?;
    if is(tx, name, key)? { base::uncount(tx.conn, &mut tx.ledger.digests, collection, key) } else { Ok(()) }
}

fn is(tx: &Tx<'_>, collection: &str, key: &Key) -> Done<bool> {
    Ok(tx.conn.prepare_cached("SELECT 1 FROM blocked WHERE collection = ?1 AND key = ?2")?.exists(params![collection, key.as_str()])?)
}

fn release(tx: &mut Tx<'_>, collection: &str, key: &str, up_to: Option<Revision>) -> Done<()> {
    if tx.ledger.blocked == 0 {
        return Ok(());
    }
    let sql = "DELETE FROM blocked WHERE collection = ?1 AND key = ?2 AND (?3 IS NULL OR revision <= ?3) RETURNING share, hash";
    let mut statement = tx.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![collection, key, up_to.map(|up_to| stored(up_to.0))])?;
    let Some(row) = rows.next()? else { return Ok(()) };
    let (share, hash) = (row.get::<_, Option<String>>(0)?, stored_hash(row, 1));
    tx.ledger.blocked = tx.ledger.blocked.saturating_sub(1);
    if let Some(place) = tx.ledger.granted(collection, share.as_deref()) {
        let granted = tx.ledger.grants[place].id;
        tx.ledger.digests.remove(granted, hash.as_ref());
    }
    Ok(())
}

/// A share is filled again, in some ranges of its keys or in all: what is blocked of it stays shown, and counts when it has
/// come again.
pub(crate) fn expect_again(tx: &mut Tx<'_>, granted: i64, share: &Share, ranges: Option<&RangeSet>) -> Done<()> {
    for (key, hash) in of(tx, share)? {
        if ranges.is_none_or(|ranges| ranges.contains(range_of(&key))) {
            let mut statement = tx.conn.prepare_cached("UPDATE blocked SET hash = NULL WHERE collection = ?1 AND key = ?2")?;
            statement.execute(params![share.collection.as_str(), key])?;
            tx.ledger.digests.remove(granted, hash.as_ref());
        }
    }
    Ok(())
}

/// The fill is done: what did not come again is not there any more.
pub(crate) fn forget_unseen(tx: &mut Tx<'_>, share: &Share) -> Done<()> {
    for (key, hash) in of(tx, share)? {
        if hash.is_none() {
            release(tx, share.collection.as_str(), &key, None)?;
        }
    }
    Ok(())
}

/// What came above a revision is of a history that is lost.
pub(crate) fn forget_above(tx: &mut Tx<'_>, revision: Revision) -> Done<()> {
    let mut statement = tx.conn.prepare("SELECT collection, key FROM blocked WHERE revision > ?1")?;
    let rows = statement.query_map([stored(revision.0)], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for (collection, key) in rows.collect::<Result<Vec<_>, _>>()? {
        release(tx, &collection, &key, None)?;
    }
    Ok(())
}

/// The share is gone, and what is blocked of it. Returns the keys.
pub(crate) fn forget(tx: &mut Tx<'_>, share: &Share) -> Done<Vec<String>> {
    let keys: Vec<String> = of(tx, share)?.into_iter().map(|(key, _)| key).collect();
    for key in &keys {
        release(tx, share.collection.as_str(), key, None)?;
    }
    Ok(keys)
}

/// What is blocked of a share, by key.
fn of(tx: &Tx<'_>, share: &Share) -> Done<Vec<(String, Option<Hash>)>> {
    if tx.ledger.blocked == 0 {
        return Ok(Vec::new());
    }
    let mut statement = tx.conn.prepare_cached("SELECT key, hash FROM blocked WHERE collection = ?1 AND share IS ?2")?;
    let rows = statement.query_map(params![share.collection.as_str(), share.partition], |row| Ok((row.get(0)?, stored_hash(row, 1))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
