use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec;
use core::cmp::Ordering;

use proptest::prelude::*;

use super::super::memory::{Memory, Ran, Row};
use super::*;
use crate::index::OrderField;
use crate::limits::LIST_PLACE_BYTES;
use crate::list::{Compare, Condition};
use crate::names::{CollectionName, Key};

const INDEXES: [&str; 6] = ["A", "-B", "A,-B", "B,C", "C,A,B", "-C,A"];
const SORTS: [&str; 16] =
    ["", "-key", "A", "-A", "B", "-B", "A,-B", "-A,B", "B,C", "-B,-C", "C,A,B", "-C,-A,-B", "-C,A", "C,-A", "A,-B,-key", "A,key"];
const VALUES: [&str; 15] =
    ["null", "true", "false", "0", "1", "1.0", "2", "-3", "2.5", r#""""#, r#""1""#, r#""a""#, r#""b""#, r#""true""#, "[1]"];

fn long(end: &str) -> String {
    format!("\"{}{end}\"", "ü".repeat(LIST_PLACE_BYTES / 2))
}

fn query(sort: &str, limit: usize) -> ListQuery {
    let all = ListQuery::all(CollectionName::parse("things").unwrap(), limit);
    ListQuery { order: Order::parse(sort).unwrap(), ..all }
}

fn declared() -> Vec<Index> {
    INDEXES.iter().map(|text| Index::parse(text).unwrap()).collect()
}

fn is(field: &str, compare: Compare, texts: &[&str]) -> Condition {
    Condition::new(field, compare, texts.iter().map(|text| (*text).to_owned()).collect())
}

fn one_page(store: &mut Memory, query: &ListQuery, room: Room) -> ListPage<Row> {
    let plan = Plan::choose(query, &declared()).unwrap();
    page(store, query, &plan, room).unwrap_or_else(|never| match never {})
}

fn keys(page: &ListPage<Row>) -> Vec<&str> {
    page.records.iter().map(|(key, _)| key.as_str()).collect()
}

/// A field as lists sort it: nothing, numbers, texts.
fn sorts(text: &str, field: &str) -> (u8, f64, String) {
    let value = Value::read(text).unwrap();
    let Some(raw) = value.get(field) else { return (0, 0.0, String::new()) };
    match (raw.as_str(), raw.as_text()) {
        ("null", _) => (0, 0.0, String::new()),
        ("true", _) => (1, 1.0, String::new()),
        ("false", _) => (1, 0.0, String::new()),
        (_, Some(text)) => (2, 0.0, text.into_owned()),
        ("[1]", _) => (2, 0.0, "[1]".to_owned()),
        (number, _) => (1, number.parse().unwrap(), String::new()),
    }
}

fn directed(descending: bool, order: Ordering) -> Ordering {
    if descending { order.reverse() } else { order }
}

fn compare(order: &Order, a: &Row, b: &Row) -> Ordering {
    let fields = order
        .fields
        .iter()
        .map(|field| directed(field.descending, sorts(&a.1, &field.name).partial_cmp(&sorts(&b.1, &field.name)).unwrap()));
    fields.fold(Ordering::Equal, Ordering::then).then_with(|| directed(order.key_descending, a.0.cmp(&b.0)))
}

/// What a list promises: every record, filtered and sorted.
fn plain(store: &Memory, query: &ListQuery) -> Vec<Row> {
    let mut all = store.all();
    all.retain(|(key, text)| {
        let value = Value::read(text).unwrap();
        query.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
            && (query.keys.is_empty() || query.keys.iter().any(|own| own.as_str() == key))
            && query.conditions.iter().all(|condition| condition.matches(&value))
    });
    all.sort_by(|a, b| compare(&query.order, a, b));
    all
}

/// Every page, with each place as it travels. All but the last are full, because nothing else ends a page here.
fn pages(store: &mut Memory, query: &ListQuery) -> Vec<Row> {
    let (mut all, mut query) = (Vec::new(), query.clone());
    loop {
        store.begin();
        let page = one_page(store, &query, Room::new(query.limit, usize::MAX));
        let full = page.records.len() == query.limit;
        assert!(full || page.next.is_none() && page.records.len() < query.limit, "{query:?} gave {:?}", keys(&page));
        if query.conditions.is_empty() {
            let whole = page.records.last().map(|(key, _)| key) == page.next.as_ref().map(|next| &next.key);
            assert!(whole || page.next.is_none(), "{query:?} ends after its last record");
        }
        let most = query.limit.saturating_add(1);
        assert!(store.ran.iter().all(|ran| ran.limit <= most || query.order.fields.is_empty()), "{query:?} ran {:?}", store.ran);
        all.extend(page.records);
        let Some(next) = page.next else { return all };
        let read = Position::from_bytes(&next.to_bytes(), &query.order).unwrap();
        assert_ne!(query.after.as_ref(), Some(&read), "{query:?} does not go on");
        query.after = Some(read);
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&["0", "1", "2"][..]).prop_map(str::to_owned),
        4 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        1 => prop::sample::select(&["1", "2"][..]).prop_map(long),
    ]
}

