//! What passed on the link: since the start, and today, with the bound of a day.
//!
//! The days' sums are in a small file in the data folder, `link-bytes`, so that a restart does not forget what was spent. It is written at the
//! end of a session, when the day's limit is reached, whenever a 64th of the limit has passed, and else hourly: what `kill -9` or a power cut
//! makes this node forget is less than that, and an idle node writes a few KiB an hour.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::clock::Now;
use proto::traffic::Traffic;
use tracing::{info, warn};
use transport::counters::LinkCounters;
use transport::private_file;

use super::days::Days;

/// The file in the data folder.
const FILE: &str = "link-bytes";
/// What may be forgotten of a day, as a part of its limit.
const STEP: u64 = 64;
/// And at least so much, bytes: a small limit must not wear the disk out.
const STEP_MIN: u64 = 64 * 1024;
/// How often what passed is saved while little passes, milliseconds.
const SAVE_MS: u64 = 3_600_000;
/// How often the ends of sessions are reason enough to save, milliseconds: a link may flap.
const END_MS: u64 = 60_000;

/// Shared by the link's task and the API.
#[derive(Debug)]
pub struct Volume {
    file: PathBuf,
    since_ms: u64,
    inside: Mutex<Inside>,
    /// Held while the file is written, so that what is newer is written later.
    saving: Mutex<()>,
}

#[derive(Debug)]
struct Inside {
    /// Sessions that are over.
    past: Traffic,
    live: Option<Arc<LinkCounters>>,
    /// What of the live one is booked.
    booked: Traffic,
    days: Days,
    used_up: bool,
    unsaved: u64,
    saved_ms: u64,
}

/// What has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Since when `all` counts, milliseconds since 1970.
    pub since_ms: u64,
    /// Since the start.
    pub all: Traffic,
    /// The present day, since 1970.
    pub day: Option<u64>,
    /// Of that day.
    pub today: Traffic,
    /// How much may pass in a day.
    pub limit: Option<u64>,
}

/// What the link's task has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Nothing but control and writes should pass.
    pub(super) used_up: bool,
    /// [`Volume::save`] should be called, away from this task.
    pub(super) save: bool,
}

