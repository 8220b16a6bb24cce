//! SQL for applications: what it sees, what it may not, and where it ends.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use metamanager::{Cell, ListQuery, Param, Params, Queried, Query, QueryError, ReadError};
use proptest::prelude::*;
use proto::frame::{DefinitionText, Grants};
use proto::ids::Revision;
use proto::list::{Compare, Condition};

use crate::kit::{Edge, STOCK, at, batch, create, delete, filled, grant, is, merge, name, now, sell, welcome};

/// `stock` with indexes, and collections whose names are a trap.
const NAMES: [(&str, &str); 4] = [
    (
        "stock",
        r#"{"key":"id","indexes":["c","c,-price","_key","C","we ird's"],"fields":{"n":{"type":"counter","min":0},"price":{"edge":"read-only"}}}"#,
    ),
    ("price-list", "{}"),
    ("base", "{}"),
    ("select", "{}"),
];

fn edge() -> Edge {
    let mut edge = Edge::unjoined();
    let definition =
        |(collection, json): &(&str, &str)| DefinitionText { name: name(collection), revision: Revision(1), json: (*json).to_owned() };
    let all = Grants {
        revision: Revision(1),
        grants: NAMES.iter().map(|(collection, _)| grant(collection, None, 1, 10)).collect(),
        definitions: NAMES.iter().map(definition).collect(),
        labels: Vec::new(),
    };
    edge.store().adopt(&welcome(1, 10, Some(all.clone())), now(0)).unwrap();
    for grant in all.grants {
        let part = proto::frame::Batch { fill: Some(filled(grant, 10, true, Vec::new())), ..batch(10, 10, true, Vec::new()) };
        edge.apply(vec![part]);
    }
    edge
}

