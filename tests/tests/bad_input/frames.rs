//! Frames of a node that does not keep to the protocol, over either transport: its session ends with the code that the protocol
//! names, or what it said is answered; the shop beside it works on, and the node itself can come back.

use proto::frame::{Content, Entry, Frame};
use proto::limits::{FRAME_BYTES, NUMBER_MAX, UP_WINDOW_BYTES};
use proto::op::Verdict;
use proto::wire::{self, frame::Body};
use tests::shops::World;
use transport::link::{CloseCode, Lane};

use super::kit::{
    Attacker, Carrier, Heard, Neighbour, Talk, at, descriptors, descriptors_return, frame, no_panic, peak_kib, runtime, session,
};
use super::world;

/// When it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// As the first frame.
    Greeting,
    /// After Welcome.
    Starting,
    /// In an open session.
    Open,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The session is closed with this code.
    Close(&'static str),
    /// It may not begin.
    Refuse(&'static str),
    /// It is welcome all the same.
    Welcome,
    /// It goes on.
    Lives,
    /// It is over without a word: that was the last one.
    Quietly,
}

type Said = dyn Fn(&Attacker) -> Vec<(Lane, Vec<u8>)>;

struct Case {
    name: &'static str,
    phase: Phase,
    /// Made when its turn comes: numbers are the attacker's own by then, and much of it is large.
    said: Box<Said>,
    ends: Ends,
}

fn case(name: &'static str, phase: Phase, frames: impl Fn(&Attacker) -> Vec<Vec<u8>> + 'static, ends: Ends) -> Case {
    let said = move |own: &Attacker| frames(own).into_iter().map(|bytes| (Lane::Control, bytes)).collect();
    Case { name, phase, said: Box::new(said), ends }
}

fn bulk(name: &'static str, phase: Phase, writes: impl Fn(&Attacker) -> Vec<wire::NumberedWrite> + 'static, ends: Ends) -> Case {
    let said = move |own: &Attacker| vec![(Lane::Bulk, frame(Body::Writes(wire::Writes { writes: writes(own) })))];
    Case { name, phase, said: Box::new(said), ends }
}

fn write(number: u64, bytes: Vec<u8>) -> wire::NumberedWrite {
    wire::NumberedWrite { number, write: bytes, ..wire::NumberedWrite::default() }
}

fn position(revision: u64, collection: &str, key: &str) -> wire::Position {
    let inside = wire::Inside { collection: collection.to_owned(), key: key.to_owned() };
    wire::Position { revision, inside: Some(inside) }
}

fn fill(number: usize) -> wire::Fill {
    let collection = format!("c{number}");
    wire::Fill { collection, since: NUMBER_MAX, from: NUMBER_MAX, at: Some(position(NUMBER_MAX, "c", "k")), ..wire::Fill::default() }
}

fn ack(cursor: wire::Position) -> Vec<u8> {
    frame(Body::Ack(wire::Ack { cursor: Some(cursor), ..wire::Ack::default() }))
}

/// What is no frame, whenever it comes.
fn garbage(phase: Phase) -> Vec<Case> {
    fn malformed(name: &'static str, phase: Phase, bytes: impl Fn() -> Vec<u8> + 'static) -> Case {
        case(name, phase, move |_| vec![bytes()], Ends::Close("malformed"))
    }
    let nothing = || frame(Body::Writes(wire::Writes { writes: vec![write(0, Vec::new()); FRAME_BYTES / 2 - 100] }));
    vec![
        malformed("noise", phase, || vec![0xff; 100]),
        malformed("nothing in a frame", phase, Vec::new),
        malformed("a frame of an unknown kind", phase, || vec![0xa2, 0x06, 0x03, 1, 2, 3]),
        malformed("a text that is no UTF-8", phase, || vec![0x3a, 0x03, 0x0a, 0x01, 0xff]),
        malformed("groups in groups", phase, || vec![0x0b; 10_000]),
        malformed("a length beyond the frame", phase, || vec![0x0a, 0xff, 0xff, 0xff, 0x7f, 0]),
        malformed("two million entries of nothing", phase, nothing),
        malformed("a name with a NUL", phase, || ack(position(0, "pro\0ducts", "k"))),
        malformed("a key with a line's end", phase, || ack(position(0, "products", "a\nb"))),
        malformed("a number that no store keeps", phase, || ack(at(u64::MAX))),
        malformed("half of a frame", phase, || ack(at(7))[..3].to_vec()),
    ]
}

fn hello(name: &'static str, change: impl Fn(&mut wire::Hello) + 'static, ends: Ends) -> Case {
    let said = move |own: &Attacker| {
        let mut hello = own.hello();
        change(&mut hello);
        vec![frame(Body::Hello(hello))]
    };
    case(name, Phase::Greeting, said, ends)
}

fn greetings() -> Vec<Case> {
    let range = |number: u64| wire::Range { first: 2 * number, last: 2 * number };
    let nowhere = || Some(wire::Cursor { epoch: 1, position: Some(at(NUMBER_MAX)) });
    let malformed = Ends::Close("malformed");
    let started = |_: &Attacker| vec![frame(Body::Started(wire::Started { session: NUMBER_MAX }))];
    vec![
        hello("versions to come", |hello| (hello.version_min, hello.version_max) = (2, u32::MAX), Ends::Refuse("version")),
        hello("versions of long ago", |hello| (hello.version_min, hello.version_max) = (0, 0), Ends::Refuse("version")),
        hello("versions upside down", |hello| (hello.version_min, hello.version_max) = (u32::MAX, 0), Ends::Refuse("version")),
        hello("every version", |hello| (hello.version_min, hello.version_max) = (0, u32::MAX), Ends::Welcome),
        hello("a short database id", |hello| hello.database = vec![1; 15], malformed),
        hello("4 MiB of features", |hello| hello.features = vec!["repair".to_owned(); 500_000], malformed),
        hello("one feature of 4 MiB", |hello| hello.features.push("x".repeat(FRAME_BYTES - 1_000)), Ends::Welcome),
        hello("a million epochs", |hello| hello.epochs = vec![wire::EpochStart::default(); 1_000_000], malformed),
        hello("100,000 epochs", |hello| hello.epochs = vec![wire::EpochStart { epoch: 1, first: 9 }; 100_000], Ends::Welcome),
        hello("a million gaps", |hello| hello.gaps = vec![wire::Range::default(); 1_000_000], malformed),
        hello("as many gaps as may be", move |hello| hello.gaps = (0..20_000).map(range).collect(), Ends::Welcome),
        hello("a gap without an end", |hello| hello.gaps = vec![wire::Range { first: 1, last: u64::MAX }], Ends::Welcome),
        hello("more fills than there may be", |hello| hello.fills = (0..20_001).map(fill).collect(), malformed),
        hello("fills of nothing", |hello| hello.fills = (0..20_000).map(fill).collect(), Ends::Welcome),
        hello("in the place of the last one", |hello| hello.previous = vec![0xff; 16], Ends::Welcome),
        hello("the year 292 million", |hello| hello.now_ms = u64::MAX, Ends::Welcome),
        hello("an outbox beyond counting", |hello| (hello.outbox_writes, hello.outbox_oldest_ms) = (u64::MAX, u64::MAX), Ends::Welcome),
        hello("a cursor of nowhere", move |hello| hello.cursor = nowhere(), Ends::Welcome),
        hello("a session that was never offered", |hello| hello.session += 1_000_000, Ends::Refuse("copied_database")),
        hello("the largest session", |hello| hello.session = NUMBER_MAX, Ends::Refuse("copied_database")),
        hello("a session that no store keeps", |hello| hello.session = u64::MAX, malformed),
        case("an Ack first", Phase::Greeting, |_| vec![ack(at(0))], Ends::Close("unexpected")),
        bulk("writes first", Phase::Greeting, |_| vec![write(1, vec![1])], Ends::Close("unexpected")),
        case("a last word first", Phase::Greeting, |_| vec![frame(Body::Close(wire::Close::default()))], Ends::Quietly),
        case("an Ack before Started", Phase::Starting, |_| vec![ack(at(0))], Ends::Close("unexpected")),
        case("another session's number", Phase::Starting, started, Ends::Close("session_number")),
        bulk("writes before Started", Phase::Starting, |_| vec![write(1, vec![1])], Ends::Close("unexpected")),
        case("Hello twice", Phase::Starting, |own| vec![frame(Body::Hello(own.hello()))], Ends::Close("unexpected")),
    ]
}

fn asked(count: usize) -> Vec<u8> {
    let inside = |number| wire::Inside { collection: "prices".to_owned(), key: format!("{number}") };
    frame(Body::Ask(wire::Ask { records: (0..count).map(inside).collect() }))
}

fn fills(count: usize) -> Vec<u8> {
    frame(Body::Ack(wire::Ack { cursor: Some(at(0)), fills: (0..count).map(fill).collect(), answered: NUMBER_MAX }))
}

/// Where the protocol has no place for it.
fn misplaced() -> Vec<Case> {
    fn unexpected(name: &'static str, body: impl Fn(&Attacker) -> Body + 'static) -> Case {
        case(name, Phase::Open, move |own| vec![frame(body(own))], Ends::Close("unexpected"))
    }
    let batch = |_: &Attacker| Body::Batch(wire::Batch { from: Some(at(0)), through: Some(at(9)), ..wire::Batch::default() });
    // More ahead of `taken` than the window lets through. It is much at once: what came first is committed meanwhile.
    let window = |own: &Attacker| (0..3).map(|place| write(own.taken + 1 + place, vec![0; UP_WINDOW_BYTES - 20])).collect();
    vec![
        unexpected("Hello in a session", |own| Body::Hello(own.hello())),
        unexpected("Started again", |own| Body::Started(wire::Started { session: own.session })),
        unexpected("a Batch from an edge", batch),
        unexpected("Taken from an edge", |_| Body::Taken(wire::Taken { number: 1 })),
        unexpected("a Pong from an edge", |_| Body::Pong(wire::Pong::default())),
        unexpected("a Refuse from an edge", |_| Body::Refuse(wire::Refuse::default())),
        case("an Ack above all that was sent", Phase::Open, |_| vec![ack(at(NUMBER_MAX))], Ends::Close("ack_above_sent")),
        case("more records than one may ask for", Phase::Open, |_| vec![asked(257)], Ends::Close("malformed")),
        case("an Ack with too many fills", Phase::Open, |_| vec![fills(20_001)], Ends::Close("malformed")),
        bulk("writes out of order", Phase::Open, |own| vec![write(own.taken + 3, vec![1])], Ends::Close("out_of_order")),
        bulk("the largest number", Phase::Open, |_| vec![write(NUMBER_MAX, vec![1])], Ends::Close("out_of_order")),
        bulk("a number that no store keeps", Phase::Open, |_| vec![write(u64::MAX, vec![1])], Ends::Close("malformed")),
        bulk("more writes than the window", Phase::Open, window, Ends::Close("window")),
    ]
}

/// So many bytes of the next write of the node but `next`, as the part of `total` that begins at `at`.
fn part(own: &Attacker, next: u64, at: u64, len: usize, total: u64) -> wire::NumberedWrite {
    let part = Some(wire::Part { at, total, hash: vec![7; 16] });
    wire::NumberedWrite { part, ..write(own.taken + 1 + next, vec![0; len]) }
}

/// Writes in parts that are none.
fn in_parts() -> Vec<Case> {
    const PART: u64 = 20_000;
    let open = |name, parts: fn(&Attacker) -> Vec<wire::NumberedWrite>, ends| bulk(name, Phase::Open, parts, ends);
    let (malformed, disorder) = (Ends::Close("malformed"), Ends::Close("out_of_order"));
    vec![
        open("a part beyond its write", |own| vec![part(own, 0, 0, 20, 10)], malformed),
        open("a part that begins beyond its write", |own| vec![part(own, 0, u64::MAX, 20, 4_000_000)], malformed),
        open("a part of what no frame holds", |own| vec![part(own, 0, 0, 20_000, u64::MAX)], malformed),
        open("a tiny part", |own| vec![part(own, 0, 0, 16_383, 100_000)], malformed),
        open("a part of nothing", |own| vec![part(own, 0, 0, 0, 0)], malformed),
        open("a part of a declared write", |own| vec![wire::NumberedWrite { rejected: true, ..part(own, 0, 0, 9, 9) }], malformed),
        open("parts that overlap", |own| vec![part(own, 0, 0, 20_000, 90_000), part(own, 0, PART - 1, 20_000, 90_000)], disorder),
        open("parts with a hole", |own| vec![part(own, 0, 0, 20_000, 90_000), part(own, 0, PART + 1, 20_000, 90_000)], disorder),
        open("a part in the middle of nothing", |own| vec![part(own, 0, PART, 20_000, 90_000)], disorder),
        open("a part of a write that is not the next", |own| vec![part(own, 1, 0, 20_000, 90_000)], disorder),
        open("parts of two writes", |own| vec![part(own, 0, 0, 20_000, 90_000), part(own, 1, 0, 20_000, 90_000)], disorder),
        open(
            "parts that change their length",
            |own| vec![part(own, 0, 0, 20_000, 90_000), part(own, 0, PART, 20_000, 40_000)],
            Ends::Close("parts"),
        ),
        open(
            "parts that are not what they say",
            |own| vec![part(own, 0, 0, 20_000, 40_000), part(own, 0, PART, 20_000, 40_000)],
            Ends::Close("parts"),
        ),
        open("a write that begins for ever", |own| (0..50).map(|_| part(own, 0, 0, 20_000, 90_000)).collect(), Ends::Lives),
        open("a write that never ends", |own| (0..50).map(|at| part(own, 0, at * PART, 20_000, 4_000_000)).collect(), Ends::Lives),
    ]
}

/// What is allowed, and more of it than anybody needs.
fn plenty() -> Vec<Case> {
    fn lives(name: &'static str, frames: impl Fn() -> Vec<Vec<u8>> + 'static) -> Case {
        case(name, Phase::Open, move |_| frames(), Ends::Lives)
    }
    let words = || frame(Body::Close(wire::Close { code: "x\n".repeat(9), detail: "y\n".repeat(2_000_000) }));
    let nack = || frame(Body::Nack(wire::Nack { code: "c".repeat(100_000), detail: "d".repeat(1_000_000) }));
    let compared = || {
        let sums =
            wire::RangeSums { collection: "products".to_owned(), since: NUMBER_MAX, sums: vec![7; 4_096], ..wire::RangeSums::default() };
        frame(Body::Compared(wire::Compared { revision: NUMBER_MAX, differing: vec![sums; 900] }))
    };
    let report = || {
        let warnings = vec!["w".repeat(100_000); 30];
        let report = wire::Report { outbox_writes: u64::MAX, outbox_oldest_ms: u64::MAX, warnings, devices: None };
        frame(Body::Ping(wire::Ping { sent_ms: u64::MAX, report: Some(report) }))
    };
    vec![
        case("a last word of 4 MiB", Phase::Open, move |_| vec![words()], Ends::Quietly),
        lives("records that are not there, asked for again and again", || vec![asked(256); 50]),
        lives("sums of nothing", move || vec![compared(); 3]),
        lives("a report of 3 MB", move || vec![report(); 3]),
        lives("fills of nothing", || vec![fills(20_000); 5]),
        lives("an Ack inside a revision that it was never sent", || vec![ack(position(0, "zzz", "zzz"))]),
        lives("a disk that fills and empties", move || (0..5).flat_map(|_| [nack(), frame(Body::Ready(wire::Ready {}))]).collect()),
        lives("thousands of tiny frames", || vec![frame(Body::Verify(wire::Verify {})); 5_000]),
        lives("thousands of words that nobody needs", || vec![frame(Body::Received(wire::Received { bytes: u64::MAX })); 5_000]),
        lives("a flood of pings", || vec![frame(Body::Ping(wire::Ping::default())); 5_000]),
    ]
}

async fn attack(own: &mut Attacker, carrier: Carrier, case: &Case) {
    let name = case.name;
    // Before the hub waits for it.
    let said = (case.said)(own);
    let mut talk = match case.phase {
        Phase::Greeting => own.connect(carrier).await,
        Phase::Starting => {
            let mut talk = own.connect(carrier).await;
            own.greet(&mut talk, 0).await;
            talk
        }
        Phase::Open => own.open(carrier, own.taken + 3).await.0,
    };
    for (lane, bytes) in said {
        talk.say_in(lane, bytes).await;
    }
    match case.ends {
        Ends::Welcome => {
            let heard = talk.next().await;
            assert!(matches!(heard, Heard::Frame(Frame::Welcome(_))), "{name}: {heard:?}");
            talk.leave().await;
        }
        Ends::Lives => {
            let alive = talk.is_alive().await;
            assert!(alive.is_ok(), "{name}: {alive:?}");
            talk.leave().await;
        }
        Ends::Close(_) | Ends::Refuse(_) | Ends::Quietly => {
            let wanted = match case.ends {
                Ends::Close(code) => Some(format!("Close: {code}")),
                Ends::Refuse(code) => Some(format!("Refuse: {code}")),
                _ => None,
            };
            let (last, over) = talk.end().await;
            assert_eq!(last, wanted, "{name}: {over:?}");
            let done = matches!(&over, Heard::Closed(reason) if reason.code == CloseCode::Done);
            assert!(done, "{name}: the link ends with {over:?}");
        }
    }
}

/// In three parts, each of another node: the hub takes fifty sessions of one at once, and the next ones in their turn.
fn every() -> [Vec<Case>; 3] {
    let early = [Phase::Greeting, Phase::Starting].into_iter().flat_map(garbage).chain(greetings());
    [early.collect(), garbage(Phase::Open).into_iter().chain(misplaced()).chain(plenty()).collect(), in_parts()]
}

/// What an application of the node could have committed, and what no application could.
fn poison() -> Vec<(&'static str, wire::NumberedWrite)> {
    let op = |collection: &str, key: &str, body| wire::Op {
        collection: collection.to_owned(),
        key: key.to_owned(),
        body: Some(body),
        ..wire::Op::default()
    };
    let put = |json: &str| op("products", "p", wire::op::Body::Put(json.to_owned()));
    let of = |ops: Vec<wire::Op>| {
        use prost::Message;
        write(0, wire::Write { hlc: u64::MAX, at_ms: u64::MAX, ops, ..wire::Write::default() }.encode_to_vec())
    };
    let add = |delta: i64| {
        let by = vec![wire::Delta { field: "Stock".to_owned(), delta }];
        op("products", "11", wire::op::Body::Increment(wire::Increment { by }))
    };
    let count = |observed: i64, delta: i64| {
        let to = Some(wire::change::To::Count(wire::Count { observed, delta }));
        let change = wire::Change { field: "Stock".to_owned(), to, was: None };
        op("products", "11", wire::op::Body::Merge(wire::Merge { changes: vec![change] }))
    };
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("no bytes", write(0, Vec::new())),
        ("noise", write(0, vec![0xff; 1_000])),
        ("no ops", of(Vec::new())),
        ("too many ops", of(vec![put("{}"); 1_001])),
        ("a million ops of nothing", of(vec![wire::Op::default(); 400_000])),
        ("a collection that is not there", of(vec![op("nowhere", "1", wire::op::Body::Put("{}".to_owned()))])),
        ("a collection that it may not write", of(vec![op("prices", "1", wire::op::Body::Put("{}".to_owned()))])),
        ("a system collection", of(vec![op("_conflicts", "1", wire::op::Body::Put("{}".to_owned()))])),
        ("a name with a NUL", of(vec![op("pro\0ducts", "1", wire::op::Body::Put("{}".to_owned()))])),
        ("a key with a NUL", of(vec![op("products", "a\0b", wire::op::Body::Put("{}".to_owned()))])),
        ("a key of 64 KB", of(vec![op("products", &"k".repeat(65_536), wire::op::Body::Put("{}".to_owned()))])),
        ("what is no JSON", of(vec![put("{\"a\":")])),
        ("a list", of(vec![put("[1]")])),
        ("members twice", of(vec![put("{\"a\":1,\"a\":2}")])),
        ("deep JSON", of(vec![put(&deep)])),
        ("a number of a billion digits", of(vec![put("{\"a\":1e999999999}")])),
        ("a value that is too large", of(vec![put(&format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024)))])),
        ("too many fields", of(vec![put(&format!("{{{}}}", (0..2_000).map(|n| format!("\"f{n}\":1")).collect::<Vec<_>>().join(",")))])),
        ("a member that it may not write", of(vec![put("{\"Price\":1}")])),
        ("seen in the far future", of(vec![wire::Op { seen: u64::MAX, ..put("{}") }])),
        ("what it depends on is not there", of(vec![wire::Op { depends: Some(NUMBER_MAX), ..put("{}") }])),
        ("it stands on a thousand", of(vec![wire::Op { stands_on: vec![7; 1_000], ..put("{}") }])),
        ("the smallest delta", of(vec![add(i64::MIN), add(i64::MIN), add(-1)])),
        ("the largest delta, twice", of(vec![add(i64::MAX), add(i64::MAX)])),
        ("a count of extremes", of(vec![count(i64::MAX, i64::MIN), count(i64::MIN, i64::MAX)])),
        ("nothing to do", of(vec![wire::Op { collection: "products".to_owned(), key: "p".to_owned(), ..wire::Op::default() }])),
    ]
}

