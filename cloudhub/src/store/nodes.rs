//! Nodes: joining, labels, certificates, events, and what is saved of them lazily.

use std::collections::BTreeMap;

use proto::definition::Labels;
use proto::frame::Report;
use proto::ids::{DatabaseId, Revision};
use proto::names::{CollectionName, NodeName};
use rusqlite::{Connection, OptionalExtension};

use super::definitions::own_labels;
use super::error::{StoreError, counted, stored};
use super::grants;
use super::job::{Certificate, JoinJob, Resynced, Seen};
use super::refused::Refused;
use super::tokens;
use super::work::{JobError, Work};
use crate::limits::{EVENT_BYTES, EVENTS_PER_NODE, LABEL_BYTES, LABELS, NODES, OPEN_CONFLICTS_PER_NODE};

/// How long an event that repeats is not written again, milliseconds.
const EVENT_PAUSE_MS: u64 = 3_600_000;

/// Kinds of which every one is written: they are rare, and each is another story.
const EACH: [&str; 2] = ["records_differ", "repaired"];

/// A node's row id and labels.
pub(super) fn find(conn: &Connection, node: &NodeName) -> Result<Option<(i64, Labels)>, StoreError> {
    let found: Option<(i64, String)> = conn
        .prepare_cached("SELECT id, labels FROM nodes WHERE name = ?1")?
        .query_row([node.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map(|(id, labels)| Ok((id, parse_labels(&labels)?))).transpose()
}

fn need(work: &Work<'_>, node: &NodeName) -> Result<(i64, Labels), JobError> {
    Ok(find(work.conn, node)?.ok_or_else(|| Refused::NoNode(node.clone()))?)
}

/// Labels as a row has them.
pub(super) fn parse_labels(json: &str) -> Result<Labels, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Damaged(format!("labels: {error}")))
}

/// Labels as a row has them: a map of strings always serialises.
pub(super) fn labels_json(labels: &Labels) -> String {
    serde_json::to_string(labels).unwrap_or_default()
}

/// What a label may be.
pub(super) fn check_label(name: &str, value: &str) -> Result<(), Refused> {
    let refuse = |reason| Err(Refused::Label { name: name.chars().take(80).collect(), reason });
    if name.is_empty() || name.len() > 63 || name.chars().any(|c| c.is_control() || c.is_whitespace() || c == '=' || c == ',') {
        return refuse("a name has 1 to 63 bytes without spaces, '=' and ','");
    }
    if value.len() > LABEL_BYTES || value.chars().any(char::is_control) {
        return refuse("a value has at most 4,096 bytes and no control characters");
    }
    Ok(())
}

/// Sets and removes labels; the grants follow in the same transaction.
pub(super) fn label(work: &mut Work<'_>, node: &NodeName, changes: &BTreeMap<String, Option<String>>) -> Result<(), JobError> {
    let (id, mut labels) = need(work, node)?;
    let before = labels.clone();
    for (name, value) in changes {
        match value {
            Some(value) => {
                check_label(name, value)?;
                labels.insert(name.clone(), value.clone());
            }
            None => drop(labels.remove(name)),
        }
    }
    if labels == before {
        return Ok(());
    }
    set_labels(work, id, node, &labels)
}

fn set_labels(work: &mut Work<'_>, id: i64, node: &NodeName, labels: &Labels) -> Result<(), JobError> {
    if labels.len() > LABELS {
        return Err(Refused::Full(format!("a node has at most {LABELS} labels")).into());
    }
    let revision = work.head + 1;
    work.conn.prepare_cached("UPDATE nodes SET labels = ?2 WHERE id = ?1")?.execute((id, labels_json(labels)))?;
    if !grants::recompute(work, id, &own_labels(node, labels.clone()), revision)? {
        // The node is told its labels all the same: it names them when no collection selects it.
        grants::mark(work.conn, id, revision)?;
    }
    work.marks.nodes.insert(node.clone());
    work.head = revision;
    Ok(())
}

