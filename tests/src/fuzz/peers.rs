//! One machine of a link whose peer says anything: frames that almost fit, frames that are none, in any order, while its own store
//! answers as it pleases. Whatever comes, the machine lives on or ends with a reason, claims no more than its store has said, and
//! has one piece of each heavy work out at a time.

use arbitrary::{Result, Unstructured};
use proto::clock::Now;
use proto::frame::{Frame, Hello, NumberedWrite, Reason};
use proto::ids::{Cursor, Epoch, Position, Revision};
use proto::limits::{NUMBER_MAX, QUEUE_BYTES, UP_WINDOW_BYTES, WINDOW_BATCHES, WINDOW_BYTES_MAX};
use proto::session::cloud::{self, Admission, CloudSession};
use proto::session::edge::{self, ApplyFailure, Durable, EdgeSession};

use super::{Memory, made};

/// The most that happens to one machine.
const STEPS: usize = 300;
/// What a machine may hold: its queues, its window, and a frame that comes.
const HELD: usize = 2 * QUEUE_BYTES + UP_WINDOW_BYTES + WINDOW_BYTES_MAX + 16 * 1024 * 1024;

type Bytes<'a, 'b> = &'a mut Unstructured<'b>;

/// What comes next from the peer, as bytes.
fn heard(bytes: Bytes<'_, '_>, from: Position) -> Result<Vec<u8>> {
    if bytes.ratio(1_u8, 12_u8)? {
        let length = bytes.int_in_range(0..=24)?;
        return Ok(bytes.bytes(length.min(bytes.len()))?.to_vec());
    }
    let mut frame = made::frame(bytes, from)?.encode();
    if bytes.ratio(1_u8, 24_u8)? {
        let at = bytes.choose_index(frame.len().max(1))?;
        let own = bytes.arbitrary()?;
        frame.iter_mut().skip(at).take(1).for_each(|byte| *byte = own);
    }
    Ok(frame)
}

/// An edge's machine, with its store.
struct Edge {
    machine: EdgeSession,
    durable: Durable,
    todo: Vec<edge::Effect>,
    /// Numbers of its outbox.
    newest: u64,
    /// The newest that was sent whole, and below it.
    ended: bool,
}

/// An edge whose hub says anything.
pub(super) fn hub(bytes: &[u8], memory: &Memory) {
    memory.within(HELD + 64 * bytes.len(), || edges_life(&mut Unstructured::new(bytes)).unwrap_or(()));
}

fn edges_life(bytes: Bytes<'_, '_>) -> Result<()> {
    let hello = Hello { gaps: Vec::new(), versions: (1, 1), ..made::hello(bytes)? };
    let durable = Durable { cursor: hello.cursor.clone().map(|cursor| cursor.position).unwrap_or_default(), ..Durable::default() };
    let mut own = Edge { machine: EdgeSession::new(0, hello), durable, todo: Vec::new(), newest: 40, ended: false };
    let mut now_ms = 0;
    own.drain(now_ms);
    if bytes.ratio(7_u8, 8_u8)? {
        own.machine.receive(now_ms, &Frame::Welcome(made::welcome(bytes)?).encode());
        own.drain(now_ms);
    }
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        own.step(now_ms, bytes)?;
        own.drain(now_ms);
        if bytes.ratio(1_u8, 4_u8)? {
            now_ms += u64::from(bytes.int_in_range(0_u32..=20_000)?);
            own.machine.bytes(bytes.arbitrary::<u32>()?.into());
            own.machine.tick(now_ms);
            own.drain(now_ms);
        }
    }
    let _ = (own.machine.next_tick(), own.machine.version(), own.machine.is_paused());
    Ok(())
}

