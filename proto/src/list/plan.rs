//! Which index a list is read from, and which stretches of it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Bound;

use super::interval::{Interval, of_field};
use super::order::{Order, Position, SortValue};
use super::{Compare, Condition, ListQuery};
use crate::index::{Index, OrderField, index_expression};
use crate::limits::LIST_RUNS;

/// No declared index serves an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{collection} cannot be sorted by {sort}: no index serves that; {advice}")]
pub struct NoIndex {
    /// The collection.
    pub collection: String,
    /// What was asked for, without the key.
    pub sort: String,
    /// Its first field.
    pub field: String,
    /// The line to add.
    pub advice: String,
}

/// How a page is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// From this index; none: from that of the keys.
    pub index: Option<Index>,
    /// The values of the index's first fields: one run each, in itself in the order of the rest.
    pub runs: Vec<Vec<SortValue>>,
    /// The stretches of the next field, upwards.
    pub stretches: Vec<Interval>,
    /// The fields after those that the runs name, as the list goes through them.
    pub rest: Vec<OrderField>,
    /// Whether keys go downwards.
    pub key_descending: bool,
    /// The stretches are not in the list's order, which is by key: they are read whole and sorted, where they are short.
    pub gathers: bool,
}

/// A part of one run that one statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The values of the first fields.
    pub equal: Vec<SortValue>,
    /// The next field lies in here.
    pub within: Option<Interval>,
    /// Only keys beyond this one, where `equal` names all fields.
    pub beyond: Option<String>,
}

impl Plan {
    /// Chooses. Errors: [`NoIndex`] where the order needs an index that there is none of.
    pub fn choose(query: &ListQuery, indexes: &[Index]) -> Result<Self, NoIndex> {
        let candidates = indexes.iter().flat_map(|index| (0..=index.fields.len()).map(move |named| (index, named)));
        let best = candidates
            .filter_map(|(index, named)| Self::try_index(query, index, named))
            // The more fields are named by values the better; then a narrowed one; then what is declared first.
            .fold(None::<Self>, |best, plan| match best {
                Some(best) if best.worth() >= plan.worth() => Some(best),
                _ => Some(plan),
            });
        match best {
            Some(plan) => Ok(plan),
            None if query.order.fields.is_empty() => Ok(Self::keys(&query.order)),
            None => Err(NoIndex::new(query, indexes)),
        }
    }

    /// The whole collection in key order.
    pub fn keys(order: &Order) -> Self {
        let runs = vec![Vec::new()];
        Self { index: None, runs, stretches: Vec::new(), rest: Vec::new(), key_descending: order.key_descending, gathers: false }
    }

    fn worth(&self) -> (bool, usize, bool) {
        let named = self.runs.first().map_or(usize::MAX, Vec::len);
        (!self.gathers, named, self.stretches != Interval::everything())
    }

    fn try_index(query: &ListQuery, index: &Index, named: usize) -> Option<Self> {
        let (first, rest) = index.fields.split_at(named);
        let runs = runs(&query.conditions, first)?;
        let narrowed = rest.first().and_then(|field| of_field(&query.conditions, &field.name));
        let order = &query.order;
        let gathers = order.fields.is_empty() && !rest.is_empty();
        if gathers && narrowed.is_none() && named == 0 {
            return None;
        }
        let rest = if gathers { rest.to_vec() } else { aligned(rest, &order.fields)? };
        let stretches = narrowed.unwrap_or_else(Interval::everything);
        Some(Self { index: Some(index.clone()), runs, stretches, rest, key_descending: order.key_descending, gathers })
    }

    /// The parts of a run after a place in it, in order.
    pub fn segments(&self, run: &[SortValue], after: Option<&Position>) -> Vec<Segment> {
        let Some(after) = after else { return self.through(run, &self.stretches) };
        let exact = after.cut.is_none();
        let mut segments = Vec::new();
        if exact && self.reaches(&after.values) {
            let equal = [run, &after.values].concat();
            segments.push(Segment { equal, within: None, beyond: Some(after.key.clone()) });
        }
        for place in (0..after.values.len().min(self.rest.len())).rev() {
            let including = !exact && place + 1 == after.values.len();
            let stretches = beyond(&after.values[place], self.rest[place].descending, including);
            let mut equal = run.to_vec();
            equal.extend_from_slice(&after.values[..place]);
            if place == 0 {
                let narrowed: Vec<_> =
                    self.stretches.iter().flat_map(|own| stretches.iter().filter_map(|one| own.intersect(one))).collect();
                segments.extend(self.through(&equal, &narrowed));
            } else if self.reaches(&after.values) {
                segments.extend(self.through_at(place, &equal, &stretches));
            }
        }
        segments
    }

