//! Every table of both databases has a bound (docs/bounds.md), and what is old goes.

use std::collections::BTreeMap;

use cloudhub::store::{AccessTokenRow, Job, JoinTokenRow};
use metamanager::limits::{CHANGES_KEPT, CHANGES_STEP};
use rusqlite::{Connection, OpenFlags};
use tests::lab::Lab;
use tests::lab::cloud::WALL_MS;
use tests::lab::words::{add, create, merge, node, put};

use super::{ORDERS, PRODUCTS, SALES, STOCK};

const DAY_MS: u64 = 86_400_000;
/// Longer than what is kept longest: rejected writes and settled conflicts, 90 days.
const DAYS: u64 = 100;
/// What an edge writes on one day: sales that take effect, one change that loses to a later one, one that is rejected.
const SALES_A_DAY: u64 = 4;

type Counts = BTreeMap<String, u64>;

/// How many rows every table has.
fn rows(file: &std::path::Path) -> Counts {
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut names = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let count = |name: &String| conn.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get::<_, i64>(0)).unwrap();
    names.iter().map(|name| (name.clone(), count(name).cast_unsigned())).collect()
}

/// One day of a shop and its head office: at night the link is down.
fn day(lab: &mut Lab, today: u64) {
    lab.online(0, false);
    for sale in 0..SALES_A_DAY - 1 {
        lab.write(0, vec![create("sales", &format!("{today}-{sale}"), r#"{"q":1}"#), add("products", "1", "n", -1)]);
    }
    lab.write(0, vec![merge("products", "1", &format!(r#"{{"name":"lyon {today}"}}"#))]);
    lab.write(0, vec![merge("orders", "1", &format!(r#"{{"s":"lyon {today}"}}"#))]);
    lab.pass(1_000);
    lab.write(1, vec![merge("products", "1", &format!(r#"{{"name":"oslo {today}"}}"#))]);
    lab.in_cloud(vec![merge("orders", "1", &format!(r#"{{"s":"cloud {today}"}}"#)), add("products", "1", "n", 20)]);
    let passing = format!("passing{today}");
    lab.define(&passing, "{}");
    lab.in_cloud((0..5).map(|id| put(&passing, &id.to_string(), "{}")).collect());
    lab.converge(60_000);
    lab.online(0, true);
    lab.converge(60_000);
    lab.undefine(&passing);
    // As what an operator does every day.
    let created_ms = WALL_MS + lab.now_ms;
    let join = JoinTokenRow {
        id: format!("j{today}"),
        node: None,
        replaces: false,
        labels: BTreeMap::new(),
        uses: 1,
        used: 0,
        created_ms,
        expires_ms: created_ms + 3_600_000,
    };
    let access = AccessTokenRow {
        id: format!("a{today}"),
        name: "a day's".to_owned(),
        role: "viewer".to_owned(),
        collections: None,
        created_ms,
        expires_ms: Some(created_ms + 3_600_000),
    };
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&(today + 1_000).to_le_bytes());
    lab.hub(Job::NewJoinToken(Box::new(join), hash));
    lab.hub(Job::NewAccessToken(Box::new(access), hash));
    lab.hub(Job::Event { node: node("lyon"), kind: "clock_skew", detail: format!("day {today}"), at_ms: created_ms });
    lab.tidy();
}

/// The night, in which nothing happens; every tenth one the hub is restarted, every seventh one the nodes.
fn night(lab: &mut Lab, today: u64) {
    (0..2).for_each(|node| lab.online(node, false));
    if today.is_multiple_of(10) {
        lab.kill_cloud(|_| {});
    }
    if today.is_multiple_of(7) {
        (0..2).for_each(|node| lab.kill_edge(node, |_| {}));
    }
    lab.now_ms += DAY_MS - 60_000;
    (0..2).for_each(|node| lab.online(node, true));
    lab.converge(60_000);
}

/// What a table may hold after so many days of this life.
fn bound(side: &str, table: &str, days: u64) -> u64 {
    match (side, table) {
        (_, "meta") => 1,
        ("cloud", "epochs") => 2 + days / 10,
        ("edge", "epochs") => 64,
        // Five of the test's own, the system's, and today's passing one; at the edge those since its last start.
        ("cloud", "collections") => 7,
        ("edge", "collections") => 7 + 8,
        ("cloud", "doomed" | "floors" | "marks") => 1 + days,
        // One a partition that ever held something, of collections that are there.
        ("cloud", "digests") => 2 * 13,
        ("cloud", "nodes" | "databases") => 2,
        ("cloud", "node_grants") | ("edge", "grants") => 2 * 13,
        ("cloud", "node_events") => days + 10,
        ("cloud", "join_tokens" | "access_tokens") => 4,
        // One `auto` and one open row a day would be 2 × 100; those of 90 days stay, and never more than 100 a record.
        (_, "conflicts") => 92 + 2,
        // The sales, three others a day of both nodes, the cloud's, tombstones of conflicts and of passing records.
        ("cloud", "records") => 10 + SALES_A_DAY * days + 12 * (days + 1),
        ("edge", "base") => 10 + SALES_A_DAY * days + 94 + 5,
        ("cloud", "writes") => 60 + (SALES_A_DAY + 5) * days,
        // Delivered ones of 7 days, rejected ones of 90; each edge has at most one of those a day.
        ("edge", "writes" | "outcomes") => (SALES_A_DAY + 1) * 9 + 92,
        ("edge", "staging" | "held" | "overlay" | "blocked") => 0,
        // At most one a change that readers may see, of the sales of both nodes and the cloud's; and never more than are kept.
        ("edge", "changes") => (CHANGES_KEPT + CHANGES_STEP).min(40 + (2 * SALES_A_DAY + 40) * days),
        ("cloud", "exits") => 2 * (days + 1),
        // A table that is not named here holds nothing in this life.
        _ => 0,
    }
}

#[test]
fn every_table_stays_inside_its_bound() {
    let mut lab = Lab::with(&[PRODUCTS, ORDERS, SALES, STOCK], &["lyon", "oslo"]);
    lab.in_cloud(vec![put("products", "1", r#"{"id":1,"name":"tea","n":20}"#), put("orders", "1", r#"{"s":"new"}"#)]);
    lab.converge(10_000);
    let mut most = BTreeMap::new();
    for today in 1..=DAYS {
        day(&mut lab, today);
        for (file, side) in lab.files().iter().zip(["cloud", "edge", "edge"]) {
            for (table, count) in rows(file) {
                let bound = bound(side, &table, today);
                assert!(count <= bound, "{side}.{table} has {count} rows on day {today}, more than {bound}");
                let most = most.entry((side, table)).or_insert(0);
                *most = count.max(*most);
            }
        }
        night(&mut lab, today);
    }
    // What is kept for a time was there in that time: the trims took something away.
    for (table, written) in [("writes", (SALES_A_DAY + 1) * DAYS), ("outcomes", (SALES_A_DAY + 1) * DAYS)] {
        let most = most[&("edge", table.to_owned())];
        assert!(most > SALES_A_DAY * 7 + 80 && most < written, "{table}: {most} of {written}");
    }
    assert!((90..=94).contains(&most[&("cloud", "conflicts".to_owned())]), "{most:?}");
    let all: BTreeMap<_, _> = rows(&lab.files()[0]).into_iter().collect();
    assert_eq!((all["doomed"], all["join_tokens"], all["access_tokens"]), (0, 2, 2), "{all:?}");
}

/// The page names every table, and nothing that is none.
#[test]
fn every_table_is_on_the_page() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bounds.md")).unwrap();
    let lab = Lab::with(&[STOCK], &["lyon"]);
    for (file, title) in lab.files().iter().zip(["## cloudhub.db", "## edge.db"]) {
        let section = page.split(title).nth(1).unwrap().split("\n## ").next().unwrap();
        let mut listed: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        listed.sort_unstable();
        let tables = rows(file);
        assert_eq!(listed, tables.keys().map(String::as_str).collect::<Vec<_>>(), "{title}");
    }
}
