//! A hub that does not keep to the protocol, with a certificate that is good: the edge ends the session with the code that the
//! protocol names, or bears what it says; its applications work on, and with its own hub back it has what that one has.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::frame::Frame;
use proto::limits::{FRAME_BYTES, NUMBER_MAX};
use proto::wire::{self, frame::Body};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use serde_json::json;
use tests::shops::World;
use tests::until::until_shown;
use transport::any::AnyListener;
use transport::link::{Lane, Link};
use transport::quic::{QuicListener, ResetKey};
use transport::swap::Swap;
use transport::tls::{Credentials, link_server_config};
use transport::ws::WsListener;

use super::kit::{Carrier, Heard, SOON, Talk, at, cas, clock, frame, no_panic, runtime};
use super::world;

/// What the edge makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It closes the session with this code.
    Close(&'static str),
    /// It takes what comes after it.
    Lives,
    /// It goes without a word: that was the last one.
    Quietly,
}

/// Frames of a stream that stands at a revision, and where it stands then.
type Stretch = dyn Fn(u64) -> (Vec<Vec<u8>>, u64);

/// What the hub says, and when.
enum Says {
    /// In place of Welcome.
    First(Vec<Vec<u8>>),
    /// A Welcome with something changed.
    Welcome(Box<dyn Fn(&mut wire::Welcome)>),
    /// In an open session whose stream stands at this revision; and where it stands then.
    Open(Box<Stretch>),
}

struct Case {
    name: &'static str,
    says: Says,
    ends: Ends,
}

fn first(name: &'static str, frames: Vec<Vec<u8>>, ends: Ends) -> Case {
    Case { name, says: Says::First(frames), ends }
}

fn welcome(name: &'static str, change: impl Fn(&mut wire::Welcome) + 'static, ends: Ends) -> Case {
    Case { name, says: Says::Welcome(Box::new(change)), ends }
}

/// Said in an open session, and no part of the stream.
fn said(name: &'static str, frames: Vec<Vec<u8>>, ends: Ends) -> Case {
    Case { name, says: Says::Open(Box::new(move |revision| (frames.clone(), revision))), ends }
}

/// A stretch of the stream with something in it.
fn batch(name: &'static str, change: impl Fn(&mut wire::Batch) + 'static, ends: Ends) -> Case {
    let says = move |revision| {
        let mut batch = wire::Batch { from: Some(at(revision)), through: Some(at(revision + 1)), at_head: true, ..wire::Batch::default() };
        change(&mut batch);
        (vec![frame(Body::Batch(batch))], revision + 1)
    };
    Case { name, says: Says::Open(Box::new(says)), ends }
}

fn record(collection: &str, key: &str, content: wire::record::Content) -> wire::Record {
    wire::Record {
        collection: collection.to_owned(),
        key: key.to_owned(),
        revision: 1,
        born: 1,
        updated_ms: u64::MAX,
        writer: "cloud:1".to_owned(),
        content: Some(content),
        ..wire::Record::default()
    }
}

fn entries(name: &'static str, records: Vec<wire::Record>) -> Case {
    let change = move |batch: &mut wire::Batch| {
        let revision = batch.through.as_ref().unwrap().revision;
        let entry =
            |record: &wire::Record| wire::Entry { body: Some(wire::entry::Body::Record(wire::Record { revision, ..record.clone() })) };
        batch.entries = records.iter().map(entry).collect();
    };
    batch(name, change, Ends::Lives)
}

fn value(text: impl Into<String>) -> wire::record::Content {
    wire::record::Content::Value(text.into())
}

