//! What lists cost: which index each is read from, and how many steps of SQLite's machine a page takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::definition::Definition;
use proto::index::index_list;
use proto::list::walk::{self, Room};
use proto::list::{Compare, Condition, ListPage, ListQuery, Order, Plan, Position};
use proto::names::CollectionName;
use rusqlite::Connection;

use super::*;
use crate::indexes;
use crate::limits::LIST_BYTES;
use crate::list::scan;
use crate::schema::migrate;

const DECLARED: &str = r#"{"indexes":["n","g,-n"]}"#;

/// Collection 1 with an index or two, collection 2 without, both with records.
fn tables(records: u64) -> Connection {
    let mut conn = Connection::open_in_memory().unwrap();
    migrate(&mut conn, 0).unwrap();
    conn.execute("INSERT INTO meta (id, database) VALUES (1, zeroblob(16))", []).unwrap();
    for (id, name, definition) in [(1, "things", DECLARED), (2, "others", "{}")] {
        conn.execute("INSERT INTO collections (id, name, revision, definition) VALUES (?1, ?2, 1, ?3)", (id, name, definition)).unwrap();
        let sql = "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ?2) \
            INSERT INTO base (collection, key, granted, revision, born, updated_ms, fill, writer, value) \
            SELECT ?1, printf('k%07d', i), 1, 1, 1, 1, 0, 'cloud:1', json_object('n', (i * 7919) % ?2, 'g', i % 10, 'x', i) FROM c";
        conn.execute(sql, (id, records as i64)).unwrap();
    }
    indexes::make_all(&conn).unwrap();
    conn
}

fn query(sort: &str, conditions: &[(&str, Compare, &str)]) -> ListQuery {
    let conditions = conditions.iter().map(|(field, compare, text)| Condition::new(field, *compare, vec![(*text).to_owned()])).collect();
    let all = ListQuery::all(CollectionName::parse("things").unwrap(), 100);
    ListQuery { conditions, order: Order::parse(sort).unwrap(), ..all }
}

fn plan(query: &ListQuery) -> Plan {
    Plan::choose(query, &index_list(&Definition::parse(DECLARED).unwrap().indexes)).unwrap()
}

/// How each statement of a page after a place is read.
fn explained(conn: &Connection, query: &ListQuery, after: Option<&Position>) -> Vec<String> {
    let (plan, collection) = (plan(query), &query.collection);
    let tables = Tables { conn, id: 1, collection };
    let columns = plan.columns();
    let mut lines = Vec::new();
    for segment in plan.runs.iter().flat_map(|run| plan.segments(run, after)) {
        let (tail, bound) = plan.sql(&segment, query.prefix.as_deref());
        for table in 0..2 {
            let ask = Ask { index: plan.index.as_ref(), columns: &columns, tail: &tail, bound: &bound, limit: 10 };
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", tables.statement(table, &ask))).unwrap();
            let rows = statement.query_map(params_from_iter(ask.bound.iter().map(Bound)), |row| row.get::<_, String>(3)).unwrap();
            lines.extend(rows.map(Result::unwrap));
        }
    }
    lines
}

#[test]
fn declared_indexes_serve_filters_and_orders() {
    let conn = tables(100);
    let place = |values: Vec<SortValue>| Some(Position::new(values, "k0000007"));
    let is_3 = ("g", Compare::Equal, "3");
    for (query, after) in [
        (query("n", &[]), None),
        (query("-n", &[]), None),
        (query("-n", &[]), place(vec![SortValue::Int(50)])),
        (query("n", &[]), place(vec![SortValue::Null])),
        (query("n", &[("n", Compare::GreaterOrEqual, "7"), ("n", Compare::Less, "70")]), place(vec![SortValue::Int(50)])),
        (query("", &[("n", Compare::Equal, "7")]), None),
        (query("-key", &[("n", Compare::OneOf, "7")]), Some(Position::of_key("k0000007"))),
        (query("g,-n", &[]), place(vec![SortValue::Int(3), SortValue::Null])),
        (query("-g,n", &[]), place(vec![SortValue::Int(3), SortValue::Int(7)])),
        (query("-n", &[is_3]), place(vec![SortValue::Int(7)])),
    ] {
        let lines = explained(&conn, &query, after.as_ref());
        assert!(!lines.is_empty());
        for line in lines {
            assert!(line.contains("USING COVERING INDEX declared_") || line.contains("USING INDEX declared_"), "{query:?}: {line}");
            assert!(!line.contains("TEMP B-TREE"), "{query:?}: {line}");
        }
    }
    // A condition of equality, and a place in an order, are searched and not passed through.
    for line in explained(&conn, &query("-n", &[is_3]), place(vec![SortValue::Int(7)]).as_ref()) {
        assert!(line.starts_with("SEARCH "), "{line}");
    }
}

