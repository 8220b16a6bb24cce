//! `device apply` and `device adopt`: what files, or one line, declare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::super::input::remark_on_terminal;
use super::super::{CliError, Console, read_limited};
use super::{kubeedge, meant};
use crate::client::{Client, ClientError, Request};
use crate::limits::DEVICE_FILE_BYTES;

/// `device apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// The file: TOML with [[model]] and [[device]] tables, or KubeEdge's YAML (.yaml, .yml, .json); - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

/// `device adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// The device, as it calls itself in its topics
    id: String,
    /// What kind of device it is
    #[arg(long)]
    model: String,
    /// The node that it speaks at; at an edge, that edge where left out
    #[arg(long)]
    node: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// One thing that is declared.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    kind: &'static str,
    /// Its path in the API.
    path: &'static str,
    /// What it is called.
    pub(super) id: String,
    /// What is sent.
    pub(super) body: Value,
    /// Desired values as text, of which the model knows the types.
    pub(super) texts: Vec<(String, String)>,
}

impl Entry {
    pub(super) fn model(id: String, body: Value) -> Self {
        Self { kind: "model", path: "device-models", id, body, texts: Vec::new() }
    }

    pub(super) fn device(id: String, body: Value) -> Self {
        Self { kind: "device", path: "devices", id, body, texts: Vec::new() }
    }

    fn request(&self) -> Request {
        Request::new(Method::PUT, &["v1", self.path, &self.id]).json(self.body.to_string())
    }
}

/// What a file declares, models first, and what is to be said about it.
#[derive(Debug, PartialEq)]
pub(super) struct Declared {
    pub(super) entries: Vec<Entry>,
    pub(super) notes: Vec<String>,
}

impl Apply {
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let (name, text) = if self.file == Path::new("-") {
            remark_on_terminal(console);
            ("standard input".to_owned(), read_limited(std::io::stdin(), "standard input", DEVICE_FILE_BYTES)?)
        } else {
            let name = self.file.display().to_string();
            let file = std::fs::File::open(&self.file).map_err(|error| CliError::Usage(format!("{name}: {error}")))?;
            let text = read_limited(file, &name, DEVICE_FILE_BYTES)?;
            (name, text)
        };
        let Declared { entries, notes } = Declared::parse(&name, &text)?;
        for note in notes {
            console.note(&format!("{name} {note}"));
        }
        let mut models = BTreeMap::new();
        for mut entry in entries {
            entry.settle_texts(client, &mut models, console).await?;
            let answer = client.send(entry.request()).await.map_err(|error| match error {
                ClientError::Refused(refusal) if refusal.status < 500 && refusal.status != 401 => {
                    CliError::Failed(format!("{name}: {} {}: {refusal}; what stands before it was applied", entry.kind, entry.id))
                }
                other => other.into(),
            })?;
            let done = if answer.status() == StatusCode::CREATED { "created" } else { "applied" };
            console.line(&format!("{} {} {done}", entry.kind, entry.id))?;
        }
        Ok(())
    }
}

impl Entry {
    /// Makes values of texts: the model's types say what they mean.
    async fn settle_texts(
        &mut self,
        client: &Client,
        models: &mut BTreeMap<String, Value>,
        console: &mut Console<'_>,
    ) -> Result<(), CliError> {
        if self.kind == "model" {
            models.insert(self.id.clone(), self.body["properties"].clone());
        }
        if self.texts.is_empty() {
            return Ok(());
        }
        let model = self.body["model"].as_str().unwrap_or_default().to_owned();
        if !models.contains_key(&model) {
            let answer: Value = client.send(Request::get(&["v1", "device-models", &model])).await?.json().await?;
            models.insert(model.clone(), answer["properties"].clone());
        }
        let properties = &models[&model];
        let mut desired = Map::new();
        for (name, text) in std::mem::take(&mut self.texts) {
            let property = &properties[&name];
            if property["access"] != "read-write" {
                let why = if property.is_null() { "the model has no such property" } else { "it is read-only" };
                console.note(&format!("{}: desired value {text:?} of {name} is not kept: {why}", self.id));
                continue;
            }
            let is_text = matches!(property["type"].as_str(), Some("string" | "bytes"));
            desired.insert(name, if is_text { json!(text) } else { meant(&text) });
        }
        if !desired.is_empty() {
            self.body["desired"] = Value::Object(desired);
        }
        Ok(())
    }
}

