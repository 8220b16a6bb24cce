//! Who set which field of a record, as far as that is known here: the cloud keeps the history of single fields.

use api::problem::Problem;
use api::shapes::{FieldChange, RecordFields, Time};
use metamanager::{ReadError, Reader, ViewRow, WriteRow};
use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::{Body, Op};

use super::{LocalHub, shape};

/// What was read of a record: as it is shown, as the cloud last said it is, and the pending writes that it names, oldest first.
struct Known {
    shown: ViewRow,
    base: Option<ViewRow>,
    writes: Vec<WriteRow>,
}

impl LocalHub {
    pub(super) fn record_fields(&self, collection: &CollectionName, key: &Key, base: bool) -> Result<RecordFields, Problem> {
        let node = self.node()?;
        let found = self.store.read(|reader| read(reader, collection, key, base)).map_err(shape::read_problem)?;
        let known = found.ok_or_else(|| Problem::no_record(collection.as_str(), key.as_str()))?;
        let value = Value::read(&known.shown.value).map_err(|error| Problem::internal(format!("the value of record {key}: {error}")))?;
        let created = as_created(&known);
        let change = |field: &str| known.pending(collection, key, field, node.as_str()).unwrap_or_else(|| created.clone());
        let fields = value.fields().map(|(field, _)| (field.to_owned(), change(field))).collect();
        Ok(RecordFields { record: self.shape_record(collection, known.shown)?, fields })
    }
}

fn read(reader: &mut Reader, collection: &CollectionName, key: &Key, only_base: bool) -> Result<Option<Known>, ReadError> {
    let base = reader.get_base(collection, key)?;
    if only_base {
        return Ok(base.map(|base| Known { shown: base.clone(), base: Some(base), writes: Vec::new() }));
    }
    let Some(shown) = reader.get(collection, key)? else { return Ok(None) };
    let mut writes = Vec::new();
    for number in &shown.pending {
        writes.extend(reader.write(*number)?);
    }
    Ok(Some(Known { shown, base, writes }))
}

impl Known {
    /// The newest pending write that set a field.
    fn pending(&self, collection: &CollectionName, key: &Key, field: &str, node: &str) -> Option<FieldChange> {
        let sets = |op: &Op| op.collection == *collection && op.key == *key && sets(&op.body, field);
        let newest = self.writes.iter().rev().find(|row| row.write.ops.iter().any(sets))?;
        Some(FieldChange { revision: None, at: Some(Time(newest.at_ms)), writer: Some(node.to_owned()), actor: newest.write.actor.clone() })
    }
}

/// What no pending write set stands as it was created, where nothing has changed since. Else nothing is known of it, and neither
/// where more writes are pending than a record names.
fn as_created(known: &Known) -> FieldChange {
    let all_named = known.writes.len() == known.shown.pending.len() && known.writes.len() < metamanager::limits::LAID_LISTED;
    match &known.base {
        Some(base) if all_named && base.revision == base.born && base.revision == known.shown.revision => FieldChange {
            revision: Some(base.revision),
            at: Some(Time(base.updated_ms)),
            writer: base.writer.as_deref().map(shape::writer_of),
            actor: base.actor.clone(),
        },
        _ => FieldChange::default(),
    }
}

fn sets(body: &Body, field: &str) -> bool {
    match body {
        Body::Put(value) => value.get(field).is_some(),
        Body::Merge(changes) => changes.iter().any(|change| change.field == field),
        Body::Increment(by) => by.iter().any(|(counter, _)| counter == field),
        Body::Delete { .. } | Body::Check(_) => false,
    }
}
