//! JSON Schema 2020-12, judged on both sides by the same code (design §4): a till that is offline refuses what the cloud
//! would refuse.
//!
//! `compile` turns a schema into rules once for each definition, `judge` holds a value against them, `numbers` compares
//! as decimals. Everything is bounded: a schema reads no other document, patterns run in linear time, and a judgement has a
//! number of steps after which the value is refused. `format` and the `content…` keywords are annotations, as the
//! specification has them; unknown keywords say nothing.

mod compile;
mod judge;
mod numbers;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use regex_lite::Regex;
use serde_json::{Number, Value};

/// A compiled schema.
#[derive(Debug, Clone)]
pub struct Schema {
    nodes: Vec<Vec<Rule>>,
    /// What was evaluated has to be remembered.
    remembers: bool,
}

/// What a schema says against a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The top-level field; empty: the value as a whole.
    pub field: String,
    /// Where, what was expected, and what was found: short, for people.
    pub message: String,
}

/// Why a schema is refused; the text names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct BadSchema {
    /// A JSON pointer into the schema, `#` for its top.
    pub place: String,
    /// What is wrong there.
    pub why: String,
}

/// A place in [`Schema::nodes`].
type Node = usize;

/// One keyword, or keywords that belong together.
#[derive(Debug, Clone)]
enum Rule {
    Never,
    Ref(Node),
    Types(Vec<Type>),
    OneOf(Vec<Value>),
    Bound(Bound, Number),
    MultipleOf(Number),
    Length { min: u64, max: u64 },
    Pattern(Pattern),
    Items { count: (u64, u64), unique: bool, first: Vec<Node>, rest: Option<Node> },
    Contains { of: Node, min: u64, max: u64 },
    Count { min: u64, max: u64 },
    Required(Vec<String>),
    Properties { named: BTreeMap<String, Node>, like: Vec<(Pattern, Node)>, rest: Option<Node> },
    Names(Node),
    With(BTreeMap<String, Vec<String>>),
    WithSchema(BTreeMap<String, Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    ExactlyOne(Vec<Node>),
    Not(Node),
    If { test: Node, then: Option<Node>, otherwise: Option<Node> },
    RestOfItems(Node),
    RestOfProperties(Node),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Least,
    More,
    Most,
    Less,
}

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    /// What a byte of text costs, in steps.
    cost: u64,
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