/// Gives a node's grants anew, all or those of one collection: it drops what it holds of them and fills again.
pub(super) fn resync(work: &mut Work<'_>, node: &NodeName, collection: Option<&CollectionName>) -> Result<Resynced, JobError> {
    let (id, _) = need(work, node)?;
    let only = match collection {
        Some(name) => Some(work.catalog.get(work.conn, name)?.ok_or_else(|| Refused::NoCollection(name.clone()))?.id),
        None => None,
    };
    let revision = work.head + 1;
    let grants = work
        .conn
        .prepare_cached("UPDATE node_grants SET since = ?3 WHERE node = ?1 AND (?2 IS NULL OR collection = ?2)")?
        .execute((id, only, stored(revision)?))?;
    if grants == 0 {
        let what = collection.map_or_else(|| "no collection".to_owned(), |name| format!("nothing of {name}"));
        return Err(Refused::BadRequest(format!("{node} is given {what}; its labels decide that: cloudhub node show {node}")).into());
    }
    grants::mark(work.conn, id, revision)?;
    let what = collection.map_or_else(|| "everything".to_owned(), |name| format!("collection {name}"));
    event(work, id, "resync", &format!("{what} is sent again ({grants} partitions), on an administrator's wish"))?;
    work.marks.nodes.insert(node.clone());
    work.head = revision;
    Ok(Resynced { grants: grants as u64, revision: Revision(revision) })
}

/// Takes a node in, or another machine under its name where the token says so.
pub(super) fn join(work: &mut Work<'_>, job: &JoinJob) -> Result<(NodeName, Labels), JobError> {
    let permit = tokens::permit(work.conn, &job.secret_hash, job.node.as_ref(), work.now_ms)?.map_err(JobError::from)?;
    tokens::use_up(work.conn, &permit.token)?;
    let certificate = &job.certificate;
    let id = match find(work.conn, &permit.node)? {
        Some((id, old)) => {
            work.conn
                .prepare_cached("UPDATE nodes SET revoked = 0, serial = ?2, old_serial = NULL, not_after_ms = ?3 WHERE id = ?1")?
                .execute((id, &certificate.serial, stored(certificate.not_after_ms)?))?;
            work.marks.nodes.insert(permit.node.clone());
            let labels = if permit.labels.is_empty() { old } else { permit.labels };
            set_labels(work, id, &permit.node, &labels)?;
            let detail = format!(
                "another machine joined under this name, certificate {}; the one before is refused from now on",
                certificate.serial
            );
            event(work, id, "replaced", &detail)?;
            return Ok((permit.node, labels));
        }
        None => insert(work, &permit.node, certificate)?,
    };
    set_labels(work, id, &permit.node, &permit.labels)?;
    event(work, id, "joined", "the node joined")?;
    Ok((permit.node, permit.labels))
}

fn insert(work: &Work<'_>, node: &NodeName, certificate: &Certificate) -> Result<i64, JobError> {
    let nodes: i64 = work.conn.query_row("SELECT count(*) FROM nodes", [], |row| row.get(0))?;
    if counted(nodes)? >= NODES {
        return Err(Refused::Full(format!("this hub has {NODES} nodes, the most it takes")).into());
    }
    work.conn
        .prepare_cached("INSERT INTO nodes (name, labels, created_ms, serial, not_after_ms, grants) VALUES (?1, '{}', ?2, ?3, ?4, ?5)")?
        .execute((node.as_str(), stored(work.now_ms)?, &certificate.serial, stored(certificate.not_after_ms)?, stored(work.head)?))?;
    Ok(work.conn.last_insert_rowid())
}

/// A renewed certificate; the one before stays good until the new one is used.
pub(super) fn certificate(work: &mut Work<'_>, node: &NodeName, certificate: &Certificate) -> Result<(), JobError> {
    let (id, _) = need(work, node)?;
    work.conn.prepare_cached("UPDATE nodes SET old_serial = serial, serial = ?2, not_after_ms = ?3 WHERE id = ?1")?.execute((
        id,
        &certificate.serial,
        stored(certificate.not_after_ms)?,
    ))?;
    Ok(())
}

