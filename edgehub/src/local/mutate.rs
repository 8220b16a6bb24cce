//! Local writes: taken when they are durable here, whatever the link does.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::hub::{Condition, Etag, MutationAnswer, MutationRequest, OpAction, OpRequest, OpResult};
use api::problem::Problem;
use api::shapes::{Time, Write, WriteState};
use metamanager::{Committed, Did, LocalRequest, LocalWrite, Precondition, Refusal, WriteError, WriteRef};
use proto::build::{Action, Request};
use proto::ids::WriteId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{LocalHub, shape};

impl LocalHub {
    pub(super) async fn commit(&self, request: MutationRequest) -> Result<MutationAnswer, Problem> {
        self.node()?;
        let several = request.ops.len() > 1;
        let write = LocalWrite {
            requests: request.ops.into_iter().map(local).collect(),
            request_id: request.origin.travelling_id(),
            idempotency: request.idempotency,
            resends: None,
            actor: request.origin.actor,
        };
        let committed = self.durable(write).await.map_err(|error| refused(error, several))?;
        self.answer(committed, request.wait).await
    }

    /// What a write that is durable is answered with.
    pub(super) async fn answer(&self, committed: Committed, wait: Option<Duration>) -> Result<MutationAnswer, Problem> {
        let write = self.write_of(&committed, wait).await?;
        // Who waited for the outcome is answered with what it has left of the records.
        let outdated = wait.is_some() && write.is_final();
        let repeat = committed.repeat;
        // One entry a record, where the first op touched it: what the write as a whole made of it.
        let mut told = BTreeSet::new();
        let touched = committed.results.into_iter().filter(|laid| laid.did != Did::Checked);
        let results = touched.filter(|laid| told.insert((laid.collection.clone(), laid.key.clone()))).map(|mut laid| {
            if outdated && laid.view.is_some() {
                match self.store.read(|reader| reader.get(&laid.collection, &laid.key)) {
                    // Where the outcome took the record away again, the answer shows what was asked for, and the write why.
                    Ok(view) => laid.view = view.or(laid.view),
                    Err(error) => return Err(shape::read_problem(error)),
                }
            }
            let (collection, key) = (laid.collection.to_string(), laid.key.to_string());
            match (laid.did, laid.view) {
                // Whatever came after it: this is what the request did.
                (Did::Deleted, _) if repeat => Ok(OpResult::Deleted { collection, key }),
                (Did::Created, None) if repeat => Ok(OpResult::Gone { collection, key }),
                (Did::Created, Some(row)) => self.shape_record(&laid.collection, row).map(OpResult::Created),
                (_, Some(row)) => self.shape_record(&laid.collection, row).map(OpResult::Changed),
                (_, None) => Ok(OpResult::Deleted { collection, key }),
            }
        });
        Ok(MutationAnswer { write, results: results.collect::<Result<_, _>>()? })
    }

    /// Hands a write to the database's thread; ready when it is on disk, or refused.
    pub(super) async fn durable(&self, write: LocalWrite) -> Result<Committed, WriteError> {
        let (answer, committed) = oneshot::channel();
        self.store.commit_then(write, move |result| drop(answer.send(result)));
        let committed = committed.await.unwrap_or_else(|_| Err(Refusal::Closed.into()))?;
        if !committed.repeat {
            self.tally.committed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(committed)
    }

    /// The write itself, with its outcome where the request waits for that.
    async fn write_of(&self, committed: &Committed, wait: Option<Duration>) -> Result<Write, Problem> {
        let id: WriteId = match &committed.write {
            WriteRef::Own(number) if !committed.repeat => return self.settled(*number, wait).await,
            WriteRef::Own(number) => self.write_id(*number)?,
            WriteRef::Known(id) => id.parse().map_err(|_| Problem::internal(format!("a record's writer is no write id: {id}")))?,
        };
        if let Ok(number) = self.number_of(&id)
            && let Ok(write) = self.settled(number, wait).await
        {
            return Ok(write);
        }
        // Another node's write, or one that is no longer kept.
        let at = Time(committed.at_ms);
        let (state, detail) = match committed.kept_verdict {
            Some(verdict) => (shape::state(metamanager::WriteState::Answered(verdict)), None),
            None => (WriteState::Lost, Some("this database does not know any more what became of it".to_owned())),
        };
        let (conflicts, ops) = (Vec::new(), Vec::new());
        Ok(Write { id, state, at, actor: None, revision: None, code: None, detail, conflicts, resent_as: None, ops })
    }

    /// A write of this database; with `wait`, as soon as its outcome is known or the time is over.
    pub(super) async fn settled(&self, number: u64, wait: Option<Duration>) -> Result<Write, Problem> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        let mut answered = self.answered.clone();
        loop {
            answered.borrow_and_update();
            let row = self.store.read(|reader| reader.write(number)).map_err(shape::read_problem)?;
            let id = self.write_id(number)?;
            let write = self.shape_write(row.ok_or_else(|| shape::gone(&id))?)?;
            let Some(deadline) = deadline.filter(|_| !write.is_final()) else { return Ok(write) };
            match tokio::time::timeout_at(deadline, answered.changed()).await {
                Ok(Ok(())) => {}
                _ => return Ok(write),
            }
        }
    }
}

fn local(op: OpRequest) -> LocalRequest {
    let own_key = matches!(op.action, OpAction::Create(_));
    let expect = match &op.condition {
        Condition::Revision(revision) => Some(*revision),
        _ => None,
    };
    let request = Request { collection: op.collection, key: op.key, action: action(op.action), expect };
    LocalRequest { request, precondition: precondition(op.condition), own_key }
}

fn action(action: OpAction) -> Action {
    match action {
        OpAction::Create(value) => Action::Put { value, create: true },
        OpAction::Put(value) => Action::Put { value, create: false },
        OpAction::Merge(patch) => Action::Merge(patch),
        OpAction::Increment(by) => Action::Increment(by.into_iter().collect()),
        OpAction::Delete { force } => Action::Delete { force },
        OpAction::Check(fields) => Action::Check(fields.fields().map(|(name, raw)| (name.to_owned(), raw.clone())).collect()),
        OpAction::Resolve(resolve) => Action::Resolve(resolve),
    }
}

fn precondition(condition: Condition) -> Precondition {
    let tag = |etag: Etag| metamanager::Etag { revision: etag.revision, write: etag.write };
    match condition {
        Condition::None => Precondition::None,
        Condition::Absent => Precondition::Absent,
        Condition::Present => Precondition::Present,
        Condition::Match(tags) => Precondition::Match(tags.into_iter().map(tag).collect()),
        Condition::Revision(revision) => Precondition::Base(revision),
    }
}

/// Where a write has several ops, the refusal says which one it is about.
fn refused(error: WriteError, several: bool) -> Problem {
    let place = error.op.filter(|_| several);
    let problem = shape::write_problem(error);
    match place {
        Some(place) => problem.in_op(place),
        None => problem,
    }
}
