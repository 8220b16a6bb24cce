//! Rows of the store as the API's shapes.

use api::hub::{Collection, ConflictRow};
use api::shapes::{FieldChange, RawJson, Record, RecordFields, RecordSync, Time, Write, WriteOp, WriteState};
use proto::op::Verdict;

use crate::store::{self, CollectionRow, FieldRow, RecordRow, WriteRow};

pub(super) fn record(row: RecordRow) -> Record {
    Record {
        collection: row.collection.to_string(),
        key: row.key.to_string(),
        value: RawJson::trusted(row.value),
        revision: row.revision,
        updated_at: Time(row.updated_ms),
        writer: writer_of(&row.writer).to_owned(),
        actor: row.actor,
        sync: RecordSync { pending: Vec::new(), conflicts: row.conflicts },
    }
}

pub(super) fn record_fields(found: store::RecordFields) -> RecordFields {
    let change = |row: FieldRow| {
        let change = FieldChange { revision: row.revision, at: row.at_ms.map(Time), writer: row.writer, actor: row.actor };
        (row.name, change)
    };
    RecordFields { record: record(found.record), fields: found.fields.into_iter().map(change).collect() }
}

/// The node in a write's id, or `cloud`.
fn writer_of(id: &str) -> &str {
    id.split(':').next().unwrap_or_default()
}

pub(super) fn write(row: WriteRow) -> Write {
    Write {
        id: row.id,
        state: state(row.verdict),
        at: Time(row.at_ms),
        actor: row.actor,
        revision: Some(row.revision),
        code: row.code,
        detail: row.detail,
        conflicts: row.conflicts,
        resent_as: None,
        ops: row.ops.iter().map(WriteOp::from).collect(),
    }
}

fn state(verdict: Verdict) -> WriteState {
    match verdict {
        Verdict::Applied => WriteState::Applied,
        Verdict::Merged => WriteState::Merged,
        Verdict::Flagged => WriteState::Flagged,
        Verdict::Rejected => WriteState::Rejected,
        Verdict::Lost => WriteState::Lost,
    }
}

/// The answer that a state is; a write that is pending somewhere is not known here.
pub(super) fn verdict(state: WriteState) -> Option<Verdict> {
    match state {
        WriteState::Pending => None,
        WriteState::Applied => Some(Verdict::Applied),
        WriteState::Merged => Some(Verdict::Merged),
        WriteState::Flagged => Some(Verdict::Flagged),
        WriteState::Rejected => Some(Verdict::Rejected),
        WriteState::Lost => Some(Verdict::Lost),
    }
}

pub(super) fn collection(row: CollectionRow) -> Collection {
    let definition = RawJson::trusted(row.definition.to_json());
    Collection { name: row.name, revision: row.revision, records: row.records, definition }
}

pub(super) fn conflict(row: store::ConflictRow) -> ConflictRow {
    ConflictRow { collection: row.collection.to_string(), row: RawJson::trusted(row.json) }
}
