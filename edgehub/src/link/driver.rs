//! One session of this node: the state machine, the edge database that carries out its wishes, and the board that
//! shows how it goes.

use std::sync::Arc;

use api::shapes::LinkState;
use metamanager::{Adopted, Applied, ApplyError, Checked, Metamanager, OutboxPart, ReadError, StoreError};
use proto::clock::Now;
use proto::frame::{Held, Hello, Report};
use proto::ids::Position;
use proto::session::End;
use proto::session::edge::{ApplyFailure, Durable, EdgeSession, Effect};
use proto::traffic::Cause;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use transport::link::TransportKind;
use transport::pump::{Driver, Outgoing};

use super::Linker;
use super::board::Board;
use super::offset::Offset;
use super::verification::Verification;
use super::volume::Volume;
use crate::eventbus::BusBoard;

/// How often a node whose disk was full looks again, milliseconds (design §5, NACK).
const LOOK_AGAIN_MS: u64 = 30_000;
/// How often the outbox is counted for the cloud, milliseconds: more often than pings go out, which carry it where it changed.
const REPORT_MS: u64 = 10_000;
/// Room for answers: at most one of each kind is out, wake-ups aside.
pub(super) const EVENTS: usize = 16;

/// What the database answered.
pub(super) enum Event {
    Adopted(Result<Adopted, ApplyError>),
    Applied { result: Result<Applied, ApplyError>, at_head: bool, through: Option<Position> },
    Kept(Result<Held, ApplyError>),
    Outbox(Result<OutboxPart, ReadError>),
    Checked(Result<Option<Checked>, StoreError>),
    Room(bool),
    Report(Result<Report, StoreError>),
}

/// Drives one [`EdgeSession`].
pub(super) struct EdgeDriver {
    session: EdgeSession,
    store: Metamanager,
    board: Arc<Board>,
    verification: Arc<Verification>,
    volume: Arc<Volume>,
    bus: Arc<BusBoard>,
    answers: mpsc::Sender<Event>,
    transport: TransportKind,
    offset: Offset,
    look_again: Option<u64>,
    report_due: u64,
    end: Option<End>,
    opened: bool,
    /// Why this database is a copy, where Welcome showed it.
    copied: Option<String>,
}

impl EdgeDriver {
    pub(super) fn new(linker: &Linker, hello: Hello, answers: mpsc::Sender<Event>, transport: TransportKind) -> Self {
        let now = linker.now();
        Self {
            session: EdgeSession::offering(now.mono_ms, hello),
            store: linker.store.clone(),
            board: Arc::clone(&linker.board),
            verification: Arc::clone(&linker.verification),
            volume: Arc::clone(&linker.volume),
            bus: Arc::clone(&linker.bus),
            answers,
            transport,
            offset: Offset::default(),
            look_again: None,
            report_due: now.mono_ms + REPORT_MS,
            end: None,
            opened: false,
            copied: None,
        }
    }

    /// How it ended, once it has.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Why the database is to take another id, where it is.
    pub(super) fn copied(&self) -> Option<String> {
        let told = || self.end.as_ref().filter(|end| end.renew).map(|end| end.reason.detail.clone());
        self.copied.clone().or_else(told)
    }

    /// Whether the cloud took this node in.
    pub(super) fn was_open(&self) -> bool {
        self.opened
    }

