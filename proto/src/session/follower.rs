//! The way down at the cloud: what is scanned when, and what happens when nothing comes back. Nothing is queued per
//! node: a batch is read when it can be sent, and read again when it got lost.

use alloc::format;
use alloc::vec::Vec;

use super::Breach;
use super::ahead::Lead;
use super::checks::Checks;
use super::cloud::{Ahead, Scan};
use super::handshake::DAILY_LIMIT;
use super::inflight::{Covered, InFlight};
use super::pieces::Pieces;
use crate::frame::{Ack, Batch, Fill, Held, Piece, RangeSums, Reason, Share};
use crate::ids::{Position, Revision};
use crate::limits::{ASK_MS, BATCH_RECORDS, IDLE_HEAD_MS, RETRY_MS, STALL_MS, STALLS, WINDOW_BYTES_MIN};
use crate::names::{CollectionName, Key};

/// Open back-fills that one scan is told of; it reads the first that is still granted.
const FILLS_PER_SCAN: usize = 16;

/// How batches flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Not yet: the edge has not said where it stands.
    #[default]
    Waiting,
    /// After a stall or a pause: one batch at a time until one is acknowledged.
    Probe,
    /// As the window allows.
    Replicate,
    /// The edge cannot take records: only outcomes go on, and what those writes touched.
    Paused,
    /// Outcomes go first, and some writes have none yet.
    Answering,
}

/// One node's way down.
#[derive(Debug, Default)]
pub(super) struct Follower {
    mode: Mode,
    acked: Position,
    acked_fills: Vec<Fill>,
    /// Where the newest sent batch ended, and the highest of all in this session.
    sent: Position,
    highest: Position,
    /// Where the newest scan ended: above `sent` when what lies between was empty and not sent.
    scanned: Position,
    fills: Vec<Fill>,
    told: Revision,
    inflight: InFlight,
    ready: Option<(Batch, usize)>,
    scanning: bool,
    /// The scan that is out began before a re-scan.
    discard: bool,
    /// There may be something to scan.
    more: bool,
    /// A chain of batches ends with one at the head, an empty one too: by it the edge knows that its applied writes
    /// need not wait for a record any more.
    owes_head: bool,
    stalls: u32,
    progress_ms: u64,
    batch_ms: u64,
    retry_ms: Option<u64>,
    ask_ms: Option<u64>,
    ask: bool,
    paused: Option<Reason>,
    lead: Option<Lead>,
    /// The newest read ahead of the stream that waits in `ready`.
    ahead: bool,
    answer_first: u64,
    /// Outcomes up to `answer_first` go before all else, and some may be missing yet: a pause does not end it.
    answering: bool,
    decided: u64,
    checks: Checks,
    /// How large values go; none: in their batches.
    pieces: Option<Pieces>,
}

impl Follower {
    /// The stream begins at `cursor`; the edge knows the grants of revision `told`. `repairs`: it can compare digests, ask for
    /// records, and take outcomes ahead of the stream. Writes up to `answer_first` have their outcomes before all else.
    /// `paused`: why the edge takes no records from the beginning, if it does not.
    pub(super) fn new(cursor: Position, told: Revision, repairs: bool, answer_first: u64, paused: Option<Reason>) -> Self {
        let answer_first = if repairs { answer_first } else { 0 };
        Self { highest: cursor, told, answer_first, paused, checks: Checks::new(repairs), ..Self::default() }
    }

