//! The file of `cloudhub collection apply`: `[[collection]]` tables in TOML, sent as JSON.

use std::path::Path;
use std::sync::LazyLock;

use api::cli::{CliError, read_limited};
use api::config::{Document, Schema};
use serde_json::{Map, Value};

/// 10,000 collections with schemas fit; what is larger is another file.
const MAX_FILE: u64 = 64 << 20;

/// What a definition may hold. What the members mean is for the hub to judge; a name that it does not know is found
/// here, where the line is known.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new([
        "collection.name",
        "collection.key",
        "collection.nodes.*",
        "collection.partition.field",
        "collection.partition.label",
        "collection.edge",
        "collection.policy",
        "collection.indexes",
        "collection.groups",
        "collection.schema.**",
        "collection.tombstone_retention",
        "collection.edge_keep",
        "collection.fields.*.type",
        "collection.fields.*.min",
        "collection.fields.*.max",
        "collection.fields.*.on_violation",
        "collection.fields.*.edge",
        "collection.fields.*.guard",
        "collection.fields.*.initial",
        "collection.fields.*.transitions.*",
    ])
});

/// The collections that a file defines.
#[derive(Debug)]
pub(super) struct Definitions {
    document: Document,
    pub(super) collections: Vec<Definition>,
}

/// One collection, as it will be sent.
#[derive(Debug, PartialEq)]
pub(super) struct Definition {
    /// Its name, as it goes into the path.
    pub(super) name: String,
    /// Everything else.
    pub(super) body: Value,
    /// Its dotted path in the file.
    path: String,
}

impl Definitions {
    /// Reads `file`; `-` is standard input.
    pub(super) fn read(file: &Path) -> Result<Self, CliError> {
        if file == Path::new("-") {
            let text = read_limited(std::io::stdin(), "standard input", MAX_FILE)?;
            return Self::parse(Document::parse(Path::new("standard input"), &text)?);
        }
        Self::parse(Document::read(file)?)
    }

    fn parse(document: Document) -> Result<Self, CliError> {
        document.check(&SCHEMA)?;
        let file = document.file().display();
        let tables = match document.root().get("collection") {
            Some(toml::Value::Array(tables)) if !tables.is_empty() => tables,
            Some(_) => return Err(CliError::Usage(format!("{}: write [[collection]], in double brackets", document.origin("collection")))),
            None => return Err(CliError::Usage(format!("{file} defines no [[collection]]"))),
        };
        let mut collections: Vec<Definition> = Vec::new();
        for (i, table) in tables.iter().enumerate() {
            let path = format!("collection[{i}]");
            let definition = definition(&document, table, path)?;
            if collections.iter().any(|other| other.name == definition.name) {
                let place = document.origin(&format!("{}.name", definition.path));
                return Err(CliError::Usage(format!("{place}: collection {} is defined a second time", definition.name)));
            }
            collections.push(definition);
        }
        Ok(Self { document, collections })
    }

    /// The place in the file that a hub's complaint about `field` (dotted) of a definition is about.
    pub(super) fn place(&self, definition: &Definition, field: Option<&str>) -> String {
        let path = match field {
            Some(field) => format!("{}.{field}", definition.path),
            None => definition.path.clone(),
        };
        self.document.origin(&path).to_string()
    }
}

fn definition(document: &Document, table: &toml::Value, path: String) -> Result<Definition, CliError> {
    let wrong = |path: &str, reason: &str| CliError::Usage(format!("{}: {reason}", document.origin(path)));
    let toml::Value::Table(table) = table else { return Err(wrong(&path, "a [[collection]] is a table")) };
    let name = match table.get("name") {
        Some(toml::Value::String(name)) if !name.is_empty() => name.clone(),
        Some(_) => return Err(wrong(&format!("{path}.name"), "`name` is a text, e.g. name = \"products\"")),
        None => return Err(wrong(&path, "this [[collection]] has no `name`")),
    };
    let mut body = Map::new();
    for (member, value) in table.iter().filter(|(member, _)| *member != "name") {
        let at = format!("{path}.{member}");
        body.insert(member.clone(), json(value).map_err(|reason| wrong(&at, &reason))?);
    }
    Ok(Definition { name, body: Value::Object(body), path })
}