fn garbage() -> Vec<Case> {
    let bytes = || {
        let taken = wire::Taken { number: u64::MAX };
        let welcome = wire::Welcome { features: vec![String::new(); FRAME_BYTES / 2 - 100], ..wire::Welcome::default() };
        let batch = wire::Batch { entries: vec![wire::Entry::default(); FRAME_BYTES / 2 - 100], ..wire::Batch::default() };
        [
            ("noise", vec![0xff; 100]),
            ("nothing in a frame", Vec::new()),
            ("a frame of an unknown kind", vec![0xa2, 0x06, 0x03, 1, 2, 3]),
            ("two million features", frame(Body::Welcome(welcome))),
            ("two million entries", frame(Body::Batch(batch))),
            ("a number that no store keeps", frame(Body::Taken(taken))),
            (
                "a name with a NUL",
                frame(Body::Batch(wire::Batch { asked: vec![record("a\0", "k", value("{}"))], ..wire::Batch::default() })),
            ),
        ]
    };
    let early = bytes().into_iter().map(|(name, bytes)| first(name, vec![bytes], Ends::Close("malformed")));
    early.chain(bytes().into_iter().map(|(name, bytes)| said(name, vec![bytes], Ends::Close("malformed")))).collect()
}

fn greetings() -> Vec<Case> {
    vec![
        first(
            "a Batch first",
            vec![frame(Body::Batch(wire::Batch { from: Some(at(0)), through: Some(at(1)), ..wire::Batch::default() }))],
            Ends::Close("unexpected"),
        ),
        first(
            "a Hello from a hub",
            vec![frame(Body::Hello(wire::Hello { database: vec![1; 16], grants_hash: vec![1; 16], ..wire::Hello::default() }))],
            Ends::Close("unexpected"),
        ),
        first(
            "a last word first",
            vec![frame(Body::Close(wire::Close { code: "x\n".repeat(100), detail: "y\n".repeat(1_000_000) }))],
            Ends::Quietly,
        ),
        welcome("session 0", |welcome| welcome.session = 0, Ends::Close("session_number")),
        welcome("the session that it had", |welcome| welcome.session -= 1, Ends::Close("session_number")),
        welcome("a version that was not offered", |welcome| welcome.version = 7, Ends::Close("version")),
        welcome("no cursor", |welcome| welcome.cursor = None, Ends::Close("malformed")),
        welcome("pings and silence of nothing", |welcome| (welcome.ping_ms, welcome.silence_ms) = (0, 0), Ends::Lives),
        welcome("no pings for weeks", |welcome| (welcome.ping_ms, welcome.silence_ms) = (u32::MAX, u32::MAX), Ends::Lives),
        welcome("the year 292 million", |welcome| welcome.now_ms = u64::MAX, Ends::Lives),
        welcome("1970", |welcome| welcome.now_ms = 0, Ends::Lives),
        welcome("a head of nowhere", |welcome| welcome.head = NUMBER_MAX, Ends::Lives),
        welcome("features to come", |welcome| welcome.features.extend((0..1_000).map(|number| format!("f{number}"))), Ends::Lives),
    ]
}