/// Sends each, and waits until all have their outcome: none of them ends the session, and the good one behind them is applied.
async fn poisoned(own: &mut Attacker, carrier: Carrier) {
    let mut all = poison();
    let good = wire::Op {
        collection: "products".to_owned(),
        key: format!("good-{}", carrier.name()),
        body: Some(wire::op::Body::Put("{\"Name\":\"good\"}".to_owned())),
        ..wire::Op::default()
    };
    let good = prost::Message::encode_to_vec(&wire::Write { ops: vec![good], ..wire::Write::default() });
    all.push(("good", write(0, good.clone())));
    all.push(("a hash that lies", wire::NumberedWrite { hash: vec![9; 16], ..write(0, good) }));
    let first = own.taken + 1;
    let newest = own.taken + all.len() as u64;
    let (mut talk, mut cursor) = own.open(carrier, newest).await;
    let mut outcomes = std::collections::BTreeMap::new();
    for (place, (name, poison)) in all.iter().enumerate() {
        let number = first + place as u64;
        let numbered = wire::NumberedWrite { number, ..poison.clone() };
        talk.say_in(Lane::Bulk, frame(Body::Writes(wire::Writes { writes: vec![numbered] }))).await;
        while own.taken < number {
            hear(&mut talk, own, &mut cursor, &mut outcomes, name).await;
        }
    }
    while outcomes.len() < all.len() {
        hear(&mut talk, own, &mut cursor, &mut outcomes, "the outcomes come").await;
    }
    for (place, (name, _)) in all.iter().enumerate() {
        let (verdict, code) = &outcomes[&(first + place as u64)];
        let applied = matches!(verdict, Verdict::Applied | Verdict::Merged);
        match *name {
            "good" => assert!(applied, "{name}: {verdict:?} {code:?}"),
            // These are judged as any write of an honest node would be.
            "a hash that lies" | "what it depends on is not there" => {}
            _ => assert_eq!(*verdict, Verdict::Rejected, "{name}: {code:?}"),
        }
    }
    assert!(talk.is_alive().await.is_ok());
    talk.leave().await;
}

