//! `write …`: what became of a write.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::Value;

use super::record::paged;
use super::{CliError, Console, Format, List, OutputArgs, Page, describe};
use crate::client::{Client, Request};
use crate::config::parse_duration;

/// The longest wait that the API takes in one request.
const WAIT_AT_ONCE: Duration = Duration::from_secs(30);

/// The states of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Not answered by the cloud yet
    Pending,
    /// Done as written
    Applied,
    /// Done; a field of it lost to a later change
    Merged,
    /// Done, and something needs a look
    Flagged,
    /// Not done
    Rejected,
    /// The cloud cannot say any more
    Lost,
}

/// `write list` and `outbox list`.
#[derive(Debug, Args)]
pub struct WritesList {
    /// Only writes in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    output: OutputArgs,
}

const WRITES: List = List {
    member: "writes",
    columns: &[
        ("ID", "id"),
        ("STATE", "state"),
        ("AT", "at"),
        ("ACTOR", "actor"),
        ("REVISION", "revision"),
        ("CODE", "code"),
        ("CONFLICTS", "conflicts"),
        ("DETAIL", "detail"),
    ],
    whole: None,
};

impl WritesList {
    /// The outbox: the writes that are still pending.
    pub fn outbox(page: Page, output: OutputArgs) -> Self {
        Self { state: Some(State::Pending), page, output }
    }

    /// Prints the list.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let state = self.state.and_then(|state| Some(state.to_possible_value()?.get_name().to_owned()));
        let request = Request::get(&["v1", "writes"]).query_opt("state", state);
        WRITES.run(client, paged(request, &self.page), self.output, console).await
    }
}

/// `write show`.
#[derive(Debug, Args)]
pub struct WriteShow {
    /// The write, e.g. lyon:7f3a9c:42 or cloud:1234
    id: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl WriteShow {
    /// Prints the write as it is now.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        self.run_waiting(client, console, Duration::ZERO).await
    }

    /// Prints the write when it has its outcome, or as it is after `wait`.
    pub async fn run_waiting(self, client: &Client, console: &mut Console<'_>, wait: Duration) -> Result<(), CliError> {
        let mut left = wait;
        loop {
            let now = left.min(WAIT_AT_ONCE);
            left -= now;
            let seconds = now.as_millis().div_ceil(1000);
            let request =
                Request::get(&["v1", "writes", &self.id]).query_opt("wait", (seconds > 0).then(|| seconds.to_string())).patience(now);
            let body = client.send(request).await?.bytes().await?;
            let write: Value =
                serde_json::from_slice(&body).map_err(|error| CliError::Failed(format!("{} answered no JSON: {error}", client.hub())))?;
            let done = write.get("final") == Some(&Value::Bool(true)) || left.is_zero();
            match (done, self.output.format) {
                (false, _) => {}
                (true, Format::Json) => {
                    console.raw(&body)?;
                    if console.is_terminal() && !body.ends_with(b"\n") {
                        console.raw(b"\n")?;
                    }
                    return console.flush();
                }
                (true, Format::Table) => {
                    console.raw(describe(&write, &[]).as_bytes())?;
                    return console.flush();
                }
            }
        }
    }
}

/// `write resend`.
#[derive(Debug, Args)]
pub struct WriteResend {
    /// The write that was rejected or lost, e.g. lyon:7f3a9c:42
    id: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl WriteResend {
    /// Sends the write once more, and prints the new one.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let request = Request::new(Method::POST, &["v1", "writes", &self.id, "resend"]).json("");
        let answer = client.send(request).await?;
        console.show(answer, self.output, |sent| describe(sent.get("write").unwrap_or(sent), &[])).await
    }
}

/// `write discard`.
#[derive(Debug, Args)]
pub struct WriteDiscard {
    /// The answered write, e.g. lyon:7f3a9c:42
    id: String,
    /// Really
    #[arg(long)]
    yes: bool,
}

impl WriteDiscard {
    /// Drops what is kept of the write.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let Self { id, yes } = self;
        if !yes {
            let detail = format!("this drops the content of write {id} for good; if that is what you want: write discard {id} --yes");
            return Err(CliError::Usage(detail));
        }
        client.send(Request::new(Method::POST, &["v1", "writes", &id, "discard"]).json("")).await?;
        console.line(&format!("{id} discarded"))
    }
}

/// `--wait 30s`, for the hub where writes wait.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Wait this long for the outcome
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}
