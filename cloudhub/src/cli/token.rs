//! `cloudhub token`: join tokens.

use std::time::Duration;

use api::cli::{CliError, Console, List, OutputArgs, body, pair};
use api::client::{Client, Request};
use api::config::parse_duration;
use api::shapes::{JoinTokenRequest, NewJoinToken};
use clap::{Args, Subcommand};
use http::Method;

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Make a join token and print it, alone
    Create(Create),
    /// List the tokens that can still be used
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a token useless; nodes that joined with it stay
    Revoke {
        /// The token's id, from the list
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Only a machine of this name may join
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// It takes the place of the machine that has this name now
    #[arg(long, requires = "node")]
    replace: bool,
    /// A label that the node gets (repeatable)
    #[arg(long = "label", value_name = "K=V", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// How long the token can be used
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    ttl: Duration,
    /// How many machines can join with it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// Print the whole line to paste on the new machine instead
    #[arg(long)]
    print_join_command: bool,
}

const TOKENS: List = List {
    member: "tokens",
    columns: &[
        ("ID", "id"),
        ("NODE", "node"),
        ("LABELS", "labels"),
        ("USES", "uses"),
        ("USED", "used"),
        ("REPLACE", "replace"),
        ("EXPIRES-AT", "expires_at"),
    ],
    whole: None,
};

impl TokenVerb {
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            TokenVerb::Create(create) => create.run(client, console).await,
            TokenVerb::List { output } => TOKENS.run(client, Request::get(&["v1", "join-tokens"]), output, console).await,
            TokenVerb::Revoke { id } => {
                client.send(Request::new(Method::DELETE, &["v1", "join-tokens", &id])).await?;
                console.line(&format!("token {id} revoked"))
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let wish = JoinTokenRequest {
            node: self.node,
            replace: self.replace,
            labels: self.labels.into_iter().collect(),
            ttl_seconds: Some(self.ttl.as_secs()),
            uses: Some(self.uses),
        };
        let request = Request::new(Method::POST, &["v1", "join-tokens"]).json(body(&wish));
        let made: NewJoinToken = client.send(request).await?.json().await?;
        console.line(if self.print_join_command { &made.join_command } else { &made.token })
    }
}
