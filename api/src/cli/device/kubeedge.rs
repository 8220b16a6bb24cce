//! KubeEdge's DeviceModel and Device (`devices.kubeedge.io/v1alpha1`, `v1alpha2`, `v1beta1`) as what Tombolo declares. What has no
//! counterpart is told with its line and kept out; nothing is passed over in silence. docs/guide/from-kubeedge.md has the table.

use serde_json::{Map, Value, json};

use super::apply::{Declared, Entry};
use super::yaml::{BadYaml, Kind, Node, documents};

const GROUP: &str = "devices.kubeedge.io/";
/// What Kubernetes keeps about an object for itself.
const BOOKKEEPING: [&str; 9] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "ownerReferences",
    "selfLink",
    "finalizers",
    "deletionTimestamp",
];

/// Reads what a text declares.
pub(super) fn read(text: &str) -> Result<Declared, BadYaml> {
    let mut reader = Reader::default();
    for document in documents(text)? {
        reader.object(document)?;
    }
    let Reader { mut models, devices, mut notes } = reader;
    models.extend(devices);
    notes.sort_by_key(|(line, _)| *line);
    Ok(Declared { entries: models, notes: notes.into_iter().map(|(line, note)| format!("line {line}: {note}")).collect() })
}

#[derive(Default)]
struct Reader {
    models: Vec<Entry>,
    devices: Vec<Entry>,
    notes: Vec<(usize, String)>,
}

/// A map whose members are taken one by one; what is left was not known here.
struct Members {
    line: usize,
    path: String,
    left: Vec<(String, Node)>,
}

impl Members {
    fn of(node: Node, path: &str) -> Result<Self, BadYaml> {
        let line = node.line;
        match node.kind {
            Kind::Map(left) => Ok(Self { line, path: path.to_owned(), left }),
            _ if node.is_null() => Ok(Self { line, path: path.to_owned(), left: Vec::new() }),
            _ => Err(BadYaml { line, why: format!("{} is a map in KubeEdge's files", if path.is_empty() { "a document" } else { path }) }),
        }
    }

    /// A member with something in it.
    fn take(&mut self, name: &str) -> Option<Node> {
        let place = self.left.iter().position(|(member, _)| member == name)?;
        Some(self.left.remove(place).1).filter(|node| !node.is_null())
    }

    fn map(&mut self, name: &str) -> Result<Self, BadYaml> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        match self.take(name) {
            Some(node) => Self::of(node, &path),
            None => Ok(Self { line: self.line, path, left: Vec::new() }),
        }
    }

    fn list(&mut self, name: &str) -> Result<Vec<Self>, BadYaml> {
        let path = format!("{}.{name}", self.path);
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Node { kind: Kind::List(items), .. }) => {
                items.into_iter().enumerate().map(|(place, item)| Self::of(item, &format!("{path}[{place}]"))).collect()
            }
            Some(node) => Err(BadYaml { line: node.line, why: format!("{path} is a list in KubeEdge's files") }),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, BadYaml> {
        let Some(node) = self.take(name) else { return Ok(None) };
        let wrong = || BadYaml { line: node.line, why: format!("{}.{name} is text in KubeEdge's files", self.path) };
        node.text().map(|text| Some(text.to_owned())).ok_or_else(wrong)
    }

    fn name(&mut self, name: &str) -> Result<String, BadYaml> {
        let missing = BadYaml { line: self.line, why: format!("{}.{name} is missing", self.path) };
        self.text(name)?.filter(|text| !text.is_empty()).ok_or(missing)
    }

    /// What is left, as JSON.
    fn rest(self) -> Map<String, Value> {
        self.left.iter().map(|(name, node)| (name.clone(), node.to_json())).collect()
    }
}

/// What both kinds have around them.
struct Head {
    old: bool,
    namespace: Option<String>,
    name: String,
}

impl Head {
    /// Topics of v1beta1 have the namespace in them, those of v1alpha1 and v1alpha2 have not: an id is what stands in its topics.
    fn id(&self) -> String {
        if self.old { self.name.clone() } else { format!("{}/{}", self.namespace.as_deref().unwrap_or("default"), self.name) }
    }

    /// A model of that name, as seen from here: models have no namespaces in Tombolo.
    fn model(&self, name: &str) -> String {
        match self.namespace.as_deref() {
            None | Some("default") => name.to_owned(),
            Some(namespace) => format!("{namespace}/{name}"),
        }
    }
}

impl Reader {
    fn note(&mut self, line: usize, note: impl Into<String>) {
        self.notes.push((line, note.into()));
    }

    /// Members that nothing was made of.
    fn left_over(&mut self, members: Members, why: &str) {
        for (name, node) in members.left {
            if !node.is_null() {
                self.note(node.line, format!("{}.{name} is not kept: {why}", members.path));
            }
        }
    }

