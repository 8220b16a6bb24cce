//! `device …`: models, devices and their twins, from the command line of either hub.

mod apply;
mod kubeedge;
mod yaml;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::record::paged;
use super::table::{Table, cell_at, clean};
use super::watch::Watch;
use super::{CliError, Console, Format, List, OutputArgs, Page, describe, pair};
use crate::client::{Client, Request};
use apply::{Adopt, Apply};

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub enum DeviceVerb {
    /// List devices
    List(Lists),
    /// Show a device with its twin
    Show(Show),
    /// Declare the models and devices of a file: TOML, or KubeEdge's YAML
    Apply(Apply),
    /// Declare a device that speaks and is not declared (list --state unknown shows those)
    Adopt(Adopt),
    /// Set what is desired of a device, e.g. temp=20
    Set(Set),
    /// Delete a device with its twin
    Delete(Delete),
    /// Print what changes of devices and twins, as it comes, until this is ended
    Watch(Follow),
    /// Models: what kinds of device there are
    #[command(subcommand)]
    Model(ModelVerb),
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum ModelVerb {
    /// List models
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show what a model declares
    Show {
        /// The model
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete a model that no device has
    Delete {
        /// The model
        name: String,
    },
}

/// `device list`.
#[derive(Debug, Args)]
pub struct Lists {
    /// Only devices of this model
    #[arg(long)]
    model: Option<String>,
    /// Only devices of this node
    #[arg(long)]
    node: Option<String>,
    /// Only devices that said this of themselves: online, offline, ok, unhealthy, unknown; unknown lists those that speak here undeclared too
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    output: OutputArgs,
}

/// `device show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The device: NAME or NAMESPACE/NAME
    id: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// `device set`.
#[derive(Debug, Args)]
pub struct Set {
    /// The device
    id: String,
    /// Properties and what is desired of them; nothing behind the = : nothing is desired any more
    #[arg(required = true, value_name = "PROPERTY=VALUE", value_parser = pair)]
    desired: Vec<(String, String)>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `device delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The device
    id: String,
    /// Really
    #[arg(long)]
    yes: bool,
}

/// `device watch`.
#[derive(Debug, Args)]
pub struct Follow {
    /// Where to begin: the id of an event, or 0 for everything that is there first [default: now]
    #[arg(long, value_name = "TOKEN")]
    since: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

const DEVICES: List = List {
    member: "devices",
    columns: &[
        ("ID", "id"),
        ("MODEL", "model"),
        ("NODE", "node"),
        ("STATE", "state"),
        ("LAST-SEEN", "last_seen"),
        ("DELTA", "delta"),
        ("SYNC", "sync.state"),
    ],
    whole: None,
};

const MODELS: List =
    List { member: "models", columns: &[("NAME", "name"), ("DESCRIPTION", "description"), ("REVISION", "revision")], whole: None };

impl DeviceVerb {
    /// Does it, against the hub that `client` knows.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            DeviceVerb::List(list) => {
                let asks_for_strangers = list.state.as_deref() == Some("unknown");
                let request = Request::get(&["v1", "devices"])
                    .query_opt("model", list.model)
                    .query_opt("node", list.node)
                    .query_opt("state", list.state);
                let request = paged(request, &list.page);
                if list.output.format == Format::Json || !asks_for_strangers {
                    return DEVICES.run(client, request, list.output, console).await;
                }
                let answer: Value = client.send(request).await?.json().await?;
                console.raw(DEVICES.table(&answer).as_bytes())?;
                console.raw(strangers(&answer).as_bytes())?;
                if let Some(next) = answer["next"].as_str() {
                    console.note(&format!("there are more; go on with --after {next}"));
                }
                console.flush()
            }
            DeviceVerb::Show(show) => {
                let answer = client.send(Request::get(&["v1", "devices", &show.id, "twin"])).await?;
                console.show(answer, show.output, twin).await
            }
            DeviceVerb::Apply(apply) => apply.run(client, console).await,
            DeviceVerb::Adopt(adopt) => adopt.run(client, console).await,
            DeviceVerb::Set(set) => set.run(client, console).await,
            DeviceVerb::Delete(Delete { id, yes: false }) => {
                let again = format!("device delete {id} --yes");
                Err(CliError::Usage(format!("this deletes {id} with its twin, here and at its node; if that is what you want: {again}")))
            }
            DeviceVerb::Delete(Delete { id, yes: true }) => {
                client.send(Request::new(Method::DELETE, &["v1", "devices", &id])).await?;
                console.line(&format!("{id} deleted"))
            }
            DeviceVerb::Watch(Follow { since, output }) => Watch::of(&proto::device::COLLECTIONS, since, output).run(client, console).await,
            DeviceVerb::Model(verb) => verb.run(client, console).await,
        }
    }
}

/// Devices that speak and are not declared, and how one is taken in.
fn strangers(answer: &Value) -> String {
    let rows: Vec<&Value> = answer["undeclared"].as_array().into_iter().flatten().collect();
    let Some(first) = rows.first() else { return String::new() };
    let mut table = Table::new(&["UNDECLARED", "LAST-SEEN", "MESSAGES", "TOPICS"]);
    for row in &rows {
        table.row(["id", "last_seen", "messages", "topics"].map(|path| clean(&cell_at(row, path))));
    }
    let id = clean(first["id"].as_str().unwrap_or_default());
    format!("\n{}\nto declare one: device adopt {id} --model MODEL\n", table.render())
}

impl ModelVerb {
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            ModelVerb::List { page, output } => {
                MODELS.run(client, paged(Request::get(&["v1", "device-models"]), &page), output, console).await
            }
            ModelVerb::Show { name, output } => {
                let answer = client.send(Request::get(&["v1", "device-models", &name])).await?;
                console.show(answer, output, |model| describe(model, &[])).await
            }
            ModelVerb::Delete { name } => {
                client.send(Request::new(Method::DELETE, &["v1", "device-models", &name])).await?;
                console.line(&format!("model {name} deleted"))
            }
        }
    }
}

impl Set {
    /// The twin's types say what a text means: `20` is a number for an int and a text for a string.
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let now: Value = client.send(Request::get(&["v1", "devices", &self.id, "twin"])).await?.json().await?;
        let desired = self.desired.iter().map(|(name, text)| {
            let is_text = matches!(now["properties"][name]["type"].as_str(), Some("string" | "bytes"));
            (name.clone(), if is_text { json!(text) } else { meant(text) })
        });
        let body = json!({"desired": desired.collect::<Map<_, _>>()});
        let request = Request::new(Method::PATCH, &["v1", "devices", &self.id, "twin"]).json(body.to_string());
        let answer = client.send(request).await?;
        console.show(answer, self.output, twin).await
    }
}

/// Nothing: no value any more; else JSON where it is some, and text where it is none.
fn meant(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap_or_else(|_| json!(text)) }
}

/// A twin as a table of its properties.
fn twin(twin: &Value) -> String {
    let at = |path| clean(&cell_at(twin, path));
    let mut shown = format!("{} ({}) at {}", at("device"), at("model"), at("node"));
    if let Some(state) = twin["state"]["value"].as_str() {
        shown.push_str(&format!(", {} since {}", clean(state), at("state.at")));
    }
    let mut table = Table::new(&["PROPERTY", "TYPE", "DESIRED", "REPORTED", "AT", "BY", "IN-SYNC"]);
    for (name, property) in twin["properties"].as_object().into_iter().flatten() {
        let cell = |path| clean(&cell_at(property, path));
        table.row([
            clean(name),
            cell("type"),
            cell("desired.value"),
            cell("reported.value"),
            cell("reported.at"),
            cell("reported.writer"),
            cell("in_sync"),
        ]);
    }
    shown.push('\n');
    shown.push_str(&table.render());
    if let Some(write) = twin.get("write") {
        shown.push_str(&format!("\nwrite {}: {}\n", clean(&cell_at(write, "id")), clean(&cell_at(write, "state"))));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_means_what_it_spells() {
        for (text, value) in [("20", json!(20)), ("true", json!(true)), ("", Value::Null), ("warm", json!("warm"))] {
            assert_eq!(meant(text), value);
        }
    }
}
