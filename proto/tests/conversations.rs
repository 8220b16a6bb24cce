//! Protocol conversations as text: `tests/conversations/*.txt`. A block is commands, `----`, and what both machines
//! then do. `TOMBOLO_BLESS=1` writes the expected part anew; read the difference before you keep it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

use proto::clock::Now;
use proto::digest::{Digest, RANGES, RangeSet};
use proto::frame::{
    Ack, Batch, Compared, Content, Entry, Fill, FillPart, Frame, Grant, GrantDigest, Grants, Held, Hello, NumberedWrite, Part, Piece,
    RangeSums, Reason, Record, Repair, Report, Share, Welcome,
};
use proto::ids::{Cursor, DatabaseId, Epoch, Position, Revision};
use proto::names::{CollectionName, Key};
use proto::op::{Outcome, Verdict};
use proto::session::cloud::{self, Admission, CloudSession};
use proto::session::edge::{ApplyFailure, Durable, EdgeSession};

mod notation;

/// Wall time of the cloud at monotonic 0.
const WALL_MS: u64 = 1_000_000;

/// The words of a command: plain ones in order, and `name=value`.
struct Words {
    plain: VecDeque<String>,
    named: BTreeMap<String, String>,
}

impl Words {
    fn of(line: &str) -> Self {
        let mut words = Self { plain: VecDeque::new(), named: BTreeMap::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => drop(words.named.insert(name.into(), value.into())),
                None => words.plain.push_back(word.into()),
            }
        }
        words
    }

    fn next(&mut self) -> String {
        self.plain.pop_front().unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.plain.iter().any(|word| word == name)
    }

    fn number(&self, name: &str) -> u64 {
        self.named.get(name).map_or(0, |value| value.parse().unwrap())
    }

    fn number_or(&self, name: &str, otherwise: u64) -> u64 {
        if self.named.contains_key(name) { self.number(name) } else { otherwise }
    }

    /// `features=repair,parts`
    fn features(&self) -> Vec<String> {
        self.named.get("features").map_or(Vec::new(), |names| names.split(',').map(ToString::to_string).collect())
    }

    /// `held=4:50000`: so many bytes of write 4.
    fn held(&self) -> Option<Held> {
        let (number, bytes) = self.named.get("held")?.split_once(':').unwrap();
        Some(Held { number: number.parse().unwrap(), hash: [0; 16], bytes: bytes.parse().unwrap() })
    }

    fn reason(&self, name: &str) -> Option<Reason> {
        Some(Reason { code: self.named.get(name)?.clone(), detail: String::new() })
    }

    fn numbers(&self) -> Vec<u64> {
        self.plain.iter().filter_map(|word| word.parse().ok()).collect()
    }

    /// `c@7` in `name=…`.
    fn fill(&self, name: &str) -> Option<Fill> {
        let (collection, at) = self.named.get(name)?.split_once('@').unwrap();
        let share = Share { collection: CollectionName::parse(collection).unwrap(), partition: None };
        Some(Fill { grant: Grant { share, since: Revision(1), from: Revision(100) }, at: position(at), ranges: None })
    }

    fn fills(&self) -> Vec<Fill> {
        self.fill("fill").into_iter().collect()
    }
}

fn position(text: &str) -> Position {
    Position::at(Revision(text.parse().unwrap()))
}

fn share() -> Share {
    Share { collection: CollectionName::parse("c").unwrap(), partition: None }
}

/// `7 differing=1`
fn compared(words: &Words) -> Compared {
    let sums = || RangeSums { share: share(), since: Revision(1), sums: vec![0; RANGES] };
    Compared { revision: Revision(words.numbers()[0]), differing: (0..words.number("differing")).map(|_| sums()).collect() }
}

/// `7 fill=c@5 answered=3 compared differing=1 asks`
fn durable(words: &Words) -> Durable {
    let ask = (CollectionName::parse("c").unwrap(), Key::parse("k").unwrap());
    Durable {
        cursor: Position::at(Revision(words.numbers()[0])),
        fills: words.fills(),
        answered: words.number("answered"),
        compared: words.flag("compared").then(|| compared(words)),
        asks: if words.flag("asks") { vec![ask] } else { Vec::new() },
    }
}

fn record(revision: u64, bytes: u64) -> Record {
    Record {
        collection: CollectionName::parse("c").unwrap(),
        key: Key::parse("k").unwrap(),
        revision: Revision(revision),
        born: Revision(1),
        partition: None,
        updated_ms: 0,
        writer: String::new(),
        actor: None,
        content: Content::Value("x".repeat(bytes as usize)),
    }
}

