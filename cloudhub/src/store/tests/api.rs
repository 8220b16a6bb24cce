//! The cloud's own API: writes, imports, lists.

use proto::build::Action;
use proto::ids::WriteId;
use proto::json::Raw;
use proto::list::{Compare, Condition as Filter, ListQuery, Position};
use proto::op::{Idempotency, Verdict};

use super::bench::{Bench, Fixture, created, import_lines, key, name, node, op, put_op, revision, value};
use super::edge::{Edge, put, set};
use super::shops;
use crate::store::{
    Answer, CloudOp, CloudWrite, Condition, ConflictsRequest, ImportHow, ImportMode, Job, OpResult, Refused, StoreRead, WritesRequest,
    Written,
};

pub(super) fn a_write_is_answered_with_its_records<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut post = put_op("products", "made-up", r#"{"ProductID":11,"UnitsInStock":39}"#);
    post.key_from_value = true;
    let increment = op("products", "11", Action::Increment(vec![("UnitsInStock".to_owned(), -3)]));
    let written = bench.write(vec![post, put_op("stock", "a", r#"{"W":"lyon"}"#)]).unwrap();
    let head = bench.head();
    assert_eq!((written.write.id.clone(), written.write.verdict), (WriteId::Cloud(revision(head)), Verdict::Applied));
    let row = created(&written.results[0]);
    assert_eq!((row.key.as_str(), row.revision.0, row.born.0), ("11", head, head));
    assert_eq!((row.writer.clone(), row.actor.as_deref(), row.updated_ms), (format!("cloud:{head}"), Some("office"), bench.now_ms));
    let written = bench.write(vec![increment]).unwrap();
    assert!(matches!(&written.results[0], OpResult::Changed(row) if row.value.contains("36") && row.born.0 == head));
    let written = bench.write(vec![op("stock", "a", Action::Delete { force: false })]).unwrap();
    assert_eq!(written.results, [OpResult::Deleted { collection: name("stock"), key: key("a") }]);
    let found = bench.reader().write(&written.write.id).unwrap().unwrap();
    assert_eq!(found, written.write);
}

pub(super) fn preconditions_are_judged_in_the_transaction<F: Fixture>() {
    let mut bench = shops::<F>();
    let made = bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":5}"#);
    let counted = r#"{"ProductID":1,"UnitsInStock":6}"#;
    let code = |bench: &mut Bench<F>, record: &str, json: &str, condition: Condition| {
        let mut op = put_op("products", record, json);
        op.condition = condition;
        bench.write(vec![op]).map(|written| written.write.verdict.as_str().to_owned()).unwrap_or_else(|refused| refused.code().to_owned())
    };
    assert_eq!(code(&mut bench, "1", counted, Condition::Absent), "precondition");
    assert_eq!(code(&mut bench, "1", counted, Condition::Revisions(vec![revision(made + 1)])), "precondition");
    assert_eq!(code(&mut bench, "1", counted, Condition::Revision(revision(made + 1))), "precondition");
    assert_eq!(code(&mut bench, "2", "{}", Condition::Present), "precondition");
    assert_eq!(code(&mut bench, "1", counted, Condition::None), "count_needs_match");
    assert_eq!(code(&mut bench, "1", counted, Condition::Present), "count_needs_match");
    assert_eq!(code(&mut bench, "1", counted, Condition::Revisions(vec![revision(9_999), revision(made)])), "applied");
    assert_eq!(code(&mut bench, "2", "{}", Condition::Absent), "applied");
    let mut post = op("products", "x", Action::Put { value: value(r#"{"ProductID":1}"#), create: true });
    (post.key_from_value, post.condition) = (true, Condition::Absent);
    let post = bench.write(vec![post]).unwrap_err();
    assert_eq!((post.code(), post.status()), ("key_taken", 409));
}

pub(super) fn a_rejected_cloud_write_leaves_nothing<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.define("orders", r#"{"fields":{"Status":{"guard":true,"initial":["draft"],"transitions":{"draft":["sent"]}}}}"#);
    bench.put("orders", "1", r#"{"Status":"draft"}"#);
    let head = bench.head();
    let both = vec![put_op("products", "9", r#"{"ProductID":9}"#), put_op("orders", "1", r#"{"Status":"lost"}"#)];
    let refused = bench.write(both).unwrap_err();
    assert!(matches!(&refused, Refused::Rejected { code, .. } if code == "guard"), "{refused}");
    let check = op("orders", "1", Action::Check(vec![("Status".to_owned(), Raw::string("sent"))]));
    assert_eq!(bench.write(vec![put_op("products", "9", r#"{"ProductID":9}"#), check]).unwrap_err().code(), "guard");
    assert_eq!(bench.head(), head);
    assert!(bench.get("products", "9").is_none());
    assert!(bench.reader().conflicts(&ConflictsRequest::default()).unwrap().0.is_empty());
    for system in [put_op("_conflicts", "x", "{}"), put_op("nothing", "x", "{}")] {
        let refused = bench.write(vec![system]).unwrap_err();
        assert!(matches!(refused, Refused::System(_) | Refused::NoCollection(_)));
    }
}

pub(super) fn later_ops_see_earlier_ones<F: Fixture>() {
    let mut bench = shops::<F>();
    let written = bench
        .write(vec![
            put_op("products", "1", r#"{"ProductID":1,"UnitsInStock":5}"#),
            op("products", "1", Action::Increment(vec![("UnitsInStock".to_owned(), 2)])),
            op("products", "1", Action::Merge(value(r#"{"ProductName":"Chai"}"#))),
        ])
        .unwrap();
    assert_eq!(written.results.len(), 1, "one entry for each record");
    assert_eq!(created(&written.results[0]).value, r#"{"ProductID":1,"UnitsInStock":7,"ProductName":"Chai"}"#);
    let many = (0..1_001).map(|at| put_op("stock", &at.to_string(), "{}")).collect();
    assert!(matches!(bench.write(many), Err(Refused::TooLarge(_))));
}

pub(super) fn force_is_an_administrators<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.define("sales", r#"{"policy":"append"}"#);
    bench.put("sales", "1", r#"{"sum":5}"#);
    let mut remove = |admin| {
        let ops = vec![op("sales", "1", Action::Delete { force: true })];
        bench.job(Job::Write(Box::new(CloudWrite { ops, admin, actor: None, request_id: None, caller: String::new(), idempotency: None })))
    };
    assert!(remove(false).is_err());
    assert!(matches!(remove(true), Ok(Answer::Written(_))));
    assert!(bench.get("sales", "1").is_none());
    assert!(bench.write(vec![put_op("sales", "1", r#"{"sum":6}"#)]).is_err(), "key and hash stay");
}

pub(super) fn imports_count_and_leave_counters_alone<F: Fixture>() {
    let mut bench = shops::<F>();
    let lines = [("1", r#"{"ProductID":1,"ProductName":"Chai","UnitsInStock":39}"#), ("2", r#"{"ProductID":2,"UnitsInStock":17}"#)];
    let head = bench.head();
    let first = bench.import("products", ImportMode::Put, false, &lines).unwrap();
    assert_eq!((first.created, first.changed, first.unchanged, first.revision.0), (2, 0, 0, head + 1));
    bench.write(vec![op("products", "1", Action::Increment(vec![("UnitsInStock".to_owned(), -9)]))]).unwrap();
    let head = bench.head();
    let again = bench.import("products", ImportMode::Put, false, &lines).unwrap();
    assert_eq!((again.created, again.changed, again.unchanged, again.revision.0), (0, 0, 2, head));
    let renamed = [("1", r#"{"ProductID":1,"ProductName":"Tea","UnitsInStock":39}"#), ("3", r#"{"UnitsInStock":1}"#)];
    let third = bench.import("products", ImportMode::Put, false, &renamed).unwrap();
    assert_eq!((third.created, third.changed, third.unchanged), (1, 1, 0));
    assert_eq!(bench.get("products", "1").unwrap().value, r#"{"ProductID":1,"ProductName":"Tea","UnitsInStock":30}"#);
    assert_eq!(bench.get("products", "3").unwrap().value, r#"{"UnitsInStock":1,"ProductID":3}"#, "the key is filled in");
    let set = bench.import("products", ImportMode::Put, true, &renamed).unwrap();
    assert_eq!((set.changed, set.unchanged), (1, 1));
    assert!(bench.get("products", "1").unwrap().value.contains("39"));
    let merged = bench.import("products", ImportMode::Merge, false, &[("1", r#"{"Note":"n","UnitsInStock":1}"#)]).unwrap();
    assert_eq!(merged.changed, 1);
    assert!(bench.get("products", "1").unwrap().value.contains(r#""UnitsInStock":39,"Note":"n""#));
    let id = WriteId::Cloud(merged.revision);
    assert!(bench.reader().write(&id).unwrap().unwrap().ops.is_empty());
    // Lines past a counter's bound open a conflict each, under ids of their own.
    let below = [("7", r#"{"UnitsInStock":-7}"#), ("8", r#"{"UnitsInStock":-8}"#), ("9", r#"{"UnitsInStock":9}"#)];
    let flagged = bench.import("products", ImportMode::Put, false, &below).unwrap();
    assert_eq!(flagged.created, 3);
    let rows = bench.reader().conflicts(&ConflictsRequest { limit: 10, ..Default::default() }).unwrap().0;
    assert_eq!(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["7", "8"]);
}

pub(super) fn a_bad_line_changes_nothing<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1}"#);
    let head = bench.head();
    let lines = [("2", r#"{"ProductID":2}"#), ("3", r#"{"ProductID":4}"#)];
    let now_ms = bench.now_ms;
    let mut how = ImportHow { collection: name("products"), mode: ImportMode::Put, set_counters: false };
    let checked = bench.reader().check_import(&how, &import_lines(&lines), now_ms).unwrap().unwrap_err();
    let refused = bench.import("products", ImportMode::Put, false, &lines).unwrap_err();
    assert_eq!(checked, refused);
    assert_eq!((refused.code(), refused.status()), ("bad_line", 400));
    assert!(refused.to_string().starts_with("line 2: "), "{refused}");
    how.mode = ImportMode::Create;
    let taken = [("2", "{}"), ("1", r#"{"ProductID":1}"#), ("2", "{}"), ("2", r#"{"a":1}"#)];
    let checked = bench.reader().check_import(&how, &import_lines(&taken), now_ms).unwrap().unwrap_err();
    assert!(checked.to_string().starts_with("line 4: "), "{checked}");
    assert!(bench.reader().check_import(&how, &import_lines(&taken[..3]), now_ms).unwrap().is_ok());
    assert!(bench.import("products", ImportMode::Create, false, &taken).unwrap_err().to_string().starts_with("line 4: "));
    let many: Vec<_> = (0..1_001).map(|_| ("5", "{}")).collect();
    assert!(matches!(bench.import("products", ImportMode::Put, false, &many), Err(Refused::TooLarge(_))));
    assert_eq!(bench.head(), head);
    assert!(bench.get("products", "2").is_none());
}

pub(super) fn lists_page_and_filter<F: Fixture>() {
    let mut bench = shops::<F>();
    for at in 0..25 {
        let site = if at % 2 == 0 { "lyon" } else { "oslo" };
        bench.put("stock", &format!("k{at:02}"), &format!(r#"{{"W":"{site}","n":{at}.0,"b":true,"z":null}}"#));
    }
    bench.put("stock", "other", "{}");
    bench.delete("stock", "k03");
    let mut keys = |request: ListQuery| {
        let page = bench.reader().list(&request).unwrap().unwrap();
        (page.records.iter().map(|row| row.key.to_string()).collect::<Vec<_>>(), page.next.map(|place| place.key))
    };
    let all = ListQuery::all(name("stock"), 4);
    assert_eq!(keys(all.clone()), (["k00", "k01", "k02", "k04"].map(String::from).to_vec(), Some("k04".to_owned())));
    let page = ListQuery { after: Some(Position::of_key("k23")), ..all.clone() };
    assert_eq!(keys(page), (vec!["k24".to_owned(), "other".to_owned()], None));
    let prefix = ListQuery { prefix: Some("k1".to_owned()), limit: 100, ..all.clone() };
    assert_eq!(keys(prefix).0.len(), 10);
    let filter = |field: &str, text: &str| {
        let conditions = vec![Filter::new(field, Compare::Equal, vec![text.to_owned()])];
        ListQuery { conditions, limit: 100, ..all.clone() }
    };
    for (field, text, count) in
        [("W", "lyon", 13), ("n", "4", 1), ("n", "4.00", 1), ("b", "true", 24), ("z", "null", 24), ("n", "x", 0), ("q", "1", 0)]
    {
        assert_eq!(keys(filter(field, text)).0.len(), count, "{field}={text}");
    }
    let named = ListQuery { keys: vec![key("k05"), key("nothing"), key("k01"), key("k05"), key("k03")], ..all.clone() };
    assert_eq!(keys(named), (vec!["k01".to_owned(), "k05".to_owned()], None));
    let nothing = bench.reader().list(&ListQuery { collection: name("nothing"), ..all }).unwrap().unwrap_err();
    assert_eq!(nothing, Refused::NoCollection(name("nothing")));
}

pub(super) fn exports_hold_everything<F: Fixture>() {
    let mut bench = shops::<F>();
    let lines: Vec<_> = (0..2_300).map(|at| (format!("{at:04}"), format!(r#"{{"ProductID":"{at:04}"}}"#))).collect();
    for chunk in lines.chunks(1_000) {
        let chunk: Vec<_> = chunk.iter().map(|(key, json)| (key.as_str(), json.as_str())).collect();
        bench.import("products", ImportMode::Put, false, &chunk).unwrap();
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = bench.reader().export(&name("products"), after.as_ref()).unwrap().unwrap();
        assert!(page.key_in_value);
        all.extend(page.records.into_iter().map(|(key, value)| (key.to_string(), value)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, lines);
    assert_eq!(bench.reader().collection(&name("products")).unwrap().unwrap().records, 2_300);
}

pub(super) fn writes_and_conflicts_are_found<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1,"ProductName":"x"}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let seen = bench.head();
    bench.put("products", "1", r#"{"ProductID":1,"ProductName":"cloud"}"#);
    lyon.commit(set("products", "1", seen, "ProductName", "\"edge\""));
    lyon.commit(put("products", "1", r#"{"ProductID":1,"ProductName":"again"}"#));
    lyon.upload(&mut bench).unwrap();
    let verdicts = |bench: &mut Bench<F>, verdict| {
        let (rows, next) = bench.reader().writes(&WritesRequest { verdict, after: None, limit: 100 }).unwrap();
        assert_eq!(next, None);
        rows.into_iter().map(|row| format!("{} {}", row.id, row.verdict.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&mut bench, Some(Verdict::Rejected)), ["lyon:010101:2 rejected"]);
    assert_eq!(verdicts(&mut bench, None).len(), 4);
    let (first, next) = bench.reader().writes(&WritesRequest { limit: 1, ..Default::default() }).unwrap();
    let rest = bench.reader().writes(&WritesRequest { after: next, limit: 10, ..Default::default() }).unwrap().0;
    assert_eq!((first.len(), rest.len()), (1, 3));
    assert_eq!(bench.reader().write(&"lyon:020202:2".parse().unwrap()).unwrap(), None);

    let list = |bench: &mut Bench<F>, state: Option<&str>, collections: Option<Vec<_>>| {
        let request = ConflictsRequest { state: state.map(str::to_owned), after: None, limit: 10, collections };
        bench.reader().conflicts(&request).unwrap().0.into_iter().map(|row| row.state).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut bench, None, None), ["auto", "open"]);
    assert_eq!(list(&mut bench, Some("open"), None), ["open"]);
    assert_eq!(list(&mut bench, None, Some(vec![name("products")])).len(), 2);
    assert!(list(&mut bench, None, Some(vec![name("stock")])).is_empty());
    let (page, next) = bench.reader().conflicts(&ConflictsRequest { limit: 1, ..Default::default() }).unwrap();
    let rest = bench.reader().conflicts(&ConflictsRequest { limit: 1, after: next, ..Default::default() }).unwrap();
    assert_eq!((page.len(), rest.0.len(), rest.1), (1, 1, None));
    let figures = bench.reader().figures().unwrap();
    assert_eq!((figures.conflicts_open, figures.nodes, figures.collections), (1, 2, 2));
    assert_eq!(bench.reader().node(&node(&lyon.node)).unwrap().unwrap().conflicts_open, 1);
}

pub(super) fn one_refusal_leaves_the_group_alone<F: Fixture>() {
    let mut bench = shops::<F>();
    let head = bench.head();
    let write = |ops| {
        Job::Write(Box::new(CloudWrite { ops, admin: false, actor: None, request_id: None, caller: String::new(), idempotency: None }))
    };
    let bad = vec![put_op("products", "2", r#"{"ProductID":2}"#), op("products", "0", Action::Delete { force: false })];
    let answers = bench.group(vec![
        write(vec![put_op("products", "1", r#"{"ProductID":1}"#)]),
        write(bad),
        Job::DeleteCollection { name: name("nothing") },
        write(vec![put_op("products", "3", r#"{"ProductID":3}"#)]),
    ]);
    let codes: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_or_else(Refused::code, |_| "ok")).collect();
    assert_eq!(codes, ["ok", "not_found", "not_found", "ok"]);
    assert_eq!(bench.head(), head + 2, "a refused write takes no revision");
    assert_eq!(["1", "2", "3"].map(|record| bench.get("products", record).is_some()), [true, false, true]);
}

fn named<F: Fixture>(bench: &mut Bench<F>, caller: &str, key: &str, asked: u8, ops: Vec<CloudOp>) -> Result<Written, Refused> {
    let idempotency = Some(Idempotency { key: key.to_owned(), request: [asked; 16] });
    let write = CloudWrite { ops, admin: false, actor: None, request_id: None, caller: caller.to_owned(), idempotency };
    match bench.job(Job::Write(Box::new(write)))? {
        Answer::Written(written) => Ok(*written),
        other => panic!("{other:?}"),
    }
}

pub(super) fn a_request_is_done_once<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":20}"#);
    let sale = || vec![op("products", "1", Action::Increment(vec![("UnitsInStock".to_owned(), -3)]))];
    let first = named(&mut bench, "till", "k1", 1, sale()).unwrap();
    let head = bench.head();
    bench.restart();
    let repeat = named(&mut bench, "till", "k1", 1, sale()).unwrap();
    assert_eq!((&repeat.write, &repeat.results), (&first.write, &first.results));
    let refused = named(&mut bench, "till", "k1", 2, sale()).unwrap_err();
    assert_eq!((refused.code(), refused.status(), refused.field()), ("idempotency_reuse", 422, Some("Idempotency-Key")));
    assert_eq!(bench.head(), head, "nothing was decided");
    assert_ne!(named(&mut bench, "office", "k1", 1, sale()).unwrap().write.id, first.write.id, "another caller's keys are others");
    // What was refused leaves its key free.
    let missing = vec![op("products", "7", Action::Increment(vec![("UnitsInStock".to_owned(), -3)]))];
    assert!(named(&mut bench, "till", "k2", 1, missing).is_err());
    assert!(named(&mut bench, "till", "k2", 2, sale()).is_ok());
}

pub(super) fn a_repeat_names_what_the_first_made<F: Fixture>() {
    let mut bench = shops::<F>();
    let post = |made: &str| {
        let mut post = op("stock", made, Action::Put { value: value(r#"{"W":"lyon"}"#), create: true });
        (post.key_from_value, post.condition) = (true, Condition::Absent);
        vec![post]
    };
    let first = named(&mut bench, "till", "k1", 1, post("made-1")).unwrap();
    assert_eq!(named(&mut bench, "till", "k1", 1, post("made-2")).unwrap().results, first.results);
    bench.delete("stock", "made-1");
    let repeat = named(&mut bench, "till", "k1", 1, post("made-3")).unwrap();
    assert_eq!(repeat.results, [OpResult::Gone { collection: name("stock"), key: key("made-1") }]);
    let WriteId::Cloud(revision) = first.write.id else { panic!("{:?}", first.write.id) };
    bench.done(Job::Discard { revision });
    assert!(matches!(bench.job(Job::Discard { revision }), Err(Refused::NotFound { .. })));
    let repeat = named(&mut bench, "till", "k1", 1, post("made-3")).unwrap();
    assert_eq!((repeat.write.id, repeat.write.verdict), (WriteId::Cloud(revision), Verdict::Applied));
}
