//! Imports: many lines, each judged alone, committed a thousand at a time under one revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::build::{Action, Request, build};
use proto::clock::Hlc;
use proto::ids::{Revision, WriteId};
use proto::json::Value;
use proto::limits::WRITE_BYTES;
use proto::names::Key;
use proto::op::{Body, Op, Outcome, Verdict, Write};
use rusqlite::Connection;

use super::apply::{By, apply};
use super::catalog::{Catalog, Entry};
use super::cloud_write::{cloud, judge_cloud, keep, refusal, scene};
use super::error::StoreError;
use super::job::{ImportChunk, ImportHow, ImportLine, ImportMode, Imported};
use super::refused::Refused;
use super::work::{JobError, Work};
use super::world::{SqlWorld, stored_record};
use crate::limits::IMPORT_LINES;
use crate::reconcile::judge;

/// Commits one chunk, or nothing of it.
pub(super) fn import(work: &mut Work<'_>, chunk: ImportChunk) -> Result<Imported, JobError> {
    let bytes: usize = chunk.lines.iter().map(|line| line.value.text_len()).sum();
    if chunk.lines.len() > IMPORT_LINES || bytes > WRITE_BYTES {
        return Err(Refused::TooLarge("a part of an import has at most 1,000 lines and 2 MiB".to_owned()).into());
    }
    let entry = target(work.conn, work.catalog, &chunk.how)??;
    let mut part = Part::begin(work, chunk.actor);
    let mut done = Imported::default();
    for line in &chunk.lines {
        let view = live(work.conn, &entry, &line.key)?;
        let Some(op) = line_op(&entry, &chunk.how, line, view.as_ref(), work.head)? else {
            done.unchanged += 1;
            continue;
        };
        part.line(work, op).map_err(|error| at_line(error, line.line))?;
        done.created += u64::from(view.is_none());
        done.changed += u64::from(view.is_some());
    }
    part.end(work)?;
    done.revision = Revision(work.head);
    Ok(done)
}

fn at_line(error: JobError, line: u64) -> JobError {
    match error {
        JobError::Refused(refused) => refused.at_line(line).into(),
        other => other,
    }
}

/// The lines of one revision: one write, as far as anybody sees.
struct Part {
    write: Write,
    revision: u64,
    outcome: Option<Outcome>,
}

impl Part {
    fn begin(work: &mut Work<'_>, actor: Option<String>) -> Self {
        let write = Write { hlc: work.tick(), at_ms: work.now_ms, actor, request_id: None, idempotency: None, ops: Vec::new() };
        Self { write, revision: work.head + 1, outcome: None }
    }

    fn line(&mut self, work: &mut Work<'_>, op: Op) -> Result<(), JobError> {
        self.write.ops = vec![op];
        let mut decision = judge_cloud(work, &self.write, false, self.revision)?;
        let opened = self.outcome.as_ref().is_some_and(|outcome| !outcome.conflicts.is_empty());
        if opened && !decision.conflicts.is_empty() {
            // Ids of conflict rows count within a revision's one write, so a second line that opens some starts the next.
            self.end(work)?;
            self.revision = work.head + 1;
            decision = judge_cloud(work, &self.write, false, self.revision)?;
        }
        if decision.outcome.verdict >= Verdict::Rejected {
            return Err(refusal(decision).into());
        }
        let writer = WriteId::Cloud(Revision(self.revision)).to_string();
        apply(work, &decision, &By { writer, actor: self.write.actor.as_deref(), node: 0, revision: self.revision })?;
        self.outcome = Some(stronger(self.outcome.take(), decision.outcome));
        Ok(())
    }

    fn end(&mut self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let Some(outcome) = self.outcome.take() else { return Ok(()) };
        let ops = std::mem::take(&mut self.write.ops);
        keep(work, &self.write, &outcome)?;
        self.write.ops = ops;
        work.head = self.revision;
        Ok(())
    }
}

/// The whole chunk is one write: its answer is the strongest of its lines, its conflicts are all of theirs.
fn stronger(so_far: Option<Outcome>, next: Outcome) -> Outcome {
    let Some(mut so_far) = so_far else { return next };
    if next.verdict > so_far.verdict {
        (so_far.verdict, so_far.code, so_far.detail) = (next.verdict, next.code, next.detail);
    }
    so_far.conflicts.extend(next.conflicts);
    so_far
}

