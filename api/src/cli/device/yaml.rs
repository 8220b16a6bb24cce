//! YAML as a tree that knows its lines, for files that people and `kubectl` write. Anchors and aliases are read, within bounds; tags and
//! merge keys are refused.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use crate::limits::{YAML_DEPTH, YAML_NODES};

/// A part of a document, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// From 1; of a member of a map, that of its key.
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A scalar, and its text as it was written.
    Scalar(Value, String),
    List(Vec<Node>),
    /// In the order of the text.
    Map(Vec<(String, Node)>),
}

/// Why a text cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(super) struct BadYaml {
    pub(super) line: usize,
    pub(super) why: String,
}

impl Node {
    /// Without its lines.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value, _) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(members) => Value::Object(members.iter().map(|(name, node)| (name.clone(), node.to_json())).collect::<Map<_, _>>()),
        }
    }

    /// A scalar as it was written.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(value, text) => (!value.is_null()).then_some(text),
            _ => None,
        }
    }

    /// Nothing stands there.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(Value::Null, _))
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar(..) => 0,
            Kind::List(items) => items.iter().map(Self::count).sum(),
            Kind::Map(members) => members.iter().map(|(_, node)| node.count()).sum(),
        }
    }
}

/// All documents of a text; those without content are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, BadYaml> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| BadYaml { line: error.marker().line(), why: error.info().to_owned() })?;
        tree.take(event, span)?;
    }
    Ok(tree.documents)
}

/// What is being read.
#[derive(Default)]
struct Tree {
    documents: Vec<Node>,
    /// Lists and maps that have not ended, the outermost first.
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

struct Open {
    node: Node,
    anchor: usize,
    /// The key of a map that waits for its value, and its line.
    key: Option<(String, usize)>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), BadYaml> {
        let line = span.start.line();
        let bad = |why: &str| Err(BadYaml { line, why: why.to_owned() });
        match event {
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                bad("tags (!x) are not read here: write the value alone")
            }
            Event::Scalar(text, style, anchor, None) => {
                let value = if style == ScalarStyle::Plain { plain(&text) } else { Value::String(text.to_string()) };
                self.put(Node { line, kind: Kind::Scalar(value, text.into_owned()) }, anchor, 1)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some((node, count)) => {
                    let (node, count) = (Node { line, ..node.clone() }, *count);
                    self.put(node, 0, count)
                }
                None => bad("an alias stands inside what it names"),
            },
            Event::SequenceStart(anchor, None) => self.begin(line, Kind::List(Vec::new()), anchor),
            Event::MappingStart(anchor, None) => self.begin(line, Kind::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(done) => self.put(done.node, done.anchor, 1),
                None => bad("something ends that has not begun"),
            },
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, kind: Kind, anchor: usize) -> Result<(), BadYaml> {
        if self.open.len() >= YAML_DEPTH {
            return Err(BadYaml { line, why: format!("lists and maps lie in each other at most {YAML_DEPTH} deep") });
        }
        if let Some(Open { node: Node { kind: Kind::Map(_), .. }, key: None, .. }) = self.open.last() {
            return Err(BadYaml { line, why: "a key is text, no list and no map".to_owned() });
        }
        self.open.push(Open { node: Node { line, kind }, anchor, key: None });
        Ok(())
    }

    /// A node is whole: it goes where it belongs.
    fn put(&mut self, node: Node, anchor: usize, count: usize) -> Result<(), BadYaml> {
        let line = node.line;
        self.nodes += count;
        if self.nodes > YAML_NODES {
            return Err(BadYaml {
                line,
                why: format!("values, those of aliases counted as often as they stand, are more than {YAML_NODES}"),
            });
        }
        if anchor > 0 {
            let all = node.count();
            self.anchors.insert(anchor, (node.clone(), all));
        }
        let Some(Open { node: Node { kind, .. }, key, .. }) = self.open.last_mut() else {
            if !node.is_null() {
                self.documents.push(node);
            }
            return Ok(());
        };
        match (kind, key.take()) {
            (Kind::List(items), _) => items.push(node),
            // A block begins below its key, and people look for the key.
            (Kind::Map(members), Some((name, line))) => members.push((name, Node { line, ..node })),
            (Kind::Map(members), None) => {
                let Kind::Scalar(_, name) = node.kind else {
                    return Err(BadYaml { line, why: "a key is text, no list and no map".to_owned() });
                };
                if name == "<<" {
                    return Err(BadYaml { line, why: "merge keys (<<) are not read here: write the members out".to_owned() });
                }
                if members.iter().any(|(other, _)| *other == name) {
                    return Err(BadYaml { line, why: format!("{name:?} stands here twice") });
                }
                *key = Some((name, line));
            }
            (Kind::Scalar(..), _) => {}
        }
        Ok(())
    }
}

