//! The lines of an import: read once to be checked, kept, and read again to be committed.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use proto::definition::Definition;
use proto::json::Value;
use proto::names::Key;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::{self, Pieces};
use super::path;
use crate::limits::{IMPORT_BYTES, IMPORT_MEMORY_BYTES, IMPORT_PAUSE, LINE_BYTES};
use crate::problem::{Code, Problem};

/// The input of an import. A hub takes it with [`ImportLines::next`] to its end, checking, and then once more with
/// [`ImportLines::replay`], committing.
pub struct ImportLines {
    pieces: Pieces,
    /// What has arrived and not been handed out; lines before `start` have been.
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    number: u64,
    taken: u64,
    spool: Spool,
}

/// One line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportLine {
    /// Its number, counted from 1, blank ones too.
    pub number: u64,
    text: String,
}

impl ImportLines {
    pub(crate) fn new(pieces: Pieces, spool: &Path) -> Self {
        let spool = Spool { folder: spool.to_owned(), memory: Vec::new(), file: None };
        Self { pieces, buffer: Vec::new(), start: 0, ended: false, number: 0, taken: 0, spool }
    }

    /// Lines from memory, for tests of a hub and imports inside a process.
    pub fn from_text(text: impl Into<Bytes>) -> Self {
        let piece = futures_util::stream::iter([Ok(text.into())]);
        Self::new(Box::pin(piece), Path::new("."))
    }

    /// The next line; `None` at the end. Errors: `too_large`, `bad_line` for a line that is too long or not UTF-8,
    /// `disk_full` when the input cannot be kept.
    pub async fn next(&mut self) -> Result<Option<ImportLine>, Problem> {
        loop {
            match self.line()? {
                Some(line) if line.text.trim().is_empty() => {}
                Some(line) => {
                    self.spool.put(&line).await?;
                    return Ok(Some(line));
                }
                None if self.ended => return Ok(None),
                None => self.more().await?,
            }
        }
    }

    /// All lines again, from the first. To be read where blocking is allowed. What was not read with
    /// [`ImportLines::next`] is not in it.
    pub fn replay(&mut self) -> Result<ImportReplay, Problem> {
        let reader: Box<dyn BufRead + Send> = match self.spool.file.take() {
            None => Box::new(Cursor::new(std::mem::take(&mut self.spool.memory))),
            Some(mut file) => {
                let rest = std::mem::take(&mut self.spool.memory);
                file.rewind().map_err(|error| self.spool.failed(&error))?;
                Box::new(BufReader::new(file.chain(Cursor::new(rest))))
            }
        };
        Ok(ImportReplay { reader })
    }

    /// What has not been read, so that a refusal reaches a client that is still sending.
    pub(crate) fn into_rest(self) -> Pieces {
        self.pieces
    }

    /// A whole line out of the buffer.
    fn line(&mut self) -> Result<Option<ImportLine>, Problem> {
        let rest = &self.buffer[self.start..];
        let length = match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => length,
            None if self.ended && !rest.is_empty() => rest.len(),
            None if rest.len() > LINE_BYTES => return Err(self.too_long()),
            None => return Ok(None),
        };
        if length > LINE_BYTES {
            return Err(self.too_long());
        }
        self.number += 1;
        let text = std::str::from_utf8(&rest[..length]).map_err(|error| {
            let detail = format!("line {}: not UTF-8 from byte {} on", self.number, error.valid_up_to());
            Problem::new(Code::BadLine, detail).line(self.number)
        })?;
        let line = ImportLine { number: self.number, text: text.to_owned() };
        self.start = (self.start + length + 1).min(self.buffer.len());
        Ok(Some(line))
    }

    fn too_long(&self) -> Problem {
        let number = self.number + 1;
        Problem::new(Code::BadLine, format!("line {number}: longer than {LINE_BYTES} bytes")).line(number)
    }

    async fn more(&mut self) -> Result<(), Problem> {
        let piece = tokio::time::timeout(IMPORT_PAUSE, self.pieces.next())
            .await
            .map_err(|_| Problem::bad_request(format!("the input stood still for {} s; nothing has changed", IMPORT_PAUSE.as_secs())))?;
        let Some(piece) = piece else {
            self.ended = true;
            return Ok(());
        };
        let piece = piece.map_err(|error| Problem::bad_request(format!("the input broke off: {error}; nothing has changed")))?;
        self.taken += piece.len() as u64;
        if self.taken > IMPORT_BYTES {
            return Err(Problem::new(Code::TooLarge, "an import takes at most 1 GiB; split the file"));
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(&piece);
        Ok(())
    }
}

