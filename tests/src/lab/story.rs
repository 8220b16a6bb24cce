//! One history that leaves something in every table of both databases: what fixtures of a format are made of.
//!
//! At its end `lyon` is off the network in the middle of everything: a back-fill is open, a part of a large transaction
//! waits, an outcome has come whose record has not, a record could not be stored, and writes of every kind wait. `oslo`
//! is in sync.

use cloudhub::store::{AccessTokenRow, Certificate, Job, JoinTokenRow};
use metamanager::{Etag, Precondition};
use proto::json::Raw;

use super::Lab;
use super::cloud::WALL_MS;
use super::road::{LAN, Road};
use super::words::{add, check, collection, create, delete, merge, node, put, value, when};

const DEFINITIONS: [(&str, &str); 6] = [
    (
        "products",
        r#"{"key":"id","indexes":["category"],"groups":[["street","zip"]],"fields":{"n":{"type":"counter","min":0},"price":{"edge":"read-only"}}}"#,
    ),
    (
        "orders",
        r#"{"policy":"guarded","fields":{"s":{"guard":true,"initial":["draft"],"transitions":{"draft":["sent"],"sent":["paid"]}}}}"#,
    ),
    ("sales", r#"{"policy":"append","edge_keep":"90d"}"#),
    ("stock", r#"{"partition":{"field":"W","label":"site"},"tombstone_retention":"30d"}"#),
    ("shelves", r#"{"partition":{"field":"Z","label":"zone"}}"#),
    ("lines", r#"{"key":"Order/Product","schema":{"type":"object","required":["q"]}}"#),
];
const LYON: usize = 0;
const OSLO: usize = 1;

/// The laboratory at the end of the story.
pub fn tell() -> Lab {
    let mut lab = Lab::with(&DEFINITIONS, &["lyon", "oslo"]);
    records(&mut lab);
    disputes(&mut lab);
    departures(&mut lab);
    papers(&mut lab);
    blocked(&mut lab);
    half_filled(&mut lab);
    torn(&mut lab);
    pending(&mut lab);
    lab.pass(5_000);
    lab
}

fn records(lab: &mut Lab) {
    let product = |id: u32| format!(r#"{{"id":{id},"name":"tea {id}","category":"drinks","price":18.0,"n":20,"note":null,"zip":"69001"}}"#);
    lab.in_cloud((1..6).map(|id| put("products", &id.to_string(), &product(id))).collect());
    lab.in_cloud(vec![put("orders", "1", r#"{"s":"draft"}"#), put("orders", "2", r#"{"s":"draft"}"#)]);
    lab.in_cloud(["a", "b", "c", "d"].map(|id| put("stock", id, &format!(r#"{{"W":"lyon","x":"{id}'s"}}"#))).to_vec());
    lab.in_cloud(vec![put("stock", "e", r#"{"W":"oslo"}"#), put("stock", "f", r#"{"W":"nowhere"}"#), put("stock", "g", r#"{}"#)]);
    lab.converge(10_000);
    lab.write(LYON, vec![create("sales", "s1", r#"{"q":3}"#), add("products", "1", "n", -3)]);
    lab.write(OSLO, vec![create("lines", "10%2F48/é", r#"{"Order":"10/48","Product":"é","q":1.50}"#)]);
    lab.converge(10_000);
    lab.kill_cloud(|_| {});
}

/// Every kind of conflict, and rejections with most codes.
fn disputes(lab: &mut Lab) {
    lab.online(LYON, false);
    lab.write(LYON, vec![merge("products", "1", r#"{"name":"green tea","street":"Rue A"}"#)]);
    lab.write(LYON, vec![add("products", "1", "n", -40)]);
    lab.write(LYON, vec![add("products", "2", "n", -2)]);
    count(lab, LYON, "3", 15);
    lab.write(LYON, vec![merge("orders", "1", r#"{"s":"sent"}"#)]);
    lab.write(LYON, vec![create("orders", "9", r#"{"s":"draft","by":"lyon"}"#)]);
    lab.write(LYON, vec![merge("orders", "9", r#"{"note":"urgent"}"#)]);
    lab.write(LYON, vec![create("stock", "e", r#"{"W":"lyon"}"#)]);
    lab.write(LYON, vec![check("products", "4", "name", r#""tea 4""#), merge("products", "4", r#"{"note":"x"}"#)]);
    lab.write(LYON, vec![delete("products", "5", true)]);
    lab.pass(1_000);
    lab.write(OSLO, vec![merge("products", "1", r#"{"name":"black tea"}"#)]);
    lab.write(OSLO, vec![create("orders", "9", r#"{"s":"draft","by":"oslo"}"#)]);
    count(lab, OSLO, "3", 17);
    lab.in_cloud(vec![delete("products", "2", true), merge("orders", "1", r#"{"s":"sent"}"#)]);
    lab.in_cloud(vec![merge("orders", "1", r#"{"s":"paid"}"#), merge("products", "4", r#"{"name":"tea IV"}"#)]);
    lab.in_cloud(vec![merge("products", "5", r#"{"price":19}"#)]);
    lab.converge(10_000);
    lab.online(LYON, true);
    lab.converge(10_000);
}

/// Sets the counter as someone does who has counted the shelf.
fn count(lab: &mut Lab, node: usize, id: &str, figure: i64) {
    let row = lab.edges[node].row("products", id).unwrap();
    let write = row.pending.last().map(|number| lab.edges[node].id(*number));
    let mut counted = value(&row.value);
    counted.set("n", Raw::integer(figure));
    let tag = Etag { revision: row.revision, write };
    lab.write(node, vec![when(put("products", id, &counted.to_text()), Precondition::Match(vec![tag]))]);
}

/// Tombstones, exit markers, a moved node, a deleted collection.
fn departures(lab: &mut Lab) {
    lab.in_cloud(vec![delete("stock", "a", false), merge("stock", "b", r#"{"W":"oslo"}"#)]);
    lab.in_cloud(vec![merge("stock", "c", r#"{"W":"nowhere"}"#)]);
    lab.define("old", "{}");
    lab.in_cloud(vec![put("old", "1", "{}"), put("old", "2", "{}")]);
    lab.converge(10_000);
    lab.undefine("old");
    lab.converge(10_000);
    lab.kill_cloud(|_| {});
    lab.converge(10_000);
}

/// Nodes and tokens beside those of the shops.
fn papers(lab: &mut Lab) {
    let now_ms = lab.now_ms;
    lab.cloud.join("rome", &[("site", "rome"), ("role", "shop")], now_ms);
    let certificate = Certificate { serial: "02".to_owned(), not_after_ms: WALL_MS + 90 * 86_400_000 };
    let expires_ms = WALL_MS + 366 * 86_400_000;
    let join = JoinTokenRow {
        id: "unused".to_owned(),
        node: Some(node("nice")),
        replaces: false,
        labels: [("site".to_owned(), "nice".to_owned())].into(),
        uses: 5,
        used: 0,
        created_ms: WALL_MS,
        expires_ms,
    };
    let access = AccessTokenRow {
        id: "a1".to_owned(),
        name: "the till's".to_owned(),
        role: "editor".to_owned(),
        collections: Some(vec![collection("orders"), collection("sales")]),
        created_ms: WALL_MS,
        expires_ms: Some(expires_ms),
    };
    let jobs = [
        Job::Certificate { node: node("rome"), certificate },
        Job::Revoke { node: node("rome") },
        Job::NewJoinToken(Box::new(join), [0xaa; 32]),
        Job::NewAccessToken(Box::new(access), [0xbb; 32]),
        Job::Event { node: node("oslo"), kind: "clock_skew", detail: "its clock is 90 s ahead".to_owned(), at_ms: WALL_MS },
    ];
    for job in jobs {
        lab.cloud.decide(job, now_ms).0.unwrap();
    }
}

/// A record that the edge could not store; in the cloud's file it is whole again.
fn blocked(lab: &mut Lab) {
    lab.online(LYON, false);
    lab.online(OSLO, false);
    lab.in_cloud(vec![put("lines", "1/bad", r#"{"Order":"1","Product":"bad","q":1}"#)]);
    lab.kill_cloud(|file| {
        assert_eq!(file.execute("UPDATE records SET value = '{\"q\":' WHERE key = '1/bad'", []).unwrap(), 1);
    });
    lab.online(LYON, true);
    assert!(lab.run(10_000, |lab| lab.edges[LYON].reader().status().unwrap().blocked_count == 1));
    lab.online(LYON, false);
    lab.kill_cloud(|file| {
        let whole = r#"UPDATE records SET value = '{"Order":"1","Product":"bad","q":1}' WHERE key = '1/bad'"#;
        assert_eq!(file.execute(whole, []).unwrap(), 1);
    });
    lab.online(OSLO, true);
}

/// A right to many records is given, and the link breaks when some of them have come; meanwhile a sale was decided.
fn half_filled(lab: &mut Lab) {
    lab.in_cloud((0..600).map(|id| put("shelves", &format!("{id:03}"), r#"{"Z":"north"}"#)).collect());
    lab.road = Road { rate: 20_000, delay_ms: 20 };
    lab.label("lyon", "zone", "north");
    lab.online(LYON, true);
    let begun = |lab: &mut Lab| {
        lab.edges[LYON].store().facts().unwrap().fills.iter().any(|fill| fill.at.revision.0 > 0 || fill.at.inside.is_some())
    };
    assert!(lab.run(60_000, begun));
    let head = lab.cloud.head();
    lab.write(LYON, vec![add("products", "3", "n", -5)]);
    assert!(lab.run(60_000, |lab| lab.cloud.head() > head));
    lab.online(LYON, false);
    assert!(begun(lab) && lab.edges[LYON].pending() == 1);
}

/// The next transaction is larger than a batch, and the link breaks again between its parts.
fn torn(lab: &mut Lab) {
    lab.in_cloud((0..300).map(|id| put("stock", &format!("t{id:03}"), r#"{"W":"lyon"}"#)).collect());
    lab.in_cloud(vec![add("products", "3", "n", 4)]);
    lab.online(LYON, true);
    let inside = |lab: &mut Lab| lab.edges[LYON].reader().status().unwrap().cursor.unwrap().position.inside.is_some();
    assert!(lab.run(60_000, inside));
    lab.online(LYON, false);
    lab.road = LAN;
    assert_eq!(lab.edges[LYON].pending(), 0, "the outcome came, and its record has not");
}

/// Writes with ops of every kind; the last ones stand on others.
fn pending(lab: &mut Lab) {
    lab.write(LYON, vec![create("products", "7", r#"{"id":7,"name":"cup","n":5}"#)]);
    lab.write(LYON, vec![add("products", "7", "n", -1), merge("products", "7", r#"{"name":"mug"}"#)]);
    lab.write(LYON, vec![add("products", "1", "n", -1)]);
    count(lab, LYON, "1", 12);
    lab.write(LYON, vec![put("lines", "10%2F48/é", r#"{"q":2}"#)]);
    lab.write(LYON, vec![delete("stock", "d", false), create("stock", "h", r#"{"W":"lyon"}"#)]);
    lab.write(LYON, vec![create("stock", "d", r#"{"W":"lyon","again":true}"#)]);
    lab.write(
        LYON,
        vec![check("orders", "2", "s", r#""draft""#), merge("orders", "2", r#"{"s":"sent"}"#), create("sales", "s2", r#"{"q":1}"#)],
    );
    lab.write(LYON, vec![merge("products", "3", &format!(r#"{{"note":"{}"}}"#, "long ".repeat(250)))]);
    lab.write(LYON, vec![merge("products", "3", r#"{"note":"short"}"#)]);
}
