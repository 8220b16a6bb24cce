//! What the schemas that are derived from structs cannot say.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{bodies, members, reference};

/// Members of answers that are left out where they say nothing. All others are always there, null where there is nothing to say.
const LEFT_OUT: [(&str, &[&str]); 4] = [
    ("ReadRecord", &["fields"]),
    ("WriteOp", &["value", "removed", "by", "fields", "force"]),
    ("Conflict", &["op", "resolved_at", "resolved_in", "losers"]),
    ("ConflictField", &["base", "cloud", "edge", "result", "delta", "sum"]),
];

pub(super) fn complete(document: &mut Value) {
    let asked = requests(document);
    let schemas = &mut document["components"]["schemas"];
    derived(schemas);
    for (name, schema) in members(schemas) {
        bound_integers(schema);
        if !asked.contains(name) {
            let left_out = LEFT_OUT.iter().find(|(own, _)| *own == name).map_or(&[][..], |(_, names)| names);
            always_there(schema, left_out);
        }
    }
    bodies::complete(schemas);
    schemas["CommittedWrite"]["properties"]["records"]["items"] = json!({"anyOf": [reference("Record"), {
        "type": "object", "required": ["collection", "key", "deleted"],
        "properties": {"collection": {"type": "string"}, "key": {"type": "string"}, "deleted": {"const": true}},
    }]});
}

/// Members that are written beside a struct's own because they follow from them.
fn derived(schemas: &mut Value) {
    schemas["RecordSync"]["properties"]["state"] = json!({"type": "string", "enum": ["clean", "pending"]});
    schemas["Write"]["properties"]["final"] = json!({"type": "boolean"});
    schemas["Write"]["properties"]["accepted"] = json!({"type": ["boolean", "null"]});
}

/// The schemas that request bodies are made of.
fn requests(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(_, item)| item.as_object().into_iter().flatten());
    let mut found = BTreeSet::new();
    let mut next: Vec<String> = operations.flat_map(|(_, operation)| references(&operation["requestBody"])).collect();
    while let Some(name) = next.pop() {
        next.extend(references(&document["components"]["schemas"][&name]).into_iter().filter(|inner| !found.contains(inner)));
        found.insert(name);
    }
    found
}

/// The names of the schemas that a part of the description refers to.
fn references(part: &Value) -> Vec<String> {
    match part {
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, value)| match value.as_str().and_then(|text| text.strip_prefix("#/components/schemas/")) {
                Some(schema) if name == "$ref" => vec![schema.to_owned()],
                _ => references(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Makes every member required but these.
fn always_there(schema: &mut Value, left_out: &[&str]) {
    for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        always_there(part, left_out);
    }
    let names = schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone());
    let required: Vec<String> = names.filter(|name| !left_out.contains(&name.as_str())).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
}

/// `format` is only a remark in JSON Schema: the bounds of the integers that it names are written out.
fn bound_integers(schema: &mut Value) {
    let natural = schema.get("minimum").is_some_and(Value::is_u64);
    let bounds = match schema.get("format").and_then(Value::as_str) {
        Some("int64") => Some((json!(i64::MIN), json!(i64::MAX))),
        Some("int32") if natural => Some((json!(0), json!(u32::MAX))),
        Some("int32") => Some((json!(i32::MIN), json!(i32::MAX))),
        _ => None,
    };
    if let (Some(object), Some((least, most))) = (schema.as_object_mut(), bounds) {
        object.entry("minimum").or_insert(least);
        object.entry("maximum").or_insert(most);
    }
    match schema {
        Value::Object(object) => object.values_mut().for_each(bound_integers),
        Value::Array(list) => list.iter_mut().for_each(bound_integers),
        _ => {}
    }
}

/// Every answer says what the request's id is.
pub(super) fn describe(operation: &mut Value) {
    for (_, answer) in members(&mut operation["responses"]) {
        if answer.get("$ref").is_none() {
            let id = json!({"description": "The request's own, or one that the hub made", "schema": {"type": "string"}});
            answer["headers"]["Request-Id"] = id;
            if answer["description"].as_str().unwrap_or_default().is_empty() {
                answer["description"] = "Done".into();
            }
        }
    }
}