    /// Whether the place lies in the stretches at all.
    fn reaches(&self, values: &[SortValue]) -> bool {
        values.first().is_none_or(|first| self.rest.is_empty() || self.stretches.iter().any(|stretch| stretch.holds(first)))
    }

    fn through(&self, equal: &[SortValue], stretches: &[Interval]) -> Vec<Segment> {
        if self.rest.is_empty() {
            return vec![Segment { equal: equal.to_vec(), within: None, beyond: None }];
        }
        self.through_at(0, equal, stretches)
    }

    fn through_at(&self, place: usize, equal: &[SortValue], stretches: &[Interval]) -> Vec<Segment> {
        let segment = |stretch: &Interval| match stretch.as_point() {
            Some(value) => {
                let mut equal = equal.to_vec();
                equal.push(value.clone());
                Segment { equal, within: None, beyond: None }
            }
            None => Segment { equal: equal.to_vec(), within: Some(stretch.clone()), beyond: None },
        };
        let mut stretches: Vec<_> = stretches.iter().collect();
        stretches.sort_by(|a, b| low(a).cmp(low(b)));
        let upwards = stretches.into_iter().map(segment);
        if self.rest[place].descending { upwards.rev().collect() } else { upwards.collect() }
    }

    /// The expressions of the fields after those that the runs name, as columns.
    pub fn columns(&self) -> Vec<String> {
        self.rest.iter().filter_map(|field| index_expression(&field.name)).collect()
    }

    /// What a statement says after `WHERE collection = N`, and what is bound to its parameters, which begin at `?1`.
    pub fn sql(&self, segment: &Segment, prefix: Option<&str>) -> (String, Vec<SortValue>) {
        let named = self.runs.first().map_or(0, Vec::len);
        let before = self.index.iter().flat_map(|index| index.fields.iter()).take(named);
        let fields: Vec<_> = before
            .map(|field| (field.name.as_str(), false))
            .chain(self.rest.iter().map(|own| (own.name.as_str(), own.descending)))
            .collect();
        let (mut sql, mut bound) = (String::new(), Vec::new());
        let mut and = |what: &str, operator: &str, value: SortValue| {
            bound.push(value);
            sql.push_str(&format!(" AND {what} {operator} ?{}", bound.len()));
        };
        let expression = |name: &str| index_expression(name).unwrap_or_default();
        for ((name, _), value) in fields.iter().zip(&segment.equal) {
            and(&expression(name), "IS", value.clone());
        }
        let open = &fields[segment.equal.len().min(fields.len())..];
        if let (Some(stretch), Some((name, _))) = (&segment.within, open.first()) {
            for (bound, included, excluded) in [(&stretch.low, ">=", ">"), (&stretch.high, "<=", "<")] {
                match bound {
                    Bound::Included(value) => and(&expression(name), included, value.clone()),
                    Bound::Excluded(value) => and(&expression(name), excluded, value.clone()),
                    Bound::Unbounded => {}
                }
            }
        }
        if open.is_empty() {
            if let Some(key) = &segment.beyond {
                and("key", if self.key_descending { "<" } else { ">" }, SortValue::Text(key.clone()));
            }
            if let Some(prefix) = prefix {
                and("key", ">=", SortValue::Text(prefix.to_string()));
                if let Some(end) = after_prefix(prefix) {
                    and("key", "<", SortValue::Text(end));
                }
            }
        }
        sql.push_str(" ORDER BY ");
        for (name, descending) in open {
            sql.push_str(&format!("{}{}, ", expression(name), if *descending { " DESC" } else { "" }));
        }
        sql.push_str(if self.keys_descend() { "key DESC" } else { "key" });
        (sql, bound)
    }

    /// As the last field does, in a list's order as in an index, which is gone along where the list's order is made afterwards.
    fn keys_descend(&self) -> bool {
        self.rest.last().map_or(self.key_descending, |last| last.descending)
    }
}

fn low(stretch: &Interval) -> &SortValue {
    match &stretch.low {
        Bound::Included(low) | Bound::Excluded(low) => low,
        Bound::Unbounded => &SortValue::Null,
    }
}

