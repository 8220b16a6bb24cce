//! Definitions: what may take the place of what, and which nodes it reaches.

use std::collections::BTreeSet;

use proto::definition::{Definition, DefinitionError, Labels};
use proto::device::{self, NODE_LABEL};
use proto::limits::COLLECTIONS;
use proto::names::{CollectionName, NodeName};
use proto::op::Hash;
use proto::schema::Schema;
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted, stored};
use super::grants;
use super::indexes;
use super::job::CollectionApplied;
use super::nodes::parse_labels;
use super::refused::Refused;
use super::share;
use super::work::{JobError, Work};
use crate::limits::{DEFINITION_BYTES, DEFINITIONS_BYTES, GRANTS_PER_NODE};

/// Every collection but that of conflict rows, which follows the others: its id and definition.
pub(super) fn all(conn: &Connection) -> Result<Vec<(i64, Definition)>, StoreError> {
    conn.prepare_cached("SELECT id, name, definition FROM collections WHERE name <> '_conflicts' ORDER BY name")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?
        .map(|row| {
            let (id, name, json) = row?;
            Ok((id, parse(&name, &json)?))
        })
        .collect()
}

/// A definition as its row has it.
pub(super) fn parse(name: &str, json: &str) -> Result<Definition, StoreError> {
    Definition::parse(json).map_err(|error| StoreError::Damaged(format!("definition of {name}: {error}")))
}

/// What a definition would do, and what it takes the place of.
struct Plan {
    applied: CollectionApplied,
    json: String,
    old: Option<(i64, Definition)>,
    /// Every node, with what it would get.
    nodes: Vec<(i64, NodeName, Vec<String>)>,
}

/// What [`put`] would do.
pub(super) fn dry_run(
    conn: &Connection,
    name: &CollectionName,
    definition: &Definition,
) -> Result<Result<CollectionApplied, Refused>, StoreError> {
    match operators(name).and_then(|()| plan(conn, name, definition)) {
        Ok(plan) => Ok(Ok(plan.applied)),
        Err(JobError::Refused(refused)) => Ok(Err(refused)),
        Err(JobError::Store(error)) => Err(error),
    }
}

/// The system's collections are not an operator's to define or delete.
fn operators(name: &CollectionName) -> Result<(), JobError> {
    if name.is_system() { Err(Refused::System(name.clone()).into()) } else { Ok(()) }
}

fn plan(conn: &Connection, name: &CollectionName, definition: &Definition) -> Result<Plan, JobError> {
    definition.check().map_err(Refused::from)?;
    if let Some(schema) = &definition.schema {
        let invalid = |reason| DefinitionError::Invalid { field: "schema".to_owned(), reason };
        Schema::compile(schema).map_err(|error| Refused::from(invalid(error.to_string())))?;
    }
    let json = definition.to_json();
    let found: Option<(i64, String)> = conn
        .prepare_cached("SELECT id, definition FROM collections WHERE name = ?1")?
        .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let old = found.map(|(id, json)| Ok::<_, StoreError>((id, parse(name.as_str(), &json)?))).transpose()?;
    check_room(conn, name, &json, old.is_none())?;
    indexes::check(conn, old.as_ref().map(|(id, _)| *id), definition)?.map_err(Refused::from)?;
    if let Some((id, old)) = &old {
        check_change(conn, *id, old, definition)?;
    }
    let nodes = selection(conn, definition)?;
    let selects = nodes.iter().filter(|(_, _, shares)| !shares.is_empty()).count();
    let applied = CollectionApplied {
        created: old.is_none(),
        changed: old.as_ref().is_some_and(|(_, old)| old != definition),
        selects: selects as u64,
        nodes: nodes.len() as u64,
    };
    Ok(Plan { applied, json, old, nodes })
}

