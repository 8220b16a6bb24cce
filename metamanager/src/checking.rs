//! When the rows themselves are read, and not only the figures that are kept about them (docs/design.md §5, §9): at the first
//! comparison after a start (the file may have been changed while nobody held it), every week, and whenever somebody asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use proto::frame::Batch;
use proto::limits::VERIFY_MS;

use crate::check::{Check, Question};
use crate::error::StoreError;
use crate::limits::CHECK_EVERY;
use crate::store::Store;

/// How much earlier than usual a comparison comes when somebody asked for it, milliseconds.
const EARLY_MS: u64 = 60_000;

/// What is known of the checks of this process.
#[derive(Debug)]
pub(crate) struct Checking {
    /// Since when the rows have to be read before a comparison is believed.
    owed_ms: Option<u64>,
    /// When they were read last, on the monotonic clock.
    read_ms: u64,
    /// When digests came last in this session.
    digests_ms: Option<u64>,
    /// A check that waits for somebody to run it.
    waiting: Option<Check>,
    /// Whether one lives, wherever it is.
    lives: Weak<()>,
    /// Set: checks end early.
    closing: Arc<AtomicBool>,
}

impl Default for Checking {
    fn default() -> Self {
        Self { owed_ms: Some(0), read_ms: 0, digests_ms: None, waiting: None, lives: Weak::new(), closing: Arc::default() }
    }
}

impl Checking {
    /// Whether the next comparison has to read the rows. Digests that come out of turn were asked for, here or in the cloud,
    /// or follow a back-fill.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        let since = |then: u64| u128::from(now_ms.saturating_sub(then));
        let out_of_turn = self.digests_ms.is_some_and(|last| since(last) + u128::from(EARLY_MS) < u128::from(VERIFY_MS));
        self.owed_ms.is_some() || out_of_turn || since(self.read_ms) >= CHECK_EVERY.as_millis()
    }

    pub(crate) fn session_began(&mut self) {
        self.digests_ms = None;
    }

    /// Batches were applied.
    pub(crate) fn compared(&mut self, batches: &[Batch], now_ms: u64) {
        if batches.iter().any(|batch| !batch.digests.is_empty()) {
            self.digests_ms = Some(now_ms);
        }
    }

    /// All rows were read, in the state of this moment.
    pub(crate) fn read(&mut self, begun_ms: u64) {
        self.owed_ms = self.owed_ms.filter(|owed| *owed > begun_ms);
        self.read_ms = begun_ms;
    }
}

impl Store {
    /// The next comparison with the cloud reads every row before it is believed: after an unclean stop, or because somebody
    /// wants to know.
    pub fn owe_check(&mut self, now_ms: u64) {
        self.checking.owed_ms = Some(now_ms);
    }

    /// What sets a flag that ends checks early: they hold a state of the file, which a close has to wait for.
    pub(crate) fn closing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.checking.closing)
    }

    /// The check that an [`crate::Applied`] spoke of, or else one that compares with nothing: whether the rows are what was
    /// stored. None: one is running. Run it away from the writer, then settle what it found with [`Store::settle`].
    pub fn take_check(&mut self, now_ms: u64) -> Result<Option<Check>, StoreError> {
        if let Some(check) = self.checking.waiting.take() {
            return Ok(Some(check));
        }
        self.begin(None, now_ms)
    }

    /// Digests came that only the rows can answer. Tells whether a check waits: not where one is running, whose findings the
    /// next digests will meet.
    pub(crate) fn ask_rows(&mut self, question: Question, now_ms: u64) -> bool {
        match self.begin(Some(question), now_ms) {
            Ok(check) => {
                self.checking.waiting = check;
                self.checking.waiting.is_some()
            }
            Err(error) => {
                tracing::warn!(%error, "the records could not be read for a comparison; the next one tries again");
                false
            }
        }
    }

    fn begin(&mut self, question: Option<Question>, now_ms: u64) -> Result<Option<Check>, StoreError> {
        // A check that nobody took gives way to one of a newer state.
        self.checking.waiting = None;
        if self.checking.lives.strong_count() > 0 || self.checking.closing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let token = Arc::new(());
        self.checking.lives = Arc::downgrade(&token);
        Check::begin(self.path(), question, now_ms, self.closing(), token).map(Some)
    }
}