impl Adopt {
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let mut body = json!({"model": self.model});
        for (name, value) in [("node", self.node), ("description", self.description)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        let request = Entry::device(self.id.clone(), body).request().header("if-none-match", HeaderValue::from_static("*"));
        let answer = client.send(request).await.map_err(|error| match error {
            ClientError::Refused(refusal) if refusal.status == 412 => {
                CliError::Failed(format!("{} is declared already; see it: device show {}", self.id, self.id))
            }
            other => other.into(),
        })?;
        let device: Value = answer.json().await?;
        let at = device["node"].as_str().map_or_else(|| ", at no node yet: --node NAME".to_owned(), |node| format!(" at {node}"));
        console.line(&format!("{} is a {} now{at}", self.id, self.model))
    }
}

impl Declared {
    fn parse(file: &str, text: &str) -> Result<Self, CliError> {
        let wrong = |why: String| CliError::Usage(format!("{file}: {why}"));
        let declared = if is_yaml(file, text) {
            kubeedge::read(text).map_err(|error| wrong(error.to_string()))?
        } else {
            tables(text).map_err(wrong)?
        };
        if declared.entries.is_empty() {
            let notes: String = declared.notes.iter().map(|note| format!("\n{file} {note}")).collect();
            return Err(wrong(format!("it declares no model and no device{notes}")));
        }
        Ok(declared)
    }
}

/// By the file's name; standard input by its first words.
fn is_yaml(file: &str, text: &str) -> bool {
    if let Some((_, ending)) = file.rsplit_once('.') {
        return ["yaml", "yml", "json"].contains(&ending.to_ascii_lowercase().as_str());
    }
    text.trim_start().starts_with('{') || text.lines().any(|line| line.starts_with("apiVersion:") || line.starts_with("---"))
}

fn tables(text: &str) -> Result<Declared, String> {
    let table: Map<String, Value> = toml::from_str(text).map_err(|error| error.to_string())?;
    if let Some(other) = table.keys().find(|key| !matches!(key.as_str(), "model" | "device")) {
        return Err(format!("{other} is neither [[model]] nor [[device]]"));
    }
    let mut entries = Vec::new();
    // Models go first wherever they stand: devices name them.
    for (kind, name, entry) in [("model", "name", Entry::model as fn(String, Value) -> Entry), ("device", "id", Entry::device)] {
        let Some(tables) = table.get(kind) else { continue };
        let tables = tables.as_array().ok_or_else(|| format!("write [[{kind}]], in double brackets"))?;
        for (place, one) in tables.iter().enumerate() {
            let mut body = one.as_object().cloned().unwrap_or_default();
            match body.remove(name) {
                Some(Value::String(id)) if !id.is_empty() => entries.push(entry(id, Value::Object(body))),
                _ => return Err(format!("[[{kind}]] number {} has no `{name}`", place + 1)),
            }
        }
    }
    Ok(Declared { entries, notes: Vec::new() })
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
        let all = Declared::parse("devices.toml", text).unwrap().entries;
        let names: Vec<_> = all.iter().map(|entry| (entry.kind, entry.path, entry.id.as_str())).collect();
        assert_eq!(names, [("model", "device-models", "thermostat"), ("device", "devices", "default/boiler")]);
        assert_eq!(all[1].body, json!({"model": "thermostat", "desired": {"target": 20.5}}));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (file, text, words) in [
            ("devices.toml", "", "no model and no device"),
            ("devices.toml", "[[devices]]", "devices is neither"),
            ("devices.toml", "[device]\nid=\"a\"", "double brackets"),
            ("devices.toml", "[[device]]\nmodel=\"m\"", "number 1 has no `id`"),
            ("devices.toml", "[[device]", "devices.toml: "),
            ("x.yaml", "a: [1\n", "x.yaml: line "),
            ("x.yml", "apiVersion: v1\nkind: Pod\n", "line 1: kind Pod (v1) is no device of KubeEdge"),
        ] {
            let error = Declared::parse(file, text).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn standard_input_shows_what_it_is() {
        assert!(
            is_yaml("standard input", "# devices\napiVersion: devices.kubeedge.io/v1beta1\n")
                && is_yaml("standard input", "{\"kind\":\"List\"}")
        );
        assert!(!is_yaml("standard input", "[[device]]\nid = \"a\"\n") && !is_yaml("a.yaml.toml", "apiVersion: x"));
    }
}
