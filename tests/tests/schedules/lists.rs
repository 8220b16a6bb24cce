//! Lists of both stores against the plain reading of what they promise: every record, filtered and sorted in memory.

use std::cmp::Ordering;

use cloudhub::store::StoreRead;
use proto::json::{Raw, Value};
use proto::list::{Compare, Condition, ListQuery, Order, Position};
use tests::lab::Lab;
use tests::lab::dice::Dice;
use tests::lab::words::{collection, delete, key, put};

const DEFINITION: &str = r#"{"indexes":["A","-B","A,-B","B,C","Q"]}"#;

/// What SQLite's JSON functions, doubles and collations confuse.
const NASTY: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "18",
    "18.0",
    "1.8e1",
    "-3",
    "0.1",
    "0.10",
    "0.1000000000000000055511151231257827",
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0",
    "9223372036854775807",
    "9223372036854775808",
    "1e23",
    "1e400",
    "-1e400",
    "1e-400",
    "5e-324",
    "123456789012345678901234567890",
    r#""""#,
    r#""1""#,
    r#""18""#,
    r#""a""#,
    r#""A""#,
    r#""ä""#,
    r#""a,b""#,
    r#""true""#,
    r#""null""#,
    r#""a\u0000b""#,
    r#""\ud83d\ude00""#,
    "[]",
    "[1,2]",
    r#"{"x":null}"#,
    "LONG-1",
    "LONG-2",
];

fn nasty(dice: &mut Dice) -> String {
    match dice.pick(NASTY) {
        "LONG-1" => format!("\"{}1\"", "ü".repeat(400)),
        "LONG-2" => format!("\"{}2\"", "ü".repeat(400)),
        other => other.to_owned(),
    }
}

