//! A link inside one process, for tests: the same traits, bounded, and it can be cut.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::counters::LinkCounters;
use crate::identity::PeerIdentity;
use crate::link::{CloseReason, Lane, Link, LinkError, LinkRx, LinkTx, Received, TransportKind, check_size};

/// Two ends of a link that holds at most `frames` frames in each direction, and the means to cut it. `first`
/// and `second` are who the ends *are*: the first end's peer is `second`.
pub fn pair(first: PeerIdentity, second: PeerIdentity, frames: usize) -> (MemoryLink, MemoryLink, Cut) {
    let (there_tx, there_rx) = mpsc::channel(frames);
    let (back_tx, back_rx) = mpsc::channel(frames);
    let (cut_tx, cut_rx) = watch::channel(false);
    let near = MemoryLink::new(second, there_tx, back_rx, cut_rx.clone());
    let far = MemoryLink::new(first, back_tx, there_rx, cut_rx);
    (near, far, Cut(cut_tx))
}

/// Cuts a memory link: both ends see it lost, and what was under way is gone.
#[derive(Debug)]
pub struct Cut(watch::Sender<bool>);

impl Cut {
    /// Cuts the link now.
    pub fn cut(&self) {
        self.0.send_replace(true);
    }
}

/// One end.
#[derive(Debug)]
pub struct MemoryLink {
    peer: PeerIdentity,
    counters: Arc<LinkCounters>,
    tx: mpsc::Sender<Received>,
    rx: mpsc::Receiver<Received>,
    cut: watch::Receiver<bool>,
}

impl MemoryLink {
    fn new(peer: PeerIdentity, tx: mpsc::Sender<Received>, rx: mpsc::Receiver<Received>, cut: watch::Receiver<bool>) -> Self {
        Self { peer, counters: LinkCounters::new(), tx, rx, cut }
    }
}

impl Link for MemoryLink {
    type Tx = MemoryTx;
    type Rx = MemoryRx;

    fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn remote(&self) -> String {
        "memory".to_owned()
    }

    fn counters(&self) -> Arc<LinkCounters> {
        self.counters.clone()
    }

    fn split(self) -> (MemoryTx, MemoryRx) {
        let tx = MemoryTx { frames: self.tx, cut: self.cut.clone(), counters: self.counters.clone(), waiting: None };
        (tx, MemoryRx { frames: self.rx, cut: self.cut, counters: self.counters })
    }
}

/// The sending half: one place, which both lanes share.
#[derive(Debug)]
pub struct MemoryTx {
    frames: mpsc::Sender<Received>,
    cut: watch::Receiver<bool>,
    counters: Arc<LinkCounters>,
    waiting: Option<Bytes>,
}

impl LinkTx for MemoryTx {
    fn is_free(&self, _lane: Lane) -> bool {
        self.waiting.is_none()
    }

    fn begin(&mut self, lane: Lane, frame: Bytes) -> Result<(), LinkError> {
        check_size(&frame)?;
        if !self.is_free(lane) {
            return Err(LinkError::Busy);
        }
        self.waiting = Some(frame);
        Ok(())
    }

    async fn progress(&mut self) -> Result<(), LinkError> {
        if self.waiting.is_none() {
            return std::future::pending().await;
        }
        // Not yet taken out: this may be dropped before there is room.
        tokio::select! {
            biased;
            () = was_cut(&mut self.cut) => return Err(cut_error()),
            permit = self.frames.reserve() => {
                let permit = permit.map_err(|_| LinkError::Lost("the other end is gone".to_owned()))?;
                if let Some(frame) = self.waiting.take() {
                    self.counters.add_sent(frame.len());
                    permit.send(Received::Frame(frame));
                }
            }
        }
        Ok(())
    }

