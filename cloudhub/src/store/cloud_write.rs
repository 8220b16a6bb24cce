//! Writes through the cloud's API: built against the stored records, judged, and applied, all in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::build::{Action, Request, Scene, Side, build};
use proto::device;
use proto::ids::{Revision, WriteId};
use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::{Body, Op, Outcome, Verdict, Write};
use proto::overlay::lay;
use proto::repeat::{self, Did, Told};

use super::apply::{By, WriteEntry, apply, put_write};
use super::catalog::Entry;
use super::error::{StoreError, stored};
use super::job::{CloudOp, CloudWrite, Condition, OpResult, Written};
use super::reads;
use super::refused::Refused;
use super::requests::{self, Asked, Known};
use super::resolve;
use super::rows::WriteRow;
use super::work::{JobError, Work};
use super::world::{SqlWorld, stored_record};
use crate::reconcile::{Author, Decision, Judged, judge};

/// A record as the ops of one write see it, in their order.
struct Seen {
    /// It existed before the write.
    existed: bool,
    revision: Option<Revision>,
    view: Option<Value>,
}

type Table = BTreeMap<(CollectionName, Key), Seen>;

/// Builds, judges, applies; a write that is rejected leaves nothing.
pub(super) fn write(work: &mut Work<'_>, job: CloudWrite) -> Result<Written, JobError> {
    let request = job.idempotency.as_ref().map(|named| Asked::of_caller(&job.caller, named));
    if let Some(request) = &request
        && let Some(known) = requests::find(work.conn, request)?
    {
        return again(work, &job, request, known);
    }
    let mut table = Table::new();
    let mut ops = Vec::new();
    let count = job.ops.len();
    let asked = resolve::expand(work, job.ops)?;
    for op in &asked {
        ops.extend(build_op(work, &mut table, op)?);
    }
    let revision = work.head + 1;
    let hlc = work.tick();
    let write = Write { hlc, at_ms: work.now_ms, actor: job.actor, request_id: job.request_id, idempotency: job.idempotency, ops };
    write.check_size().map_err(|error| Refused::TooLarge(error.why))?;
    let force = job.admin && write.ops.iter().any(|op| matches!(op.body, Body::Delete { force: true }));
    let decision = if write.ops.is_empty() { nothing(revision) } else { judge_cloud(work, &write, force, revision)? };
    if decision.outcome.verdict >= Verdict::Rejected {
        return Err(refusal(decision).into());
    }
    let id = WriteId::Cloud(Revision(revision));
    apply(work, &decision, &By { writer: id.to_string(), actor: write.actor.as_deref(), node: 0, revision })?;
    keep(work, &write, &decision.outcome)?;
    work.head = revision;
    let results = results(work, &table, &asked)?;
    if let Some(request) = &request {
        // What resolved a conflict became other ops, which tell what it did.
        let told = if asked.len() == count { told(work, &table, &asked)? } else { Vec::new() };
        requests::keep(work, request, &id, &decision.outcome, &told)?;
    }
    let outcome = decision.outcome;
    let write = WriteRow {
        id,
        verdict: outcome.verdict,
        revision: outcome.revision,
        code: outcome.code,
        detail: outcome.detail,
        conflicts: outcome.conflicts,
        actor: write.actor,
        at_ms: write.at_ms,
        ops: write.ops,
    };
    Ok(Written { write, results })
}

/// Only appends of what is there already: applied, and no effect.
fn nothing(revision: u64) -> Decision {
    let outcome = Outcome { verdict: Verdict::Applied, revision: Revision(revision), code: None, detail: None, conflicts: Vec::new() };
    Decision { outcome, records: Vec::new(), conflicts: Vec::new(), field: None }
}

/// A write that has seen the head.
pub(super) fn judge_cloud(work: &Work<'_>, write: &Write, force: bool, revision: u64) -> Result<Decision, StoreError> {
    let world = SqlWorld { conn: work.conn, catalog: work.catalog, shares: None, kin: None, database: 0 };
    judge(&cloud(write, force, revision, work.now_ms), &world)
}

/// The cloud's own write as it is judged.
pub(super) fn cloud(write: &Write, force: bool, revision: u64, now_ms: u64) -> Judged<'_> {
    let revision = Revision(revision);
    Judged { author: Author::Cloud { force }, id: WriteId::Cloud(revision), write, hlc: write.hlc, revision, now_ms }
}

/// Why a cloud write was rejected, in the words of its outcome.
pub(super) fn refusal(decision: Decision) -> Refused {
    let (outcome, field) = (decision.outcome, decision.field);
    let code = outcome.code.unwrap_or_else(|| "guard".to_owned());
    let detail = outcome.detail.unwrap_or_else(|| format!("rejected: {code}"));
    if code == "too_large" { Refused::TooLarge(detail) } else { Refused::Rejected { code, detail, field } }
}

