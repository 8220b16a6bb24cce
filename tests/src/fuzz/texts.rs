//! Texts that applications and operators send: values, definitions, lists, names and tokens.

use api::config::{ByteSize, HostPort, parse_duration};
use proto::definition::Definition;
use proto::ids::{DatabaseId, WriteId};
use proto::index::{Index, index_expression};
use proto::json::{Raw, Value, merge_patch};
use proto::list::{Compare, Condition, Order, Position, SortValue, interval};
use proto::names::{CollectionName, Key, NodeName};
use proto::number::Decimal;
use proto::op::hash;
use proto::schema::Schema;
use rusqlite::types::ValueRef;
use transport::identity::Serial;
use transport::token::{JoinToken, Secret};

use super::Memory;

/// Memory for each byte of a text: an empty member of an object is six bytes of it.
const BY_BYTE: usize = 64;

/// The text's first line, and the rest.
fn line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

/// A record's value; and a patch on it, after the first line.
pub(super) fn value(bytes: &[u8], memory: &Memory) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = memory.within(BY_BYTE * text.len(), || Value::parse(text));
    if let Ok(value) = &parsed {
        let again = value.to_text();
        assert!((0..=1).contains(&(value.text_len() - again.len())), "{again} is bounded as {} bytes", value.text_len());
        assert_eq!(Value::parse(&again).as_ref(), Ok(value), "as it was written");
        assert_eq!(Value::read(&again).as_ref(), Ok(value), "as a store reads it");
        assert!(value.same(value) && value.check_bounds().is_ok());
        let theirs: std::collections::BTreeMap<String, serde::de::IgnoredAny> =
            serde_json::from_str(text.trim()).expect("what we take is JSON");
        assert_eq!(theirs.len(), value.fields().count());
    }
    let (first, second) = line(text);
    let (target, patch) = (Raw::parse(first), Raw::parse(second));
    for raw in [&target, &patch].into_iter().flatten() {
        assert_eq!(Raw::parse(raw.as_str()).as_ref(), Ok(raw), "as it was written");
        assert!(raw.same(raw), "{raw}");
        if let Some(text) = raw.as_text() {
            assert_eq!(Raw::string(&text).as_text().as_deref(), Some(&*text));
        }
    }
    if let Ok(patch) = &patch
        && let Ok(merged) = memory.within(BY_BYTE * text.len(), || merge_patch(target.as_ref().ok(), patch))
        && let Ok(twice) = merge_patch(Some(&merged), patch)
    {
        assert!(twice.same(&merged), "a patch that comes again changes nothing: {merged} and {twice}");
    }
    if target.as_ref().is_ok_and(|raw| raw.as_str() == first) {
        number(first);
    }
}

/// A text that follows JSON's grammar; most are no number.
fn number(text: &str) {
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return;
    }
    let Some(decimal) = Decimal::parse(text) else { return };
    if let (true, Ok(whole)) = (decimal.is_plain(), text.parse::<i64>()) {
        assert_eq!(decimal.to_i64(), Some(whole));
    }
    if let Some(whole) = decimal.to_i64() {
        assert_eq!(Decimal::parse(&whole.to_string()).and_then(|again| again.to_i64()), Some(whole));
    }
}

/// A definition, and after its line a record's value. The line may be a schema alone.
pub(super) fn definition(bytes: &[u8], memory: &Memory) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, second) = line(text);
    let value = Value::parse(second).ok();
    if let Ok(definition) = memory.within(BY_BYTE * text.len(), || Definition::parse(first)) {
        assert_eq!(Definition::parse(&definition.to_json()).as_ref(), Ok(&definition), "as it was written");
        let _ = (definition.tombstone_retention_ms(), definition.partitions(&Default::default()));
        if definition.check_indexes().is_ok() {
            assert_eq!(definition.index_list().len(), definition.indexes.len());
        }
        if let Some(value) = &value {
            let _ = definition.partition_of(value);
            if let Ok(Some(key)) = definition.key_of(value) {
                let mut filled = value.clone();
                definition.fill_key(&key, &mut filled).expect("the key is the value's own");
                assert!(filled.same(value), "nothing was to be filled in");
            }
        }
        definition.schema.iter().for_each(|own| schema(own, value.as_ref()));
    } else if let Ok(own) = serde_json::from_str(first) {
        schema(&own, value.as_ref());
    }
}

fn schema(own: &serde_json::Value, value: Option<&Value>) {
    if let (Ok(schema), Some(value)) = (Schema::compile(own), value) {
        assert_eq!(schema.judge(value), schema.judge(value));
    }
}

