//! Every kind of frame, and every kind of op, with all their members set to something.
#![allow(clippy::unwrap_used)]

use proto::clock::Hlc;
use proto::frame::{
    Ack, Batch, Content, DefinitionText, Entry, Fill, FillPart, Frame, Grant, Grants, Hello, NumberedWrite, Reason, Record, Refuse, Report,
    Share, Welcome,
};
use proto::ids::{Cursor, DatabaseId, Epoch, EpochStart, Position, Revision};
use proto::json::Raw;
use proto::op::{Body, Change, Op, Outcome, To, Verdict, Was, Write};

use crate::lab::words::{collection, key, value};

/// The frames, each with what is special about it.
pub fn every() -> Vec<(&'static str, Frame)> {
    vec![
        ("Hello: every member", Frame::Hello(hello())),
        (
            "Hello: of a new database",
            Frame::Hello(Hello { cursor: None, epochs: Vec::new(), fills: Vec::new(), gaps: Vec::new(), ..hello() }),
        ),
        ("Welcome: every member", Frame::Welcome(welcome())),
        ("Welcome: nothing new", Frame::Welcome(Welcome { grants: None, reset: false, features: Vec::new(), ..welcome() })),
        (
            "Refuse",
            Frame::Refuse(Refuse {
                reason: reason("copied_database"),
                retry_ms: 2_000,
                versions: (1, 3),
                renew: false,
                ticket: Vec::new(),
            }),
        ),
        ("Started", Frame::Started { session: 7 }),
        ("Batch: records, outcomes, grants and a part of a back-fill", Frame::Batch(batch())),
        ("Batch: nothing but the cursor", Frame::Batch(Batch { at_head: true, ..Batch::empty(at(41), at(50)) })),
        ("Ack: inside a revision, with an open back-fill", Frame::Ack(Ack { cursor: inside(41), fills: vec![fill()], answered: 0 })),
        ("Ack: at a revision", Frame::Ack(Ack { cursor: at(50), fills: Vec::new(), answered: 0 })),
        ("Received", Frame::Received { bytes: 1 << 40 }),
        ("Nack", Frame::Nack(reason("disk_full"))),
        ("Ready", Frame::Ready),
        ("Writes: ops of every kind, and a declared one", Frame::Writes(writes())),
        ("Taken", Frame::Taken { number: 1_041 }),
        ("Ping: with a report", Frame::Ping { sent_ms: 1_800_000_000_123, report: Some(report()) }),
        ("Ping: bare", Frame::Ping { sent_ms: 5, report: None }),
        ("Pong", Frame::Pong { sent_ms: 5, now_ms: 1_800_000_000_124 }),
        ("Close", Frame::Close(reason("shutdown"))),
    ]
}

fn reason(code: &str) -> Reason {
    Reason { code: code.to_owned(), detail: format!("what {code} means, for people – in UTF-8") }
}

fn report() -> Report {
    let warnings = vec!["disk_low".to_owned(), "clock".to_owned()];
    Report { outbox_writes: 12, outbox_oldest_ms: 1_800_000_000_000, warnings, devices: None }
}

fn at(revision: u64) -> Position {
    Position::at(Revision(revision))
}

fn inside(revision: u64) -> Position {
    Position { revision: Revision(revision), inside: Some((collection("stock"), key("10%2F48/é"))) }
}

fn epochs() -> Vec<EpochStart> {
    vec![EpochStart { epoch: Epoch(u64::MAX), first: Revision(1) }, EpochStart { epoch: Epoch(0x0123_4567_89ab_cdef), first: Revision(30) }]
}

fn grant(partition: Option<&str>) -> Grant {
    let share = Share { collection: collection("stock"), partition: partition.map(str::to_owned) };
    Grant { share, since: Revision(3), from: Revision(40) }
}

fn fill() -> Fill {
    Fill { grant: grant(Some("lyon")), at: inside(12), ranges: None }
}

