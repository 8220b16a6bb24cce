//! The edge's end of a session.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::edge_down::Intake;
use super::edge_up::Upload;
use super::handshake::{DAILY_LIMIT, DISK_FULL, FEATURE_PARTS, FEATURE_PIECES, FEATURE_REPAIR, FEATURE_ZSTD, FEATURES, VERSIONS};
use super::liveness::Liveness;
use super::outgoing::Outgoing;
use super::{Breach, End};
use crate::frame::{Ack, Batch, Compared, Fill, Frame, Held, Hello, NumberedWrite, Piece, Reason, Refuse, Report, Welcome};
use crate::ids::Position;
use crate::limits::{HANDSHAKE_MS, PING_METERED_MS, PING_MS, PING_MS_MIN, RECEIVED_MS, RETRY_MS_MAX, SILENCE_METERED_MS, SILENCE_MS};
use crate::names::{CollectionName, Key};
use crate::traffic::Cause;

/// What the edge's shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Commit the session number before anything else, then epochs, cursor, grants and resets, and make delivered
    /// writes above `taken` pending again. Answer with [`EdgeSession::adopted`].
    Adopt(Box<Welcome>),
    /// Apply in this order, in one transaction, and sync it. The first batch begins at or below the cursor: a stretch
    /// may come again. Answer with [`EdgeSession::applied`] or [`EdgeSession::apply_failed`].
    Apply(Vec<Batch>),
    /// Keep these pieces of one value, in order, in one transaction, and sync it. The first one goes on where what is kept ends, or
    /// begins a value, in whose favour what is kept goes. Answer with [`EdgeSession::kept`] or [`EdgeSession::apply_failed`].
    Keep(Vec<Piece>),
    /// Read pending writes with a number above `after`, in order: at least one where there is one, else about
    /// `max_bytes`. Answer with [`EdgeSession::outbox`].
    ReadOutbox {
        /// The newest number that was read.
        after: u64,
        /// About how much.
        max_bytes: usize,
    },
    /// A measurement of the link. A small frame may have waited behind a large one, so the shell trusts the samples
    /// with the shortest way.
    Clock {
        /// There and back, milliseconds.
        rtt_ms: u64,
        /// The cloud's wall clock at this moment, milliseconds, give or take half of `rtt_ms`.
        cloud_ms: u64,
    },
    /// It is over. Send what [`EdgeSession::poll_send`] still has and close the link.
    Closed(End),
}

/// What the store says is durable, after Adopt and after each Apply.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durable {
    /// The cursor.
    pub cursor: Position,
    /// The open back-fills.
    pub fills: Vec<Fill>,
    /// The outcomes of all writes up to this number.
    pub answered: u64,
    /// What came of comparing digests, when a batch of this Apply brought some and it is known already; else it follows
    /// with [`EdgeSession::compared`].
    pub compared: Option<Compared>,
    /// Records that the store wants as they are now, at most [`crate::limits::ASK_RECORDS`]; they are named until they came.
    pub asks: Vec<(CollectionName, Key)>,
}

/// Why batches were not applied. Nothing of them may have been kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyFailure {
    /// No room: the session lives on and pauses.
    DiskFull,
    /// Anything else: the session closes; the store is reopened before the next one.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Hello is on its way.
    Greeting,
    /// The store commits what Welcome said; nothing may be sent before it has.
    Adopting,
    Open,
    Closed,
}

/// One session, from Hello to its end. See [`crate::session`] for how it is driven.
#[derive(Debug)]
pub struct EdgeSession {
    phase: Phase,
    outgoing: Outgoing,
    effects: VecDeque<Effect>,
    liveness: Liveness,
    intake: Intake,
    /// As much has passed today as may, in words.
    limit: Option<Reason>,
    /// Hello said that it is so.
    began_paused: bool,
    upload: Upload,
    committed_session: u64,
    session: u64,
    version: u32,
    /// The hub knows digests, and records asked for by key.
    repairs: bool,
    offers_zstd: bool,
    offers_parts: bool,
    offers_pieces: bool,
    /// Large values come in pieces.
    pieces: bool,
    /// Both sides may compress.
    compressed: bool,
    taken: u64,
    ping_ms: u64,
    silence_ms: u64,
    next_ping: u64,
    next_received: u64,
    pinged: Option<u64>,
    said: Report,
    report: Option<Report>,
}

impl EdgeSession {
    /// Begins on a fresh link. `hello` holds the database's durable facts; versions and features are this build's.
    pub fn new(now_ms: u64, hello: Hello) -> Self {
        Self::offering(now_ms, Hello { features: FEATURES.iter().map(ToString::to_string).collect(), ..hello })
    }

