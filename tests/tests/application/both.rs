//! One application on both sides: it asks, and what it was answered is kept in a form in which two sides can be compared.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tests::http::{Answer, Client};
use tests::shops::World;

/// Which side the application is pointed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Cloud,
    Edge,
}

/// An answer without what is each side's own: ids, times, revisions and tokens are replaced by what they are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) step: String,
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// The application. Its collections are called the same on both sides; really each side has its own, so that neither run sees
/// what the other has written.
pub(crate) struct App<'a> {
    pub(crate) side: Side,
    world: &'a World,
    client: Client,
    pub(crate) seen: Vec<Seen>,
}

/// Headers that an application may rely on.
const HEADERS: [&str; 8] = ["content-type", "etag", "location", "allow", "retry-after", "cache-control", "request-id", "www-authenticate"];

impl<'a> App<'a> {
    pub(crate) fn new(side: Side, world: &'a World) -> Self {
        let client = match side {
            Side::Cloud => world.cloud.client(),
            Side::Edge => world.edges[0].client(),
        };
        Self { side, world, client, seen: Vec::new() }
    }

    fn suffix(&self) -> &'static str {
        suffix(self.side)
    }

    /// The real name of a collection here, for what is not asked through [`App::ask`].
    pub(crate) fn real(&self, text: &str) -> String {
        let path = text.replace("/collections/", "/collections/#").replace("collection=", "collection=#");
        let mut real = String::new();
        let mut parts = path.split('#');
        real.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(part.len());
            real.push_str(&part[..end]);
            real.push_str(self.suffix());
            real.push_str(&part[end..]);
        }
        real
    }

    /// One request, kept under a name.
    #[track_caller]
    pub(crate) fn ask(&mut self, step: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let path = self.real(path);
        let body = body.map(|body| body.replace("\"collection\":\"", "\"collection\":\"#"));
        let body = body.map(|body| rename(&body, self.suffix()));
        let json = [("content-type", "application/json")];
        let typed = headers.iter().any(|(name, _)| *name == "content-type");
        let all: Vec<_> = headers.iter().chain(json.iter().filter(|_| body.is_some() && !typed)).copied().collect();
        let answer = self.client.send(method, &path, &all, body.as_deref().map(str::as_bytes)).unwrap();
        let kept = self.keep(step, &answer);
        self.seen.push(kept);
        answer
    }

    /// A request with a JSON body.
    #[track_caller]
    pub(crate) fn json(&mut self, step: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(step, method, path, &[], Some(&body.to_string()))
    }

    #[track_caller]
    pub(crate) fn get(&mut self, step: &str, path: &str) -> Answer {
        self.ask(step, "GET", path, &[], None)
    }

    /// A request whose answer must have this status on both sides.
    #[track_caller]
    pub(crate) fn must(&mut self, step: &str, method: &str, path: &str, body: &Value, status: u16) -> Answer {
        self.json(step, method, path, body).expect(status)
    }

    /// A write that the cloud refuses: at once where it is asked itself, and by its outcome where the edge took the write first.
    #[track_caller]
    pub(crate) fn refused(&mut self, step: &str, method: &str, path: &str, body: &Value, code: &str) {
        let answer = self.json(step, method, path, body);
        self.seen.pop();
        let refused = match self.side {
            Side::Cloud => {
                assert!((400..500).contains(&answer.status), "{step}: {answer}");
                answer.json()["code"].clone()
            }
            Side::Edge => {
                let write = self.outcome(&answer);
                assert_eq!((&write["state"], &write["accepted"]), (&json!("rejected"), &json!(false)), "{step}: {write}");
                write["code"].clone()
            }
        };
        assert_eq!(refused, code, "{step} at the {:?}", self.side);
    }

    /// What became of the write of an answer; waits for it.
    #[track_caller]
    pub(crate) fn outcome(&mut self, answer: &Answer) -> Value {
        assert!((200..300).contains(&answer.status), "{answer}");
        let id = answer.json()["write"]["id"].as_str().unwrap().to_owned();
        self.client.get(&format!("/v1/writes/{id}?wait=30")).unwrap().ok(200)
    }

    /// Waits until the cloud has judged everything and the edge has what came of it.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.world.settle();
    }

    fn keep(&self, step: &str, answer: &Answer) -> Seen {
        let header = |name: &&str| Some(((*name).to_owned(), self.plain_header(name, answer.header(name)?)));
        let headers = HEADERS.iter().filter_map(header).collect();
        let text = String::from_utf8_lossy(&answer.body).replace(self.suffix(), "");
        let kind = answer.header("content-type").unwrap_or_default();
        let body = match kind.ends_with("json") && !kind.ends_with("ndjson") {
            true => plain(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{step}: {error} in {text}"))),
            false if kind.ends_with("ndjson") => text.into(),
            false => Value::Null,
        };
        Seen { step: step.into(), status: answer.status, headers, body }
    }

    fn plain_header(&self, name: &str, value: &str) -> String {
        match name {
            "etag" if value.contains('+') => "\"<revision>+<write>\"".into(),
            "etag" => "\"<revision>\"".into(),
            "location" if value.starts_with("/v1/writes/") => "/v1/writes/<write>".into(),
            "location" => made_keys(&value.replace(self.suffix(), "")),
            "request-id" if !value.starts_with("mine") => "<made>".into(),
            _ => value.into(),
        }
    }
}

