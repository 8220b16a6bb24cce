//! A store of two tables in memory, for tests: it reads what a list asks as SQLite would, and says where SQLite would have to do
//! more than to go along an index.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::convert::Infallible;

use super::order::SortValue;
use super::walk::{Ask, Entry, Source};
use crate::index::{OrderField, index_expression};
use crate::json::{JsonError, Value};

/// A record: its key and its value.
pub(crate) type Row = (String, String);

/// A statement that was run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ran {
    /// The index, as it is declared; none: that of the keys.
    pub(crate) index: Option<String>,
    pub(crate) limit: usize,
    /// The entries that it gave.
    pub(crate) gave: usize,
}

/// As at the edge: what is written there lies over what the cloud has, and may be that it was deleted.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    base: BTreeMap<String, Stored>,
    overlay: BTreeMap<String, Option<Stored>>,
    /// A statement that fetches values stops early, after so many entries.
    pub(crate) stops: Option<usize>,
    pub(crate) ran: Vec<Ran>,
    /// The keys of records that were read.
    pub(crate) read: Vec<String>,
}

#[derive(Debug)]
struct Stored {
    text: String,
    value: Value,
}

impl Stored {
    fn new(text: &str) -> Self {
        Self { text: text.to_string(), value: Value::read(text).unwrap() }
    }
}

/// One comparison of a statement.
struct Compared<'a> {
    what: Option<OrderField>,
    operator: &'a str,
    value: &'a SortValue,
}

impl Memory {
    pub(crate) fn put(&mut self, key: &str, text: &str) {
        self.base.insert(key.to_string(), Stored::new(text));
    }

    /// Lays a record, or its absence, over the base.
    pub(crate) fn lay(&mut self, key: &str, text: Option<&str>) {
        self.overlay.insert(key.to_string(), text.map(Stored::new));
    }

    /// Whatever table it is in.
    pub(crate) fn remove(&mut self, key: &str) -> Option<String> {
        let text = self.seen(key).map(|stored| stored.text.clone());
        self.base.remove(key);
        self.overlay.remove(key);
        text
    }

    /// All records, by key.
    pub(crate) fn all(&self) -> Vec<Row> {
        let mut keys: Vec<_> = self.base.keys().chain(self.overlay.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().filter_map(|key| Some((key.clone(), self.seen(key)?.text.clone()))).collect()
    }

    /// Forgets what was read until now.
    pub(crate) fn begin(&mut self) {
        self.ran.clear();
        self.read.clear();
    }

    fn seen(&self, key: &str) -> Option<&Stored> {
        match self.overlay.get(key) {
            Some(laid) => laid.as_ref(),
            None => self.base.get(key),
        }
    }

    fn table(&self, table: usize) -> Vec<(&String, &Stored)> {
        match table {
            0 => self.base.iter().collect(),
            _ => self.overlay.iter().filter_map(|(key, stored)| Some((key, stored.as_ref()?))).collect(),
        }
    }
}

/// What `json_extract` makes of a field.
pub(crate) fn held(value: &Value, field: &str) -> SortValue {
    let Some(raw) = value.get(field) else { return SortValue::Null };
    match (raw.as_str(), raw.as_text()) {
        ("null", _) => SortValue::Null,
        ("true", _) => SortValue::Int(1),
        ("false", _) => SortValue::Int(0),
        (_, Some(text)) => SortValue::Text(text.to_string()),
        (text, None) if text.starts_with(['[', '{']) => SortValue::Text(text.to_string()),
        (text, None) => text.parse().map(SortValue::Int).unwrap_or_else(|_| SortValue::Real(text.parse().unwrap())),
    }
}

/// The field of an expression; none: it is the key.
fn field_of(expression: &str) -> Option<String> {
    if expression == "key" {
        return None;
    }
    let name = expression.strip_prefix("json_extract(value,'$.\"").and_then(|rest| rest.strip_suffix("\"')"));
    let name = name.unwrap_or_else(|| panic!("{expression:?} is no field"));
    assert_eq!(index_expression(name).unwrap(), expression);
    Some(name.to_string())
}

fn value_of(key: &str, value: &Value, what: Option<&str>) -> SortValue {
    what.map_or_else(|| SortValue::Text(key.to_string()), |field| held(value, field))
}

/// Reads ` AND X IS ?1 AND Y < ?2 ORDER BY Y DESC, key`.
fn parse<'a>(ask: &'a Ask<'_>) -> (Vec<Compared<'a>>, Vec<(Option<String>, bool)>) {
    let (compared, order) = ask.tail.split_once(" ORDER BY ").unwrap();
    let compared = compared.split(" AND ").skip(1).map(|text| {
        let [expression, operator, parameter] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{text:?}") };
        let place: usize = parameter.strip_prefix('?').unwrap().parse().unwrap();
        let what = field_of(expression).map(|name| OrderField { name, descending: false });
        Compared { what, operator, value: &ask.bound[place - 1] }
    });
    let order = order.split(", ").map(|text| match text.strip_suffix(" DESC") {
        Some(expression) => (field_of(expression), true),
        None => (field_of(text), false),
    });
    (compared.collect(), order.collect())
}