fn check_room(conn: &Connection, name: &CollectionName, json: &str, new: bool) -> Result<(), JobError> {
    if json.len() > DEFINITION_BYTES {
        return Err(Refused::TooLarge(format!("the definition of {name} has {} bytes; {DEFINITION_BYTES} is the most", json.len())).into());
    }
    let (count, bytes): (i64, i64) = conn
        .prepare_cached("SELECT count(*), coalesce(sum(length(definition)), 0) FROM collections WHERE name <> ?1")?
        .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if new && counted(count)? >= COLLECTIONS as u64 {
        return Err(Refused::Full(format!("there are {COLLECTIONS} collections, the most there may be")).into());
    }
    if counted(bytes)? + json.len() as u64 > DEFINITIONS_BYTES {
        return Err(Refused::Full(format!("all definitions together have at most {DEFINITIONS_BYTES} bytes")).into());
    }
    Ok(())
}

/// What cannot change while there are records: what their stored form depends on.
fn check_change(conn: &Connection, id: i64, old: &Definition, new: &Definition) -> Result<(), JobError> {
    let fields: BTreeSet<_> = old.fields.keys().chain(new.fields.keys()).collect();
    let counter = fields.into_iter().find(|field| old.is_counter(field) != new.is_counter(field));
    let field_of = |definition: &Definition| definition.partition.as_ref().map(|partition| partition.field.clone());
    let (field, what) = match counter {
        Some(counter) => (format!("fields.{counter}.type"), "a field cannot become a counter, or stop being one,"),
        None if field_of(old) != field_of(new) => ("partition.field".to_owned(), "the partition field cannot change"),
        None if old.key != new.key => ("key".to_owned(), "the key fields cannot change"),
        None => return Ok(()),
    };
    let held: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM records WHERE collection = ?1 AND deleted = 0)")?
        .query_row([id], |row| row.get(0))?;
    if held {
        let reason = format!("{what} while there are records: export them, delete the collection, apply the new definition, import them");
        return Err(Refused::CannotChange { field, reason }.into());
    }
    Ok(())
}

/// Every node, and the partitions that it would get.
fn selection(conn: &Connection, definition: &Definition) -> Result<Vec<(i64, NodeName, Vec<String>)>, StoreError> {
    conn.prepare_cached("SELECT id, name, labels FROM nodes WHERE revoked = 0")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?
        .map(|row| {
            let (id, name, labels) = row?;
            let name = NodeName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?;
            let partitions = definition.partitions(&own_labels(&name, parse_labels(&labels)?));
            Ok((id, name, partitions.iter().map(|partition| share::encode(partition.as_deref())).collect()))
        })
        .collect()
}

/// A node's labels with the one that holds its name.
pub(super) fn own_labels(node: &NodeName, mut labels: Labels) -> Labels {
    labels.insert(NODE_LABEL.to_owned(), node.to_string());
    labels
}

/// Brings the collections of devices in line with this version's definitions of them.
pub(super) fn define_devices(work: &mut Work<'_>) -> Result<(), JobError> {
    device::definitions().iter().try_for_each(|(name, definition)| settle(work, name, definition).map(drop))
}

/// Creates or changes an operator's definition; the grants follow in the same transaction.
pub(super) fn put(work: &mut Work<'_>, name: &CollectionName, definition: &Definition) -> Result<CollectionApplied, JobError> {
    operators(name)?;
    settle(work, name, definition)
}

fn settle(work: &mut Work<'_>, name: &CollectionName, definition: &Definition) -> Result<CollectionApplied, JobError> {
    let plan = plan(work.conn, name, definition)?;
    if !plan.applied.created && !plan.applied.changed {
        return Ok(plan.applied);
    }
    let revision = work.head + 1;
    let id = match &plan.old {
        Some((id, _)) => {
            work.conn.prepare_cached("UPDATE collections SET revision = ?2, definition = ?3 WHERE id = ?1")?.execute((
                id,
                stored(revision)?,
                &plan.json,
            ))?;
            *id
        }
        None => {
            work.conn.prepare_cached("INSERT INTO collections (name, revision, definition) VALUES (?1, ?2, ?3)")?.execute((
                name.as_str(),
                stored(revision)?,
                &plan.json,
            ))?;
            work.conn.last_insert_rowid()
        }
    };
    indexes::settle(work.conn, id, Some(definition))?;
    // Cut otherwise: the same partition is another grant, and what the edge holds of the old one goes.
    let anew = plan.old.as_ref().is_some_and(|(_, old)| old.partition != definition.partition);
    for (node, node_name, shares) in &plan.nodes {
        if regrant(work.conn, *node, id, shares, anew, revision)? {
            work.marks.nodes.insert(node_name.clone());
        }
    }
    work.catalog.begin();
    work.head = revision;
    Ok(plan.applied)
}

