//! What a person decides about a conflict, at either side, and who was first.

use std::collections::BTreeMap;

use cloudhub::store::{ConflictRow, ConflictsRequest, StoreRead};
use metamanager::ConflictState;
use proto::resolve::Choice;
use tests::lab::words::{add, delete, merge, put, resolve, value};
use tests::lab::{Lab, Side, decisions};

use super::{n, shop};

/// How many seeds are tried, unless `TOMBOLO_SEEDS` says otherwise.
const SEEDS: u64 = 60;

fn rows(lab: &mut Lab) -> Vec<ConflictRow> {
    let request = ConflictsRequest { limit: 100, ..ConflictsRequest::default() };
    lab.cloud.reader().conflicts(&request).unwrap().0
}

/// What a node shows of its one row.
fn state(lab: &mut Lab, node: usize) -> ConflictState {
    let rows = lab.edges[node].reader().conflicts(None, None, 10).unwrap().conflicts;
    assert_eq!(rows.len(), 1);
    rows[0].state
}

fn member(row: &ConflictRow, name: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(&row.json).unwrap();
    json[name].as_str().unwrap_or_default().to_owned()
}

/// One name given twice, the shop's the earlier one: an `auto` row that both shops have.
fn two_names(nodes: &[&str]) -> (Lab, String) {
    let mut lab = shop(nodes);
    lab.online(0, false);
    lab.write(0, vec![merge("products", "1", r#"{"name":"green tea"}"#)]);
    lab.pass(100);
    lab.in_cloud(vec![merge("products", "1", r#"{"name":"black tea"}"#)]);
    lab.online(0, true);
    lab.converge(10_000);
    let id = rows(&mut lab)[0].id.clone();
    (lab, id)
}

#[test]
fn offline_the_decision_shows_at_once() {
    let (mut lab, id) = two_names(&["lyon", "oslo"]);
    lab.online(0, false);
    lab.write(0, vec![resolve(&id, Choice::Edge)]);
    assert_eq!((state(&mut lab, 0), state(&mut lab, 1)), (ConflictState::Resolved, ConflictState::Auto));
    assert!(lab.edges[0].value("products", "1").unwrap().contains("green tea"));
    lab.kill(Side::Edge(0));
    assert_eq!(state(&mut lab, 0), ConflictState::Resolved);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!((state(&mut lab, 0), state(&mut lab, 1)), (ConflictState::Resolved, ConflictState::Resolved));
    assert!(lab.edges[1].value("products", "1").unwrap().contains("green tea"));
    let row = &rows(&mut lab)[0];
    assert_eq!((member(row, "resolved_by"), member(row, "resolved_in")), ("lyon".to_owned(), lab.edges[0].id(2).to_string()));
}

#[test]
fn of_two_decisions_the_first_to_come_counts() {
    let (mut lab, id) = two_names(&["lyon", "oslo"]);
    (0..2).for_each(|node| lab.online(node, false));
    lab.write(0, vec![resolve(&id, Choice::Edge)]);
    lab.write(1, vec![resolve(&id, Choice::Value(value(r#"{"name":"white tea"}"#)))]);
    lab.write(1, vec![add("tally", "1", "n", -1)]);
    lab.online(1, true);
    lab.converge(10_000);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers()[1], "2 rejected guard");
    assert_eq!(lab.edges[1].answers(), ["1 applied", "2 applied"]);
    assert!(lab.cloud.value("products", "1").unwrap().contains("white tea"));
    let (row, detail) = (rows(&mut lab).remove(0), lab.edges[0].reader().write(2).unwrap().unwrap().outcome.unwrap().detail.unwrap());
    assert_eq!((rows(&mut lab).len(), member(&row, "resolved_by")), (1, "oslo".to_owned()));
    assert!(detail.contains("not open any more"), "{detail}");
    assert!(lab.try_in_cloud(vec![resolve(&id, Choice::Cloud)]).unwrap_err().code() == "not_open");
}

#[test]
fn a_decision_that_comes_too_late_opens_the_row_again() {
    let (mut lab, id) = two_names(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![resolve(&id, Choice::Edge)]);
    lab.in_cloud(vec![merge("products", "1", r#"{"name":"black tea, 100 g"}"#)]);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers()[1], "2 rejected guard");
    assert_eq!(state(&mut lab, 0), ConflictState::Auto);
    assert!(lab.edges[0].value("products", "1").unwrap().contains("100 g"));
    lab.write(0, vec![resolve(&id, Choice::Edge)]);
    lab.converge(10_000);
    assert!(lab.cloud.value("products", "1").unwrap().contains("green tea"));
}

/// Deleted in the cloud, changed in the shop: one call brings back both, the price too that the shop may not write.
#[test]
fn restored_from_the_shop() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.online(0, false);
    lab.write(0, vec![merge("products", "1", r#"{"name":"green tea"}"#)]);
    lab.write(0, vec![add("products", "1", "n", -3)]);
    lab.in_cloud(vec![delete("products", "1", true)]);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(
        (lab.edges[0].answers(), lab.cloud.value("products", "1")),
        (vec!["1 merged".to_owned(), "2 flagged gone".to_owned()], None)
    );
    lab.online(0, false);
    for row in rows(&mut lab) {
        lab.write(0, vec![resolve(&row.id, Choice::Edge)]);
    }
    assert_eq!(n(&mut lab, 0, "products"), Some(17));
    lab.online(0, true);
    lab.converge(10_000);
    let product = lab.edges[1].value("products", "1").unwrap();
    assert!(value(&product).same(&value(r#"{"name":"green tea","id":1,"price":18,"n":17,"note":null}"#)), "{product}");
    assert!(rows(&mut lab).iter().all(|row| row.state == "resolved"));
}

/// Deleted in the shop, changed in the cloud: what the delete took comes back from where it was made.
#[test]
fn restored_after_a_delete_of_ones_own() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("products", "2", r#"{"id":2,"name":"mint","price":4,"n":0}"#)]);
    lab.converge(10_000);
    lab.online(0, false);
    lab.write(0, vec![delete("products", "2", false)]);
    lab.in_cloud(vec![merge("products", "2", r#"{"price":5}"#)]);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[1].value("products", "2"), None);
    let id = rows(&mut lab)[0].id.clone();
    lab.write(0, vec![resolve(&id, Choice::Cloud)]);
    lab.converge(10_000);
    let product = lab.edges[1].value("products", "2").unwrap();
    assert!(value(&product).same(&value(r#"{"id":2,"name":"mint","price":5,"n":0}"#)), "{product}");
}

/// Sales of one shop do not stand in the way of its own decision; those of another do.
#[test]
fn a_bound_that_was_passed_is_counted_anew() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.write(0, vec![add("products", "1", "n", -21)]);
    lab.converge(10_000);
    let id = rows(&mut lab)[0].id.clone();
    lab.online(0, false);
    lab.write(0, vec![add("products", "1", "n", -1)]);
    lab.write(0, vec![resolve(&id, Choice::Value(value(r#"{"n":3}"#)))]);
    lab.write(0, vec![add("products", "1", "n", -1)]);
    assert_eq!(n(&mut lab, 0, "products"), Some(2));
    lab.online(0, true);
    lab.converge(10_000);
    // The first of the two sales passed the bound too, so the row had grown.
    assert_eq!(lab.edges[0].answers()[1..], ["2 flagged bound", "3 rejected guard", "4 flagged bound"]);
    assert_eq!((n(&mut lab, 0, "products"), rows(&mut lab).len()), (Some(-3), 1));
    lab.write(0, vec![resolve(&id, Choice::Value(value(r#"{"n":3}"#)))]);
    lab.write(0, vec![add("products", "1", "n", -1)]);
    lab.converge(10_000);
    assert_eq!((n(&mut lab, 1, "products"), rows(&mut lab)[0].state.clone()), (Some(2), "resolved".to_owned()));
}

#[test]
fn any_history_resolves_each_row_once() {
    let set = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = set("TOMBOLO_SEED").map_or(0..set("TOMBOLO_SEEDS").unwrap_or(SEEDS), |only| only..only + 1);
    let mut met: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds.clone() {
        println!("TOMBOLO_SEED={seed}");
        let mut lab = decisions::run(seed);
        for (state, count) in decisions::resolved_once(&mut lab) {
            *met.entry(state).or_default() += count;
        }
        for row in rows(&mut lab) {
            *met.entry(member(&row, "kind")).or_default() += 1;
        }
        for row in rows(&mut lab).iter().filter(|row| row.state == "resolved") {
            *met.entry(format!("resolved {}", member(row, "kind"))).or_default() += 1;
        }
    }
    println!("{met:?}");
    let needed =
        ["open", "auto", "resolved field", "resolved bound", "resolved count", "resolved gone", "resolved guard", "resolved key_taken"];
    let missed: Vec<_> = needed.iter().filter(|word| !met.contains_key(**word)).collect();
    assert!(seeds.count() < SEEDS as usize || missed.is_empty(), "no history met {missed:?}");
}
