//! Links whose frames are carried by hand, at once: for tests that play one of the two sides themselves, word for word.
//!
//! A side that is played has no session here and its store is left alone. The other one is real, and what it asks of its
//! store is done before its next word.

use proto::clock::Now;
use proto::session::cloud::CloudSession;
use proto::session::edge::EdgeSession;

use super::cloud::WALL_MS;
use super::road::{LAN, Pipe};
use super::{Lab, Wire};

/// Which ends of a link are real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Real {
    /// Both.
    Both,
    /// The edge: somebody plays the cloud.
    Edge,
    /// The cloud: somebody plays the edge.
    Cloud,
}

impl Real {
    /// The edge is.
    pub fn edge(self) -> bool {
        self != Self::Cloud
    }

    /// The cloud is.
    pub fn cloud(self) -> bool {
        self != Self::Edge
    }
}

impl Lab {
    /// Connects a node by hand; the link's id.
    pub fn dial(&mut self, node: usize, real: Real) -> u64 {
        self.wire_count += 1;
        self.store_ms = 0;
        let (id, now_ms) = (self.wire_count, self.now_ms);
        self.note(&format!("edge {node} is dialled, link {id}"));
        let edge = real.edge().then(|| EdgeSession::new(now_ms, self.edges[node].hello(now_ms)));
        let cloud = real.cloud().then(|| CloudSession::new(now_ms));
        let (up, down) = (Pipe::closed(), Pipe::closed());
        self.wires.push_back(Wire { by_hand: true, ..Wire::new(id, node, [up, down], edge, cloud) });
        self.settle();
        id
    }

    /// One frame comes to the edge.
    pub fn edge_hears(&mut self, link: u64, bytes: &[u8]) {
        let now_ms = self.now_ms;
        self.on_edge(link, |session| {
            session.receive(now_ms, bytes);
        });
        self.settle();
    }

    /// One frame comes to the cloud.
    pub fn cloud_hears(&mut self, link: u64, bytes: &[u8]) {
        let now_ms = self.now_ms;
        self.on_cloud(link, |session| {
            session.receive(now_ms, bytes);
        });
        self.settle();
    }

    /// The edge's next frame.
    pub fn edge_speaks(&mut self, link: u64) -> Option<Vec<u8>> {
        let (now_ms, says) = (self.now_ms, self.edge_says);
        let wire = self.wire(link)?;
        let last = wire.up.arrive(u64::MAX);
        let frame = last.or_else(|| wire.edge.as_mut()?.poll_send(now_ms).map(says));
        self.settle();
        frame
    }

    /// The cloud's next frame.
    pub fn cloud_speaks(&mut self, link: u64) -> Option<Vec<u8>> {
        let (now, says) = (Now { wall_ms: WALL_MS + self.now_ms, mono_ms: self.now_ms }, self.cloud_says);
        let wire = self.wire(link)?;
        let last = wire.down.arrive(u64::MAX);
        let frame = last.or_else(|| wire.cloud.as_mut()?.poll_send(now).map(says));
        self.settle();
        frame
    }

    /// Time passes, and every session is reminded once. `sleeping`: a node that stands still meanwhile.
    pub fn later(&mut self, ms: u64, sleeping: Option<usize>) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        for wire in &mut self.wires {
            wire.edge.iter_mut().filter(|_| sleeping != Some(wire.node)).for_each(|session| session.tick(now_ms));
            wire.cloud.iter_mut().for_each(|session| session.tick(now_ms));
        }
        self.settle();
    }

    /// The shell of an edge whose disk was full looks again.
    pub fn edge_has_room(&mut self, node: usize) {
        let own = self.wires.iter_mut().filter(|wire| wire.node == node).filter_map(|wire| wire.edge.as_mut());
        own.for_each(EdgeSession::can_store);
        self.settle();
    }

    /// The user of an edge asks for digests.
    pub fn edge_verifies(&mut self, node: usize) {
        let own = self.wires.iter_mut().filter(|wire| wire.node == node).filter_map(|wire| wire.edge.as_mut());
        own.for_each(|session| assert!(session.verify(), "the hub cannot"));
        self.settle();
    }

    /// Does what the sessions want done, until nobody wants anything.
    pub fn settle(&mut self) {
        self.drain();
        while !self.jobs.is_empty() {
            self.work();
            self.drain();
        }
    }

    /// Gives a database that has just taken a new id one that is the same in every run.
    pub fn known_id(&mut self, node: usize) {
        self.renewals += 1;
        let id = [0xb0 + self.renewals; 16];
        let now_ms = self.now_ms;
        self.edges[node].restart(now_ms, |file| assert_eq!(file.execute("UPDATE meta SET database = ?1", [id]).unwrap(), 1));
    }
}

impl Pipe {
    /// Takes nothing but a last word.
    fn closed() -> Self {
        let mut pipe = Self::new(LAN, None);
        pipe.freeze(0, u64::MAX);
        pipe
    }
}
