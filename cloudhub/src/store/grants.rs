//! What a node may have: the partitions of the collections that select it, each since the revision it was given at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::definition::Labels;
use proto::frame::{DefinitionText, Grant, Grants, Share};
use proto::ids::Revision;
use proto::names::CollectionName;
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted, stored};
use super::heads::Shared;
use super::nodes::parse_labels;
use super::refused::Refused;
use super::share;
use super::work::{JobError, Work};
use crate::limits::GRANTS_PER_NODE;

/// The grants of one node, conflict rows included, as one state of the store has them.
#[derive(Debug)]
pub(super) struct NodeShares {
    node: i64,
    /// The transaction that last changed them.
    pub(super) revision: u64,
    /// In (collection, partition) order.
    pub(super) grants: Vec<GrantRow>,
    set: BTreeSet<(i64, String)>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GrantRow {
    pub(super) name: CollectionName,
    /// The partition as a column holds it, see [`share`].
    pub(super) share: String,
    pub(super) collection: i64,
    pub(super) since: u64,
}

/// A grant that a stream cannot serve: what went between its position and the collection's floor is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BelowFloor {
    pub(super) share: Share,
    pub(super) floor: u64,
}

impl GrantRow {
    pub(super) fn to_share(&self) -> Share {
        Share { collection: self.name.clone(), partition: share::decode(&self.share) }
    }
}

impl NodeShares {
    /// Whether the node gets what stands in this partition.
    pub(super) fn has(&self, collection: i64, share: &str) -> bool {
        // The set is asked with an owned key only where a node has many grants.
        if self.grants.len() <= 16 {
            return self.grants.iter().any(|grant| grant.collection == collection && grant.share == share);
        }
        self.set.contains(&(collection, share.to_owned()))
    }

    /// The grants as they travel; a back-fill that starts now reads what is at or below `from`.
    pub(super) fn to_wire(&self, conn: &Connection, from: u64) -> Result<Grants, StoreError> {
        let grants = self.grants.iter().map(|row| Grant { share: row.to_share(), since: Revision(row.since), from: Revision(from) });
        let mut definitions = Vec::new();
        let mut last = None;
        let mut read = conn.prepare_cached("SELECT revision, definition FROM collections WHERE id = ?1")?;
        for row in self.grants.iter().filter(|row| last.replace(row.collection) != Some(row.collection)) {
            let (revision, json) = read.query_row([row.collection], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?)))?;
            definitions.push(DefinitionText { name: row.name.clone(), revision: Revision(counted(revision)?), json });
        }
        let labels = labels(conn, self.node)?;
        Ok(Grants { revision: Revision(self.revision), grants: grants.collect(), definitions, labels })
    }
}

/// A node's labels as they travel, in name order; a node that is gone has none.
pub(super) fn labels(conn: &Connection, node: i64) -> Result<Vec<(String, String)>, StoreError> {
    let json: Option<String> =
        conn.prepare_cached("SELECT labels FROM nodes WHERE id = ?1")?.query_row([node], |row| row.get(0)).optional()?;
    Ok(json.map(|json| parse_labels(&json)).transpose()?.unwrap_or_default().into_iter().collect())
}

/// Reads a node's grants, from memory where they are still these. A node that is gone has none. What is read above
/// `committed` may still be rolled back and is not remembered.
pub(super) fn load(conn: &Connection, shared: &Shared, node: i64, committed: u64) -> Result<Arc<NodeShares>, StoreError> {
    let revision: Option<i64> =
        conn.prepare_cached("SELECT grants FROM nodes WHERE id = ?1 AND revoked = 0")?.query_row([node], |row| row.get(0)).optional()?;
    let Some(revision) = revision.map(counted).transpose()? else {
        return Ok(Arc::new(NodeShares { node, revision: 0, grants: Vec::new(), set: BTreeSet::new() }));
    };
    if let Some(known) = shared.grants(node, revision) {
        return Ok(known);
    }
    let shares = Arc::new(read(conn, node, revision)?);
    if revision <= committed {
        shared.remember(node, &shares);
    }
    Ok(shares)
}

fn read(conn: &Connection, node: i64, revision: u64) -> Result<NodeShares, StoreError> {
    let mut grants = Vec::new();
    let mut rows_since = Vec::new();
    let mut query = conn.prepare_cached(
        "SELECT c.id, c.name, g.share, g.since, max(g.since, g.rows_since) FROM node_grants g JOIN collections c ON c.id = g.collection WHERE g.node = ?1",
    )?;
    let mut rows = query.query([node])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        let name = CollectionName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?;
        grants.push(GrantRow { collection: row.get(0)?, name, share: row.get(2)?, since: counted(row.get(3)?)? });
        rows_since.push(counted(row.get(4)?)?);
    }
    if !grants.is_empty() {
        let collection = conflicts_id(conn)?;
        let about = |(row, since): (&GrantRow, u64)| GrantRow {
            name: CollectionName::conflicts(),
            share: share::encode(Some(&share::conflict_partition(row.name.as_str(), share::decode(&row.share).as_deref()))),
            collection,
            since,
        };
        let conflicts: Vec<_> = grants.iter().zip(rows_since).map(about).collect();
        grants.extend(conflicts);
    }
    grants.sort();
    let set = grants.iter().map(|row| (row.collection, row.share.clone())).collect();
    Ok(NodeShares { node, revision, grants, set })
}