impl ImportLine {
    /// The line as JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The record that the line holds. Where `key_fields` or the definition name the fields of the key, the line is
    /// the value; else it is `{"key","value"}`. Errors: `bad_line`.
    pub fn record(&self, definition: &Definition, key_fields: Option<&[String]>) -> Result<(Key, Value), Problem> {
        let record = match (key_fields, &definition.key) {
            (Some(fields), _) => self.keyed(&Definition { key: Some(fields.join("/")), ..definition.clone() }),
            (None, Some(_)) => self.keyed(definition),
            (None, None) => self.wrapped(),
        };
        record.map_err(|problem| problem.into_bad_line(self.number))
    }

    fn keyed(&self, definition: &Definition) -> Result<(Key, Value), Problem> {
        let value = body::value(&self.text)?;
        match definition.key_of(&value)? {
            Some(key) => Ok((key, value)),
            None => {
                let missing = definition.key_fields().find(|field| value.get(field).is_none()).unwrap_or_default();
                Err(Problem::new(Code::KeyMismatch, format!("key field {missing:?} is missing")).field(missing))
            }
        }
    }

    fn wrapped(&self) -> Result<(Key, Value), Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wrapped<'a> {
            key: String,
            #[serde(borrow)]
            value: &'a RawValue,
        }
        let wrapped: Wrapped<'_> = serde_json::from_str(&self.text).map_err(|error| {
            let hint = "the definition names no key field, so a line is {\"key\":…,\"value\":{…}}, or say key=FIELD";
            Problem::bad_request(format!("{error}; {hint}"))
        })?;
        Ok((path::key(&wrapped.key)?, body::value(wrapped.value.get())?))
    }
}

/// The lines of an import once more.
pub struct ImportReplay {
    reader: Box<dyn BufRead + Send>,
}

impl Iterator for ImportReplay {
    type Item = Result<ImportLine, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut text = String::new();
        match self.reader.read_line(&mut text) {
            Ok(0) => None,
            Ok(_) => Some(ImportLine::parse(&text)),
            Err(error) => Some(Err(Problem::internal(format!("the kept input of an import cannot be read: {error}")))),
        }
    }
}

impl ImportLine {
    /// Reads what [`Spool::put`] wrote.
    fn parse(kept: &str) -> Result<Self, Problem> {
        let parts = kept.trim_end_matches('\n').split_once(' ');
        let line = parts.and_then(|(number, text)| Some(Self { number: number.parse().ok()?, text: text.to_owned() }));
        line.ok_or_else(|| Problem::internal("the kept input of an import was changed"))
    }
}

/// Keeps lines: in memory first, in a file without a name once they are many. The file goes when it is closed.
struct Spool {
    folder: PathBuf,
    memory: Vec<u8>,
    file: Option<File>,
}

impl Spool {
    async fn put(&mut self, line: &ImportLine) -> Result<(), Problem> {
        self.memory.extend_from_slice(line.number.to_string().as_bytes());
        self.memory.push(b' ');
        self.memory.extend_from_slice(line.text.as_bytes());
        self.memory.push(b'\n');
        if self.memory.len() > IMPORT_MEMORY_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let (file, memory, folder) = (self.file.take(), std::mem::take(&mut self.memory), self.folder.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut file = file.map_or_else(|| unnamed(&folder), Ok)?;
            file.write_all(&memory)?;
            Ok((file, memory))
        });
        let written = written.await.map_err(Problem::internal)?;
        let (file, mut memory) = written.map_err(|error: std::io::Error| self.failed(&error))?;
        memory.clear();
        (self.file, self.memory) = (Some(file), memory);
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> Problem {
        let folder = self.folder.display();
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Problem::new(Code::DiskFull, format!("the input cannot be kept in {folder} while it is checked: the disk is full"));
        }
        Problem::internal(format!("the input of an import cannot be kept in {folder}: {error}"))
    }
}

/// A new file that no one else can open.
fn unnamed(folder: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!(".import-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = folder.join(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
