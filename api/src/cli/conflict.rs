//! `conflict …`: values that lost, and bounds that were passed.

use clap::{Args, Subcommand, ValueEnum};

use http::Method;
use serde_json::Value;

use super::input::json_value;
use super::record::paged;
use super::table::{cell_at, clean};
use super::{CliError, Console, Format, List, OutputArgs, Page, describe, read_limited};
use crate::client::{Client, ClientError, Request};

/// Ids that standard input may hold, bytes: a million of them.
const IDS_BYTES: u64 = 32 << 20;

/// What can be done with conflicts.
#[derive(Debug, Subcommand)]
pub enum ConflictVerb {
    /// List conflicts
    List(Lists),
    /// Show one conflict with all its values
    Show(Show),
    /// Resolve conflicts, each by one write: keep what the cloud had, what the losing write said, or a value
    Resolve(Resolve),
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

/// Which values are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// What the cloud had
    Cloud,
    /// What the losing write said
    Edge,
    /// What --value says
    Value,
}

/// `conflict resolve`.
#[derive(Debug, Args)]
pub struct Resolve {
    /// The conflicts; - reads ids from standard input, separated by white space
    #[arg(required = true, value_name = "ID|-")]
    ids: Vec<String>,
    /// Which values are wanted
    #[arg(long = "use", value_enum, value_name = "cloud|edge|value")]
    side: Side,
    /// The fields as they shall be, with --use value: a merge patch, or the whole record where it is gone
    #[arg(long, value_name = "JSON|@FILE|-", required_if_eq("side", "value"))]
    value: Option<String>,
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
            ConflictVerb::Resolve(resolve) => resolve.run(client, console).await,
        }
    }
}

impl Resolve {
    /// One after the other: a refusal is told and counted, and the next one is tried.
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let body = self.body(console)?;
        let ids = self.ids(console)?;
        let mut failed = Vec::new();
        for id in &ids {
            let request = Request::new(Method::POST, &["v1", "conflicts", id, "resolve"]).json(body.clone());
            match client.send(request).await {
                Ok(answer) if self.output.format == Format::Json => {
                    console.pass(answer).await?;
                    if !console.is_terminal() {
                        console.raw(b"\n")?;
                    }
                }
                Ok(answer) => console.line(&sentence(&answer.json().await?))?,
                Err(ClientError::Refused(refusal)) => {
                    console.note(&format!("{}: {refusal}", clean(id)));
                    failed.push(clean(id));
                }
                Err(error) => return Err(error.into()),
            }
        }
        console.note(&format!("{} resolved, {} not", ids.len() - failed.len(), failed.len()));
        if failed.is_empty() { Ok(()) } else { Err(CliError::Failed(format!("not resolved: {}", failed.join(" ")))) }
    }

    fn body(&self, console: &mut Console<'_>) -> Result<String, CliError> {
        match (self.side, &self.value) {
            (Side::Value, Some(value)) if value == "-" && self.ids.iter().any(|id| id == "-") => {
                Err(CliError::Usage("the ids and the value cannot both come from standard input".to_owned()))
            }
            (Side::Value, Some(value)) => Ok(format!("{{\"use\":\"value\",\"value\":{}}}", json_value(value, console)?)),
            (Side::Value, None) => Err(CliError::Usage("--use value needs --value JSON".to_owned())),
            (_, Some(_)) => Err(CliError::Usage("--value goes with --use value".to_owned())),
            (Side::Cloud, None) => Ok("{\"use\":\"cloud\"}".to_owned()),
            (Side::Edge, None) => Ok("{\"use\":\"edge\"}".to_owned()),
        }
    }

    fn ids(&self, console: &mut Console<'_>) -> Result<Vec<String>, CliError> {
        let mut ids = Vec::new();
        for id in &self.ids {
            if id != "-" {
                ids.push(id.clone());
                continue;
            }
            super::input::remark_on_terminal(console);
            let text = read_limited(std::io::stdin(), "standard input", IDS_BYTES)?;
            ids.extend(text.split_whitespace().map(str::to_owned));
        }
        Ok(ids)
    }
}

fn sentence(answer: &Value) -> String {
    let at = |path| clean(&cell_at(answer, path));
    let about = format!("{}/{}", at("conflict.collection"), at("conflict.key"));
    format!("{}: {about} {} (write {}, {})", at("conflict.id"), at("conflict.state"), at("write.id"), at("write.state"))
}
