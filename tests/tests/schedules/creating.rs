//! Records that are made, made again, and gone.

use tests::lab::words::{add, create, delete, merge, number, put, value};

use super::{n, shop};

#[test]
fn two_creates() {
    let mut lab = shop(&["lyon", "oslo"]);
    (0..2).for_each(|node| lab.online(node, false));
    for (node, who) in [(0, "Ann"), (1, "Bo")] {
        lab.write(node, vec![create("orders", "1", &format!(r#"{{"for":"{who}"}}"#))]);
        lab.write(node, vec![merge("orders", "1", r#"{"note":"gift"}"#)]);
        lab.write(node, vec![create("orders", &format!("own-{who}"), "{}")]);
    }
    lab.online(0, true);
    lab.converge(10_000);
    lab.online(1, true);
    lab.converge_seeing(10_000, |lab| {
        let expected = if lab.edges[1].outcomes().is_empty() { "Bo" } else { "Ann" };
        assert!(lab.edges[1].value("orders", "1").is_none_or(|order| order.contains(expected)));
    });
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 applied", "3 applied"]);
    assert_eq!(lab.edges[1].answers(), ["1 rejected key_taken", "2 rejected depends", "3 applied"]);
}

/// A deleted record, made again in the cloud: what the node had seen was the old one.
#[test]
fn delete_recreate_increment() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![add("products", "1", "n", -3)]);
    lab.in_cloud(vec![delete("products", "1", true)]);
    lab.in_cloud(vec![put("products", "1", r#"{"id":1,"n":50}"#)]);
    lab.online(0, true);
    lab.converge_seeing(10_000, |lab| assert!([Some(17), Some(47), Some(50)].contains(&n(lab, 0, "products"))));
    assert_eq!(lab.edges[0].answers(), ["1 flagged gone"]);
    assert_eq!(n(&mut lab, 0, "products"), Some(50), "the sale was of another record");
}

/// What is left of a record that was deleted is not a record: no field of a late change makes one.
#[test]
fn husk() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![merge("products", "1", r#"{"name":"green tea"}"#)]);
    lab.in_cloud(vec![delete("products", "1", true)]);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!((lab.edges[0].value("products", "1"), lab.cloud.value("products", "1")), (None, None));
    assert_eq!(lab.edges[0].outcomes().len(), 1);
    assert_eq!(lab.edges[0].reader().conflicts(None, None, 10).unwrap().conflicts.len(), 1, "what lost can be restored");
}

/// A sale of what head office deleted: it happened, and it stays; nothing comes back.
#[test]
fn sale_of_deleted() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![create("sales", "s1", r#"{"q":3}"#), add("products", "1", "n", -3)]);
    lab.in_cloud(vec![delete("products", "1", true)]);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 flagged gone"]);
    assert_eq!(lab.cloud.value("products", "1"), None);
    assert!(lab.cloud.value("sales", "s1").is_some());
}

/// A write of two appends is sent again with one of them changed, and once as it was.
#[test]
fn append_half_repeat() {
    let mut lab = shop(&["lyon", "oslo"]);
    let sale = |second: u32| vec![create("sales", "a", r#"{"q":1}"#), create("sales", "b", &format!(r#"{{"q":{second}}}"#))];
    let first = lab.write(0, sale(2));
    assert_eq!(lab.write(0, sale(2)).write, first.write);
    assert_eq!(lab.try_write(0, sale(3)).unwrap_err().code(), "key_taken");
    // The other shop knows nothing of it yet.
    lab.online(1, false);
    lab.write(1, sale(2));
    lab.write(1, vec![create("sales", "c", r#"{"q":3}"#)]);
    lab.write(1, vec![create("sales", "d", r#"{"q":4}"#)]);
    lab.converge(10_000);
    lab.in_cloud(vec![create("sales", "d", r#"{"q":5}"#)]);
    lab.online(1, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[1].answers(), ["1 applied", "2 applied", "3 rejected key_taken"]);
    assert_eq!(lab.cloud.all("sales").len(), 4);
}

/// The same sale comes from two databases, as when a till sends it again through another node: it counts once.
#[test]
fn repeat_sale_without_key() {
    let mut lab = shop(&["lyon", "oslo"]);
    let sale = || vec![create("sales", "a", r#"{"q":3}"#), add("products", "1", "n", -3)];
    (0..2).for_each(|node| lab.online(node, false));
    (0..2).for_each(|node| drop(lab.write(node, sale())));
    (0..2).for_each(|node| lab.online(node, true));
    lab.converge_seeing(10_000, |lab| assert_eq!((n(lab, 0, "products"), n(lab, 1, "products")), (Some(17), Some(17))));
    assert_eq!((lab.edges[0].answers(), lab.edges[1].answers()), (vec!["1 applied".to_owned()], vec!["1 applied".to_owned()]));
}

#[test]
fn create_edit_offline() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![create("products", "9", r#"{"id":9,"n":5}"#)]);
    lab.write(0, vec![merge("products", "9", r#"{"name":"cup"}"#)]);
    lab.write(0, vec![add("products", "9", "n", -1)]);
    let mine = lab.edges[0].value("products", "9").unwrap();
    lab.online(0, true);
    lab.converge_seeing(10_000, |lab| {
        let view = lab.edges[0].value("products", "9").expect("read your writes");
        assert!(value(&view).same(&value(&mine)), "{view}");
    });
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 applied", "3 applied"]);
}

#[test]
fn delete_recreate_offline() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![delete("products", "1", true)]);
    lab.write(0, vec![create("products", "1", r#"{"id":1,"n":7}"#)]);
    lab.write(0, vec![add("products", "1", "n", -2)]);
    lab.online(0, true);
    lab.converge_seeing(10_000, |lab| assert_eq!(n(lab, 0, "products"), Some(5)));
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 applied", "3 applied"]);
}

/// A key of two parts, one with a slash in it, is the same on both sides and after both ways.
#[test]
fn composite_key_slash() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.define("lines", r#"{"key":"Order/Product"}"#);
    lab.converge(10_000);
    let key = "10%2F48/a%25b";
    lab.write(0, vec![create("lines", key, r#"{"Order":"10/48","Product":"a%b","q":1}"#)]);
    let wrong = lab.try_write(0, vec![create("lines", "10/48/a", r#"{"Order":"10/48","Product":"a"}"#)]);
    assert_eq!(wrong.unwrap_err().code(), "key_mismatch");
    lab.converge(10_000);
    lab.write(1, vec![merge("lines", key, r#"{"q":2}"#)]);
    lab.converge(10_000);
    let line = lab.edges[0].value("lines", key).unwrap();
    assert_eq!(number(&line, "q"), Some(2));
    assert!(value(&line).same(&value(r#"{"Order":"10/48","Product":"a%b","q":2}"#)));
}

/// A key outside the grants is taken: the answer says so and nothing of the record.
#[test]
fn key_taken_leak() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"oslo","secret":"swordfish"}"#)]);
    lab.converge(10_000);
    lab.write(0, vec![create("stock", "a", r#"{"W":"lyon"}"#)]);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 rejected key_taken"]);
    let outcome = lab.edges[0].reader().write(1).unwrap().unwrap().outcome.unwrap();
    assert!(!format!("{outcome:?}").contains("swordfish"));
    assert!(lab.edges[0].reader().conflicts(None, None, 10).unwrap().conflicts.is_empty());
    assert_eq!(lab.edges[0].value("stock", "a"), None);
}
