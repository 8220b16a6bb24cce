//! One node's session: the state machine, the engine that carries out its wishes, and what the others see of it.

use std::sync::Arc;

use proto::clock::Now;
use proto::frame::{Batch, Hello, NumberedWrite, Reason};
use proto::ids::Revision;
use proto::op::Hash;
use proto::session::End;
use proto::session::cloud::{Admission, Ahead, CloudSession, Effect, Scan};
use proto::session::handshake::{FEATURE_REPAIR, FEATURE_TICKET};
use proto::traffic::Cause;
use tokio::sync::mpsc;
use tracing::{info, warn};
use transport::identity::Serial;
use transport::pump::{Driver, Outgoing};

use super::Peers;
use super::live::Live;
use super::turns::Turn;
use super::verify::{Checked, Finding, Verification, in_words};
use crate::engine::Failed;
use crate::limits::BUSY_RETRY_MS;
use crate::store::{AdmitJob, Admitted, Answer, Denied, Job, Named, Peer, ReadAhead, Refused, ScanRequest, Taken};

/// Room for answers: one of each kind is out at a time.
pub(super) const EVENTS: usize = 4;

/// What the store answered. Small, because the queue of each of 20,000 idle nodes has room for some.
pub(super) enum Event {
    Admitted(Box<Result<Arrival, Refusal>>),
    Scanned(Box<Result<Batch, Failed>>),
    Ahead(Box<Result<ReadAhead, Failed>>),
    Taken(Box<Result<Taken, (Failed, Vec<NumberedWrite>)>>),
}

/// An admission, and the opening of the store that it is of.
pub(super) struct Arrival {
    admitted: Admitted,
    opening: u64,
}

/// Why there is none.
pub(super) enum Refusal {
    Judged(Denied),
    Failed(Failed),
}

/// Drives one [`CloudSession`].
pub(super) struct CloudDriver {
    session: CloudSession,
    peers: Arc<Peers>,
    live: Arc<Live>,
    serial: Serial,
    answers: mpsc::Sender<Event>,
    /// What the edge holds, until it is known what it is to be told.
    held: Option<Hash>,
    /// A Hello whose turn comes then, milliseconds on the monotonic clock.
    early: Option<(u64, Box<Hello>)>,
    /// It was told to come back later.
    sent_away: bool,
    /// It has asked for its back-fills to be read.
    fills: bool,
    admitted: Option<(Peer, u64)>,
    verification: Verification,
    end: Option<Box<End>>,
}

impl CloudDriver {
    pub(super) fn new(now: Now, peers: Arc<Peers>, live: Arc<Live>, serial: Serial, answers: mpsc::Sender<Event>) -> Self {
        let session = CloudSession::new(now.mono_ms);
        Self {
            session,
            peers,
            live,
            serial,
            answers,
            held: None,
            early: None,
            sent_away: false,
            fills: false,
            admitted: None,
            verification: Verification::default(),
            end: None,
        }
    }

