//! The command line that both hubs share: the verbs for records, writes and conflicts, tables, and exit codes.
//!
//! A hub's own command line is a clap tree that takes these verbs as subcommands, makes a [`Client`], and runs them
//! with a [`Console`]. Whatever goes wrong is a [`CliError`], printed once, by [`finish`].
//!
//! [`Client`]: crate::client::Client

mod access;
mod conflict;
mod console;
mod describe;
mod device;
mod error;
mod in_words;
mod input;
mod list;
mod pairs;
mod progress;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod traffic;
mod transfer;
mod watch;
mod write;

pub use access::{AccessVerb, Create};
pub use conflict::ConflictVerb;
pub use console::{Console, Format, OutputArgs, Page};
pub use describe::describe;
pub use device::DeviceVerb;
pub use error::{CliError, block_on, finish, parse};
pub use in_words::{describe_with_warnings, how_far};
pub use input::{body, read_limited};
pub use list::List;
pub use pairs::pair;
pub use record::RecordVerb;
pub use table::{Table, cell};
pub use write::{WaitArgs, WriteDiscard, WriteResend, WriteShow, WritesList};