/// a1, a2, b1, b2 in base; a2 deleted here, b1 changed here, a3 made here.
fn shelf() -> Edge {
    let mut edge = edge();
    let row = |id: &str, rest: &str| is("stock", id, 11, &format!(r#"{{"id":"{id}","n":1{rest}}}"#));
    let mut rows = vec![
        row("a1", r#","c":18,"price":2.5,"we ird's":"x""#),
        row("a2", r#","c":18"#),
        row("b1", r#","c":"18","ok":true"#),
        row("b2", r#","c":null,"list":[1,{"a":2}]"#),
    ];
    rows.push(is("price-list", "p", 11, r#"{"x":1}"#));
    rows.push(is("base", "secret?", 11, "{}"));
    edge.apply(vec![batch(10, 11, true, rows)]);
    edge.write(vec![delete("stock", "a2")]);
    edge.write(vec![sell("b1", 1)]);
    edge.write(vec![create("stock", "a3", r#"{"id":"a3","c":18}"#)]);
    edge
}

fn query(sql: &str) -> Query {
    Query {
        sql: sql.to_owned(),
        params: Params::Positional(Vec::new()),
        collections: None,
        rows: 10_000,
        time: Duration::from_secs(30),
        cancelled: Arc::default(),
    }
}

/// The rows as text, and the rest.
fn ask(edge: &mut Edge, query: &Query) -> Result<(String, Queried), QueryError> {
    let mut text = String::new();
    let queried = edge.store().queries().ask(query, |cells| {
        let cells: Vec<String> = cells.iter().map(spell).collect();
        writeln!(text, "{}", cells.join("|")).unwrap();
        true
    })?;
    Ok((text, queried))
}

fn spell(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => format!("{number:?}"),
        Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

#[track_caller]
fn rows(edge: &mut Edge, sql: &str) -> String {
    ask(edge, &query(sql)).unwrap_or_else(|error| panic!("{sql}: {error}")).0
}

#[track_caller]
fn refused(edge: &mut Edge, sql: &str) -> QueryError {
    match ask(edge, &query(sql)) {
        Ok((rows, _)) => panic!("{sql} was answered: {rows}"),
        Err(error) => error,
    }
}

#[test]
fn a_table_is_the_view_of_local_readers() {
    let mut edge = shelf();
    let sql = "SELECT _key, _revision, _pending, c FROM stock ORDER BY _key";
    assert_eq!(rows(&mut edge, sql), "a1|11|0|18\na3|0|1|18\nb1|11|1|18\nb2|11|0|NULL\n");
    let (_, queried) = ask(&mut edge, &query("SELECT * FROM stock")).unwrap();
    assert_eq!(queried.columns, ["_key", "_value", "_revision", "_pending", "c", "price", "we ird's"]);
    assert_eq!(rows(&mut edge, "SELECT _value->>'$.n', _value->>'n' FROM stock WHERE _key = 'b1'"), "0|0\n");
    assert_eq!(rows(&mut edge, "SELECT _key FROM stock WHERE c = 18 ORDER BY 1"), "a1\na3\n", "the text is no number");
    assert_eq!(rows(&mut edge, "SELECT \"we ird's\" FROM stock WHERE \"we ird's\" NOT NULL"), "x\n");
    assert_eq!(rows(&mut edge, "SELECT count(*), sum(_pending) FROM Stock"), "4|2\n");
    assert_eq!(rows(&mut edge, "SELECT count(*) FROM stock"), "4\n");
    assert_eq!(rows(&mut edge, "SELECT _key FROM \"price-list\""), "p\n");
    assert_eq!(rows(&mut edge, "SELECT _key FROM base"), "secret?\n", "a collection may be named as one of our tables");
    assert_eq!(rows(&mut edge, "SELECT count(*) FROM \"select\""), "0\n");
    assert_eq!(rows(&mut edge, "SELECT a._key, b._key FROM stock a JOIN stock b ON a.c = b.c AND a._key < b._key"), "a1|a3\n");
    assert_eq!(rows(&mut edge, "WITH t AS (SELECT c FROM stock) SELECT count(*) FROM t"), "4\n");
    assert_eq!(rows(&mut edge, "SELECT e.value FROM stock, json_each(_value, '$.list') e WHERE _key = 'b2'"), "1\n{\"a\":2}\n");
    assert_eq!(rows(&mut edge, "SELECT row_number() OVER (ORDER BY _key), _key FROM stock LIMIT 2"), "1|a1\n2|a3\n");
    assert_eq!(rows(&mut edge, "SELECT _key FROM stock WHERE _value LIKE '%\"ok\":true%';  -- done"), "b1\n");
    assert_eq!(rows(&mut edge, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n"), "1\n2\n3\n");
    assert_eq!(rows(&mut edge, "SELECT 9223372036854775807, 1e999, -0.5, NULL, 'é'"), "9223372036854775807|inf|-0.5|NULL|é\n");
}

#[test]
fn parameters_by_place_and_by_name() {
    let mut edge = shelf();
    let mut with = |sql: &str, params: Params| ask(&mut edge, &Query { params, ..query(sql) }).map(|(text, _)| text);
    let list = |values: &[Param]| Params::Positional(values.to_vec());
    let named = |values: &[(&str, Param)]| Params::Named(values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
    let text = |text: &str| Param::Text(text.to_owned());
    let sql = "SELECT _key FROM stock WHERE c = ? AND _key > ?";
    assert_eq!(with(sql, list(&[Param::Integer(18), text("a1")])).unwrap(), "a3\n");
    assert_eq!(with("SELECT ?, ?, ?2", list(&[Param::Null, Param::Real(0.5)])).unwrap(), "NULL|0.5|0.5\n");
    let sql = "SELECT _key FROM stock WHERE c = :c AND _key > @k AND :c = $c2";
    let values = [("c", Param::Integer(18)), ("@k", text("a1")), ("c2", Param::Integer(18))];
    assert_eq!(with(sql, named(&values)).unwrap(), "a3\n");
    for (sql, params, why) in [
        ("SELECT ?", list(&[]), "1 parameters, and 0 came"),
        ("SELECT 1", list(&[Param::Null]), "0 parameters, and 1 came"),
        ("SELECT :a", named(&[]), "\"a\" has no value"),
        ("SELECT :a", named(&[("a", Param::Null), ("b", Param::Null)]), "no parameter \"b\""),
        ("SELECT ?", named(&[("a", Param::Null)]), "no parameter \"a\""),
        ("SELECT ?, :a", named(&[("a", Param::Null)]), "without a name"),
    ] {
        let error = with(sql, params).unwrap_err();
        assert!(matches!(&error, QueryError::Refused(text) if text.contains(why)), "{sql}: {error}");
    }
    let quoted = "SELECT _key FROM stock WHERE _key = ?";
    assert_eq!(with(quoted, list(&[text("x' OR 1=1 --")])).unwrap(), "");
}

#[test]
fn only_one_select() {
    let mut edge = shelf();
    for sql in [
        "",
        ";",
        "-- nothing",
        "INSERT INTO stock VALUES (1)",
        "INSERT INTO base (collection) VALUES (1)",
        "UPDATE base SET value = '{}'",
        "UPDATE stock SET c = 1",
        "DELETE FROM base",
        "DELETE FROM meta",
        "DELETE FROM stock",
        "REPLACE INTO meta (id) VALUES (1)",
        "WITH x AS (SELECT 1) DELETE FROM base",
        "SELECT 1; DELETE FROM base",
        "SELECT 1; SELECT 2",
        "SELECT 1; PRAGMA query_only = 0",
        "ATTACH ':memory:' AS other",
        "ATTACH '/tmp/x.db' AS other",
        "DETACH main",
        "PRAGMA query_only = off",
        "PRAGMA temp_store_directory = '/'",
        "PRAGMA main.journal_mode = DELETE",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA table_info(base)",
        "VACUUM",
        "VACUUM INTO '/tmp/x.db'",
        "REINDEX",
        "ANALYZE",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "RELEASE a",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "CREATE TEMP VIEW x AS SELECT * FROM main.base",
        "CREATE TEMP TRIGGER x INSTEAD OF DELETE ON stock BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
        "CREATE INDEX x ON base (key)",
        "DROP TABLE base",
        "DROP VIEW stock",
        "ALTER TABLE base ADD COLUMN x",
        "EXPLAIN SELECT 1",
        "EXPLAIN QUERY PLAN SELECT * FROM stock",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/tmp/x', 'x')",
        "SELECT fts3_tokenizer('x')",
        "SELECT sqlite_version()",
        "SELECT sqlite_source_id()",
        "SELECT last_insert_rowid(), changes()",
        "SELECT zeroblob(1000000000)",
        "SELECT randomblob(1000000000)",
        "SELECT printf('%.*c', 1000000000, 'x')",
        "SELECT format('%1000000000d', 1)",
        "SELECT replace('a', 'a', 'b')",
        "SELECT x'00'",
        "SELECT CAST('a' AS BLOB)",
        "SELECT no FROM stock",
        "SELECT \"misspelt\" FROM stock",
        "SELECT 1 +",
        "SELECT 'a",
        "SELECT '\0'",
    ] {
        let error = refused(&mut edge, sql);
        assert!(matches!(error, QueryError::Refused(_) | QueryError::NoTable(_)), "{sql}: {error:?}");
        assert!(!error.to_string().is_empty() && !error.to_string().contains("view_"), "{sql}: {error}");
    }
    let many = ";".repeat(16_000);
    assert!(matches!(refused(&mut edge, &many), QueryError::Refused(_)));
    let many = "SELECT 1;".repeat(1_700);
    assert!(matches!(refused(&mut edge, &many), QueryError::Refused(_)));
    assert!(refused(&mut edge, "SELECT no FROM stock").to_string().contains("no such column: no, at character 8"));
    assert!(refused(&mut edge, "DELETE FROM meta").to_string().contains("only a SELECT"));
    assert!(refused(&mut edge, "PRAGMA table_info(base)").to_string().contains("PRAGMA"));
    assert!(refused(&mut edge, "SELECT load_extension('x')").to_string().contains("load_extension"));
    assert_eq!(edge.n("a1"), Some(1), "nothing was changed");
}

#[test]
fn no_other_table_is_read() {
    let mut edge = shelf();
    for sql in [
        "SELECT * FROM meta",
        "SELECT count(*) FROM meta",
        "SELECT count(*) FROM main.base",
        "SELECT 1 FROM main.base",
        "SELECT * FROM main.base",
        "SELECT value FROM overlay",
        "SELECT count(*) FROM writes",
        "SELECT bytes FROM writes",
        "SELECT * FROM sqlite_schema",
        "SELECT count(*) FROM sqlite_schema",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM temp.sqlite_schema",
        "SELECT * FROM sqlite_temp_schema",
        "SELECT count(*) FROM sqlite_temp_master",
        "SELECT * FROM sqlite_sequence",
        "SELECT * FROM pragma_table_info('base')",
        "SELECT count(*) FROM pragma_table_list",
        "SELECT 1 FROM pragma_module_list",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM dbstat",
        "SELECT 1 FROM dbstat",
        "SELECT * FROM sqlite_dbpage",
        "SELECT * FROM fts3tokenize('simple', 'x')",
        "SELECT * FROM generate_series(1, 9)",
        "SELECT * FROM nowhere",
        "SELECT * FROM main.stock",
        "SELECT (SELECT count(*) FROM grants)",
        "SELECT * FROM stock WHERE EXISTS (SELECT 1 FROM meta)",
        "SELECT * FROM stock WHERE _key IN (SELECT key FROM main.base)",
        "SELECT * FROM stock JOIN main.overlay ON overlay.key = _key",
        "SELECT stock.collection FROM stock",
        "SELECT rowid FROM main.base",
        // The name of a table that the statement gave to something else.
        "WITH stock AS (SELECT * FROM main.base) SELECT * FROM stock",
        "WITH stock AS (SELECT count(*) AS n FROM main.meta) SELECT * FROM stock",
        "WITH stock(x) AS (SELECT value FROM main.overlay) SELECT x FROM stock AS view_0",
        "SELECT * FROM (SELECT * FROM main.base) AS stock",
        "WITH view_00 AS (SELECT * FROM main.base) SELECT * FROM view_00",
        "SELECT * FROM stock UNION ALL SELECT key, value, 1, 1, 1, 1, 1 FROM main.base",
    ] {
        let error = refused(&mut edge, sql);
        assert!(matches!(error, QueryError::NoTable(_) | QueryError::Refused(_)), "{sql}: {error:?}");
        assert!(!error.to_string().contains("view_0"), "{sql}: {error}");
    }
    assert_eq!(refused(&mut edge, "SELECT * FROM Meta"), QueryError::NoTable("meta".into()));
    assert_eq!(refused(&mut edge, "SELECT * FROM nowhere"), QueryError::NoTable("nowhere".into()));
    // A name of our own inside of the caller's does not reach into a view.
    let sql = "WITH overlay AS (SELECT 1), laid AS (SELECT 2), held AS (SELECT 3) SELECT _key FROM stock ORDER BY 1";
    assert_eq!(rows(&mut edge, sql), "a1\na3\nb1\nb2\n");
}

#[test]
fn a_caller_sees_the_collections_that_are_allowed() {
    let mut edge = shelf();
    let mut only = |sql: &str| {
        let collections = Some(Arc::from([name("price-list")]));
        ask(&mut edge, &Query { collections, ..query(sql) }).map(|(text, _)| text)
    };
    assert_eq!(only("SELECT _key FROM \"price-list\"").unwrap(), "p\n");
    assert_eq!(only("SELECT _key FROM stock"), Err(QueryError::NoTable("stock".into())));
    // Our own table of that name is not read either.
    assert!(matches!(only("SELECT _key FROM base"), Err(QueryError::Refused(_))));
    assert_eq!(only("SELECT key FROM base"), Err(QueryError::NoTable("base".into())));
    let mut unjoined = Edge::unjoined();
    assert_eq!(ask(&mut unjoined, &query("SELECT 1")).unwrap_err(), QueryError::Read(ReadError::NotSynced));
}

#[test]
fn a_query_ends() {
    let mut edge = edge();
    let many = (0..2_000).map(|i| is("stock", &format!("k{i:04}"), 11, &format!(r#"{{"c":{i},"t":"{}"}}"#, "x".repeat(500)))).collect();
    edge.apply(vec![batch(10, 11, true, many)]);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let short = |sql: &str| Query { time: Duration::from_millis(300), ..query(sql) };
    for sql in [
        format!("{endless} SELECT count(*) FROM n"),
        format!("{endless} SELECT i FROM n WHERE i < 0"),
        "SELECT count(*) FROM stock a, stock b, stock c, stock d WHERE a.c + b.c + c.c + d.c = -1".to_owned(),
        "SELECT count(*) FROM stock a, stock b, stock c WHERE a._value || b._value LIKE '%z%z%z%z%z%'".to_owned(),
    ] {
        let begun = Instant::now();
        let error = ask(&mut edge, &short(&sql)).unwrap_err();
        assert!(matches!(error, QueryError::Limit(_)), "{sql}: {error:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{sql}");
    }
    for sql in [
        format!("{endless} SELECT i, hex(i) || '{}' AS t FROM n ORDER BY t DESC", "y".repeat(1_000)),
        format!("{endless}, big AS MATERIALIZED (SELECT i, '{}' || i AS t FROM n) SELECT count(*) FROM big a, big b", "z".repeat(1_000)),
        "SELECT a._value, b._value FROM stock a, stock b ORDER BY a._value || b._value".to_owned(),
        format!("{endless}, some AS (SELECT i FROM n LIMIT 9000) SELECT group_concat('{}') FROM some", "w".repeat(1_000)),
        format!("{endless}, some AS (SELECT i FROM n LIMIT 900000) SELECT json_group_array(i) FROM some"),
    ] {
        let error = refused(&mut edge, &sql);
        assert!(matches!(&error, QueryError::Limit(text) if text.contains("memory") || text.contains("too much")), "{sql}: {error:?}");
    }
    let (text, queried) = ask(&mut edge, &Query { rows: 3, ..query("SELECT _key FROM stock ORDER BY _key") }).unwrap();
    assert_eq!((text.as_str(), queried.truncated), ("k0000\nk0001\nk0002\n", true));
    let (_, whole) = ask(&mut edge, &Query { rows: 2_000, ..query("SELECT _key FROM stock") }).unwrap();
    assert!(!whole.truncated);
    let mut left = 10;
    let room = edge.store().queries().ask(&query("SELECT _value FROM stock"), |_| {
        left -= 1;
        left > 0
    });
    assert!(room.unwrap().truncated);
    let none = edge.store().queries().ask(&query("SELECT _value FROM stock"), |_| false);
    assert!(matches!(none, Err(QueryError::Limit(_))));
    let cancelled = Arc::new(AtomicBool::new(true));
    assert!(matches!(ask(&mut edge, &Query { cancelled, ..query("SELECT 1") }), Err(QueryError::Limit(_))));
}

#[test]
fn what_is_written_to_burst_a_parser_does_not() {
    let mut edge = shelf();
    let deep = |open: &str, close: &str, times: usize| format!("SELECT {}1{}", open.repeat(times), close.repeat(times));
    let mut laughs = "WITH t0 AS (SELECT 1 AS x)".to_owned();
    for level in 1..60 {
        write!(laughs, ", t{level} AS (SELECT a.x FROM t{0} a, t{0} b)", level - 1).unwrap();
    }
    laughs.push_str(" SELECT count(*) FROM t59");
    for sql in [
        deep("(", ")", 5_000),
        deep("-", "", 10_000),
        deep("abs(", ")", 2_000),
        deep("(SELECT ", ")", 1_000),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(700)),
        format!("SELECT 1{}", ",1".repeat(4_000)),
        format!("SELECT * FROM stock{}", " NATURAL JOIN stock".repeat(70)),
        format!("SELECT 1{}", " + 1".repeat(4_000)),
        format!("SELECT '{}'", "x".repeat(20_000)),
        laughs,
    ] {
        let error = ask(&mut edge, &Query { time: Duration::from_secs(2), ..query(&sql) }).unwrap_err();
        assert!(matches!(error, QueryError::Refused(_) | QueryError::Limit(_)), "{}: {error:?}", &sql[..60]);
    }
    // Twelve tables that each are two.
    let joined =
        format!("SELECT count(*) FROM stock s0{}", (1..6).map(|i| format!(" JOIN stock s{i} ON s{i}._key = s0._key")).collect::<String>());
    assert_eq!(rows(&mut edge, &joined), "4\n");
}

#[derive(Debug, Clone)]
enum Deed {
    Put(u8, u8),
    Merge(u8, u8),
    Delete(u8),
    Cloud(u8, u8),
    Gone(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let key = 0..6u8;
    prop_oneof![
        (key.clone(), 0..4u8).prop_map(|(key, c)| Deed::Put(key, c)),
        (key.clone(), 0..4u8).prop_map(|(key, c)| Deed::Merge(key, c)),
        key.clone().prop_map(Deed::Delete),
        (key.clone(), 0..4u8).prop_map(|(key, c)| Deed::Cloud(key, c)),
        key.prop_map(Deed::Gone),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever was written on either side, a query and a list say the same.
    #[test]
    fn a_query_says_what_a_list_says(deeds in prop::collection::vec(deed(), 1..20)) {
        let mut edge = edge();
        let mut revision = 10;
        for deed in deeds {
            let id = |key: u8| format!("k{key}");
            let text = |key: u8, c: u8| format!(r#"{{"id":"k{key}","c":{c}}}"#);
            match deed {
                // What does not apply is refused, and that is as good.
                Deed::Put(key, c) => drop(edge.try_write(vec![create("stock", &id(key), &text(key, c))])),
                Deed::Merge(key, c) => drop(edge.try_write(vec![merge("stock", &id(key), &format!(r#"{{"c":{c}}}"#))])),
                Deed::Delete(key) => drop(edge.try_write(vec![delete("stock", &id(key))])),
                Deed::Cloud(key, c) => {
                    edge.apply(vec![batch(revision, revision + 1, true, vec![is("stock", &id(key), revision + 1, &text(key, c))])]);
                    revision += 1;
                }
                Deed::Gone(key) => {
                    edge.apply(vec![batch(revision, revision + 1, true, vec![crate::kit::gone("stock", &id(key), revision + 1)])]);
                    revision += 1;
                }
            }
        }
        let all = ListQuery::all(name("stock"), 100);
        let listed: String = edge.reader().list(&all).unwrap().records.iter()
            .map(|row| format!("{}|{}|{}|{}\n", row.key, row.value, row.revision, u8::from(!row.pending.is_empty())))
            .collect();
        prop_assert_eq!(rows(&mut edge, "SELECT _key, _value, _revision, _pending FROM stock ORDER BY _key"), listed);
        for c in 0..4 {
            let conditions = vec![Condition::new("c", Compare::Equal, vec![c.to_string()])];
            let listed: String = edge.reader().list(&ListQuery { conditions, ..all.clone() }).unwrap().records.iter()
                .map(|row| format!("{}\n", row.key)).collect();
            prop_assert_eq!(rows(&mut edge, &format!("SELECT _key FROM stock WHERE c = {c} ORDER BY _key")), listed);
        }
    }

    /// Texts that are made of the pieces of statements neither panic, nor change, nor show what is ours.
    #[test]
    fn no_text_does_harm(pieces in prop::collection::vec(prop::sample::select(PIECES), 1..14)) {
        let mut edge = shelf();
        let sql = pieces.join(" ");
        if let Ok((text, _)) = ask(&mut edge, &Query { time: Duration::from_millis(200), rows: 50, ..query(&sql) }) {
            prop_assert!(!text.contains("CREATE") && !text.contains("cloud:"), "{}: {}", sql, text);
        }
        prop_assert_eq!(edge.n("a1"), Some(1));
    }
}

const PIECES: &[&str] = &[
    "SELECT",
    "*",
    "FROM",
    "stock",
    "main.base",
    "base",
    "meta",
    "WITH",
    "stock AS",
    "(",
    ")",
    "(SELECT * FROM main.base)",
    ",",
    "JOIN",
    "WHERE",
    "_key",
    "=",
    "1",
    "'a1'",
    "UNION ALL",
    "count(*)",
    "key",
    "value",
    "writer",
    "rowid",
    ";",
    "DELETE",
    "UPDATE",
    "SET",
    "sqlite_schema",
    "sql",
    "pragma_table_info('base')",
    "LIMIT 1",
    "ORDER BY 1",
    "AS stock",
    "EXISTS",
    "temp.",
    "\"stock\"",
    "--",
    "/*",
    "'",
    "?",
    ":a",
    "$x(",
    "EXPLAIN",
    "PRAGMA",
    "RECURSIVE",
    "VALUES (1)",
    "json_each('[1]')",
    "->>'$.c'",
    "overlay",
    "writes",
    "NOT",
    "IN",
];

#[test]
fn a_definition_that_changes_changes_the_columns() {
    let mut edge = shelf();
    let (_, before) = ask(&mut edge, &query("SELECT * FROM stock LIMIT 0")).unwrap();
    assert_eq!(before.columns.len(), 7);
    let all = Grants {
        revision: Revision(12),
        grants: NAMES.iter().map(|(collection, _)| grant(collection, None, 1, 10)).collect(),
        definitions: vec![DefinitionText { name: name("stock"), revision: Revision(12), json: STOCK.to_owned() }],
        labels: Vec::new(),
    };
    edge.apply(vec![proto::frame::Batch { grants: Some(all), ..batch(11, 12, true, Vec::new()) }]);
    assert_eq!(edge.store().facts().unwrap().cursor.unwrap().position, at(12));
    let (_, after) = ask(&mut edge, &query("SELECT * FROM stock LIMIT 0")).unwrap();
    assert_eq!(after.columns.len(), 5, "the index that the kit declares is left");
}
