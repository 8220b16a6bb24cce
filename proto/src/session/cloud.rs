//! The cloud's end of a session.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub use super::cloud_words::{Admission, Ahead, Effect, Scan, Status};

use super::cloud_up::Uptake;
use super::follower::Follower;
use super::handshake::{
    FEATURE_PARTS, FEATURE_PIECES, FEATURE_REPAIR, FEATURE_ZSTD, VERSIONS, common_features, common_version, refuse_version,
};
use super::liveness::Liveness;
use super::outgoing::Outgoing;
use super::{Breach, End};
use crate::clock::Now;
use crate::frame::{Ack, Batch, Compared, Frame, Held, Hello, NumberedWrite, Reason, Refuse, Welcome};
use crate::ids::Revision;
use crate::limits::{HANDSHAKE_MS, PING_METERED_MS, PING_MS, RECEIVED_MS, SILENCE_METERED_MS, SILENCE_MS};
use crate::traffic::Cause;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Hello has not come.
    Greeting,
    /// The store judges it.
    Admitting,
    /// Welcome is on its way.
    Starting,
    Open,
    Closed,
}

/// What is needed of Hello until Welcome.
#[derive(Debug)]
struct Greeting {
    version: u32,
    features: Vec<String>,
    metered: bool,
    paused: Option<Reason>,
    held: Option<Held>,
    newest_write: u64,
    outbox_first: u64,
    gaps: Vec<(u64, u64)>,
}

/// One session, from an accepted link to its end. See [`crate::session`] for how it is driven.
#[derive(Debug)]
pub struct CloudSession {
    phase: Phase,
    greeting: Option<Box<Greeting>>,
    now_ms: u64,
    session: u64,
    silence_ms: u64,
    /// When the edge is told that a large frame of its own is still arriving: its ping waits behind that frame.
    busy_ms: u64,
    outgoing: Outgoing,
    effects: VecDeque<Effect>,
    liveness: Liveness,
    follower: Follower,
    uptake: Uptake,
    /// Both sides may compress.
    compressed: bool,
}

impl CloudSession {
    /// Begins on a fresh link.
    pub fn new(now_ms: u64) -> Self {
        Self {
            phase: Phase::Greeting,
            greeting: None,
            now_ms,
            session: 0,
            silence_ms: SILENCE_MS.into(),
            busy_ms: u64::MAX,
            outgoing: Outgoing::default(),
            effects: VecDeque::new(),
            liveness: Liveness::new(now_ms),
            follower: Follower::default(),
            uptake: Uptake::default(),
            compressed: false,
        }
    }

    /// One whole frame came. Tells what its bytes were spent on.
    pub fn receive(&mut self, now_ms: u64, bytes: &[u8]) -> Cause {
        if self.is_closed() {
            return Cause::Session;
        }
        self.now_ms = now_ms;
        self.liveness.frame(now_ms);
        self.busy_ms = now_ms + self.silence_ms / 2;
        let frame = if self.compressed { Frame::decode_compressed(bytes) } else { Frame::decode(bytes) };
        let cause = frame.as_ref().map_or(Cause::Session, Frame::cause);
        let done = match frame {
            Ok(frame) => self.frame(frame),
            Err(error) => Err(Breach::new("malformed", error.to_string())),
        };
        self.settle(done);
        cause
    }

    /// How many bytes the link has brought so far; a frame that is still coming counts.
    pub fn bytes(&mut self, total: u64) {
        self.liveness.bytes(total);
    }

