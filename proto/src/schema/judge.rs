//! A value against the rules: the first that does not hold is told.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;

use super::numbers::{compare, integer, is_integer, is_multiple};
use super::{Bound, Node, Pattern, Rule, Schema, Type, Violation};
use crate::json;
use crate::limits::{SCHEMA_NESTED, SCHEMA_STEPS};

/// Characters of a value that a message shows.
const SHOWN: usize = 60;

impl Schema {
    /// What the schema says against a value; `None`: nothing.
    pub fn judge(&self, value: &json::Value) -> Option<Violation> {
        match serde_json::from_str(&value.to_text()) {
            Ok(value) => self.judge_json(&value),
            Err(error) => Some(Violation { field: String::new(), message: error.to_string() }),
        }
    }

    pub(super) fn judge_json(&self, value: &Value) -> Option<Violation> {
        let mut judge = Judge { schema: self, steps: SCHEMA_STEPS, depth: 0, path: Vec::new() };
        match judge.node(0, value, &mut Seen::default()) {
            Ok(()) => None,
            Err(Stop::Fails { path, why }) => {
                let message = if path.is_empty() { why } else { format!("{}: {why}", path.join("/")) };
                Some(Violation { field: path.into_iter().next().unwrap_or_default(), message })
            }
            Err(Stop::TooMuch) => {
                Some(Violation { field: String::new(), message: "the schema takes too many steps to judge this value".to_string() })
            }
        }
    }
}

enum Stop {
    Fails { path: Vec<String>, why: String },
    TooMuch,
}

type Verdict = Result<(), Stop>;

/// What the rules of one schema have looked at in one value.
#[derive(Default, Clone)]
struct Seen {
    names: BTreeSet<String>,
    /// Items up to here, and these.
    items: usize,
    more: BTreeSet<usize>,
}

impl Seen {
    fn join(&mut self, other: Self) {
        self.names.extend(other.names);
        self.items = self.items.max(other.items);
        self.more.extend(other.more);
    }
}

struct Judge<'s> {
    schema: &'s Schema,
    steps: u64,
    depth: usize,
    path: Vec<String>,
}

impl<'s> Judge<'s> {
    fn spend(&mut self, steps: u64) -> Verdict {
        self.steps = self.steps.checked_sub(steps).ok_or(Stop::TooMuch)?;
        Ok(())
    }

    fn fail(&self, why: String) -> Verdict {
        Err(Stop::Fails { path: self.path.clone(), why })
    }

    fn fail_at(&self, name: &str, why: &str) -> Verdict {
        let mut path = self.path.clone();
        path.push(name.to_string());
        Err(Stop::Fails { path, why: why.to_string() })
    }

    fn node(&mut self, node: Node, value: &Value, seen: &mut Seen) -> Verdict {
        let schema = self.schema;
        self.spend(1)?;
        if self.depth >= SCHEMA_NESTED {
            return Err(Stop::TooMuch);
        }
        self.depth += 1;
        let verdict = schema.nodes[node].iter().try_for_each(|rule| self.rule(rule, value, seen));
        self.depth -= 1;
        verdict
    }

    /// Another schema for the same value: it sees nothing of what the rules around it have looked at.
    fn beside(&mut self, node: Node, value: &Value, seen: &mut Seen) -> Verdict {
        let mut own = Seen::default();
        self.node(node, value, &mut own)?;
        seen.join(own);
        Ok(())
    }

    /// A part of the value.
    fn part(&mut self, node: Node, name: &str, value: &Value) -> Verdict {
        self.path.push(name.to_string());
        let verdict = self.node(node, value, &mut Seen::default());
        self.path.pop();
        verdict
    }

    /// Whether a schema holds, apart from what it would say.
    fn holds(&mut self, node: Node, value: &Value, seen: &mut Seen) -> Result<bool, Stop> {
        let mut own = Seen::default();
        match self.node(node, value, &mut own) {
            Ok(()) => {
                seen.join(own);
                Ok(true)
            }
            Err(Stop::Fails { .. }) => Ok(false),
            Err(stop) => Err(stop),
        }
    }

