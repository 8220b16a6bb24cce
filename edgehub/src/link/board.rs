//! What the link is doing, for everyone who shows it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use api::shapes::LinkState;
use transport::link::TransportKind;

/// The link's present state.
#[derive(Debug, Clone)]
pub struct LinkView {
    /// Up, on the way, or waiting.
    pub state: LinkState,
    /// What carries it, while it is up.
    pub transport: Option<TransportKind>,
    /// Since when the state holds, milliseconds since 1970.
    pub since_ms: u64,
    /// The newest round trip, milliseconds.
    pub rtt_ms: Option<u64>,
    /// The cloud's clock less the system's, milliseconds.
    pub offset_ms: Option<i64>,
    /// Why the last try failed, or the last session ended.
    pub last_error: Option<String>,
    /// The cloud's newest revision, as far as known.
    pub head: Option<u64>,
    /// The last batch that was applied stood at the head.
    pub at_head: bool,
    /// The disk is too full to take more.
    pub paused: bool,
    /// The code of the cloud's refusal, while that is the reason for being offline.
    pub refused: Option<String>,
}

/// Shared by the link's task and the API.
#[derive(Debug)]
pub struct Board(Mutex<LinkView>);

impl Board {
    /// A link that was never up.
    pub fn new(now_ms: u64) -> Self {
        Self(Mutex::new(LinkView {
            state: LinkState::Offline,
            transport: None,
            since_ms: now_ms,
            rtt_ms: None,
            offset_ms: None,
            last_error: None,
            head: None,
            at_head: false,
            paused: false,
            refused: None,
        }))
    }

    /// How it stands.
    pub fn view(&self) -> LinkView {
        self.lock().clone()
    }

    /// Moves to another state; the same state again keeps its time.
    pub fn enter(&self, state: LinkState, now_ms: u64) {
        let mut view = self.lock();
        if view.state != state {
            view.state = state;
            view.since_ms = now_ms;
        }
        if state != LinkState::Online {
            view.transport = None;
            view.rtt_ms = None;
            view.at_head = false;
            view.paused = false;
        }
    }

    /// Changes something.
    pub fn update(&self, change: impl FnOnce(&mut LinkView)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, LinkView> {
        // A panic while it was held leaves a view that is still worth showing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