fn beyond(value: &SortValue, descending: bool, including: bool) -> Vec<Interval> {
    match value {
        // Of a string that was cut: everything that begins with it comes again, because nobody knows what followed.
        SortValue::Text(cut) if including && descending => {
            let high = after_prefix(cut).map_or(Bound::Unbounded, |end| Bound::Excluded(SortValue::Text(end)));
            let numbers = Interval { low: Bound::Included(SortValue::Real(f64::NEG_INFINITY)), high };
            vec![numbers, Interval::point(SortValue::Null)]
        }
        _ => Interval::beyond(value, descending, including),
    }
}

/// The first text above all that begin with `prefix`; none: there is none. UTF-8 orders as its characters do.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// All combinations of values that conditions leave for some fields; none: one of them is not narrowed to values, or they are
/// too many.
fn runs(conditions: &[Condition], fields: &[OrderField]) -> Option<Vec<Vec<SortValue>>> {
    let mut runs = vec![Vec::new()];
    for field in fields {
        // By what is asked and not by the values: whether an order is served must not change from page to page of an application.
        let names = |own: &Condition| own.field() == field.name && matches!(own.compare(), Compare::Equal | Compare::OneOf);
        let points = of_field(conditions, &field.name).filter(|_| conditions.iter().any(names))?;
        let values: Vec<_> = points.iter().map(|interval| interval.as_point().cloned()).collect::<Option<_>>()?;
        if runs.len() * values.len() > LIST_RUNS {
            return None;
        }
        runs =
            runs.iter().flat_map(|run| values.iter().map(move |value| [run.as_slice(), core::slice::from_ref(value)].concat())).collect();
    }
    Some(runs)
}

/// The fields of an index as an order wants them: all in their own direction, or all in the other one.
fn aligned(index: &[OrderField], order: &[OrderField]) -> Option<Vec<OrderField>> {
    let flip = index.first().zip(order.first()).is_some_and(|(a, b)| a.descending != b.descending);
    let mut pairs = index.iter().zip(order);
    let same = index.len() == order.len() && pairs.all(|(a, b)| a.name == b.name && (a.descending != b.descending) == flip);
    same.then(|| order.to_vec())
}

