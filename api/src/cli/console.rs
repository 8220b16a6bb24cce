//! Where a command writes, and in which form.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::CliError;
use crate::client::Answer;

/// A pipe that has room has room for a page.
const PIPE_ROOM: usize = 4_096;

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
    standard: bool,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl<'a> Console<'a> {
    /// A console over any two streams; `terminal` says whether a person looks at the first.
    pub fn new(out: &'a mut dyn Write, notes: &'a mut dyn Write, terminal: bool) -> Self {
        Self { out, notes, terminal, standard: false }
    }

    /// Runs `with` on standard output and standard error.
    pub fn standard<T>(with: impl FnOnce(&mut Console<'_>) -> T) -> T {
        let terminal = io::stdout().is_terminal();
        let (mut out, mut notes) = (io::stdout(), io::stderr());
        with(&mut Console { out: &mut out, notes: &mut notes, terminal, standard: true })
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

    /// Results as they are, at once. While a slow reader has no room for them this waits without holding up the thread, so that the
    /// caller can still be told to stop.
    pub async fn stream(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        for piece in bytes.chunks(PIPE_ROOM) {
            if self.standard && ask_output(PollFlags::OUT, Some(&Timespec::default())).is_empty() {
                // The thread ends with the program, if not before.
                let _ = tokio::task::spawn_blocking(|| ask_output(PollFlags::OUT, None)).await;
            }
            self.raw(piece)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Whether nobody can read the results any more, which a write would only tell once there is something to write.
    pub fn reader_is_gone(&self) -> bool {
        self.standard && !ask_output(PollFlags::empty(), Some(&Timespec::default())).is_empty()
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

/// What of `wish` is true of standard output, or that its reader is gone; nothing after `patience`.
fn ask_output(wish: PollFlags, patience: Option<&Timespec>) -> PollFlags {
    let output = io::stdout();
    let mut asked = [PollFd::new(&output, wish)];
    // Where it cannot be asked, a write will tell.
    if poll(&mut asked, patience).is_err() {
        return wish;
    }
    asked[0].revents() & (wish | PollFlags::ERR | PollFlags::HUP)
}
