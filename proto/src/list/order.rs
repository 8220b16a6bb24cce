//! What comes before what, and the place where a page ended.
//!
//! The order is SQLite's of what `json_extract` makes of a field: absent and null, then numbers and booleans by value
//! (`false` as 0, `true` as 1; whole numbers of 64 bits exactly, all others as the nearest double), then strings by bytes
//! (arrays and objects as their text). Ties go by key.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::index::OrderField;
use crate::limits::{INDEX_FIELDS, LIST_PLACE_BYTES};
use crate::op::{Hash, hash};

/// A field's value as an index holds it.
#[derive(Debug, Clone)]
pub enum SortValue {
    /// Absent or null.
    Null,
    /// A whole number of 64 bits, or a boolean.
    Int(i64),
    /// Any other number.
    Real(f64),
    /// A string; an array or object as its text.
    Text(String),
}

/// 2^63, the first double above all whole numbers of 64 bits.
const ABOVE_INT: f64 = 9_223_372_036_854_775_808.0;

impl SortValue {
    fn kind(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 1,
            Self::Text(_) => 2,
        }
    }
}

impl PartialEq for SortValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortValue {}

impl PartialOrd for SortValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Int(a), Self::Real(b)) => int_real(*a, *b),
            (Self::Real(a), Self::Int(b)) => int_real(*b, *a).reverse(),
            // There is no NaN in JSON, and zero has one sign here.
            (Self::Real(a), Self::Real(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

/// By exact value, as SQLite compares the two.
fn int_real(int: i64, real: f64) -> Ordering {
    if real >= ABOVE_INT {
        return Ordering::Less;
    }
    // What is below them all becomes the least of them, and then is below it.
    let whole = real as i64;
    int.cmp(&whole).then_with(|| (whole as f64).partial_cmp(&real).unwrap_or(Ordering::Equal))
}

/// In which order a list comes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// Fields, the most significant first; none: by key.
    pub fields: Vec<OrderField>,
    /// Whether keys go downwards: where the last field does.
    pub key_descending: bool,
}

/// Why `sort` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OrderError(String);

impl Order {
    /// Reads `FIELD,-FIELD`; `key` may stand last.
    pub fn parse(text: &str) -> Result<Self, OrderError> {
        let mut fields: Vec<OrderField> = Vec::new();
        let mut key: Option<bool> = None;
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let field = OrderField::read(part);
            if key.is_some() {
                return Err(OrderError(format!("sort={text}: nothing can come after key, which no two records share")));
            }
            if field.name.is_empty() {
                return Err(OrderError("sort takes FIELD or -FIELD, several joined by commas; a name is missing".to_string()));
            }
            if field.name == "key" {
                key = Some(field.descending);
            } else if fields.iter().any(|other| other.name == field.name) {
                return Err(OrderError(format!("sort={text} names {} twice", field.name)));
            } else {
                fields.push(field);
            }
        }
        if fields.len() > INDEX_FIELDS {
            return Err(OrderError(format!("sort takes at most {INDEX_FIELDS} fields")));
        }
        let natural = fields.last().map(|last| last.descending);
        if let (Some(natural), Some(key)) = (natural, key)
            && natural != key
        {
            let right = if natural { "-key" } else { "key" };
            return Err(OrderError(format!(
                "sort={text}: records that are equal in all fields go by {right} here; leave key out or write {right}"
            )));
        }
        Ok(Self { fields, key_descending: natural.or(key).unwrap_or(false) })
    }

    /// Compares two places.
    pub fn compare(&self, a: (&[SortValue], &str), b: (&[SortValue], &str)) -> Ordering {
        let fields = self.fields.iter().zip(a.0.iter().zip(b.0));
        let directed = |descending: bool, order: Ordering| if descending { order.reverse() } else { order };
        fields
            .map(|(field, (a, b))| directed(field.descending, a.cmp(b)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| directed(self.key_descending, a.1.cmp(b.1)))
    }
}

impl core::fmt::Display for Order {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for field in &self.fields {
            write!(f, "{field},")?;
        }
        f.write_str(if self.key_descending { "-key" } else { "key" })
    }
}

