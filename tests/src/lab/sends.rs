//! Frames and time: what arrives, what is sent, when a session is reminded.

use proto::clock::Now;
use proto::op::hash;
use proto::session::cloud::CloudSession;
use proto::session::edge::EdgeSession;

use super::cloud::WALL_MS;
use super::dice::Dice;
use super::road::Pipe;
use super::spoil::spoilt;
use super::{CONNECT_MS, Lab, Turn, Wire};

impl Lab {
    pub(super) fn take(&mut self, turn: Turn) {
        let now_ms = self.now_ms;
        match turn {
            Turn::Work => self.work(),
            Turn::Free => {}
            Turn::Connect(node) => self.connect(node),
            Turn::Report(node) => self.report_job(node),
            Turn::Up(at) => {
                let wire = &mut self.wires[at];
                let before = wire.up.delivered();
                let came = wire.up.arrive(now_ms);
                self.brought.overtaken += wire.up.take_overtaken();
                self.brought.bytes[0] += wire.up.delivered() - before;
                if let (Some(bytes), Some(cloud)) = (came, &mut wire.cloud) {
                    cloud.bytes(wire.up.counted(now_ms));
                    for bytes in spoilt(&mut self.spoiler, wire.node, true, bytes) {
                        cloud.receive(now_ms, &bytes);
                    }
                }
            }
            Turn::Down(at) => {
                let wire = &mut self.wires[at];
                let before = wire.down.delivered();
                let came = wire.down.arrive(now_ms);
                self.brought.overtaken += wire.down.take_overtaken();
                self.brought.bytes[1] += wire.down.delivered() - before;
                if let (Some(bytes), Some(edge)) = (came, &mut wire.edge) {
                    edge.bytes(wire.down.counted(now_ms));
                    for bytes in spoilt(&mut self.spoiler, wire.node, false, bytes) {
                        let cause = edge.receive(now_ms, &bytes);
                        self.edges[wire.node].received(cause, bytes.len(), now_ms);
                    }
                }
            }
            Turn::EdgeTick(at) => {
                let Wire { down, edge, .. } = &mut self.wires[at];
                if let Some(edge) = edge {
                    edge.bytes(down.counted(now_ms));
                    edge.tick(now_ms);
                }
            }
            Turn::CloudTick(at) => {
                let Wire { up, cloud, .. } = &mut self.wires[at];
                if let Some(cloud) = cloud {
                    cloud.bytes(up.counted(now_ms));
                    cloud.tick(now_ms);
                }
            }
        }
    }

    fn connect(&mut self, node: usize) {
        let now_ms = self.now_ms;
        self.wire_count += 1;
        let id = self.wire_count;
        self.note(&format!("edge {node} connects, link {id}"));
        self.edges[node].connect_ms = now_ms + CONNECT_MS;
        let edge = Some(EdgeSession::new(now_ms, self.edges[node].hello(now_ms)));
        let [mut up, mut down] = [(); 2].map(|()| {
            let apart = self.streams.as_mut().map(|dice| Dice::new(dice.roll()));
            Pipe::new(self.road, apart)
        });
        let dark_until_ms = self.edges[node].dark_until_ms;
        if dark_until_ms > now_ms {
            up.darken(now_ms, dark_until_ms);
            down.darken(now_ms, dark_until_ms);
        }
        let cloud = Some(CloudSession::new(now_ms));
        self.wires.push_back(Wire::new(id, node, [up, down], edge, cloud));
    }

    /// Takes effects and frames out of every session until none has any.
    pub(super) fn drain(&mut self) {
        self.promise();
        for at in 0..self.wires.len() {
            while self.drain_edge(at) | self.drain_cloud(at) {}
        }
        self.wires.retain(|wire| wire.by_hand || wire.edge.is_some() || wire.cloud.is_some());
    }

    fn drain_edge(&mut self, at: usize) -> bool {
        let (now_ms, says) = (self.now_ms, self.edge_says);
        let wire = &mut self.wires[at];
        let Some(session) = &mut wire.edge else { return false };
        session.set_limit(self.edges[wire.node].used_up(now_ms));
        if let Some(effect) = session.poll_effect() {
            self.edge_effect(at, effect);
            return true;
        }
        if !wire.up.is_free(false, now_ms) {
            return false;
        }
        let control = session.poll_control(now_ms);
        let bulk = control.is_none();
        let Some(frame) = control.or_else(|| wire.up.is_free(true, now_ms).then(|| session.poll_bulk()).flatten()) else { return false };
        let (id, name, bytes) = (wire.id, frame.name(), says(frame.clone()));
        let line = format!("edge {id} says {name} {:02x?}", &hash(&bytes)[..4]);
        self.edges[wire.node].sent(&frame, bytes.len(), now_ms);
        wire.up.send(now_ms, bulk, bytes);
        self.note(&line);
        true
    }

    fn drain_cloud(&mut self, at: usize) -> bool {
        let (now_ms, says) = (self.now_ms, self.cloud_says);
        let wire = &mut self.wires[at];
        let Some(session) = &mut wire.cloud else { return false };
        if let Some(effect) = session.poll_effect() {
            self.cloud_effect(at, effect);
            return true;
        }
        let now = Now { wall_ms: WALL_MS + now_ms, mono_ms: now_ms };
        if !wire.down.is_free(false, now_ms) {
            return false;
        }
        let control = session.poll_control(now);
        let bulk = control.is_none();
        let Some(frame) = control.or_else(|| wire.down.is_free(true, now_ms).then(|| session.poll_bulk(now)).flatten()) else {
            return false;
        };
        let (id, name, bytes) = (wire.id, frame.name(), says(frame));
        let line = format!("cloud {id} says {name} {:02x?}", &hash(&bytes)[..4]);
        wire.down.send(now_ms, bulk, bytes);
        self.note(&line);
        true
    }

    /// What a closing session still says, and then it is gone.
    pub(super) fn last_word(&mut self, at: usize, edge: bool) {
        let (now_ms, edge_says, cloud_says) = (self.now_ms, self.edge_says, self.cloud_says);
        let wire = &mut self.wires[at];
        if edge {
            if let Some(frame) = wire.edge.take().and_then(|mut session| session.poll_send(now_ms)) {
                wire.up.send(now_ms, false, edge_says(frame));
            }
        } else if let Some(frame) = wire.cloud.take().and_then(|mut session| session.poll_send(Now { wall_ms: WALL_MS, mono_ms: now_ms })) {
            wire.down.send(now_ms, false, cloud_says(frame));
        }
    }
}