    /// The same with the features that `hello` names, of those of this build.
    pub fn offering(now_ms: u64, mut hello: Hello) -> Self {
        hello.versions = VERSIONS;
        let offers_zstd = hello.features.iter().any(|name| name == FEATURE_ZSTD);
        let offers_parts = hello.features.iter().any(|name| name == FEATURE_PARTS);
        let offers_pieces = hello.features.iter().any(|name| name == FEATURE_PIECES);
        let mut outgoing = Outgoing::default();
        let (committed_session, said) = (hello.session, hello.report.clone());
        let mut intake = Intake::default();
        intake.limit(hello.paused.is_some());
        intake.holds(hello.held.as_ref());
        let limit = hello.paused.clone();
        outgoing.push(Frame::Hello(hello));
        Self {
            phase: Phase::Greeting,
            outgoing,
            effects: VecDeque::new(),
            liveness: Liveness::new(now_ms),
            intake,
            began_paused: limit.is_some(),
            limit,
            upload: Upload::default(),
            committed_session,
            session: 0,
            version: 0,
            repairs: false,
            offers_zstd,
            offers_parts,
            offers_pieces,
            pieces: false,
            compressed: false,
            taken: 0,
            ping_ms: PING_MS.into(),
            silence_ms: SILENCE_MS.into(),
            next_ping: 0,
            next_received: 0,
            pinged: None,
            said,
            report: None,
        }
    }

    /// One whole frame came. Tells what its bytes were spent on.
    pub fn receive(&mut self, now_ms: u64, bytes: &[u8]) -> Cause {
        if self.is_closed() {
            return Cause::Session;
        }
        self.liveness.frame(now_ms);
        let frame = if self.compressed { Frame::decode_compressed(bytes) } else { Frame::decode(bytes) };
        let cause = frame.as_ref().map_or(Cause::Session, Frame::cause);
        let done = match frame {
            Ok(frame) => self.frame(now_ms, frame),
            Err(error) => Err(Breach::new("malformed", error.to_string())),
        };
        let idle = !self.intake.is_applying();
        match done {
            Ok(()) => self.pump(),
            Err(breach) => self.end_by(breach.into()),
        }
        if idle && self.intake.is_applying() {
            self.next_received = now_ms + RECEIVED_MS;
        }
        cause
    }

    /// How many bytes the link has brought so far; a frame that is still coming counts.
    pub fn bytes(&mut self, total: u64) {
        self.liveness.bytes(total);
    }

    /// Welcome was adopted: the store stands there.
    pub fn adopted(&mut self, now_ms: u64, durable: Durable) {
        if self.phase != Phase::Adopting {
            return;
        }
        self.phase = Phase::Open;
        self.liveness.frame(now_ms);
        self.next_ping = now_ms;
        self.next_received = now_ms + RECEIVED_MS;
        self.intake.start(durable.cursor.clone());
        self.upload.start(self.taken);
        self.outgoing.push(Frame::Started { session: self.session });
        self.say(durable);
        if self.limit.is_some() || self.began_paused {
            // The day may have ended between Hello and now; and an older hub did not read there.
            self.say_limit();
        }
        self.tick(now_ms);
    }

    /// The last Apply is durable: the store stands there.
    pub fn applied(&mut self, now_ms: u64, durable: Durable) {
        if self.phase != Phase::Open {
            return;
        }
        if self.intake.applied(durable.cursor.clone()) {
            self.say_limit();
        }
        self.say(durable);
        self.next_received = now_ms + RECEIVED_MS;
        self.pump();
    }

    /// The last Keep is durable: so much of the value is here.
    pub fn kept(&mut self, now_ms: u64, held: Held) {
        if self.phase != Phase::Open {
            return;
        }
        self.intake.kept();
        self.outgoing.push(Frame::Held(held));
        self.next_received = now_ms + RECEIVED_MS;
        self.pump();
    }

    /// The last Apply or Keep failed and left nothing behind.
    pub fn apply_failed(&mut self, now_ms: u64, failure: ApplyFailure, detail: &str) {
        if self.phase != Phase::Open {
            return;
        }
        match failure {
            ApplyFailure::DiskFull => {
                self.intake.pause();
                self.nack(DISK_FULL, detail);
                self.next_received = now_ms + RECEIVED_MS;
            }
            ApplyFailure::Broken => self.close("store", detail),
        }
    }

    /// There is room again.
    pub fn can_store(&mut self) {
        if self.phase == Phase::Open && self.intake.resume() {
            self.say_limit();
        }
    }

