//! `access`: tokens for the API.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;

use super::{CliError, Console, List, OutputArgs, body};
use crate::client::{Client, Request};
use crate::config::parse_duration;
use crate::hub::Role;
use crate::shapes::{AccessTokenRequest, NewAccessToken};

/// Tokens for the API.
#[derive(Debug, Subcommand)]
pub enum AccessVerb {
    /// Make an access token and print it, alone; it is shown only this once
    Create(Create),
    /// List the access tokens
    List {
        /// How to print it.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a token useless at once
    Revoke {
        /// The token's id, from the list
        id: String,
    },
}

/// The flags of `access create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Who or what will use it
    name: String,
    /// What it may do
    #[arg(long, value_enum)]
    role: RoleName,
    /// Only in this collection (repeatable) [default: all]
    #[arg(long = "collection", value_name = "C")]
    collections: Vec<String>,
    /// How long it can be used [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Everything
    Admin,
    /// Read and write records
    Editor,
    /// Read
    Viewer,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Role::Admin,
            RoleName::Editor => Role::Editor,
            RoleName::Viewer => Role::Viewer,
        }
    }
}

const TOKENS: List = List {
    member: "tokens",
    columns: &[
        ("ID", "id"),
        ("NAME", "name"),
        ("ROLE", "role"),
        ("COLLECTIONS", "collections"),
        ("CREATED-AT", "created_at"),
        ("EXPIRES-AT", "expires_at"),
    ],
    whole: None,
};

impl AccessVerb {
    /// Runs the verb.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            AccessVerb::Create(create) => {
                let wish = AccessTokenRequest {
                    name: create.name,
                    role: create.role.into(),
                    collections: create.collections,
                    ttl_seconds: create.ttl.map(|ttl| ttl.as_secs()),
                };
                let request = Request::new(Method::POST, &["v1", "access-tokens"]).json(body(&wish));
                let made: NewAccessToken = client.send(request).await?.json().await?;
                console.line(&made.token)
            }
            AccessVerb::List { output } => TOKENS.run(client, Request::get(&["v1", "access-tokens"]), output, console).await,
            AccessVerb::Revoke { id } => {
                client.send(Request::new(Method::DELETE, &["v1", "access-tokens", &id])).await?;
                console.line(&format!("token {id} revoked"))
            }
        }
    }
}
