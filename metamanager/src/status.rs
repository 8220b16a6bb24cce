//! The figures that operators and applications see. Counts are kept while records change, never taken by scanning.

use std::collections::BTreeMap;

use proto::digest::Digest;
use proto::frame::Grant;
use proto::ids::{Cursor, DatabaseId, Position, Revision};
use proto::names::CollectionName;
use rusqlite::Connection;

use crate::digests::Digests;
use crate::error::{Done, Fault};
use crate::ledger::{self, collection_name, number};
use crate::limits::BLOCKED_LISTED;
use crate::store::first_pending;

/// The database at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The random id of the file.
    pub database: DatabaseId,
    /// How far it has durably applied what the cloud sent; none before the first session.
    pub cursor: Option<Cursor>,
    /// Whether definitions have arrived.
    pub synced: bool,
    /// Writes without an outcome.
    pub outbox_writes: u64,
    /// Their bytes.
    pub outbox_bytes: u64,
    /// When the oldest of them was committed, milliseconds since 1970.
    pub outbox_oldest_ms: Option<u64>,
    /// Rejected (and lost) writes that are kept.
    pub rejected: u64,
    /// The newest number ever given to a write.
    pub newest_write: u64,
    /// The node's labels, as the cloud told them last; none: it has not.
    pub labels: Option<BTreeMap<String, String>>,
    /// What the node gets, in (collection, partition) order.
    pub grants: Vec<GrantStatus>,
    /// What is here, in name order.
    pub collections: Vec<CollectionStatus>,
    /// When digests last agreed with the cloud's, milliseconds since 1970.
    pub verified_ms: Option<u64>,
    /// Conflicts that wait for a person.
    pub conflicts_open: u64,
    /// Records that could not be stored: the first of them, and how many there are.
    pub blocked: Vec<Blocked>,
    /// How many records could not be stored.
    pub blocked_count: u64,
}

/// One grant.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantStatus {
    /// The grant.
    pub grant: Grant,
    /// How far its back-fill has come.
    pub at: Position,
    /// Whether that is complete.
    pub done: bool,
    /// What its records add up to.
    pub digest: Digest,
}

/// One collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionStatus {
    /// Its name.
    pub name: CollectionName,
    /// Records in base.
    pub records: u64,
    /// Records that readers see.
    pub view: u64,
    /// What its records add up to, over all of the node's partitions; none while one of them fills.
    pub digest: Option<Digest>,
}

/// A record that could not be stored; the cursor went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The revision that could not be stored.
    pub revision: Revision,
    /// Why.
    pub why: String,
    /// Since when, milliseconds since 1970.
    pub at_ms: u64,
}

impl Status {
    /// Whether any collection of an operator selects this node; those of the system come by themselves.
    pub fn is_selected(&self) -> bool {
        self.grants.iter().any(|grant| !grant.grant.share.collection.is_system())
    }
}

/// Reads everything in one transaction.
pub(crate) fn read(conn: &Connection) -> Done<Status> {
    let state = conn.unchecked_transaction()?;
    let meta = ledger::load_meta(&state)?;
    let (names, mut collections) = collections(&state)?;
    let digests = Digests::load(&state)?;
    let grants: Vec<_> = ledger::load_grants(&state, &names)?
        .into_iter()
        .map(|granted| GrantStatus { grant: granted.grant, at: granted.at, done: granted.done, digest: digests.of(granted.id) })
        .collect();
    add_digests(&mut collections, &grants);
    let blocked_count = state.prepare_cached("SELECT count(*) FROM blocked")?.query_row([], |row| number(row, 0))?;
    let status = Status {
        database: meta.database,
        cursor: meta.cursor,
        synced: meta.grants_revision.is_some(),
        outbox_writes: meta.outbox_writes,
        outbox_bytes: meta.outbox_bytes,
        outbox_oldest_ms: first_pending(&state)?.map(|(_, at_ms)| at_ms),
        rejected: meta.rejected_writes,
        newest_write: meta.newest,
        labels: labels(&state)?,
        grants,
        collections,
        verified_ms: meta.verified_ms,
        conflicts_open: meta.conflicts_open,
        blocked: blocked(&state)?,
        blocked_count,
    };
    state.finish()?;
    Ok(status)
}

fn labels(conn: &Connection) -> Done<Option<BTreeMap<String, String>>> {
    let json: Option<String> = conn.prepare_cached("SELECT labels FROM meta")?.query_row([], |row| row.get(0))?;
    json.map(|json| serde_json::from_str(&json).map_err(|error| Fault::damaged("labels", error))).transpose()
}

type Collections = (BTreeMap<i64, CollectionName>, Vec<CollectionStatus>);

/// Every name, and the figures of the collections that the node gets.
fn collections(conn: &Connection) -> Done<Collections> {
    let mut statement = conn.prepare_cached("SELECT id, name, records, view, definition IS NOT NULL FROM collections ORDER BY name")?;
    let mut rows = statement.query([])?;
    let (mut names, mut found) = (BTreeMap::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let name = collection_name(&row.get::<_, String>(1)?)?;
        names.insert(row.get(0)?, name.clone());
        if row.get(4)? {
            found.push(CollectionStatus { name, records: number(row, 2)?, view: number(row, 3)?, digest: None });
        }
    }
    Ok((names, found))
}

/// Each collection's digest is that of its partitions together.
fn add_digests(collections: &mut [CollectionStatus], grants: &[GrantStatus]) {
    let mut sums: BTreeMap<&CollectionName, Option<Digest>> = BTreeMap::new();
    for granted in grants {
        let sum = sums.entry(&granted.grant.share.collection).or_insert(Some(Digest::default()));
        let (own, done) = (granted.digest, granted.done);
        *sum = sum.filter(|_| done).map(|sum| Digest { count: sum.count.wrapping_add(own.count), sum: sum.sum.wrapping_add(own.sum) });
    }
    for collection in collections {
        collection.digest = sums.get(&collection.name).copied().flatten();
    }
}

fn blocked(conn: &Connection) -> Done<Vec<Blocked>> {
    let mut statement =
        conn.prepare_cached("SELECT collection, key, revision, why, at_ms FROM blocked ORDER BY collection, key LIMIT ?1")?;
    let rows = statement.query_map([BLOCKED_LISTED as i64], |row| {
        Ok(Blocked {
            collection: row.get(0)?,
            key: row.get(1)?,
            revision: Revision(number(row, 2)?),
            why: row.get(3)?,
            at_ms: number(row, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
