//! `conflict …`: values that lost, and bounds that were passed.

use clap::{Args, Subcommand, ValueEnum};

use super::record::paged;
use super::{CliError, Console, List, OutputArgs, Page, describe};
use crate::client::{Client, Request};

/// What can be done with conflicts.
#[derive(Debug, Subcommand)]
pub enum ConflictVerb {
    /// List conflicts
    List(Lists),
    /// Show one conflict with all its values
    Show(Show),
}

/// The states of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Needs a person
    Open,
    /// Was decided by rule; the loser is kept
    Auto,
    /// A person has decided
    Resolved,
    /// All of them
    All,
}

/// `conflict list`.
#[derive(Debug, Args)]
pub struct Lists {
    /// Only conflicts in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    output: OutputArgs,
}

/// `conflict show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The conflict
    id: String,
    #[command(flatten)]
    output: OutputArgs,
}

const CONFLICTS: List = List {
    member: "conflicts",
    columns: &[
        ("ID", "id"),
        ("COLLECTION", "collection"),
        ("KEY", "key"),
        ("KIND", "kind"),
        ("STATE", "state"),
        ("NODE", "node"),
        ("WRITE", "write"),
        ("OUTCOME", "outcome"),
        ("COUNT", "count"),
        ("OPENED-AT", "opened_at"),
    ],
    whole: None,
};

impl ConflictVerb {
    /// Does it, against the hub that `client` knows.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            ConflictVerb::List(list) => {
                let state = list.state.and_then(|state| Some(state.to_possible_value()?.get_name().to_owned()));
                let request = Request::get(&["v1", "conflicts"]).query_opt("state", state);
                CONFLICTS.run(client, paged(request, &list.page), list.output, console).await
            }
            ConflictVerb::Show(show) => {
                let answer = client.send(Request::get(&["v1", "conflicts", &show.id])).await?;
                console.show(answer, show.output, |conflict| describe(conflict, &[])).await
            }
        }
    }
}