/// Remembers what was decided under `cloud:REVISION`.
pub(super) fn keep(work: &mut Work<'_>, write: &Write, outcome: &Outcome) -> Result<(), StoreError> {
    let payload = if write.ops.is_empty() { Vec::new() } else { write.encode() };
    let entry = WriteEntry {
        database: 0,
        number: outcome.revision.0,
        hash: proto::op::hash(&payload),
        revision: outcome.revision.0,
        outcome,
        actor: write.actor.as_deref(),
        payload: &payload,
    };
    put_write(work, &entry)
}

fn build_op(work: &Work<'_>, table: &mut Table, op: &CloudOp) -> Result<Option<Op>, JobError> {
    let system = op.collection.is_system() && !device::holds(&op.collection);
    if system && !matches!(op.action, Action::Close { .. }) {
        return Err(Refused::System(op.collection.clone()).into());
    }
    let entry = work.catalog.get(work.conn, &op.collection)?.ok_or_else(|| Refused::NoCollection(op.collection.clone()))?;
    let key = key_of(&entry, op)?;
    let place = (op.collection.clone(), key.clone());
    if !table.contains_key(&place) {
        table.insert(place.clone(), look(work, &entry, &key)?);
    }
    let Some(seen) = table.get_mut(&place) else { return Ok(None) };
    let matched = check(op, &key, seen)?;
    let expect = if let Condition::Revision(revision) = op.condition { Some(revision) } else { None };
    let create = op.condition == Condition::Absent;
    let action = match &op.action {
        Action::Put { value, create: asked } => Action::Put { value: value.clone(), create: *asked || create },
        other => other.clone(),
    };
    let request = Request { collection: op.collection.clone(), key, action, expect };
    let built = build(&request, &scene(&entry, seen.view.as_ref(), work.head, matched)).map_err(Refused::from)?;
    if let Some(built) = &built {
        seen.view = lay(seen.view.take(), built);
    }
    Ok(built)
}

/// What the cloud knows when it builds an op: everything.
pub(super) fn scene<'a>(entry: &'a Arc<Entry>, view: Option<&'a Value>, head: u64, matched: bool) -> Scene<'a> {
    Scene { defined: &entry.defined, view, seen: Revision(head), depends: None, stands_on: &[], matched, side: Side::Cloud }
}

fn look(work: &Work<'_>, entry: &Entry, key: &Key) -> Result<Seen, StoreError> {
    let record = stored_record(work.conn, entry.id, key)?.filter(|record| record.live().is_some());
    let revision = record.as_ref().map(|record| record.revision);
    let view = record.and_then(|record| record.live().cloned());
    Ok(Seen { existed: view.is_some(), revision, view })
}

/// A POST takes the value's own key where the definition names key fields and they are all there.
fn key_of(entry: &Entry, op: &CloudOp) -> Result<Key, Refused> {
    match (&op.action, op.key_from_value) {
        (Action::Put { value, .. }, true) => {
            let own = entry.defined.definition.key_of(value).map_err(proto::build::BuildError::from)?;
            Ok(own.unwrap_or_else(|| op.key.clone()))
        }
        _ => Ok(op.key.clone()),
    }
}

/// Judges a precondition against the stored record; tells whether it named the present version.
fn check(op: &CloudOp, key: &Key, seen: &Seen) -> Result<bool, Refused> {
    let held = match &op.condition {
        Condition::None => return Ok(false),
        Condition::Absent => !seen.existed,
        Condition::Present => seen.existed,
        Condition::Revisions(revisions) => seen.revision.is_some_and(|revision| revisions.contains(&revision)),
        Condition::Revision(revision) => seen.revision.unwrap_or(Revision::ZERO) == *revision,
    };
    // POST says "absent" too, and what it hears then is that the key is taken.
    let post = op.condition == Condition::Absent && op.key_from_value;
    if !held && !post {
        return Err(Refused::precondition(&op.collection, key.as_str(), seen.revision));
    }
    Ok(matches!(op.condition, Condition::Revisions(_) | Condition::Revision(_)))
}

/// What became of each changed record, in the order of the ops.
fn results(work: &Work<'_>, table: &Table, ops: &[CloudOp]) -> Result<Vec<OpResult>, JobError> {
    let mut told = BTreeSet::new();
    let mut results = Vec::new();
    for op in ops.iter().filter(|op| !matches!(op.action, Action::Check(_) | Action::Close { .. })) {
        let entry = work.catalog.get(work.conn, &op.collection)?.ok_or_else(|| Refused::NoCollection(op.collection.clone()))?;
        let place = (op.collection.clone(), key_of(&entry, op)?);
        if told.contains(&place) {
            continue;
        }
        let existed = table.get(&place).is_some_and(|seen| seen.existed);
        results.push(match reads::record(work.conn, entry.id, &place.0, &place.1)? {
            Some(row) if existed => OpResult::Changed(row),
            Some(row) => OpResult::Created(row),
            None => OpResult::Deleted { collection: place.0.clone(), key: place.1.clone() },
        });
        told.insert(place);
    }
    Ok(results)
}

