//! `cloudhub collection`: what is synced, to whom, by which rules.

use std::path::PathBuf;

use api::cli::{CliError, Console, List, OutputArgs, describe};
use api::client::{Client, ClientError, Request};
use api::shapes::AppliedCollection;
use clap::{Args, Subcommand};
use http::Method;

use super::definitions::{Definition, Definitions};

#[derive(Debug, Subcommand)]
pub(super) enum CollectionVerb {
    /// Create or change the collections that a TOML file defines; all of them or, when one is wrong, none
    Apply(Apply),
    /// List the collections
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show one collection's definition
    Show {
        /// The collection
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete a collection with all its records, here and at every node
    Delete {
        /// The collection
        name: String,
        /// Really
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The file; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

const COLLECTIONS: List = List {
    member: "collections",
    columns: &[
        ("NAME", "name"),
        ("RECORDS", "records"),
        ("KEY", "definition.key"),
        ("POLICY", "definition.policy"),
        ("EDGE", "definition.edge"),
        ("NODES", "definition.nodes"),
        ("PARTITION", "definition.partition.field"),
    ],
    whole: None,
};

impl CollectionVerb {
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            CollectionVerb::Apply(apply) => apply.run(client, console).await,
            CollectionVerb::List { output } => COLLECTIONS.run(client, Request::get(&["v1", "collections"]), output, console).await,
            CollectionVerb::Show { name, output } => {
                let answer = client.send(Request::get(&["v1", "collections", &name])).await?;
                console.show(answer, output, |collection| describe(collection, &["definition.schema"])).await
            }
            CollectionVerb::Delete { name, yes: false } => Err(CliError::Usage(format!(
                "this deletes {name} with all its records, here and at every node; if that is what you want: cloudhub collection delete {name} --yes"
            ))),
            CollectionVerb::Delete { name, yes: true } => {
                client.send(Request::new(Method::DELETE, &["v1", "collections", &name])).await?;
                console.line(&format!("{name} deleted"))
            }
        }
    }
}

impl Apply {
    /// Every definition is tried before the first is applied, so that a mistake in the last changes nothing.
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let definitions = Definitions::read(&self.file)?;
        for definition in &definitions.collections {
            let tried = put(client, &definitions, definition, true).await?;
            if self.dry_run {
                console.line(&sentence(&tried, "would be "))?;
            }
        }
        if self.dry_run {
            return Ok(());
        }
        for definition in &definitions.collections {
            let applied = put(client, &definitions, definition, false).await?;
            console.line(&sentence(&applied, ""))?;
        }
        Ok(())
    }
}

async fn put(client: &Client, definitions: &Definitions, definition: &Definition, dry_run: bool) -> Result<AppliedCollection, CliError> {
    let request = Request::new(Method::PUT, &["v1", "collections", &definition.name])
        .query_opt("dry_run", dry_run.then_some("true"))
        .json(definition.body.to_string());
    let answer = client.send(request).await.map_err(|error| match error {
        ClientError::Refused(refusal) if refusal.status < 500 && refusal.status != 401 => {
            let place = definitions.place(definition, refusal.field.as_deref());
            CliError::Failed(format!("{place}: collection {}: {refusal}", definition.name))
        }
        other => other.into(),
    })?;
    Ok(answer.json().await?)
}

fn sentence(applied: &AppliedCollection, would: &str) -> String {
    let done = match (applied.created, applied.changed) {
        (true, _) => "created",
        (false, true) => "changed",
        (false, false) => "unchanged",
    };
    let nodes = if applied.nodes == 1 { "node" } else { "nodes" };
    format!("{} {would}{done} (selects {} of {} {nodes})", applied.name, applied.selects, applied.nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_in_words() {
        let applied = AppliedCollection { name: "products".into(), created: true, changed: true, selects: 2, nodes: 3 };
        assert_eq!(sentence(&applied, ""), "products created (selects 2 of 3 nodes)");
        assert_eq!(sentence(&applied, "would be "), "products would be created (selects 2 of 3 nodes)");
        let applied = AppliedCollection { created: false, changed: false, selects: 1, nodes: 1, ..applied };
        assert_eq!(sentence(&applied, ""), "products unchanged (selects 1 of 1 node)");
    }
}
