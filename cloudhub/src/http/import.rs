//! Imports: the whole input is checked first, then committed a thousand lines at a time.

use api::http::import::{self, ImportLines, ImportReplay};
use api::hub::{ImportMode, ImportRequest};
use api::problem::Problem;
use api::shapes::ImportSummary;
use proto::definition::Definition;
use proto::limits::WRITE_BYTES;

use super::{CloudHub, by, unexpected};
use crate::limits::IMPORT_LINES;
use crate::store::{self, Answer, ImportChunk, ImportHow, ImportLine, Imported, Job};

impl CloudHub {
    pub(super) async fn import_lines(&self, request: ImportRequest, lines: &mut ImportLines) -> Result<ImportSummary, Problem> {
        let definition = self.definition(&request.collection).await?.definition;
        let how = ImportHow {
            collection: request.collection.clone(),
            mode: match request.mode {
                ImportMode::Create => store::ImportMode::Create,
                ImportMode::Put => store::ImportMode::Put,
                ImportMode::Merge => store::ImportMode::Merge,
            },
            set_counters: request.set_counters,
        };
        let run = Run { hub: self, definition, request, how };
        run.check(lines).await?;
        let summary = run.commit(lines.replay()?).await?;
        let (collection, by) = (&run.request.collection, by(&run.request.origin));
        tracing::info!(%collection, by, read = summary.read, created = summary.created, changed = summary.changed, "imported");
        Ok(summary)
    }
}

struct Run<'a> {
    hub: &'a CloudHub,
    definition: Definition,
    request: ImportRequest,
    how: ImportHow,
}

/// Lines that go together.
#[derive(Default)]
struct Chunk {
    lines: Vec<ImportLine>,
    bytes: usize,
}

impl Chunk {
    /// Takes the line; gives the chunk so far when the line is one too many for it.
    fn add(&mut self, line: ImportLine) -> Option<Vec<ImportLine>> {
        let bytes = line.value.text_len();
        let full = self.lines.len() >= IMPORT_LINES || (self.bytes + bytes > WRITE_BYTES && !self.lines.is_empty());
        let before = full.then(|| std::mem::take(self).lines);
        self.bytes += bytes;
        self.lines.push(line);
        before
    }
}

fn parse(line: &import::ImportLine, definition: &Definition, key_fields: Option<&[String]>) -> Result<ImportLine, Problem> {
    let (key, value) = line.record(definition, key_fields)?;
    Ok(ImportLine { line: line.number, key, value })
}

impl Run<'_> {
    /// Reads the input to its end; nothing is changed.
    async fn check(&self, lines: &mut ImportLines) -> Result<(), Problem> {
        let mut chunk = Chunk::default();
        while let Some(line) = lines.next().await? {
            let line = parse(&line, &self.definition, self.request.key_fields.as_deref())?;
            if let Some(lines) = chunk.add(line) {
                self.check_chunk(lines).await?;
            }
        }
        self.check_chunk(chunk.lines).await
    }

    async fn check_chunk(&self, lines: Vec<ImportLine>) -> Result<(), Problem> {
        let (how, now_ms) = (self.how.clone(), self.hub.clock.wall_ms());
        let checked = self.hub.read(move |store| store.check_import(&how, &lines, now_ms)).await?;
        checked.map_err(|refused| self.hub.problem(refused.into()))
    }

    async fn commit(&self, mut replay: ImportReplay) -> Result<ImportSummary, Problem> {
        let mut summary = ImportSummary::default();
        loop {
            let (definition, key_fields) = (self.definition.clone(), self.request.key_fields.clone());
            // The kept lines may be in a file.
            let next = tokio::task::spawn_blocking(move || {
                let lines = next_chunk(&mut replay, &definition, key_fields.as_deref());
                (replay, lines)
            });
            let (rest, lines) = next.await.map_err(Problem::internal)?;
            replay = rest;
            let lines = lines?;
            if lines.is_empty() {
                return Ok(summary);
            }
            let count = lines.len() as u64;
            let done = self.commit_chunk(lines).await.map_err(|problem| so_far(problem, &summary))?;
            summary.read += count;
            summary.created += done.created;
            summary.changed += done.changed;
            summary.unchanged += done.unchanged;
            if done.created + done.changed > 0 {
                summary.revision = Some(done.revision.0);
            }
        }
    }

    async fn commit_chunk(&self, lines: Vec<ImportLine>) -> Result<Imported, Problem> {
        let chunk = ImportChunk { how: self.how.clone(), lines, actor: self.request.origin.actor.clone() };
        match self.hub.job(Job::Import(Box::new(chunk))).await? {
            Answer::Imported(imported) => Ok(imported),
            other => Err(unexpected(&other)),
        }
    }
}

/// As many lines as one transaction takes: a line that would be too many is the first of the next chunk.
fn next_chunk(replay: &mut ImportReplay, definition: &Definition, key_fields: Option<&[String]>) -> Result<Vec<ImportLine>, Problem> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    for line in replay.by_ref() {
        let line = parse(&line?, definition, key_fields)?;
        bytes += line.value.text_len();
        lines.push(line);
        // A value has at most 1 MiB, so stopping at half of the bound keeps inside of it.
        if lines.len() >= IMPORT_LINES || bytes > WRITE_BYTES / 2 {
            break;
        }
    }
    Ok(lines)
}

/// A commit that failed after others went through: all were checked before, so somebody changed something meanwhile.
fn so_far(problem: Problem, summary: &ImportSummary) -> Problem {
    if summary.read == 0 {
        return problem;
    }
    let detail = format!("{}; the {} values before were imported", problem.detail(), summary.read);
    let line = problem.body().line;
    let again = Problem::new(problem.code(), detail);
    match line {
        Some(line) => again.line(line),
        None => again,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proto::json::Value;
    use proto::names::Key;

    use super::*;

    fn line(number: u64, bytes: usize) -> ImportLine {
        let value = Value::parse(&format!("{{\"a\":\"{}\"}}", "x".repeat(bytes))).unwrap();
        ImportLine { line: number, key: Key::parse(&number.to_string()).unwrap(), value }
    }

    #[test]
    fn chunks_stay_inside_both_bounds() {
        let mut chunk = Chunk::default();
        let given: Vec<_> = (1..=2_001).filter_map(|number| chunk.add(line(number, 1))).map(|lines| lines.len()).collect();
        assert_eq!((given, chunk.lines.len()), (vec![1_000, 1_000], 1));
        let mut chunk = Chunk::default();
        let given: Vec<_> = (1..=5).filter_map(|number| chunk.add(line(number, 900_000))).map(|lines| lines.len()).collect();
        assert_eq!((given, chunk.lines.len()), (vec![2, 2], 1));
    }
}
