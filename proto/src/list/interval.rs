//! Stretches of an index that hold every record which fulfils a condition, and perhaps a few more.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Bound;

use super::condition::{Compare, Condition, Operand};
use super::order::SortValue;

/// A stretch of an index. Null is never inside one, only a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Where it begins.
    pub low: Bound<SortValue>,
    /// Where it ends.
    pub high: Bound<SortValue>,
}

impl Interval {
    /// One value.
    pub fn point(value: SortValue) -> Self {
        Self { low: Bound::Included(value.clone()), high: Bound::Included(value) }
    }

    /// Every value but null.
    fn numbers_and_texts() -> Self {
        Self { low: Bound::Included(SortValue::Real(f64::NEG_INFINITY)), high: Bound::Unbounded }
    }

    /// Everything an index can hold, upwards.
    pub fn everything() -> Vec<Self> {
        vec![Self::point(SortValue::Null), Self::numbers_and_texts()]
    }

    /// The one value that it holds.
    pub fn as_point(&self) -> Option<&SortValue> {
        match (&self.low, &self.high) {
            (Bound::Included(low), Bound::Included(high)) if low == high => Some(low),
            _ => None,
        }
    }

    /// Whether a value is inside.
    pub fn holds(&self, value: &SortValue) -> bool {
        let above = match &self.low {
            Bound::Included(low) => value >= low,
            Bound::Excluded(low) => value > low,
            Bound::Unbounded => true,
        };
        above
            && match &self.high {
                Bound::Included(high) => value <= high,
                Bound::Excluded(high) => value < high,
                Bound::Unbounded => true,
            }
    }

    /// What two have in common.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let (low, high) = (higher(&self.low, &other.low), lower(&self.high, &other.high));
        let empty = match (&low, &high) {
            (Bound::Included(low), Bound::Included(high)) => low > high,
            (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low >= high,
            _ => false,
        };
        (!empty).then_some(Self { low, high })
    }

    /// What lies beyond a value in a direction; with `including`, it too.
    pub fn beyond(value: &SortValue, descending: bool, including: bool) -> Vec<Self> {
        let bound = |value: &SortValue| if including { Bound::Included(value.clone()) } else { Bound::Excluded(value.clone()) };
        let null = |there: bool| there.then(|| Self::point(SortValue::Null));
        match (value, descending) {
            (SortValue::Null, false) => null(including).into_iter().chain([Self::numbers_and_texts()]).collect(),
            (SortValue::Null, true) => null(including).into_iter().collect(),
            (_, false) => vec![Self { low: bound(value), high: Bound::Unbounded }],
            (_, true) => {
                let low = Bound::Included(SortValue::Real(f64::NEG_INFINITY));
                vec![Self { low, high: bound(value) }, Self::point(SortValue::Null)]
            }
        }
    }
}

fn place(bound: &Bound<SortValue>) -> Option<&SortValue> {
    match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(value),
        Bound::Unbounded => None,
    }
}

fn is_open(bound: &Bound<SortValue>) -> bool {
    matches!(bound, Bound::Excluded(_))
}

fn higher(a: &Bound<SortValue>, b: &Bound<SortValue>) -> Bound<SortValue> {
    let order = match (place(a), place(b)) {
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(x), Some(y)) => x.cmp(y).then(is_open(a).cmp(&is_open(b))),
    };
    if order.is_ge() { a.clone() } else { b.clone() }
}

fn lower(a: &Bound<SortValue>, b: &Bound<SortValue>) -> Bound<SortValue> {
    let order = match (place(a), place(b)) {
        (None, _) => Ordering::Greater,
        (_, None) => Ordering::Less,
        (Some(x), Some(y)) => x.cmp(y).then(is_open(b).cmp(&is_open(a))),
    };
    if order.is_le() { a.clone() } else { b.clone() }
}

/// The stretches of a field's index for all conditions on it, upwards and apart; none where no condition narrows it.
pub fn of_field(conditions: &[Condition], field: &str) -> Option<Vec<Interval>> {
    let mut all: Option<Vec<Interval>> = None;
    for own in conditions.iter().filter(|condition| condition.field == field).filter_map(of_condition) {
        all = Some(match all {
            None => own,
            Some(before) => before.iter().flat_map(|a| own.iter().filter_map(|b| a.intersect(b))).collect(),
        });
    }
    all
}

fn of_condition(condition: &Condition) -> Option<Vec<Interval>> {
    let operand = condition.values.first();
    match condition.compare {
        Compare::NotEqual => None,
        Compare::Equal | Compare::OneOf => {
            let mut points: Vec<SortValue> = condition.values.iter().flat_map(points).collect();
            points.sort();
            points.dedup();
            Some(points.into_iter().map(Interval::point).collect())
        }
        Compare::Less | Compare::LessOrEqual => operand.map(|operand| side(operand, true)),
        Compare::Greater | Compare::GreaterOrEqual => operand.map(|operand| side(operand, false)),
    }
}

/// Every value that an index may hold for a field which is equal to a text.
fn points(operand: &Operand) -> Vec<SortValue> {
    let mut points = vec![SortValue::Text(operand.text.clone())];
    match operand.spelt.as_ref().map(|raw| raw.as_str()) {
        Some("null") => points.push(SortValue::Null),
        Some("true") => points.push(SortValue::Int(1)),
        Some("false") => points.push(SortValue::Int(0)),
        _ => {}
    }
    if let Some(number) = &operand.number {
        points.extend(number.to_i64().map(SortValue::Int));
        let nearest = nearest(&operand.text);
        let around = if number.is_plain() { 0 } else { 2 };
        points.push(SortValue::Real(nearest));
        let (mut below, mut above) = (nearest, nearest);
        for _ in 0..around {
            (below, above) = (below.next_down(), above.next_up());
            points.extend([below, above].map(SortValue::Real));
        }
    }
    points
}