impl Edge {
    fn step(&mut self, now_ms: u64, bytes: Bytes<'_, '_>) -> Result<()> {
        match bytes.int_in_range(0_u8..=15)? {
            0 => {
                self.newest += 1;
                self.machine.outbox_changed();
            }
            1 => self.machine.can_store(),
            2 => self.machine.set_limit(bytes.arbitrary::<bool>()?.then_some("enough for today")),
            3 => drop(self.machine.verify()),
            4..=8 if !self.todo.is_empty() => {
                let effect = self.todo.remove(bytes.choose_index(self.todo.len())?);
                self.answer(now_ms, effect, bytes)?;
            }
            _ => {
                let from = self.durable.cursor.clone();
                self.machine.receive(now_ms, &heard(bytes, from)?);
            }
        }
        Ok(())
    }

    /// As a store does: whole, or not at all.
    fn answer(&mut self, now_ms: u64, effect: edge::Effect, bytes: Bytes<'_, '_>) -> Result<()> {
        let fails = bytes.ratio(1_u8, 8_u8)?;
        match effect {
            edge::Effect::Adopt(welcome) => {
                self.durable.cursor = welcome.cursor.position;
                self.machine.adopted(now_ms, self.durable.clone());
            }
            edge::Effect::Apply(_) | edge::Effect::Keep(_) if fails => {
                let failure = if bytes.ratio(1_u8, 4_u8)? { ApplyFailure::Broken } else { ApplyFailure::DiskFull };
                self.machine.apply_failed(now_ms, failure, "no room");
            }
            edge::Effect::Apply(batches) => {
                for batch in batches {
                    assert!(batch.from <= self.durable.cursor, "a stretch is missing below {:?}", batch.from);
                    self.durable.cursor = self.durable.cursor.clone().max(batch.through);
                }
                self.durable.answered += u64::from(bytes.arbitrary::<bool>()?);
                self.machine.applied(now_ms, self.durable.clone());
            }
            edge::Effect::Keep(pieces) => {
                let Some(last) = pieces.last() else { return Ok(()) };
                let held = proto::frame::Held { number: 0, hash: last.part.hash, bytes: last.part.at + last.bytes.len() };
                self.machine.kept(now_ms, held);
            }
            edge::Effect::ReadOutbox { after, max_bytes } => {
                let length = *bytes.choose(&[40, 3_000, 100_000, 300_000])?;
                let numbers = after.saturating_add(1)..=self.newest;
                let most = (max_bytes / length).max(1);
                let writes = numbers.clone().take(most).map(|number| NumberedWrite {
                    number,
                    bytes: vec![7; length],
                    rejected: false,
                    hash: None,
                    fork: None,
                    part: None,
                });
                self.machine.outbox(writes.collect(), numbers.count() > most);
            }
            edge::Effect::Clock { .. } | edge::Effect::Closed(_) => {}
        }
        Ok(())
    }

    fn drain(&mut self, now_ms: u64) {
        while let Some(effect) = self.machine.poll_effect() {
            assert!(!self.ended, "{effect:?} after the end");
            self.ended = matches!(effect, edge::Effect::Closed(_));
            let heavy = |effect: &edge::Effect| match effect {
                edge::Effect::Apply(_) | edge::Effect::Keep(_) => 1,
                edge::Effect::ReadOutbox { .. } => 2,
                edge::Effect::Adopt(_) => 3,
                edge::Effect::Clock { .. } | edge::Effect::Closed(_) => 0,
            };
            let kind = heavy(&effect);
            if kind > 0 {
                assert!(self.todo.iter().all(|own| heavy(own) != kind), "{effect:?} is asked for twice: {:?}", self.todo);
                self.todo.push(effect);
            }
        }
        while let Some(frame) = self.machine.poll_send(now_ms) {
            let bytes = self.machine.encode(&frame);
            assert_eq!(Frame::decode_compressed(&bytes).as_ref(), Ok(&frame), "what a machine says is a frame");
            match frame {
                Frame::Ack(ack) => {
                    assert!(ack.cursor <= self.durable.cursor, "an ACK above what is durable");
                    assert!(ack.answered <= self.durable.answered, "outcomes that are not durable");
                }
                Frame::Writes(writes) => assert!(writes.iter().all(|write| write.number <= self.newest), "writes that nobody made"),
                _ => {}
            }
        }
        assert_eq!(self.ended, self.machine.is_closed());
    }
}