fn suffix(side: Side) -> &'static str {
    match side {
        Side::Cloud => "-at-cloud",
        Side::Edge => "-at-edge",
    }
}

/// The definitions, once for each side.
pub(crate) fn definitions(toml: &str) -> String {
    let of = |side: Side| {
        toml.lines()
            .map(|line| match line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) {
                Some(name) => format!("name = \"{name}{}\"\n", suffix(side)),
                None => format!("{line}\n"),
            })
            .collect::<String>()
    };
    of(Side::Cloud) + &of(Side::Edge)
}

/// Puts the suffix behind the names that `#` stands before.
fn rename(text: &str, suffix: &str) -> String {
    let mut parts = text.split('#');
    let mut renamed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('"').unwrap_or((part, ""));
        renamed.extend([name, suffix, "\"", rest]);
    }
    renamed
}

/// What stands in an answer, with what is its side's own replaced.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            Value::Object(object.into_iter().map(|(name, value)| (name.clone(), of_member(&name, value))).collect::<Map<_, _>>())
        }
        Value::Array(list) => list.into_iter().map(plain).collect::<Vec<_>>().into(),
        Value::String(text) => plain_text(&text).into(),
        other => other,
    }
}

fn of_member(name: &str, value: Value) -> Value {
    let known = match name {
        // Who set which field of a record.
        "fields" if value.as_object().is_some_and(|fields| fields.values().all(|change| change.get("writer").is_some())) => {
            return plain(value);
        }
        // A record's value is nobody's but the application's.
        "value" | "definition" | "fields" | "by" => return value,
        "revision" => "<revision>",
        "updated_at" | "at" | "opened_at" | "resolved_at" => "<time>",
        "writer" | "node" => "<writer>",
        "since" | "next" => "<token>",
        // For people.
        "detail" => "<text>",
        "digest" => "<digest>",
        _ => return plain(value),
    };
    match &value {
        Value::Null => Value::Null,
        Value::String(text) if text.is_empty() => value,
        Value::String(_) | Value::Number(_) => known.into(),
        _ => value,
    }
}

fn plain_text(text: &str) -> String {
    let is_conflict = || text.strip_prefix('c')?.split_once('-').filter(|(a, b)| [a, b].iter().all(|n| n.parse::<u64>().is_ok()));
    match () {
        () if text.parse::<proto::ids::WriteId>().is_ok() => "<write>".into(),
        () if is_conflict().is_some() => "<conflict>".into(),
        () => made_keys(text),
    }
}

/// Keys that the hub made are UUIDs.
fn made_keys(text: &str) -> String {
    let is_uuid = |part: &str| part.len() == 36 && part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    text.split('/').map(|part| if is_uuid(part) { "<made>" } else { part }).collect::<Vec<_>>().join("/")
}