impl NoIndex {
    fn new(query: &ListQuery, indexes: &[Index]) -> Self {
        let fields = &query.order.fields;
        let sort: Vec<_> = fields.iter().map(ToString::to_string).collect();
        let flip = fields.first().is_some_and(|first| first.descending);
        let wanted: Vec<_> =
            fields.iter().map(|field| OrderField { name: field.name.clone(), descending: field.descending != flip }.to_string()).collect();
        let wanted = wanted.join(",");
        let advice = match Index::parse(&wanted) {
            Ok(_) => {
                let line: Vec<_> = indexes.iter().map(ToString::to_string).chain([wanted]).map(|text| format!("{text:?}")).collect();
                format!("add the line indexes = [{}] to its [[collection]] definition", line.join(", "))
            }
            Err(why) => why,
        };
        Self {
            collection: query.collection.to_string(),
            sort: sort.join(","),
            field: fields.first().map(|field| field.name.clone()).unwrap_or_default(),
            advice,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::names::CollectionName;

    fn query(sort: &str, conditions: &[(&str, Compare, &str)]) -> ListQuery {
        let conditions = conditions.iter().map(|(field, compare, text)| Condition::new(field, *compare, vec![(*text).into()])).collect();
        let all = ListQuery::all(CollectionName::parse("products").unwrap(), 10);
        ListQuery { conditions, order: Order::parse(sort).unwrap(), ..all }
    }

    fn indexes(texts: &[&str]) -> Vec<Index> {
        texts.iter().map(|text| Index::parse(text).unwrap()).collect()
    }

    fn chosen(sort: &str, conditions: &[(&str, Compare, &str)], declared: &[&str]) -> (String, usize, bool) {
        let plan = Plan::choose(&query(sort, conditions), &indexes(declared)).unwrap();
        (plan.index.map(|index| index.to_string()).unwrap_or_default(), plan.runs.first().map_or(0, Vec::len), plan.gathers)
    }

    #[test]
    fn the_index_that_serves_most() {
        let declared = ["Price", "Category", "Category,-Price"];
        let is_1 = ("Category", Compare::Equal, "1");
        assert_eq!(chosen("", &[], &declared), (String::new(), 0, false));
        assert_eq!(chosen("", &[is_1], &declared), ("Category".into(), 1, false));
        assert_eq!(chosen("-key", &[is_1], &declared), ("Category".into(), 1, false));
        assert_eq!(chosen("-Price", &[], &declared), ("Price".into(), 0, false));
        assert_eq!(chosen("-Price", &[is_1], &declared), ("Category,-Price".into(), 1, false));
        assert_eq!(chosen("Price", &[is_1], &declared), ("Category,-Price".into(), 1, false));
        assert_eq!(chosen("-Category,Price", &[], &declared), ("Category,-Price".into(), 0, false));
        assert_eq!(chosen("", &[("Price", Compare::Less, "10")], &declared), ("Price".into(), 0, true));
        assert_eq!(chosen("", &[("Price", Compare::Less, "10"), is_1], &declared), ("Category".into(), 1, false));
        assert_eq!(chosen("", &[("Name", Compare::Equal, "x")], &declared), (String::new(), 0, false));
        let narrowed = [is_1, ("Price", Compare::Less, "10")];
        assert_eq!(chosen("", &narrowed, &["Category,Name", "Category,Price"]), ("Category,Price".into(), 1, true));
        assert_eq!(chosen("", &narrowed, &["Category,Price", "Category,Name"]), ("Category,Price".into(), 1, true));
        assert_eq!(chosen("A,-B", &[], &["A,B", "-A,B"]), ("-A,B".into(), 0, false));
    }

    /// Whether an order is served is said by what is compared, not by the values.
    #[test]
    fn a_range_that_leaves_one_value_serves_no_order() {
        let ends = |compare: [Compare; 2]| compare.map(|compare| ("Name", compare, "x"));
        let line = |conditions: &[_]| Plan::choose(&query("Price", conditions), &indexes(&["Name,Price"]));
        assert!(line(&ends([Compare::GreaterOrEqual, Compare::LessOrEqual])).is_err());
        assert!(line(&ends([Compare::GreaterOrEqual, Compare::Equal])).is_ok());
        assert!(
            line(&[("Name", Compare::GreaterOrEqual, "x"), ("Name", Compare::LessOrEqual, "x"), ("Other", Compare::Equal, "x")]).is_err()
        );
    }

    /// Values that are asked for multiply.
    #[test]
    fn so_many_runs_are_read_side_by_side() {
        let one_of = |field: &str, count: usize| Condition::new(field, Compare::OneOf, (0..count).map(|n| format!("t{n}")).collect());
        for (a, b, served) in [
            (LIST_RUNS, 1, true),
            (LIST_RUNS / 8, 8, true),
            (LIST_RUNS + 1, 1, false),
            (LIST_RUNS / 8 + 1, 8, false),
            (LIST_RUNS * 2, 2, false),
        ] {
            let query = ListQuery { conditions: vec![one_of("A", a), one_of("B", b)], ..query("C", &[]) };
            let plan = Plan::choose(&query, &indexes(&["A,B,C"]));
            assert_eq!(plan.ok().map(|plan| plan.runs.len()), served.then_some(a * b), "{a} times {b}");
        }
    }

    #[test]
    fn no_index_names_the_line() {
        let line = |sort: &str, declared: &[&str]| Plan::choose(&query(sort, &[]), &indexes(declared)).unwrap_err().to_string();
        assert_eq!(
            line("-Price", &[]),
            "products cannot be sorted by -Price: no index serves that; add the line indexes = [\"Price\"] to its [[collection]] definition"
        );
        assert!(line("-Category,Price", &["Name"]).contains("indexes = [\"Name\", \"Category,-Price\"]"));
        assert!(line("Category,Price", &["Category,-Price"]).contains("\"Category,Price\"]"));
        assert!(line("a\"b", &[]).contains("cannot be indexed"));
    }

    #[test]
    fn segments_follow_a_place() {
        let plan = Plan::choose(&query("Category,-Price", &[]), &indexes(&["Category,-Price"])).unwrap();
        let place = Position::new(vec![SortValue::Int(2), SortValue::Null], "7");
        let said: Vec<_> = plan.segments(&[], Some(&place)).iter().map(|segment| plan.sql(segment, None).0).collect();
        let (category, price) = (r#"json_extract(value,'$."Category"')"#, r#"json_extract(value,'$."Price"')"#);
        assert_eq!(
            said,
            [
                format!(" AND {category} IS ?1 AND {price} IS ?2 AND key < ?3 ORDER BY key DESC"),
                format!(" AND {category} > ?1 ORDER BY {category}, {price} DESC, key DESC"),
            ]
        );
        assert_eq!(plan.segments(&[], None).len(), 2);
    }

    #[test]
    fn prefixes_end() {
        assert_eq!(after_prefix("a").unwrap(), "b");
        assert_eq!(after_prefix("a\u{10ffff}").unwrap(), "b");
        assert_eq!(after_prefix("\u{d7ff}").unwrap(), "\u{e000}");
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