    /// As much has passed today as may, for which reason: nothing but control and writes is to come until this is said with none.
    pub fn set_limit(&mut self, detail: Option<&str>) {
        if self.limit.is_some() == detail.is_some() {
            return;
        }
        self.limit = detail.map(|detail| Reason { code: DAILY_LIMIT.to_string(), detail: detail.to_string() });
        self.intake.limit(self.limit.is_some());
        if self.phase != Phase::Open {
            return;
        }
        if self.limit.is_none() && self.intake.is_paused() {
            // What the hub believes is true no more: by this it asks for room again.
            return self.nack(DISK_FULL, "");
        }
        self.say_limit();
    }

    /// What the outbox holds, in number order, and whether there is more.
    pub fn outbox(&mut self, writes: Vec<NumberedWrite>, more: bool) {
        self.upload.outbox(writes, more);
        self.pump();
    }

    /// A write was committed.
    pub fn outbox_changed(&mut self) {
        self.upload.changed();
        self.pump();
    }

    /// The user wants to know whether what is held is what the cloud has: digests come with the next batch at the head.
    /// False: the hub of this session cannot.
    pub fn verify(&mut self) -> bool {
        if self.phase != Phase::Open || !self.repairs {
            return false;
        }
        self.outgoing.push(Frame::Verify);
        true
    }

    /// What came of comparing digests, where that took longer than the Apply that brought them.
    pub fn compared(&mut self, compared: Compared) {
        if self.phase == Phase::Open && self.repairs {
            self.outgoing.push(Frame::Compared(compared));
        }
    }

    /// What the operator is to see of this node; it goes out with the next ping when it changed.
    pub fn set_report(&mut self, report: Report) {
        self.report = (report != self.said).then_some(report);
    }

    /// Ends the session by this side's wish.
    pub fn close(&mut self, code: &str, detail: &str) {
        self.end_by(Reason { code: code.to_string(), detail: detail.to_string() });
    }

    /// Does what is due. Call it at [`EdgeSession::next_tick`]; earlier does no harm.
    pub fn tick(&mut self, now_ms: u64) {
        let heard_ms = self.liveness.heard(now_ms);
        match self.phase {
            Phase::Greeting if now_ms >= heard_ms + HANDSHAKE_MS => {
                self.close("handshake_timeout", "the hub did not answer Hello within 5 s");
            }
            Phase::Open if now_ms >= heard_ms + self.silence_ms => {
                let detail = format!("not a byte from the hub for {} s", self.silence_ms / 1000);
                self.close("silence", &detail);
            }
            Phase::Open => self.say_alive(now_ms),
            Phase::Greeting | Phase::Adopting | Phase::Closed => {}
        }
        self.pump();
    }