/// Judges lines against one state and changes nothing.
pub(super) fn check(
    conn: &Connection,
    catalog: &Catalog,
    how: &ImportHow,
    lines: &[ImportLine],
    now_ms: u64,
) -> Result<Result<(), Refused>, StoreError> {
    let entry = match target(conn, catalog, how)? {
        Ok(entry) => entry,
        Err(refused) => return Ok(Err(refused)),
    };
    let head = super::reads::head(conn)?;
    let world = SqlWorld { conn, catalog, shares: None, kin: None, database: 0 };
    let mut created = BTreeMap::new();
    for line in lines {
        let view = live(conn, &entry, &line.key)?;
        if how.mode == ImportMode::Create && view.is_none() {
            match created.insert(&line.key, &line.value) {
                Some(before) if before.same(&line.value) => continue,
                Some(_) => return Ok(Err(twice(&line.key).at_line(line.line))),
                None => {}
            }
        }
        let op = match line_op(&entry, how, line, view.as_ref(), head) {
            Ok(Some(op)) => op,
            Ok(None) => continue,
            Err(refused) => return Ok(Err(refused)),
        };
        let write = Write { hlc: Hlc::from_ms(now_ms), at_ms: now_ms, actor: None, request_id: None, idempotency: None, ops: vec![op] };
        let decision = judge(&cloud(&write, false, head + 1, now_ms), &world)?;
        if decision.outcome.verdict >= Verdict::Rejected {
            return Ok(Err(refusal(decision).at_line(line.line)));
        }
    }
    Ok(Ok(()))
}

fn twice(key: &Key) -> Refused {
    Refused::Rejected {
        code: "key_taken".to_owned(),
        detail: format!("key {key} stands twice in the input, with different values"),
        field: None,
    }
}

fn target(conn: &Connection, catalog: &Catalog, how: &ImportHow) -> Result<Result<Arc<Entry>, Refused>, StoreError> {
    if how.collection.is_system() {
        return Ok(Err(Refused::System(how.collection.clone())));
    }
    Ok(catalog.get(conn, &how.collection)?.ok_or_else(|| Refused::NoCollection(how.collection.clone())))
}

fn live(conn: &Connection, entry: &Entry, key: &Key) -> Result<Option<Value>, StoreError> {
    Ok(stored_record(conn, entry.id, key)?.and_then(|record| record.live().cloned()))
}

/// What a line does; `None`: nothing, what it says is there.
fn line_op(entry: &Arc<Entry>, how: &ImportHow, line: &ImportLine, view: Option<&Value>, head: u64) -> Result<Option<Op>, Refused> {
    let mut value = line.value.clone();
    if let (Some(view), false) = (view, how.set_counters) {
        keep_counters(entry, how.mode, view, &mut value);
    }
    if how.mode == ImportMode::Create && view.is_some_and(|view| same_as(entry, line, view, &value)) {
        return Ok(None);
    }
    let action = match how.mode {
        ImportMode::Create => Action::Put { value, create: true },
        ImportMode::Put => Action::Put { value, create: false },
        ImportMode::Merge => Action::Merge(value),
    };
    let request = Request { collection: how.collection.clone(), key: line.key.clone(), action, expect: None };
    let op = build(&request, &scene(entry, view, head, true)).map_err(|error| Refused::from(error).at_line(line.line))?;
    Ok(op.filter(|op| view.is_none() || !matches!(&op.body, Body::Merge(changes) if changes.is_empty())))
}

/// Counters of records that exist are left alone: sales may have happened since the file was made.
fn keep_counters(entry: &Entry, mode: ImportMode, view: &Value, value: &mut Value) {
    let definition = &entry.defined.definition;
    for field in definition.fields.keys().filter(|field| definition.is_counter(field)) {
        match (mode, view.get(field)) {
            (ImportMode::Merge, Some(_)) => drop(value.remove(field)),
            (_, Some(held)) => value.set(field, held.clone()),
            (_, None) => {}
        }
    }
}

fn same_as(entry: &Entry, line: &ImportLine, view: &Value, value: &Value) -> bool {
    let mut value = value.clone();
    entry.defined.definition.fill_key(&line.key, &mut value).is_ok() && view.same(&value)
}