/// Brings a node's grants of one collection in line. Tells whether the node is concerned at all: the definition travels
/// with the grants.
fn regrant(conn: &Connection, node: i64, collection: i64, wanted: &[String], anew: bool, revision: u64) -> Result<bool, JobError> {
    let held: Vec<String> = conn
        .prepare_cached("SELECT share FROM node_grants WHERE node = ?1 AND collection = ?2")?
        .query_map((node, collection), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for share in held.iter().filter(|share| !wanted.contains(share)) {
        grants::take(conn, node, collection, share)?;
    }
    for share in wanted.iter().filter(|share| anew || !held.contains(share)) {
        grants::give(conn, node, collection, share, revision)?;
    }
    if held.is_empty() && wanted.is_empty() {
        return Ok(false);
    }
    let all: i64 = conn.prepare_cached("SELECT count(*) FROM node_grants WHERE node = ?1")?.query_row([node], |row| row.get(0))?;
    if all as usize > GRANTS_PER_NODE {
        return Err(Refused::Full(format!("a node would get {all} partitions; {GRANTS_PER_NODE} is the most")).into());
    }
    grants::mark(conn, node, revision)?;
    Ok(true)
}

/// Removes a definition. Its nodes lose their grants now; its records go step by step, see `tidy`. Conflict rows about it
/// go at once: a new collection of the name must not bring them back.
pub(super) fn delete(work: &mut Work<'_>, name: &CollectionName) -> Result<(), JobError> {
    operators(name)?;
    let entry = work.catalog.get(work.conn, name)?.ok_or_else(|| Refused::NoCollection(name.clone()))?;
    let revision = work.head + 1;
    let holders: Vec<(i64, String)> = work
        .conn
        .prepare_cached("SELECT DISTINCT n.id, n.name FROM node_grants g JOIN nodes n ON n.id = g.node WHERE g.collection = ?1")?
        .query_map([entry.id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (node, node_name) in holders {
        grants::mark(work.conn, node, revision)?;
        work.marks.nodes.extend(NodeName::parse(&node_name).ok());
    }
    forget_conflicts(work, entry.id)?;
    indexes::settle(work.conn, entry.id, None)?;
    for statement in [
        "DELETE FROM node_grants WHERE collection = ?1",
        "DELETE FROM digests WHERE collection = ?1",
        "DELETE FROM records WHERE collection = (SELECT id FROM collections WHERE name = '_conflicts')
             AND key IN (SELECT id FROM conflicts WHERE collection = ?1)",
        "DELETE FROM conflicts WHERE collection = ?1",
        "DELETE FROM floors WHERE collection = ?1",
        "DELETE FROM collections WHERE id = ?1",
        "INSERT INTO doomed (collection) VALUES (?1)",
    ] {
        work.conn.prepare_cached(statement)?.execute([entry.id])?;
    }
    work.catalog.begin();
    work.head = revision;
    Ok(())
}

/// The conflict rows about a collection go without a trace, and out of their partitions' digests.
fn forget_conflicts(work: &mut Work<'_>, about: i64) -> Result<(), StoreError> {
    let conflicts = grants::conflicts_id(work.conn)?;
    let mut query = work.conn.prepare_cached(
        "SELECT share, hash FROM records WHERE collection = ?1 AND key IN (SELECT id FROM conflicts WHERE collection = ?2)",
    )?;
    let mut rows = query.query((conflicts, about))?;
    while let Some(row) = rows.next()? {
        let (share, hash): (Option<String>, Option<Hash>) = (row.get(0)?, row.get(1)?);
        work.digests.remove(conflicts, share.as_deref(), hash.as_ref());
    }
    Ok(())
}