/// A cloud's machine, with its store.
struct Cloud {
    machine: CloudSession,
    todo: Vec<cloud::Effect>,
    taken: u64,
    session: u64,
    /// The highest position that a batch led to.
    sent: Position,
    ended: bool,
}

/// A hub whose edge says anything.
pub(super) fn edge(bytes: &[u8], memory: &Memory) {
    memory.within(HELD + 64 * bytes.len(), || clouds_life(&mut Unstructured::new(bytes)).unwrap_or(()));
}

fn clouds_life(bytes: Bytes<'_, '_>) -> Result<()> {
    let machine = CloudSession::new(0);
    let mut own = Cloud { machine, todo: Vec::new(), taken: 0, session: 0, sent: Position::default(), ended: false };
    let mut now_ms = 0;
    if bytes.ratio(7_u8, 8_u8)? {
        own.machine.receive(now_ms, &Frame::Hello(made::hello(bytes)?).encode());
        own.drain(now_ms);
        if let Some(effect) = own.todo.pop() {
            own.answer(now_ms, effect, bytes)?;
            own.drain(now_ms);
            own.machine.receive(now_ms, &Frame::Started { session: own.session }.encode());
        }
        own.drain(now_ms);
    }
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        own.step(now_ms, bytes)?;
        own.drain(now_ms);
        if bytes.ratio(1_u8, 4_u8)? {
            now_ms += u64::from(bytes.int_in_range(0_u32..=20_000)?);
            own.machine.bytes(bytes.arbitrary::<u32>()?.into());
            own.machine.tick(now_ms);
            own.drain(now_ms);
        }
    }
    let _ = own.machine.next_tick();
    Ok(())
}

impl Cloud {
    fn step(&mut self, now_ms: u64, bytes: Bytes<'_, '_>) -> Result<()> {
        match bytes.int_in_range(0_u8..=15)? {
            0 | 1 => self.machine.changed(),
            2 => self.machine.verify(),
            3..=8 if !self.todo.is_empty() => {
                let effect = self.todo.remove(bytes.choose_index(self.todo.len())?);
                self.answer(now_ms, effect, bytes)?;
            }
            _ => {
                let frame = match bytes.int_in_range(0_u8..=5)? {
                    0 => Frame::Writes(vec![NumberedWrite { number: self.taken + 1, part: None, ..made::write(bytes)? }]).encode(),
                    1 => Frame::Ack(proto::frame::Ack { cursor: self.sent.clone(), fills: Vec::new(), answered: 0 }).encode(),
                    _ => heard(bytes, Position::default())?,
                };
                self.machine.receive(now_ms, &frame);
            }
        }
        Ok(())
    }