    /// When [`EdgeSession::tick`] has something to do at the latest.
    pub fn next_tick(&self) -> Option<u64> {
        let heard_ms = self.liveness.heard_ms();
        match self.phase {
            Phase::Greeting => Some(heard_ms + HANDSHAKE_MS),
            Phase::Open => Some(self.next_ping.min(self.next_received).min(heard_ms + self.silence_ms)),
            Phase::Adopting | Phase::Closed => None,
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next frame, when the link can take one.
    pub fn poll_send(&mut self, now_ms: u64) -> Option<Frame> {
        self.poll_control(now_ms).or_else(|| self.poll_bulk())
    }

    /// The next small frame. A link with a lane for each kind may deliver it before bulk that was handed out earlier.
    pub fn poll_control(&mut self, now_ms: u64) -> Option<Frame> {
        let mut frame = self.outgoing.pop();
        if let Some(Frame::Ping { sent_ms, report }) = &mut frame {
            *sent_ms = now_ms;
            *report = self.report.take();
            self.pinged = Some(now_ms);
            if let Some(report) = report {
                self.said = report.clone();
            }
        }
        frame
    }

    /// The next writes, when no small frame waits. They must not be delivered before the small ones that were handed out before them.
    pub fn poll_bulk(&mut self) -> Option<Frame> {
        if self.phase != Phase::Open {
            return None;
        }
        let frame = self.upload.next_frame();
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

    /// Whether this edge said that it cannot store.
    pub fn is_paused(&self) -> bool {
        self.intake.is_paused()
    }

    /// The protocol version that was agreed on; 0 before.
    pub fn version(&self) -> u32 {
        self.version
    }

    fn nack(&mut self, code: &str, detail: &str) {
        self.outgoing.push(Frame::Nack(Reason { code: code.to_string(), detail: detail.to_string() }));
    }

    /// The disk holds nothing up (any more): whether the day's limit does.
    fn say_limit(&mut self) {
        self.outgoing.push(self.limit.clone().map_or(Frame::Ready, Frame::Nack));
    }

    /// Says what is durable, and what follows from it.
    fn say(&mut self, durable: Durable) {
        let Durable { cursor, fills, answered, compared, asks } = durable;
        self.outgoing.push(Frame::Ack(Ack { cursor, fills, answered }));
        if !self.repairs {
            return;
        }
        compared.into_iter().for_each(|compared| self.outgoing.push(Frame::Compared(compared)));
        if !asks.is_empty() && self.intake.may_ask() {
            self.outgoing.push(Frame::Ask(asks));
        }
    }

    fn say_alive(&mut self, now_ms: u64) {
        if now_ms >= self.next_ping {
            self.outgoing.push(Frame::Ping { sent_ms: now_ms, report: None });
            self.next_ping = now_ms + self.ping_ms;
        }
        if now_ms >= self.next_received {
            if self.liveness.frame_grows() || self.intake.is_applying() {
                self.outgoing.push(Frame::Received { bytes: self.liveness.total() });
            }
            self.next_received = now_ms + RECEIVED_MS;
        }
    }

    fn frame(&mut self, now_ms: u64, frame: Frame) -> Result<(), Breach> {
        match (self.phase, frame) {
            (Phase::Greeting, Frame::Welcome(welcome)) => self.welcome(welcome)?,
            (Phase::Greeting, Frame::Refuse(refuse)) => {
                let Refuse { reason, retry_ms, renew, ticket, .. } = refuse;
                let retry_ms = retry_ms.min(RETRY_MS_MAX);
                let end = End { by_peer: true, refused: true, reason, retry_ms, renew, ticket };
                self.end(end, None);
            }
            (_, Frame::Close(reason)) => self.end(End::theirs(reason), None),
            (Phase::Open, Frame::Batch(batch)) => self.intake.batch(batch)?,
            (Phase::Open, Frame::Piece(piece)) if self.pieces => self.intake.piece(piece)?,
            (Phase::Open, Frame::Taken { number }) => self.upload.taken(number)?,
            (Phase::Open, Frame::Held(held)) => self.upload.held(&held)?,
            // The hub is alive and busy; that it was heard is all there is to it.
            (Phase::Open, Frame::Received { .. }) => {}
            (Phase::Open, Frame::Pong { sent_ms, now_ms: cloud_ms }) => self.pong(now_ms, sent_ms, cloud_ms),
            (phase, frame) => return Err(Breach::new("unexpected", format!("{} while {phase:?}", frame.name()))),
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<(), Breach> {
        if welcome.version < VERSIONS.0 || welcome.version > VERSIONS.1 {
            return Err(Breach::new("version", format!("the hub chose version {}, which was not offered", welcome.version)));
        }
        if welcome.session <= self.committed_session {
            let detail = format!("the hub offered session {}, which is not above {}", welcome.session, self.committed_session);
            return Err(Breach::new("session_number", detail));
        }
        self.phase = Phase::Adopting;
        self.session = welcome.session;
        self.version = welcome.version;
        self.repairs = welcome.features.iter().any(|name| name == FEATURE_REPAIR);
        self.compressed = self.offers_zstd && welcome.features.iter().any(|name| name == FEATURE_ZSTD);
        if self.offers_parts && welcome.features.iter().any(|name| name == FEATURE_PARTS) {
            self.upload.in_parts(welcome.held);
        }
        self.pieces = self.offers_pieces && welcome.features.iter().any(|name| name == FEATURE_PIECES);
        self.taken = welcome.taken;
        self.ping_ms = welcome.ping_ms.clamp(PING_MS_MIN, PING_METERED_MS).into();
        self.silence_ms = welcome.silence_ms.clamp(PING_MS_MIN, SILENCE_METERED_MS).into();
        self.effects.push_back(Effect::Adopt(Box::new(welcome)));
        Ok(())
    }

    /// Only the answer to the newest ping measures anything.
    fn pong(&mut self, now_ms: u64, sent_ms: u64, cloud_ms: u64) {
        if self.pinged == Some(sent_ms) {
            self.pinged = None;
            let rtt_ms = now_ms.saturating_sub(sent_ms);
            self.effects.push_back(Effect::Clock { rtt_ms, cloud_ms: cloud_ms.saturating_add(rtt_ms / 2) });
        }
    }

    fn pump(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        if let Some(pieces) = self.intake.next_keep() {
            self.effects.push_back(Effect::Keep(pieces));
        }
        if let Some(batches) = self.intake.next_apply() {
            self.effects.push_back(Effect::Apply(batches));
        }
        if let Some((after, max_bytes)) = self.upload.next_read() {
            self.effects.push_back(Effect::ReadOutbox { after, max_bytes });
        }
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
