//! The thread that writes.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proto::build::Action;
use proto::limits::VALUE_BYTES;
use proto::names::NodeName;
use tracing::{debug, error, info, warn};

use super::queue::Waited;
use super::{Failed, Reply, Setup, Shared, StartError};
use crate::limits::{LOOKUP_THREADS, SCAN_THREADS, TIDY_LATEST, TIDY_PAUSE};
use crate::store::{Class, Job, Largest, Store, StoreError, StoreRead};

/// A job and whom to answer.
pub(super) struct Command {
    pub(super) job: Job,
    pub(super) reply: Reply,
}

/// About how many bytes a job brings into its transaction.
pub(super) fn weight(job: &Job) -> usize {
    let own = match job {
        Job::Take { writes, .. } => writes.iter().map(|write| write.bytes.len() + 64).sum(),
        Job::Import(chunk) => chunk.lines.iter().map(|line| line.value.text_len() + 64).sum(),
        Job::Write(write) => write.ops.iter().map(|op| 64 + action_weight(&op.action)).sum(),
        Job::PutCollection { definition, .. } => definition.to_json().len(),
        Job::Seen(seen) => seen.len() * 64,
        _ => 0,
    };
    own + 256
}

fn action_weight(action: &Action) -> usize {
    match action {
        Action::Put { value, .. } | Action::Merge(value) | Action::Restore(value) => value.text_len(),
        // What the row brings with it is not known here; two values at most.
        Action::Resolve(_) => VALUE_BYTES,
        Action::Check(fields) => fields.iter().map(|(_, raw)| raw.as_str().len()).sum(),
        Action::Increment(_) | Action::Delete { .. } | Action::Close { .. } | Action::Again { .. } => 0,
    }
}

/// Whether a job stores something on somebody's wish, which can wait for room on the disk. What only records what is, or
/// takes something away, goes on.
fn needs_room(job: &Job) -> bool {
    matches!(
        job,
        Job::Take { .. }
            | Job::Write(_)
            | Job::Import(_)
            | Job::PutCollection { .. }
            | Job::Join(_)
            | Job::NewJoinToken(..)
            | Job::NewAccessToken(..)
    )
}

/// The store with what its thread needs beside it.
pub(super) struct Writer<S> {
    store: Option<S>,
    setup: Setup<S>,
    shared: Arc<Shared>,
    largest: Largest,
    tidy_due: Instant,
    /// After the store failed: when to open it again, and the pause before that.
    reopen_due: Instant,
    pause: Duration,
    opened_at: Instant,
}

