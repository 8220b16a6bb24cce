//! Who may have a session, and where its stream begins.

use proto::ids::{Cursor, Epoch, Position};

use super::bench::{Bench, Fixture, node, revision};
use super::edge::{Edge, put};
use super::shops;
use crate::store::{AdmitJob, Certificate, Job, Refused, StoreRead};

fn kinds<F: Fixture>(bench: &mut Bench<F>, name: &str) -> Vec<String> {
    bench.reader().events(&node(name)).unwrap().unwrap().into_iter().map(|event| event.kind).collect()
}

pub(super) fn a_new_database_starts_at_the_head<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1}"#);
    let lyon = Edge::new("lyon", 1);
    let admitted = bench.admit(lyon.admit_job(None)).unwrap();
    let head = revision(bench.head());
    assert_eq!((admitted.session, admitted.taken, admitted.reset, admitted.unacknowledged), (1, 0, false, 0));
    assert_eq!((admitted.head, &admitted.cursor.position), (head, &Position::at(head)));
    let grants = admitted.grants.unwrap();
    assert_eq!(grants.revision, admitted.told);
    assert!(grants.grants.iter().all(|grant| grant.from == head));
    let shares: Vec<_> = grants.grants.iter().map(|grant| (grant.share.collection.as_str(), grant.share.partition.as_deref())).collect();
    assert_eq!(shares, [("_conflicts", Some("products")), ("_conflicts", Some("stock/lyon")), ("products", None), ("stock", Some("lyon"))]);
}

pub(super) fn a_known_database_keeps_its_cursor<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let cursor = lyon.position();
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    lyon.upload(&mut bench).unwrap();
    bench.restart();
    let admitted = bench.admit(lyon.admit_job(None)).unwrap();
    assert_eq!((&admitted.cursor.position, admitted.reset, admitted.taken), (&cursor, false, 1));
    assert_eq!(admitted.cursor.epoch, admitted.epochs.last().unwrap().epoch);
    assert_eq!((admitted.unacknowledged, admitted.grants), (1, None));
    assert_eq!(bench.reader().outcomes_above(admitted.peer, cursor.revision).unwrap(), 1);
}

/// `welcome-lost-twice`: any number of lost Welcomes leaves the edge's number a known one.
pub(super) fn welcome_lost_twice<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    for offered in 1..=3 {
        let admitted = bench.admit(lyon.admit_job(None)).unwrap();
        assert_eq!(admitted.session, offered);
    }
    lyon.connect(&mut bench);
    bench.done(Job::Confirm { peer: lyon.peer(), session: lyon.session });
    for _ in 0..2 {
        bench.crash();
        bench.admit(lyon.admit_job(None)).unwrap();
    }
    lyon.connect(&mut bench);
}

/// `half-open-takeover`: the node came back before the cloud noticed that the old socket is dead.
pub(super) fn half_open_takeover<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    let live = Some(lyon.database);
    lyon.try_connect(&mut bench, live).unwrap();
}

pub(super) fn unknown_session_numbers_are_copies<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    let copy = lyon.hello();
    lyon.connect(&mut bench);
    lyon.connect(&mut bench);
    for session in [copy.session, 77] {
        let mut job = lyon.admit_job(Some(lyon.database));
        job.hello.session = session;
        assert_eq!(bench.admit(job).unwrap_err().code, "copied_database");
    }
    assert_eq!(kinds(&mut bench, "lyon"), ["joined", "copied_database"], "once an hour is enough");
    lyon.connect(&mut bench);
}

pub(super) fn an_old_image_is_a_copy<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    lyon.upload(&mut bench).unwrap();
    let mut job = lyon.admit_job(None);
    job.hello.newest_write = 0;
    assert_eq!(bench.admit(job).unwrap_err().code, "copied_database");
}

pub(super) fn another_database_on_a_live_node_is_in_use<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    let mut second = Edge::new("lyon", 2);
    assert_eq!(second.try_connect(&mut bench, Some(lyon.database)).unwrap_err().code, "in_use");
    lyon.connect(&mut bench);
}

pub(super) fn another_database_on_a_dead_node_is_reported<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    lyon.upload(&mut bench).unwrap();
    let mut second = Edge::new("lyon", 2);
    second.connect(&mut bench);
    let event = bench.reader().events(&node("lyon")).unwrap().unwrap().pop().unwrap();
    assert_eq!(event.kind, "database_replaced");
    assert!(event.detail.contains("lyon:010101:1"), "{}", event.detail);
    assert_eq!(bench.reader().node(&node("lyon")).unwrap().unwrap().database, Some(second.database));
    second.commit(put("products", "2", r#"{"ProductID":2}"#));
    assert_eq!(second.upload(&mut bench).unwrap().taken, 1, "its numbers are its own");
}

pub(super) fn a_cursor_of_another_store_is_reset<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let good = lyon.cursor.clone().unwrap();
    let head = bench.head();
    let beyond = Position::at(revision(head + 1));
    for cursor in [Cursor { epoch: Epoch(4_711), ..good.clone() }, Cursor { position: beyond, ..good }] {
        lyon.cursor = Some(cursor);
        let admitted = bench.admit(lyon.admit_job(None)).unwrap();
        assert!(admitted.reset && admitted.grants.is_some());
        assert_eq!(admitted.cursor.position, Position::at(revision(head)));
        lyon.adopt(&admitted);
    }
    lyon.sync(&mut bench);
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn a_replaced_session_takes_nothing<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    bench.admit(lyon.admit_job(Some(lyon.database))).unwrap();
    assert_eq!(lyon.upload(&mut bench), Err(Refused::Replaced));
    assert!(bench.get("products", "1").is_none());
}