    fn rule(&mut self, rule: &'s Rule, value: &Value, seen: &mut Seen) -> Verdict {
        self.spend(1)?;
        match (rule, value) {
            (Rule::Never, _) => self.fail("is not allowed".to_string()),
            (Rule::Ref(node), _) => self.beside(*node, value, seen),
            (Rule::Types(types), _) => self.types(types, value),
            (Rule::OneOf(list), _) => self.one_of(list, value),
            (Rule::Bound(bound, limit), Value::Number(number)) => {
                let order = compare(number, limit);
                let (holds, word) = match bound {
                    Bound::Least => (order.is_ge(), "at least"),
                    Bound::More => (order.is_gt(), "more than"),
                    Bound::Most => (order.is_le(), "at most"),
                    Bound::Less => (order.is_lt(), "less than"),
                };
                if holds { Ok(()) } else { self.fail(format!("expected {word} {limit}, found {number}")) }
            }
            (Rule::MultipleOf(of), Value::Number(number)) if !is_multiple(number, of) => {
                self.fail(format!("expected a multiple of {of}, found {number}"))
            }
            (Rule::Length { min, max }, Value::String(text)) => {
                self.spend(text.len() as u64 / 64)?;
                self.count("characters", text.chars().count() as u64, (*min, *max))
            }
            (Rule::Pattern(pattern), Value::String(text)) if !self.matches(pattern, text)? => {
                self.fail(format!("expected text like {}, found {}", pattern.regex.as_str(), shown(value)))
            }
            (Rule::Count { min, max }, Value::Object(members)) => self.count("members", members.len() as u64, (*min, *max)),
            (Rule::Items { count, unique, first, rest }, Value::Array(list)) => {
                self.count("items", list.len() as u64, *count)?;
                self.items(list, first, *rest, seen)?;
                if *unique { self.unique(list) } else { Ok(()) }
            }
            (Rule::Contains { of, min, max }, Value::Array(list)) => self.contains(list, *of, (*min, *max), seen),
            (Rule::RestOfItems(node), Value::Array(list)) => {
                for (at, item) in list.iter().enumerate().skip(seen.items).filter(|(at, _)| !seen.more.contains(at)) {
                    self.part(*node, &at.to_string(), item)?;
                }
                seen.items = list.len();
                Ok(())
            }
            (_, Value::Object(_)) => self.object(rule, value, seen),
            _ => self.combined(rule, value, seen),
        }
    }

    fn object(&mut self, rule: &'s Rule, value: &Value, seen: &mut Seen) -> Verdict {
        let Value::Object(members) = value else { return Ok(()) };
        match rule {
            Rule::Required(names) => match names.iter().find(|name| !members.contains_key(*name)) {
                Some(name) => self.fail_at(name, "is missing"),
                None => Ok(()),
            },
            Rule::Properties { named, like, rest } => {
                for (name, inner) in members {
                    let mut looked = false;
                    if let Some(node) = named.get(name) {
                        looked = true;
                        self.part(*node, name, inner)?;
                    }
                    for (pattern, node) in like {
                        if self.matches(pattern, name)? {
                            looked = true;
                            self.part(*node, name, inner)?;
                        }
                    }
                    if let (false, Some(node)) = (looked, rest) {
                        looked = true;
                        self.part(*node, name, inner)?;
                    }
                    if looked && self.schema.remembers {
                        seen.names.insert(name.clone());
                    }
                }
                Ok(())
            }
            Rule::Names(node) => members.keys().try_for_each(|name| self.part(*node, name, &Value::String(name.clone()))),
            Rule::With(with) => {
                let wanted = with.iter().filter(|(name, _)| members.contains_key(*name)).flat_map(|(_, names)| names);
                match wanted.into_iter().find(|name| !members.contains_key(*name)) {
                    Some(name) => self.fail_at(name, "is missing"),
                    None => Ok(()),
                }
            }
            Rule::WithSchema(with) => {
                let nodes = with.iter().filter(|(name, _)| members.contains_key(*name)).map(|(_, node)| *node);
                nodes.collect::<Vec<_>>().into_iter().try_for_each(|node| self.beside(node, value, seen))
            }
            Rule::RestOfProperties(node) => {
                for (name, inner) in members.iter().filter(|(name, _)| !seen.names.contains(*name)).collect::<Vec<_>>() {
                    self.part(*node, name, inner)?;
                }
                seen.names.extend(members.keys().cloned());
                Ok(())
            }
            _ => self.combined(rule, value, seen),
        }
    }

