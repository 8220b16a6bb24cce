//! What operators see: nodes, how far behind they are, events, figures.

use proto::device::{DEVICES, TWINS};
use proto::frame::{Fill, Report, Share};
use proto::ids::{DatabaseId, Epoch, Position, Revision};
use proto::limits::UNACKED_WRITES;
use proto::names::{CollectionName, NodeName};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{StoreError, counted, limit as row_limit, stored};
use super::grants::{self, GrantRow};
use super::heads::Shared;
use super::job::Peer;
use super::nodes::{find, open_conflicts, parse_labels};
use super::reads::{head, strings};
use super::rows::{DeviceCounts, Figures, NodeEvent, NodeRow};
use super::share;
use crate::limits::{BEHIND, PAGE_ROWS};

/// Outcomes of a database above a revision, up to one more than may be unacknowledged.
pub(super) fn outcomes_above(conn: &Connection, peer: Peer, acked: Revision) -> Result<u64, StoreError> {
    let count: i64 = conn
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM writes WHERE database = ?1 AND revision > ?2 LIMIT ?3)")?
        .query_row((peer.database, stored(acked.0)?, stored(UNACKED_WRITES + 1)?), |row| row.get(0))?;
    counted(count)
}

/// Records that a node has yet to get: what lies above its cursor, and what its open back-fills have left.
pub(super) fn behind(conn: &Connection, shared: &Shared, node: &NodeName, at: &Position, fills: &[Fill]) -> Result<u64, StoreError> {
    let Some((id, _)) = find(conn, node)? else { return Ok(0) };
    let shares = grants::load(conn, shared, id, u64::MAX)?;
    let mut count = 0;
    for grant in shared.changed(&shares.grants, at.revision.0) {
        count += between(conn, (grant.collection, &grant.share), at.revision, Revision(i64::MAX.unsigned_abs()), BEHIND - count)?;
        if count >= BEHIND {
            return Ok(BEHIND);
        }
    }
    for fill in fills {
        let granted = |row: &&GrantRow| row.since == fill.grant.since.0 && row.to_share() == fill.grant.share;
        if let Some(grant) = shares.grants.iter().find(granted) {
            let end = fill.grant.from.min(at.revision);
            count += between(conn, (grant.collection, &grant.share), fill.at.revision.min(end), end, BEHIND - count)?;
        }
        if count >= BEHIND {
            return Ok(BEHIND);
        }
    }
    Ok(count)
}

fn between(conn: &Connection, place: (i64, &str), above: Revision, to: Revision, most: u64) -> Result<u64, StoreError> {
    let count: i64 = conn
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM records INDEXED BY records_stream
             WHERE collection = ?1 AND share = ?2 AND revision > ?3 AND revision <= ?4 LIMIT ?5)",
        )?
        .query_row((place.0, place.1, stored(above.0)?, stored(to.0)?, stored(most)?), |row| row.get(0))?;
    counted(count)
}

const NODE: &str = "SELECT n.name, n.labels, n.revoked, n.created_ms, n.last_seen_ms, n.address, n.transport, n.version, d.database,
     n.serial, n.not_after_ms, n.cursor, n.outbox_writes, n.outbox_oldest_ms, n.warnings, n.id, n.old_serial,
     EXISTS (SELECT 1 FROM node_grants g JOIN collections c ON c.id = g.collection WHERE g.node = n.id AND substr(c.name, 1, 1) <> '_'),
     n.verified_ms
     FROM nodes n LEFT JOIN databases d ON d.id = n.current";

/// A node.
pub(super) fn node(conn: &Connection, name: &NodeName) -> Result<Option<NodeRow>, StoreError> {
    conn.prepare_cached(&format!("{NODE} WHERE n.name = ?1"))?
        .query_row([name.as_str()], |row| Ok(node_row(conn, row)))
        .optional()?
        .transpose()
}

/// Nodes in name order.
pub(super) fn nodes(conn: &Connection, after: Option<&NodeName>, limit: usize) -> Result<Vec<NodeRow>, StoreError> {
    conn.prepare_cached(&format!("{NODE} WHERE n.name > ?1 ORDER BY n.name LIMIT ?2"))?
        .query_map((after.map_or("", NodeName::as_str), row_limit(limit.min(PAGE_ROWS + 1))), |row| Ok(node_row(conn, row)))?
        .map(|row| row?)
        .collect()
}

