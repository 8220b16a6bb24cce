//! `record import` and `record export`: whole collections, streamed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::Value;

use super::input::Source;
use super::progress::Progress;
use super::table::cell_at;
use super::{CliError, Console, Format, OutputArgs};
use crate::client::{Client, ClientError, Request, Upload};

/// What an import does with a record that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Refuse the import
    Create,
    /// Replace it
    Put,
    /// Change the fields that the line has
    Merge,
}

/// What an import does with the counters of a record that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Counters {
    /// Set them to the line's figures
    Set,
}

/// `record import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The collection
    collection: String,
    /// The file; standard input when it is absent or -
    file: Option<PathBuf>,
    /// The field(s) that hold the key, where the definition names none
    #[arg(long, value_name = "FIELD[/FIELD]")]
    key: Option<String>,
    /// What to do with records that exist [default: put]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Set existing counters too; otherwise they are left alone
    #[arg(long, value_enum)]
    counters: Option<Counters>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Import {
    /// Sends the whole input and prints what changed.
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let source = Source::open(self.file.as_deref(), console)?;
        let upload = Upload::new(source.reader);
        let progress = Progress::start(source.length, upload.progress());
        let request = Request::new(Method::POST, &["v1", "collections", &self.collection, "import"])
            .query_opt("mode", name_of(self.mode))
            .query_opt("counters", name_of(self.counters))
            .query_opt("key", self.key.as_deref())
            .upload(upload);
        let answer = progress.during(client.send(request)).await.map_err(|error| in_file(error, &source.name))?;
        if self.output.format == Format::Json {
            return console.pass(answer).await;
        }
        let counts: Value = answer.json().await?;
        let at = |name| cell_at(&counts, name);
        console.line(&format!("{} read: {} created, {} changed, {} unchanged", at("read"), at("created"), at("changed"), at("unchanged")))
    }
}

/// The name of an enum value as the API knows it.
fn name_of<V: ValueEnum>(value: Option<V>) -> Option<String> {
    Some(value?.to_possible_value()?.get_name().to_owned())
}

/// Names the input, and the line that the hub found wrong.
fn in_file(error: ClientError, name: &str) -> CliError {
    match error {
        ClientError::Input { reason, .. } => ClientError::Input { what: name.to_owned(), reason }.into(),
        ClientError::Refused(refusal) => match refusal.line {
            Some(line) if !refusal.detail.contains(&format!("line {line}")) => {
                CliError::Failed(format!("{name} line {line}: {refusal}; nothing was changed"))
            }
            Some(_) => CliError::Failed(format!("{name}: {refusal}; nothing was changed")),
            None => ClientError::Refused(refusal).into(),
        },
        other => other.into(),
    }
}

/// `record export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The collection
    collection: String,
    /// The file; standard output when it is absent or -
    file: Option<PathBuf>,
}

impl Export {
    /// Streams the collection. A file appears under its name only when it is complete.
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let mut answer = client.send(Request::get(&["v1", "collections", &self.collection, "export"])).await?;
        let Some(file) = self.file.filter(|file| file != Path::new("-")) else {
            while let Some(piece) = answer.piece().await? {
                console.raw(&piece)?;
            }
            return console.flush();
        };
        let unwritable = |error: std::io::Error| CliError::Failed(format!("cannot write {}: {error}", file.display()));
        let mut part = file.clone().into_os_string();
        part.push(".part");
        let mut target = BufWriter::new(File::create(&part).map_err(unwritable)?);
        let moved = Arc::new(AtomicU64::new(0));
        let progress = Progress::start(None, moved.clone());
        let copied = progress.during(async {
            let mut records = 0;
            while let Some(piece) = answer.piece().await? {
                records += piece.iter().filter(|&&byte| byte == b'\n').count();
                target.write_all(&piece).map_err(unwritable)?;
                moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            target.flush().map_err(unwritable)?;
            target.get_ref().sync_all().map_err(unwritable)?;
            Ok::<_, CliError>(records)
        });
        let records = copied.await.inspect_err(|_| {
            let _ = std::fs::remove_file(&part);
        })?;
        std::fs::rename(&part, &file).map_err(unwritable)?;
        console.line(&format!("{records} records written to {}", file.display()))
    }
}