type Outcomes = std::collections::BTreeMap<u64, (Verdict, Option<String>)>;

async fn hear(talk: &mut Talk, own: &mut Attacker, cursor: &mut proto::ids::Position, outcomes: &mut Outcomes, name: &str) {
    match talk.next().await {
        Heard::Frame(Frame::Taken { number }) => own.taken = own.taken.max(number),
        Heard::Frame(Frame::Batch(batch)) => {
            for entry in &batch.entries {
                match entry {
                    Entry::Outcome { number, outcome, .. } => {
                        outcomes.insert(*number, (outcome.verdict, outcome.code.clone()));
                    }
                    Entry::Record(record) => assert!(!matches!(&record.content, Content::Value(text) if text.len() > 100_000), "{name}"),
                }
            }
            if batch.through > *cursor {
                *cursor = batch.through.clone();
                let place = cursor.inside.as_ref().map(|(collection, key)| position(cursor.revision.0, collection.as_str(), key.as_str()));
                talk.say(ack(place.unwrap_or_else(|| at(cursor.revision.0)))).await;
            }
        }
        Heard::Frame(Frame::Pong { .. }) => {}
        other => panic!("{name}: {other:?}"),
    }
}

fn hostile_frames(carrier: Carrier) {
    let mut world = world();
    let before_all = session(&world, 0);
    let neighbour = Neighbour::new(&world, 0);
    let runtime = runtime();
    let mut before = None;
    let mut mallory = None;
    for round in 0..2 {
        for (part, cases) in every().into_iter().enumerate() {
            let node = world.join(&format!("mallory-{round}-{part}"), &["role=shop"]);
            let mut own = Attacker::new(&world, &node.data);
            for case in cases {
                runtime.block_on(attack(&mut own, carrier, &case));
            }
            runtime.block_on(poisoned(&mut own, carrier));
            mallory = Some(node);
        }
        neighbour.works_on("frames come that are none");
        let hub = world.cloud.process();
        let memory = hub.resident_kib();
        match before {
            None => before = Some((descriptors(hub), memory)),
            Some((open, kib)) => {
                descriptors_return(hub, open);
                assert!(memory < kib + 48 * 1024, "round {round}: {kib} KiB after the first, {memory} KiB now");
            }
        }
    }
    neighbour.stop();
    // Two million entries would take half a gigabyte.
    let peak = peak_kib(world.cloud.process());
    assert!(peak < 256 * 1024, "{peak} KiB");
    assert_eq!(session(&world, 0), before_all, "the neighbour's session is the one that it had");
    let mut mallory = mallory.unwrap();
    mallory.transport = carrier.name().into();
    comes_back(&mut world, mallory);
}

/// The node's own program: it gets a session, everything that it is to have, and hands over what it has.
fn comes_back(world: &mut World, mut node: tests::shops::Edge) {
    node.start();
    let put = node.client().json("PUT", "/v1/collections/products/records/honest", &serde_json::json!({"Name": "honest"}));
    let name = node.name.clone();
    world.edges.push(node);
    // Before its definitions have come it takes nothing.
    if put.unwrap().status != 201 {
        world.settle();
        let mut client = world.edges.last().unwrap().client();
        client.json("PUT", "/v1/collections/products/records/honest", &serde_json::json!({"Name": "honest"})).unwrap().ok(201);
    }
    world.settle();
    assert_eq!(world.cloud.record("products", "honest").unwrap()["Name"], "honest");
    assert_eq!(world.edges.last().unwrap().record("products", "11"), world.cloud.record("products", "11"), "{name}");
    no_panic(world.cloud.process());
    for edge in &mut world.edges {
        no_panic(edge.process());
    }
}

#[test]
fn hostile_frames_over_websocket() {
    hostile_frames(Carrier::WebSocket);
}

#[test]
fn hostile_frames_over_quic() {
    hostile_frames(Carrier::Quic);
}