fn node_row(conn: &Connection, row: &Row<'_>) -> Result<NodeRow, StoreError> {
    let name: String = row.get(0)?;
    let database: Option<[u8; 16]> = row.get(8)?;
    Ok(NodeRow {
        name: NodeName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?,
        labels: parse_labels(&row.get::<_, String>(1)?)?,
        revoked: row.get(2)?,
        created_ms: counted(row.get(3)?)?,
        last_seen_ms: counted(row.get(4)?)?,
        address: row.get(5)?,
        transport: row.get(6)?,
        version: row.get(7)?,
        database: database.map(DatabaseId),
        serial: row.get(9)?,
        old_serial: row.get(16)?,
        not_after_ms: counted(row.get(10)?)?,
        cursor: Revision(counted(row.get(11)?)?),
        report: Report {
            outbox_writes: counted(row.get(12)?)?,
            outbox_oldest_ms: counted(row.get(13)?)?,
            warnings: strings(row.get(14)?)?,
            // What is not told now says nothing.
            devices: None,
        },
        verified_ms: row.get::<_, Option<i64>>(18)?.map(counted).transpose()?,
        conflicts_open: open_conflicts(conn, row.get(15)?)?,
        selected: row.get(17)?,
    })
}

/// The partitions that a node gets, conflict rows apart.
pub(super) fn granted(conn: &Connection, shared: &Shared, node: &NodeName) -> Result<Option<Vec<Share>>, StoreError> {
    let Some((id, _)) = find(conn, node)? else { return Ok(None) };
    let shares = grants::load(conn, shared, id, u64::MAX)?;
    Ok(Some(shares.grants.iter().filter(|row| row.name != CollectionName::conflicts()).map(GrantRow::to_share).collect()))
}

/// How many devices a node has. By the index of its partitions; a record of a device is small, a twin has a few KB.
pub(super) fn devices(conn: &Connection, node: &NodeName) -> Result<DeviceCounts, StoreError> {
    let share = share::encode(Some(node.as_str()));
    let count = |collection: &str, condition: &str| {
        let sql = format!(
            "SELECT count(*) FROM records WHERE collection = (SELECT id FROM collections WHERE name = ?1) AND share = ?2 AND deleted = 0{condition}"
        );
        counted(conn.prepare_cached(&sql)?.query_row((collection, &share), |row| row.get(0))?)
    };
    Ok(DeviceCounts {
        declared: count(DEVICES, "")?,
        online: count(TWINS, " AND json_extract(value, '$.state.value') IN ('online', 'ok')")?,
    })
}

/// What happened to a node, oldest first.
pub(super) fn events(conn: &Connection, node: &NodeName) -> Result<Option<Vec<NodeEvent>>, StoreError> {
    let Some((id, _)) = find(conn, node)? else { return Ok(None) };
    conn.prepare_cached("SELECT at_ms, kind, detail FROM node_events WHERE node = ?1 ORDER BY at_ms, seq")?
        .query_map([id], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))?
        .map(|row| {
            let (at_ms, kind, detail) = row?;
            Ok(NodeEvent { at_ms: counted(at_ms)?, kind, detail })
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Figures for status and metrics.
pub(super) fn figures(conn: &Connection) -> Result<Figures, StoreError> {
    let count = |sql: &str| counted(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?);
    let epoch: i64 = conn.prepare_cached("SELECT epoch FROM epochs ORDER BY seq DESC LIMIT 1")?.query_row([], |row| row.get(0))?;
    Ok(Figures {
        head: Revision(head(conn)?),
        epoch: Epoch(epoch.cast_unsigned()),
        collections: count("SELECT count(*) FROM collections WHERE name NOT LIKE '\\_%' ESCAPE '\\'")?,
        nodes: count("SELECT count(*) FROM nodes WHERE revoked = 0")?,
        revoked: count("SELECT count(*) FROM nodes WHERE revoked = 1")?,
        conflicts_open: count("SELECT count(*) FROM conflicts WHERE state = 'open'")?,
        database_bytes: count("PRAGMA page_count")? * count("PRAGMA page_size")?,
    })
}