/// What a list asks for, a line each: `sort`, an index, a field, an operator, values joined by commas, a record's value, and a place.
pub(super) fn list(bytes: &[u8], memory: &Memory) {
    let mut parts = bytes.splitn(7, |byte| *byte == b'\n');
    let mut text = || parts.next().map(|part| String::from_utf8_lossy(part).into_owned()).unwrap_or_default();
    let (sort, index, field, word, values, value) = (text(), text(), text(), text(), text(), text());
    if let Ok(order) = Order::parse(&sort) {
        assert_eq!(Order::parse(&order.to_string()).as_ref(), Ok(&order), "as it was written");
        let place = parts.next().unwrap_or_default();
        if let Some(position) = memory.within(BY_BYTE * bytes.len(), || Position::from_bytes(place, &order)) {
            assert_eq!(Position::from_bytes(&position.to_bytes(), &order).as_ref(), Some(&position), "as it was written");
        }
    }
    if let Ok(index) = Index::parse(&index) {
        let text = index.fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(Index::parse(&text), Ok(index), "as it was written");
    }
    let Some(compare) = Compare::read(&word) else { return };
    let texts = if compare == Compare::OneOf { values.split(',').map(str::to_owned).collect() } else { vec![values] };
    let condition = Condition::new(&field, compare, texts);
    let (Ok(value), Some(intervals)) = (Value::parse(&value), interval::of_field(std::slice::from_ref(&condition), &field)) else { return };
    if let (true, Some(indexed)) = (condition.matches(&value), indexed(&field, &value)) {
        assert!(intervals.iter().any(|own| own.holds(&indexed)), "{value:?} matches, and the stretches {intervals:?} have no {indexed:?}");
    }
}

/// What an index holds of a field, by SQLite itself; none where the field cannot have an index.
fn indexed(field: &str, value: &Value) -> Option<SortValue> {
    thread_local!(static SQLITE: rusqlite::Connection = rusqlite::Connection::open_in_memory().unwrap());
    let sql = format!("SELECT {} FROM (SELECT ?1 AS value)", index_expression(field)?);
    let read = |row: &rusqlite::Row<'_>| {
        Ok(match row.get_ref(0)? {
            ValueRef::Null => SortValue::Null,
            ValueRef::Integer(int) => SortValue::Int(int),
            ValueRef::Real(real) => SortValue::Real(real),
            ValueRef::Text(text) | ValueRef::Blob(text) => SortValue::Text(String::from_utf8_lossy(text).into_owned()),
        })
    };
    SQLITE.with(|sqlite| Some(sqlite.prepare_cached(&sql).unwrap().query_row([value.to_text()], read).unwrap()))
}

/// Names, ids, tokens, addresses, sizes: whatever is one word.
pub(super) fn names(bytes: &[u8], memory: &Memory) {
    let text = String::from_utf8_lossy(bytes);
    memory.within(BY_BYTE * text.len(), || one_word(&text));
}

fn one_word(text: &str) {
    assert!(CollectionName::parse(text).is_ok_and(|name| name.as_str() == text) || CollectionName::parse(text).is_err());
    assert!(NodeName::parse(text).is_ok_and(|name| name.as_str() == text) || NodeName::parse(text).is_err());
    assert!(Key::parse(text).is_ok_and(|key| key.as_str() == text) || Key::parse(text).is_err());
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap().to_string(), token.to_string());
        assert_eq!(Secret::parse(&token.secret().to_text()).unwrap().hash().0, token.secret().hash().0);
        let _ = (token.expires(), token.ca_sha256(), token.check_expiry(std::time::SystemTime::UNIX_EPOCH), format!("{token:?}"));
    }
    if let Ok(secret) = Secret::parse(text) {
        assert_eq!(secret.to_text(), text);
    }
    if let Ok(id) = text.parse::<WriteId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(id) = text.parse::<DatabaseId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(serial) = text.parse::<Serial>() {
        assert_eq!(serial.to_string().parse::<Serial>().as_ref().map(Serial::as_bytes).ok(), Some(serial.as_bytes()));
    }
    if let Ok(address) = transport::address::HostPort::parse(text, 10_000) {
        let shown = address.to_string();
        assert_eq!(transport::address::HostPort::parse(&shown, 1).map(|again| again.to_string()).ok(), Some(shown));
        let _ = address.server_name();
    }
    if let Ok(address) = text.parse::<HostPort>() {
        let shown = address.authority(10_002);
        assert_eq!(shown.parse::<HostPort>().map(|again| again.authority(1)).ok(), Some(shown.clone()), "{text}");
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
    }
    let _ = (parse_duration(text), proto::definition::duration_ms(text), hash(text.as_bytes()));
}