impl Volume {
    /// Goes on where the file in the data folder ends.
    pub fn open(data: &Path, limit: Option<u64>, now: Now) -> Self {
        let file = data.join(FILE);
        let days = Days::new(limit);
        let days = match std::fs::read_to_string(&file) {
            Ok(text) => days.clone().with_text(&text).unwrap_or_else(|| {
                warn!(file = %file.display(), "what passed on the link today cannot be read; it is counted from nothing");
                days
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => days,
            Err(error) => {
                warn!(file = %file.display(), %error, "what passed on the link today cannot be read; it is counted from nothing");
                days
            }
        };
        let used_up = days.is_used_up(0);
        let inside =
            Inside { past: Traffic::default(), live: None, booked: Traffic::default(), days, used_up, unsaved: 0, saved_ms: now.mono_ms };
        Self { file, since_ms: now.wall_ms, inside: Mutex::new(inside), saving: Mutex::new(()) }
    }

    /// Counts a link from now on, until [`Volume::end`].
    pub(super) fn begin(&self, counters: Arc<LinkCounters>) {
        self.lock().live = Some(counters);
    }

    /// The link is over. Tells whether to save.
    pub(super) fn end(&self, now: Now) -> bool {
        let mut inside = self.lock();
        if let Some(live) = inside.live.take() {
            let traffic = live.final_traffic();
            inside.book(&traffic, now.mono_ms);
            inside.past = inside.past.plus(&traffic);
            inside.booked = Traffic::default();
        }
        inside.unsaved > 0 && now.mono_ms >= inside.saved_ms + END_MS
    }

    /// The cloud said its time.
    pub(super) fn told(&self, cloud_ms: u64, now: Now) {
        let mut inside = self.lock();
        inside.book_live(now.mono_ms);
        inside.days.told(cloud_ms, now.mono_ms);
    }

    /// Whether the day's limit is reached, now.
    pub(super) fn look(&self, now: Now) -> Look {
        let mut inside = self.lock();
        let on_its_way = inside.book_live(now.mono_ms);
        let used_up = inside.days.is_used_up(on_its_way);
        let reached = used_up && !inside.used_up;
        if used_up != inside.used_up {
            let (spent, limit) = (inside.days.today().1.total(), inside.days.limit().unwrap_or_default());
            match used_up {
                true => {
                    warn!(spent, limit, "the day's limit is reached: records wait until midnight (UTC), writes and their outcomes go on")
                }
                false => info!(limit, "there is room for records on the link again"),
            }
        }
        inside.used_up = used_up;
        let step = inside.days.limit().map_or(u64::MAX, |limit| (limit / STEP).max(STEP_MIN));
        let old = inside.unsaved > 0 && now.mono_ms >= inside.saved_ms + SAVE_MS;
        Look { used_up, save: reached || old || inside.unsaved >= step }
    }

    /// What has passed.
    pub fn passed(&self, now: Now) -> Passed {
        let mut inside = self.lock();
        inside.book_live(now.mono_ms);
        let (day, today) = inside.days.today();
        Passed { since_ms: self.since_ms, all: inside.past.plus(&inside.booked), day, today, limit: inside.days.limit() }
    }

    /// That the day's limit is reached, in words, if it is.
    pub fn used_up(&self) -> Option<String> {
        let inside = self.lock();
        let (_, today) = inside.days.today();
        let limit = inside.days.limit().filter(|_| inside.used_up)?;
        Some(format!("{} of {limit} bytes have passed today; records wait until midnight (UTC)", today.total()))
    }

    /// Writes the days' sums down, durably. Blocks.
    pub(super) fn save(&self, now: Now) {
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let text = {
            let mut inside = self.lock();
            inside.book_live(now.mono_ms);
            (inside.unsaved, inside.saved_ms) = (0, now.mono_ms);
            inside.days.to_text()
        };
        if let Err(error) = private_file::write(&self.file, text.as_bytes()) {
            warn!(%error, "what passed on the link today could not be saved; a restart would forget it");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Sums that a panic left are the best there are.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Books what the live link has carried since; what of it belongs to no frame yet is told.
    fn book_live(&mut self, mono_ms: u64) -> u64 {
        let Some(live) = &self.live else {
            self.days.turn(mono_ms);
            return 0;
        };
        let (traffic, total) = (live.traffic(), live.total());
        self.book(&traffic, mono_ms);
        total.saturating_sub(traffic.total())
    }

    fn book(&mut self, traffic: &Traffic, mono_ms: u64) {
        let new = traffic.since(&self.booked);
        self.booked = *traffic;
        self.unsaved = self.unsaved.saturating_add(new.total());
        self.days.book(&new, mono_ms);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proto::traffic::Cause;

    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { wall_ms: 0, mono_ms }
    }

    fn spend(counters: &LinkCounters, bytes: usize) {
        counters.sent_frame(Cause::Writes, bytes);
    }

    #[test]
    fn sums_survive_a_reconnect_and_the_days_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let volume = Volume::open(data.path(), Some(1_000), at(0));
        for session in 1..=2 {
            let counters = LinkCounters::new();
            volume.begin(Arc::clone(&counters));
            volume.told(86_400_000 * 20_000, at(1));
            spend(&counters, 300);
            assert!(!volume.look(at(2)).used_up);
            assert!(!volume.end(at(3)), "so short a session is not worth a write");
            assert_eq!(volume.passed(at(3)).all.sent.get(Cause::Writes), session * 300);
        }
        assert!(volume.end(at(END_MS)), "but this one");
        volume.save(at(END_MS));
        assert!(!volume.end(at(3 * END_MS)), "nothing is new");
        let again = Volume::open(data.path(), Some(1_000), at(0));
        let passed = again.passed(at(0));
        assert_eq!((passed.all.total(), passed.today.total(), passed.day), (0, 600, Some(20_000)));
        let counters = LinkCounters::new();
        again.begin(Arc::clone(&counters));
        again.told(86_400_000 * 20_000 + 5, at(0));
        spend(&counters, 400);
        assert_eq!(again.look(at(1)), Look { used_up: true, save: true });
        again.save(at(1));
        assert_eq!(again.look(at(1)), Look { used_up: true, save: false });
        let words = "1000 of 1000 bytes have passed today; records wait until midnight (UTC)";
        assert_eq!(Volume::open(data.path(), Some(1_000), at(0)).used_up().as_deref(), Some(words));
        assert_eq!(Volume::open(data.path(), Some(2_000), at(0)).used_up(), None);
    }

    #[test]
    fn what_is_forgotten_is_a_64th_at_most() {
        let data = tempfile::tempdir().unwrap();
        let volume = Volume::open(data.path(), Some(64 << 20), at(0));
        let counters = LinkCounters::new();
        volume.begin(Arc::clone(&counters));
        volume.told(5, at(0));
        spend(&counters, (1 << 20) - 1);
        assert!(!volume.look(at(1)).save);
        spend(&counters, 1);
        assert!(volume.look(at(2)).save);
        volume.save(at(2));
        spend(&counters, 1);
        assert!(!volume.look(at(2 + SAVE_MS - 1)).save);
        assert!(volume.look(at(2 + SAVE_MS)).save, "an hour has passed");
    }

    #[test]
    fn a_file_that_is_no_such_file_is_passed_over() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(FILE), "what?").unwrap();
        assert_eq!(Volume::open(data.path(), None, at(0)).passed(at(0)).today, Traffic::default());
    }
}