fn record(dice: &mut Dice) -> String {
    let fields = ["A", "B", "C", "D", "Q"].map(|field| (field, dice.below(5) > 0));
    let few = dice.one_in(2);
    let members = fields.into_iter().filter(|(_, there)| *there).map(|(field, _)| {
        let value = if few { dice.below(3).to_string() } else { nasty(dice) };
        format!("\"{field}\":{value}")
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// A field as it sorts: absent and null, numbers and booleans, texts.
#[derive(Debug, Clone, PartialEq)]
enum Sorts {
    Nothing,
    Whole(i64),
    Double(f64),
    Text(String),
}

fn sorts(value: &Value, field: &str) -> Sorts {
    let Some(raw) = value.get(field) else { return Sorts::Nothing };
    match (raw.as_str(), raw.as_text()) {
        ("null", _) => Sorts::Nothing,
        ("true", _) => Sorts::Whole(1),
        ("false", _) => Sorts::Whole(0),
        (_, Some(text)) => Sorts::Text(text.into_owned()),
        (text, None) if text.starts_with(['[', '{']) => Sorts::Text(text.to_owned()),
        (text, None) => text.parse().map(Sorts::Whole).unwrap_or_else(|_| Sorts::Double(text.parse().unwrap())),
    }
}

fn compare(a: &Sorts, b: &Sorts) -> Ordering {
    let kind = |value: &Sorts| match value {
        Sorts::Nothing => 0,
        Sorts::Whole(_) | Sorts::Double(_) => 1,
        Sorts::Text(_) => 2,
    };
    match (a, b) {
        (Sorts::Whole(a), Sorts::Whole(b)) => a.cmp(b),
        (Sorts::Double(a), Sorts::Double(b)) => a.partial_cmp(b).unwrap(),
        (Sorts::Whole(a), Sorts::Double(b)) => whole_double(*a, *b),
        (Sorts::Double(a), Sorts::Whole(b)) => whole_double(*b, *a).reverse(),
        (Sorts::Text(a), Sorts::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => kind(a).cmp(&kind(b)),
    }
}

fn whole_double(a: i64, b: f64) -> Ordering {
    // No double of the pool is so near to a whole one that this matters, but those below 2^63, which are whole.
    if b.abs() < 9.3e18 && b.fract() == 0.0 { i128::from(a).cmp(&(b as i128)) } else { (a as f64).partial_cmp(&b).unwrap() }
}

fn plain(all: &[(String, String)], query: &ListQuery) -> Vec<String> {
    let mut found: Vec<_> = all.iter().map(|(key, text)| (key, Value::read(text).unwrap())).collect();
    found.retain(|(key, value)| {
        query.starts(key)
            && (query.keys.is_empty() || query.keys.iter().any(|own| own.as_str() == *key))
            && query.conditions.iter().all(|condition| condition.matches(value))
    });
    found.sort_by(|(a_key, a), (b_key, b)| {
        let directed = |descending: bool, order: Ordering| if descending { order.reverse() } else { order };
        let by_fields =
            query.order.fields.iter().map(|field| directed(field.descending, compare(&sorts(a, &field.name), &sorts(b, &field.name))));
        by_fields.fold(Ordering::Equal, Ordering::then).then_with(|| directed(query.order.key_descending, a_key.cmp(b_key)))
    });
    found.into_iter().map(|(key, _)| key.clone()).collect()
}

/// Every page of a list.
fn pages(query: &ListQuery, mut page: impl FnMut(&ListQuery) -> (Vec<String>, Option<Position>)) -> Vec<String> {
    let (mut all, mut query) = (Vec::new(), query.clone());
    loop {
        let (keys, next) = page(&query);
        assert!(keys.len() <= query.limit);
        all.extend(keys);
        let Some(next) = next else { return all };
        // As it travels: cut where it is long.
        let read = Position::from_bytes(&next.to_bytes(), &query.order).unwrap();
        assert_ne!(query.after.as_ref(), Some(&read), "{query:?} does not go on");
        query.after = Some(read);
    }
}

fn condition(dice: &mut Dice) -> Condition {
    let text = |dice: &mut Dice| {
        let json = if dice.one_in(2) { dice.below(3).to_string() } else { nasty(dice) };
        Raw::parse(&json).unwrap().as_text().map(|text| text.into_owned()).unwrap_or(json)
    };
    let compare = dice.pick(&[
        Compare::Equal,
        Compare::Equal,
        Compare::NotEqual,
        Compare::Less,
        Compare::LessOrEqual,
        Compare::Greater,
        Compare::GreaterOrEqual,
        Compare::OneOf,
    ]);
    let count = if compare == Compare::OneOf { 1 + dice.below(4) } else { 1 };
    Condition::new(dice.pick(&["A", "A", "B", "C", "D", "Q"]), compare, (0..count).map(|_| text(dice)).collect())
}

fn query(dice: &mut Dice) -> ListQuery {
    let sorts = ["", "", "key", "-key", "A", "-A", "B", "-B", "A,-B", "-A,B", "B,C", "-B,-C", "Q", "-Q", "A,-B,-key", "C", "A,B"];
    let keys = if dice.one_in(6) { (0..20).map(|_| key(&format!("k{:02}", dice.below(90)))).collect() } else { Vec::new() };
    ListQuery {
        prefix: dice.one_in(5).then(|| format!("k{}", dice.below(9))),
        keys,
        conditions: (0..dice.below(3)).map(|_| condition(dice)).collect(),
        order: Order::parse(dice.pick(&sorts)).unwrap(),
        ..ListQuery::all(collection("things"), 1 + dice.below(12) as usize)
    }
}

fn served(query: &ListQuery) -> bool {
    let order = query.order.to_string();
    let named = |text: &str| {
        query.conditions.iter().any(|condition| condition.field() == text && matches!(condition.compare(), Compare::Equal | Compare::OneOf))
    };
    match order.as_str() {
        "C,key" => named("B"),
        "A,B,key" => false,
        _ => true,
    }
}

/// Whatever the records, the pending writes, the list and its pages are: both stores answer what a plain filter and sort of
/// all records answer.
#[test]
fn lists_are_a_filter_and_a_sort() {
    for seed in 0..8 {
        let mut dice = Dice::new(seed);
        let mut lab = Lab::with(&[("things", DEFINITION)], &["lyon"]);
        for _ in 0..8 {
            lab.in_cloud((0..10).map(|_| put("things", &format!("k{:02}", dice.below(90)), &record(&mut dice))).collect());
        }
        lab.converge(10_000);
        lab.online(0, false);
        for _ in 0..20 {
            let id = format!("k{:02}", dice.below(90));
            let op = if dice.one_in(4) { delete("things", &id, false) } else { put("things", &id, &record(&mut dice)) };
            let _ = lab.try_write(0, vec![op]);
        }
        let seen: Vec<_> = lab.edges[0].all(&collection("things")).into_iter().map(|row| (row.key.to_string(), row.value)).collect();
        let held: Vec<_> = lab.cloud.all("things").into_iter().map(|row| (row.key.to_string(), row.value)).collect();
        assert_ne!(seen, held);
        for round in 0..150 {
            let query = query(&mut dice);
            let said = format!("seed {seed}, round {round}: {query:?}");
            if !served(&query) {
                let error = lab.edges[0].reader().list(&query).unwrap_err().to_string();
                assert!(error.contains("indexes = [\"A\", \"-B\", \"A,-B\", \"B,C\", \"Q\", "), "{error}");
                assert_eq!(lab.cloud.reader().list(&query).unwrap().unwrap_err().to_string(), error);
                continue;
            }
            let edge = pages(&query, |query| {
                let page = lab.edges[0].reader().list(query).unwrap();
                (page.records.iter().map(|row| row.key.to_string()).collect(), page.next)
            });
            assert_eq!(edge, plain(&seen, &query), "edge, {said}");
            let cloud = pages(&query, |query| {
                let page = lab.cloud.reader().list(query).unwrap().unwrap();
                (page.records.iter().map(|row| row.key.to_string()).collect(), page.next)
            });
            assert_eq!(cloud, plain(&held, &query), "cloud, {said}");
        }
    }
}
