//! The answers of both hubs have the members that docs/interfaces.md says, word for word: its shapes are read from the page.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::http::Client;
use tests::shops::World;

/// What a shape says of a value.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// Nothing.
    Any,
    /// A text that is one of these; whether null is allowed too.
    OneOf(Vec<String>, bool),
    /// At least these members.
    Object(BTreeMap<String, Shape>),
    /// Each entry is like this.
    List(Box<Shape>),
}

/// Reads what follows `NAME = ` in the page.
fn shape(name: &str) -> Shape {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/interfaces.md")).unwrap();
    let start = format!("\n{name} = ");
    let text = page.split(&start).nth(1).unwrap_or_else(|| panic!("docs/interfaces.md has no {start:?}"));
    parse(&mut Reader { rest: text })
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn takes(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What stands before the next of these.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap());
        self.rest = rest;
        word
    }
}

fn parse(reader: &mut Reader<'_>) -> Shape {
    if reader.takes("{") {
        let mut members = BTreeMap::new();
        while !reader.takes("}") {
            assert!(reader.takes("\""), "a member at {:?}", &reader.rest[..40]);
            let name = reader.until(&['"']).to_owned();
            assert!(reader.takes("\""));
            let value = if reader.takes(":") { parse(reader) } else { Shape::Any };
            members.insert(name, value);
            reader.takes(",");
        }
        return Shape::Object(members);
    }
    if reader.takes("[") {
        let entry = match reader.rest.chars().next() {
            Some('{') => parse(reader),
            // An example, or the name of what is in it.
            _ => Shape::Any,
        };
        reader.until(&[']']);
        assert!(reader.takes("]"));
        return Shape::List(Box::new(entry));
    }
    let words = reader.until(&[',', '}']);
    let null = words.split('|').any(|word| word == "null");
    match words.split('"').nth(1) {
        Some(texts) => Shape::OneOf(texts.split('|').map(str::to_owned).collect(), null),
        None => Shape::Any,
    }
}

impl Shape {
    #[track_caller]
    fn check(&self, place: &str, value: &Value) {
        match self {
            Self::Any => {}
            Self::OneOf(texts, null) => {
                let known = value.as_str().is_some_and(|text| texts.iter().any(|known| known == text));
                assert!(known || (*null && value.is_null()), "{place} is {value}, which is none of {texts:?}");
            }
            Self::Object(members) => {
                for (name, shape) in members {
                    let value = value.get(name).unwrap_or_else(|| panic!("{place} lacks {name:?}: {value}"));
                    shape.check(&format!("{place}.{name}"), value);
                }
            }
            Self::List(entry) => {
                let entries = value.as_array().unwrap_or_else(|| panic!("{place} is no list: {value}"));
                entries.iter().for_each(|value| entry.check(&format!("{place}[]"), value));
            }
        }
    }
}

#[test]
fn shapes_are_read() {
    let Shape::Object(write) = shape("W") else { panic!("W is an object") };
    assert!(matches!(&write["state"], Shape::OneOf(texts, false) if texts.len() == 6));
    assert!(matches!(&write["code"], Shape::OneOf(texts, true) if texts.len() == 10));
    let Shape::Object(status) = shape("edge status") else { panic!("a status is an object") };
    let Shape::Object(sync) = &status["sync"] else { panic!("sync is an object") };
    let Shape::List(collection) = &sync["collections"] else { panic!("collections are a list") };
    assert!(matches!(&**collection, Shape::Object(members) if members.len() == 3));
}

