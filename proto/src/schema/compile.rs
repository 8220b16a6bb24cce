//! A schema's text becomes rules: what is wrong in it is found here, when the definition is applied.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use regex_lite::RegexBuilder;
use serde_json::{Map, Number, Value};

use super::{BadSchema, Bound, Node, Pattern, Rule, Schema, Type};
use crate::limits::{SCHEMA_DEPTH, SCHEMA_NODES, SCHEMA_PATTERN_BYTES};

/// Bytes of a pattern that one step covers, for each byte of text.
const PATTERN_STEP: u64 = 16;

impl Schema {
    /// Compiles a schema of JSON Schema 2020-12. No other document is read.
    pub fn compile(schema: &Value) -> Result<Self, BadSchema> {
        let mut compiler =
            Compiler { whole: schema, nodes: Vec::new(), known: BTreeMap::new(), anchors: BTreeMap::new(), remembers: false };
        compiler.find_anchors(schema, "", 0)?;
        compiler.node("", schema, 0)?;
        Ok(Self { nodes: compiler.nodes, remembers: compiler.remembers })
    }
}

struct Compiler<'s> {
    whole: &'s Value,
    nodes: Vec<Vec<Rule>>,
    /// By JSON pointer.
    known: BTreeMap<String, Node>,
    anchors: BTreeMap<String, String>,
    remembers: bool,
}

type Done<T> = Result<T, BadSchema>;

fn bad<T>(place: &str, why: impl Into<String>) -> Done<T> {
    Err(BadSchema { place: format!("#{place}"), why: why.into() })
}

