//! JSON Schema on both sides: what a till refuses, and what a stricter schema does to what is on its way.

use proto::resolve::Choice;
use tests::lab::Lab;
use tests::lab::words::{add, merge, put, resolve};

const LOOSE: &str = r#"{"fields":{"n":{"type":"counter"}}}"#;
const STRICT: &str = r#"{"fields":{"n":{"type":"counter"}},
    "schema":{"required":["name"],"properties":{"name":{"type":"string","maxLength":5},"price":{"minimum":0},"n":{"minimum":-5}}}}"#;

fn shop(definition: &str) -> Lab {
    let mut lab = Lab::with(&[("goods", definition)], &["lyon"]);
    lab.in_cloud(vec![put("goods", "1", r#"{"name":"tea","n":0}"#)]);
    lab.converge(10_000);
    lab
}

#[test]
fn a_till_refuses_offline_what_the_cloud_would() {
    let mut lab = shop(STRICT);
    lab.online(0, false);
    for (request, field) in [
        (put("goods", "2", r#"{"price":1}"#), "name"),
        (put("goods", "2", r#"{"name":7}"#), "name"),
        (merge("goods", "1", r#"{"name":"earl grey"}"#), "name"),
        (merge("goods", "1", r#"{"price":-1}"#), "price"),
        (merge("goods", "1", r#"{"name":null}"#), "name"),
        (add("goods", "1", "n", -6), "n"),
    ] {
        let error = lab.try_write(0, vec![request.clone()]).unwrap_err();
        assert_eq!((error.code(), error.field()), ("schema", Some(field)), "{error}");
        let refused = lab.try_in_cloud(vec![request]).unwrap_err();
        assert_eq!((refused.code(), refused.field()), ("schema", Some(field)), "{refused}");
    }
    // Later ops see earlier ones, and one that is wrong refuses them all.
    assert!(lab.try_write(0, vec![put("goods", "2", r#"{"name":"mint"}"#), merge("goods", "2", r#"{"price":-1}"#)]).is_err());
    lab.write(0, vec![put("goods", "2", r#"{"name":"mint"}"#), add("goods", "1", "n", -5)]);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied"]);
}

/// What was written under the looser schema applies, and somebody looks; nothing waits behind it.
#[test]
fn a_stricter_schema_strands_no_outbox() {
    let mut lab = shop(LOOSE);
    lab.online(0, false);
    lab.write(0, vec![put("goods", "2", r#"{"price":-2}"#)]);
    lab.write(0, vec![merge("goods", "1", r#"{"name":"earl grey"}"#)]);
    lab.write(0, vec![add("goods", "1", "n", -3)]);
    lab.define("goods", STRICT);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 flagged schema", "2 flagged schema", "3 applied"]);
    assert_eq!(lab.edges[0].pending(), 0);
    let open = lab.edges[0].reader().conflicts(Some(metamanager::ConflictState::Open), None, 10).unwrap().conflicts;
    assert_eq!(open.len(), 2);
    assert!(open.iter().all(|row| row.row.contains(r#""kind":"schema""#)));
    // It has the new definition now. What was wrong before stays writable, apart from what is wrong in it.
    lab.write(0, vec![add("goods", "1", "n", -1)]);
    lab.write(0, vec![merge("goods", "1", r#"{"note":"x"}"#)]);
    assert_eq!(lab.try_write(0, vec![merge("goods", "1", r#"{"name":"darjeeling"}"#)]).unwrap_err().code(), "schema");
    lab.write(0, vec![resolve(&open[1].id, Choice::Cloud)]);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers()[3..], ["4 applied", "5 applied", "6 applied"]);
    assert!(lab.cloud.value("goods", "1").unwrap().contains(r#""name":"tea""#));
}