    fn answer(&mut self, now_ms: u64, effect: cloud::Effect, bytes: Bytes<'_, '_>) -> Result<()> {
        match effect {
            cloud::Effect::Admit(hello) => {
                if bytes.ratio(1_u8, 16_u8)? {
                    self.machine.refused(Reason { code: "busy".into(), detail: String::new() }, 1_000);
                    return Ok(());
                }
                (self.session, self.taken) = ((hello.session + 1).min(NUMBER_MAX), made::number(bytes)?);
                self.sent = hello.cursor.map(|cursor| cursor.position).unwrap_or_default();
                self.machine.admitted(now_ms, self.admission(bytes)?);
            }
            cloud::Effect::Scan(_) | cloud::Effect::Ahead(_) if bytes.ratio(1_u8, 8_u8)? => self.machine.scan_failed(now_ms),
            cloud::Effect::Scan(scan) => {
                // A store's batch begins where it was asked to, and does not lead back.
                let made = made::batch(bytes, scan.from.clone())?;
                let through = made.through.clone().max(scan.from.clone());
                self.machine.scanned(now_ms, proto::frame::Batch { from: scan.from, through, pieces: None, ..made });
            }
            cloud::Effect::Ahead(ahead) => {
                let made = made::batch(bytes, ahead.at.clone())?;
                let records = ahead.records.unwrap_or_default();
                let batch =
                    proto::frame::Batch { from: ahead.at.clone(), through: ahead.at, fill: None, grants: None, pieces: None, ..made };
                self.machine.read_ahead(now_ms, batch, Revision(ahead.outcomes.0 + 1), Revision(records.0 + 1));
            }
            cloud::Effect::Commit { writes, .. } => {
                assert!(!writes.is_empty(), "nothing to commit");
                assert!(writes.iter().all(|write| write.number > self.taken), "a write is decided twice");
                if bytes.ratio(1_u8, 8_u8)? {
                    self.machine.commit_failed(now_ms, writes);
                    return Ok(());
                }
                let whole = writes.iter().filter(|write| write.completes()).map(|write| write.number).max();
                self.taken = whole.unwrap_or(self.taken).max(self.taken);
                self.machine.committed(self.taken, bytes.ratio(1_u8, 8_u8)?.then_some(made::held(bytes)?));
            }
            _ => {}
        }
        Ok(())
    }

    fn admission(&self, bytes: Bytes<'_, '_>) -> Result<Admission> {
        let revision = |bytes: Bytes<'_, '_>| made::number(bytes).map(Revision);
        Ok(Admission {
            session: self.session,
            epochs: Vec::new(),
            head: revision(bytes)?,
            cursor: Cursor { epoch: Epoch(1), position: self.sent.clone() },
            reset: bytes.arbitrary()?,
            fork: None,
            taken: self.taken,
            grants: None,
            told: revision(bytes)?,
            answer_first: made::number(bytes)?,
            labels: Vec::new(),
            hashes: Vec::new(),
            held: None,
        })
    }

    fn drain(&mut self, now_ms: u64) {
        while let Some(effect) = self.machine.poll_effect() {
            assert!(!self.ended, "{effect:?} after the end");
            self.ended = matches!(effect, cloud::Effect::Closed(_));
            let heavy = |effect: &cloud::Effect| match effect {
                cloud::Effect::Scan(_) | cloud::Effect::Ahead(_) => 1,
                cloud::Effect::Commit { .. } => 2,
                cloud::Effect::Admit(_) => 3,
                _ => 0,
            };
            if let cloud::Effect::Acked(position) = &effect {
                assert!(*position <= self.sent, "{position:?} is acknowledged, {:?} was sent", self.sent);
            }
            let kind = heavy(&effect);
            if kind > 0 {
                assert!(self.todo.iter().all(|own| heavy(own) != kind), "{effect:?} is asked for twice: {:?}", self.todo);
                self.todo.push(effect);
            }
        }
        while let Some(frame) = self.machine.poll_send(Now { wall_ms: now_ms, mono_ms: now_ms }) {
            let bytes = self.machine.encode(&frame);
            assert_eq!(Frame::decode_compressed(&bytes).as_ref(), Ok(&frame), "what a machine says is a frame");
            match frame {
                Frame::Taken { number } => assert!(number <= self.taken, "taken above what is committed"),
                Frame::Batch(batch) => self.sent = self.sent.clone().max(batch.through),
                _ => {}
            }
            let status = self.machine.status();
            let window = status.batches <= WINDOW_BATCHES && status.bytes <= WINDOW_BYTES_MAX;
            assert!(status.batches <= 1 || window, "{} batches of {} bytes are beyond the window", status.batches, status.bytes);
        }
        assert_eq!(self.ended, self.machine.is_closed());
    }
}