fn grants(revision: u64) -> Option<Grants> {
    (revision > 0).then(|| Grants { revision: Revision(revision), ..Grants::default() })
}

/// `7..9 head records=3 bytes=100 outcome=4 grants=8 fill=c@5 done`
fn batch(words: &mut Words) -> Batch {
    let range = words.next();
    let (from, through) = range.split_once("..").unwrap();
    let (from, through) = (position(from), position(through));
    let mut entries = Vec::new();
    if words.number("outcome") > 0 {
        let outcome = Outcome { verdict: Verdict::Applied, revision: through.revision, code: None, detail: None, conflicts: Vec::new() };
        entries.push(Entry::Outcome { database: None, number: words.number("outcome"), outcome });
    }
    let one = || Entry::Record(record(through.revision.0, words.number("bytes")));
    entries.extend((0..words.number("records")).map(|_| one()));
    let part = |fill| FillPart { fill, done: words.flag("done"), records: vec![record(1, 10)] };
    let fill = words.fill("fill").map(part);
    let digests =
        (0..words.number("digests")).map(|_| GrantDigest { share: share(), since: Revision(1), digest: Digest::default() }).collect();
    let repairs = words.named.get("repair").map(|ranges| {
        let mut set = RangeSet::default();
        (0..ranges.parse().unwrap()).for_each(|range| set.insert(range));
        Repair { grant: Grant { share: share(), since: Revision(1), from: through.revision }, ranges: set }
    });
    let asked = (0..words.number("asked")).map(|_| record(1, words.number_or("bytes", 10))).collect();
    Batch {
        at_head: words.flag("head"),
        grants: grants(words.number("grants")),
        entries,
        fill,
        digests,
        repairs: repairs.into_iter().collect(),
        asked,
        ..Batch::empty(from, through)
    }
}

/// `7 8 bytes=200000`, or a part of one: `7 at=0 bytes=65536 of=200000`
fn writes(words: &Words) -> Vec<NumberedWrite> {
    let bytes = words.number_or("bytes", 100) as usize;
    let part = Part { at: words.number("at") as usize, total: words.number("of") as usize, hash: [0; 16] };
    let part = (part.total > 0).then_some(part);
    words.numbers().into_iter().map(|number| NumberedWrite { bytes: vec![7; bytes], part, ..write(number) }).collect()
}

fn write(number: u64) -> NumberedWrite {
    NumberedWrite { number, bytes: vec![7; 100], rejected: false, hash: None, fork: None, part: None }
}

fn cursor(at: u64) -> Cursor {
    Cursor { epoch: Epoch(1), position: Position::at(Revision(at)) }
}

fn hello(words: &Words) -> Hello {
    let database = DatabaseId([1; 16]);
    let version = words.number("version").max(1) as u32;
    Hello {
        versions: (version, version),
        features: words.features(),
        database,
        session: words.number("session"),
        epochs: Vec::new(),
        cursor: words.named.get("cursor").map(|at| cursor(at.parse().unwrap())),
        grants_hash: [0; 16],
        fills: words.fills(),
        newest_write: words.number("newest"),
        outbox_first: words.number("first"),
        gaps: Vec::new(),
        now_ms: 0,
        software: "test".into(),
        metered: words.flag("metered"),
        report: Report::default(),
        previous: None,
        ticket: Vec::new(),
        paused: words.reason("paused"),
        held: words.held(),
    }
}

fn frame(words: &mut Words) -> Vec<u8> {
    let frame = match words.next().as_str() {
        "garbage" => return b"\xff\xff GET / HTTP/1.1".to_vec(),
        "Hello" => Frame::Hello(hello(words)),
        "Started" => Frame::Started { session: words.numbers()[0] },
        "Ack" => {
            Frame::Ack(Ack { cursor: Position::at(Revision(words.numbers()[0])), fills: words.fills(), answered: words.number("answered") })
        }
        "Compared" => Frame::Compared(compared(words)),
        "Verify" => Frame::Verify,
        "Ask" => Frame::Ask(vec![(CollectionName::parse("c").unwrap(), Key::parse("k").unwrap())]),
        "Batch" => Frame::Batch(batch(words)),
        "Writes" => Frame::Writes(writes(words)),
        "Taken" => Frame::Taken { number: words.numbers()[0] },
        "Received" => Frame::Received { bytes: 1 },
        "Nack" => Frame::Nack(words.reason("code").unwrap_or_else(|| Reason { code: "disk_full".into(), detail: String::new() })),
        "Close" => Frame::Close(words.reason("code").unwrap()),
        "Held" => Frame::Held(words.held().unwrap()),
        "Piece" => {
            let (at, bytes) = (words.number("at") as usize, words.number("bytes") as usize);
            Frame::Piece(Piece { part: Part { at, total: 300_000, hash: [0; 16] }, bytes: vec![7; bytes] })
        }
        "Ready" => Frame::Ready,
        "Ping" => Frame::Ping { sent_ms: 0, report: None },
        "Pong" => Frame::Pong { sent_ms: words.number("sent"), now_ms: words.number("now") },
        "Welcome" => Frame::Welcome(Welcome {
            version: words.number_or("version", 1) as u32,
            features: words.features(),
            session: words.number("session"),
            epochs: Vec::new(),
            head: Revision(words.number("cursor")),
            cursor: cursor(words.number("cursor")),
            reset: false,
            taken: words.number("taken"),
            grants: None,
            now_ms: 0,
            ping_ms: 15_000,
            silence_ms: 45_000,
            fork: None,
            labels: Vec::new(),
            hashes: Vec::new(),
            held: words.held(),
        }),
        other => panic!("no frame {other}"),
    };
    frame.encode()
}

