//! `device …`: models, devices and their twins, from the command line of either hub.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::record::paged;
use super::table::{Table, cell_at, clean};
use super::watch::Watch;
use super::{CliError, Console, List, OutputArgs, Page, describe, pair, read_limited};
use crate::client::{Client, ClientError, Request};

/// The largest file of devices, bytes: some hundred thousand.
const FILE_BYTES: u64 = 64 << 20;

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub enum DeviceVerb {
    /// List devices
    List(Lists),
    /// Show a device with its twin
    Show(Show),
    /// Declare the models and devices of a TOML file, in its order
    Apply(Apply),
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
    /// Only devices that said this of themselves: online, offline, ok, unhealthy, unknown
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

/// `device apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// The file, with [[model]] and [[device]] tables; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
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
                let request = Request::get(&["v1", "devices"])
                    .query_opt("model", list.model)
                    .query_opt("node", list.node)
                    .query_opt("state", list.state);
                DEVICES.run(client, paged(request, &list.page), list.output, console).await
            }
            DeviceVerb::Show(show) => {
                let answer = client.send(Request::get(&["v1", "devices", &show.id, "twin"])).await?;
                console.show(answer, show.output, twin).await
            }
            DeviceVerb::Apply(apply) => apply.run(client, console).await,
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

impl Apply {
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let (name, text) = if self.file == Path::new("-") {
            ("standard input".to_owned(), read_limited(std::io::stdin(), "standard input", FILE_BYTES)?)
        } else {
            let name = self.file.display().to_string();
            let file = std::fs::File::open(&self.file).map_err(|error| CliError::Usage(format!("{name}: {error}")))?;
            let text = read_limited(file, &name, FILE_BYTES)?;
            (name, text)
        };
        let declared = Declared::parse(&name, &text)?;
        for (kind, path, id, body) in declared.0 {
            let request = Request::new(Method::PUT, &["v1", path, &id]).json(body.to_string());
            let answer = client.send(request).await.map_err(|error| match error {
                ClientError::Refused(refusal) if refusal.status < 500 && refusal.status != 401 => {
                    CliError::Failed(format!("{name}: {kind} {id}: {refusal}; what stands before it was applied"))
                }
                other => other.into(),
            })?;
            let done = if answer.status() == http::StatusCode::CREATED { "created" } else { "applied" };
            console.line(&format!("{kind} {id} {done}"))?;
        }
        Ok(())
    }
}

/// What a file declares: what it is, its path in the API, its name, and the body that is sent.
struct Declared(Vec<(&'static str, &'static str, String, Value)>);

impl Declared {
    fn parse(file: &str, text: &str) -> Result<Self, CliError> {
        let wrong = |why: String| CliError::Usage(format!("{file}: {why}"));
        let table: Map<String, Value> = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if let Some(other) = table.keys().find(|key| !matches!(key.as_str(), "model" | "device")) {
            return Err(wrong(format!("{other} is neither [[model]] nor [[device]]")));
        }
        let mut all = Vec::new();
        // Models go first wherever they stand: devices name them.
        for (kind, path, name) in [("model", "device-models", "name"), ("device", "devices", "id")] {
            let Some(tables) = table.get(kind) else { continue };
            let tables = tables.as_array().ok_or_else(|| wrong(format!("write [[{kind}]], in double brackets")))?;
            for (place, one) in tables.iter().enumerate() {
                let mut body = one.as_object().cloned().unwrap_or_default();
                match body.remove(name) {
                    Some(Value::String(id)) if !id.is_empty() => all.push((kind, path, id, Value::Object(body))),
                    _ => return Err(wrong(format!("[[{kind}]] number {} has no `{name}`", place + 1))),
                }
            }
        }
        if all.is_empty() { Err(wrong("it declares no [[model]] and no [[device]]".to_owned())) } else { Ok(Self(all)) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_declares_models_before_devices() {
        let text = r#"
            [[device]]
            id = "default/boiler"
            model = "thermostat"
            desired = { target = 20.5 }
            [[model]]
            name = "thermostat"
            [model.properties.target]
            type = "float"
        "#;
        let all = Declared::parse("devices.toml", text).unwrap().0;
        let names: Vec<_> = all.iter().map(|(kind, path, id, _)| (*kind, *path, id.as_str())).collect();
        assert_eq!(names, [("model", "device-models", "thermostat"), ("device", "devices", "default/boiler")]);
        assert_eq!(all[1].3, json!({"model": "thermostat", "desired": {"target": 20.5}}));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, words) in [
            ("", "no [[model]] and no [[device]]"),
            ("[[devices]]", "devices is neither"),
            ("[device]\nid=\"a\"", "double brackets"),
            ("[[device]]\nmodel=\"m\"", "number 1 has no `id`"),
            ("[[device]", "devices.toml: "),
        ] {
            let error = Declared::parse("devices.toml", text).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_text_means_what_it_spells() {
        for (text, value) in [("20", json!(20)), ("true", json!(true)), ("", Value::Null), ("warm", json!("warm"))] {
            assert_eq!(meant(text), value);
        }
    }
}
