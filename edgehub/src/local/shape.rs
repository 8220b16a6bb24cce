//! Rows of the edge database as the API's shapes.

use std::time::Duration;

use api::hub::{Collection, ConflictRow};
use api::problem::{Code, Problem};
use api::shapes::{RawJson, Record, RecordSync, Time, Write, WriteOp, WriteState};
use metamanager::{ReadError, Refusal, Status, ViewRow, WriteError};
use proto::frame::DefinitionText;
use proto::ids::WriteId;
use proto::names::CollectionName;
use proto::op::Verdict;

use super::LocalHub;

impl LocalHub {
    pub(super) fn shape_record(&self, collection: &CollectionName, row: ViewRow) -> Result<Record, Problem> {
        let pending = row.pending.iter().map(|number| self.write_id(*number)).collect::<Result<Vec<_>, _>>()?;
        let writer = match &row.writer {
            Some(id) => writer_of(id),
            None => self.node()?.to_string(),
        };
        Ok(Record {
            collection: collection.to_string(),
            key: row.key.to_string(),
            value: RawJson::trusted(row.value),
            revision: row.revision,
            updated_at: Time(row.updated_ms),
            writer,
            actor: row.actor,
            sync: RecordSync { pending, conflicts: row.conflicts },
        })
    }

    pub(super) fn shape_write(&self, row: metamanager::WriteRow) -> Result<Write, Problem> {
        let outcome = row.outcome;
        Ok(Write {
            id: self.write_id(row.number)?,
            state: state(row.state),
            at: Time(row.at_ms),
            actor: row.write.actor,
            // A lost write was decided at no revision of this history.
            revision: outcome.as_ref().map(|outcome| outcome.revision).filter(|revision| revision.0 > 0),
            code: outcome.as_ref().and_then(|outcome| outcome.code.clone()),
            detail: outcome.as_ref().and_then(|outcome| outcome.detail.clone()),
            conflicts: outcome.map(|outcome| outcome.conflicts).unwrap_or_default(),
            resent_as: row.resent.map(|number| self.write_id(number)).transpose()?,
            ops: row.write.ops.iter().map(WriteOp::from).collect(),
        })
    }
}

/// The node in a write's id, or `cloud`.
pub(super) fn writer_of(id: &str) -> String {
    id.split(':').next().unwrap_or_default().to_owned()
}

pub(super) fn state(state: metamanager::WriteState) -> WriteState {
    match state {
        metamanager::WriteState::Pending => WriteState::Pending,
        metamanager::WriteState::Answered(Verdict::Applied) => WriteState::Applied,
        metamanager::WriteState::Answered(Verdict::Merged) => WriteState::Merged,
        metamanager::WriteState::Answered(Verdict::Flagged) => WriteState::Flagged,
        metamanager::WriteState::Answered(Verdict::Rejected) => WriteState::Rejected,
        metamanager::WriteState::Answered(Verdict::Lost) => WriteState::Lost,
    }
}

pub(super) fn stored_state(state: WriteState) -> metamanager::WriteState {
    match state {
        WriteState::Pending => metamanager::WriteState::Pending,
        WriteState::Applied => metamanager::WriteState::Answered(Verdict::Applied),
        WriteState::Merged => metamanager::WriteState::Answered(Verdict::Merged),
        WriteState::Flagged => metamanager::WriteState::Answered(Verdict::Flagged),
        WriteState::Rejected => metamanager::WriteState::Answered(Verdict::Rejected),
        WriteState::Lost => metamanager::WriteState::Answered(Verdict::Lost),
    }
}

pub(super) fn collection(row: DefinitionText, status: &Status) -> Collection {
    let records = status.collections.iter().find(|held| held.name == row.name).map_or(0, |held| held.view);
    Collection { name: row.name, revision: row.revision, records, definition: RawJson::trusted(row.json) }
}

pub(super) fn conflict(row: metamanager::ConflictRow) -> ConflictRow {
    ConflictRow { collection: row.collection, row: RawJson::trusted(row.row) }
}

/// A write of this database that was trimmed, or never existed.
pub(super) fn gone(id: &WriteId) -> Problem {
    Problem::not_found(format!("write {id} is not known here: this database has not made it, or no longer keeps it"))
}

pub(super) fn read_problem(error: ReadError) -> Problem {
    match error {
        ReadError::UnknownCollection(name) => Problem::no_collection(&name),
        ReadError::NotSynced => not_synced(),
        ReadError::NoIndex(error) => error.into(),
        ReadError::Store(error) => Problem::internal(error),
    }
}

pub(super) fn not_synced() -> Problem {
    Problem::new(Code::NotSynced, "the definitions have not arrived from the cloud yet").retry_after(Duration::from_secs(2))
}

pub(super) fn write_problem(error: WriteError) -> Problem {
    // The rules that both sides share have one wording.
    if let Refusal::Resolve(reason) = &error.reason {
        return reason.clone().into();
    }
    let problem = match error.code() {
        "not_synced" => return not_synced(),
        code => match Code::ALL.iter().find(|known| known.as_str() == code) {
            Some(Code::Internal) | None => return Problem::internal(error),
            Some(known) => Problem::new(*known, error.to_string()),
        },
    };
    let problem = match &error.collection {
        Some(name) => problem.collection(name),
        None => problem,
    };
    let problem = match &error.key {
        Some(key) => problem.key(key),
        None => problem,
    };
    match error.field() {
        Some(field) => problem.field(field),
        None => problem,
    }
}
