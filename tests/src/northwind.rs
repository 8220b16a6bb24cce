//! The trading company: definitions of the main job, and its tables as newline-delimited JSON.
//!
//! The tables are read from `shared/data/northwind` beside the checkout (or `$NORTHWIND`). Where that is not there,
//! made-up rows of the same shape and number take their place, so that the same tests run anywhere.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The definitions of the main job.
pub const DEFINITIONS: &str = r#"
[[collection]]
name = "products"
key = "ProductID"
policy = "merge"
[collection.fields]
UnitsInStock = { type = "counter", min = 0, on_violation = "flag" }
UnitsOnOrder = { type = "counter" }

[[collection]]
name = "orders"
key = "OrderID"

[[collection]]
name = "customers"
key = "CustomerID"

[[collection]]
name = "order_details"
key = "OrderID/ProductID"
policy = "append"

[[collection]]
name = "suppliers"
key = "SupplierID"
edge = "read-only"

[[collection]]
name = "categories"
key = "CategoryID"
edge = "read-only"
"#;

/// Collections and their key fields.
pub const TABLES: [(&str, &[&str]); 6] = [
    ("products", &["ProductID"]),
    ("orders", &["OrderID"]),
    ("customers", &["CustomerID"]),
    ("order_details", &["OrderID", "ProductID"]),
    ("suppliers", &["SupplierID"]),
    ("categories", &["CategoryID"]),
];

/// A folder with the tables.
pub struct Tables {
    /// One `TABLE.ndjson` each.
    pub folder: PathBuf,
    _made_up: Option<TempDir>,
}

/// The real tables where they are, else made-up ones.
pub fn tables() -> Tables {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/northwind");
    let folder = std::env::var_os("NORTHWIND").map_or(beside, PathBuf::from);
    if folder.join("products.ndjson").is_file() {
        return Tables { folder, _made_up: None };
    }
    let made_up = tempfile::tempdir().expect("a scratch folder");
    for (table, count, row) in [
        ("products", 77, product as fn(usize) -> Value),
        ("orders", 830, order),
        ("customers", 93, customer),
        ("order_details", 2_155, detail),
        ("suppliers", 29, supplier),
        ("categories", 8, category),
    ] {
        let lines: String = (1..=count).map(|id| format!("{}\n", row(id))).collect();
        std::fs::write(made_up.path().join(format!("{table}.ndjson")), lines).expect("a scratch file");
    }
    Tables { folder: made_up.path().to_owned(), _made_up: Some(made_up) }
}

fn product(id: usize) -> Value {
    json!({"ProductID": id, "ProductName": format!("Käse Nr. {id}"), "SupplierID": id % 29 + 1, "UnitPrice": id as f64 * 1.25,
        "UnitsInStock": 20 + id, "UnitsOnOrder": 0, "Discontinued": "0"})
}

fn order(id: usize) -> Value {
    json!({"OrderID": 10_247 + id, "CustomerID": format!("K{:04}", id % 93), "Freight": 32.38, "ShipRegion": null, "ShipCity": "Münster"})
}

fn customer(id: usize) -> Value {
    json!({"CustomerID": format!("K{id:04}"), "CompanyName": "Specialità \"Ærø\" & Söhne", "Fax": null})
}

fn detail(id: usize) -> Value {
    json!({"OrderID": 10_248 + id / 3, "ProductID": id % 77 + 1, "UnitPrice": 14, "Quantity": 12, "Discount": 0.0})
}

fn supplier(id: usize) -> Value {
    json!({"SupplierID": id, "CompanyName": format!("Lieferant {id}")})
}

fn category(id: usize) -> Value {
    json!({"CategoryID": id, "CategoryName": format!("Kategorie {id}")})
}

/// The lines of one table as (key, value).
pub fn rows(folder: &Path, table: &str, key: &[&str]) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(folder.join(format!("{table}.ndjson"))).expect("the table's file");
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect("a line of JSON");
            (key_of(&value, key), value)
        })
        .collect()
}

/// The key that a value's key fields spell.
pub fn key_of(value: &Value, key: &[&str]) -> String {
    let part = |field: &&str| match &value[*field] {
        Value::String(text) if key.len() > 1 => text.replace('%', "%25").replace('/', "%2F"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    key.iter().map(part).collect::<Vec<_>>().join("/")
}

/// Equality of JSON values, numbers by value: 18 is 18.0.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b))),
        _ => a == b,
    }
}