/// What is told of each op, for whoever asks the same again.
fn told(work: &Work<'_>, table: &Table, ops: &[CloudOp]) -> Result<Vec<u8>, JobError> {
    let mut told = Vec::with_capacity(ops.len());
    for op in ops {
        let entry = work.catalog.get(work.conn, &op.collection)?.ok_or_else(|| Refused::NoCollection(op.collection.clone()))?;
        let place = (op.collection.clone(), key_of(&entry, op)?);
        let did = match table.get(&place) {
            _ if matches!(op.action, Action::Check(_)) => Did::Checked,
            Some(Seen { view: None, .. }) | None => Did::Deleted,
            Some(Seen { existed: true, .. }) => Did::Changed,
            Some(_) => Did::Created,
        };
        told.push((did, op.key_from_value.then_some(place.1)));
    }
    Ok(repeat::pack(told.iter().map(|(did, key)| (*did, key.as_ref()))))
}

/// Answers a request that was made before: with its write, and its records as they are now.
fn again(work: &Work<'_>, job: &CloudWrite, request: &Asked, known: Known) -> Result<Written, JobError> {
    if !known.is(request) {
        return Err(Refused::KeyReused { write: known.write }.into());
    }
    let id = WriteId::Cloud(known.revision);
    let kept = reads::write(work.conn, &id)?;
    let mut results = Vec::new();
    let mut seen = BTreeSet::new();
    for (collection, key, did) in touched(job, &known, kept.as_ref())? {
        if seen.insert((collection.clone(), key.clone())) {
            results.push(now(work, collection, key, did)?);
        }
    }
    let write = kept.unwrap_or_else(|| WriteRow {
        id,
        verdict: known.verdict,
        revision: known.revision,
        code: known.code,
        detail: None,
        conflicts: Vec::new(),
        actor: None,
        at_ms: known.at_ms,
        ops: Vec::new(),
    });
    Ok(Written { write, results })
}

/// The records that a request changed, and how: as it was told then, or as the ops that it became say, while they are kept.
fn touched(job: &CloudWrite, known: &Known, kept: Option<&WriteRow>) -> Result<Vec<(CollectionName, Key, Did)>, StoreError> {
    let told = repeat::unpack(&known.told).ok_or_else(|| StoreError::Damaged(format!("the answer of {}", known.write)))?;
    let changed = |(.., did): &(CollectionName, Key, Did)| *did != Did::Checked;
    if told.len() == job.ops.len() {
        let one = |(op, told): (&CloudOp, Told)| (op.collection.clone(), told.key.unwrap_or_else(|| op.key.clone()), told.did);
        return Ok(job.ops.iter().zip(told).map(one).filter(changed).collect());
    }
    let ops = kept.map_or(&[][..], |kept| &kept.ops);
    let did = |op: &Op| match op.body {
        Body::Delete { .. } => Did::Deleted,
        Body::Check(_) => Did::Checked,
        _ => Did::Changed,
    };
    Ok(ops.iter().map(|op| (op.collection.clone(), op.key.clone(), did(op))).filter(changed).collect())
}

/// A record that a request was about, as it is now.
fn now(work: &Work<'_>, collection: CollectionName, key: Key, did: Did) -> Result<OpResult, JobError> {
    let row = match work.catalog.get(work.conn, &collection)? {
        Some(entry) if did != Did::Deleted => reads::record(work.conn, entry.id, &collection, &key)?,
        _ => None,
    };
    Ok(match (row, did) {
        (Some(row), Did::Created) => OpResult::Created(row),
        (Some(row), _) => OpResult::Changed(row),
        (None, Did::Created) => OpResult::Gone { collection, key },
        (None, _) => OpResult::Deleted { collection, key },
    })
}

/// Drops what is kept of a write of this API. It took effect, and goes on to.
pub(super) fn discard(work: &Work<'_>, revision: Revision) -> Result<(), JobError> {
    let mut delete = work.conn.prepare_cached("DELETE FROM writes WHERE revision = ?1 AND database = 0")?;
    if delete.execute([stored(revision.0)?])? == 1 {
        return Ok(());
    }
    Err(Refused::NotFound { what: "write", id: WriteId::Cloud(revision).to_string() }.into())
}