/// Counts steps of SQLite's machine.
fn counting(mut conn: Connection) -> (Connection, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let handler = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    conn.progress_handler(1, Some(handler)).unwrap();
    (conn, count)
}

fn page((conn, count): &(Connection, Arc<AtomicU64>), query: &ListQuery) -> (u64, ListPage<ViewRow>) {
    let mut tables = Tables { conn, id: 1, collection: &query.collection };
    let before = count.load(Ordering::Relaxed);
    let page = walk::page(&mut tables, query, &plan(query), Room::new(query.limit, LIST_BYTES)).unwrap();
    (count.load(Ordering::Relaxed) - before, page)
}

/// Not by the clock: a page late in the order takes no more steps than the first one.
#[test]
fn pages_cost_the_same_at_the_end() {
    let records = 30_000;
    let conn = counting(tables(records));
    for sort in ["n", "-n", "-key", "g,-n"] {
        let mut query = query(sort, &[]);
        let (first, begin) = page(&conn, &query);
        assert_eq!(begin.records.len(), 100);
        query.after = Some(match sort {
            "n" => Position::new(vec![SortValue::Int(records as i64 - 200)], "k"),
            "-n" => Position::new(vec![SortValue::Int(200)], "k"),
            "-key" => Position::of_key("k0000200"),
            _ => Position::new(vec![SortValue::Int(9), SortValue::Int(2_000)], "k"),
        });
        let (last, end) = page(&conn, &query);
        assert_eq!(end.records.len(), 100, "{sort}");
        assert!(last < first * 2, "{sort}: {last} steps instead of {first}");
        assert!(first < 20_000, "{sort}: {first} steps");
    }
    let (steps, found) = page(&conn, &query("", &[("n", Compare::Equal, "7919")]));
    assert_eq!(found.records.len(), 1);
    assert!(steps < 1_000, "{steps} steps for one record");
}

/// Upwards by key nothing is planned: the statement itself has to seek to where the page or the prefix begins.
#[test]
fn upwards_by_key_pages_cost_the_same_at_the_end() {
    let (conn, count) = counting(tables(30_000));
    let mut query = query("", &[]);
    let steps = |query: &ListQuery| {
        let before = count.load(Ordering::Relaxed);
        let page = scan(&conn, 1, query, Room::new(100, LIST_BYTES)).unwrap();
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

/// A condition that almost nothing fulfils and no index serves: pages stay short of work, and go on to the end.
#[test]
fn what_no_index_serves_is_read_in_bounded_pages() {
    let conn = counting(tables(25_000));
    let mut query = query("-key", &[("x", Compare::Equal, "3")]);
    let mut pages = Vec::new();
    loop {
        let (_, page) = page(&conn, &query);
        pages.push(page.records.len());
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, [0, 0, 1]);
}

#[test]
fn indexes_follow_the_definition() {
    let conn = tables(10);
    let names = || {
        let mut statement = conn.prepare("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'declared%'").unwrap();
        statement.query_row([], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(names(), 4, "two in each table");
    let other = Definition::parse(r#"{"indexes":["n","x","bad\"name"]}"#).unwrap();
    indexes::settle(&conn, 1, Some(&other)).unwrap();
    assert_eq!(names(), 4);
    indexes::settle(&conn, 2, Some(&other)).unwrap();
    assert_eq!(names(), 8);
    indexes::settle(&conn, 1, None).unwrap();
    assert_eq!(names(), 4);
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}
