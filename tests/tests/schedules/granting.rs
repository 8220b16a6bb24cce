//! Rights that come and go: labels, definitions, records that move; connected, away, in the middle of a back-fill, and back
//! again. What is gone leaves nothing behind.

use tests::lab::words::{add, check, collection, create, delete, merge, number, put};
use tests::lab::{Fault, Lab, Side, season};

use super::{TALLY, n, shop};

/// In every value of a warehouse that the node may not keep.
const SECRET: &str = "Marseille7310Secret";
const COUNTED: (&str, &str) = ("stock", r#"{"partition":{"field":"W","label":"site"},"fields":{"n":{"type":"counter"}}}"#);

/// Two warehouses with counted stock, lyon's with secrets in it.
fn warehouses() -> Lab {
    let mut lab = Lab::with(&[TALLY, COUNTED], &["lyon", "oslo"]);
    lab.in_cloud(
        (0..40)
            .map(|id| put("stock", &format!("l{id}"), &format!(r#"{{"W":"lyon","n":5,"pin":"{SECRET}","note":"{SECRET}{id}"}}"#)))
            .collect(),
    );
    lab.in_cloud(vec![put("tally", "1", r#"{"n":20}"#)]);
    lab.in_cloud((0..40).map(|id| put("stock", &format!("p{id}"), r#"{"W":"paris","n":5}"#)).collect());
    lab.converge(10_000);
    lab
}

fn nowhere(lab: &Lab) {
    assert_eq!(lab.edges[0].files_with(SECRET), Vec::<std::path::PathBuf>::new());
}

fn held(lab: &mut Lab) -> u64 {
    lab.edges[0].reader().count(&collection("stock")).unwrap()
}

/// Every kind of thing that a node keeps of a record, with the warehouse's values in it.
fn busy(lab: &mut Lab) {
    lab.write(0, vec![merge("stock", "l1", r#"{"pin":"1"}"#)]);
    lab.write(0, vec![check("stock", "l2", "n", "77"), merge("stock", "l2", r#"{"pin":"2"}"#)]);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 rejected guard"]);
    // A conflict about a field that lost to another node's is in the files of the first.
    lab.online(0, false);
    lab.write(0, vec![merge("stock", "l3", r#"{"note":"3"}"#)]);
    lab.pass(1_000);
    lab.in_cloud(vec![merge("stock", "l3", &format!(r#"{{"note":"{SECRET} now"}}"#))]);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers()[2], "3 merged");
    assert!(!lab.edges[0].files_with(SECRET).is_empty());
}

/// Relabelled while it looks: the other warehouse comes, of the old one not a byte stays.
#[test]
fn relabel_connected() {
    let mut lab = warehouses();
    busy(&mut lab);
    lab.label("lyon", "site", "paris");
    lab.converge(10_000);
    assert_eq!(held(&mut lab), 40);
    nowhere(&lab);
    lab.kill(Side::Edge(0));
    nowhere(&lab);
    let conflicts = lab.edges[0].reader().conflicts(None, None, 100).unwrap().conflicts;
    assert_eq!(conflicts, [], "conflict rows go with their record's grant");
}

/// Relabelled while it is away and has sold: the sales are kept for a person, changes end as what they are, and nothing is told.
#[test]
fn relabel_while_away() {
    let mut lab = warehouses();
    busy(&mut lab);
    lab.online(0, false);
    lab.write(0, vec![merge("stock", "l4", r#"{"pin":"4"}"#)]);
    lab.write(0, vec![add("stock", "l5", "n", -2)]);
    lab.write(0, vec![delete("stock", "l6", true)]);
    lab.write(0, vec![check("stock", "l7", "n", "5"), add("tally", "1", "n", 1)]);
    lab.write(0, vec![create("stock", "mine", r#"{"W":"lyon","n":1,"own":"words"}"#)]);
    lab.label("lyon", "site", "paris");
    lab.online(0, true);
    lab.converge(10_000);
    let expected =
        ["4 rejected not_entitled", "5 flagged gone", "6 rejected not_entitled", "7 rejected not_entitled", "8 rejected not_entitled"];
    assert_eq!(lab.edges[0].answers()[3..], expected);
    nowhere(&lab);
    assert_eq!((held(&mut lab), lab.edges[0].value("stock", "mine")), (40, None));
    assert_eq!(lab.edges[0].reader().conflicts(None, None, 100).unwrap().conflicts, []);
    for number in 4..9 {
        let outcome = lab.edges[0].reader().write(number).unwrap().unwrap().outcome.unwrap();
        assert_eq!(outcome.conflicts, Vec::<String>::new(), "no conflict row is named");
    }
    let stored = lab.cloud.value("stock", "l5").unwrap();
    assert_eq!(number(&stored, "n"), Some(5), "moving is not deleting, and the sale waits for a person: {stored}");
    assert!(!lab.edges[0].files_with("words").is_empty(), "what the node itself wrote stays");
    // Given back: what it had lost comes again, and what it had changed is as the cloud has it.
    lab.label("lyon", "site", "lyon");
    lab.converge(10_000);
    assert_eq!(held(&mut lab), 40);
    assert!(lab.edges[0].value("stock", "l4").unwrap().contains(SECRET));
}

/// Taken away, and given back before what waits could go up: the write lost the old value that it knew, and is recognised
/// and judged all the same.
#[test]
fn relabel_there_and_back_again() {
    let mut lab = warehouses();
    lab.online(0, false);
    lab.write(0, vec![merge("stock", "l4", r#"{"pin":"4"}"#)]);
    lab.label("lyon", "site", "paris");
    lab.fault(Side::Edge(0), Fault { after: 0, commits: true });
    lab.online(0, true);
    lab.until("kill Edge");
    nowhere(&lab);
    assert_eq!(lab.edges[0].outcomes(), []);
    lab.label("lyon", "site", "lyon");
    lab.converge(20_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied"]);
    assert!(lab.edges[0].value("stock", "l4").unwrap().contains(r#""pin":"4""#));
}

/// Taken away in the middle of its back-fill, and given back; either side loses its power meanwhile.
#[test]
fn relabel_mid_snapshot_and_back() {
    for side in [None, Some(Side::Edge(0)), Some(Side::Cloud)] {
        let mut lab = shop(&["lyon", "oslo"]);
        lab.road.rate = 50_000;
        let record = |id: u32| put("stock", &format!("{id:03}"), &format!(r#"{{"W":"paris","pin":"{SECRET}"}}"#));
        lab.in_cloud((0..900).map(record).collect());
        super::away::pass_them(&mut lab);
        lab.cut(0);
        for (round, site) in ["paris", "nice", "paris", "lyon", "paris"].into_iter().enumerate() {
            lab.label("lyon", "site", site);
            if site == "paris" {
                assert!(lab.run(60_000, |lab| held(lab) > 0));
                assert!(held(&mut lab) < 900, "in the middle");
            } else {
                assert!(lab.run(60_000, |lab| held(lab) == 0));
                lab.run(60_000, |lab| lab.edges[0].files_with(SECRET).is_empty());
                nowhere(&lab);
            }
            side.into_iter().for_each(|side| lab.kill(side));
            lab.in_cloud(vec![merge("stock", "000", r#"{"x":1}"#), delete("stock", &format!("70{round}"), false)]);
        }
        lab.converge(120_000);
        assert_eq!(held(&mut lab), 895);
    }
}

/// A definition takes a collection away, cuts it by another label, and gives it back: connected and away.
#[test]
fn definitions_take_and_give() {
    let cut = |label: &str| format!(r#"{{"partition":{{"field":"W","label":"{label}"}},"fields":{{"n":{{"type":"counter"}}}}}}"#);
    let none = r#"{"nodes":{"role":"bank"},"partition":{"field":"W","label":"site"},"fields":{"n":{"type":"counter"}}}"#;
    for is_away in [false, true] {
        let mut lab = warehouses();
        lab.label("lyon", "zone", "paris");
        lab.online(0, !is_away);
        lab.define("stock", none);
        lab.online(0, true);
        lab.converge(10_000);
        nowhere(&lab);
        lab.online(0, !is_away);
        lab.define("stock", &cut("zone"));
        lab.online(0, true);
        lab.converge(10_000);
        nowhere(&lab);
        assert_eq!(held(&mut lab), 40);
        lab.online(0, !is_away);
        lab.define("stock", &cut("site"));
        lab.online(0, true);
        lab.converge(10_000);
        assert_eq!(held(&mut lab), 40);
        assert!(!lab.edges[0].files_with(SECRET).is_empty());
    }
}

/// Moving is not deleting: a sale that had not seen the record leave is done where it went; where the cloud has forgotten that
/// it ever was here, the sale is kept for a person.
#[test]
fn sale_of_moved() {
    for forgotten in [false, true] {
        let mut lab = warehouses();
        lab.online(0, false);
        lab.write(0, vec![add("stock", "l1", "n", -2)]);
        lab.in_cloud(vec![merge("stock", "l1", r#"{"W":"oslo"}"#)]);
        if forgotten {
            lab.online(1, false);
            lab.pass(31 * 86_400_000);
            lab.tidy();
            lab.online(1, true);
        }
        lab.online(0, true);
        lab.converge(20_000);
        let stored = lab.cloud.value("stock", "l1").unwrap();
        let (answer, left) = if forgotten { ("1 flagged gone", 5) } else { ("1 applied", 3) };
        assert_eq!((lab.edges[0].answers(), number(&stored, "n")), (vec![answer.to_owned()], Some(left)));
        assert_eq!(lab.edges[0].value("stock", "l1"), None);
        assert_eq!(lab.edges[0].reader().conflicts(None, None, 100).unwrap().conflicts, []);
    }
}

/// Whether a key is taken elsewhere can be found out, what stands there cannot.
#[test]
fn key_taken_leak() {
    let mut lab = warehouses();
    lab.label("lyon", "site", "paris");
    lab.converge(10_000);
    lab.write(0, vec![create("stock", "l1", r#"{"W":"paris","n":5}"#)]);
    lab.write(0, vec![merge("stock", "l2", r#"{"W":"paris"}"#)]);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 rejected key_taken", "2 rejected not_entitled"]);
    nowhere(&lab);
    for number in 1..3 {
        let outcome = lab.edges[0].reader().write(number).unwrap().unwrap().outcome.unwrap();
        assert_eq!(outcome.conflicts, Vec::<String>::new());
    }
    assert_eq!(lab.edges[0].reader().conflicts(None, None, 100).unwrap().conflicts, []);
}

/// Histories of nothing but rights that change, and of all that can happen meanwhile.
#[test]
fn any_history_of_moves_ends_in_sync() {
    let seeds = std::env::var("TOMBOLO_SEED").ok().map_or(0..24, |seed| seed.parse::<u64>().map(|seed| seed..seed + 1).unwrap());
    for seed in seeds {
        println!("TOMBOLO_SEED={seed}");
        let mut lab = season::moves(seed);
        assert_eq!(n(&mut lab, 0, TALLY.0), n(&mut lab, 1, TALLY.0));
    }
}
