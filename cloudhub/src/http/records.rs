//! Records and conflicts: read in one transaction, or changed in one.

use api::hub::{
    Condition, ConflictFilter, ConflictPage, ConflictRow, ExportPage, ListQuery, MutationAnswer, MutationRequest, OpAction, OpRequest,
    OpResult, Page, PageToken, Role,
};
use api::problem::Problem;
use api::shapes::{ConflictState, RawJson, Record, RecordFields};
use proto::build::Action;
use proto::names::{CollectionName, Key};

use super::watch::Place;
use super::{CloudHub, by, shape, unexpected};
use crate::store::{self, Answer, CloudOp, CloudWrite, CollectionRow, ConflictsRequest, Job, Refused};

impl CloudHub {
    pub(super) async fn definition(&self, name: &CollectionName) -> Result<CollectionRow, Problem> {
        let asked = name.clone();
        let row = self.read(move |store| store.collection(&asked)).await?;
        row.ok_or_else(|| Problem::no_collection(name.as_str()))
    }

    pub(super) async fn list_records(&self, query: ListQuery) -> Result<Page, Problem> {
        let collection = query.collection.clone();
        let page = self.read(move |store| store.list(&query)).await?;
        let page = page.map_err(|refused| match refused {
            Refused::NoCollection(_) => Problem::no_collection(collection.as_str()),
            other => self.problem(other.into()),
        })?;
        Ok(Page {
            records: page.records.into_iter().map(shape::record).collect(),
            next: page.next,
            since: Place::of(page.since).to_string(),
        })
    }

    pub(super) async fn record(&self, collection: &CollectionName, key: &Key) -> Result<Record, Problem> {
        let place = (collection.clone(), key.clone());
        let found = self.read(move |store| store.record(&place.0, &place.1)).await?;
        match found {
            Some(row) => Ok(shape::record(row)),
            None => Err(self.no_record(collection, key).await),
        }
    }

    pub(super) async fn record_fields(&self, collection: &CollectionName, key: &Key) -> Result<RecordFields, Problem> {
        let place = (collection.clone(), key.clone());
        match self.read(move |store| store.record_fields(&place.0, &place.1)).await? {
            Some(found) => Ok(shape::record_fields(found)),
            None => Err(self.no_record(collection, key).await),
        }
    }

    /// Which of the two is missing decides what a person does next.
    async fn no_record(&self, collection: &CollectionName, key: &Key) -> Problem {
        match self.definition(collection).await {
            Ok(_) => Problem::no_record(collection.as_str(), key.as_str()),
            Err(problem) => problem,
        }
    }

    pub(super) async fn commit(&self, request: MutationRequest) -> Result<MutationAnswer, Problem> {
        let place = match request.ops.as_slice() {
            // A key that was only made is nobody's; where the value names one, the refusal does.
            [only] => Some((only.collection.clone(), (!matches!(only.action, OpAction::Create(_))).then(|| only.key.clone()))),
            _ => None,
        };
        let write = CloudWrite {
            ops: request.ops.into_iter().map(op).collect(),
            admin: request.origin.caller.role == Role::Admin,
            request_id: request.origin.travelling_id(),
            caller: by(&request.origin).to_owned(),
            idempotency: request.idempotency,
            actor: request.origin.actor,
        };
        let decided = self.job(Job::Write(Box::new(write))).await.map_err(|problem| about(problem, place))?;
        match decided {
            Answer::Written(written) => {
                Ok(MutationAnswer { write: shape::write(written.write), results: written.results.into_iter().map(result).collect() })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn export_records(&self, collection: &CollectionName, after: Option<Key>) -> Result<ExportPage, Problem> {
        let asked = collection.clone();
        let page = self.read(move |store| store.export(&asked, after.as_ref())).await?;
        let page = page.ok_or_else(|| Problem::no_collection(collection.as_str()))?;
        Ok(ExportPage {
            records: page.records.into_iter().map(|(key, value)| (key, RawJson::trusted(value))).collect(),
            key_in_value: page.key_in_value,
            next: page.next,
        })
    }

    pub(super) async fn list_conflicts(&self, filter: ConflictFilter) -> Result<ConflictPage, Problem> {
        let state = filter.state.map(|state| match state {
            ConflictState::Open => "open",
            ConflictState::Auto => "auto",
            ConflictState::Resolved => "resolved",
        });
        let request = ConflictsRequest {
            state: state.map(str::to_owned),
            after: filter.after.map(|token| token.to_number()).transpose()?,
            limit: filter.limit,
            collections: filter.collections.map(|names| names.to_vec()),
        };
        let (rows, next) = self.read(move |store| store.conflicts(&request)).await?;
        Ok(ConflictPage { conflicts: rows.into_iter().map(shape::conflict).collect(), next: next.map(PageToken::of_number) })
    }

    pub(super) async fn one_conflict(&self, id: &str) -> Result<ConflictRow, Problem> {
        let asked = id.to_owned();
        let row = self.read(move |store| store.conflict(&asked)).await?;
        row.map(shape::conflict).ok_or_else(|| Problem::not_found(format!("there is no conflict {id:?} here")))
    }
}

/// A refusal of a write with one op is about that op's record.
fn about(problem: Problem, place: Option<(CollectionName, Option<Key>)>) -> Problem {
    let Some((collection, key)) = place else { return problem };
    let problem = problem.collection(collection.as_str());
    match key {
        Some(key) => problem.key(key.as_str()),
        None => problem,
    }
}

fn op(request: OpRequest) -> CloudOp {
    let key_from_value = matches!(request.action, OpAction::Create(_));
    let action = match request.action {
        OpAction::Create(value) => Action::Put { value, create: true },
        OpAction::Put(value) => Action::Put { value, create: false },
        OpAction::Merge(patch) => Action::Merge(patch),
        OpAction::Increment(by) => Action::Increment(by.into_iter().collect()),
        OpAction::Delete { force } => Action::Delete { force },
        OpAction::Check(fields) => Action::Check(fields.fields().map(|(name, raw)| (name.to_owned(), raw.clone())).collect()),
        OpAction::Resolve(resolve) => Action::Resolve(resolve),
    };
    let condition = condition(request.condition);
    CloudOp { collection: request.collection, key: request.key, key_from_value, action, condition }
}

/// A tag of an edge that names a pending write is of no version that the cloud ever had.
fn condition(condition: Condition) -> store::Condition {
    match condition {
        Condition::None => store::Condition::None,
        Condition::Absent => store::Condition::Absent,
        Condition::Present => store::Condition::Present,
        Condition::Match(tags) => {
            store::Condition::Revisions(tags.into_iter().filter(|tag| tag.write.is_none()).map(|tag| tag.revision).collect())
        }
        Condition::Revision(revision) => store::Condition::Revision(revision),
    }
}

fn result(result: store::OpResult) -> OpResult {
    match result {
        store::OpResult::Created(row) => OpResult::Created(shape::record(row)),
        store::OpResult::Changed(row) => OpResult::Changed(shape::record(row)),
        store::OpResult::Gone { collection, key } => OpResult::Gone { collection: collection.to_string(), key: key.to_string() },
        store::OpResult::Deleted { collection, key } => OpResult::Deleted { collection: collection.to_string(), key: key.to_string() },
    }
}