    fn combined(&mut self, rule: &'s Rule, value: &Value, seen: &mut Seen) -> Verdict {
        match rule {
            Rule::All(nodes) => nodes.iter().try_for_each(|node| self.beside(*node, value, seen)),
            Rule::Any(nodes) | Rule::ExactlyOne(nodes) => {
                let mut held = 0;
                for node in nodes {
                    held += usize::from(self.holds(*node, value, seen)?);
                }
                let one = matches!(rule, Rule::ExactlyOne(_));
                match held {
                    0 => self.fail(format!("expected one of {} forms, found {}", nodes.len(), shown(value))),
                    1 => Ok(()),
                    _ if one => self.fail(format!("expected exactly one of {} forms, {held} hold", nodes.len())),
                    _ => Ok(()),
                }
            }
            Rule::Not(node) if self.holds(*node, value, &mut Seen::default())? => {
                self.fail(format!("is of a form that is not allowed: {}", shown(value)))
            }
            Rule::If { test, then, otherwise } => {
                let next = if self.holds(*test, value, seen)? { then } else { otherwise };
                next.map_or(Ok(()), |node| self.beside(node, value, seen))
            }
            _ => Ok(()),
        }
    }

    fn types(&self, types: &[Type], value: &Value) -> Verdict {
        let is = |of: &Type| match (of, value) {
            (Type::Integer, Value::Number(number)) => is_integer(number),
            (Type::Null, Value::Null)
            | (Type::Boolean, Value::Bool(_))
            | (Type::Number, Value::Number(_))
            | (Type::String, Value::String(_))
            | (Type::Array, Value::Array(_))
            | (Type::Object, Value::Object(_)) => true,
            _ => false,
        };
        if types.iter().any(is) {
            return Ok(());
        }
        let words: Vec<String> = types.iter().map(|of| format!("{of:?}").to_lowercase()).collect();
        self.fail(format!("expected {}, found {}", words.join(" or "), shown(value)))
    }

    fn one_of(&mut self, list: &[Value], value: &Value) -> Verdict {
        self.spend(list.len() as u64)?;
        if list.iter().any(|one| same(one, value)) {
            return Ok(());
        }
        let words: Vec<String> = list.iter().take(8).map(shown).collect();
        let more = if list.len() > 8 { ", …" } else { "" };
        self.fail(format!("expected {}{more}, found {}", words.join(" or "), shown(value)))
    }

    fn count(&self, what: &str, count: u64, (min, max): (u64, u64)) -> Verdict {
        if count < min {
            return self.fail(format!("expected at least {min} {what}, found {count}"));
        }
        if count > max { self.fail(format!("expected at most {max} {what}, found {count}")) } else { Ok(()) }
    }

    fn items(&mut self, list: &[Value], first: &[Node], rest: Option<Node>, seen: &mut Seen) -> Verdict {
        for (at, item) in list.iter().enumerate() {
            let Some(node) = first.get(at).copied().or(rest) else { break };
            self.part(node, &at.to_string(), item)?;
            seen.items = seen.items.max(at + 1);
        }
        Ok(())
    }

    fn contains(&mut self, list: &[Value], of: Node, bounds: (u64, u64), seen: &mut Seen) -> Verdict {
        let mut found = 0;
        for (at, item) in list.iter().enumerate() {
            if self.holds(of, item, &mut Seen::default())? {
                found += 1;
                if self.schema.remembers {
                    seen.more.insert(at);
                }
            }
        }
        self.count("items of a form", found, bounds)
    }

    fn unique(&mut self, list: &[Value]) -> Verdict {
        let mut known = BTreeSet::new();
        for item in list {
            let text = canonical(item);
            self.spend(text.len() as u64 / 16)?;
            if !known.insert(text) {
                return self.fail(format!("expected items that differ, found {} twice", shown(item)));
            }
        }
        Ok(())
    }

    fn matches(&mut self, pattern: &Pattern, text: &str) -> Result<bool, Stop> {
        self.spend(pattern.cost * (1 + text.len() as u64))?;
        Ok(pattern.regex.is_match(text))
    }
}

/// Equal as JSON Schema has it: numbers by value.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other).is_eq(),
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other)),
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|theirs| same(value, theirs)))
        }
        _ => one == other,
    }
}

/// The same text for equal values.
fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) => integer(number).map_or_else(|| number.to_string(), |whole| whole.to_string()),
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut texts: Vec<String> = members.iter().map(|(name, value)| format!("{name:?}:{}", canonical(value))).collect();
            texts.sort();
            format!("{{{}}}", texts.join(","))
        }
        other => other.to_string(),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
