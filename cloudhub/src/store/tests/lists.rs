//! Declared indexes of the embedded store: what they cost, and how they follow the definitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::definition::Definition;
use proto::list::walk::{self, Room};
use proto::list::{Ask, Compare, Condition, ListPage, ListQuery, Order, Plan, Position, SortValue};
use rusqlite::{Connection, params_from_iter};

use super::bench::{Bench, Fixture, name};
use super::sqlite::Embedded;
use crate::limits::PAGE_BYTES;
use crate::store::list::scan;
use crate::store::list_source::{Bound, Records};
use crate::store::schema::MIGRATIONS;
use crate::store::{Job, RecordRow, Refused, StoreRead};

const DECLARED: &str = r#"{"indexes":["n","g,-n"]}"#;

fn declared(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'declared%'", [], |row| row.get(0)).unwrap()
}

fn query(sort: &str, conditions: &[(&str, Compare, &str)]) -> ListQuery {
    let conditions = conditions.iter().map(|(field, compare, text)| Condition::new(field, *compare, vec![(*text).to_owned()])).collect();
    ListQuery { conditions, order: Order::parse(sort).unwrap(), ..ListQuery::all(name("things"), 100) }
}

fn plan(query: &ListQuery) -> Plan {
    Plan::choose(query, &Definition::parse(DECLARED).unwrap().index_list()).unwrap()
}

/// A store with a collection of so many records, and a connection that counts the steps of SQLite's machine.
fn things(records: i64) -> (Bench<Embedded>, Connection, Arc<AtomicU64>) {
    let mut bench = Bench::<Embedded>::new();
    bench.define("things", DECLARED);
    let mut raw = bench.fixture.raw();
    let sql = "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ?1) \
        INSERT INTO records (collection, key, revision, born, share, deleted, updated_ms, writer, clocks, value) \
        SELECT (SELECT id FROM collections WHERE name = 'things'), printf('k%07d', i), 1, 1, '', 0, 1, 'cloud:1', x'', \
            json_object('n', (i * 7919) % ?1, 'g', i % 10, 'x', i) FROM c";
    raw.execute(sql, [records]).unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let handler = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    raw.progress_handler(1, Some(handler)).unwrap();
    (bench, raw, count)
}

fn id(conn: &Connection) -> i64 {
    conn.query_row("SELECT id FROM collections WHERE name = 'things'", [], |row| row.get(0)).unwrap()
}

fn page(conn: &Connection, count: &AtomicU64, query: &ListQuery) -> (u64, ListPage<RecordRow>) {
    let mut records = Records { conn, id: id(conn), collection: &query.collection };
    let before = count.load(Ordering::Relaxed);
    let page = walk::page(&mut records, query, &plan(query), Room::new(query.limit, PAGE_BYTES)).unwrap();
    (count.load(Ordering::Relaxed) - before, page)
}

#[test]
fn declared_indexes_serve_filters_and_orders() {
    let (_bench, conn, _) = things(100);
    let is_3 = ("g", Compare::Equal, "3");
    let place = Position::new(vec![SortValue::Int(50)], "k0000007");
    for (query, after) in [
        (query("n", &[]), None),
        (query("-n", &[]), Some(&place)),
        (query("n", &[("n", Compare::Less, "70")]), Some(&place)),
        (query("", &[("n", Compare::Equal, "7")]), None),
        (query("-n", &[is_3]), Some(&place)),
        (query("g,-n", &[]), None),
    ] {
        let plan = plan(&query);
        let columns = plan.columns();
        for segment in plan.runs.iter().flat_map(|run| plan.segments(run, after)) {
            let (tail, bound) = plan.sql(&segment, None);
            let ask = Ask { index: plan.index.as_ref(), columns: &columns, tail: &tail, bound: &bound, limit: 10 };
            let records = Records { conn: &conn, id: id(&conn), collection: &query.collection };
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", records.statement(&ask))).unwrap();
            let rows = statement.query_map(params_from_iter(bound.iter().map(Bound)), |row| row.get::<_, String>(3)).unwrap();
            for line in rows.map(Result::unwrap) {
                assert!(line.contains("INDEX declared_records_") && !line.contains("TEMP B-TREE"), "{query:?}: {line}");
            }
        }
    }
}

/// Not by the clock: a page late in the order takes no more steps than the first one.
#[test]
fn pages_cost_the_same_at_the_end() {
    let records = 30_000;
    let (_bench, conn, count) = things(records);
    for sort in ["n", "-n", "-key", "g,-n"] {
        let mut query = query(sort, &[]);
        let (first, begin) = page(&conn, &count, &query);
        assert_eq!(begin.records.len(), 100);
        query.after = Some(match sort {
            "n" => Position::new(vec![SortValue::Int(records - 200)], "k"),
            "-n" => Position::new(vec![SortValue::Int(200)], "k"),
            "-key" => Position::of_key("k0000200"),
            _ => Position::new(vec![SortValue::Int(9), SortValue::Int(2_000)], "k"),
        });
        let (last, end) = page(&conn, &count, &query);
        assert_eq!(end.records.len(), 100, "{sort}");
        assert!(last < first * 2 && first < 20_000, "{sort}: {last} steps instead of {first}");
    }
}