/// Takes a node's rights away.
pub(super) fn revoke(work: &mut Work<'_>, node: &NodeName) -> Result<(), JobError> {
    let (id, _) = need(work, node)?;
    work.conn.prepare_cached("UPDATE nodes SET revoked = 1 WHERE id = ?1")?.execute([id])?;
    // Should it join again, its grants are new ones, and what it still holds of the old ones goes.
    work.conn.prepare_cached("DELETE FROM node_grants WHERE node = ?1")?.execute([id])?;
    work.marks.nodes.insert(node.clone());
    event(work, id, "revoked", "the node was revoked; it must join again")?;
    Ok(())
}

/// The node's next Hello with this database is admitted, whatever lives and whatever number its session has.
pub(super) fn accept(work: &mut Work<'_>, node: &NodeName, database: &DatabaseId) -> Result<(), JobError> {
    let (id, _) = need(work, node)?;
    work.conn.prepare_cached("INSERT OR REPLACE INTO accepted (node, database) VALUES (?1, ?2)")?.execute((id, database.0))?;
    event(
        work,
        id,
        "accepted",
        &format!("an operator accepted database {database}: it is admitted when it comes next, in the place of any other"),
    )?;
    Ok(())
}

/// Whether an operator wants this database to be the node's.
pub(super) fn is_accepted(conn: &Connection, node: i64, database: &DatabaseId) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("SELECT 1 FROM accepted WHERE node = ?1 AND database = ?2")?.exists((node, database.0))?)
}

/// The accepted database is there: from now on it is judged like any other.
pub(super) fn came(work: &Work<'_>, node: i64) -> Result<(), StoreError> {
    work.conn.prepare_cached("DELETE FROM accepted WHERE node = ?1")?.execute([node])?;
    Ok(())
}

/// Forgets a node. Its databases keep their small numbers: field clocks name them for ever.
pub(super) fn delete(work: &mut Work<'_>, node: &NodeName) -> Result<(), JobError> {
    let (id, _) = need(work, node)?;
    for statement in [
        "DELETE FROM writes WHERE database IN (SELECT id FROM databases WHERE node = ?1)",
        "DELETE FROM lost WHERE database IN (SELECT id FROM databases WHERE node = ?1)",
        "DELETE FROM parts WHERE database IN (SELECT id FROM databases WHERE node = ?1)",
        "DELETE FROM partial_writes WHERE database IN (SELECT id FROM databases WHERE node = ?1)",
        "DELETE FROM accepted WHERE node = ?1",
        "DELETE FROM requests WHERE node = ?1",
        "UPDATE databases SET node = -node WHERE node = ?1",
        "DELETE FROM node_grants WHERE node = ?1",
        "DELETE FROM node_events WHERE node = ?1",
        "DELETE FROM nodes WHERE id = ?1",
    ] {
        work.conn.prepare_cached(statement)?.execute([id])?;
    }
    work.shared.forget(id);
    work.marks.nodes.insert(node.clone());
    Ok(())
}

/// Writes an event down; the oldest goes.
pub(super) fn event(work: &Work<'_>, node: i64, kind: &str, detail: &str) -> Result<(), StoreError> {
    event_at(work, node, kind, detail, work.now_ms)
}

fn event_at(work: &Work<'_>, node: i64, kind: &str, detail: &str, at_ms: u64) -> Result<(), StoreError> {
    let detail: String = detail.chars().take(EVENT_BYTES).collect();
    let newest: Option<i64> =
        work.conn.prepare_cached("SELECT max(seq) FROM node_events WHERE node = ?1")?.query_row([node], |row| row.get(0))?;
    let seq = newest.unwrap_or(0) + 1;
    work.conn.prepare_cached("INSERT INTO node_events (node, seq, at_ms, kind, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute((
        node,
        seq,
        stored(at_ms)?,
        kind,
        detail,
    ))?;
    work.conn.prepare_cached("DELETE FROM node_events WHERE node = ?1 AND seq <= ?2")?.execute((node, seq - stored(EVENTS_PER_NODE)?))?;
    Ok(())
}