fn stream() -> Vec<Case> {
    let outcome = |number: u64, verdict: i32| {
        move |batch: &mut wire::Batch| {
            let outcome = wire::Outcome { number, revision: 3, verdict, detail: "d".repeat(100_000), ..wire::Outcome::default() };
            batch.entries = vec![wire::Entry { body: Some(wire::entry::Body::Outcome(outcome)) }];
        }
    };
    let gap = |revision: u64| {
        (
            vec![frame(Body::Batch(wire::Batch {
                from: Some(at(revision + 1_000)),
                through: Some(at(revision + 2_000)),
                ..wire::Batch::default()
            }))],
            revision,
        )
    };
    let back = |revision: u64| {
        (
            vec![frame(Body::Batch(wire::Batch { from: Some(at(revision)), through: Some(at(revision - 1)), ..wire::Batch::default() }))],
            revision,
        )
    };
    let share = || ("products".to_owned(), NUMBER_MAX);
    let fill = move || wire::Fill { collection: share().0, since: share().1, from: share().1, at: Some(at(7)), ..wire::Fill::default() };
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let unexpected = |name, body| said(name, vec![frame(body)], Ends::Close("unexpected"));
    vec![
        Case { name: "a Batch of later", says: Says::Open(Box::new(gap)), ends: Ends::Close("out_of_order") },
        Case { name: "a Batch that ends before it begins", says: Says::Open(Box::new(back)), ends: Ends::Close("out_of_order") },
        unexpected(
            "Welcome again",
            Body::Welcome(wire::Welcome { cursor: Some(wire::Cursor { epoch: 1, position: Some(at(1)) }), ..wire::Welcome::default() }),
        ),
        unexpected("an Ack from a hub", Body::Ack(wire::Ack { cursor: Some(at(1)), ..wire::Ack::default() })),
        unexpected("writes from a hub", Body::Writes(wire::Writes::default())),
        unexpected("a Ping from a hub", Body::Ping(wire::Ping::default())),
        said(
            "writes were taken that nobody made",
            vec![frame(Body::Taken(wire::Taken { number: NUMBER_MAX }))],
            Ends::Close("taken_above_sent"),
        ),
        said(
            "Pongs that nobody asked for",
            vec![frame(Body::Pong(wire::Pong { sent_ms: u64::MAX, now_ms: u64::MAX })); 3_000],
            Ends::Lives,
        ),
        said("thousands of words that nobody needs", vec![frame(Body::Received(wire::Received { bytes: u64::MAX })); 3_000], Ends::Lives),
        said(
            "a last word of 4 MiB",
            vec![frame(Body::Close(wire::Close { code: "busy".to_owned(), detail: "z\n".repeat(2_000_000) }))],
            Ends::Quietly,
        ),
        entries("records of what is not granted", (0..200).map(|key| record("secrets", &key.to_string(), value("{}"))).collect()),
        entries(
            "values that are none",
            ["", "{", "[1]", "7", "{\"a\":1,\"a\":2}", "\u{0}", &deep]
                .iter()
                .enumerate()
                .map(|(key, text)| record("products", &format!("bad{key}"), value(*text)))
                .collect(),
        ),
        entries("a value that is too large", vec![record("products", "big", value(format!("{{\"a\":\"{}\"}}", "x".repeat(1_500_000))))]),
        entries(
            "removal of what is not there",
            vec![
                record("products", "gone", wire::record::Content::Deleted(true)),
                record("products", "left", wire::record::Content::Left(true)),
            ],
        ),
        entries("a conflict that is none", vec![record("_conflicts", "c1", value("{\"kind\":7}"))]),
        batch("an outcome of a write that nobody made", outcome(NUMBER_MAX, 1), Ends::Lives),
        batch("an outcome of write 0", outcome(0, 4), Ends::Lives),
        batch("a verdict to come", outcome(1, 99), Ends::Close("malformed")),
        batch(
            "digests of nothing",
            move |batch| {
                batch.digests = vec![
                    wire::Digest {
                        collection: share().0,
                        since: share().1,
                        count: u64::MAX,
                        sum: vec![0xff; 16],
                        ..wire::Digest::default()
                    };
                    50
                ]
            },
            Ends::Lives,
        ),
        batch(
            "a repair of nothing",
            move |batch| {
                let grant = wire::Grant { collection: share().0, since: share().1, from: share().1, ..wire::Grant::default() };
                batch.repairs = vec![wire::Repair { grant: Some(grant), ranges: vec![0xff; 32] }; 50];
            },
            Ends::Lives,
        ),
        batch(
            "a part of a fill that nobody has open",
            move |batch| {
                batch.fill = Some(wire::FillPart { fill: Some(fill()), done: true, records: vec![record("products", "f", value("{}"))] });
            },
            Ends::Lives,
        ),
        batch(
            "records that nobody asked for",
            |batch| batch.asked = (0..256).map(|key| record("secrets", &key.to_string(), value("{}"))).collect(),
            Ends::Lives,
        ),
        batch(
            "a record of the far future",
            |batch| {
                let record = wire::Record { revision: NUMBER_MAX, ..record("products", "future", value("{\"Name\":\"x\"}")) };
                batch.entries = vec![wire::Entry { body: Some(wire::entry::Body::Record(record)) }];
            },
            Ends::Lives,
        ),
        batch(
            "definitions that are none",
            |batch| {
                let grant = |number: usize| wire::Grant { collection: format!("c{number}"), since: 1, from: 1, ..wire::Grant::default() };
                let definition = |number: usize| wire::Definition { name: format!("c{number}"), revision: 1, json: "[".repeat(1_000) };
                batch.grants = Some(wire::Grants {
                    revision: 1,
                    grants: (0..300).map(grant).collect(),
                    definitions: (0..300).map(definition).collect(),
                    labels: Vec::new(),
                });
            },
            Ends::Lives,
        ),
    ]
}