pub(super) fn revoked_and_unknown_nodes_are_refused<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    bench.done(Job::Revoke { node: node("lyon") });
    assert!(bench.touched.nodes.contains(&node("lyon")));
    assert_eq!(lyon.upload(&mut bench), Err(Refused::Replaced));
    assert_eq!(lyon.try_connect(&mut bench, None).unwrap_err().code, "revoked");
    bench.put("products", "2", r#"{"ProductID":2}"#);
    lyon.step(&mut bench);
    assert_eq!(lyon.holds("products"), 0, "a session that is not closed yet hears nothing");
    bench.done(Job::DeleteNode { node: node("lyon") });
    assert_eq!(lyon.try_connect(&mut bench, None).unwrap_err().code, "unknown_node");
    assert_eq!(bench.job(Job::DeleteNode { node: node("lyon") }).unwrap_err(), Refused::NoNode(node("lyon")));
    assert_eq!(lyon.upload(&mut bench), Err(Refused::Replaced));
}

pub(super) fn a_replaced_machine_is_refused<F: Fixture>() {
    let mut bench = shops::<F>();
    let with = |serial: &str| AdmitJob { serial: Some(serial.to_owned()), ..Edge::new("lyon", 1).admit_job(None) };
    bench.admit(with("serial-1")).unwrap();
    let renewed = Certificate { serial: "serial-2".to_owned(), not_after_ms: 1 };
    bench.done(Job::Certificate { node: node("lyon"), certificate: renewed });
    for serial in ["serial-1", "serial-2"] {
        bench.admit(with(serial)).unwrap();
    }
    assert_eq!(bench.admit(with("serial-1")).unwrap_err().code, "unknown_certificate", "the new one was used");
    let hash = bench.token(Some("lyon"), &[], true);
    bench.join_with(hash, None, "serial-3").unwrap();
    assert_eq!(bench.admit(with("serial-2")).unwrap_err().code, "unknown_certificate");
    bench.admit(with("serial-3")).unwrap();
    let lyon = bench.reader().node(&node("lyon")).unwrap().unwrap();
    assert_eq!(lyon.labels["site"], "lyon", "a replacement keeps the labels unless the token has some");
}

/// After a restore a node may have trimmed what the store lost: in the middle of its outbox too.
pub(super) fn declared_gaps_are_passed_over_and_listed<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    let mut job = lyon.admit_job(None);
    job.hello.session = lyon.session;
    (job.hello.newest_write, job.hello.outbox_first, job.hello.gaps) = (9, 3, vec![(1, 2), (4, 6)]);
    let admitted = bench.admit(job).unwrap();
    assert_eq!(admitted.taken, 2, "the gap at the begin is passed at once");
    let (peer, session) = (admitted.peer, admitted.session);
    let take = |number| Job::Take {
        peer,
        session,
        writes: vec![proto::frame::NumberedWrite { number, bytes: Vec::new(), rejected: true, hash: None, fork: None, part: None }],
    };
    let mut taken = |number| match bench.job(take(number)).unwrap() {
        crate::store::Answer::Taken(taken) => (taken.taken, taken.stop.map(|reason| reason.code)),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(7), (2, Some("out_of_order".to_owned())), "3 was not declared");
    assert_eq!(taken(3), (3, None));
    assert_eq!(taken(5), (3, Some("out_of_order".to_owned())), "it was declared lost");
    assert_eq!(taken(7), (7, None));
    assert_eq!(taken(8), (8, None));
    let events = bench.reader().events(&node("lyon")).unwrap().unwrap();
    let told: Vec<_> = events.iter().filter(|event| event.kind == "writes_lost").collect();
    assert_eq!(told.len(), 1);
    let short = lyon.admit_job(None).hello.database.short();
    assert!(told[0].detail.starts_with("5 writes ") && told[0].detail.ends_with(&format!("lyon:{short}:1 to 2, lyon:{short}:4 to 6")));
}

pub(super) fn an_accepted_database_takes_the_place_of_a_live_one<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut one = Edge::new("lyon", 1);
    one.connect(&mut bench);
    let (first, other) = (one.admit_job(None).hello.database, Edge::new("lyon", 2));
    let second = other.admit_job(None).hello.database;
    assert_eq!(bench.admit(other.admit_job(Some(first))).unwrap_err().code, "in_use");
    bench.done(Job::Accept { node: node("lyon"), database: second });
    assert!(bench.admit(one.admit_job(Some(first))).is_ok(), "the live one goes on until the other comes");
    assert!(bench.admit(other.admit_job(Some(first))).is_ok());
    assert_eq!(bench.admit(one.admit_job(Some(second))).unwrap_err().code, "in_use", "it counts once");
    let kinds = kinds(&mut bench, "lyon");
    assert!(kinds.contains(&"accepted".to_owned()) && kinds.contains(&"database_replaced".to_owned()), "{kinds:?}");
    assert!(bench.job(Job::Accept { node: node("rome"), database: second }).is_err());
}