/// Writes an event down unless the same kind was written within the hour: a node that retries does not push out the rest.
pub(super) fn event_once(work: &Work<'_>, node: i64, kind: &str, detail: &str) -> Result<(), StoreError> {
    event_once_at(work, node, kind, detail, work.now_ms)
}

/// After another machine, database or store came into the story, everything is news once more.
fn event_once_at(work: &Work<'_>, node: i64, kind: &str, detail: &str, at_ms: u64) -> Result<(), StoreError> {
    let last: Option<i64> = work
        .conn
        .prepare_cached(
            "SELECT max(at_ms) FROM node_events WHERE node = ?1 AND kind = ?2 AND at_ms >= coalesce((SELECT max(at_ms)
                 FROM node_events WHERE node = ?1 AND kind IN ('joined', 'replaced', 'database_replaced', 'store_restored')), 0)",
        )?
        .query_row((node, kind), |row| row.get(0))?;
    match last {
        Some(last) if at_ms < counted(last)?.saturating_add(EVENT_PAUSE_MS) => Ok(()),
        _ => event_at(work, node, kind, detail, at_ms),
    }
}

/// An event that the shell saw, when it happened.
pub(super) fn note(work: &Work<'_>, node: &NodeName, kind: &str, detail: &str, at_ms: u64) -> Result<(), JobError> {
    let (id, _) = need(work, node)?;
    let write = if EACH.contains(&kind) { event_at } else { event_once_at };
    Ok(write(work, id, kind, detail, at_ms)?)
}

/// Open conflicts that a node's writes opened, up to the bound.
pub(super) fn open_conflicts(conn: &Connection, node: i64) -> Result<u64, StoreError> {
    let open: i64 = conn
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM conflicts WHERE node = ?1 AND state = 'open' LIMIT ?2)")?
        .query_row((node, stored(OPEN_CONFLICTS_PER_NODE)?), |row| row.get(0))?;
    counted(open)
}

/// Saves what was learned about nodes. A node that is gone by now is passed over.
pub(super) fn seen(work: &Work<'_>, all: &[Seen]) -> Result<(), StoreError> {
    for seen in all {
        let at = stored(seen.at_ms)?;
        work.conn.prepare_cached("UPDATE nodes SET last_seen_ms = max(last_seen_ms, ?2) WHERE id = ?1")?.execute((seen.peer.node, at))?;
        if let Some(cursor) = &seen.cursor {
            let revision = stored(cursor.revision.0)?;
            work.conn.prepare_cached("UPDATE nodes SET cursor = ?2 WHERE id = ?1 AND current = ?3")?.execute((
                seen.peer.node,
                revision,
                seen.peer.database,
            ))?;
            work.conn
                .prepare_cached("UPDATE databases SET acked = max(acked, ?2) WHERE id = ?1")?
                .execute((seen.peer.database, revision))?;
        }
        if let Some(verified) = seen.verified_ms {
            work.conn.prepare_cached("UPDATE nodes SET verified_ms = ?2 WHERE id = ?1 AND current = ?3")?.execute((
                seen.peer.node,
                stored(verified)?,
                seen.peer.database,
            ))?;
        }
        if let Some(report) = &seen.report {
            save_report(work.conn, seen.peer.node, report)?;
        }
    }
    Ok(())
}

pub(super) fn save_report(conn: &Connection, node: i64, report: &Report) -> Result<(), StoreError> {
    // A list of strings always serialises.
    let warnings = serde_json::to_string(&report.warnings).unwrap_or_default();
    conn.prepare_cached("UPDATE nodes SET outbox_writes = ?2, outbox_oldest_ms = ?3, warnings = ?4 WHERE id = ?1")?.execute((
        node,
        report.outbox_writes.cast_signed().max(0),
        report.outbox_oldest_ms.cast_signed().max(0),
        warnings,
    ))?;
    Ok(())
}