fn grants() -> Grants {
    let definition = DefinitionText { name: collection("stock"), revision: Revision(3), json: r#"{"key":"id"}"#.to_owned() };
    let conflicts = DefinitionText { name: collection("_conflicts"), revision: Revision::ZERO, json: "{}".to_owned() };
    Grants {
        revision: Revision(40),
        grants: vec![grant(None), grant(Some("")), grant(Some("lyon"))],
        definitions: vec![conflicts, definition],
        labels: Vec::new(),
    }
}

fn hello() -> Hello {
    Hello {
        versions: (1, 2),
        features: vec!["zstd".to_owned(), "x".to_owned()],
        database: DatabaseId(*b"0123456789abcdef"),
        session: 6,
        epochs: epochs(),
        cursor: Some(Cursor { epoch: Epoch(u64::MAX), position: inside(41) }),
        grants_hash: [0xfe; 16],
        fills: vec![fill(), Fill { grant: grant(None), at: at(0), ranges: None }],
        newest_write: 1_052,
        outbox_first: 1_041,
        gaps: vec![(1_043, 1_043), (1_045, 1_047)],
        now_ms: 1_800_000_000_000,
        software: "0.1.0".to_owned(),
        metered: true,
        report: Report { warnings: Vec::new(), ..report() },
        previous: None,
        ticket: Vec::new(),
        paused: None,
        held: None,
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        features: vec!["zstd".to_owned()],
        session: 7,
        epochs: epochs(),
        head: Revision(50),
        cursor: Cursor { epoch: Epoch(0x0123_4567_89ab_cdef), position: at(30) },
        reset: true,
        taken: 1_040,
        grants: Some(grants()),
        now_ms: 1_800_000_000_001,
        ping_ms: 15_000,
        silence_ms: 45_000,
        fork: None,
        labels: Vec::new(),
        hashes: Vec::new(),
        held: None,
    }
}

fn record(id: &str, content: Content) -> Record {
    Record {
        collection: collection("stock"),
        key: key(id),
        revision: Revision(42),
        born: Revision(7),
        partition: Some("lyon".to_owned()),
        updated_ms: 1_800_000_000_000,
        writer: "oslo:7f3a9c:42".to_owned(),
        actor: Some("Ann Dupré".to_owned()),
        content,
    }
}

fn batch() -> Batch {
    let outcome = |number, verdict, code: Option<&str>| Entry::Outcome {
        database: (number > 1).then_some(DatabaseId([9; 16])),
        number,
        outcome: Outcome {
            verdict,
            revision: Revision(42),
            code: code.map(str::to_owned),
            detail: code.map(|code| format!("about {code}")),
            conflicts: code.map(|_| vec!["c1".to_owned(), "c2".to_owned()]).unwrap_or_default(),
        },
    };
    let verdicts = [
        (Verdict::Applied, None),
        (Verdict::Merged, Some("field")),
        (Verdict::Flagged, Some("bound")),
        (Verdict::Rejected, Some("guard")),
        (Verdict::Lost, None),
    ];
    let outcomes = verdicts.into_iter().zip(1..).map(|((verdict, code), number)| outcome(number, verdict, code));
    let bare = Record { partition: None, actor: None, ..record("b", Content::Value("{}".to_owned())) };
    let records = [record("a", Content::Value(r#"{"id":"a","n":18.0,"é":null}"#.to_owned())), bare];
    let records = records.into_iter().chain([record("c", Content::Deleted), record("d", Content::Left)]);
    let part = FillPart { fill: fill(), done: true, records: vec![record("e", Content::Value(r#"{"x":[1,2]}"#.to_owned()))] };
    let entries = outcomes.chain(records.map(Entry::Record)).collect();
    Batch { at_head: true, grants: Some(grants()), entries, fill: Some(part), ..Batch::empty(at(41), inside(42)) }
}

fn writes() -> Vec<NumberedWrite> {
    let numbered = |number, bytes, rejected| NumberedWrite { number, bytes, rejected, hash: None, fork: None, part: None };
    let mut all: Vec<_> = every_write().iter().zip(1..).map(|((_, write), number)| numbered(number, write.encode(), false)).collect();
    all.push(numbered(9, Vec::new(), true));
    all
}

/// Writes as they are kept and hashed, with ops of every kind.
pub fn every_write() -> Vec<(&'static str, Write)> {
    let raw = |text: &str| Raw::parse(text).unwrap();
    let field = |name: &str| name.to_owned();
    let change = |name: &str, to, was| Change { field: name.to_owned(), to, was };
    let merge = vec![
        change("a", To::Set(raw("18.0")), Was::Value(raw("18"))),
        change("b", To::Set(raw("null")), Was::Absent),
        change("c", To::Remove, Was::Hash([0x5a; 16])),
        change("n", To::Count { observed: -4, delta: i64::MIN }, Was::Value(raw("5"))),
    ];
    let bodies = [
        Body::Put(value(r#"{"id":"a","nested":{"x":[1,2.50,"é"]}}"#)),
        Body::Merge(merge),
        Body::Increment(vec![(field("n"), -3), (field("m"), i64::MAX)]),
        Body::Delete { force: true },
        Body::Delete { force: false },
        Body::Check(vec![(field("a"), Some(raw(r#""x""#))), (field("b"), None)]),
    ];
    let bare = |body: &Body| Op {
        collection: collection("stock"),
        key: key("a"),
        seen: Revision::ZERO,
        definition: Revision(3),
        depends: None,
        stands_on: Vec::new(),
        expect: None,
        body: body.clone(),
    };
    let full = |body: &Body| Op { seen: Revision(41), depends: Some(7), stands_on: vec![5, 7], expect: Some(Revision(40)), ..bare(body) };
    let write = |ops| Write {
        hlc: Hlc((1_800_000_000_000 << 16) + 9),
        at_ms: 1_800_000_000_000,
        actor: Some("Ann Dupré".to_owned()),
        request_id: Some("r-1".to_owned()),
        idempotency: None,
        ops,
    };
    vec![
        (
            "Write: ops of every kind, as bare as they can be",
            Write { actor: None, request_id: None, idempotency: None, ..write(bodies.iter().map(bare).collect()) },
        ),
        ("Write: the same with every member", write(bodies.iter().map(full).collect())),
    ]
}