#[derive(Default)]
struct Stage {
    now_ms: u64,
    edge: Option<EdgeSession>,
    cloud: Option<CloudSession>,
    up: VecDeque<Frame>,
    down: VecDeque<Frame>,
    committing: Vec<NumberedWrite>,
    out: String,
}

impl Stage {
    fn run(&mut self, line: &str) {
        let mut words = Words::of(line);
        match words.next().as_str() {
            "at" => self.at(words.numbers()[0]),
            "deliver" => self.deliver(),
            "edge" => self.edge(&mut words),
            "cloud" => self.cloud(&mut words),
            other => panic!("no command {other}"),
        }
        self.drain();
    }

    fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.edge.iter_mut().for_each(|edge| edge.tick(now_ms));
        self.cloud.iter_mut().for_each(|cloud| cloud.tick(now_ms));
    }

    /// What is on the way arrives, and no answer to it.
    fn deliver(&mut self) {
        let (up, down) = (std::mem::take(&mut self.up), std::mem::take(&mut self.down));
        for frame in up {
            self.cloud.iter_mut().for_each(|cloud| _ = cloud.receive(self.now_ms, &frame.encode()));
        }
        for frame in down {
            self.edge.iter_mut().for_each(|edge| _ = edge.receive(self.now_ms, &frame.encode()));
        }
    }

    fn edge(&mut self, words: &mut Words) {
        let verb = words.next();
        if verb == "new" {
            let hello = hello(words);
            let new = if hello.features.is_empty() { EdgeSession::new } else { EdgeSession::offering };
            self.edge = Some(new(self.now_ms, hello));
            self.up.clear();
            self.down.clear();
            return;
        }
        let edge = self.edge.as_mut().unwrap();
        match verb.as_str() {
            "verify" => assert_eq!(edge.verify(), !words.flag("cannot")),
            "gets" => _ = edge.receive(self.now_ms, &frame(words)),
            "bytes" => edge.bytes(words.numbers()[0]),
            "adopted" => edge.adopted(self.now_ms, durable(words)),
            "applied" => edge.applied(self.now_ms, durable(words)),
            "kept" => edge.kept(self.now_ms, words.held().unwrap()),
            "compared" => edge.compared(compared(words)),
            "full" => edge.apply_failed(self.now_ms, ApplyFailure::DiskFull, "400 MiB free"),
            "broken" => edge.apply_failed(self.now_ms, ApplyFailure::Broken, "edge.db: I/O error"),
            "can-store" => edge.can_store(),
            "limited" => edge.set_limit(Some("100 of 100 bytes")),
            "unlimited" => edge.set_limit(None),
            "outbox" => edge.outbox(writes(words), words.flag("more")),
            "changed" => edge.outbox_changed(),
            "report" => edge.set_report(Report { outbox_writes: words.numbers()[0], ..Report::default() }),
            "close" => edge.close("shutdown", "the node stops"),
            "status" => {
                let (open, paused, version) = (edge.is_open(), edge.is_paused(), edge.version());
                writeln!(self.out, "edge is open={open} paused={paused} version={version}").unwrap();
            }
            "wakes" => {
                let due = edge.next_tick().map_or("never".into(), |due| due.to_string());
                writeln!(self.out, "edge wakes at {due}").unwrap();
            }
            other => panic!("the edge does not know {other}"),
        }
    }

    fn cloud(&mut self, words: &mut Words) {
        let verb = words.next();
        if verb == "new" {
            self.cloud = Some(CloudSession::new(self.now_ms));
            self.down.clear();
            return;
        }
        let cloud = self.cloud.as_mut().unwrap();
        match verb.as_str() {
            "gets" => _ = cloud.receive(self.now_ms, &frame(words)),
            "bytes" => cloud.bytes(words.numbers()[0]),
            "admitted" => cloud.admitted(
                self.now_ms,
                Admission {
                    session: words.number("session"),
                    epochs: Vec::new(),
                    head: Revision(words.number("cursor")),
                    cursor: cursor(words.number("cursor")),
                    reset: false,
                    taken: words.number("taken"),
                    grants: None,
                    told: Revision(1),
                    fork: None,
                    answer_first: words.number("answer-first"),
                    labels: Vec::new(),
                    hashes: Vec::new(),
                    held: words.held(),
                },
            ),
            "refused" => cloud.refused(Reason { code: words.next(), detail: "said the store".into() }, words.number("retry")),
            "renew" => cloud.renew(Reason { code: "copied_database".into(), detail: "said the store".into() }),
            "scanned" => cloud.scanned(self.now_ms, batch(words)),
            "ahead" => {
                let (outcomes, records) = (Revision(words.number("outcomes-to")), Revision(words.number("records-to")));
                let mut batch = batch(words);
                batch.at_head = false;
                cloud.read_ahead(self.now_ms, batch, outcomes, records);
            }
            "verify" => cloud.verify(),
            "scan-failed" => cloud.scan_failed(self.now_ms),
            "changed" => cloud.changed(),
            "committed" => cloud.committed(words.numbers()[0], words.held()),
            "commit-failed" => cloud.commit_failed(self.now_ms, std::mem::take(&mut self.committing)),
            "close" => cloud.close("replaced", "a newer session of this database began"),
            "status" => {
                let status = cloud.status();
                let at = notation::position(&status.acked);
                let (mode, batches, bytes) = (status.mode, status.batches, status.bytes);
                write!(self.out, "cloud is {mode:?} acked={at} in-sync={} batches={batches} bytes={bytes}", status.in_sync).unwrap();
                let fills = if status.fills > 0 { format!(" fills={}", status.fills) } else { String::new() };
                let paused = status.paused.map_or(String::new(), |reason| format!(" paused={}", reason.code));
                writeln!(self.out, "{fills}{paused}").unwrap();
            }
            "wakes" => {
                let due = cloud.next_tick().map_or("never".into(), |due| due.to_string());
                writeln!(self.out, "cloud wakes at {due}").unwrap();
            }
            other => panic!("the cloud does not know {other}"),
        }
    }

    fn drain(&mut self) {
        loop {
            let before = self.out.len();
            if let Some(edge) = &mut self.edge {
                while let Some(effect) = edge.poll_effect() {
                    writeln!(self.out, "edge does {}", notation::edge_effect(&effect)).unwrap();
                }
                if let Some(frame) = edge.poll_send(self.now_ms) {
                    writeln!(self.out, "edge says {}", notation::frame(&frame)).unwrap();
                    self.up.push_back(frame);
                }
            }
            if let Some(cloud) = &mut self.cloud {
                while let Some(effect) = cloud.poll_effect() {
                    writeln!(self.out, "cloud does {}", notation::cloud_effect(&effect)).unwrap();
                    if let cloud::Effect::Commit { writes, .. } = effect {
                        self.committing = writes;
                    }
                }
                if let Some(frame) = cloud.poll_send(Now { wall_ms: WALL_MS + self.now_ms, mono_ms: self.now_ms }) {
                    writeln!(self.out, "cloud says {}", notation::frame(&frame)).unwrap();
                    self.down.push_back(frame);
                }
            }
            if self.out.len() == before {
                return;
            }
        }
    }
}

/// Runs a file; gives back what it should say.
fn replay(text: &str) -> String {
    let mut stage = Stage::default();
    let mut fresh = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        fresh += line;
        fresh.push('\n');
        if line == "----" {
            fresh += &std::mem::take(&mut stage.out);
            for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
            fresh.push('\n');
        } else if !line.is_empty() && !line.starts_with('#') {
            stage.run(line);
        }
    }
    fresh.trim_end().to_string() + "\n"
}

#[test]
fn conversations_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "conversations are missing");
    for file in files {
        let kept = std::fs::read_to_string(&file).unwrap();
        let fresh = replay(&kept);
        if std::env::var_os("TOMBOLO_BLESS").is_some() {
            std::fs::write(&file, &fresh).unwrap();
        } else {
            let same = kept.lines().zip(fresh.lines()).take_while(|(a, b)| a == b).count();
            assert!(kept == fresh, "{} differs from line {}:\n{fresh}", file.display(), same + 1);
        }
    }
}