/// Upwards by key nothing is planned: the statement itself has to seek to where the page or the prefix begins.
#[test]
fn upwards_by_key_pages_cost_the_same_at_the_end() {
    let (_bench, conn, count) = things(30_000);
    let mut query = query("", &[]);
    let steps = |query: &ListQuery| {
        let before = count.load(Ordering::Relaxed);
        let page = scan(&conn, id(&conn), query, Room::new(100, PAGE_BYTES)).unwrap();
        assert!(!page.records.is_empty());
        count.load(Ordering::Relaxed) - before
    };
    let first = steps(&query);
    query.after = Some(Position::of_key("k0029800"));
    let last = steps(&query);
    (query.after, query.prefix) = (None, Some("k00298".to_owned()));
    let prefixed = steps(&query);
    assert!(last < first * 2 && prefixed < first * 2, "{last} and {prefixed} steps instead of {first}");
}

#[test]
fn indexes_follow_the_definition() {
    let mut bench = Bench::<Embedded>::new();
    let raw = bench.fixture.raw();
    bench.define("things", DECLARED);
    bench.define("others", r#"{"indexes":["n"]}"#);
    assert_eq!(declared(&raw), 3);
    bench.define("things", r#"{"indexes":["x"]}"#);
    assert_eq!(declared(&raw), 2);
    for (at, value) in [("a", "{\"x\":3}"), ("b", "{}"), ("c", "{\"x\":\"1\"}"), ("d", "{\"x\":true}")] {
        bench.put("things", at, value);
    }
    bench.delete("things", "b");
    let keys = |bench: &mut Bench<Embedded>, sort: &str| {
        let page = bench.reader().list(&query(sort, &[])).unwrap().unwrap();
        page.records.iter().map(|row| row.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&mut bench, "x"), ["d", "a", "c"]);
    bench.define("things", r#"{"indexes":["x","n"]}"#);
    assert_eq!((keys(&mut bench, "n"), declared(&raw)), (vec!["a".to_owned(), "c".to_owned(), "d".to_owned()], 3));
    bench.restart();
    assert_eq!(keys(&mut bench, "-x"), ["c", "a", "d"]);
    bench.done(Job::DeleteCollection { name: name("things") });
    assert_eq!(declared(&raw), 1);
    assert_eq!(raw.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
}

#[test]
fn a_definition_declares_no_more_than_there_is_room_for() {
    let mut bench = Bench::<Embedded>::new();
    let refused = |bench: &mut Bench<Embedded>, json: &str| match bench.try_define("things", json) {
        Err(Refused::Definition(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(&mut bench, r#"{"indexes":["a\"b"]}"#).contains("indexes: "));
    let many = |from: usize, count: usize| {
        let fields: Vec<_> = (from..from + count).map(|field| format!("\"f{field}\"")).collect();
        format!("{{\"indexes\":[{}]}}", fields.join(","))
    };
    assert!(refused(&mut bench, &many(0, 17)).contains("at most 16"));
    for collection in ["a", "b", "c", "d"] {
        bench.define(collection, &many(0, 16));
    }
    assert!(refused(&mut bench, &many(0, 1)).contains("64 is the most"));
    bench.define("d", &many(0, 15));
    bench.define("things", &many(0, 1));
    bench.define("a", &many(16, 16));
}

/// Format 3 makes what definitions declared before anything took notice of it.
#[test]
fn a_file_of_format_2_gets_its_indexes() {
    let mut fixture = Embedded::new();
    let raw = fixture.raw();
    MIGRATIONS[..2].iter().for_each(|steps| steps.iter().for_each(|step| step.run(&raw).unwrap()));
    raw.execute_batch(
        "PRAGMA application_id = 0x54424c43; PRAGMA user_version = 2;
         INSERT INTO meta (id, head, hlc, created_ms) VALUES (1, 9, 0, 0);
         INSERT INTO collections (id, name, revision, definition) VALUES (7, 'things', 1, '{\"indexes\":[\"n\",\"a\\\"b\",\"n\"]}');
         INSERT INTO records (collection, key, revision, born, share, deleted, updated_ms, writer, clocks, value) VALUES
             (7, 'a', 2, 2, '', 0, 5, 'cloud:2', x'', '{\"n\":2}'), (7, 'b', 3, 2, '', 0, 6, 'cloud:3', x'', '{\"n\":1.5}');",
    )
    .unwrap();
    drop(raw);
    let store = fixture.open(1);
    let mut reader = crate::store::Store::reader(&store).unwrap();
    let page = reader.list(&query("n", &[])).unwrap().unwrap();
    assert_eq!(page.records.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(declared(&fixture.raw()), 1);
}