    fn start(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Adopt(welcome) => {
                self.board.update(|view| view.head = Some(welcome.head.0));
                self.volume.told(welcome.now_ms, now);
                let answer = self.answer(Event::Adopted);
                let adopt = move |store: &mut metamanager::Store, now| {
                    store.observe_cloud_time(welcome.now_ms, now)?;
                    store.adopt(&welcome, now)
                };
                self.store.run_then(adopt, answer);
            }
            Effect::Apply(batches) => {
                let last = batches.last();
                let at_head = last.is_some_and(|batch| batch.at_head);
                let through = last.map(|batch| batch.through.clone());
                let answer = self.answer(move |result| Event::Applied { result, at_head, through });
                self.store.apply_then(batches, answer);
            }
            Effect::Keep(pieces) => {
                let answer = self.answer(Event::Kept);
                self.store.run_then(move |store, _| store.keep_pieces(&pieces), answer);
            }
            Effect::ReadOutbox { after, max_bytes } => {
                let answer = self.answer(Event::Outbox);
                let store = self.store.clone();
                tokio::task::spawn_blocking(move || answer(store.read(|reader| reader.outbox_after(after, max_bytes))));
            }
            Effect::Clock { rtt_ms, cloud_ms } => {
                self.volume.told(cloud_ms, now);
                let better = self.offset.takes(now.mono_ms, rtt_ms);
                let offset = i64::try_from(cloud_ms).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now.wall_ms).unwrap_or(i64::MAX));
                self.board.update(|view| {
                    view.rtt_ms = Some(rtt_ms);
                    if better {
                        view.offset_ms = Some(offset);
                    }
                });
            }
            Effect::Closed(end) => self.end = Some(end),
        }
    }

    /// A closure that hands one answer to the session's loop, from whatever thread.
    fn answer<T>(&self, event: impl FnOnce(T) -> Event + Send + 'static) -> impl FnOnce(T) + Send + 'static {
        let answers = self.answers.clone();
        move |result| {
            // The session may be over; then nobody waits, and what was committed stays.
            if let Err(mpsc::error::TrySendError::Full(_)) = answers.try_send(event(result)) {
                warn!("an answer of the database found no room; the session will be opened anew");
            }
        }
    }

    fn applied(&mut self, now: Now, result: Result<Applied, ApplyError>, at_head: bool, through: Option<Position>) {
        match result {
            Ok(applied) => {
                if applied.blocked > 0 {
                    warn!(records = applied.blocked, "records that cannot be stored were put aside; see `edgehub status`");
                }
                debug!(records = applied.records, outcomes = applied.outcomes.len(), "applied");
                let filling = !applied.fills.is_empty();
                self.board.update(|view| {
                    view.at_head = at_head && !filling;
                    view.head = view.head.max(through.map(|through| through.revision.0));
                });
                if applied.check {
                    self.check();
                }
                self.verification.repairing(applied.repairs);
                if let Some(compared) = &applied.compared {
                    self.verification.compared(now.mono_ms, compared);
                }
                let Applied { cursor, fills, answered, compared, asks, .. } = applied;
                self.session.applied(now.mono_ms, Durable { cursor, fills, answered, compared, asks });
            }
            Err(error) => self.apply_failed(now, &error),
        }
    }

    fn apply_failed(&mut self, now: Now, error: &ApplyError) {
        match error {
            ApplyError::Pieces => self.session.close("parts", &error.to_string()),
            error if is_disk_full(error) => {
                warn!(%error, "downstream pauses");
                self.board.update(|view| view.paused = true);
                self.look_again = Some(now.mono_ms + LOOK_AGAIN_MS);
                self.session.apply_failed(now.mono_ms, ApplyFailure::DiskFull, &error.to_string());
            }
            error => {
                warn!(%error, "records could not be applied; nothing was acknowledged");
                self.session.apply_failed(now.mono_ms, ApplyFailure::Broken, &error.to_string());
            }
        }
    }

    /// What the day's limit asks for.
    fn look_at_volume(&mut self, now: Now) {
        let look = self.volume.look(now);
        if look.save {
            let volume = Arc::clone(&self.volume);
            tokio::task::spawn_blocking(move || volume.save(now));
        }
        let used_up = if look.used_up { self.volume.used_up() } else { None };
        self.session.set_limit(used_up.as_deref());
    }

    /// Reads the records in the background: that takes as long as it takes, and nothing waits for it.
    fn check(&self) {
        let answer = self.answer(Event::Checked);
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || answer(store.check()));
    }

    fn checked(&mut self, now: Now, checked: Checked) {
        info!(records = checked.records, damaged = checked.damaged, "records checked");
        if let Some(compared) = &checked.compared {
            self.verification.compared(now.mono_ms, compared);
            self.session.compared(compared.clone());
        }
        if self.verification.checked(&checked) || checked.again {
            self.session.verify();
        }
    }
}

