//! What an op claims, and what it was judged against.

use metamanager::{Etag, Precondition};
use proto::ids::Revision;
use tests::lab::Lab;
use tests::lab::words::{add, check, create, delete, merge, number, put, value, when};

use super::{n, shop};

/// A put that carries everything back changes only what differs: neither the stock that others sold from, nor the price
/// that only the cloud may set.
#[test]
fn rename_by_put() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.online(0, false);
    lab.write(0, vec![put("products", "1", r#"{"note":null,"name":"green tea","n":20,"price":18,"id":1}"#)]);
    lab.write(1, vec![add("products", "1", "n", -4)]);
    lab.in_cloud(vec![merge("products", "1", r#"{"price":19}"#)]);
    lab.converge(10_000);
    lab.online(0, true);
    lab.converge_seeing(10_000, |lab| assert!(lab.edges[0].value("products", "1").unwrap().contains("green tea")));
    assert_eq!(lab.edges[0].answers(), ["1 applied"]);
    let product = lab.cloud.value("products", "1").unwrap();
    assert!(value(&product).same(&value(r#"{"id":1,"name":"green tea","price":19,"n":16,"note":null}"#)), "{product}");
}

#[test]
fn null_roundtrip() {
    let mut lab = shop(&["lyon", "oslo"]);
    let null = r#"{"id":1,"name":"tea","price":18.0,"n":20,"note":null}"#;
    lab.write(0, vec![put("products", "1", &null.replace("tea", "mint"))]);
    lab.write(1, vec![put("products", "1", &null.replace("null", "1"))]);
    lab.converge(10_000);
    assert_eq!((lab.edges[0].answers(), lab.edges[1].answers()), (vec!["1 applied".to_owned()], vec!["1 applied".to_owned()]));
    lab.write(1, vec![put("products", "1", &null.replace("tea", "mint"))]);
    lab.converge(10_000);
    for node in 0..2 {
        let view = lab.edges[node].value("products", "1").unwrap();
        assert!(view.contains(r#""note":null"#), "{view}");
    }
}

/// A write cannot fetch what its node may not read: neither by touching it nor by moving it here.
#[test]
fn write_as_read() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"oslo","pin":1234}"#)]);
    lab.converge(10_000);
    lab.write(0, vec![merge("stock", "a", r#"{"W":"lyon"}"#)]);
    lab.write(0, vec![merge("stock", "a", r#"{"pin":1}"#)]);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers()[0], "1 rejected not_entitled");
    assert!(lab.edges[0].answers()[1].starts_with("2 rejected"));
    assert_eq!(lab.edges[0].value("stock", "a"), None);
    assert!(!lab.edges[0].reader().conflicts(None, None, 10).unwrap().conflicts.iter().any(|row| row.row.contains("1234")));
    assert!(lab.cloud.value("stock", "a").unwrap().contains("oslo"));
}

/// Nor can a check find it out: right and wrong guesses get the same answer.
#[test]
fn check_as_read() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"oslo","pin":1234}"#)]);
    lab.converge(10_000);
    for (guess, id) in [("1234", "x"), ("1", "y")] {
        lab.write(0, vec![check("stock", "a", "pin", guess), create("orders", id, "{}")]);
    }
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 rejected not_entitled", "2 rejected not_entitled"]);
    let detail = |lab: &mut Lab, number| lab.edges[0].reader().write(number).unwrap().unwrap().outcome.unwrap().detail;
    assert_eq!(detail(&mut lab, 1), detail(&mut lab, 2));
    assert!(lab.cloud.all("orders").is_empty());
}

/// Sets the counter as someone does who has counted the shelf.
fn count(lab: &mut Lab, node: usize, figure: i64) {
    let row = lab.edges[node].row("products", "1").unwrap();
    let write = row.pending.last().map(|number| lab.edges[node].id(*number));
    let tag = Etag { revision: row.revision, write };
    let mut counted = value(&row.value);
    counted.set("n", proto::json::Raw::integer(figure));
    lab.write(node, vec![when(put("products", "1", &counted.to_text()), Precondition::Match(vec![tag]))]);
}

/// Two people count the same shelf: both differences are kept, and someone is asked to look.
#[test]
fn two_counts() {
    let mut lab = shop(&["lyon", "oslo"]);
    (0..2).for_each(|node| lab.online(node, false));
    count(&mut lab, 0, 18);
    count(&mut lab, 1, 17);
    lab.online(0, true);
    lab.converge(10_000);
    lab.online(1, true);
    lab.converge(10_000);
    assert_eq!((lab.edges[0].answers(), lab.edges[1].answers()), (vec!["1 applied".to_owned()], vec!["1 flagged count".to_owned()]));
    assert_eq!(n(&mut lab, 0, "products"), Some(15));
}

/// A count after one's own sale stands on it: no alarm.
#[test]
fn count_after_own_sale() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![add("products", "1", "n", -3)]);
    count(&mut lab, 0, 16);
    lab.online(0, true);
    lab.converge_seeing(10_000, |lab| assert_eq!(n(lab, 0, "products"), Some(16)));
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 applied"]);
}

/// The tag of a pending version is good for exactly that version, before and after the cloud's answer.
#[test]
fn etag_pending() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    let clean = lab.edges[0].row("products", "1").unwrap().revision;
    let tag = |revision: Revision, write| Precondition::Match(vec![Etag { revision, write }]);
    lab.write(0, vec![when(merge("products", "1", r#"{"name":"a"}"#), tag(clean, None))]);
    let stale = lab.try_write(0, vec![when(merge("products", "1", r#"{"name":"b"}"#), tag(clean, None))]);
    assert_eq!(stale.unwrap_err().code(), "precondition");
    let own = tag(clean, Some(lab.edges[0].id(1)));
    lab.online(0, true);
    lab.converge(10_000);
    lab.write(0, vec![when(merge("products", "1", r#"{"name":"c"}"#), own.clone())]);
    lab.converge(10_000);
    let stale = lab.try_write(0, vec![when(merge("products", "1", r#"{"name":"d"}"#), own)]);
    assert_eq!(stale.unwrap_err().code(), "precondition");
}

/// A guarded change that stood on a rejected one is rejected with what it saw, and the view goes back to the cloud's.
#[test]
fn guard_on_rejected() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud(vec![put("orders", "1", r#"{"s":"draft"}"#)]);
    lab.converge(10_000);
    lab.online(0, false);
    lab.write(0, vec![merge("orders", "1", r#"{"s":"confirmed"}"#)]);
    lab.write(0, vec![merge("orders", "1", r#"{"s":"shipped"}"#)]);
    lab.write(0, vec![merge("orders", "1", r#"{"note":"x"}"#)]);
    lab.in_cloud(vec![merge("orders", "1", r#"{"s":"cancelled"}"#)]);
    lab.online(0, true);
    lab.converge_seeing(10_000, |lab| {
        let order = lab.edges[0].value("orders", "1").unwrap();
        assert!(order.contains("cancelled") || lab.edges[0].outcomes().is_empty(), "{order}");
    });
    assert_eq!(lab.edges[0].answers(), ["1 rejected guard", "2 rejected guard", "3 applied"]);
}

/// A field that was never there has no clock: a change from one who had not seen it absent is still concurrent only with
/// what is newer.
#[test]
fn old_record_new_field() {
    let mut lab = shop(&["lyon", "oslo"]);
    (0..2).for_each(|node| lab.online(node, false));
    lab.write(0, vec![merge("products", "1", r#"{"shelf":"A"}"#)]);
    lab.pass(1_000);
    lab.write(1, vec![merge("products", "1", r#"{"shelf":"B"}"#)]);
    lab.online(1, true);
    lab.converge(10_000);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!((lab.edges[1].answers(), lab.edges[0].answers()), (vec!["1 applied".to_owned()], vec!["1 merged".to_owned()]));
    let product = lab.cloud.value("products", "1").unwrap();
    assert!(product.contains(r#""shelf":"B""#), "the later one stands: {product}");
    assert_eq!(number(&product, "n"), Some(20));
}

/// An ACK without a change is one too: an answer that changes no record is acknowledged durably, once.
#[test]
fn ack_without_change() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"elsewhere"}"#), delete("stock", "a", false)]);
    lab.write(0, vec![put("products", "1", r#"{"id":1,"name":"tea","price":18.0,"n":20,"note":null}"#)]);
    lab.converge(10_000);
    let head = lab.cloud.head();
    lab.kill(tests::lab::Side::Edge(0));
    let cursor = lab.edges[0].reader().status().unwrap().cursor.unwrap();
    assert_eq!(cursor.position.revision, head, "what was acknowledged is durable");
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied"]);
}
