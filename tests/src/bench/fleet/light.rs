//! A node that weighs little: the real link and the real session, and in place of a database the few facts that a session asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::clock::Now;
use proto::frame::{Batch, Fill, Grants, Hello, Piece, Report, Welcome};
use proto::ids::{Cursor, DatabaseId, EpochStart, Position};
use proto::op::Hash;
use proto::session::End;
use proto::session::edge::{Durable, EdgeSession, Effect};
use proto::traffic::Cause;
use tokio::sync::{Notify, mpsc};
use transport::link::Link;
use transport::pump::{Driver, Outgoing, pump};

/// What a database would hold.
#[derive(Debug)]
pub(super) struct Held {
    database: DatabaseId,
    session: u64,
    epochs: Vec<EpochStart>,
    cursor: Option<Cursor>,
    grants: Hash,
    fills: Vec<Fill>,
    taken: u64,
    ticket: Vec<u8>,
}

impl Held {
    /// An empty database; each has another `number`.
    pub(super) fn new(number: u64) -> Self {
        let mut database = [0xf1; 16];
        database[..8].copy_from_slice(&number.to_be_bytes());
        let (epochs, fills, ticket) = (Vec::new(), Vec::new(), Vec::new());
        Self { database: DatabaseId(database), session: 0, epochs, cursor: None, grants: Hash::default(), fills, taken: 0, ticket }
    }

    fn hello(&self, now: Now) -> Hello {
        Hello {
            versions: proto::session::handshake::VERSIONS,
            features: Vec::new(),
            database: self.database,
            session: self.session,
            epochs: self.epochs.clone(),
            cursor: self.cursor.clone(),
            grants_hash: self.grants,
            fills: self.fills.clone(),
            newest_write: 0,
            outbox_first: 0,
            gaps: Vec::new(),
            now_ms: now.wall_ms,
            software: env!("CARGO_PKG_VERSION").into(),
            metered: false,
            report: Report::default(),
            previous: None,
            ticket: self.ticket.clone(),
            paused: None,
            held: None,
        }
    }

    fn adopt(&mut self, welcome: Welcome) {
        (self.session, self.epochs, self.taken) = (welcome.session, welcome.epochs, welcome.taken);
        self.cursor = Some(welcome.cursor);
        welcome.grants.iter().for_each(|grants| self.grant(grants));
    }

    fn grant(&mut self, grants: &Grants) {
        self.grants = grants.hash();
        let fill = |grant: &proto::frame::Grant| Fill { grant: grant.clone(), at: Position::default(), ranges: None };
        self.fills = grants.grants.iter().map(fill).collect();
    }

    fn apply(&mut self, batch: Batch) {
        batch.grants.iter().for_each(|grants| self.grant(grants));
        if let Some(part) = batch.fill {
            self.fills.retain_mut(|own| {
                let this = own.grant == part.fill.grant;
                if this {
                    own.at = part.fill.at.clone();
                }
                !(this && part.done)
            });
        }
        if let Some(cursor) = &mut self.cursor {
            cursor.position = batch.through.max(cursor.position.clone());
        }
    }

    fn durable(&self) -> Durable {
        let cursor = self.cursor.as_ref().map(|cursor| cursor.position.clone()).unwrap_or_default();
        Durable { cursor, fills: self.fills.clone(), answered: self.taken, ..Durable::default() }
    }
}

/// Counts nodes that hold everything.
pub(super) type Settled = Arc<AtomicU64>;

struct Light<'a> {
    session: EdgeSession,
    held: &'a mut Held,
    settled: Settled,
    counted: bool,
    end: Option<End>,
}

/// One session from its beginning to its end; why it ended, and when to come back.
pub(super) async fn session<L: Link>(link: L, held: &mut Held, settled: Settled, clock: fn() -> Now) -> (String, Duration) {
    let now = clock();
    let session = EdgeSession::new(now.mono_ms, held.hello(now));
    let mut driver = Light { session, held, settled, counted: false, end: None };
    let (_answers, mut events) = mpsc::channel(1);
    let stopped = pump(link, &mut driver, &mut events, &Notify::new(), &clock).await;
    if driver.counted {
        driver.settled.fetch_sub(1, Ordering::Relaxed);
    }
    match driver.end {
        Some(end) => {
            driver.held.ticket = end.ticket;
            (format!("{}: {}", end.reason.code, end.reason.detail), Duration::from_millis(end.retry_ms))
        }
        None => (format!("{stopped:?}"), Duration::ZERO),
    }
}

impl Driver for Light<'_> {
    type Event = ();

    fn bytes(&mut self, total: u64) {
        self.session.bytes(total);
    }

    fn frame(&mut self, now: Now, frame: &[u8]) -> Cause {
        self.session.receive(now.mono_ms, frame)
    }

    fn event(&mut self, _now: Now, (): ()) {}

    fn woken(&mut self) {}

    fn tick(&mut self, now: Now) {
        self.session.tick(now.mono_ms);
    }

    fn work(&mut self, now: Now) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Adopt(welcome) => {
                    self.held.adopt(*welcome);
                    self.session.adopted(now.mono_ms, self.held.durable());
                }
                Effect::Apply(batches) => {
                    let at_head = batches.last().is_some_and(|batch| batch.at_head);
                    batches.into_iter().for_each(|batch| self.held.apply(batch));
                    self.session.applied(now.mono_ms, self.held.durable());
                    if at_head && self.held.fills.is_empty() && !std::mem::replace(&mut self.counted, true) {
                        self.settled.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Effect::Keep(pieces) => {
                    let held =
                        |piece: &Piece| proto::frame::Held { number: 0, hash: piece.part.hash, bytes: piece.part.at + piece.bytes.len() };
                    pieces.last().map(held).into_iter().for_each(|held| self.session.kept(now.mono_ms, held));
                }
                Effect::ReadOutbox { .. } => self.session.outbox(Vec::new(), false),
                Effect::Clock { .. } => {}
                Effect::Closed(end) => self.end = Some(end),
            }
        }
    }

    fn next_tick(&self) -> Option<u64> {
        self.session.next_tick()
    }

    fn poll_control(&mut self, now: Now) -> Option<Outgoing> {
        self.session.poll_control(now.mono_ms).map(|frame| Outgoing::new(&frame, self.session.encode(&frame)))
    }

    fn poll_bulk(&mut self, _now: Now) -> Option<Outgoing> {
        self.session.poll_bulk().map(|frame| Outgoing::new(&frame, self.session.encode(&frame)))
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }
}