/// A place in an order: that of a record which need not be there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The values of the order's fields. Of a place that was [`Position::cut`] only those up to the first long string, of
    /// which it is the beginning.
    pub values: Vec<SortValue>,
    /// The key.
    pub key: String,
    /// The values were cut, and had this hash.
    pub cut: Option<Hash>,
}

impl Position {
    /// The place of a record.
    pub fn new(values: Vec<SortValue>, key: &str) -> Self {
        Self { values, key: key.to_string(), cut: None }
    }

    /// In key order.
    pub fn of_key(key: &str) -> Self {
        Self::new(Vec::new(), key)
    }

    /// The hash by which a cut place is known again.
    pub fn hash_of(values: &[SortValue]) -> Hash {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| write_value(&mut bytes, value));
        hash(&bytes)
    }

    /// The place with strings so short that it can travel in a URL.
    fn shortened(&self) -> Self {
        let long = |value: &SortValue| matches!(value, SortValue::Text(text) if text.len() > LIST_PLACE_BYTES);
        let Some(place) = self.values.iter().position(long).filter(|_| self.cut.is_none()) else { return self.clone() };
        let mut values = self.values[..=place].to_vec();
        if let Some(SortValue::Text(text)) = values.last_mut() {
            text.truncate(text.floor_char_boundary(LIST_PLACE_BYTES));
        }
        Self { values, key: self.key.clone(), cut: Some(Self::hash_of(&self.values)) }
    }

    /// As bytes for a token.
    pub fn to_bytes(&self) -> Vec<u8> {
        let short = self.shortened();
        let mut bytes = Vec::new();
        bytes.push(u8::from(short.cut.is_some()));
        bytes.extend(short.cut.iter().flatten());
        bytes.push(short.values.len() as u8);
        short.values.iter().for_each(|value| write_value(&mut bytes, value));
        bytes.extend_from_slice(short.key.as_bytes());
        bytes
    }

    /// Reads a token's bytes; none: they were not made here, or for another order.
    pub fn from_bytes(bytes: &[u8], order: &Order) -> Option<Self> {
        let (cut, mut bytes) = match bytes.split_first()? {
            (0, rest) => (None, rest),
            (1, rest) => rest.split_first_chunk().map(|(hash, rest)| (Some(*hash), rest))?,
            _ => return None,
        };
        let (count, rest) = bytes.split_first()?;
        bytes = rest;
        let mut values = Vec::new();
        for _ in 0..*count {
            let (value, rest) = read_value(bytes)?;
            values.push(value);
            bytes = rest;
        }
        let whole = match (&cut, values.last()) {
            (None, _) => values.len() == order.fields.len(),
            (Some(_), Some(SortValue::Text(_))) => values.len() <= order.fields.len(),
            (Some(_), _) => false,
        };
        let key = core::str::from_utf8(bytes).ok().filter(|_| whole)?;
        Some(Self { values, key: key.to_string(), cut })
    }
}

