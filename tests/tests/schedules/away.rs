//! Nodes that were away longer than the cloud remembers what was deleted, moved or removed.

use proto::limits::BATCH_RECORDS;
use tests::lab::words::{add, collection, create, delete, merge, number, put};
use tests::lab::{Lab, Side};

use super::{PRODUCTS, SALES, TALLY, n, shop};

const DAY_MS: u64 = 86_400_000;
const TEA: &str = r#"{"id":1,"name":"tea","price":18.0,"n":20,"shelf":"A"}"#;

/// Lyon is off the network, everybody sleeps for so many days, and the hub tidies up every other day.
fn sleep(lab: &mut Lab, days: u64) {
    let online: Vec<_> = (0..lab.edges.len()).filter(|node| lab.edges[*node].online).collect();
    online.iter().for_each(|node| lab.online(*node, false));
    for _ in 0..days / 2 {
        lab.tidy();
        lab.pass(2 * DAY_MS);
    }
    lab.tidy();
    online.iter().for_each(|node| lab.online(*node, true));
}

/// A shop with six products at two nodes; the first one goes off the network.
fn away() -> Lab {
    let mut lab = shop(&["lyon", "oslo"]);
    let product = |id: u32| put("products", &id.to_string(), &TEA.replace(":1,", &format!(":{id},")));
    lab.in_cloud((1..7).map(product).collect());
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"lyon","x":1}"#), put("stock", "b", r#"{"W":"lyon","x":1}"#)]);
    lab.converge(10_000);
    lab.online(0, false);
    lab
}

fn back(lab: &mut Lab) {
    lab.online(0, true);
    lab.converge(60_000);
}

fn conflicts(lab: &mut Lab, node: usize) -> Vec<String> {
    lab.edges[node].reader().conflicts(None, None, 100).unwrap().conflicts.into_iter().map(|row| row.row).collect()
}

fn events(lab: &mut Lab, kind: &str) -> usize {
    lab.cloud.events("lyon").iter().filter(|own| *own == kind).count()
}

