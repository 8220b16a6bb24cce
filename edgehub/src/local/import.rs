//! Imports at the edge: the whole input is checked first, then each line is a write of its own.

use std::collections::VecDeque;

use api::http::import::{ImportLine, ImportLines};
use api::hub::{ImportMode, ImportRequest};
use api::problem::{Code, Problem};
use api::shapes::ImportSummary;
use metamanager::{Committed, Did, Etag, LocalRequest, LocalWrite, Precondition, Refusal, ViewRow, WriteError};
use proto::build::{Action, Request, Scene, Side, build};
use proto::definition::{Defined, Definition, EdgeMode};
use proto::ids::Revision;
use proto::json::Value;
use proto::names::Key;
use proto::op::Op;
use proto::overlay::lay;
use proto::schema::Schema;
use tokio::sync::oneshot;

use super::{LocalHub, shape};

/// Writes that are under way at once: enough for a group commit, few enough to hold in memory.
const UNDER_WAY: usize = 64;

/// A line that was handed to the database, and its answer to come.
struct Sent {
    line: u64,
    key: Key,
    answer: oneshot::Receiver<Result<Committed, WriteError>>,
}

impl LocalHub {
    pub(super) async fn import_lines(&self, request: ImportRequest, lines: &mut ImportLines) -> Result<ImportSummary, Problem> {
        let defined = self.defined(&request.collection)?;
        if defined.definition.edge == EdgeMode::ReadOnly {
            let detail = format!("collection {} is read-only here; import it in the cloud", request.collection);
            return Err(Problem::new(Code::ReadOnly, detail).collection(request.collection.as_str()));
        }
        let schema = defined.definition.schema.as_ref().and_then(|schema| Schema::compile(schema).ok());
        let mut run =
            Run { hub: self, defined: &defined, request: &request, schema, summary: ImportSummary::default(), sent: VecDeque::new() };
        while let Some(line) = lines.next().await? {
            run.check(&line)?;
        }
        let mut replay = lines.replay()?;
        // A replay may read from a file: in small pieces, and out of the page cache.
        while let Some(line) = tokio::task::block_in_place(|| replay.next()) {
            run.line(&line?).await?;
        }
        run.finish().await
    }
}

fn read(line: &ImportLine, definition: &Definition, request: &ImportRequest) -> Result<(Key, Value), Problem> {
    let (key, mut value) = line.record(definition, request.key_fields.as_deref())?;
    definition.fill_key(&key, &mut value).map_err(|error| Problem::from(error).into_bad_line(line.number))?;
    Ok((key, value))
}

struct Run<'a> {
    hub: &'a LocalHub,
    defined: &'a Defined,
    request: &'a ImportRequest,
    /// None where the cloud alone can judge.
    schema: Option<Schema>,
    summary: ImportSummary,
    sent: VecDeque<Sent>,
}

