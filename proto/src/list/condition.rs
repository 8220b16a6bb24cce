//! Conditions on fields, judged exactly on a record's value.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::json::{Raw, Value};
use crate::number::Decimal;

/// How a field is compared with the values of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `FIELD=VALUE`.
    Equal,
    /// `[ne]`: it is there, not null, and another.
    NotEqual,
    /// `[lt]`.
    Less,
    /// `[lte]`.
    LessOrEqual,
    /// `[gt]`.
    Greater,
    /// `[gte]`.
    GreaterOrEqual,
    /// `[in]`: one of several.
    OneOf,
}

impl Compare {
    /// The operators as they are written between brackets.
    pub const WORDS: [&'static str; 6] = ["lt", "lte", "gt", "gte", "ne", "in"];

    /// Reads what stands between brackets.
    pub fn read(word: &str) -> Option<Self> {
        match word {
            "lt" => Some(Self::Less),
            "lte" => Some(Self::LessOrEqual),
            "gt" => Some(Self::Greater),
            "gte" => Some(Self::GreaterOrEqual),
            "ne" => Some(Self::NotEqual),
            "in" => Some(Self::OneOf),
            _ => None,
        }
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal | Self::OneOf => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A text to compare with, and what else it spells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) text: String,
    /// The JSON number, `true`, `false` or `null` that the text spells.
    pub(crate) spelt: Option<Raw>,
    pub(crate) number: Option<Decimal>,
}

impl Operand {
    fn new(text: String) -> Self {
        let scalar = text.starts_with(['-', 't', 'f', 'n', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        let spelt = scalar.then(|| Raw::parse(&text).ok()).flatten().filter(|raw| raw.as_str() == text);
        let number = spelt.as_ref().filter(|raw| is_number(raw)).and_then(|raw| Decimal::parse(raw.as_str()));
        Self { text, spelt, number }
    }

    fn is(&self, raw: &Raw) -> bool {
        match raw.as_text() {
            Some(text) => text == self.text,
            None => self.spelt.as_ref().is_some_and(|spelt| spelt.same(raw)),
        }
    }

    /// How a field's value stands to this one; none: they cannot be compared.
    fn order_of(&self, raw: &Raw) -> Option<Ordering> {
        match raw.as_text() {
            Some(text) => Some(text.as_bytes().cmp(self.text.as_bytes())),
            None if is_number(raw) => Some(Decimal::parse(raw.as_str())?.cmp(self.number.as_ref()?)),
            None => None,
        }
    }
}

fn is_number(raw: &Raw) -> bool {
    raw.as_str().starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
}

/// A condition on one top-level field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub(crate) field: String,
    pub(crate) compare: Compare,
    pub(crate) values: Vec<Operand>,
}

impl Condition {
    /// A field compared with one text, or for [`Compare::OneOf`] with several.
    pub fn new(field: &str, compare: Compare, texts: Vec<String>) -> Self {
        Self { field: field.to_string(), compare, values: texts.into_iter().map(Operand::new).collect() }
    }

    /// The field.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The operator.
    pub fn compare(&self) -> Compare {
        self.compare
    }

    /// The texts that the field is compared with.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| value.text.as_str())
    }

    /// Whether a record's value fulfils it. A field that is not there fulfils none.
    pub fn matches(&self, value: &Value) -> bool {
        let Some(raw) = value.get(&self.field) else { return false };
        match self.compare {
            Compare::Equal | Compare::OneOf => self.values.iter().any(|own| own.is(raw)),
            Compare::NotEqual => raw.as_str() != "null" && !self.values.iter().any(|own| own.is(raw)),
            compare => self.values.iter().any(|own| own.order_of(raw).is_some_and(|order| compare.holds(order))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::format;

    fn holds(compare: Compare, texts: &[&str], field: &str) -> bool {
        let value = Value::parse(&format!("{{\"f\":{field}}}")).unwrap();
        Condition::new("f", compare, texts.iter().map(ToString::to_string).collect()).matches(&value)
    }

    #[test]
    fn a_text_is_a_string_or_what_it_spells() {
        for (text, field) in [("18", "\"18\""), ("18", "18.0"), ("1.8e1", "18"), ("true", "true"), ("null", "null"), ("", "\"\"")] {
            assert!(holds(Compare::Equal, &[text], field), "{text} {field}");
            assert!(!holds(Compare::NotEqual, &[text], field), "{text} {field}");
        }
        for (text, field) in
            [("1", "true"), ("0", "false"), ("9007199254740993", "9007199254740992"), ("[1]", "[1]"), ("", "null"), ("01", "1")]
        {
            assert!(!holds(Compare::Equal, &[text], field), "{text} {field}");
        }
        assert!(holds(Compare::OneOf, &["1", "a,b"], "\"a,b\""));
    }

    #[test]
    fn words_say_how_a_field_stands_to_a_value() {
        let below_same_above = |compare: Compare| ["4", "5.0", "6"].map(|field| holds(compare, &["5"], field));
        for (word, holds) in [
            ("lt", [true, false, false]),
            ("lte", [true, true, false]),
            ("gt", [false, false, true]),
            ("gte", [false, true, true]),
            ("ne", [true, false, true]),
            ("in", [false, true, false]),
        ] {
            assert!(Compare::WORDS.contains(&word), "{word}");
            assert_eq!(below_same_above(Compare::read(word).unwrap()), holds, "{word}");
        }
        assert_eq!(below_same_above(Compare::Equal), [false, true, false]);
        assert_eq!((Compare::read("eq"), Compare::read("LT"), Compare::read("")), (None, None, None));
    }

    #[test]
    fn what_is_compared_is_of_one_kind() {
        for (compare, text, field) in [
            (Compare::Less, "10", "9"),
            (Compare::Less, "10", "\"1\""),
            (Compare::Greater, "9007199254740992", "9007199254740993"),
            (Compare::GreaterOrEqual, "2026-01-01", "\"2026-01-01T00:00\""),
            (Compare::LessOrEqual, "18.0", "18"),
        ] {
            assert!(holds(compare, &[text], field), "{text} {field}");
        }
        for (compare, text, field) in [
            (Compare::Less, "10", "null"),
            (Compare::Less, "10", "true"),
            (Compare::Less, "x", "9"),
            (Compare::Greater, "1", "[2]"),
            (Compare::NotEqual, "1", "null"),
        ] {
            assert!(!holds(compare, &[text], field), "{text} {field}");
        }
        let absent = Value::parse("{}").unwrap();
        assert!(!Condition::new("f", Compare::NotEqual, alloc::vec!["1".into()]).matches(&absent));
    }
}