fn step(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

impl<'s> Compiler<'s> {
    fn find_anchors(&mut self, value: &Value, place: &str, depth: usize) -> Done<()> {
        if depth > SCHEMA_DEPTH {
            return bad(place, format!("a schema is nested at most {SCHEMA_DEPTH} deep"));
        }
        match value {
            Value::Object(members) => {
                for (name, inner) in members {
                    if let ("$anchor" | "$dynamicAnchor", Value::String(anchor)) = (name.as_str(), inner) {
                        self.anchors.insert(anchor.clone(), place.to_owned());
                    }
                    self.find_anchors(inner, &step(place, name), depth + 1)?;
                }
                Ok(())
            }
            Value::Array(list) => {
                list.iter().enumerate().try_for_each(|(at, inner)| self.find_anchors(inner, &step(place, &at.to_string()), depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn node(&mut self, place: &str, schema: &'s Value, depth: usize) -> Done<Node> {
        if let Some(known) = self.known.get(place) {
            return Ok(*known);
        }
        if self.nodes.len() >= SCHEMA_NODES || depth > SCHEMA_DEPTH {
            return bad(place, format!("a schema has at most {SCHEMA_NODES} parts, and refers at most {SCHEMA_DEPTH} deep"));
        }
        let node = self.nodes.len();
        self.known.insert(place.to_owned(), node);
        self.nodes.push(Vec::new());
        let rules = match schema {
            Value::Bool(true) => Vec::new(),
            Value::Bool(false) => vec![Rule::Never],
            Value::Object(members) => self.rules(place, members, depth)?,
            _ => return bad(place, "a schema is an object, true or false"),
        };
        self.nodes[node] = rules;
        Ok(node)
    }

    fn rules(&mut self, place: &str, of: &'s Map<String, Value>, depth: usize) -> Done<Vec<Rule>> {
        let part = Part { place, of, depth };
        let mut rules = Vec::new();
        for name in ["$ref", "$dynamicRef"] {
            if let Some(target) = part.text(name)? {
                rules.push(Rule::Ref(self.refer(&part, name, target)?));
            }
        }
        self.plain(&part, &mut rules)?;
        self.objects(&part, &mut rules)?;
        self.arrays(&part, &mut rules)?;
        self.combined(&part, &mut rules)?;
        // Last: they speak of what the others left.
        for (name, rule) in [("unevaluatedItems", Rule::RestOfItems as fn(Node) -> Rule), ("unevaluatedProperties", Rule::RestOfProperties)]
        {
            if let Some(inner) = self.inner(&part, name)? {
                self.remembers = true;
                rules.push(rule(inner));
            }
        }
        Ok(rules)
    }

    fn plain(&mut self, part: &Part<'s, '_>, rules: &mut Vec<Rule>) -> Done<()> {
        if let Some(types) = part.of.get("type") {
            rules.push(Rule::Types(types_of(&part.at("type"), types)?));
        }
        if let Some(value) = part.of.get("const") {
            rules.push(Rule::OneOf(vec![value.clone()]));
        }
        if let Some(list) = part.list("enum")? {
            rules.push(Rule::OneOf(list.clone()));
        }
        let bounds =
            [("minimum", Bound::Least), ("exclusiveMinimum", Bound::More), ("maximum", Bound::Most), ("exclusiveMaximum", Bound::Less)];
        for (name, bound) in bounds {
            if let Some(number) = part.number(name)? {
                rules.push(Rule::Bound(bound, number.clone()));
            }
        }
        if let Some(number) = part.number("multipleOf")? {
            if number.as_f64().is_none_or(|number| number <= 0.0) {
                return bad(&part.at("multipleOf"), "a number above 0, please");
            }
            rules.push(Rule::MultipleOf(number.clone()));
        }
        if let Some((min, max)) = part.range("minLength", "maxLength")? {
            rules.push(Rule::Length { min, max });
        }
        if let Some(text) = part.text("pattern")? {
            rules.push(Rule::Pattern(pattern(&part.at("pattern"), text)?));
        }
        Ok(())
    }

    fn objects(&mut self, part: &Part<'s, '_>, rules: &mut Vec<Rule>) -> Done<()> {
        if let Some(names) = part.names("required")? {
            rules.push(Rule::Required(names));
        }
        if let Some((min, max)) = part.range("minProperties", "maxProperties")? {
            rules.push(Rule::Count { min, max });
        }
        let named = self.map(part, "properties")?;
        let mut like = Vec::new();
        for (text, node) in self.map(part, "patternProperties")?.unwrap_or_default() {
            like.push((pattern(&step(&part.at("patternProperties"), &text), &text)?, node));
        }
        let rest = self.inner(part, "additionalProperties")?;
        if named.is_some() || !like.is_empty() || rest.is_some() {
            rules.push(Rule::Properties { named: named.unwrap_or_default(), like, rest });
        }
        if let Some(names) = self.inner(part, "propertyNames")? {
            rules.push(Rule::Names(names));
        }
        if let Some(members) = part.object("dependentRequired")? {
            let at = part.at("dependentRequired");
            let with = members.iter().map(|(name, list)| Ok((name.clone(), strings(&step(&at, name), list)?)));
            rules.push(Rule::With(with.collect::<Done<_>>()?));
        }
        if let Some(with) = self.map(part, "dependentSchemas")? {
            rules.push(Rule::WithSchema(with));
        }
        Ok(())
    }

    fn arrays(&mut self, part: &Part<'s, '_>, rules: &mut Vec<Rule>) -> Done<()> {
        let count = part.range("minItems", "maxItems")?;
        let unique = match part.of.get("uniqueItems") {
            None => false,
            Some(Value::Bool(unique)) => *unique,
            Some(_) => return bad(&part.at("uniqueItems"), "true or false, please"),
        };
        let first = self.several(part, "prefixItems")?.unwrap_or_default();
        let rest = self.inner(part, "items")?;
        if count.is_some() || unique || !first.is_empty() || rest.is_some() {
            rules.push(Rule::Items { count: count.unwrap_or((0, u64::MAX)), unique, first, rest });
        }
        if let Some(of) = self.inner(part, "contains")? {
            let (min, max) = (part.count("minContains")?.unwrap_or(1), part.count("maxContains")?.unwrap_or(u64::MAX));
            rules.push(Rule::Contains { of, min, max });
        }
        Ok(())
    }

    fn combined(&mut self, part: &Part<'s, '_>, rules: &mut Vec<Rule>) -> Done<()> {
        for (name, rule) in [("allOf", Rule::All as fn(Vec<Node>) -> Rule), ("anyOf", Rule::Any), ("oneOf", Rule::ExactlyOne)] {
            if let Some(nodes) = self.several(part, name)? {
                rules.push(rule(nodes));
            }
        }
        if let Some(not) = self.inner(part, "not")? {
            rules.push(Rule::Not(not));
        }
        let (then, otherwise) = (self.inner(part, "then")?, self.inner(part, "else")?);
        if let Some(test) = self.inner(part, "if")? {
            rules.push(Rule::If { test, then, otherwise });
        }
        Ok(())
    }

    fn inner(&mut self, part: &Part<'s, '_>, name: &str) -> Done<Option<Node>> {
        part.of.get(name).map(|schema| self.node(&part.at(name), schema, part.depth + 1)).transpose()
    }

    fn several(&mut self, part: &Part<'s, '_>, name: &str) -> Done<Option<Vec<Node>>> {
        let Some(list) = part.list(name)? else { return Ok(None) };
        if list.is_empty() {
            return bad(&part.at(name), "at least one schema, please");
        }
        let at = part.at(name);
        let nodes = list.iter().enumerate().map(|(place, schema)| self.node(&step(&at, &place.to_string()), schema, part.depth + 1));
        nodes.collect::<Done<_>>().map(Some)
    }

    fn map(&mut self, part: &Part<'s, '_>, name: &str) -> Done<Option<BTreeMap<String, Node>>> {
        let Some(members) = part.object(name)? else { return Ok(None) };
        let at = part.at(name);
        let nodes = members.iter().map(|(own, schema)| Ok((own.clone(), self.node(&step(&at, own), schema, part.depth + 1)?)));
        nodes.collect::<Done<_>>().map(Some)
    }

    /// A reference inside the document.
    fn refer(&mut self, part: &Part<'s, '_>, name: &str, target: &str) -> Done<Node> {
        let own = self.whole.get("$id").and_then(Value::as_str).map(|id| id.trim_end_matches('#'));
        let fragment = target
            .strip_prefix('#')
            .or_else(|| target.strip_prefix(own?)?.strip_prefix('#'))
            .or_else(|| (own == Some(target)).then_some(""));
        let Some(fragment) = fragment else {
            return bad(&part.at(name), format!("{target:?} leads out of the schema: no other document is read"));
        };
        let fragment = decoded(fragment);
        let place = match self.anchors.get(&fragment) {
            Some(place) => place.clone(),
            None => fragment,
        };
        match self.whole.pointer(&place) {
            Some(schema) => self.node(&place, schema, part.depth + 1),
            None => bad(&part.at(name), format!("there is nothing at {target:?}")),
        }
    }
}

/// One schema object while it is read.
struct Part<'s, 'p> {
    place: &'p str,
    of: &'s Map<String, Value>,
    depth: usize,
}

impl<'s> Part<'s, '_> {
    fn at(&self, name: &str) -> String {
        step(self.place, name)
    }

    fn text(&self, name: &str) -> Done<Option<&'s str>> {
        match self.of.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => bad(&self.at(name), "a string, please"),
        }
    }

    fn list(&self, name: &str) -> Done<Option<&'s Vec<Value>>> {
        match self.of.get(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => bad(&self.at(name), "a list, please"),
        }
    }

    fn object(&self, name: &str) -> Done<Option<&'s Map<String, Value>>> {
        match self.of.get(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(_) => bad(&self.at(name), "an object, please"),
        }
    }

    fn number(&self, name: &str) -> Done<Option<&'s Number>> {
        match self.of.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => bad(&self.at(name), "a number, please"),
        }
    }

    fn names(&self, name: &str) -> Done<Option<Vec<String>>> {
        self.of.get(name).map(|list| strings(&self.at(name), list)).transpose()
    }

    fn count(&self, name: &str) -> Done<Option<u64>> {
        let count = |number: &Number| {
            let float = || number.as_f64().filter(|float| *float >= 0.0 && super::numbers::is_integer(number)).map(|float| float as u64);
            number.as_u64().or_else(float)
        };
        match self.number(name)?.map(count) {
            None => Ok(None),
            Some(Some(count)) => Ok(Some(count)),
            Some(None) => bad(&self.at(name), "a whole number from 0 on, please"),
        }
    }

    fn range(&self, min: &str, max: &str) -> Done<Option<(u64, u64)>> {
        Ok(match (self.count(min)?, self.count(max)?) {
            (None, None) => None,
            (min, max) => Some((min.unwrap_or(0), max.unwrap_or(u64::MAX))),
        })
    }
}