fn record() -> impl Strategy<Value = String> {
    let field = || prop::option::weighted(0.8, value());
    (field(), field(), field()).prop_map(|fields| {
        let named = ["A", "B", "C"].into_iter().zip(<[_; 3]>::from(fields));
        let members = named.filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

fn key() -> impl Strategy<Value = String> {
    (0..3_u8, 0..8_u8).prop_map(|(a, b)| format!("k{a}{b}"))
}

prop_compose! {
    fn store()(
        base in prop::collection::btree_map(key(), record(), 0..24),
        overlay in prop::collection::btree_map(key(), prop::option::weighted(0.7, record()), 0..8),
        stops in prop::option::weighted(0.2, 1..3_usize),
    ) -> Memory {
        let mut store = Memory::default();
        store.stops = stops;
        base.iter().for_each(|(key, text)| store.put(key, text));
        overlay.iter().for_each(|(key, text)| store.lay(key, text.as_deref()));
        store
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let text = value().prop_map(|json| json.strip_prefix('"').map_or(json.clone(), |rest| rest.trim_end_matches('"').to_owned()));
    let words = prop::sample::select(&["", "", "in", "in", "ne", "lt", "lte", "gt", "gte"][..]);
    (prop::sample::select(&["A", "B", "C"][..]), words, prop::collection::vec(text, 1..4)).prop_map(|(field, word, mut texts)| {
        let compare = Compare::read(word).unwrap_or(Compare::Equal);
        texts.truncate(if compare == Compare::OneOf { texts.len() } else { 1 });
        Condition::new(field, compare, texts)
    })
}

prop_compose! {
    fn asked()(
        sort in prop::sample::select(&SORTS[..]),
        limit in 1..6_usize,
        prefix in prop::option::weighted(0.2, 0..3_u8),
        named in prop::collection::vec(key(), 1..8),
        names in prop::bool::weighted(0.15),
        conditions in prop::collection::vec(condition(), 0..3),
    ) -> ListQuery {
        let keys = if names { named.iter().map(|key| Key::parse(key).unwrap()).collect() } else { Vec::new() };
        ListQuery { prefix: prefix.map(|a| format!("k{a}")), keys, conditions, ..query(sort.trim_end_matches(",key"), limit) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever the records and the list: its pages, one after the other, are all records filtered and sorted.
    #[test]
    fn pages_are_a_filter_and_a_sort(mut store in store(), query in asked()) {
        let wanted = plain(&store, &query);
        prop_assert_eq!(pages(&mut store, &query), wanted);
    }
}

/// A list goes on after a place whose record is gone: with what comes after it, and where the place was cut, with what may.
#[test]
fn a_list_goes_on_where_a_record_went() {
    let values = ["null", "0", "1", "1", "\"a\"", "\"b\"", &long("1"), &long("1"), &long("2"), "\"v\""].map(ToOwned::to_owned);
    let mut all = Vec::new();
    for (a_place, a) in values.iter().enumerate() {
        for (b_place, b) in values.iter().enumerate().filter(|(place, _)| (place + a_place) % 3 != 0) {
            all.push((format!("k{a_place}{b_place}"), format!("{{\"A\":{a},\"B\":{b},\"C\":{}}}", b_place % 2)));
        }
    }
    let mut store = Memory::default();
    all.iter().for_each(|(key, text)| store.put(key, text));
    let lists = [
        ("A", vec![]),
        ("-A", vec![]),
        ("A,-B", vec![]),
        ("-A,B", vec![]),
        ("C,A,B", vec![]),
        ("-C,-A,-B", vec![]),
        ("A,B", vec![is("C", Compare::Equal, &["1"])]),
        ("-A,-B", vec![is("C", Compare::Equal, &["1"]), is("A", Compare::GreaterOrEqual, &["a"])]),
        ("A,-B", vec![is("A", Compare::LessOrEqual, &["b"])]),
        ("-A,B", vec![is("A", Compare::OneOf, &["null", "1", "a"])]),
        ("", vec![is("A", Compare::Greater, &["0"])]),
        ("-key", vec![is("B", Compare::OneOf, &["1", "a"])]),
    ];
    for (sort, conditions) in lists {
        let list = ListQuery { conditions, ..query(sort, 7) };
        let order = &list.order;
        for gone in all.iter().step_by(5) {
            let value = Value::read(&gone.1).unwrap();
            let place = Position::new(order.fields.iter().map(|field| crate::list::memory::held(&value, &field.name)).collect(), &gone.0);
            let place = Position::from_bytes(&place.to_bytes(), order).unwrap();
            store.remove(&gone.0);
            let mut wanted = plain(&store, &list);
            // Of a string that was cut all come again that begin alike, whatever their last fields and keys are.
            let alike = |row: &Row| {
                let same = |field: &&OrderField| {
                    sorts(&row.1, &field.name).2.get(..LIST_PLACE_BYTES) == sorts(&gone.1, &field.name).2.get(..LIST_PLACE_BYTES)
                };
                place.cut.is_some() && {
                    let (last, before) = order.fields[..place.values.len()].split_last().unwrap();
                    before.iter().all(|field| sorts(&row.1, &field.name) == sorts(&gone.1, &field.name)) && same(&last)
                }
            };
            wanted.retain(|row| compare(order, row, gone).is_gt() || alike(row));
            let found = pages(&mut store, &ListQuery { after: Some(place.clone()), ..list.clone() });
            assert_eq!(found, wanted, "{sort} after {place:?}");
            store.put(&gone.0, &gone.1);
        }
    }
}

/// A place that was cut is no place any more once its record has another value; what begins alike comes again.
#[test]
fn a_record_that_changed_behind_a_cut_place_is_not_taken_for_it() {
    let mut store = Memory::default();
    ["1", "2", "3"].into_iter().zip(["a", "b", "c"]).for_each(|(end, key)| store.put(key, &format!("{{\"A\":{}}}", long(end))));
    let first = one_page(&mut store, &query("A", 2), Room::new(2, usize::MAX));
    assert_eq!(keys(&first), ["a", "b"]);
    let travelled = Position::from_bytes(&first.next.unwrap().to_bytes(), &query("A", 2).order);
    assert!(travelled.as_ref().unwrap().cut.is_some());
    let on = ListQuery { after: travelled, ..query("A", 9) };
    assert_eq!(keys(&one_page(&mut store, &on, Room::new(9, usize::MAX))), ["c"]);
    store.put("b", &format!("{{\"A\":{}}}", long("9")));
    assert_eq!(keys(&one_page(&mut store, &on, Room::new(9, usize::MAX))), ["a", "c", "b"]);
    let named = ["a", "c"].map(|key| Key::parse(key).unwrap());
    let named = ListQuery { keys: named.to_vec(), ..on };
    assert_eq!(keys(&one_page(&mut store, &named, Room::new(9, usize::MAX))), ["a", "c"]);
}

fn numbered(count: usize) -> Memory {
    let mut store = Memory::default();
    (0..count).for_each(|n| store.put(&format!("k{n:05}"), &format!("{{\"A\":{},\"B\":{}}}", n % 7, n % 2)));
    store
}

/// A page costs what it holds: as many records as it has, and one entry more of each stretch that it reads from.
#[test]
fn a_page_reads_no_more_than_it_holds() {
    let mut store = numbered(700);
    for (sort, conditions, statements) in [
        ("", vec![], 2),
        ("-key", vec![], 2),
        // Nothing has no A; then those that have, in either table.
        ("A", vec![], 4),
        ("-B", vec![], 3),
        // One stretch: no condition is left that an entry does not fulfil.
        ("", vec![is("A", Compare::Equal, &["3"])], 4),
        ("A,-B", vec![is("A", Compare::GreaterOrEqual, &["3"])], 3),
    ] {
        store.begin();
        let list = ListQuery { conditions, ..query(sort, 10) };
        let found = one_page(&mut store, &list, Room::new(10, usize::MAX));
        assert_eq!((found.records.len(), found.next.is_some()), (10, true), "{list:?}");
        assert_eq!(store.read.len(), 10, "{list:?}");
        assert!(store.ran.iter().all(|ran| ran.limit == 11 && ran.gave <= 11), "{list:?} {:?}", store.ran);
        assert!(store.ran.len() <= statements, "{list:?} {:?}", store.ran);
    }
    // A large page is fetched in stretches, from many places in smaller ones.
    let texts: Vec<_> = (0..7).map(|n| n.to_string()).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    for (conditions, most) in
        [(vec![], FETCH), (vec![is("A", Compare::OneOf, &texts)], FETCH_OF_MANY), (vec![is("A", Compare::Equal, &["x"])], FETCH)]
    {
        store.begin();
        one_page(&mut store, &ListQuery { conditions, ..query("", 500) }, Room::new(500, usize::MAX));
        assert!(!store.ran.is_empty() && store.ran.iter().all(|ran| ran.limit == most), "{most} {:?}", store.ran);
    }
}

/// What was read to its end is not asked again.
#[test]
fn a_list_that_ends_asks_once() {
    let mut store = numbered(5);
    for (sort, gave) in [("", &[5, 0][..]), ("A", &[0, 5, 0, 0]), ("-B", &[5, 0, 0, 0])] {
        store.begin();
        assert_eq!(one_page(&mut store, &query(sort, 9), Room::new(9, usize::MAX)).next, None);
        let mut ran: Vec<_> = store.ran.iter().map(|ran| ran.gave).collect();
        ran.sort_unstable();
        let mut gave = gave.to_vec();
        gave.sort_unstable();
        assert_eq!(ran, gave, "{sort}: {:?}", store.ran);
    }
    // Going down, numbers lie behind all texts.
    for (sort, place) in [("-A", vec![SortValue::Int(3)]), ("-A,B", vec![SortValue::Int(3), SortValue::Int(1)])] {
        let after = Some(Position::new(place, "k00003"));
        let list = ListQuery { conditions: vec![is("A", Compare::GreaterOrEqual, &["x"])], after, ..query(sort, 9) };
        store.begin();
        assert_eq!(keys(&one_page(&mut store, &list, Room::new(9, usize::MAX))), [""; 0]);
        assert_eq!(store.ran, [], "{sort}: the place lies behind all that the condition leaves");
    }
}

#[test]
fn a_page_has_room_for_so_many_records_bytes_and_looks() {
    let mut room = Room::new(2, 10);
    assert!(room.look(0) && room.look(1) && !room.look(2) && !room.look(3));
    assert!(room.take(0, 4) && room.take(1, 5) && room.take(2, 1), "ten bytes are there");
    assert!(room.take(3, 0) && !room.take(3, 1), "and no more");
    let mut room = Room::new(2, 10);
    assert!(room.take(0, 11), "one record is always taken");
    assert!(room.take(1, 0) && !room.take(1, 1));
    let mut room = Room::new(1, 0);
    assert_eq!((0..LIST_LOOKS + 9).filter(|_| room.look(0)).count(), LIST_LOOKS);
    assert!(!Room::new(0, 10).look(0));
}

/// A page that ends for its looks or its bytes goes on with what it did not take.
#[test]
fn a_page_that_ends_early_loses_nothing() {
    let mut store = numbered(40);
    for conditions in [vec![], vec![is("B", Compare::NotEqual, &["0"])], vec![is("A", Compare::Greater, &["3"])]] {
        for sort in ["", "-key", "A", "-A,B"] {
            let list = ListQuery { conditions: conditions.clone(), ..query(sort, 9) };
            let wanted = plain(&store, &list);
            for (bytes, looks) in [(usize::MAX, 3), (30, LIST_LOOKS), (0, LIST_LOOKS)] {
                let (mut all, mut after) = (Vec::new(), None);
                loop {
                    let list = ListQuery { after: after.clone(), ..list.clone() };
                    let page = one_page(&mut store, &list, Room { limit: 9, bytes, looks });
                    assert!(page.records.len() <= if bytes < 30 { 1 } else { 3 }, "{list:?}");
                    all.extend(page.records);
                    assert_ne!(page.next, after);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(all, wanted, "{list:?}");
            }
        }
    }
}

/// In key order an index's stretches are gathered while they are few; beyond that the collection is read in key order.
#[test]
fn only_so_many_entries_are_gathered() {
    for (base, laid, gathered) in [
        (LIST_GATHERED - 1, 0, true),
        (LIST_GATHERED, 0, true),
        (LIST_GATHERED + 1, 0, false),
        (LIST_GATHERED * 3 / 5, LIST_GATHERED * 2 / 5, true),
        (LIST_GATHERED * 3 / 5, LIST_GATHERED * 2 / 5 + 1, false),
    ] {
        let mut store = Memory::default();
        (0..base).for_each(|n| store.put(&format!("k{n:05}"), "{\"A\":1}"));
        (0..laid).for_each(|n| store.lay(&format!("l{n:05}"), Some("{\"A\":1}")));
        let last = if laid == 0 { format!("k{:05}", base - 1) } else { format!("l{:05}", laid - 1) };
        let conditions = vec![is("A", Compare::Greater, &["0"])];
        let found = one_page(&mut store, &ListQuery { conditions, ..query("-key", 1) }, Room::new(1, usize::MAX));
        assert_eq!(keys(&found), [last], "{base} and {laid}");
        let by_key = store.ran.iter().filter(|ran| ran.index.is_none()).count();
        assert_eq!(by_key == 0, gathered, "{base} and {laid}: {:?}", store.ran);
        assert!(store.ran.iter().all(|ran: &Ran| ran.limit <= LIST_GATHERED + 1), "{:?}", store.ran);
    }
}
