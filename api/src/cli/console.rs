//! Where a command writes, and in which form.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::CliError;
use crate::client::Answer;

/// How a list or a thing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// The API's answer, byte for byte.
    Json,
}

/// `-o table|json`.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// How to print: a table for people, or exactly what the API answered
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

/// Which part of a list.
#[derive(Debug, Clone, Default, Args)]
pub struct Page {
    /// At most this many rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// Go on after a page: the token that it named
    #[arg(long, value_name = "TOKEN")]
    pub after: Option<String>,
}

/// The two streams of a command. Results go to one, remarks to the other, so that results can be piped.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
    terminal: bool,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl<'a> Console<'a> {
    /// A console over any two streams; `terminal` says whether a person looks at the first.
    pub fn new(out: &'a mut dyn Write, notes: &'a mut dyn Write, terminal: bool) -> Self {
        Self { out, notes, terminal }
    }

    /// Runs `with` on standard output and standard error.
    pub fn standard<T>(with: impl FnOnce(&mut Console<'_>) -> T) -> T {
        let terminal = io::stdout().is_terminal();
        let (mut out, mut notes) = (io::stdout(), io::stderr());
        with(&mut Console { out: &mut out, notes: &mut notes, terminal })
    }

    /// Whether a person looks at the results.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One line of result.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// Results as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes)?;
        Ok(())
    }

    /// Whatever is buffered reaches its reader now.
    pub fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush()?;
        Ok(())
    }

    /// One line for the person, beside the results. That nobody reads it is no error.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.notes, "{text}");
    }

    /// The answer, byte for byte as it arrives; on a terminal a last line end is added.
    pub async fn pass(&mut self, mut answer: Answer) -> Result<(), CliError> {
        let mut last = b'\n';
        while let Some(piece) = answer.piece().await? {
            last = piece.last().copied().unwrap_or(last);
            self.raw(&piece)?;
        }
        if self.terminal && last != b'\n' {
            self.raw(b"\n")?;
        }
        self.flush()
    }

    /// The answer in the form that was asked for; `table` makes the text for people of it.
    pub async fn show(&mut self, answer: Answer, output: OutputArgs, table: impl FnOnce(&Value) -> String) -> Result<(), CliError> {
        match output.format {
            Format::Json => self.pass(answer).await,
            Format::Table => {
                let value: Value = answer.json().await?;
                self.raw(table(&value).as_bytes())?;
                self.flush()
            }
        }
    }
}