/// The id of `_conflicts`, which exists from the first migration on.
pub(super) fn conflicts_id(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.prepare_cached("SELECT id FROM collections WHERE name = '_conflicts'")?.query_row([], |row| row.get(0))?)
}

/// Brings a node's grants in line with its labels; `None` for `only`: of every collection. Tells whether they changed.
pub(super) fn recompute(work: &mut Work<'_>, node: i64, labels: &Labels, revision: u64) -> Result<bool, JobError> {
    let mut wanted = BTreeSet::new();
    for (id, definition) in super::definitions::all(work.conn)? {
        let partitions = definition.partitions(labels);
        wanted.extend(partitions.iter().map(|partition| (id, share::encode(partition.as_deref()))));
    }
    let held: BTreeMap<(i64, String), i64> = work
        .conn
        .prepare_cached("SELECT collection, share, since FROM node_grants WHERE node = ?1")?
        .query_map([node], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    if wanted.len() > GRANTS_PER_NODE {
        return Err(Refused::Full(format!("these labels give the node {} partitions; {GRANTS_PER_NODE} is the most", wanted.len())).into());
    }
    let added: Vec<_> = wanted.iter().filter(|share| !held.contains_key(*share)).collect();
    let removed: Vec<_> = held.keys().filter(|share| !wanted.contains(*share)).collect();
    for (collection, share) in &added {
        give(work.conn, node, *collection, share, revision)?;
    }
    for (collection, share) in &removed {
        take(work.conn, node, *collection, share)?;
    }
    let changed = !added.is_empty() || !removed.is_empty();
    if changed {
        mark(work.conn, node, revision)?;
    }
    Ok(changed)
}

pub(super) fn give(conn: &Connection, node: i64, collection: i64, share: &str, revision: u64) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR REPLACE INTO node_grants (node, collection, share, since) VALUES (?1, ?2, ?3, ?4)")?.execute((
        node,
        collection,
        share,
        stored(revision)?,
    ))?;
    Ok(())
}

pub(super) fn take(conn: &Connection, node: i64, collection: i64, share: &str) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM node_grants WHERE node = ?1 AND collection = ?2 AND share = ?3")?
        .execute((node, collection, share))?;
    Ok(())
}

/// The node's grants, or a definition among them, changed at this revision.
pub(super) fn mark(conn: &Connection, node: i64, revision: u64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE nodes SET grants = ?2 WHERE id = ?1")?.execute((node, stored(revision)?))?;
    Ok(())
}

/// Floors above a position, by collection. Mostly there are none.
fn floors_above(conn: &Connection, at: u64) -> Result<BTreeMap<i64, u64>, StoreError> {
    let mut floors = BTreeMap::new();
    let mut query = conn.prepare_cached("SELECT collection, revision FROM floors WHERE revision > ?1")?;
    let mut rows = query.query([stored(at)?])?;
    while let Some(row) = rows.next()? {
        floors.insert(row.get(0)?, counted(row.get(1)?)?);
    }
    Ok(floors)
}

/// The first grant that a stream at `at` cannot serve. One that was given at or above the floor is being filled, or was,
/// from a state that had already lost what is forgotten.
pub(super) fn below_floor(conn: &Connection, shares: &NodeShares, at: u64) -> Result<Option<BelowFloor>, StoreError> {
    let floors = floors_above(conn, at)?;
    let missed = |row: &&GrantRow| floors.get(&row.collection).is_some_and(|floor| row.since < *floor);
    let found = if floors.is_empty() { None } else { shares.grants.iter().find(missed) };
    Ok(found.map(|row| BelowFloor { share: row.to_share(), floor: floors[&row.collection] }))
}

/// Gives a node that comes back at `at` everything anew that its stream cannot serve, see [`below_floor`]: what it holds
/// stays readable there until the back-fill has replaced it. The names of the collections.
pub(super) fn renew(work: &mut Work<'_>, node: i64, at: u64) -> Result<Vec<String>, StoreError> {
    let floors = floors_above(work.conn, at)?;
    if floors.is_empty() {
        return Ok(Vec::new());
    }
    let rows = conflicts_id(work.conn)?;
    let revision = work.head + 1;
    let mut renewed = Vec::new();
    for (collection, floor) in floors {
        let statement = if collection == rows {
            "UPDATE node_grants SET rows_since = ?3 WHERE node = ?1 AND max(since, rows_since) < ?4 AND ?2 = ?2"
        } else {
            "UPDATE node_grants SET since = ?3 WHERE node = ?1 AND collection = ?2 AND since < ?4"
        };
        let changed = work.conn.prepare_cached(statement)?.execute((node, collection, stored(revision)?, stored(floor)?))?;
        if changed > 0 {
            let mut name = work.conn.prepare_cached("SELECT name FROM collections WHERE id = ?1")?;
            renewed.push(name.query_row([collection], |row| row.get(0))?);
        }
    }
    if !renewed.is_empty() {
        mark(work.conn, node, revision)?;
        work.head = revision;
    }
    Ok(renewed)
}