#[test]
fn answers_have_the_members_of_the_interfaces() {
    let world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define("[[collection]]\nname = \"stock\"\nkey = \"Id\"\n[collection.fields]\nn = { type = \"counter\", min = 0 }\n");
    world.settle();
    let (record, write, problem) = (shape("R"), shape("W"), shape("error"));
    for (name, mut client) in [("cloud", world.cloud.client()), ("edge", world.edges[0].client())] {
        let key = |rest: &str| format!("/v1/collections/stock/records/{name}{rest}");
        let new = send(&mut client, "PUT", &key(""), &json!({"n": 2}), 201);
        record.check("R", &new);
        write.check("W", &new["write"]);
        let below = send(&mut client, "POST", &key("/increment"), &json!({"n": -5}), 200);
        write.check("W", &below["write"]);
        world.settle();
        record.check("R", &get(&mut client, &key("")));
        let decided = get(&mut client, &format!("/v1/writes/{}", below["write"]["id"].as_str().unwrap()));
        write.check("W", &decided);
        assert_eq!(decided["state"], "flagged", "{decided}");
        let row = get(&mut client, &format!("/v1/conflicts/{}", decided["conflicts"][0].as_str().unwrap()));
        has(
            &row,
            &[
                "id",
                "collection",
                "key",
                "write",
                "node",
                "actor",
                "kind",
                "fields",
                "outcome",
                "revision",
                "opened_at",
                "state",
                "resolved_by",
                "count",
            ],
        );
        has(&row["fields"][0], &["name", "base", "cloud", "edge", "result"]);
        has(&get(&mut client, "/v1/collections/stock/records"), &["records", "next", "since"]);
        has(&get(&mut client, "/v1/writes"), &["writes", "next"]);
        has(&get(&mut client, "/v1/conflicts"), &["conflicts", "next"]);
        let several = json!({"ops": [{"op": "put", "collection": "stock", "key": format!("{name}-2"), "value": {}}]});
        has(&send(&mut client, "POST", "/v1/writes", &several, 201), &["write", "records"]);
        let gone = send(&mut client, "DELETE", &key("-2"), &json!({}), 200);
        has(&gone, &["collection", "key", "deleted", "write"]);
        assert_eq!(gone["deleted"], true);
        let lines = format!("{{\"Id\":\"{name}-3\"}}\n");
        let import =
            client.send("POST", "/v1/collections/stock/import", &[("content-type", "application/x-ndjson")], Some(lines.as_bytes()));
        has(&import.unwrap().ok(200), &["read", "created", "changed", "unchanged", "revision"]);
        let refused = client.get("/v1/collections/stock/records/none").unwrap();
        assert_eq!(refused.header("content-type"), Some("application/problem+json"), "{refused}");
        problem.check("error", &refused.ok(404));
        codes(&get(&mut client, "/openapi.json"));
    }
    let mut cloud = world.cloud.client();
    let nodes = get(&mut cloud, "/v1/nodes");
    has(&nodes, &["nodes", "next"]);
    shape("N").check("N", &nodes["nodes"][0]);
    shape("N").check("N", &get(&mut cloud, "/v1/nodes/lyon"));
    let mut edge = world.edges[0].client();
    shape("edge status").check("edge status", &get(&mut edge, "/v1/status"));
    has(&get(&mut edge, "/v1/outbox"), &["writes", "next"]);
    let rows = send(&mut edge, "POST", "/v1/query", &json!({"sql": "SELECT _key FROM stock", "params": []}), 200);
    has(&rows, &["columns", "rows", "truncated"]);
}

/// Every code of the page is described under its status.
fn codes(described: &Value) {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/interfaces.md")).unwrap();
    let list = page.split("\nCodes: ").nth(1).unwrap().split("\n\n").next().unwrap();
    // Without the remark in brackets.
    let (list, rest) = list.split_once(" (").unwrap();
    let list = format!("{list} {}", rest.split_once(')').unwrap().1);
    let mut status = "";
    for word in list.split([' ', '\n']).map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty() && *word != "·") {
        if word.chars().all(|digit| digit.is_ascii_digit()) {
            status = word;
            continue;
        }
        let answer = &described["components"]["responses"][status]["content"]["application/problem+json"]["schema"]["allOf"][1];
        let known = answer["properties"]["code"]["enum"].as_array().unwrap_or_else(|| panic!("{status} is not described"));
        assert!(known.contains(&json!(word)), "{status} {word}");
    }
    assert_eq!(status, "507");
}

#[track_caller]
fn has(value: &Value, members: &[&str]) {
    members.iter().for_each(|name| assert!(value.get(name).is_some(), "{name:?} is missing in {value}"));
}

#[track_caller]
fn get(client: &mut Client, path: &str) -> Value {
    client.get(path).unwrap().ok(200)
}

#[track_caller]
fn send(client: &mut Client, method: &str, path: &str, body: &Value, status: u16) -> Value {
    client.json(method, path, body).unwrap().ok(status)
}