impl Run<'_> {
    /// Whether a line would be taken as things are now.
    fn check(&self, line: &ImportLine) -> Result<(), Problem> {
        let (key, value) = read(line, &self.defined.definition, self.request)?;
        let row = self.row(&key)?;
        let view = row.as_ref().map(|row| Value::read(&row.value)).transpose()?;
        let Some(write) = self.write(&key, value)? else { return Ok(()) };
        let scene = Scene {
            defined: self.defined,
            view: view.as_ref(),
            seen: Revision(1),
            depends: None,
            stands_on: &[],
            matched: true,
            side: Side::Edge,
        };
        for local in &write.requests {
            let built = build(&local.request, &scene).map_err(|error| Problem::from(error).into_bad_line(line.number))?;
            self.schema(view.as_ref(), built).map_err(|problem| problem.into_bad_line(line.number))?;
        }
        Ok(())
    }

    /// What a line leaves behind, as its commit will judge it.
    fn schema(&self, before: Option<&Value>, op: Option<Op>) -> Result<(), Problem> {
        let (Some(schema), Some(op)) = (&self.schema, op) else { return Ok(()) };
        let Some(violation) = lay(before.cloned(), &op).and_then(|after| schema.judge(&after)) else { return Ok(()) };
        let wrong_before = before.is_some_and(|before| schema.judge(before).is_some());
        if wrong_before && !op.claims(&violation.field) {
            return Ok(());
        }
        let problem = Problem::new(Code::Schema, violation.message);
        Err(if violation.field.is_empty() { problem } else { problem.field(violation.field) })
    }

    fn row(&self, key: &Key) -> Result<Option<ViewRow>, Problem> {
        self.hub.store.read(|reader| reader.get(&self.request.collection, key)).map_err(shape::read_problem)
    }

    async fn line(&mut self, line: &ImportLine) -> Result<(), Problem> {
        let (key, value) = read(line, &self.defined.definition, self.request)?;
        self.summary.read += 1;
        if self.sent.iter().any(|sent| sent.key == key) {
            // The same record twice: the second line must see the first.
            self.drain(0).await?;
        }
        if let Some(write) = self.write(&key, value)? {
            let (answer, receiver) = oneshot::channel();
            self.hub.store.commit_then(write, move |result| drop(answer.send(result)));
            self.sent.push_back(Sent { line: line.number, key, answer: receiver });
        } else {
            self.summary.unchanged += 1;
        }
        self.drain(UNDER_WAY).await
    }

    /// The write of a line, compared with what is there; none where the line says nothing new.
    fn write(&self, key: &Key, mut value: Value) -> Result<Option<LocalWrite>, Problem> {
        let collection = &self.request.collection;
        let row = self.row(key)?;
        let held = row.as_ref().map(|row| Value::read(&row.value)).transpose()?;
        if let (Some(held), false) = (&held, self.request.set_counters) {
            let counters = held.fields().filter(|(name, _)| self.defined.definition.is_counter(name));
            counters.for_each(|(name, raw)| value.set(name, raw.clone()));
        }
        let (action, precondition) = match (self.request.mode, row) {
            (ImportMode::Create, _) => (Action::Put { value, create: true }, Precondition::None),
            (_, Some(_)) if held.as_ref().is_some_and(|held| held.same(&value)) => return Ok(None),
            (ImportMode::Merge, _) => (Action::Merge(value), Precondition::None),
            (ImportMode::Put, Some(row)) => (Action::Put { value, create: false }, Precondition::Match(vec![self.tag(&row)?])),
            (ImportMode::Put, None) => (Action::Put { value, create: false }, Precondition::None),
        };
        let request = Request { collection: collection.clone(), key: key.clone(), action, expect: None };
        Ok(Some(LocalWrite {
            requests: vec![LocalRequest { request, precondition, own_key: false }],
            actor: self.request.origin.actor.clone(),
            request_id: self.request.origin.travelling_id(),
            idempotency: None,
            resends: None,
        }))
    }

    fn tag(&self, row: &ViewRow) -> Result<Etag, Problem> {
        let write = row.pending.last().map(|number| self.hub.write_id(*number)).transpose()?;
        Ok(Etag { revision: row.revision, write })
    }

    /// Takes answers until at most `left` writes are under way.
    async fn drain(&mut self, left: usize) -> Result<(), Problem> {
        while self.sent.len() > left {
            let Some(sent) = self.sent.pop_front() else { break };
            let result = sent.answer.await.unwrap_or_else(|_| Err(Refusal::Closed.into()));
            self.count(sent.line, &sent.key, result)?;
        }
        Ok(())
    }

    fn count(&mut self, line: u64, key: &Key, result: Result<Committed, WriteError>) -> Result<(), Problem> {
        match result {
            Ok(committed) if committed.repeat => self.summary.unchanged += 1,
            Ok(committed) => match committed.results.first().map(|laid| laid.did) {
                Some(Did::Created) => self.summary.created += 1,
                _ => self.summary.changed += 1,
            },
            Err(error) => {
                // It changed since the check, or there is no more room: what was taken stays taken.
                let taken = self.summary.created + self.summary.changed;
                let problem = shape::write_problem(error);
                let detail = format!("line {line}, key {key}: {}; {taken} lines before it were taken: import again", problem.detail());
                return Err(Problem::new(problem.code(), detail).line(line));
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<ImportSummary, Problem> {
        self.drain(0).await?;
        Ok(self.summary)
    }
}