/// The node's stream goes past what it does not get: from here on only a back-fill brings it.
pub(super) fn pass_them(lab: &mut Lab) {
    lab.in_cloud(vec![put("tally", "0", r#"{"n":0}"#)]);
    lab.converge(20_000);
}

/// 45 days of sales and changes come back: what only adds takes effect, what was changed since loses and is kept, what was
/// deleted stays deleted.
#[test]
fn forty_five_days_merge() {
    let mut lab = away();
    lab.write(0, vec![create("sales", "s1", r#"{"q":3}"#), add("products", "1", "n", -3), add("tally", "1", "n", -3)]);
    lab.write(0, vec![merge("products", "1", r#"{"name":"green tea","shelf":"B"}"#)]);
    lab.write(0, vec![merge("products", "2", r#"{"name":"mint"}"#)]);
    lab.write(0, vec![merge("products", "3", r#"{"name":"sage"}"#)]);
    lab.write(0, vec![delete("products", "4", true)]);
    lab.write(0, vec![create("orders", "o1", r#"{"for":"Ann"}"#)]);
    lab.pass(1_000);
    lab.in_cloud(vec![merge("products", "1", r#"{"name":"black tea"}"#)]);
    lab.in_cloud(vec![delete("products", "2", true), delete("products", "4", true)]);
    lab.in_cloud(vec![delete("stock", "a", false), merge("stock", "b", r#"{"W":"oslo"}"#)]);
    sleep(&mut lab, 45);
    let product = lab.edges[0].value("products", "1").unwrap();
    assert!(product.contains("green tea") && number(&product, "n") == Some(17), "served as before all the time: {product}");
    back(&mut lab);
    let expected = ["1 applied", "2 merged", "3 merged", "4 applied", "5 applied", "6 applied"];
    assert_eq!(lab.edges[0].answers(), expected);
    let product = lab.cloud.value("products", "1").unwrap();
    assert!(product.contains("black tea") && product.contains(r#""shelf":"B""#) && number(&product, "n") == Some(17), "{product}");
    assert_eq!(n(&mut lab, 0, "tally"), Some(17));
    for id in ["2", "4"] {
        assert_eq!((lab.cloud.value("products", id), lab.edges[0].value("products", id)), (None, None), "nothing deleted comes back");
    }
    for id in ["a", "b"] {
        assert_eq!(lab.edges[0].value("stock", id), None);
    }
    for node in 0..2 {
        let rows = conflicts(&mut lab, node);
        assert!(rows.iter().any(|row| row.contains("green tea")), "the loser can be listed: {rows:?}");
        assert!(rows.iter().any(|row| row.contains(r#""kind":"gone""#) && row.contains("mint")), "{rows:?}");
    }
    assert_eq!(events(&mut lab, "below_floor"), 1);
    lab.cut(0);
    lab.converge(60_000);
    assert_eq!(events(&mut lab, "below_floor"), 1, "once is enough");
}

/// A sale of a product that was deleted, and forgotten: the delta is kept for a person.
#[test]
fn sale_of_compacted() {
    let mut lab = away();
    lab.write(0, vec![create("sales", "s1", r#"{"q":3}"#), add("products", "2", "n", -3)]);
    lab.in_cloud(vec![delete("products", "2", true)]);
    sleep(&mut lab, 40);
    back(&mut lab);
    assert_eq!(lab.edges[0].answers()[0], "1 flagged gone");
    assert!(lab.cloud.value("sales", "s1").is_some());
    assert_eq!(lab.cloud.value("products", "2"), None);
    for node in 0..2 {
        let rows = conflicts(&mut lab, node);
        assert!(rows.iter().any(|row| row.contains(r#""kind":"gone""#) && row.contains(r#""delta":-3"#)), "{rows:?}");
    }
}

/// The cloud holds nothing any more that would tell of a deletion or a move: the re-read finds out.
#[test]
fn floor_without_tombstones() {
    let mut lab = away();
    lab.in_cloud((1..4).map(|id| delete("products", &id.to_string(), true)).collect());
    lab.in_cloud(vec![merge("stock", "a", r#"{"W":"oslo"}"#), merge("stock", "b", r#"{"W":"nowhere"}"#)]);
    sleep(&mut lab, 40);
    let held = |lab: &mut Lab, name: &str| lab.edges[0].reader().count(&collection(name)).unwrap();
    assert_eq!((held(&mut lab, "products"), held(&mut lab, "stock")), (6, 2));
    back(&mut lab);
    assert_eq!((held(&mut lab, "products"), held(&mut lab, "stock")), (3, 0));
    // Others were never gone that long, and read nothing twice.
    assert!(!lab.cloud.events("oslo").contains(&"below_floor".to_owned()) || lab.edges[1].value("stock", "a").is_some());
}

/// A field that is absent, and whose removal nobody remembers: a change to it that had not seen that does not bring it back;
/// one of a field that never was there applies.
#[test]
fn old_record_new_field_below_the_floor() {
    let mut lab = away();
    lab.write(0, vec![merge("products", "1", r#"{"shelf":"B"}"#)]);
    lab.write(0, vec![merge("products", "1", r#"{"colour":"green"}"#)]);
    lab.in_cloud(vec![merge("products", "1", r#"{"shelf":null}"#)]);
    sleep(&mut lab, 40);
    // The next change of the record forgets the removal.
    lab.in_cloud(vec![merge("products", "1", r#"{"name":"black tea"}"#)]);
    back(&mut lab);
    assert_eq!(lab.edges[0].answers(), ["1 merged", "2 applied"]);
    let product = lab.cloud.value("products", "1").unwrap();
    assert!(!product.contains("shelf") && product.contains("green"), "{product}");
    assert!(conflicts(&mut lab, 1).iter().any(|row| row.contains(r#""edge":"B""#)), "what lost is kept");
    assert_eq!(events(&mut lab, "below_floor"), 1, "the floor covers a forgotten field");
}

/// Deleted, forgotten, and made again: what a node did to the old one is not done to the new one.
#[test]
fn delete_recreate_increment_of_compacted() {
    let mut lab = away();
    lab.write(0, vec![add("products", "2", "n", -3)]);
    lab.write(0, vec![merge("products", "2", r#"{"name":"mint"}"#)]);
    lab.in_cloud(vec![delete("products", "2", true)]);
    sleep(&mut lab, 40);
    lab.in_cloud(vec![create("products", "2", r#"{"id":2,"name":"coffee","n":50}"#)]);
    back(&mut lab);
    assert_eq!(lab.edges[0].answers(), ["1 flagged gone", "2 merged"]);
    let product = lab.edges[0].value("products", "2").unwrap();
    assert!(product.contains("coffee") && number(&product, "n") == Some(50), "{product}");
}

/// A late change makes no record of what is forgotten.
#[test]
fn husk_of_compacted() {
    let mut lab = away();
    lab.write(0, vec![merge("products", "2", r#"{"name":"mint"}"#)]);
    lab.write(0, vec![delete("products", "3", true)]);
    lab.in_cloud(vec![delete("products", "2", true), delete("products", "3", true)]);
    sleep(&mut lab, 40);
    back(&mut lab);
    assert_eq!(lab.edges[0].answers(), ["1 merged", "2 applied"]);
    for id in ["2", "3"] {
        assert_eq!((lab.edges[0].value("products", id), lab.cloud.value("products", id)), (None, None));
    }
    assert_eq!(conflicts(&mut lab, 0).len(), 1, "what lost can be restored");
}

/// A node whose partition is quiet is not left behind by what others delete: its cursor moves at the latest hourly.
#[test]
fn quiet_partition_floor() {
    let stock = r#"{"partition":{"field":"W","label":"site"},"tombstone_retention":"3h"}"#;
    let mut lab = Lab::with(&[PRODUCTS, TALLY, SALES, ("stock", stock)], &["lyon", "oslo"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"lyon"}"#)]);
    lab.converge(10_000);
    for hour in 0..8 {
        let id = hour.to_string();
        lab.in_cloud(vec![put("stock", &id, r#"{"W":"oslo"}"#)]);
        lab.in_cloud(vec![delete("stock", &id, false)]);
        lab.pass(3_600_000);
        lab.tidy();
    }
    lab.cut(0);
    lab.converge(10_000);
    assert_eq!(events(&mut lab, "below_floor"), 0);
    // One that really was away reads anew.
    lab.online(0, false);
    lab.in_cloud(vec![delete("stock", "a", false)]);
    lab.online(1, false);
    lab.pass(4 * 3_600_000);
    lab.tidy();
    lab.online(1, true);
    back(&mut lab);
    assert_eq!(events(&mut lab, "below_floor"), 1);
}

/// A back-fill that was half done when the floor passed its stream begins again.
#[test]
fn snapshot_past_floor() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud((0..900).map(|id| put("stock", &format!("{id:03}"), r#"{"W":"paris","x":1}"#)).collect());
    pass_them(&mut lab);
    lab.label("lyon", "site", "paris");
    assert!(lab.run(10_000, |lab| lab.edges[0].reader().count(&collection("stock")).is_ok_and(|held| held > 0)));
    assert!(lab.edges[0].reader().count(&collection("stock")).unwrap() < 900);
    lab.online(0, false);
    lab.in_cloud((0..900).step_by(2).map(|id| delete("stock", &format!("{id:03}"), false)).collect());
    sleep(&mut lab, 40);
    lab.in_cloud(vec![put("stock", "new", r#"{"W":"paris"}"#)]);
    back(&mut lab);
    assert_eq!(lab.edges[0].reader().count(&collection("stock")).unwrap(), 451);
    assert_eq!(events(&mut lab, "below_floor"), 1);
}

/// A back-fill goes on where it was, whoever loses power in the middle of it, and the stream goes on beside it.
#[test]
fn snapshots_resume() {
    for side in [Side::Edge(0), Side::Cloud] {
        let mut lab = shop(&["lyon"]);
        lab.road.rate = 50_000;
        for part in 0..4 {
            let put = |id: u32| put("stock", &format!("{part}{id:03}"), r#"{"W":"paris","x":1,"text":"so that it takes its time"}"#);
            lab.in_cloud((0..500).map(put).collect());
        }
        pass_them(&mut lab);
        lab.cut(0);
        lab.label("lyon", "site", "paris");
        let brought = lab.brought.records;
        let held = |lab: &mut Lab| lab.edges[0].reader().count(&collection("stock")).unwrap_or(0);
        let mut before = 0;
        for round in 0..6_u32 {
            assert!(lab.run(60_000, |lab| held(lab) > before), "round {round}");
            before = held(&mut lab);
            lab.in_cloud(vec![merge("stock", &format!("0{round:03}"), r#"{"x":2}"#), add("tally", "1", "n", 1)]);
            lab.write(0, vec![add("tally", "1", "n", -1)]);
            lab.in_cloud(vec![delete("stock", &format!("3{round:03}"), false)]);
            lab.kill(side);
            lab.cut(0);
            assert!(held(&mut lab) >= before, "nothing of it was lost");
        }
        assert!(before < 2_000);
        lab.converge(120_000);
        assert_eq!(held(&mut lab), 2_000 - 6);
        assert_eq!(n(&mut lab, 0, "tally"), Some(20));
        // What a cut loses is on its way: a batch of the fill or two. From the beginning each time it would be thousands.
        let again = lab.brought.records - brought - 2_000;
        assert!(again < 6 * BATCH_RECORDS as u64, "{side:?}: {again} records came again");
    }
}
