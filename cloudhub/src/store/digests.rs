//! Digests of the partitions (design §5): what a partition holds, as a count and a sum, kept with every change of a record
//! so that a scan reads one row for each grant; and the sums by range of keys, read when a node's digest differs.
//!
//! A record's hash stands in its row, over exactly what a node gets of it. A row without one is not live.

use std::collections::BTreeMap;

use proto::digest::{Digest, Hashed, RANGES, RangeSet, range_of};
use proto::frame::{Grant, GrantDigest, RangeSums, Repair, Share};
use proto::ids::Revision;
use proto::op::Hash;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{StoreError, counted};
use super::grants::{GrantRow, NodeShares};
use super::world::LIVE;

/// How the digests of partitions change, until it is known that the change stays: counts and sums are differences here, and
/// wrap around where they are negative.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<i64, BTreeMap<String, Digest>>);

impl Changes {
    /// A live record came into a partition; one that goes to no node is in none.
    pub(super) fn add(&mut self, collection: i64, share: Option<&str>, hash: Option<&Hash>) {
        if let (Some(share), Some(hash)) = (share, hash) {
            self.of(collection, share).add(hash);
        }
    }

    /// A live record left a partition.
    pub(super) fn remove(&mut self, collection: i64, share: Option<&str>, hash: Option<&Hash>) {
        if let (Some(share), Some(hash)) = (share, hash) {
            self.of(collection, share).remove(hash);
        }
    }

    /// All changes that `others` hold, too.
    pub(super) fn join(&mut self, others: Self) {
        for (collection, shares) in others.0 {
            for (share, change) in shares {
                let own = self.of(collection, &share);
                *own = sum(*own, change);
            }
        }
    }

    fn of(&mut self, collection: i64, share: &str) -> &mut Digest {
        self.0.entry(collection).or_default().entry(share.to_owned()).or_default()
    }

    /// Writes them down: one row for each partition, however often it changed. What was deleted meanwhile has no digest.
    pub(super) fn save(&self, conn: &Connection) -> Result<(), StoreError> {
        let mut exists = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM collections WHERE id = ?1)")?;
        for (collection, shares) in &self.0 {
            if !exists.query_row([collection], |row| row.get(0))? {
                continue;
            }
            for (share, change) in shares.iter().filter(|(_, change)| **change != Digest::default()) {
                put(conn, *collection, share, sum(of(conn, *collection, share)?, *change))?;
            }
        }
        Ok(())
    }
}

fn sum(one: Digest, other: Digest) -> Digest {
    Digest { count: one.count.wrapping_add(other.count), sum: one.sum.wrapping_add(other.sum) }
}

fn put(conn: &Connection, collection: i64, share: &str, digest: Digest) -> Result<(), StoreError> {
    if digest == Digest::default() {
        conn.prepare_cached("DELETE FROM digests WHERE collection = ?1 AND share = ?2")?.execute((collection, share))?;
    } else {
        conn.prepare_cached("INSERT OR REPLACE INTO digests (collection, share, count, sum) VALUES (?1, ?2, ?3, ?4)")?.execute((
            collection,
            share,
            digest.count.cast_signed(),
            digest.sum.to_le_bytes(),
        ))?;
    }
    Ok(())
}

/// What a partition holds.
fn of(conn: &Connection, collection: i64, share: &str) -> Result<Digest, StoreError> {
    let found: Option<(i64, [u8; 16])> = conn
        .prepare_cached("SELECT count, sum FROM digests WHERE collection = ?1 AND share = ?2")?
        .query_row((collection, share), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.map_or_else(Digest::default, |(count, sum)| Digest { count: count.cast_unsigned(), sum: u128::from_le_bytes(sum) }))
}

/// The digests of a node's grants but those whose back-fill is open: these are `open`, and what was given after `told`, of
/// which the node learns with this batch.
pub(super) fn of_grants(conn: &Connection, shares: &NodeShares, open: &[&Share], told: Revision) -> Result<Vec<GrantDigest>, StoreError> {
    let known = shares.grants.iter().filter(|row| row.since <= told.0);
    known
        .map(|row| (row, row.to_share()))
        .filter(|(_, share)| !open.contains(&share))
        .map(|(row, share)| Ok(GrantDigest { share, since: Revision(row.since), digest: of(conn, row.collection, &row.share)? }))
        .collect()
}