    /// How it ended, once it has.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_deref()
    }

    /// The database that was admitted.
    pub(super) fn peer(&self) -> Option<Peer> {
        self.admitted.map(|(peer, _)| peer)
    }

    /// It has to wait for its turn, which is nothing to worry about.
    pub(super) fn is_to_come_back(&self) -> bool {
        self.sent_away
    }

    fn start(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Admit(hello) => self.knock(hello, now),
            Effect::ConfirmSession(session) => self.opened(session),
            Effect::Scan(scan) => self.scan(scan, now),
            Effect::Ahead(ahead) => self.read_ahead(ahead, now),
            Effect::Compared { revision, differing, repairing } => self.compared(revision, differing, repairing),
            Effect::Commit { session, writes } => self.commit(session, writes),
            Effect::Acked(cursor) => self.with_peer(|ledger, peer| ledger.acked(peer, cursor)),
            Effect::Report(report) => {
                self.live.update(|view| view.report = Some(Box::new(report.clone())));
                self.with_peer(|ledger, peer| ledger.report(peer, report));
            }
            Effect::Closed(end) => {
                if end.refused && !self.sent_away {
                    self.peers.registry.refuse(&self.live, &end.reason.code);
                }
                self.end = Some(Box::new(end));
            }
        }
    }

    fn with_peer(&self, note: impl FnOnce(&super::Ledger, Peer)) {
        if let Some(peer) = self.peer() {
            note(&self.peers.ledger, peer);
        }
    }

    /// A closure that hands one answer to the session's loop, from whatever thread.
    fn answer<T>(&self, event: impl FnOnce(T) -> Event + Send + 'static) -> impl FnOnce(T) + Send + 'static {
        let answers = self.answers.clone();
        move |result| {
            // A session that is over waits for nothing; what was committed stays.
            if let Err(mpsc::error::TrySendError::Full(_)) = answers.try_send(event(result)) {
                warn!("an answer of the store found no room in its session");
            }
        }
    }

    /// A session begins when its turn has come.
    fn knock(&mut self, mut hello: Box<Hello>, now: Now) {
        let patient = hello.features.iter().any(|name| name == FEATURE_TICKET);
        match self.peers.gate.turn(&self.live.node, &hello.ticket, patient, now.mono_ms) {
            Turn::Now => self.admit(*hello),
            Turn::Soon { at_ms, ticket } => {
                hello.ticket = ticket;
                self.early = Some((at_ms, hello));
            }
            Turn::Later { retry_ms, ticket } => {
                self.sent_away = true;
                info!("more nodes come at once than are let in: some are told to come back in their turn");
                let reason = reason("busy", format!("many nodes come at once; this one's turn is in {} s", retry_ms.div_ceil(1000)));
                self.session.wait(reason, retry_ms, ticket);
            }
        }
    }

    fn admit(&mut self, mut hello: Hello) {
        // The registry wakes by what the node may have, so the store is to name it even where the edge knows it.
        self.held = hello.cursor.is_some().then_some(hello.grants_hash);
        hello.grants_hash = Hash::default();
        let compares = hello.features.iter().any(|name| name == FEATURE_REPAIR);
        self.live.update(|view| view.compares = compares);
        let database = hello.database;
        let skew_ms = hello.now_ms.cast_signed().wrapping_sub(self.peers.clock.wall_ms().cast_signed());
        self.live.update(|view| view.skew_ms = skew_ms);
        let job = AdmitJob {
            node: self.live.node.clone(),
            serial: Some(self.serial.to_string()),
            hello: Box::new(hello),
            live: None,
            address: self.live.address.clone(),
            transport: self.live.transport.as_str(),
        };
        let (peers, live) = (Arc::clone(&self.peers), Arc::clone(&self.live));
        let answer = self.answer(|result: Result<Arrival, Refusal>| Event::Admitted(Box::new(result)));
        let reply = move |result| {
            answer(match result {
                Ok(Answer::Admitted(Ok(admitted))) => {
                    // Between two groups: the next Hello of this node is judged by it.
                    if let Some(grants) = &admitted.grants {
                        peers.registry.admit(&live, database, grants);
                    }
                    Ok(Arrival { admitted: *admitted, opening: peers.engine.opening() })
                }
                Ok(Answer::Admitted(Err(denied))) => Err(Refusal::Judged(denied)),
                Ok(_) => Err(Refusal::Failed(Failed::Unavailable)),
                Err(failed) => Err(Refusal::Failed(failed)),
            });
        };
        self.peers.engine.submit(Job::Admit(Box::new(job)), Box::new(reply));
    }

    fn arrived(&mut self, now: Now, Arrival { admitted, opening }: Arrival) {
        self.admitted = Some((admitted.peer, opening));
        let held = self.held.take().filter(|_| !admitted.reset);
        let grants = admitted.grants.filter(|grants| held != Some(grants.hash()));
        let Admitted { session, epochs, head, cursor, reset, fork, taken, told, answer_first, labels, hashes, held: parts, .. } =
            { Admitted { grants: None, ..admitted } };
        let admission =
            Admission { session, epochs, head, cursor, reset, fork, taken, grants, told, answer_first, labels, hashes, held: parts };
        self.session.admitted(now.mono_ms, admission);
    }

    fn refused(&mut self, refusal: Refusal) {
        let (reason, retry_ms) = match refusal {
            Refusal::Judged(Denied { reason, renew: true }) => return self.session.renew(reason),
            Refusal::Judged(Denied { reason, .. }) => (reason, 0),
            Refusal::Failed(Failed::Busy) => (reason("busy", "the hub is busy; come back"), BUSY_RETRY_MS),
            Refusal::Failed(failed) => (reason("unavailable", failed.to_string()), BUSY_RETRY_MS),
        };
        self.session.refused(reason, retry_ms);
    }

    /// The first frame after Welcome: the node is online.
    fn opened(&mut self, session: u64) {
        let Some(peer) = self.peer() else { return };
        // An offered number counts as rightful too, so this one may be lost.
        self.peers.engine.submit(Job::Confirm { peer, session }, Box::new(|_| {}));
        info!(node = %self.live.node, address = %self.live.address, "node connected");
        self.live.update(|view| view.open = true);
        self.peers.ledger.seen(peer);
        self.peers.ledger.event(&self.live.node, "connected", format!("from {} over {}", self.live.address, self.live.transport));
    }

    fn scan(&mut self, mut scan: Scan, now: Now) {
        let Some((peer, opening)) = self.admitted else { return };
        self.live.update(|view| view.fills.clone_from(&scan.fills));
        if !scan.fills.is_empty() && !self.may_fill(now) {
            // The stream goes on; a wake-up says when it is this node's turn.
            scan.fills.clear();
        }
        self.verification.scan(scan.digests.as_deref());
        let answer = self.answer(|result| Event::Scanned(Box::new(result)));
        let body = move |store: &mut dyn crate::store::StoreRead| store.scan(&ScanRequest { peer, scan: &scan });
        if self.peers.engine.scan(opening, body, answer).is_err() {
            self.session.scan_failed(now.mono_ms);
        }
    }

    fn may_fill(&mut self, now: Now) -> bool {
        self.fills = true;
        let (may, others) = self.peers.gate.may_fill(self.live.id, now.mono_ms);
        self.peers.registry.wake(&others);
        may
    }

    fn read_ahead(&mut self, ahead: Ahead, now: Now) {
        let Some((peer, opening)) = self.admitted else { return };
        let answer = self.answer(|result| Event::Ahead(Box::new(result)));
        let body = move |store: &mut dyn crate::store::StoreRead| store.ahead(peer, &ahead);
        if self.peers.engine.scan(opening, body, answer).is_err() {
            self.session.scan_failed(now.mono_ms);
        }
    }

    fn scanned(&mut self, now: Now, batch: Batch) {
        let regranted = batch.grants.is_some();
        self.found(&batch);
        if let Some(grants) = &batch.grants {
            self.peers.registry.regrant(&self.live, grants);
        }
        self.session.scanned(now.mono_ms, batch);
        if regranted {
            // What was committed to a new share between the scan and now woke nobody.
            self.session.changed();
        }
    }

    /// What a batch says of the node's records: that some of them differ, and which.
    fn found(&mut self, batch: &Batch) {
        let found = self.verification.scanned(batch);
        if !found.is_empty() {
            let what = in_words(&found);
            warn!(node = %self.live.node, %what, "a node holds other records than it should; the ranges that differ are sent again");
            self.peers.ledger.event(
                &self.live.node,
                "records_differ",
                format!("{what}: other records than the cloud's; they are sent again"),
            );
        }
        let again = batch.fill.as_ref().filter(|part| part.fill.ranges.is_some()).map_or(0, |part| part.records.len());
        if again > 0 {
            self.peers.registry.check(|checks| checks.records += again as u64);
        }
    }

    /// The node compared digests with what it holds.
    fn compared(&mut self, revision: Revision, differing: usize, repairing: bool) {
        let Some(peer) = self.peer() else { return };
        self.peers.registry.check(|checks| if differing == 0 { checks.agreed += 1 } else { checks.differed += 1 });
        let filling = self.session.status().fills > 0;
        match self.verification.compared(revision, differing, repairing, filling) {
            Finding::Open => {}
            Finding::Again => self.session.verify(),
            Finding::Done(ticket, checked) => {
                self.checked(peer, &checked);
                self.live.answer(ticket, checked);
            }
        }
    }

    fn checked(&self, peer: Peer, checked: &Checked) {
        let (node, revision) = (&self.live.node, checked.revision);
        if !checked.agreed {
            warn!(%node, %revision, "what a node holds differs although it was sent again; its disk may be damaged");
            let detail = format!("at revision {revision}, although it was sent again: is the node's disk damaged?");
            return self.peers.ledger.event(node, "records_differ", detail);
        }
        let verified_ms = self.peers.ledger.verified(peer);
        self.live.update(|view| view.verified_ms = Some(verified_ms));
        if !checked.differences.is_empty() {
            let what = in_words(&checked.differences);
            info!(%node, %revision, %what, "what a node holds was mended");
            self.peers.ledger.event(node, "repaired", format!("{what}; all records agree at revision {revision}"));
        }
    }

    fn scan_failed(&mut self, now: Now, failed: &Failed) {
        if let Failed::BelowFloor(detail) = failed {
            return self.session.close("below_floor", detail);
        }
        warn!(node = %self.live.node, error = %failed, "nothing could be read for a node");
        self.session.scan_failed(now.mono_ms);
    }

    fn commit(&mut self, session: u64, writes: Vec<NumberedWrite>) {
        let Some(peer) = self.peer() else { return };
        let again = writes.clone();
        let answer = self.answer(|result| Event::Taken(Box::new(result)));
        let reply = move |result| {
            answer(match result {
                Ok(Answer::Taken(taken)) => Ok(taken),
                Ok(_) => Err((Failed::Unavailable, again)),
                Err(failed) => Err((failed, again)),
            });
        };
        self.peers.engine.submit(Job::Take { peer, session, writes }, Box::new(reply));
    }

    fn taken(&mut self, now: Now, result: Result<Taken, (Failed, Vec<NumberedWrite>)>) {
        match result {
            Ok(Taken { taken, held, stop, named }) => {
                tell(&named);
                self.session.committed(taken, held);
                if let Some(Reason { code, detail }) = stop {
                    self.session.close(&code, &detail);
                }
            }
            Err((Failed::Refused(Refused::Replaced), _)) => {
                self.session.close("replaced", "a newer session of this database took its place");
            }
            Err((failed, writes)) => {
                warn!(node = %self.live.node, error = %failed, "writes of a node wait");
                self.session.commit_failed(now.mono_ms, writes);
            }
        }
    }

    /// Shows how it goes.
    fn show(&mut self, now: Now) {
        let status = self.session.status();
        if self.fills && status.fills == 0 {
            self.fills = false;
            self.peers.registry.wake(&self.peers.gate.filled(self.live.id, now.mono_ms));
        }
        self.live.update(|view| {
            view.mode = status.mode;
            view.in_sync = status.in_sync;
            view.behind_since_ms = (!status.in_sync).then(|| view.behind_since_ms.unwrap_or(now.wall_ms));
            view.acked = status.acked;
            view.paused = status.paused.map(|reason| reason.code);
            if status.fills == 0 && !view.fills.is_empty() {
                view.fills = Vec::new();
            }
        });
    }
}

