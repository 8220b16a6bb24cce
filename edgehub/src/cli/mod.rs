//! The command line of edgehub: `join` and `run` are the node, `reset` undoes it, `doctor` says what is wrong with it,
//! every other verb asks a running one over its socket.

mod doctor;
mod join;
mod query;
mod reset;
mod run;
#[cfg(test)]
mod tests;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use api::cli::{
    AccessVerb, CliError, ConflictVerb, Console, DeviceVerb, OutputArgs, Page, RecordVerb, WaitArgs, WriteDiscard, WriteResend, WriteShow,
    WritesList, block_on, describe_with_warnings, finish, how_far, parse,
};
use api::client::{Client, Request};
use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::config::{DATA_DIR, JoinOptions, Joined, RunConfig};

/// What the command line cannot do by itself.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// Joins a hub, once.
    pub join: fn(JoinOptions) -> anyhow::Result<Joined>,
    /// Serves until it is told to stop.
    pub run: fn(RunConfig) -> anyhow::Result<()>,
}

/// Tombolo's edge node: answers reads and takes writes whether the link is up or not, and syncs with cloudhub
#[derive(Debug, Parser)]
#[command(name = "edgehub", version, max_term_width = 110)]
struct Cli {
    /// The data folder [env: EDGEHUB_DATA] [default: ./edgehub-data, or for root /var/lib/edgehub]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Join a hub: get an identity with a token
    Join(join::JoinArgs),
    /// Run the node
    Run(run::RunArgs),
    /// Remove this node's identity and database, while it is not running
    Reset {
        /// Really
        #[arg(long)]
        yes: bool,
    },
    /// Look for what is wrong, and say what to do: clock, DNS, ports, certificates, disk, database, link, token
    Doctor(doctor::DoctorArgs),
    #[command(flatten)]
    Ask(Ask),
}

/// The verbs that ask a running node.
#[derive(Debug, Subcommand)]
enum Ask {
    /// Show how the running node is
    Status {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Read every record again, compare with the cloud, and repair what differs
    Verify(verify::VerifyArgs),
    /// Ask with SQL: one SELECT over the records that are here
    Query(query::QueryArgs),
    /// Records
    #[command(subcommand)]
    Record(RecordVerb),
    /// Tokens for the local API, where [api] tokens = "required"
    #[command(subcommand)]
    Access(AccessVerb),
    /// Writes: what became of them
    #[command(subcommand)]
    Write(WriteVerb),
    /// Writes that the cloud has not answered yet
    #[command(subcommand)]
    Outbox(OutboxVerb),
    /// Conflicts: values that lost, and bounds that were passed
    #[command(subcommand)]
    Conflict(ConflictVerb),
    /// Devices of this node: what is desired of them, and what they report
    #[command(subcommand)]
    Device(DeviceVerb),
}

#[derive(Debug, Subcommand)]
enum WriteVerb {
    /// List this node's writes
    List(WritesList),
    /// Show one write with its outcome
    Show {
        #[command(flatten)]
        show: WriteShow,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Send a rejected or lost write once more, as a new one on what the records are now
    Resend(WriteResend),
    /// Drop what is kept of an answered write
    Discard(WriteDiscard),
}

#[derive(Debug, Subcommand)]
enum OutboxVerb {
    /// The same as `write list --state pending`
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs one command line, program name first.
pub fn run(args: impl IntoIterator<Item = OsString>, node: Node) -> ExitCode {
    match parse::<Cli>(args) {
        Ok(cli) => finish("edgehub", Console::standard(|console| dispatch(cli, node, console))),
        Err(code) => code,
    }
}

fn dispatch(cli: Cli, node: Node, console: &mut Console<'_>) -> Result<(), CliError> {
    let data = || DATA_DIR.resolve(cli.data.clone().or_else(|| std::env::var_os("EDGEHUB_DATA").map(PathBuf::from)));
    match cli.verb {
        Verb::Join(args) => join::run(args, data(), node.join, console),
        Verb::Run(args) => run::run(args, cli.data, node.run, console),
        Verb::Reset { yes } => reset::run(&data(), yes, console),
        Verb::Doctor(args) => doctor::run(args, cli.data, console),
        Verb::Ask(ask) => block_on(ask.run(&Client::socket(&data()), console)),
    }
}

/// How far it is, everything else, and what somebody should know.
fn shown(status: &Value) -> String {
    let sync = status.get("sync").unwrap_or(&Value::Null);
    let far = how_far(sync, sync.get("reason").and_then(Value::as_str));
    let name = status.get("node").and_then(Value::as_str).unwrap_or("this machine, which has not joined,");
    describe_with_warnings(&format!("{name} is {far}"), status)
}

impl Ask {
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            Ask::Status { output } => {
                let answer = client.send(Request::get(&["v1", "status"])).await?;
                console.show(answer, output, shown).await
            }
            Ask::Verify(args) => args.run(client, console).await,
            Ask::Query(args) => args.run(client, console).await,
            Ask::Record(verb) => verb.run(client, console).await,
            Ask::Access(verb) => verb.run(client, console).await,
            Ask::Write(WriteVerb::List(list)) => list.run(client, console).await,
            Ask::Write(WriteVerb::Show { show, wait }) => show.run_waiting(client, console, wait.wait.unwrap_or_default()).await,
            Ask::Write(WriteVerb::Resend(resend)) => resend.run(client, console).await,
            Ask::Write(WriteVerb::Discard(discard)) => discard.run(client, console).await,
            Ask::Outbox(OutboxVerb::List { page, output }) => WritesList::outbox(page, output).run(client, console).await,
            Ask::Conflict(verb) => verb.run(client, console).await,
            Ask::Device(verb) => verb.run(client, console).await,
        }
    }
}