    fn object(&mut self, node: Node) -> Result<(), BadYaml> {
        let line = node.line;
        let mut object = Members::of(node, "")?;
        let (version, kind) = (object.text("apiVersion")?.unwrap_or_default(), object.text("kind")?.unwrap_or_default());
        if kind.ends_with("List") {
            object.path = kind;
            for item in object.list("items")? {
                self.object(Node { line: item.line, kind: Kind::Map(item.left) })?;
            }
            return Ok(());
        }
        let Some(version) = version.strip_prefix(GROUP) else {
            let what = if kind.is_empty() { "an object without a kind".to_owned() } else { format!("kind {kind} ({version})") };
            self.note(line, format!("{what} is no device of KubeEdge: passed over"));
            return Ok(());
        };
        let old = match version {
            "v1beta1" => false,
            "v1alpha1" | "v1alpha2" => true,
            other => {
                let why = format!("apiVersion {GROUP}{other} is not known here; v1alpha1, v1alpha2 and v1beta1 are");
                return Err(BadYaml { line, why });
            }
        };
        match kind.as_str() {
            "DeviceModel" => self.model(object, old),
            "Device" => self.device(object, old),
            "DeviceStatus" => {
                self.note(line, "a DeviceStatus is passed over: what a device reports comes from the device");
                Ok(())
            }
            other => Err(BadYaml { line, why: format!("kind {other:?} is neither Device nor DeviceModel") }),
        }
    }

    fn head(&mut self, object: &mut Members, old: bool) -> Result<(Head, Members), BadYaml> {
        let mut metadata = object.map("metadata")?;
        let head = Head { old, name: metadata.name("name")?, namespace: metadata.text("namespace")? };
        for own in BOOKKEEPING {
            if let Some(node) = metadata.take(own) {
                self.note(node.line, format!("metadata.{own} is not kept: it is Kubernetes' own bookkeeping"));
            }
        }
        Ok((head, metadata))
    }

    fn model(&mut self, mut object: Members, old: bool) -> Result<(), BadYaml> {
        let (head, metadata) = self.head(&mut object, old)?;
        let mut spec = object.map("spec")?;
        let mut properties = Map::new();
        for property in spec.list("properties")? {
            if let Some((name, property)) = self.property(property, old)? {
                properties.insert(name, property);
            }
        }
        self.left_over(metadata, "a model has a name, a description and properties");
        self.left_over(spec, "a protocol is each device's own in Tombolo; write it into the devices");
        self.left_over(object, "it is no part of what a model declares");
        let id = head.model(&head.name);
        self.models.push(Entry::model(id, json!({"properties": properties})));
        Ok(())
    }

    fn property(&mut self, mut property: Members, old: bool) -> Result<Option<(String, Value)>, BadYaml> {
        let name = property.name("name")?;
        let mut out = Map::new();
        if let Some(description) = property.text("description")?.filter(|text| !text.trim().is_empty()) {
            out.insert("description".into(), json!(description));
        }
        let (kind, mut about) = if old {
            let mut types = property.map("type")?;
            let line = types.line;
            let Some((kind, about)) = types.left.pop().filter(|_| types.left.is_empty()) else {
                let why = format!("property {name} has one type: int, float, double, boolean, string or bytes");
                return Err(BadYaml { line, why });
            };
            (kind, Members::of(about, &format!("{}.type", property.path))?)
        } else {
            let kind = property.name("type")?;
            let about = std::mem::take(&mut property.left);
            (kind, Members { line: property.line, path: property.path.clone(), left: about })
        };
        let kind = kind.to_ascii_lowercase();
        if !["int", "float", "double", "boolean", "string", "bytes"].contains(&kind.as_str()) {
            self.note(about.line, format!("property {name} is left out: there is no type {kind} in Tombolo"));
            return Ok(None);
        }
        let access = about.text("accessMode")?.unwrap_or_default();
        match access.as_str() {
            "ReadWrite" => drop(out.insert("access".into(), json!("read-write"))),
            "ReadOnly" => {}
            _ => self.note(about.line, format!("property {name} becomes read-only: its accessMode is {access:?}")),
        }
        if let Some(unit) = about.text("unit")?.filter(|unit| !unit.is_empty()) {
            out.insert("unit".into(), json!(unit));
        }
        let is_number = matches!(kind.as_str(), "int" | "float" | "double");
        for bound in ["minimum", "maximum"] {
            let Some(node) = about.take(bound) else { continue };
            let text = node.text().unwrap_or_default();
            let Ok(number) = text.parse::<f64>() else {
                return Err(BadYaml { line: node.line, why: format!("{bound} of property {name} is a number, not {text:?}") });
            };
            if is_number {
                out.insert(bound.into(), json!(number));
            } else {
                self.note(node.line, format!("{bound} of property {name} is not kept: a {kind} has none"));
            }
        }
        if let Some(node) = about.take("defaultValue") {
            if access == "ReadWrite" {
                out.insert("default".into(), typed(&kind, &node));
            } else {
                self.note(node.line, format!("defaultValue of property {name} is not kept: nothing is desired of what is read-only"));
            }
        }
        self.left_over(about, "how a property is read is each device's own in Tombolo; write it into the devices");
        self.left_over(property, "a model does not have it");
        out.insert("type".into(), json!(kind));
        Ok(Some((name, Value::Object(out))))
    }