fn is_disk_full(error: &ApplyError) -> bool {
    match error {
        ApplyError::DiskLow { .. } => true,
        ApplyError::Store(error) => error.is_full(),
        _ => false,
    }
}

impl Driver for EdgeDriver {
    type Event = Event;

    fn bytes(&mut self, total: u64) {
        self.session.bytes(total);
    }

    fn frame(&mut self, now: Now, frame: &[u8]) -> Cause {
        self.session.receive(now.mono_ms, frame)
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Adopted(Ok(adopted)) => {
                if adopted.repended > 0 {
                    warn!(writes = adopted.repended, "the cloud no longer knows writes that it had answered; they go up again");
                }
                self.opened = true;
                if adopted.lost > 0 {
                    warn!(
                        writes = adopted.lost,
                        "the cloud lost writes that are no longer kept here; see `edgehub write list --state lost`"
                    );
                    return self.session.close("gaps", "this node comes back at once and declares writes that neither side has any more");
                }
                info!(transport = %self.transport, "link up");
                self.board.enter(LinkState::Online, now.wall_ms);
                self.board.update(|view| {
                    view.transport = Some(self.transport);
                    view.last_error = None;
                    view.refused = None;
                });
                let Adopted { cursor, fills, answered, asks, .. } = adopted;
                let durable = Durable { cursor, fills, answered, asks, ..Durable::default() };
                self.session.adopted(now.mono_ms, durable);
            }
            Event::Adopted(Err(error @ ApplyError::Copied { .. })) => {
                self.copied = Some(error.to_string());
                self.session.close("copied_database", &error.to_string());
            }
            Event::Adopted(Err(error)) => self.session.close("store", &error.to_string()),
            Event::Applied { result, at_head, through } => self.applied(now, result, at_head, through),
            Event::Kept(Ok(held)) => self.session.kept(now.mono_ms, held),
            Event::Kept(Err(error)) => self.apply_failed(now, &error),
            Event::Outbox(Ok(part)) => self.session.outbox(part.writes, part.more),
            Event::Outbox(Err(error)) => self.session.close("store", &error.to_string()),
            Event::Checked(Ok(Some(checked))) => self.checked(now, checked),
            // One is running already, or the database is being closed.
            Event::Checked(Ok(None)) => {}
            Event::Checked(Err(error)) => warn!(%error, "the records could not be checked; the next comparison tries again"),
            Event::Room(true) => {
                self.board.update(|view| view.paused = false);
                self.session.can_store();
            }
            Event::Report(Ok(mut report)) => {
                let waiting = self.store.read(|reader| reader.reported_waiting()).unwrap_or(0);
                report.devices = self.bus.report(waiting, now.wall_ms);
                self.session.set_report(report);
            }
            Event::Report(Err(error)) => debug!(%error, "the outbox could not be counted for the cloud"),
            Event::Room(false) => self.look_again = Some(now.mono_ms + LOOK_AGAIN_MS),
        }
    }

    fn woken(&mut self) {
        self.session.outbox_changed();
        if self.session.is_open() && self.verification.take_wish() && !self.session.verify() {
            self.verification.unable();
        }
    }

    fn tick(&mut self, now: Now) {
        if self.look_again.is_some_and(|due| due <= now.mono_ms) {
            self.look_again = None;
            let answer = self.answer(|free: Option<u64>| Event::Room(free.is_none()));
            self.store.run_then(|store, _| store.disk_pause(), answer);
        }
        if now.mono_ms >= self.report_due {
            self.report_due = now.mono_ms + REPORT_MS;
            let answer = self.answer(Event::Report);
            self.store.run_then(|store, _| store.report(), answer);
        }
        self.session.tick(now.mono_ms);
    }

    fn work(&mut self, now: Now) {
        self.look_at_volume(now);
        while let Some(effect) = self.session.poll_effect() {
            self.start(effect, now);
        }
    }

    fn next_tick(&self) -> Option<u64> {
        [self.session.next_tick(), self.look_again, Some(self.report_due)].into_iter().flatten().min()
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
