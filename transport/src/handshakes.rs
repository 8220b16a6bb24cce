//! The handshakes of one listener, beside each other, bounded in number and in time; they end when this is dropped.

use std::io;
use std::net::SocketAddr;

use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::admission::{Refusal, RefusalReason};
use crate::limits::HANDSHAKE;
use crate::places::{Places, Room};

pub(crate) struct Handshakes<T> {
    tasks: JoinSet<Result<T, RefusalReason>>,
    places: Places<Id>,
    /// What ends each of them, and where it came from.
    ends: Vec<(AbortHandle, SocketAddr)>,
}

impl<T: Send + 'static> Handshakes<T> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), places: Places::new(), ends: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether one from there may begin.
    pub(crate) fn room(&self, remote: SocketAddr) -> Room<Id> {
        self.places.room(remote, Instant::now())
    }

    /// Makes the room that [`Handshakes::room`] found.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn make(&mut self, room: Room<Id>, remote: SocketAddr) -> Result<(), Refusal> {
        match room {
            Room::None => return Err(Refusal { remote: Some(remote), reason: RefusalReason::Crowd }),
            Room::InPlaceOf(id) => {
                self.places.leave(id);
                self.ends.iter().filter(|(end, _)| end.id() == id).for_each(|(end, _)| end.abort());
            }
            Room::Free | Room::At(_) => {}
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self, remote: SocketAddr, run: impl Future<Output = Result<T, RefusalReason>> + Send + 'static) {
        let now = Instant::now();
        let end = self.tasks.spawn(async move { timeout_at(now + HANDSHAKE, run).await.unwrap_or(Err(RefusalReason::Deadline)) });
        self.places.enter(end.id(), remote, now);
        self.ends.push((end, remote));
    }

    /// The next one that has ended; none: none is in progress.
    pub(crate) async fn next(&mut self) -> Option<Result<T, Refusal>> {
        let (id, done) = match self.tasks.join_next_with_id().await? {
            Ok((id, done)) => (id, done),
            Err(ended) if ended.is_cancelled() => (ended.id(), Err(RefusalReason::GaveWay)),
            Err(panic) => (panic.id(), Err(RefusalReason::Accept(io::Error::other(panic)))),
        };
        let remote = self.leave(id);
        Some(done.map_err(|reason| Refusal { remote, reason }))
    }

    fn leave(&mut self, id: Id) -> Option<SocketAddr> {
        self.places.leave(id);
        let at = self.ends.iter().position(|(end, _)| end.id() == id)?;
        Some(self.ends.swap_remove(at).1)
    }
}

/// For a branch that is looked at only where there is a time.
pub(crate) async fn until(due: Option<Instant>) {
    sleep_until(due.unwrap_or_else(Instant::now)).await;
}
