//! A right that is gone: not a byte of what came through it stays in the file or its log, and what the node itself wrote
//! stays.

use std::fs;
use std::path::PathBuf;

use proto::frame::{Batch, Content, Grants, Record};
use proto::ids::Revision;
use proto::op::{Outcome, Verdict, Write, hash};

use crate::kit::{Edge, answered, at, batch, create, filled, grant, grants, merge, name, put, record};

/// In every value that comes from the cloud. What stands there in one place is never cut in two by a number.
const SECRET: &str = "Marseille7310Secret";

fn files(edge: &Edge) -> Vec<PathBuf> {
    ["", "-wal", "-shm"].iter().map(|end| PathBuf::from(format!("{}{end}", edge.path().display()))).filter(|path| path.exists()).collect()
}

/// The files that hold the text, and where.
fn traces(edge: &Edge, text: &str) -> Vec<(PathBuf, usize)> {
    let found = files(edge).into_iter().filter_map(|path| {
        let bytes = fs::read(&path).unwrap();
        let place = bytes.windows(text.len()).position(|part| part == text.as_bytes())?;
        Some((path, place))
    });
    found.collect()
}

/// The grants of a node that does not get `cut/lyon` any more, as of a revision.
fn without_cut(revision: u64) -> Grants {
    let all = grants(revision);
    let kept = all.grants.iter().filter(|grant| !grant.share.partition.as_deref().is_some_and(|partition| partition.contains("lyon")));
    Grants { revision: Revision(revision), grants: kept.cloned().collect(), ..all.clone() }
}