/// One that opens a session between two that do not, or the edge would wait longer before each.
fn in_turn() -> VecDeque<Case> {
    let (mut opening, mut failing): (VecDeque<_>, VecDeque<_>) = garbage()
        .into_iter()
        .chain(greetings())
        .chain(stream())
        .partition(|case| matches!((&case.says, case.ends), (Says::Open(_), _) | (Says::Welcome(_), Ends::Lives)));
    // What takes the node's rights away comes last.
    let mut all = VecDeque::new();
    while !opening.is_empty() || !failing.is_empty() {
        all.extend(failing.pop_front());
        all.extend(opening.pop_front());
    }
    all
}

/// A certificate of the world's own CA that is a hub's.
fn hub(world: &World) -> Credentials {
    let ca = cas(&world.cloud.data).remove(0);
    let key = std::fs::read_to_string(world.cloud.data.join("pki/ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_der(&ca, KeyPair::from_pem(&key).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2080, 1, 1));
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    Credentials { chain: vec![leaf.der().clone(), ca], key: key.serialize_der().try_into().unwrap() }
}

fn listen(world: &World, carrier: Carrier) -> AnyListener {
    let tls = Arc::new(Swap::new(link_server_config(&hub(world), &cas(&world.cloud.data), clock()).unwrap()));
    match carrier {
        Carrier::WebSocket => AnyListener::Ws(WsListener::bind(world.cloud.ws, tls, Arc::new(|_| Ok(()))).unwrap()),
        Carrier::Quic => {
            AnyListener::Quic(QuicListener::bind(world.cloud.quic.unwrap(), tls, Arc::new(|_| Ok(())), ResetKey([1; 32])).unwrap())
        }
    }
}

/// The edge's next connection, and its Hello.
async fn greeted(listener: &mut AnyListener) -> (Talk, proto::frame::Hello) {
    loop {
        let link = tokio::time::timeout(SOON, listener.accept()).await.expect("the edge comes back");
        let Ok(link) = link else { continue };
        let (tx, rx) = link.split();
        let mut talk = Talk { tx, rx };
        if let Heard::Frame(Frame::Hello(hello)) = talk.next().await {
            return (talk, hello);
        }
    }
}

fn answer(hello: &proto::frame::Hello) -> wire::Welcome {
    let cursor = hello.cursor.as_ref().unwrap();
    let epochs = hello.epochs.iter().map(|start| wire::EpochStart { epoch: start.epoch.0, first: start.first.0 });
    wire::Welcome {
        version: 1,
        features: vec!["repair".to_owned()],
        session: hello.session + 1,
        epochs: epochs.collect(),
        head: cursor.position.revision.0,
        cursor: Some(wire::Cursor { epoch: cursor.epoch.0, position: Some(at(cursor.position.revision.0)) }),
        taken: if hello.outbox_first == 0 { hello.newest_write } else { hello.outbox_first - 1 },
        now_ms: 1_800_000_000_000,
        ping_ms: 15_000,
        silence_ms: 45_000,
        ..wire::Welcome::default()
    }
}

/// Waits for an Ack at or above a revision.
async fn acked(talk: &mut Talk, revision: u64, name: &str) {
    loop {
        match talk.next().await {
            Heard::Frame(Frame::Ack(ack)) if ack.cursor.revision.0 >= revision => return,
            Heard::Frame(Frame::Close(reason)) => panic!("{name}: {} {}", reason.code, reason.detail),
            Heard::Frame(_) => {}
            over => panic!("{name}: {over:?}"),
        }
    }
}

async fn attack(listener: &mut AnyListener, case: &Case) {
    let (mut talk, hello) = greeted(listener).await;
    let mut stands = hello.cursor.as_ref().unwrap().position.revision.0;
    match &case.says {
        Says::First(frames) => {
            for bytes in frames {
                talk.say(bytes.clone()).await;
            }
        }
        Says::Welcome(change) => {
            let mut welcome = answer(&hello);
            change(&mut welcome);
            talk.say(frame(Body::Welcome(welcome))).await;
        }
        Says::Open(says) => {
            talk.say(frame(Body::Welcome(answer(&hello)))).await;
            acked(&mut talk, stands, case.name).await;
            let (frames, after) = says(stands);
            for bytes in frames {
                talk.say_in(Lane::Bulk, bytes).await;
            }
            stands = after;
        }
    }
    match case.ends {
        Ends::Lives => {
            let next = wire::Batch { from: Some(at(stands)), through: Some(at(stands + 1)), at_head: true, ..wire::Batch::default() };
            if matches!(case.says, Says::Welcome(_)) {
                acked(&mut talk, stands, case.name).await;
            }
            talk.say_in(Lane::Bulk, frame(Body::Batch(next))).await;
            acked(&mut talk, stands + 1, case.name).await;
            talk.leave().await;
        }
        Ends::Close(_) | Ends::Quietly => {
            let wanted = match case.ends {
                Ends::Close(code) => Some(format!("Close: {code}")),
                _ => None,
            };
            let (last, over) = talk.end().await;
            assert_eq!(last, wanted, "{}: {over:?}", case.name);
        }
    }
}

fn hostile_hub(carrier: Carrier) {
    let mut world = world();
    world.edges[0].stop();
    world.edges[0].transport = carrier.name().into();
    world.edges[0].start();
    world.settle();
    world.cloud.stop();
    let mut shop = world.edges[0].client();
    let kib = world.edges[0].process().resident_kib();
    runtime().block_on(async {
        let mut listener = listen(&world, carrier);
        for (turn, case) in in_turn().iter().enumerate() {
            attack(&mut listener, case).await;
            if turn == 20 {
                let put = shop.json("PUT", "/v1/collections/products/records/meanwhile", &json!({"Name": "sold while the hub lied"}));
                put.unwrap().ok(201);
            }
        }
    });
    let status = shop.get("/v1/status").unwrap().ok(200);
    assert!(status.to_string().len() < 20_000, "what a hub says is not all of 4 MiB in the status");
    let grown = world.edges[0].process().resident_kib().saturating_sub(kib);
    assert!(grown < 64 * 1024, "{kib} KiB before, {grown} more now");
    world.cloud.start();
    until_shown("the write of that time", || world.cloud.record("products", "meanwhile").ok_or_else(|| "not there".to_owned()));
    world.settle();
    let mut cloud = world.cloud.client();
    for collection in ["products", "prices"] {
        let export = format!("/v1/collections/{collection}/export");
        let (here, there) = (shop.get(&export).unwrap().expect(200), cloud.get(&export).unwrap().expect(200));
        assert_eq!(String::from_utf8_lossy(&here.body), String::from_utf8_lossy(&there.body), "{collection}");
    }
    no_panic(world.edges[0].process());
    no_panic(world.cloud.process());
}

#[test]
fn a_hostile_hub_over_websocket() {
    hostile_hub(Carrier::WebSocket);
}

#[test]
fn a_hostile_hub_over_quic() {
    hostile_hub(Carrier::Quic);
}
