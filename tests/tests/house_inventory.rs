//! The sample inventory fits its own definitions, and every reference in it leads to a record.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proto::definition::Definition;
use proto::json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/inventory")
}

fn definitions() -> BTreeMap<String, Definition> {
    let file: toml::Table = std::fs::read_to_string(folder().join("collections.toml")).unwrap().parse().unwrap();
    let one = |table: &toml::Value| {
        let mut table = table.as_table().unwrap().clone();
        let name = table.remove("name").unwrap().as_str().unwrap().to_owned();
        let definition = Definition::parse(&serde_json::to_string(&table).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, definition)
    };
    file["collection"].as_array().unwrap().iter().map(one).collect()
}

fn records(collection: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(format!("{collection}.ndjson"))).unwrap();
    text.lines().map(|line| Value::parse(line).unwrap_or_else(|error| panic!("{collection}: {error}: {line}"))).collect()
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_text().map(|text| text.into_owned())
}

#[test]
fn every_line_fits_its_definition() {
    for (collection, definition) in definitions() {
        let mut keys = BTreeSet::new();
        for value in records(&collection) {
            let key = definition.key_of(&value).unwrap().unwrap_or_else(|| panic!("{collection}: no key in {}", value.to_text()));
            assert!(keys.insert(key.as_str().to_owned()), "{collection}: {} twice", key.as_str());
            assert!(definition.partition_of(&value).is_some(), "{collection}: {} is in no partition", key.as_str());
            for (field, rule) in &definition.fields {
                let counter = value.get(field).and_then(|raw| raw.as_i64());
                assert!(
                    rule.kind.is_none() || counter.is_some_and(|count| count >= rule.min.unwrap_or(i64::MIN)),
                    "{collection}: {field} of {}",
                    key.as_str()
                );
                let begins = |state: String| rule.initial.is_empty() || rule.initial.contains(&state);
                assert!(!rule.guard || text(&value, field).is_some_and(begins), "{collection}: {field} of {}", key.as_str());
            }
        }
        assert!(!keys.is_empty(), "{collection} is empty");
    }
}

#[test]
fn every_reference_leads_to_a_record() {
    let references = [
        ("products", "Category", "categories"),
        ("products", "Supplier", "suppliers"),
        ("shelves", "Sku", "products"),
        ("orders", "CustomerID", "customers"),
        ("order_lines", "OrderID", "orders"),
        ("order_lines", "Sku", "products"),
    ];
    for (from, field, to) in references {
        let known: BTreeSet<String> = records(to).iter().map(|value| text(value, field).unwrap()).collect();
        for value in records(from) {
            // A walk-in customer has no card: null.
            let Some(wanted) = text(&value, field) else { continue };
            assert!(known.contains(&wanted), "{from}: {field} {wanted:?} is not in {to}");
        }
    }
}
