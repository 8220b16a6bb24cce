//! `cloudhub node`: the edge nodes.

use api::cli::{CliError, Console, List, OutputArgs, Page, cell, describe_with_warnings, how_far, pair};
use api::client::{Client, Request};
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use crate::limits::VERIFY_WAIT;

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
    /// Compare now what a node holds with what the cloud has, and send again what differs
    Verify {
        /// The node, which must be online
        name: String,
        /// Only this collection
        collection: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Have a node drop and fill again what it holds; it may be away
    Resync {
        /// The node
        name: String,
        /// Only this collection
        collection: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
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

/// What a verification found, as a sentence a line.
fn verified(answer: &Value) -> String {
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    let node = cell(answer.get("node").unwrap_or(&Value::Null));
    let mut text = String::new();
    for found in answer.get("repaired").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| cell(found.get(name).unwrap_or(&Value::Null));
        let partition = found.get("partition").and_then(Value::as_str).map(|partition| format!("/{partition}")).unwrap_or_default();
        text += &format!(
            "{}{partition}: {} of {} ranges of keys differed and were sent again\n",
            part("collection"),
            part("ranges"),
            part("of")
        );
    }
    let what = answer.get("collection").and_then(Value::as_str).map(|name| format!(" of {name}")).unwrap_or_default();
    let (revision, partitions) = (number("revision"), number("partitions"));
    text + &match answer.get("agreed") {
        Some(Value::Bool(true)) => {
            let partitions = if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") };
            format!("{node} holds what the cloud has{what} at revision {revision} ({partitions} compared)\n")
        }
        _ => format!("{node} still holds other records than the cloud at revision {revision}; look at its disk: edgehub doctor\n"),
    }
}

/// What a node fills again.
fn resynced(answer: &Value) -> String {
    let text = |name: &str| cell(answer.get(name).unwrap_or(&Value::Null));
    let what = answer.get("collection").and_then(Value::as_str).unwrap_or("everything");
    format!("{} fills {what} again ({} partitions), from revision {}\n", text("node"), text("partitions"), text("revision"))
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
            NodeVerb::Verify { name, collection, output } => {
                let request = Request::new(Method::POST, &["v1", "nodes", &name, "verify"]).query_opt("collection", collection);
                let answer = client.send(request.patience(VERIFY_WAIT)).await?;
                let mut agreed = true;
                let text = |answer: &Value| {
                    agreed = answer.get("agreed") != Some(&Value::Bool(false));
                    verified(answer)
                };
                console.show(answer, output, text).await?;
                if agreed { Ok(()) } else { Err(CliError::Failed(format!("{name} does not hold what it should"))) }
            }
            NodeVerb::Resync { name, collection, output } => {
                let request = Request::new(Method::POST, &["v1", "nodes", &name, "resync"]).query_opt("collection", collection);
                console.show(client.send(request).await?, output, resynced).await
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

    #[test]
    fn what_a_verification_found_is_a_sentence_a_line() {
        let found = json!({"collection": "stock", "partition": "lyon", "ranges": 3, "of": 256});
        let mut answer = json!({"node": "lyon", "collection": null, "agreed": true, "revision": 7, "partitions": 4, "repaired": [found]});
        assert_eq!(
            verified(&answer),
            "stock/lyon: 3 of 256 ranges of keys differed and were sent again\nlyon holds what the cloud has at revision 7 (4 partitions compared)\n"
        );
        answer["agreed"] = json!(false);
        assert!(verified(&answer).contains("still holds other records than the cloud at revision 7"));
        let answer = json!({"node": "lyon", "collection": "stock", "partitions": 1, "revision": 9});
        assert_eq!(resynced(&answer), "lyon fills stock again (1 partitions), from revision 9\n");
    }
}
