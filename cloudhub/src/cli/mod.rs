//! The command line of cloudhub: `serve` runs it, every other verb asks a running one over its API.

mod backup;
mod ca;
mod collection;
mod definitions;
mod hub;
mod node;
mod serve;
#[cfg(test)]
mod tests;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use api::cli::{
    AccessVerb, CliError, ConflictVerb, Console, DeviceVerb, OutputArgs, RecordVerb, WriteShow, block_on, describe_with_warnings, finish,
    parse,
};
use api::client::Request;
use clap::{Parser, Subcommand};

use crate::config::ServeConfig;
use hub::HubArgs;

/// The hub that serves until it is told to stop.
pub type Serve = fn(ServeConfig) -> anyhow::Result<()>;

/// Tombolo's central hub: keeps the records, and syncs them with the edge nodes that are entitled to them
#[derive(Debug, Parser)]
#[command(name = "cloudhub", version, max_term_width = 110)]
struct Cli {
    /// The data folder [env: CLOUDHUB_DATA] [default: ./cloudhub-data, or for root /var/lib/cloudhub]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the hub
    #[command(visible_alias = "run")]
    Serve(serve::ServeArgs),
    /// The hub's certificate authority
    Ca {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: ca::CaVerb,
    },
    /// Write a copy of the hub, running or not: its records, its authority, its token
    Backup(backup::Backup),
    /// Put a backup in the place of a hub that does not run; what is there is moved aside
    Restore(backup::Restore),
    #[command(flatten)]
    Ask(Ask),
}

/// The verbs that ask a running hub.
#[derive(Debug, Subcommand)]
enum Ask {
    /// Show how the running hub is
    Status {
        #[command(flatten)]
        hub: HubArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Join tokens: let new nodes in
    Token {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: token::TokenVerb,
    },
    /// Access tokens: let people and applications use the API
    Access {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: AccessVerb,
    },
    /// Collections: what is synced, to whom, by which rules
    Collection {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: collection::CollectionVerb,
    },
    /// Edge nodes
    Node {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: node::NodeVerb,
    },
    /// Records
    Record {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: RecordVerb,
    },
    /// Writes: what became of them
    Write {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: WriteVerb,
    },
    /// Conflicts: values that lost, and bounds that were passed
    Conflict {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: ConflictVerb,
    },
    /// Devices: what is desired of them, and what they report
    Device {
        #[command(flatten)]
        hub: HubArgs,
        #[command(subcommand)]
        verb: DeviceVerb,
    },
}

#[derive(Debug, Subcommand)]
enum WriteVerb {
    /// Show one write with its outcome
    Show(WriteShow),
}

/// Runs one command line, program name first. `serve` is what `cloudhub serve` calls with its configuration.
pub fn run(args: impl IntoIterator<Item = OsString>, serve: Serve) -> ExitCode {
    match parse::<Cli>(args) {
        Ok(cli) => finish("cloudhub", dispatch(cli, serve)),
        Err(code) => code,
    }
}

fn dispatch(cli: Cli, serve: Serve) -> Result<(), CliError> {
    let data = cli.data;
    match cli.verb {
        Verb::Serve(args) => Console::standard(|console| serve::run(args, data, serve, console)),
        Verb::Ca { hub, verb } => Console::standard(|console| verb.run(&hub.place(data), console)),
        Verb::Backup(verb) => Console::standard(|console| verb.run(&hub::data_folder(data), console)),
        Verb::Restore(verb) => Console::standard(|console| verb.run(&hub::data_folder(data), console)),
        Verb::Ask(ask) => Console::standard(|console| block_on(ask.run(data, console))),
    }
}

impl Ask {
    async fn run(self, data: Option<PathBuf>, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            Ask::Status { hub, output } => {
                let answer = hub.client(data)?.send(Request::get(&["v1", "status"])).await?;
                console.show(answer, output, |status| describe_with_warnings("", status)).await
            }
            Ask::Token { hub, verb } => verb.run(&hub.client(data)?, console).await,
            Ask::Access { hub, verb } => verb.run(&hub.client(data)?, console).await,
            Ask::Collection { hub, verb } => verb.run(&hub.client(data)?, console).await,
            Ask::Node { hub, verb } => verb.run(&hub.client(data)?, console).await,
            Ask::Record { hub, verb } => verb.run(&hub.client(data)?, console).await,
            Ask::Write { hub, verb: WriteVerb::Show(show) } => show.run(&hub.client(data)?, console).await,
            Ask::Conflict { hub, verb } => verb.run(&hub.client(data)?, console).await,
            Ask::Device { hub, verb } => verb.run(&hub.client(data)?, console).await,
        }
    }
}