impl Compared<'_> {
    fn holds(&self, key: &str, value: &Value) -> bool {
        let own = value_of(key, value, self.what.as_ref().map(|field| field.name.as_str()));
        // As in SQL: nothing is above or below null.
        let there = own != SortValue::Null && *self.value != SortValue::Null;
        match self.operator {
            "IS" => own == *self.value,
            "<" => there && own < *self.value,
            "<=" => there && own <= *self.value,
            ">" => there && own > *self.value,
            ">=" => there && own >= *self.value,
            other => panic!("{other:?}"),
        }
    }
}

/// A statement goes along one stretch of its index, in its direction or against it: the first fields are named, the next one is
/// narrowed, the others are in order.
fn assert_goes_along(ask: &Ask<'_>, compared: &[Compared<'_>], order: &[(Option<String>, bool)]) {
    let fields = ask.index.map(|index| index.fields.clone()).unwrap_or_default();
    let downwards = fields.last().is_some_and(|last| last.descending);
    let mut entry: Vec<_> = fields.iter().map(|field| (Some(field.name.clone()), field.descending)).collect();
    entry.push((None, downwards));
    let equal = compared.iter().take_while(|one| one.operator == "IS").count();
    let name = |one: &Compared<'_>| one.what.as_ref().map(|field| field.name.clone());
    let named: Vec<_> = compared.iter().map(name).collect();
    for (place, name) in named.iter().enumerate() {
        assert_eq!(*name, entry[place.min(equal)].0, "{ask:?} compares what does not come next");
    }
    assert!(compared[equal..].iter().all(|one| one.operator != "IS"), "{ask:?}");
    let rest = &entry[equal..];
    let flipped: Vec<_> = rest.iter().map(|(name, descending)| (name.clone(), !descending)).collect();
    assert!(order == rest || order == flipped, "{ask:?} has to be sorted");
}

impl Source for Memory {
    type Row = Row;
    type Error = Infallible;

    fn tables(&self) -> usize {
        2
    }

    fn entries(&mut self, table: usize, ask: &Ask<'_>) -> Result<(Vec<Entry>, bool), Infallible> {
        let (compared, order) = parse(ask);
        assert_goes_along(ask, &compared, &order);
        let mut found = self.table(table);
        found.retain(|(key, stored)| compared.iter().all(|one| one.holds(key, &stored.value)));
        found.sort_by(|(a_key, a), (b_key, b)| {
            let mut parts = order.iter().map(|(what, descending)| {
                let order = value_of(a_key, &a.value, what.as_deref()).cmp(&value_of(b_key, &b.value, what.as_deref()));
                if *descending { order.reverse() } else { order }
            });
            parts.find(|order| order.is_ne()).unwrap_or(core::cmp::Ordering::Equal)
        });
        let stops = self.stops.filter(|_| !ask.columns.is_empty());
        let most = ask.limit.min(stops.unwrap_or(usize::MAX));
        let entries = found.into_iter().take(most).map(|(key, stored)| Entry {
            values: ask.columns.iter().map(|column| value_of(key, &stored.value, field_of(column).as_deref())).collect(),
            key: key.clone(),
        });
        let entries: Vec<_> = entries.collect();
        let gave = entries.len();
        self.ran.push(Ran { index: ask.index.map(ToString::to_string), limit: ask.limit, gave });
        Ok((entries, gave < most))
    }

    fn read(&mut self, key: &str, table: Option<usize>) -> Result<Option<Row>, Infallible> {
        self.read.push(key.to_string());
        let seen_in = usize::from(self.overlay.contains_key(key));
        let found = self.seen(key).filter(|_| table.is_none_or(|table| table == seen_in));
        Ok(found.map(|stored| (key.to_string(), stored.text.clone())))
    }

    fn text<'r>(&self, row: &'r Row) -> &'r str {
        &row.1
    }

    fn values(&mut self, text: &str, columns: &[String]) -> Result<Vec<SortValue>, Infallible> {
        assert!(!columns.is_empty(), "SQL has no statement that selects nothing");
        let value = Value::read(text).unwrap();
        Ok(columns.iter().map(|column| value_of("", &value, field_of(column).as_deref())).collect())
    }

    fn damaged(&self, error: JsonError) -> Infallible {
        panic!("{}", format!("{error}"))
    }
}