fn write_value(bytes: &mut Vec<u8>, value: &SortValue) {
    match value {
        SortValue::Null => bytes.push(0),
        SortValue::Int(int) => {
            bytes.push(1);
            bytes.extend_from_slice(&int.to_be_bytes());
        }
        SortValue::Real(real) => {
            bytes.push(2);
            bytes.extend_from_slice(&real.to_be_bytes());
        }
        SortValue::Text(text) => {
            bytes.push(3);
            bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

fn read_value(bytes: &[u8]) -> Option<(SortValue, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    match kind {
        0 => Some((SortValue::Null, rest)),
        1 => rest.split_first_chunk().map(|(int, rest)| (SortValue::Int(i64::from_be_bytes(*int)), rest)),
        2 => rest
            .split_first_chunk()
            .map(|(real, rest)| (f64::from_be_bytes(*real), rest))
            .filter(|(real, _)| !real.is_nan())
            .map(|(real, rest)| (SortValue::Real(real), rest)),
        3 => {
            let (length, rest) = rest.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            Some((SortValue::Text(core::str::from_utf8(text).ok()?.to_string()), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn kinds_and_numbers() {
        let text = |text: &str| SortValue::Text(text.into());
        let rising = [
            SortValue::Null,
            SortValue::Real(f64::NEG_INFINITY),
            SortValue::Real((-ABOVE_INT).next_down()),
            SortValue::Int(i64::MIN),
            SortValue::Real(-0.5),
            SortValue::Int(0),
            SortValue::Real(0.5),
            SortValue::Int(1),
            SortValue::Real(9_007_199_254_740_992.0),
            SortValue::Int(9_007_199_254_740_993),
            SortValue::Int(i64::MAX),
            SortValue::Real(ABOVE_INT),
            text(""),
            text("Z"),
            text("a"),
            text("ä"),
        ];
        for (place, low) in rising.iter().enumerate() {
            for (other, high) in rising.iter().enumerate() {
                assert_eq!(low.cmp(high), place.cmp(&other), "{low:?} {high:?}");
            }
        }
        assert_eq!(SortValue::Int(18), SortValue::Real(18.0));
        assert_eq!(SortValue::Int(i64::MIN), SortValue::Real(-ABOVE_INT));
    }

    #[test]
    fn sort_is_read() {
        let order = Order::parse("CategoryID,-UnitPrice").unwrap();
        assert_eq!((order.to_string().as_str(), order.key_descending), ("CategoryID,-UnitPrice,-key", true));
        assert_eq!(Order::parse("").unwrap(), Order::default());
        assert_eq!(Order::parse("key").unwrap(), Order::default());
        assert!(Order::parse("-key").unwrap().key_descending);
        assert!(Order::parse("-A,-key").is_ok() && Order::parse("a,b,c,d").is_ok());
        for bad in ["A,,B", ",", "-", "A,A", "A,-A", "key,A", "A,-key", "a,b,c,d,e"] {
            assert!(Order::parse(bad).is_err(), "{bad}");
        }
    }

    /// A place that was cut is known again by what was cut off.
    #[test]
    fn places_that_are_cut_alike_differ() {
        let long = |end: &str| SortValue::Text("x".repeat(LIST_PLACE_BYTES) + end);
        let [one, other] = [long("1"), long("2")].map(|value| Position::new(vec![SortValue::Null, value, SortValue::Int(1)], "k"));
        let order = Order::parse("A,B,C").unwrap();
        let [one, other] = [one, other].map(|place| Position::from_bytes(&place.to_bytes(), &order).unwrap());
        assert_eq!((&one.values, &one.key), (&other.values, &other.key));
        assert_ne!(one.cut, other.cut);
        let whole = Position::new(vec![SortValue::Text("x".repeat(LIST_PLACE_BYTES))], "k");
        assert_eq!(Position::from_bytes(&whole.to_bytes(), &Order::parse("A").unwrap()).unwrap(), whole, "no more than fits");
    }

    fn value() -> impl Strategy<Value = SortValue> {
        prop_oneof![
            Just(SortValue::Null),
            any::<i64>().prop_map(SortValue::Int),
            prop::num::f64::NORMAL.prop_map(SortValue::Real),
            "\\PC{0,4}".prop_map(SortValue::Text),
            "ü{300,400}".prop_map(SortValue::Text),
        ]
    }

    proptest! {
        #[test]
        fn places_round_trip(values in prop::collection::vec(value(), 0..4), key in "\\PC{1,20}") {
            let fields = (0..values.len()).map(|place| OrderField::read(&place.to_string())).collect();
            let order = Order { fields, key_descending: false };
            let place = Position::new(values.clone(), &key);
            let read = Position::from_bytes(&place.to_bytes(), &order).unwrap();
            prop_assert_eq!(&read.key, &key);
            match read.cut {
                None => prop_assert_eq!(read, place),
                Some(hash) => {
                    prop_assert_eq!(hash, Position::hash_of(&values));
                    let (SortValue::Text(cut), Some(SortValue::Text(whole))) = (read.values.last().unwrap(), values.get(read.values.len() - 1)) else { panic!() };
                    prop_assert!(whole.starts_with(cut.as_str()) && cut.len() <= LIST_PLACE_BYTES);
                }
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Position::from_bytes(&bytes, &Order::parse("A,B").unwrap());
        }
    }
}
