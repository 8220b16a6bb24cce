//! What can be wrong with a configuration, always with the place where it is wrong.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from, as a person would look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A line (from 1) of a file.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A command line flag, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(file, line) => write!(f, "{} line {line}", file.display()),
            Origin::Variable(name) => write!(f, "${name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// Why a configuration (or another TOML file of ours) was refused. All of them are for the person who wrote it:
/// print the error and stop, nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or unreadable.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file as it was named.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} line {line}: {message}", file.display())]
    Syntax {
        /// The file as it was named.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// A key that nobody reads.
    #[error("{} line {line}: unknown key `{key}`; the nearest known key is `{nearest}`", file.display())]
    UnknownKey {
        /// The file as it was named.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// The key, dotted.
        key: String,
        /// The known key with the smallest edit distance.
        nearest: String,
    },
    /// A known key with a value that it cannot have.
    #[error("{origin}: `{key}`: {message}")]
    BadValue {
        /// The key, dotted.
        key: String,
        /// The place to correct.
        origin: Origin,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The data folder cannot be used.
    #[error("data folder {}: {message}", data.display())]
    Data {
        /// The folder.
        data: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
}