/// TOML as JSON; what JSON cannot say is refused.
fn json(value: &toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Boolean(switch) => (*switch).into(),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(*number).map(Value::Number).ok_or_else(|| format!("{number} is no number in JSON"))?
        }
        toml::Value::Datetime(time) => return Err(format!("{time} is a date in TOML; write it as a text, in quotes")),
        toml::Value::Array(items) => Value::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(name, value)| Ok((name.clone(), json(value)?))).collect::<Result<_, String>>()?)
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The collection of docs/design.md §3, with everything that a definition may hold.
    const FULL: &str = r#"
[[collection]]
name = "products"
key = "ProductID"
nodes = { role = "shop" }
partition = { field = "Warehouse", label = "site" }
edge = "read-write"
policy = "merge"
indexes = ["CategoryID"]
groups = [["street", "zip", "city"]]
schema = { type = "object", properties = { UnitPrice = { minimum = 0.5 } } }
tombstone_retention = "30d"
edge_keep = "90d"
[collection.fields]
UnitsInStock = { type = "counter", min = 0, max = 100, on_violation = "flag" }
UnitPrice    = { edge = "read-only" }
Status       = { guard = true, initial = ["draft"], transitions = { draft = ["confirmed"] } }

[[collection]]
name = "orders"
"#;

    fn parse(text: &str) -> Result<Definitions, CliError> {
        Definitions::parse(Document::parse(Path::new("c.toml"), text)?)
    }

    #[test]
    fn everything_becomes_json_without_the_name() {
        let read = parse(FULL).unwrap();
        assert_eq!(read.collections.len(), 2);
        let products = &read.collections[0];
        assert_eq!(products.name, "products");
        assert_eq!(products.body["fields"]["UnitsInStock"], json!({"type": "counter", "min": 0, "max": 100, "on_violation": "flag"}));
        assert_eq!(products.body["schema"]["properties"]["UnitPrice"]["minimum"], json!(0.5));
        assert!(products.body.get("name").is_none());
        assert_eq!(read.collections[1].body, json!({}));
    }

    #[test]
    fn the_hub_knows_every_name_that_is_let_through() {
        for definition in parse(FULL).unwrap().collections {
            serde_json::from_value::<proto::definition::Definition>(definition.body).unwrap();
        }
    }

    #[test]
    fn an_unknown_field_names_line_and_nearest() {
        let error = parse(&FULL.replace("on_violation", "on_violatoin")).unwrap_err();
        let expected = "c.toml line 15: unknown key `collection[0].fields.UnitsInStock.on_violatoin`; \
                        the nearest known key is `collection.fields.UnitsInStock.on_violation`";
        assert_eq!((error.to_string().as_str(), error.code()), (expected, 2));
        let error = parse(&FULL.replace("policy", "polciy")).unwrap_err().to_string();
        assert!(error.starts_with("c.toml line 8: unknown key `collection[0].polciy`"), "{error}");
    }

    #[test]
    fn a_complaint_of_the_hub_is_found_in_the_file() {
        let read = parse(FULL).unwrap();
        let products = &read.collections[0];
        assert_eq!(read.place(products, Some("fields.UnitPrice.edge")), "c.toml line 16");
        assert_eq!(read.place(products, Some("policy")), "c.toml line 8");
        assert_eq!(read.place(products, None), "c.toml line 2");
    }

    #[test]
    fn files_that_define_nothing_usable() {
        for (text, expected) in [
            ("", "c.toml defines no [[collection]]"),
            ("[collection]\nname = \"a\"", "c.toml line 1: write [[collection]], in double brackets"),
            ("\n[[collection]]\nkey = \"a\"", "c.toml line 2: this [[collection]] has no `name`"),
            ("[[collection]]\nname = 5", "c.toml line 2: `name` is a text, e.g. name = \"products\""),
            ("[[collection]]\nname = \"a\"\n[[collection]]\nname = \"a\"", "c.toml line 4: collection a is defined a second time"),
            (
                "[[collection]]\nname = \"a\"\nkey = 2026-01-01",
                "c.toml line 3: 2026-01-01 is a date in TOML; write it as a text, in quotes",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
