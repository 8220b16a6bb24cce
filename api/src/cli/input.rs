//! Values and files that a command reads.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use super::{CliError, Console};

/// A record's value is at most 1 MiB; what is larger is not read to its end.
const MAX_VALUE: u64 = 2 << 20;

/// The JSON named by `JSON|@FILE|-`, checked to be JSON, otherwise as it was written.
pub(super) fn json_value(written: &str, console: &mut Console<'_>) -> Result<String, CliError> {
    let (text, place) = match (written, written.strip_prefix('@')) {
        ("-", _) => {
            remark_on_terminal(console);
            (read_limited(io::stdin(), "standard input", MAX_VALUE)?, "standard input".to_owned())
        }
        (_, Some(file)) => {
            let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
            (read_limited(opened, file, MAX_VALUE)?, file.to_owned())
        }
        _ => (written.to_owned(), "the value".to_owned()),
    };
    match serde_json::from_str::<&serde_json::value::RawValue>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(CliError::Usage(format!("{place} is not JSON: {error}"))),
    }
}

/// A request of ours as JSON.
pub fn body(wish: &impl serde::Serialize) -> String {
    serde_json::to_string(wish).expect("our own shapes are JSON")
}

/// The text of `source`, refused when it is longer than `max` bytes; `name` is for the message.
pub fn read_limited(source: impl Read, name: &str, max: u64) -> Result<String, CliError> {
    let mut text = String::new();
    source.take(max + 1).read_to_string(&mut text).map_err(|error| unreadable(name, &error))?;
    if text.len() as u64 > max {
        return Err(CliError::Failed(format!("{name} is larger than {max} bytes")));
    }
    Ok(text)
}

/// An input of any length: a file, or standard input for none or `-`. With its name, and its length where it has one.
pub(super) struct Source {
    pub(super) reader: Box<dyn Read + Send>,
    pub(super) name: String,
    pub(super) length: Option<u64>,
}

impl Source {
    pub(super) fn open(file: Option<&Path>, console: &mut Console<'_>) -> Result<Self, CliError> {
        match file.filter(|file| *file != Path::new("-")) {
            None => {
                remark_on_terminal(console);
                Ok(Self { reader: Box::new(io::stdin()), name: "standard input".into(), length: None })
            }
            Some(file) => {
                let name = file.display().to_string();
                let opened = File::open(file).map_err(|error| unreadable(&name, &error))?;
                let about = opened.metadata().map_err(|error| unreadable(&name, &error))?;
                if about.is_dir() {
                    return Err(CliError::Failed(format!("cannot read {name}: it is a folder")));
                }
                let length = about.is_file().then_some(about.len());
                Ok(Self { reader: Box::new(opened), name, length })
            }
        }
    }
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot read {name}: {error}"))
}

pub(super) fn remark_on_terminal(console: &mut Console<'_>) {
    if io::stdin().is_terminal() {
        console.note("reading standard input; end it with Ctrl-D");
    }
}