    fn device(&mut self, mut object: Members, old: bool) -> Result<(), BadYaml> {
        let (head, mut metadata) = self.head(&mut object, old)?;
        let labels = metadata.map("labels")?;
        let labels: Map<_, _> = labels.left.iter().filter_map(|(name, node)| Some((name.clone(), json!(node.text()?)))).collect();
        self.left_over(metadata, "a device has labels and a description");
        let mut spec = object.map("spec")?;
        let model = spec.map("deviceModelRef")?.name("name")?;
        let node = self.node(&mut spec)?;
        let mut desired = Vec::new();
        let mut protocol = spec.map("protocol")?.rest();
        let mut properties = Map::new();
        for (list, name) in [("properties", "name"), ("propertyVisitors", "propertyName")] {
            for mut property in spec.list(list)? {
                let name = property.name(name)?;
                self.desired(&mut property, &name, &mut desired)?;
                if let Some(push) = property.left.iter().find(|(member, _)| member == "pushMethod").map(|(_, node)| node.line) {
                    self.note(push, format!("pushMethod of property {name} is kept for a mapper to read; nothing here pushes"));
                }
                let rest = property.rest();
                if !rest.is_empty() {
                    properties.insert(name, Value::Object(rest));
                }
            }
        }
        if !properties.is_empty() {
            protocol.insert("properties".into(), Value::Object(properties));
        }
        if let Some(report) = spec.take("stateReport") {
            protocol.insert("stateReport".into(), report.to_json());
        }
        for (name, why) in [
            ("methods", "a method sets properties: set what is desired of them"),
            ("data", "series of measurements do not go through a twin; put them into a collection of their own"),
        ] {
            if let Some(node) = spec.take(name) {
                self.note(node.line, format!("spec.{name} is not kept: {why}"));
            }
        }
        self.left_over(spec, "nothing here knows it");
        let mut status = object.map("status")?;
        for mut twin in status.list("twins")? {
            let name = twin.name("propertyName")?;
            self.desired(&mut twin, &name, &mut desired)?;
            self.left_over(twin, "what a device reports comes from the device");
        }
        self.left_over(status, "what a device reports comes from the device");
        self.left_over(object, "it is no part of what a device declares");
        let mut body = json!({"model": head.model(&model)});
        let mut set = |name: &str, value: Value, is_there: bool| {
            if is_there {
                body[name] = value;
            }
        };
        set("node", json!(node), node.is_some());
        set("labels", json!(labels), !labels.is_empty());
        set("protocol", json!(protocol), !protocol.is_empty());
        let mut device = Entry::device(head.id(), body);
        device.texts = desired;
        self.devices.push(device);
        Ok(())
    }

    /// What is desired of a property; an empty text is KubeEdge's nothing.
    fn desired(&mut self, property: &mut Members, name: &str, all: &mut Vec<(String, String)>) -> Result<(), BadYaml> {
        let mut desired = property.map("desired")?;
        let (line, value) = (desired.line, desired.text("value")?);
        match value.filter(|text| !text.is_empty()) {
            Some(text) if all.iter().any(|(other, _)| other == name) => {
                self.note(line, format!("desired value {text:?} of {name} is not kept: another one stands in this object"));
            }
            Some(text) => all.push((name.to_owned(), text)),
            None => {}
        }
        self.left_over(desired, "types are the model's, and times are those of setting it");
        Ok(())
    }

    /// v1beta1 names the node; before, a selector could, and one that selects several names none.
    fn node(&mut self, spec: &mut Members) -> Result<Option<String>, BadYaml> {
        if let Some(name) = spec.text("nodeName")?.filter(|name| !name.is_empty()) {
            return Ok(Some(name));
        }
        let Some(selector) = spec.take("nodeSelector") else { return Ok(None) };
        let named = the_only_value(&selector.to_json());
        if named.is_none() {
            self.note(selector.line, "spec.nodeSelector does not name one node: the device has none until its `node` is set");
        }
        Ok(named)
    }
}

/// `{"nodeSelectorTerms":[{"matchExpressions":[{"operator":"In","values":["lyon"]}]}]}`
fn the_only_value(selector: &Value) -> Option<String> {
    let only = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([one]) => Some(one.clone()),
        _ => None,
    };
    let expression = only(&only(&selector["nodeSelectorTerms"])?["matchExpressions"])?;
    let by_name = matches!(expression["key"].as_str(), None | Some("" | "kubernetes.io/hostname" | "metadata.name"));
    (by_name && expression["operator"] == "In").then(|| only(&expression["values"])?.as_str().map(str::to_owned)).flatten()
}

/// A scalar of the type of its property; what does not fit is refused by the hub, in its words.
fn typed(kind: &str, node: &Node) -> Value {
    match kind {
        "string" | "bytes" => json!(node.text().unwrap_or_default()),
        _ => node.to_json(),
    }
}

#[cfg(test)]
#[path = "kubeedge_tests.rs"]
mod tests;