/// Numbers and strings on one side of a text, the numbers with room for how a double was rounded.
fn side(operand: &Operand, below: bool) -> Vec<Interval> {
    let text = SortValue::Text(operand.text.clone());
    let first_text = SortValue::Text(String::new());
    let mut stretches = Vec::new();
    if operand.number.is_some() {
        let nearest = nearest(&operand.text);
        stretches.push(match below {
            true => Interval {
                low: Bound::Included(SortValue::Real(f64::NEG_INFINITY)),
                high: Bound::Included(SortValue::Real(nearest.next_up().next_up())),
            },
            false => Interval {
                low: Bound::Included(SortValue::Real(nearest.next_down().next_down())),
                high: Bound::Excluded(first_text.clone()),
            },
        });
    }
    stretches.push(match below {
        true => Interval { low: Bound::Included(first_text), high: Bound::Included(text) },
        false => Interval { low: Bound::Included(text), high: Bound::Unbounded },
    });
    stretches
}

/// The nearest double to a number of JSON's grammar.
fn nearest(text: &str) -> f64 {
    // Rust reads all of JSON's grammar; what is too large becomes infinite.
    text.parse().unwrap_or(0.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn of(conditions: &[(Compare, &str)]) -> Vec<Interval> {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(compare, text)| Condition::new("f", *compare, text.split('|').map(ToString::to_string).collect()))
            .collect();
        of_field(&conditions, "f").unwrap()
    }

    #[test]
    fn points_are_few_and_enough() {
        assert_eq!(of(&[(Compare::Equal, "18")]), [Interval::point(SortValue::Int(18)), Interval::point(SortValue::Text("18".into()))]);
        assert_eq!(of(&[(Compare::OneOf, "1|1.0|x")]).len(), 4);
        for (text, value) in [("null", SortValue::Null), ("false", SortValue::Int(0)), ("true", SortValue::Int(1))] {
            assert_eq!(of(&[(Compare::Equal, text)]), [Interval::point(value), Interval::point(SortValue::Text(text.into()))]);
        }
        // 9007199254740993.0 is stored as the double 9007199254740992.
        let wide = of(&[(Compare::Equal, "9007199254740993")]);
        for value in [SortValue::Int(9_007_199_254_740_993), SortValue::Real(9_007_199_254_740_992.0)] {
            assert!(wide.iter().any(|interval| interval.holds(&value)), "{value:?}");
        }
    }

    #[test]
    fn ranges_meet() {
        let both = of(&[(Compare::GreaterOrEqual, "5"), (Compare::Less, "10")]);
        let hold = |value: SortValue| both.iter().any(|interval| interval.holds(&value));
        assert!(hold(SortValue::Int(5)) && hold(SortValue::Real(9.5)) && !hold(SortValue::Int(4)) && !hold(SortValue::Int(11)));
        assert!(!hold(SortValue::Null) && !hold(SortValue::Text("5".into())), "no text is both at least 5 and below 10");
        assert!(of(&[(Compare::Equal, "1"), (Compare::Greater, "2")]).is_empty());
        assert_eq!(of_field(&[Condition::new("f", Compare::NotEqual, vec!["1".into()])], "f"), None);
    }

    /// What two stretches have in common holds what both hold, whichever comes first and wherever they touch.
    #[test]
    fn what_two_have_in_common() {
        let bounds = |value: i64| [Bound::Included(SortValue::Int(value)), Bound::Excluded(SortValue::Int(value))];
        let bounds: Vec<_> = (1..4).flat_map(bounds).chain([Bound::Unbounded]).collect();
        let all = bounds.iter().flat_map(|low| bounds.iter().map(|high| Interval { low: low.clone(), high: high.clone() }));
        let all: Vec<_> = all.collect();
        let places = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5].map(SortValue::Real);
        for a in &all {
            for b in &all {
                let common = a.intersect(b);
                for place in &places {
                    let both = a.holds(place) && b.holds(place);
                    assert_eq!(common.as_ref().is_some_and(|common| common.holds(place)), both, "{a:?} {b:?} {place:?}");
                }
                if !places.iter().any(|place| a.holds(place) && b.holds(place)) {
                    assert_eq!(common, None, "{a:?} {b:?}: nothing is read where nothing is");
                }
            }
        }
    }

    #[test]
    fn only_one_value_is_a_point() {
        let stretch =
            |low: i64, high: i64| Interval { low: Bound::Included(SortValue::Int(low)), high: Bound::Included(SortValue::Int(high)) };
        assert_eq!(stretch(1, 1).as_point(), Some(&SortValue::Int(1)));
        assert_eq!(stretch(1, 2).as_point(), None);
    }

    #[test]
    fn what_lies_beyond() {
        let holds = |intervals: &[Interval], value: &SortValue| intervals.iter().any(|interval| interval.holds(value));
        let values = [SortValue::Null, SortValue::Real(f64::NEG_INFINITY), SortValue::Int(3), SortValue::Text(String::new())];
        for from in &values {
            for to in &values {
                for descending in [false, true] {
                    let order = if descending { from.cmp(to) } else { to.cmp(from) };
                    assert_eq!(holds(&Interval::beyond(from, descending, false), to), order.is_gt(), "{from:?} {to:?} {descending}");
                    assert_eq!(holds(&Interval::beyond(from, descending, true), to), order.is_ge(), "{from:?} {to:?} {descending}");
                }
            }
        }
    }
}