fn secret(id: &str, revision: u64, length: usize) -> Record {
    let text = format!(r#"{{"W":"lyon","pin":"{SECRET}","x":"{SECRET}{}"}}"#, "-".repeat(length));
    record("cut", &format!("{id}{SECRET}"), revision, Content::Value(text))
}

fn taken(edge: &mut Edge, from: u64, to: u64) {
    edge.apply(vec![Batch { grants: Some(without_cut(to)), ..batch(from, to, true, Vec::new()) }]);
}

#[test]
fn rows_staging_conflicts_and_old_values_go() {
    let mut edge = Edge::new();
    let id = format!("a{SECRET}");
    let row = format!(r#"{{"id":"c1","collection":"cut","key":"{id}","state":"open","fields":[{{"cloud":"{SECRET}"}}]}}"#);
    let conflict = Record { partition: Some("cut/lyon".to_owned()), ..record("_conflicts", "c1", 11, Content::Value(row)) };
    let poison = record("cut", &format!("p{SECRET}"), 11, Content::Value(format!("no JSON {SECRET}")));
    let entries = [conflict, poison, secret("a", 11, 9), secret("b", 11, 9)].map(proto::frame::Entry::Record).to_vec();
    edge.apply(vec![batch(10, 11, true, entries)]);
    // One write is delivered, one rejected with words about it, one waits; one is this node's own altogether.
    for pin in ["one", "two", "three"] {
        edge.write(vec![merge("cut", &id, &format!(r#"{{"pin":"{pin}"}}"#))]);
    }
    edge.write(vec![create("cut", "mine", r#"{"W":"lyon","pin":"own value"}"#)]);
    edge.write(vec![merge("cut", "mine", r#"{"pin":"own again"}"#)]);
    let detail = Some(format!("{SECRET} is not of type \"number\""));
    let schema =
        Outcome { verdict: Verdict::Rejected, revision: Revision(13), code: Some("schema".to_owned()), detail, conflicts: Vec::new() };
    let words = proto::frame::Entry::Outcome { database: None, number: 2, outcome: schema };
    edge.apply(vec![batch(11, 13, true, vec![answered(1, 12, Verdict::Applied), words])]);
    // Part of a revision waits in staging, one of it in the same transaction that takes the right away.
    let through = |id: &str| proto::ids::Position { revision: Revision(13), inside: Some((name("cut"), crate::kit::key(id))) };
    let staged = |id: &str| vec![proto::frame::Entry::Record(secret(id, 14, 9))];
    edge.apply(vec![Batch { entries: staged("s"), ..Batch::empty(at(13), through("s")) }]);
    assert_eq!(traces(&edge, SECRET).len(), 1, "still in the log");
    let original = edge.reader().write(3).unwrap().unwrap().write.encode();
    let before = edge.store().status().unwrap();
    edge.apply(vec![
        Batch { entries: staged("t"), ..Batch::empty(through("s"), through("t")) },
        Batch { grants: Some(without_cut(15)), ..Batch::empty(through("t"), through("u")) },
        Batch { at_head: true, ..Batch::empty(through("u"), at(15)) },
    ]);
    // Its keys are in what the node itself wrote; the values are nowhere.
    for text in
        [format!("\"{SECRET}"), format!("{SECRET} is not")].into_iter().chain(["b", "p", "s", "t"].map(|key| format!("{key}{SECRET}")))
    {
        assert_eq!(traces(&edge, &text), [], "{text}");
    }
    let status = edge.store().status().unwrap();
    assert_eq!((before.outbox_writes, status.outbox_writes, status.blocked_count), (3, 3, 0));
    let part = edge.store().outbox_after(0, 1 << 20).unwrap();
    let [third, fourth, fifth] = &part.writes[..] else { panic!("{part:?}") };
    assert_eq!(third.hash, Some(hash(&original)), "the cloud knows it as it was committed");
    assert_ne!(third.bytes, original);
    assert!(Write::decode(&third.bytes).is_ok());
    assert_eq!((fourth.hash, fifth.hash), (None, None), "its own values stay");
    let bytes = part.writes.iter().map(|write| write.bytes.len() as u64).sum::<u64>();
    assert_eq!(status.outbox_bytes, bytes);
    let rejected = edge.reader().write(2).unwrap().unwrap().outcome.unwrap();
    assert_eq!((rejected.code.as_deref(), rejected.detail), (Some("schema"), None));
    // What is written later brings nothing of it back.
    edge.write(vec![put("stock", "9", r#"{"id":9}"#)]);
    edge.reopen();
    assert_eq!(traces(&edge, &format!("\"{SECRET}")), []);
}

/// Pages that were split and joined keep copies of rows in their unused middle: those go too. The other half of the rows
/// stays as it is.
#[test]
fn nothing_is_left_in_unused_space() {
    for seed in 1..6_u64 {
        let mut edge = Edge::new();
        let mut dice = seed;
        let mut roll = move |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % below
        };
        for revision in 11..90 {
            let mut entries = Vec::new();
            for _ in 0..roll(12) {
                let id = format!("{}-", roll(400));
                let mut row = secret(&id, revision, roll(900) as usize);
                if roll(2) == 0 {
                    row = record("fixed", &id, revision, Content::Value(format!(r#"{{"kept":"{}"}}"#, "k".repeat(roll(900) as usize))));
                }
                if roll(5) == 0 {
                    row.content = Content::Deleted;
                }
                entries.push(proto::frame::Entry::Record(row));
            }
            edge.apply(vec![batch(revision - 1, revision, true, entries)]);
        }
        let kept = edge.reader().count(&name("fixed")).unwrap();
        taken(&mut edge, 89, 90);
        assert_eq!(traces(&edge, SECRET), [], "seed {seed}");
        assert_eq!((edge.reader().count(&name("fixed")).unwrap(), kept > 0), (kept, true));
        let check: String =
            rusqlite::Connection::open(edge.path()).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let entries =
            (0..50).map(|id| proto::frame::Entry::Record(record("fixed", &format!("n{id}"), 91, Content::Value("{}".to_owned()))));
        edge.apply(vec![batch(90, 91, true, entries.collect())]);
        assert_eq!(traces(&edge, SECRET), [], "seed {seed}: what is written later brings nothing back");
    }
}

/// A reader that stands in the log keeps it; when it has gone, the next chance empties it.
#[test]
fn a_reader_only_delays_it() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![proto::frame::Entry::Record(secret("a", 11, 9))])]);
    let other = rusqlite::Connection::open(edge.path()).unwrap();
    let reading = other.unchecked_transaction().unwrap();
    let rows: i64 = reading.query_row("SELECT count(*) FROM base", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    taken(&mut edge, 11, 12);
    assert!(edge.store().is_untidy());
    assert!(!traces(&edge, SECRET).is_empty());
    edge.store().tend();
    assert!(edge.store().is_untidy(), "it stands there still");
    drop(reading);
    edge.store().tend();
    assert!(!edge.store().is_untidy());
    assert_eq!(traces(&edge, SECRET), []);
}

/// The power fails between the commit and the wiping: the next start does it.
#[test]
fn a_start_finishes_it() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![proto::frame::Entry::Record(secret("a", 11, 9))])]);
    let other = rusqlite::Connection::open(edge.path()).unwrap();
    let reading = other.unchecked_transaction().unwrap();
    let _rows: i64 = reading.query_row("SELECT count(*) FROM base", [], |row| row.get(0)).unwrap();
    taken(&mut edge, 11, 12);
    // The files as they are now, as a card would be after the power failed.
    let card = tempfile::tempdir().unwrap();
    for path in files(&edge).iter().filter(|path| !path.display().to_string().ends_with("-shm")) {
        fs::copy(path, card.path().join(path.file_name().unwrap())).unwrap();
    }
    let mut after = Edge { folder: card, store: None, options: edge.options.clone() };
    assert!(!traces(&after, SECRET).is_empty());
    after.reopen();
    assert_eq!(traces(&after, SECRET), []);
    assert!(!after.store().is_untidy());
}

/// Taken away and given back: it comes again by a back-fill, and what waited keeps its place and its hash.
#[test]
fn taken_and_given_back() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![proto::frame::Entry::Record(secret("a", 11, 9))])]);
    let id = format!("a{SECRET}");
    edge.write(vec![merge("cut", &id, r#"{"pin":"1234"}"#)]);
    let hash_before = hash(&edge.store().outbox_after(0, 1 << 20).unwrap().writes[0].bytes);
    taken(&mut edge, 11, 12);
    assert_eq!(edge.view("cut", &id), None);
    let again = grant("cut", Some("lyon"), 13, 13);
    let mut all = without_cut(13);
    all.grants.push(again.clone());
    let part = filled(again, 13, true, vec![secret("a", 11, 9)]);
    edge.apply(vec![Batch { grants: Some(all), fill: Some(part), ..batch(12, 13, true, Vec::new()) }]);
    assert!(edge.view("cut", &id).unwrap().contains("1234"));
    taken(&mut edge, 13, 14);
    assert_eq!(edge.store().outbox_after(0, 1 << 20).unwrap().writes[0].hash, Some(hash_before));
}

/// The name of a request is the application's own: it stays in the write, and answers a repeat, which shows nothing any more.
#[test]
fn the_key_of_a_request_stays() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![proto::frame::Entry::Record(secret("a", 11, 9))])]);
    let id = format!("a{SECRET}");
    let named = || metamanager::LocalWrite {
        requests: vec![merge("cut", &id, r#"{"pin":"one"}"#)],
        actor: None,
        request_id: None,
        idempotency: Some(proto::op::Idempotency { key: "k1".to_owned(), request: [1; 16] }),
        resends: None,
    };
    let ask = |edge: &mut Edge| edge.store().commit(crate::kit::now(5), vec![named()]).pop().unwrap().unwrap();
    assert!(!ask(&mut edge).repeat);
    taken(&mut edge, 11, 12);
    let kept = edge.reader().write(1).unwrap().unwrap().write;
    assert!(matches!(&kept.ops[0].body, proto::op::Body::Merge(changes) if matches!(changes[0].was, proto::op::Was::Hash(_))));
    assert_eq!(kept.idempotency.map(|named| named.key), Some("k1".to_owned()));
    let repeat = ask(&mut edge);
    assert_eq!((repeat.repeat, repeat.results[0].view.clone()), (true, None));
}
