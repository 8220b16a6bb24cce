//! Whether what is here is what the cloud has: who wants to know, and what came of comparing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metamanager::Checked;
use proto::digest::RangeSet;
use proto::frame::{Compared, Share};
use tokio::sync::{Notify, watch};

/// Repairs that are remembered for whoever asked; what is older was told.
const REPAIRS_KEPT: usize = 1_024;

/// Shared by the link's task and the API.
#[derive(Debug)]
pub struct Verification {
    /// When somebody asked last, and when the session was told, on the monotonic clock plus one; 0: never.
    asked: AtomicU64,
    told: AtomicU64,
    link: Arc<Notify>,
    news: watch::Sender<News>,
}

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// The newest time that every record was read.
    pub check: Option<Checked>,
    /// The newest comparison, and when it ended on the monotonic clock.
    pub compared: Option<(u64, Compared)>,
    /// What has been read again since somebody asked.
    pub repairs: Vec<(Share, RangeSet)>,
    /// The hub of this session knows no digests.
    pub unable: bool,
}

impl Verification {
    /// `link` wakes the session.
    pub fn new(link: Arc<Notify>) -> Self {
        Self { asked: AtomicU64::new(0), told: AtomicU64::new(0), link, news: watch::Sender::default() }
    }

    /// Somebody wants to know. The answers come with the receiver.
    pub fn ask(&self, now_ms: u64) -> watch::Receiver<News> {
        self.asked.store(now_ms + 1, Ordering::Relaxed);
        self.news.send_modify(|news| {
            news.repairs.clear();
            news.unable = false;
        });
        let answers = self.news.subscribe();
        self.link.notify_one();
        answers
    }

    /// Whether the session has not heard of the newest wish yet.
    pub(super) fn take_wish(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        self.told.swap(asked, Ordering::Relaxed) < asked
    }

    pub(super) fn unable(&self) {
        self.news.send_modify(|news| news.unable = true);
    }

    pub(super) fn compared(&self, now_ms: u64, compared: &Compared) {
        self.news.send_modify(|news| news.compared = Some((now_ms, compared.clone())));
    }

    /// Every record was read. Tells whether somebody asked after that had begun: then it has to be done again.
    pub(super) fn checked(&self, checked: &Checked) -> bool {
        self.news.send_modify(|news| news.check = Some(checked.clone()));
        self.asked.load(Ordering::Relaxed) > checked.begun_ms + 1
    }

    pub(super) fn repairing(&self, repairs: Vec<(Share, RangeSet)>) {
        if !repairs.is_empty() {
            self.news.send_modify(|news| {
                let room = REPAIRS_KEPT.saturating_sub(news.repairs.len());
                news.repairs.extend(repairs.into_iter().take(room));
            });
        }
    }
}