impl<S: Store<Reader: 'static>> Writer<S> {
    pub(super) fn new(setup: Setup<S>, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let largest = Largest { jobs: 1, bytes: 0 };
        let pause = setup.reopen_pause.0;
        Self { store: None, setup, shared, largest, tidy_due: now, reopen_due: now, pause, opened_at: now }
    }

    /// Begins to use a store that was just opened.
    pub(super) fn opened(&mut self, store: S) -> Result<(), StartError> {
        let readers = (0..LOOKUP_THREADS + SCAN_THREADS)
            .map(|_| store.reader().map(|reader| Box::new(reader) as Box<dyn StoreRead>))
            .collect::<Result<_, _>>()?;
        let opening = self.shared.opening.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.supply.renew(opening, readers);
        self.largest = store.largest();
        self.shared.epoch.store(store.epoch().epoch.0, Ordering::Release);
        self.store = Some(store);
        self.opened_at = Instant::now();
        self.tidy_due = self.opened_at;
        self.shared.is_open.store(true, Ordering::Release);
        self.shared.changes.send_replace(());
        Ok(())
    }

    /// The thread's life: until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            let until = if self.store.is_some() { self.tidy_due } else { self.reopen_due };
            let largest = self.largest;
            let mut admitted = BTreeSet::new();
            let goes = |command: &Command, bytes| bytes <= largest.bytes && first_of_node(&mut admitted, &command.job);
            match self.shared.jobs.take(Some(until), largest.jobs, goes) {
                Waited::Entries(commands) => self.group(commands),
                Waited::Idle => {}
                Waited::Closed => break,
            }
            self.beside();
        }
        self.close();
    }

    /// One group commit.
    fn group(&mut self, commands: Vec<Command>) {
        let Some(store) = &mut self.store else {
            return commands.into_iter().for_each(|command| (command.reply)(Err(Failed::Unavailable)));
        };
        let has_room = (self.setup.has_room)();
        let mut jobs = Vec::with_capacity(commands.len());
        let mut replies = Vec::with_capacity(commands.len());
        for Command { mut job, reply } in commands {
            if !has_room && needs_room(&job) {
                reply(Err(Failed::DiskFull));
                continue;
            }
            if let Job::Admit(admit) = &mut job {
                admit.live = self.setup.witness.live(&admit.node);
            }
            jobs.push(job);
            replies.push(reply);
        }
        if jobs.is_empty() {
            return;
        }
        let now_ms = self.setup.clock.wall_ms();
        match catch_unwind(AssertUnwindSafe(|| store.decide(jobs, now_ms))) {
            Ok(Ok(decided)) => {
                self.shared.tally.commits.fetch_add(1, Ordering::Relaxed);
                self.shared.tally.jobs.fetch_add(replies.len() as u64, Ordering::Relaxed);
                for (total, new) in self.shared.tally.verdicts.iter().zip(decided.verdicts) {
                    total.fetch_add(new, Ordering::Relaxed);
                }
                self.setup.witness.touched(&decided.touched);
                self.shared.changes.send_replace(());
                for (reply, answer) in replies.into_iter().zip(decided.answers) {
                    reply(answer.map_err(Failed::from));
                }
            }
            Ok(Err(failed)) => {
                self.failed(&failed);
                let failed = Failed::of(&failed);
                replies.into_iter().for_each(|reply| reply(Err(failed.clone())));
            }
            Err(_) => {
                self.panicked();
                replies.into_iter().for_each(|reply| reply(Err(Failed::Unavailable)));
            }
        }
    }

    /// What is due beside the groups: housekeeping, or the store's reopening.
    fn beside(&mut self) {
        let now = Instant::now();
        if self.store.is_none() {
            if now >= self.reopen_due {
                self.reopen();
            }
        } else if now >= self.tidy_due && (self.shared.jobs.len() == 0 || now >= self.tidy_due + TIDY_LATEST) {
            self.tidy();
        }
    }

    /// One step of housekeeping.
    fn tidy(&mut self) {
        let Some(store) = &mut self.store else { return };
        let now_ms = self.setup.clock.wall_ms();
        match catch_unwind(AssertUnwindSafe(|| store.tidy(now_ms))) {
            Ok(Ok((touched, more))) => {
                self.setup.witness.touched(&touched);
                self.shared.changes.send_replace(());
                self.tidy_due = Instant::now() + if more { Duration::ZERO } else { TIDY_PAUSE };
            }
            Ok(Err(failed)) => {
                self.tidy_due = Instant::now() + TIDY_PAUSE;
                self.failed(&failed);
            }
            Err(_) => self.panicked(),
        }
    }

    fn failed(&mut self, failed: &StoreError) {
        self.shared.tally.failures.fetch_add(1, Ordering::Relaxed);
        match failed.class() {
            Class::Retry | Class::Full => error!(error = %failed, "a commit failed; nothing of it was stored"),
            Class::Corrupt => {
                error!(error = %failed, "a commit failed: the database is damaged; keep the file, and restore a backup if this goes on");
                self.fall();
            }
            Class::Stop => {
                error!(error = %failed, "a commit failed; the database is opened again");
                self.fall();
            }
        }
    }

    fn panicked(&mut self) {
        self.shared.tally.failures.fetch_add(1, Ordering::Relaxed);
        error!("the store panicked; it is opened again");
        self.fall();
    }

    /// Closes a store that cannot go on. The pause grows while it does not stay open.
    fn fall(&mut self) {
        self.shared.is_open.store(false, Ordering::Release);
        self.shared.supply.renew(0, Vec::new());
        self.setup.witness.store_closed();
        self.store = None;
        let stayed = self.opened_at.elapsed() > 2 * self.setup.reopen_pause.1;
        self.wait_longer(stayed);
    }

    fn wait_longer(&mut self, start_over: bool) {
        self.pause = if start_over { self.setup.reopen_pause.0 } else { (self.pause * 2).min(self.setup.reopen_pause.1) };
        self.reopen_due = Instant::now() + self.pause;
    }

    fn reopen(&mut self) {
        let opened = (self.setup.open)().map_err(StartError::from).and_then(|store| self.opened(store));
        match opened {
            Ok(()) => info!("the database is open again"),
            Err(failed) => {
                self.wait_longer(false);
                error!(error = %failed, again_s = self.pause.as_secs(), "the database cannot be opened");
            }
        }
    }

    fn close(self) {
        let Some(store) = self.store else { return };
        match store.close() {
            Ok(()) => debug!("the database is closed"),
            Err(failed) => warn!(error = %failed, "the database was left without a checkpoint; the next start makes it"),
        }
    }
}

/// Two Hellos of one node must not be admitted in one group: the second is judged by what the first became.
fn first_of_node(admitted: &mut BTreeSet<NodeName>, job: &Job) -> bool {
    match job {
        Job::Admit(admit) => admitted.insert(admit.node.clone()),
        _ => true,
    }
}
