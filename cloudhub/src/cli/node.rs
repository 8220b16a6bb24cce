//! `cloudhub node`: the edge nodes.

use api::cli::{CliError, Console, List, OutputArgs, Page, cell, describe_with_warnings, how_far, pair};
use api::client::{Client, Request};
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum NodeVerb {
    /// List the nodes
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show one node
    Show {
        /// The node
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List what happened to a node
    Events {
        /// The node
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Set (k=v) and remove (k-) labels
    Label {
        /// The node
        name: String,
        /// The changes
        #[arg(required = true, value_name = "K=V|K-", value_parser = change)]
        changes: Vec<(String, Option<String>)>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let a database in that was refused, in the place of any other
    Accept {
        /// The node
        name: String,
        /// The database, 32 hex digits, as the node's events name it
        #[arg(long, value_name = "ID")]
        database: String,
    },
    /// Refuse a node's certificate from now on, and close its session
    Revoke {
        /// The node
        name: String,
    },
    /// Forget a node
    Delete {
        /// The node
        name: String,
    },
}

const NODES: List = List {
    member: "nodes",
    columns: &[
        ("NAME", "name"),
        ("STATE", "state"),
        ("LABELS", "labels"),
        ("BEHIND", "sync.lag_records"),
        ("OUTBOX", "outbox.writes"),
        ("CONFLICTS", "conflicts.open"),
        ("LAST-SEEN", "last_seen"),
        ("VERSION", "version"),
    ],
    whole: None,
};

const EVENTS: List = List { member: "events", columns: &[("AT", "at"), ("KIND", "kind"), ("DETAIL", "detail")], whole: None };

/// `k=v` sets a label, `k-` removes it.
fn change(text: &str) -> Result<(String, Option<String>), String> {
    match (text.contains('='), text.strip_suffix('-')) {
        (true, _) => pair(text).map(|(name, value)| (name, Some(value))),
        (false, Some(name)) if !name.is_empty() => Ok((name.to_owned(), None)),
        _ => Err(format!("`{text}` is neither K=V, which sets a label, nor K-, which removes it")),
    }
}

/// How far it is, everything else, and what somebody should know.
fn shown(node: &Value) -> String {
    let text = |name: &str| node.get(name).and_then(Value::as_str);
    let far = how_far(node.get("sync").unwrap_or(&Value::Null), text("reason"));
    describe_with_warnings(&format!("{} is {far}", text("name").unwrap_or("?")), node)
}

impl NodeVerb {
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            NodeVerb::List { page, output } => {
                let request = Request::get(&["v1", "nodes"])
                    .query_opt("limit", page.limit.map(|limit| limit.to_string()))
                    .query_opt("after", page.after);
                NODES.run(client, request, output, console).await
            }
            NodeVerb::Show { name, output } => {
                let answer = client.send(Request::get(&["v1", "nodes", &name])).await?;
                console.show(answer, output, shown).await
            }
            NodeVerb::Events { name, output } => EVENTS.run(client, Request::get(&["v1", "nodes", &name, "events"]), output, console).await,
            NodeVerb::Label { name, changes, output } => {
                let labels: Map<String, Value> = changes.into_iter().map(|(label, value)| (label, json!(value))).collect();
                let body = json!({ "labels": labels }).to_string();
                let answer = client.send(Request::new(Method::PATCH, &["v1", "nodes", &name]).json(body)).await?;
                console.show(answer, output, |node| format!("{name}: {}\n", cell(node.get("labels").unwrap_or(&Value::Null)))).await
            }
            NodeVerb::Accept { name, database } => {
                let body = json!({ "database": database }).to_string();
                client.send(Request::new(Method::POST, &["v1", "nodes", &name, "accept"]).json(body)).await?;
                console.line(&format!("database {database} is {name}'s when it comes next"))
            }
            NodeVerb::Revoke { name } => {
                client.send(Request::new(Method::POST, &["v1", "nodes", &name, "revoke"])).await?;
                console.line(&format!("{name} revoked"))
            }
            NodeVerb::Delete { name } => {
                client.send(Request::new(Method::DELETE, &["v1", "nodes", &name])).await?;
                console.line(&format!("{name} deleted"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_changes() {
        assert_eq!(change("role=till"), Ok(("role".into(), Some("till".into()))));
        assert_eq!(change("role="), Ok(("role".into(), Some(String::new()))));
        assert_eq!(change("role-"), Ok(("role".into(), None)));
        assert_eq!(change("a=b-"), Ok(("a".into(), Some("b-".into()))));
        assert!(change("role").is_err() && change("-").is_err() && change("=x").is_err());
    }
}