    /// The session may begin.
    pub fn admitted(&mut self, now_ms: u64, admission: Admission) {
        let (Phase::Admitting, Some(greeting)) = (self.phase, self.greeting.take()) else { return };
        self.phase = Phase::Starting;
        let Admission { session, epochs, head, cursor, reset, fork, taken, grants, told, answer_first, labels, hashes, held } = admission;
        let (ping_ms, silence_ms) = if greeting.metered { (PING_METERED_MS, SILENCE_METERED_MS) } else { (PING_MS, SILENCE_MS) };
        self.now_ms = now_ms;
        self.liveness.frame(now_ms);
        self.session = session;
        self.silence_ms = silence_ms.into();
        self.compressed = greeting.features.iter().any(|name| name == FEATURE_ZSTD);
        let repairs = greeting.features.iter().any(|name| name == FEATURE_REPAIR);
        self.follower = Follower::new(cursor.position.clone(), told, repairs, answer_first, greeting.paused);
        if greeting.features.iter().any(|name| name == FEATURE_PIECES) {
            self.follower.in_pieces(greeting.held);
        }
        let answered = if greeting.outbox_first == 0 { greeting.newest_write } else { greeting.outbox_first - 1 };
        self.uptake = Uptake::new(taken, answered, greeting.gaps);
        let parts = greeting.features.iter().any(|name| name == FEATURE_PARTS);
        let held = parts.then(|| self.uptake.in_parts(held)).flatten();
        let (version, features) = (greeting.version, greeting.features);
        let welcome = Welcome {
            version,
            features,
            session,
            epochs,
            head,
            cursor,
            reset,
            taken,
            grants,
            now_ms: 0,
            ping_ms,
            silence_ms,
            fork,
            labels,
            hashes,
            held,
        };
        self.outgoing.push(Frame::Welcome(welcome));
    }

    /// The session may not begin; the edge comes back after `retry_ms`, or as its back-off says when that is 0.
    pub fn refused(&mut self, reason: Reason, retry_ms: u64) {
        self.wait(reason, retry_ms, Vec::new());
    }

    /// The session may not begin yet: too many come at once. The edge comes back after `retry_ms` with the ticket, which keeps its place.
    pub fn wait(&mut self, reason: Reason, retry_ms: u64, ticket: Vec<u8>) {
        self.refuse(Refuse { reason, retry_ms, versions: VERSIONS, renew: false, ticket });
    }

    /// The session may not begin because the database is a copy, and the one that it was copied from has no session: the edge
    /// takes another database id and comes back at once.
    pub fn renew(&mut self, reason: Reason) {
        self.refuse(Refuse { reason, retry_ms: 0, versions: VERSIONS, renew: true, ticket: Vec::new() });
    }

    /// The last Scan's answer.
    pub fn scanned(&mut self, now_ms: u64, batch: Batch) {
        self.now_ms = now_ms;
        self.follower.scanned(batch);
        self.pump();
    }

    /// The last Ahead's answer: a batch that leads nowhere, and the revisions that its outcomes and its records reach. An empty
    /// one: nothing is left.
    pub fn read_ahead(&mut self, now_ms: u64, batch: Batch, outcomes: Revision, records: Revision) {
        self.now_ms = now_ms;
        self.follower.read_ahead(batch, outcomes, records);
        self.pump();
    }

    /// Digests go with the next batch at the head. Does nothing where the edge does not know them.
    pub fn verify(&mut self) {
        self.follower.verify();
        self.pump();
    }

    /// The last Scan or Ahead could not read; it is tried again in a second.
    pub fn scan_failed(&mut self, now_ms: u64) {
        self.follower.scan_failed(now_ms);
    }

    /// The head moved, and what moved may concern this node.
    pub fn changed(&mut self) {
        self.follower.changed();
        self.pump();
    }

    /// The last Commit is durable: everything up to `taken` is decided, and `held` is what it kept of the write behind that.
    pub fn committed(&mut self, taken: u64, held: Option<Held>) {
        let before = self.uptake.taken();
        self.uptake.committed(taken);
        if taken > before || held.is_none() {
            self.say_taken();
        }
        if let Some(held) = held.filter(|_| self.is_open()) {
            self.outgoing.push(Frame::Held(held));
        }
        self.follower.decided(self.uptake.decided());
        self.pump();
    }

    /// The last Commit failed and left nothing behind. It is tried again in a second; show why.
    pub fn commit_failed(&mut self, now_ms: u64, writes: Vec<NumberedWrite>) {
        self.uptake.failed(now_ms, writes);
    }

    /// Ends the session by this side's wish.
    pub fn close(&mut self, code: &str, detail: &str) {
        self.end_by(Reason { code: code.to_string(), detail: detail.to_string() });
    }