fn strings(place: &str, list: &Value) -> Done<Vec<String>> {
    let texts = list.as_array().map(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    texts.flatten().map_or_else(|| bad(place, "a list of strings, please"), Ok)
}

fn types_of(place: &str, types: &Value) -> Done<Vec<Type>> {
    let one = |value: &Value| match value.as_str() {
        Some("null") => Ok(Type::Null),
        Some("boolean") => Ok(Type::Boolean),
        Some("integer") => Ok(Type::Integer),
        Some("number") => Ok(Type::Number),
        Some("string") => Ok(Type::String),
        Some("array") => Ok(Type::Array),
        Some("object") => Ok(Type::Object),
        _ => bad(place, "null, boolean, integer, number, string, array or object, please"),
    };
    match types {
        Value::Array(list) if !list.is_empty() => list.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}

fn pattern(place: &str, text: &str) -> Done<Pattern> {
    match RegexBuilder::new(text).size_limit(SCHEMA_PATTERN_BYTES).build() {
        Ok(regex) => Ok(Pattern { regex, cost: 1 + text.len() as u64 / PATTERN_STEP }),
        Err(error) => bad(place, format!("the pattern cannot be used: {error}")),
    }
}

/// `%25` and the like in a reference.
fn decoded(fragment: &str) -> String {
    let bytes = fragment.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let coded = fragment.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(coded.unwrap_or(bytes[at]));
        at += if coded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
