//! Both ends of a session, with stores that say yes to everything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proto::clock::Now;
use proto::frame::{Batch, Content, Entry, Hello, NumberedWrite, Record};
use proto::ids::{Cursor, DatabaseId, Epoch, Position, Revision};
use proto::names::{CollectionName, Key};
use proto::op::Hash;
use proto::session::cloud::{Admission, CloudSession, Effect as CloudEffect};
use proto::session::edge::{Durable, EdgeSession, Effect as EdgeEffect};
use proto::session::handshake::{FEATURE_PARTS, FEATURE_PIECES, FEATURES, VERSIONS};
use proto::traffic::Cause;
use tokio::sync::Notify;
use transport::pump::{Driver, Outgoing};

use crate::noise;

/// Bytes that a side has to say when it is told to.
const SPEECH: usize = 900_000;

/// What a test sees of one end, and tells it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) notify: Notify,
    looked_ms: AtomicU64,
    pongs: AtomicU64,
    open: AtomicBool,
    speak: AtomicBool,
    end: Mutex<Option<(String, u64)>>,
}

impl Seen {
    /// Lets it look at the clock.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Lets it send much.
    pub(super) fn speak(&self) {
        self.speak.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn looked_ms(&self) -> u64 {
        self.looked_ms.load(Ordering::SeqCst)
    }

    /// Pings that were answered.
    pub(super) fn pongs(&self) -> u64 {
        self.pongs.load(Ordering::SeqCst)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Why the session or its link ended, and when.
    pub(super) fn end(&self) -> Option<(String, u64)> {
        self.end.lock().unwrap().clone()
    }

    /// The first reason counts.
    pub(super) fn ended(&self, why: String, now: Now) {
        self.end.lock().unwrap().get_or_insert((why, now.mono_ms));
    }
}

/// Both sessions have the same inputs and outputs.
macro_rules! drives {
    ($end:ty, $changed:ident, |$session:ident, $now:ident| $control:expr, $bulk:expr) => {
        impl Driver for $end {
            type Event = ();

            fn bytes(&mut self, total: u64) {
                self.session.bytes(total);
            }

            fn frame(&mut self, now: Now, frame: &[u8]) -> Cause {
                self.session.receive(now.mono_ms, frame)
            }

            fn event(&mut self, _: Now, (): ()) {}

            fn woken(&mut self) {
                self.session.$changed();
            }

            fn tick(&mut self, now: Now) {
                self.session.tick(now.mono_ms);
            }

            fn work(&mut self, now: Now) {
                while let Some(effect) = self.session.poll_effect() {
                    self.start(effect, now);
                }
                let due = self.session.next_tick().is_none_or(|due| due > now.mono_ms);
                if due {
                    self.seen.looked_ms.store(now.mono_ms, Ordering::SeqCst);
                }
            }

            fn next_tick(&self) -> Option<u64> {
                self.session.next_tick()
            }

            fn poll_control(&mut self, now: Now) -> Option<Outgoing> {
                let ($session, $now) = (&mut self.session, now);
                $control.map(|frame| Outgoing::new(&frame, self.session.encode(&frame)))
            }

            #[allow(unused_variables, reason = "not each session's bulk depends on the time")]
            fn poll_bulk(&mut self, now: Now) -> Option<Outgoing> {
                let ($session, $now) = (&mut self.session, now);
                $bulk.map(|frame| Outgoing::new(&frame, self.session.encode(&frame)))
            }

            fn is_over(&self) -> bool {
                self.session.is_closed()
            }
        }
    };
}

pub(super) struct EdgeEnd {
    session: EdgeSession,
    seen: Arc<Seen>,
}

impl EdgeEnd {
    pub(super) fn new(now: Now, seen: Arc<Seen>) -> Self {
        let hello = Hello {
            versions: VERSIONS,
            // One large frame, as a hub that knows no parts gets it.
            features: FEATURES.iter().filter(|name| ![FEATURE_PARTS, FEATURE_PIECES].contains(name)).map(ToString::to_string).collect(),
            database: DatabaseId([1; 16]),
            session: 0,
            epochs: Vec::new(),
            cursor: None,
            grants_hash: Hash::default(),
            fills: Vec::new(),
            newest_write: 1,
            outbox_first: 1,
            gaps: Vec::new(),
            now_ms: now.wall_ms,
            software: String::new(),
            metered: false,
            report: Default::default(),
            previous: None,
            ticket: Vec::new(),
            paused: None,
            held: None,
        };
        Self { session: EdgeSession::offering(now.mono_ms, hello), seen }
    }

    fn start(&mut self, effect: EdgeEffect, now: Now) {
        match effect {
            EdgeEffect::Adopt(_) => self.session.adopted(now.mono_ms, Durable::default()),
            EdgeEffect::Apply(batches) => {
                let cursor = batches.last().map(|batch| batch.through.clone()).unwrap_or_default();
                self.session.applied(now.mono_ms, Durable { cursor, ..Durable::default() });
            }
            // Pieces were not agreed on.
            EdgeEffect::Keep(_) => {}
            EdgeEffect::ReadOutbox { after, .. } => {
                let speaks = after == 0 && self.seen.speak.load(Ordering::SeqCst);
                let write = || NumberedWrite { number: 1, bytes: vec![7; SPEECH], rejected: false, hash: None, fork: None, part: None };
                self.session.outbox(if speaks { vec![write()] } else { Vec::new() }, false);
            }
            EdgeEffect::Clock { .. } => drop(self.seen.pongs.fetch_add(1, Ordering::SeqCst)),
            EdgeEffect::Closed(end) => self.seen.ended(end.reason.code, now),
        }
    }
}

drives!(EdgeEnd, outbox_changed, |session, now| session.poll_control(now.mono_ms), session.poll_bulk());

pub(super) struct CloudEnd {
    session: CloudSession,
    seen: Arc<Seen>,
}

impl CloudEnd {
    pub(super) fn new(now: Now, seen: Arc<Seen>) -> Self {
        Self { session: CloudSession::new(now.mono_ms), seen }
    }

    fn start(&mut self, effect: CloudEffect, now: Now) {
        match effect {
            CloudEffect::Admit(hello) => {
                let admission = Admission {
                    session: hello.session + 1,
                    epochs: Vec::new(),
                    head: Revision(0),
                    cursor: Cursor { epoch: Epoch(1), position: Position::default() },
                    reset: false,
                    fork: None,
                    taken: 0,
                    grants: None,
                    told: Revision(0),
                    answer_first: 0,
                    labels: Vec::new(),
                    hashes: Vec::new(),
                    held: None,
                };
                self.session.admitted(now.mono_ms, admission);
            }
            CloudEffect::ConfirmSession(_) => self.seen.open.store(true, Ordering::SeqCst),
            CloudEffect::Scan(scan) => {
                let speaks = scan.from == Position::default() && self.seen.speak.load(Ordering::SeqCst);
                let through = if speaks { Position::at(Revision(1)) } else { scan.from.clone() };
                let mut batch = Batch { at_head: true, ..Batch::empty(scan.from, through) };
                batch.entries.extend(speaks.then(speech));
                self.session.scanned(now.mono_ms, batch);
            }
            CloudEffect::Ahead(_) => self.session.scan_failed(now.mono_ms),
            CloudEffect::Commit { writes, .. } => self.session.committed(writes.last().map_or(0, |write| write.number), None),
            CloudEffect::Compared { .. } | CloudEffect::Acked(_) | CloudEffect::Report(_) => {}
            CloudEffect::Closed(end) => self.seen.ended(end.reason.code, now),
        }
    }
}

fn speech() -> Entry {
    Entry::Record(Record {
        collection: CollectionName::parse("products").unwrap(),
        key: Key::parse("1").unwrap(),
        revision: Revision(1),
        born: Revision(1),
        partition: None,
        updated_ms: 0,
        writer: String::new(),
        actor: None,
        content: Content::Value(format!(r#"{{"name":"{}"}}"#, noise(1, SPEECH))),
    })
}

drives!(CloudEnd, changed, |session, now| session.poll_control(now), session.poll_bulk(now));