fn reason(code: &str, detail: impl Into<String>) -> Reason {
    Reason { code: code.into(), detail: detail.into() }
}

impl Driver for CloudDriver {
    type Event = Event;

    fn bytes(&mut self, total: u64) {
        self.session.bytes(total);
    }

    fn frame(&mut self, now: Now, frame: &[u8]) -> Cause {
        self.session.receive(now.mono_ms, frame)
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Admitted(result) => match *result {
                Ok(arrival) => self.arrived(now, arrival),
                Err(refusal) => self.refused(refusal),
            },
            Event::Scanned(result) => match *result {
                Ok(batch) => self.scanned(now, batch),
                Err(failed) => self.scan_failed(now, &failed),
            },
            Event::Ahead(result) => match *result {
                Ok(ReadAhead { batch, outcomes, records }) => self.session.read_ahead(now.mono_ms, batch, outcomes, records),
                Err(failed) => self.scan_failed(now, &failed),
            },
            Event::Taken(result) => self.taken(now, *result),
        }
    }

    fn woken(&mut self) {
        match self.live.ending() {
            Some(ending) => self.session.close(ending.code, &ending.detail),
            None => {
                if let Some(ticket) = self.live.wants_verification() {
                    self.verification.asked(ticket);
                    self.session.verify();
                }
                self.session.changed();
            }
        }
    }

    fn tick(&mut self, now: Now) {
        self.session.tick(now.mono_ms);
        if let Some((_, hello)) = self.early.take_if(|(at_ms, _)| *at_ms <= now.mono_ms)
            && !self.session.is_closed()
        {
            self.knock(hello, now);
        }
    }

    fn work(&mut self, now: Now) {
        while let Some(effect) = self.session.poll_effect() {
            self.start(effect, now);
        }
        self.show(now);
    }

    fn next_tick(&self) -> Option<u64> {
        let turn = self.early.as_ref().filter(|_| !self.session.is_closed()).map(|(at_ms, _)| *at_ms);
        [self.session.next_tick(), turn].into_iter().flatten().min()
    }

    fn poll_control(&mut self, now: Now) -> Option<Outgoing> {
        self.session.poll_control(now).map(|frame| Outgoing::new(&frame, self.session.encode(&frame)))
    }

    fn poll_bulk(&mut self, now: Now) -> Option<Outgoing> {
        self.session.poll_bulk(now).map(|frame| Outgoing::new(&frame, self.session.encode(&frame)))
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }
}

/// Requests that an application had named, so that they are found in this log too. The lines of an import share one.
fn tell(named: &[Named]) {
    for request in named.chunk_by(|one, next| one.request_id == next.request_id && one.verdict == next.verdict) {
        let [first, ..] = request else { continue };
        info!(id = %first.request_id, write = %first.write, writes = request.len(), state = first.verdict.as_str(), "decided");
    }
}