/// YAML 1.2's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |prefix: &str, radix| text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok());
    let whole = text.parse::<i64>().ok().or_else(|| radix("0x", 16)).or_else(|| radix("0o", 8));
    if let Some(whole) = whole {
        return Value::Number(whole.into());
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && text.contains(|c: char| c.is_ascii_digit());
    let float = text.parse::<f64>().ok().filter(|_| numeric).and_then(Number::from_f64);
    float.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<Value> {
        documents(text).unwrap().iter().map(Node::to_json).collect()
    }

    #[test]
    fn documents_are_read_one_by_one() {
        let text = "a: 1\nb: [x, 'y', 2.5]\n---\n# nothing\n---\nc:\n  d: true\n  e: ~\n...\n";
        assert_eq!(read(text), [json!({"a": 1, "b": ["x", "y", 2.5]}), json!({"c": {"d": true, "e": null}})]);
        assert_eq!(read(""), Vec::<Value>::new());
        assert_eq!(read(r#"{"a": [1, {"b": null}]}"#), [json!({"a": [1, {"b": null}]})]);
    }

    #[test]
    fn scalars_are_those_of_the_core_schema() {
        for (text, value) in [
            ("12", json!(12)),
            ("-3", json!(-3)),
            ("0x1F", json!(31)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            ("ON", json!("ON")),
            ("1.2.3", json!("1.2.3")),
            ("inf", json!("inf")),
            ("-", json!([null])),
            ("'12'", json!("12")),
            ("\"ü\\n\"", json!("ü\n")),
        ] {
            assert_eq!(read(&format!("a: {text}\n").replace("a: -\n", "a:\n -\n"))[0]["a"], value, "{text}");
        }
    }

    #[test]
    fn lines_are_known() {
        let all = documents("a: 1\n\nb:\n  - x\n  - y: 2\n").unwrap();
        let Kind::Map(members) = &all[0].kind else { panic!() };
        let Kind::List(items) = &members[1].1.kind else { panic!() };
        assert_eq!((members[0].1.line, items[0].line, items[1].line), (1, 4, 5));
    }

    #[test]
    fn aliases_are_read_and_bombs_are_refused() {
        assert_eq!(read("a: &x {n: 1}\nb: *x\nc: [*x, *x]\n"), [json!({"a": {"n": 1}, "b": {"n": 1}, "c": [{"n": 1}, {"n": 1}]})]);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..40 {
            let before = format!("*a{}, ", n - 1).repeat(10);
            bomb.push_str(&format!("a{n}: &a{n} [{}]\n", before.trim_end_matches(", ")));
        }
        let error = documents(&bomb).unwrap_err();
        assert!(error.why.contains("more than") && error.line < 10, "{error}");
        for (text, words) in [
            ("a: *x\n", ""),
            ("a: &x [*x]\n", "inside what it names"),
            (format!("{}a", "- ".repeat(YAML_DEPTH + 1)).as_str(), "deep"),
            ("[".repeat(1_000_000).as_str(), "line 1"),
            ("a: 1\na: 2\n", "line 2: \"a\" stands here twice"),
            ("a: &x {b: 1}\nc:\n  <<: *x\n", "line 3: merge keys"),
            ("a: !!binary AAA=\n", "tags"),
            ("? [a]\n: b\n", "a key is text"),
            ("a: [1\nb: 2\n", "line "),
        ] {
            let error = documents(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}, wanted {words}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[-a-c:&*!?|>%@\\[\\]{},'\"#~0-9. \n\t]{0,200}") {
            let _ = documents(&text);
        }
    }
}