    async fn close(&mut self, reason: CloseReason) {
        let goodbye = async {
            while !self.is_free(Lane::Control) {
                self.progress().await?;
            }
            self.frames.send(Received::Closed(reason)).await.map_err(|_| cut_error())
        };
        // An end that nobody reads from any more needs no goodbye.
        let _ = tokio::time::timeout(crate::limits::GOODBYE, goodbye).await;
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct MemoryRx {
    frames: mpsc::Receiver<Received>,
    cut: watch::Receiver<bool>,
    counters: Arc<LinkCounters>,
}

impl LinkRx for MemoryRx {
    async fn recv(&mut self) -> Result<Received, LinkError> {
        let received = tokio::select! {
            biased;
            () = was_cut(&mut self.cut) => return Err(cut_error()),
            received = self.frames.recv() => received,
        };
        let received = received.ok_or_else(|| LinkError::Lost("the other end is gone".to_owned()))?;
        if let Received::Frame(frame) = &received {
            self.counters.add_received(frame.len());
        }
        Ok(received)
    }
}

async fn was_cut(cut: &mut watch::Receiver<bool>) {
    if cut.wait_for(|cut| *cut).await.is_err() {
        // Nobody holds the means to cut this link any more.
        std::future::pending::<()>().await;
    }
}

fn cut_error() -> LinkError {
    LinkError::Lost("the link was cut".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::identity::HubIdentity;
    use crate::limits::MAX_FRAME;
    use crate::link::CloseCode;

    fn ends(frames: usize) -> (MemoryLink, MemoryLink, Cut) {
        let who = |name: &str| PeerIdentity::Hub(HubIdentity { name: name.to_owned() });
        pair(who("near"), who("far"), frames)
    }

    #[tokio::test]
    async fn frames_arrive_in_order_and_are_counted() {
        let (near, far, _cut) = ends(4);
        assert_eq!(near.peer().to_string(), "hub far");
        let counters = far.counters();
        let ((mut tx, _), (_, mut rx)) = (near.split(), far.split());
        for text in ["a", "bc"] {
            tx.send(Bytes::from_static(text.as_bytes())).await.unwrap();
        }
        tx.close(CloseReason::new(CloseCode::Done, "enough")).await;
        assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"a")));
        assert_eq!(rx.recv().await.unwrap(), Received::Frame(Bytes::from_static(b"bc")));
        assert!(matches!(rx.recv().await.unwrap(), Received::Closed(reason) if reason.text == "enough"));
        assert_eq!(counters.received(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_link_makes_the_sender_wait() {
        let (near, far, _cut) = ends(1);
        let ((mut tx, _), (_, mut rx)) = (near.split(), far.split());
        tx.send(Bytes::from_static(b"1")).await.unwrap();
        let second = tx.send(Bytes::from_static(b"2"));
        assert!(tokio::time::timeout(std::time::Duration::from_secs(60), second).await.is_err());
        let read = async { [rx.recv().await.unwrap(), rx.recv().await.unwrap(), rx.recv().await.unwrap()] };
        let (sent, read) = tokio::join!(tx.send(Bytes::from_static(b"3")), read);
        sent.unwrap();
        assert_eq!(read, [b"1", b"2", b"3"].map(|frame| Received::Frame(Bytes::from_static(frame))), "what was begun goes out");
    }

    #[tokio::test]
    async fn a_cut_loses_what_was_under_way() {
        let (near, far, cut) = ends(4);
        let ((mut tx, _), (_, mut rx)) = (near.split(), far.split());
        tx.send(Bytes::from_static(b"lost")).await.unwrap();
        cut.cut();
        assert!(matches!(rx.recv().await, Err(LinkError::Lost(_))));
        assert!(matches!(tx.send(Bytes::new()).await, Err(LinkError::Lost(_))));
    }

    #[tokio::test]
    async fn a_frame_above_the_bound_is_not_sent() {
        let (near, _far, _cut) = ends(1);
        let (mut tx, _rx) = near.split();
        let sent = tx.send(Bytes::from(vec![0; MAX_FRAME + 1])).await;
        assert!(matches!(sent, Err(LinkError::FrameTooLarge { max: MAX_FRAME, .. })));
    }
}