    /// Does what is due. Call it at [`CloudSession::next_tick`]; earlier does no harm.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let due = now_ms >= self.liveness.heard(now_ms) + self.patience_ms();
        match self.phase {
            Phase::Greeting if due => self.close("handshake_timeout", "no Hello within 5 s"),
            Phase::Starting | Phase::Open if due => {
                let detail = format!("not a byte from the edge for {} s", self.silence_ms / 1000);
                self.close("silence", &detail);
            }
            Phase::Open => {
                let frame_grows = self.liveness.frame_grows();
                self.say_busy(now_ms, frame_grows);
                self.uptake.tick(now_ms);
                let done = self.follower.tick(now_ms, frame_grows);
                self.settle(done);
            }
            Phase::Greeting | Phase::Admitting | Phase::Starting | Phase::Closed => {}
        }
    }

    /// When [`CloudSession::tick`] has something to do at the latest.
    pub fn next_tick(&self) -> Option<u64> {
        let silence = self.liveness.heard_ms() + self.patience_ms();
        match self.phase {
            Phase::Greeting | Phase::Starting => Some(silence),
            Phase::Open => {
                [Some(silence.min(self.busy_ms)), self.follower.next_tick(), self.uptake.next_tick()].into_iter().flatten().min()
            }
            Phase::Admitting | Phase::Closed => None,
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if self.effects.is_empty() {
            // An idle node among 20,000 keeps no buffer.
            self.effects = VecDeque::new();
        }
        effect
    }

    /// The next frame, when the link can take one.
    pub fn poll_send(&mut self, now: Now) -> Option<Frame> {
        self.poll_control(now).or_else(|| self.poll_bulk(now))
    }

    /// The next small frame. A link with a lane for each kind may deliver it before bulk that was handed out earlier.
    pub fn poll_control(&mut self, now: Now) -> Option<Frame> {
        let mut frame = self.outgoing.pop();
        if let Some(Frame::Welcome(Welcome { now_ms, .. }) | Frame::Pong { now_ms, .. }) = &mut frame {
            *now_ms = now.wall_ms;
        }
        frame
    }

    /// The next batch, when no small frame waits. It must not be delivered before the small ones that were handed out before it.
    pub fn poll_bulk(&mut self, now: Now) -> Option<Frame> {
        if !self.is_open() {
            return None;
        }
        self.now_ms = now.mono_ms;
        let frame = self.follower.next_piece(now.mono_ms).map(Frame::Piece);
        let frame = frame.or_else(|| self.follower.next_batch(now.mono_ms).map(Frame::Batch));
        self.pump();
        frame
    }

    /// The bytes of a frame that this session handed out, as both sides agreed.
    pub fn encode(&self, frame: &Frame) -> Vec<u8> {
        if self.compressed { frame.encode_compressed() } else { frame.encode() }
    }

    /// Whether the handshake is through and the session lives.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// How it goes.
    pub fn status(&self) -> Status {
        let inflight = self.follower.inflight();
        Status {
            mode: self.follower.mode(),
            acked: self.follower.acked().clone(),
            in_sync: self.follower.is_in_sync(),
            fills: self.follower.open_fills(),
            batches: inflight.len(),
            bytes: inflight.bytes(),
            paused: self.follower.paused().cloned(),
        }
    }

    fn patience_ms(&self) -> u64 {
        if self.phase == Phase::Greeting { HANDSHAKE_MS } else { self.silence_ms }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Breach> {
        match (self.phase, frame) {
            (Phase::Greeting, Frame::Hello(hello)) => self.hello(hello),
            (_, Frame::Close(reason)) => self.end(End::theirs(reason), None),
            (Phase::Starting, Frame::Started { session }) => self.started(session)?,
            (Phase::Open, Frame::Ack(ack)) => self.ack(ack)?,
            (Phase::Open, Frame::Received { .. } | Frame::Held(_)) => self.follower.progress(self.now_ms),
            (Phase::Open, Frame::Nack(reason)) => self.follower.nack(reason, self.now_ms)?,
            (Phase::Open, Frame::Ready) => self.follower.ready(self.now_ms),
            (Phase::Open, Frame::Writes(writes)) => {
                self.follower.progress(self.now_ms);
                if self.uptake.writes(writes)? {
                    self.say_taken();
                }
            }
            (Phase::Open, Frame::Verify) => self.follower.verify(),
            (Phase::Open, Frame::Ask(records)) => self.follower.asked(records),
            (Phase::Open, Frame::Compared(Compared { revision, differing })) => {
                let count = differing.len();
                let repairing = self.follower.compared(differing);
                self.effects.push_back(Effect::Compared { revision, differing: count, repairing });
            }
            (Phase::Open, Frame::Ping { sent_ms, report }) => {
                self.effects.extend(report.map(Effect::Report));
                self.outgoing.push(Frame::Pong { sent_ms, now_ms: 0 });
            }
            (phase, frame) => return Err(Breach::new("unexpected", format!("{} while {phase:?}", frame.name()))),
        }
        Ok(())
    }

    fn hello(&mut self, hello: Hello) {
        let Some(version) = common_version(VERSIONS, hello.versions) else {
            return self.refuse(refuse_version(hello.versions));
        };
        self.phase = Phase::Admitting;
        self.greeting = Some(Box::new(Greeting {
            version,
            features: common_features(&hello.features),
            metered: hello.metered,
            paused: hello.paused.clone(),
            held: hello.held,
            newest_write: hello.newest_write,
            outbox_first: hello.outbox_first,
            gaps: hello.gaps.clone(),
        }));
        self.effects.push_back(Effect::Admit(Box::new(hello)));
    }

    fn started(&mut self, session: u64) -> Result<(), Breach> {
        if session != self.session {
            return Err(Breach::new("session_number", format!("session {session} was started, {} was offered", self.session)));
        }
        self.phase = Phase::Open;
        self.effects.push_back(Effect::ConfirmSession(session));
        Ok(())
    }

    fn ack(&mut self, ack: Ack) -> Result<(), Breach> {
        let before = self.follower.acked().clone();
        let answered = ack.answered;
        let covered = self.follower.ack(ack, self.now_ms)?;
        self.uptake.answered(covered.outcome.unwrap_or_default().max(answered));
        self.follower.decided(self.uptake.decided());
        if *self.follower.acked() != before {
            self.effects.push_back(Effect::Acked(self.follower.acked().clone()));
        }
        Ok(())
    }

    fn say_busy(&mut self, now_ms: u64, frame_grows: bool) {
        if now_ms < self.busy_ms {
            return;
        }
        if frame_grows {
            self.outgoing.push(Frame::Received { bytes: self.liveness.total() });
        }
        self.busy_ms = now_ms + if frame_grows { self.silence_ms / 3 } else { RECEIVED_MS };
    }

    fn say_taken(&mut self) {
        if !self.is_open() {
            return;
        }
        self.outgoing.push(Frame::Taken { number: self.uptake.taken() });
    }

    fn settle(&mut self, done: Result<(), Breach>) {
        match done {
            Ok(()) => self.pump(),
            Err(breach) => self.end_by(breach.into()),
        }
    }

    fn pump(&mut self) {
        if !self.is_open() {
            return;
        }
        if let Some(ahead) = self.follower.next_ahead() {
            self.effects.push_back(Effect::Ahead(ahead));
        }
        if let Some(scan) = self.follower.next_scan(self.now_ms) {
            self.effects.push_back(Effect::Scan(scan));
        }
        if let Some(writes) = self.uptake.next_commit() {
            self.effects.push_back(Effect::Commit { session: self.session, writes });
        }
    }

    fn refuse(&mut self, refuse: Refuse) {
        let Refuse { reason, retry_ms, renew, ticket, .. } = refuse.clone();
        let end = End { by_peer: false, refused: true, reason, retry_ms, renew, ticket };
        self.end(end, Some(Frame::Refuse(refuse)));
    }

    fn end_by(&mut self, reason: Reason) {
        self.end(End::ours(reason.clone()), Some(Frame::Close(reason)));
    }

    fn end(&mut self, end: End, last: Option<Frame>) {
        if self.is_closed() {
            return;
        }
        self.phase = Phase::Closed;
        self.outgoing.last(last);
        self.effects.clear();
        self.effects.push_back(Effect::Closed(end));
    }
}
