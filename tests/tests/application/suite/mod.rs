//! The same application code passes on both sides: every chapter runs against the cloud and against an edge that has joined it, and
//! what the two answered is compared, member by member.

mod bulk;
mod conflicts;
mod lists;
mod mutations;
mod records;
mod surface;
mod writes;

use serde_json::Value;
use tests::shops::World;

use crate::both::{App, Seen, Side, definitions};

const COLLECTIONS: &str = r#"
[[collection]]
name = "products"
key = "ProductID"
indexes = ["CategoryID", "Price"]
[collection.fields]
Stock = { type = "counter", min = 0, on_violation = "flag" }
Seats = { type = "counter", min = 0, on_violation = "reject" }

[[collection]]
name = "notes"

[[collection]]
name = "sales"
policy = "append"

[[collection]]
name = "orders"
[collection.fields]
Status = { guard = true, initial = ["draft"], transitions = { draft = ["confirmed"] } }
"#;

/// Where the two may differ, in which member of an answer, and why. Nothing else may.
const MAY_DIFFER: [(&str, &str, &str, &str); 17] = [
    // The edge answers before the cloud has judged the write.
    ("write/state", "*", "\"pending\"", "no outcome yet"),
    ("write/final", "true", "false", "no outcome yet"),
    ("write/accepted", "true", "null", "no outcome yet"),
    ("write/code", "*", "null", "no outcome yet"),
    ("write/detail", "*", "null", "no outcome yet"),
    ("write/conflicts", "*", "[]", "no outcome yet"),
    // The record shows what is laid over what the cloud last said.
    ("sync/state", "\"clean\"", "\"pending\"", "the cloud's records are always clean"),
    ("sync/pending", "[]", "*", "the cloud's records are always clean"),
    ("sync/conflicts", "[\"<conflict>\"]", "[]", "known with the outcome"),
    ("sync/conflicts", "[]", "[\"<conflict>\"]", "a write that the cloud refuses at once leaves none"),
    ("conflict/resolved_at", "\"<time>\"", "\"<absent>\"", "no outcome yet"),
    ("conflict/resolved_in", "\"<write>\"", "\"<absent>\"", "no outcome yet"),
    ("etag", "\"\\\"<revision>\\\"\"", "\"\\\"<revision>+<write>\\\"\"", "the version names the newest pending write"),
    // Of a write, and of an import, each line of which is a write of its own at the edge.
    ("revision", "\"<revision>\"", "null", "decided by the cloud"),
    // Of a field.
    ("at", "\"<time>\"", "null", "the cloud keeps the history of single fields"),
    ("writer", "\"<writer>\"", "null", "the cloud keeps the history of single fields"),
    ("write/ops", "[]", "*", "at the edge a repeated append is answered with the first write"),
];

type Chapter = fn(&mut App<'_>);

const CHAPTERS: [(&str, Chapter); 7] = [
    ("records", records::chapter),
    ("lists", lists::chapter),
    ("mutations", mutations::chapter),
    ("writes", writes::chapter),
    ("bulk", bulk::chapter),
    ("conflicts", conflicts::chapter),
    ("surface", surface::chapter),
];

#[test]
fn one_suite_passes_on_both_sides() {
    let world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(&definitions(COLLECTIONS));
    world.settle();
    let mut found = Vec::new();
    let mut used = [false; MAY_DIFFER.len()];
    for (name, chapter) in CHAPTERS {
        let run = |side| {
            let mut app = App::new(side, &world);
            chapter(&mut app);
            app.settle();
            app.seen
        };
        let (cloud, edge) = (run(Side::Cloud), run(Side::Edge));
        assert!(!cloud.is_empty(), "{name} asks nothing");
        found.extend(compare(name, &cloud, &edge, &mut used));
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    let idle: Vec<_> = MAY_DIFFER.iter().zip(used).filter(|(_, used)| !used).map(|(row, _)| row.0).collect();
    assert!(idle.is_empty(), "the two no longer differ in {idle:?}: take them out of MAY_DIFFER");
}

/// What differs and may not.
fn compare(chapter: &str, cloud: &[Seen], edge: &[Seen], used: &mut [bool]) -> Vec<String> {
    let steps = |seen: &[Seen]| seen.iter().map(|seen| seen.step.clone()).collect::<Vec<_>>();
    assert_eq!(steps(cloud), steps(edge), "{chapter} asks the two differently");
    let mut found = Vec::new();
    for (cloud, edge) in cloud.iter().zip(edge) {
        let step = &cloud.step;
        if cloud.status != edge.status {
            found.push(format!("{chapter}, {step}: cloud {} {}, edge {} {}", cloud.status, cloud.body, edge.status, edge.body));
            continue;
        }
        let mut differences = Vec::new();
        differ("", &headers(cloud), &headers(edge), &mut differences);
        differ(&format!("{step}: "), &cloud.body, &edge.body, &mut differences);
        for (place, cloud, edge) in differences {
            match MAY_DIFFER.iter().position(|row| allows(row, &place, &cloud, &edge)) {
                Some(row) => used[row] = true,
                None => found.push(format!("{chapter}, {step}, {place}: cloud {cloud}, edge {edge}")),
            }
        }
    }
    found
}

fn headers(seen: &Seen) -> Value {
    seen.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<serde_json::Map<_, _>>().into()
}

fn allows((member, cloud, edge, _): &(&str, &str, &str, &str), place: &str, at_cloud: &Value, at_edge: &Value) -> bool {
    let fits = |wanted: &str, value: &Value| wanted == "*" || serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *value);
    (place == *member || place.ends_with(&format!("/{member}")) || place.ends_with(&format!(" {member}")))
        && fits(cloud, at_cloud)
        && fits(edge, at_edge)
}

/// Every member in which two values differ, with its place.
fn differ(place: &str, cloud: &Value, edge: &Value, found: &mut Vec<(String, Value, Value)>) {
    let below = |name: &str| if place.is_empty() || place.ends_with(' ') { format!("{place}{name}") } else { format!("{place}/{name}") };
    match (cloud, edge) {
        (Value::Object(at_cloud), Value::Object(at_edge)) => {
            let names: std::collections::BTreeSet<_> = at_cloud.keys().chain(at_edge.keys()).collect();
            let absent = Value::from("<absent>");
            for name in names {
                let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_else(|| absent.clone());
                differ(&below(name), &of(at_cloud), &of(at_edge), found);
            }
        }
        (Value::Array(at_cloud), Value::Array(at_edge)) if at_cloud.len() == at_edge.len() => {
            at_cloud.iter().zip(at_edge).enumerate().for_each(|(at, (cloud, edge))| differ(&below(&at.to_string()), cloud, edge, found));
        }
        _ if cloud != edge => found.push((place.to_owned(), cloud.clone(), edge.clone())),
        _ => {}
    }
}