    /// Large values go in pieces, one of them from what the edge has of it.
    pub(super) fn in_pieces(&mut self, held: Option<Held>) {
        self.pieces = Some(Pieces::new(held));
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn acked(&self) -> &Position {
        &self.acked
    }

    pub(super) fn open_fills(&self) -> usize {
        self.acked_fills.len()
    }

    pub(super) fn inflight(&self) -> &InFlight {
        &self.inflight
    }

    pub(super) fn paused(&self) -> Option<&Reason> {
        self.paused.as_ref()
    }

    /// Everything that is known to be there has been acknowledged.
    pub(super) fn is_in_sync(&self) -> bool {
        let idle = !self.more && !self.scanning && !self.owes_head && self.ready.is_none() && self.inflight.is_empty();
        self.mode == Mode::Replicate && idle && self.acked_fills.is_empty()
    }

    /// The head moved.
    pub(super) fn changed(&mut self) {
        self.more = true;
        if self.mode == Mode::Paused {
            self.lead.iter_mut().for_each(Lead::changed);
        }
    }

    /// Everything that came of the outbox up to `number` is decided.
    pub(super) fn decided(&mut self, number: u64) {
        self.decided = number;
        if self.answering {
            // As they are made: the cloud takes no more than it may have unacknowledged.
            self.lead.iter_mut().for_each(Lead::changed);
        }
    }

    /// Digests with the next batch at the head.
    pub(super) fn verify(&mut self) {
        self.more |= self.checks.verify();
    }

    /// The edge compared digests. Tells whether what differs is narrowed and sent again.
    pub(super) fn compared(&mut self, differing: Vec<RangeSums>) -> bool {
        let repairs = self.checks.compared(differing);
        self.more |= repairs;
        repairs
    }

    /// The edge asks for records.
    pub(super) fn asked(&mut self, records: Vec<(CollectionName, Key)>) {
        self.more |= self.checks.asked(records);
    }

    /// What to read ahead of the stream.
    pub(super) fn next_ahead(&mut self) -> Option<Ahead> {
        let busy = self.scanning || self.ready.is_some() || self.retry_ms.is_some() || !self.inflight.is_empty();
        let ahead = if busy { None } else { self.lead.as_mut()?.next(&self.acked) }?;
        self.scanning = true;
        Some(ahead)
    }

    /// What was read ahead, and how far it reaches.
    pub(super) fn read_ahead(&mut self, batch: Batch, outcomes: Revision, records: Revision) {
        self.scanning = false;
        let discard = core::mem::take(&mut self.discard);
        let Some(lead) = self.lead.as_mut().filter(|_| !discard) else {
            self.more = true;
            return;
        };
        let none = batch.is_empty();
        lead.read(outcomes, records, none);
        if !none {
            let bytes = batch.wire_len();
            self.ahead = true;
            self.ready = Some((batch, bytes));
        } else if self.answering && self.decided >= self.answer_first && lead.is_done() {
            self.answered();
        }
    }

    /// All that had to go first has gone.
    fn answered(&mut self) {
        self.answering = false;
        self.more = true;
        if self.mode == Mode::Paused {
            self.lead = Some(Lead::paused(self.acked.revision));
            return;
        }
        self.mode = Mode::Replicate;
        self.lead = None;
        if let Some(reason) = self.paused.take() {
            self.pause(reason, None);
        }
    }

    /// The next scan, when the window has room for what it reads.
    pub(super) fn next_scan(&mut self, now_ms: u64) -> Option<Scan> {
        if self.scanning || self.ready.is_some() || !self.more || self.retry_ms.is_some() {
            return None;
        }
        let max_bytes = match self.mode {
            Mode::Waiting | Mode::Paused | Mode::Answering => return None,
            Mode::Probe => self.inflight.is_empty().then_some(WINDOW_BYTES_MIN)?,
            Mode::Replicate => self.inflight.room(now_ms)?,
        };
        self.more = false;
        self.scanning = true;
        let fills = self.fills.iter().take(FILLS_PER_SCAN).cloned().collect();
        let digests = self.checks.wants_digests().then(|| self.open_shares());
        let (compare, ask) = self.checks.to_answer();
        self.checks.given();
        let from = self.scanned.clone();
        Some(Scan { from, fills, told: self.told, max_records: BATCH_RECORDS, max_bytes, digests, compare, ask })
    }

    /// What the scan read.
    pub(super) fn scanned(&mut self, batch: Batch) {
        self.scanning = false;
        if core::mem::take(&mut self.discard) {
            self.more = true;
            return;
        }
        self.more |= self.checks.scanned(&batch);
        if batch.is_empty() && !(batch.at_head && self.owes_head) {
            self.more |= !batch.at_head && batch.through > self.scanned;
            self.scanned = batch.through;
            return;
        }
        let bytes = batch.wire_len();
        self.ready = Some((Batch { from: self.sent.clone(), ..batch }, bytes));
    }

    /// The scan could not read.
    pub(super) fn scan_failed(&mut self, now_ms: u64) {
        self.scanning = false;
        self.discard = false;
        self.more = true;
        self.retry_ms = Some(now_ms + RETRY_MS);
    }

    /// The next piece of a large value in the batch that waits. It goes when everything before it is acknowledged: so an edge keeps
    /// pieces of one value only. What goes ahead of the stream goes whole: an edge whose disk is full takes nothing else.
    pub(super) fn next_piece(&mut self, now_ms: u64) -> Option<Piece> {
        let (batch, _) = self.ready.as_mut().filter(|_| self.inflight.is_empty() && !self.ask && !self.ahead)?;
        let piece = self.pieces.as_mut()?.next(batch)?;
        self.batch_ms = now_ms;
        self.progress_ms = now_ms;
        Some(piece)
    }

    /// The batch that waits, when the window allows it.
    pub(super) fn next_batch(&mut self, now_ms: u64) -> Option<Batch> {
        if core::mem::take(&mut self.ask) {
            let at = || self.acked.clone();
            return Some(Batch::empty(at(), at()));
        }
        let (inflight, pieces) = (&self.inflight, self.pieces.as_ref().filter(|_| !self.ahead));
        let goes = |(batch, bytes): &mut (Batch, usize)| {
            let went = pieces.is_none_or(|pieces| pieces.went(batch));
            went && inflight.admits(*bytes, now_ms)
        };
        let (mut batch, bytes) = self.ready.take_if(goes)?;
        self.inflight.push(&batch, bytes, now_ms);
        self.pieces.iter_mut().for_each(|pieces| pieces.leave_out(&mut batch));
        if core::mem::take(&mut self.ahead) {
            return Some(batch);
        }
        self.sent = batch.through.clone();
        self.scanned = batch.through.clone();
        self.highest = self.highest.clone().max(batch.through.clone());
        self.batch_ms = now_ms;
        self.owes_head = !batch.at_head;
        self.told = batch.grants.as_ref().map_or(self.told, |grants| grants.revision);
        if let Some(part) = &batch.fill {
            self.fills.retain_mut(|own| {
                let this = own.grant == part.fill.grant;
                if this {
                    own.at = part.fill.at.clone();
                }
                !(this && part.done)
            });
        }
        // The stream may have left no room for a part of a back-fill: only a scan that reads nothing at all ends it.
        self.more |= !batch.at_head || (!self.fills.is_empty() && !batch.is_empty());
        Some(batch)
    }

    /// The edge says what it holds. Stale and repeated ACKs do nothing.
    pub(super) fn ack(&mut self, ack: Ack, now_ms: u64) -> Result<Covered, Breach> {
        if ack.cursor > self.highest {
            let (said, sent) = (ack.cursor.revision, self.highest.revision);
            return Err(Breach::new("ack_above_sent", format!("an ACK of revision {said}, and {sent} is the newest sent")));
        }
        self.progress_ms = now_ms;
        if self.mode == Mode::Waiting {
            self.begin(now_ms, ack.cursor.clone());
        }
        if ack.cursor < self.acked {
            return Ok(Covered::default());
        }
        let covered = self.inflight.ack(&ack, now_ms);
        if covered.batches > 0 {
            self.stalls = 0;
            if self.mode == Mode::Probe {
                self.mode = Mode::Replicate;
            }
        }
        self.acked = ack.cursor;
        self.adopt_fills(&ack.fills);
        if ack.fills.is_empty() && !self.acked_fills.is_empty() {
            self.more |= self.checks.filled();
        }
        self.acked_fills = ack.fills;
        Ok(covered)
    }

    /// The edge is alive and busy.
    pub(super) fn progress(&mut self, now_ms: u64) {
        self.progress_ms = now_ms;
    }

    /// The edge takes no records. Where its disk is full, what is on its way is lost, and it is asked now and then; a daily limit it
    /// knows the end of itself, and it takes what is on its way.
    pub(super) fn nack(&mut self, reason: Reason, now_ms: u64) -> Result<(), Breach> {
        if self.mode == Mode::Waiting {
            return Err(Breach::new("unexpected", "Nack before the first ACK"));
        }
        if reason.code != DAILY_LIMIT {
            self.pause(reason, Some(now_ms + ASK_MS));
        } else if self.mode == Mode::Answering {
            // Outcomes pass; the pause begins behind them.
            self.paused = Some(reason);
        } else if self.paused.as_ref().is_none_or(|known| known.code != reason.code) {
            self.pause(reason, None);
        }
        Ok(())
    }

    fn pause(&mut self, reason: Reason, ask_ms: Option<u64>) {
        match &mut self.lead {
            Some(lead) if self.mode == Mode::Paused && ask_ms.is_some() => lead.refused(self.acked.revision),
            _ if self.answering => self.lead = Some(Lead::answers()),
            _ => self.lead = self.checks.enabled().then(|| Lead::paused(self.acked.revision)),
        }
        self.mode = Mode::Paused;
        self.paused = Some(reason);
        self.ask_ms = ask_ms;
        self.start_at_ack();
    }

    /// The edge takes records again.
    pub(super) fn ready(&mut self, now_ms: u64) {
        self.paused = None;
        if self.mode == Mode::Paused {
            self.mode = if self.answering { Mode::Answering } else { Mode::Probe };
            self.lead = self.answering.then(Lead::answers);
            self.lead.iter_mut().for_each(Lead::changed);
            self.ask_ms = None;
            self.ask = false;
            self.progress_ms = now_ms;
            if self.acked > self.sent {
                // It took what was on its way when it said so.
                self.start_at_ack();
            }
        }
    }

    /// Does what is due. `frame_grows`: one from the edge is partly here.
    pub(super) fn tick(&mut self, now_ms: u64, frame_grows: bool) -> Result<(), Breach> {
        if frame_grows {
            self.progress_ms = now_ms;
        }
        self.retry_ms = self.retry_ms.filter(|due| now_ms < *due);
        if self.ask_ms.is_some_and(|due| now_ms >= due) {
            self.ask = true;
            self.ask_ms = Some(now_ms + ASK_MS);
            self.lead.iter_mut().for_each(Lead::ask);
        }
        self.more |= self.checks.tick(now_ms);
        if self.idle_due().is_some_and(|due| now_ms >= due) {
            self.batch_ms = now_ms;
            self.owes_head = true;
            self.more = true;
        }
        if self.stall_due().is_some_and(|due| now_ms >= due) {
            self.stalls += 1;
            if self.stalls > STALLS {
                return Err(Breach::new("stalled", format!("no progress after {STALLS} scans from the last ACK")));
            }
            if matches!(self.mode, Mode::Replicate | Mode::Probe) {
                self.mode = Mode::Probe;
            }
            self.progress_ms = now_ms;
            self.start_at_ack();
        }
        Ok(())
    }

    pub(super) fn next_tick(&self) -> Option<u64> {
        [self.retry_ms, self.ask_ms, self.idle_due(), self.stall_due(), self.checks.next_tick()].into_iter().flatten().min()
    }

    /// When what is on its way counts as lost.
    fn stall_due(&self) -> Option<u64> {
        let oldest_ms = self.inflight.oldest_ms()?;
        Some(self.progress_ms.max(oldest_ms) + STALL_MS.max(4 * self.inflight.usual_ms()))
    }

    /// When the cursor moves although nothing came for this node.
    fn idle_due(&self) -> Option<u64> {
        matches!(self.mode, Mode::Probe | Mode::Replicate).then_some(self.batch_ms + IDLE_HEAD_MS)
    }

    /// The edge's first word after Welcome.
    fn begin(&mut self, now_ms: u64, cursor: Position) {
        self.answering = self.answer_first > 0;
        self.mode = if self.answering { Mode::Answering } else { Mode::Replicate };
        self.batch_ms = now_ms;
        self.acked = cursor;
        self.checks.begin(now_ms);
        self.start_at_ack();
        self.lead = self.answering.then(Lead::answers);
        if self.mode != Mode::Answering
            && let Some(reason) = self.paused.take()
        {
            let ask_ms = (reason.code != DAILY_LIMIT).then_some(now_ms + ASK_MS);
            self.pause(reason, ask_ms);
        }
    }

    /// Shares whose back-fill the edge may have open.
    fn open_shares(&self) -> Vec<Share> {
        self.acked_fills.iter().chain(&self.fills).map(|fill| fill.grant.share.clone()).collect()
    }

    /// A new scan from the last ACK. The grants that were told stay told: an edge keeps those, whatever it drops.
    fn start_at_ack(&mut self) {
        self.inflight.clear();
        self.discard = self.scanning;
        if let Some((batch, _)) = self.ready.take() {
            self.checks.dropped(&batch);
        }
        self.pieces.iter_mut().for_each(Pieces::again);
        self.ahead = false;
        self.lead.iter_mut().for_each(Lead::changed);
        self.sent = self.acked.clone();
        self.scanned = self.acked.clone();
        self.fills = self.acked_fills.clone();
        self.owes_head = true;
        self.more = true;
    }

    /// The edge alone knows which back-fills are open; only of those with a part on its way this side knows more.
    fn adopt_fills(&mut self, open: &[Fill]) {
        let newest = |fill: &Fill| match self.inflight.part_of(&fill.grant) {
            None => Some(fill.clone()),
            Some((_, true)) => None,
            Some((part, false)) => Some(part.clone()),
        };
        let fills: Vec<_> = open.iter().filter_map(newest).collect();
        self.more |= !fills.is_empty() && fills != self.fills;
        self.fills = fills;
    }
}