/// Which ranges of the node's grants really differ from what it holds. It may hold what it was granted no more; that is not
/// answered: it hears of it otherwise.
pub(super) fn compare(conn: &Connection, shares: &NodeShares, held: &[RangeSums], head: Revision) -> Result<Vec<Repair>, StoreError> {
    let mut repairs: Vec<Repair> = Vec::new();
    for sums in held {
        let is_granted = |row: &&GrantRow| row.since == sums.since.0 && row.to_share() == sums.share;
        let Some(row) = shares.grants.iter().find(is_granted) else { continue };
        if repairs.iter().any(|repair| repair.grant.share == sums.share) {
            continue;
        }
        let mut ranges = RangeSet::default();
        let own = range_sums(conn, row)?;
        (0..=u8::MAX)
            .filter(|range| sums.sums.get(usize::from(*range)) != Some(&own[usize::from(*range)]))
            .for_each(|range| ranges.insert(range));
        repairs.push(Repair { grant: Grant { share: sums.share.clone(), since: sums.since, from: head }, ranges });
    }
    Ok(repairs)
}

/// The sums of a partition's records by range of keys: a walk over all of them, for one comparison.
fn range_sums(conn: &Connection, row: &GrantRow) -> Result<[u128; RANGES], StoreError> {
    let mut sums = [Digest::default(); RANGES];
    let mut query = conn.prepare_cached(
        "SELECT key, hash FROM records INDEXED BY records_stream WHERE collection = ?1 AND share = ?2 AND hash IS NOT NULL",
    )?;
    let mut rows = query.query((row.collection, &row.share))?;
    while let Some(record) = rows.next()? {
        let key = record.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        sums[usize::from(range_of(key))].add(&record.get(1)?);
    }
    Ok(sums.map(|digest| digest.sum))
}

/// Format 2: every record gets its hash, and every partition its digest. The rows move to the new table, where the hash
/// stands before the value: so it is read without the pages of a large one.
pub(super) fn fill_in(conn: &Connection) -> Result<(), StoreError> {
    let mut copy = conn.prepare(
        "INSERT INTO records (id, collection, key, revision, born, share, deleted, updated_ms, writer, actor, clocks, hash, value)
         SELECT id, collection, key, revision, born, share, deleted, updated_ms, writer, actor, clocks, ?2, value FROM records_first WHERE id = ?1",
    )?;
    let mut query = conn.prepare(
        "SELECT id, collection, share, key, revision, born, updated_ms, writer, actor, value, deleted FROM records_first ORDER BY id",
    )?;
    let mut rows = query.query([])?;
    let mut changes = Changes::default();
    while let Some(row) = rows.next()? {
        let hash = if row.get::<_, i64>(10)? == LIVE { Some(hash_of(row, 3)?) } else { None };
        copy.execute((row.get::<_, i64>(0)?, hash))?;
        let share: Option<String> = row.get(2)?;
        changes.add(row.get(1)?, share.as_deref(), hash.as_ref());
    }
    changes.save(conn)
}

/// The hash of a row's columns from `at` on: key, revision, born, updated_ms, writer, actor, value.
fn hash_of(row: &Row<'_>, at: usize) -> Result<Hash, StoreError> {
    let text = |column| row.get_ref(at + column)?.as_str().map_err(rusqlite::Error::from);
    let actor: Option<String> = row.get(at + 5)?;
    let hashed = Hashed {
        key: text(0)?,
        revision: Revision(counted(row.get(at + 1)?)?),
        born: Revision(counted(row.get(at + 2)?)?),
        updated_ms: counted(row.get(at + 3)?)?,
        writer: text(4)?,
        actor: actor.as_deref(),
        value: text(6)?,
    };
    Ok(hashed.hash())
}

/// What is wrong with the hashes and digests of a store, if anything is.
#[cfg(test)]
pub(super) fn fault(conn: &Connection) -> Result<Option<String>, StoreError> {
    let mut query = conn.prepare(
        "SELECT r.collection, r.share, r.hash, r.deleted, r.key, r.revision, r.born, r.updated_ms, r.writer, r.actor, r.value
         FROM records r JOIN collections c ON c.id = r.collection",
    )?;
    let mut rows = query.query([])?;
    let mut changes = Changes::default();
    while let Some(row) = rows.next()? {
        let (share, hash): (Option<String>, Option<Hash>) = (row.get(1)?, row.get(2)?);
        let expected = if row.get::<_, i64>(3)? == LIVE { Some(hash_of(row, 4)?) } else { None };
        if hash != expected {
            return Ok(Some(format!("record {} has hash {hash:?}, and its content {expected:?}", row.get::<_, String>(4)?)));
        }
        changes.add(row.get(0)?, share.as_deref(), hash.as_ref());
    }
    let mut table = Changes::default();
    let mut query = conn.prepare("SELECT collection, share FROM digests")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (collection, share): (i64, String) = (row.get(0)?, row.get(1)?);
        *table.of(collection, &share) = of(conn, collection, &share)?;
    }
    Ok((table.0 != changes.0).then(|| format!("the table says {table:?}, the records say {changes:?}")))
}
