//! Both machines, both models and a link in virtual time, on one thread. Every choice comes from a seed, every step
//! goes into a trace.

use std::collections::{BTreeMap, VecDeque};

use proto::clock::Now;
use proto::frame::{Batch, Frame, Hello, NumberedWrite, Piece, Welcome};
use proto::limits::{WINDOW_BATCHES, WINDOW_BYTES_MAX};
use proto::session::cloud::{Ahead, CloudSession, Scan};
use proto::session::edge::EdgeSession;
use proto::session::handshake::FEATURE_REPAIR;
use proto::session::{End, Mode};

use super::cloud_model::{Change, CloudModel, Name, Row};
use super::edge_model::EdgeModel;
use super::notation;
use super::pipe::{Pipe, Road};

#[path = "world/work.rs"]
mod work;

/// The cloud's wall clock at the beginning.
const WALL_MS: u64 = 1_000_000;

/// Ends that a test causes itself; any other end is a finding.
const EXPECTED_ENDS: [&str; 5] = ["silence", "handshake_timeout", "replaced", "store", "refused_for_test"];

/// A store's work, done when its time has come. Its answer goes to the session that asked, if that still lives.
#[derive(Debug)]
enum Job {
    Adopt(Welcome),
    Apply(Vec<Batch>),
    Keep(Vec<Piece>),
    Read(u64, usize),
    Admit(Hello),
    Scan(Scan),
    Ahead(Ahead),
    Commit(u64, Vec<NumberedWrite>),
}

impl Job {
    fn is_edge(&self) -> bool {
        matches!(self, Self::Adopt(_) | Self::Apply(_) | Self::Keep(_) | Self::Read(..))
    }
}

/// The two ends of one link.
struct Wire {
    id: u64,
    up: Pipe,
    down: Pipe,
    edge: Option<EdgeSession>,
    cloud: Option<CloudSession>,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) road: Road,
    pub(crate) edge: EdgeModel,
    pub(crate) cloud: CloudModel,
    /// How long each store takes.
    pub(crate) store_ms: u64,
    /// The edge's disk is full.
    pub(crate) disk_full: bool,
    /// The next commits of the cloud's store fail.
    pub(crate) failing_commits: u32,
    /// What the edge offers. Without compression, so that a road's time is that of the bytes that were made up.
    pub(crate) features: &'static [&'static str],
    /// The edge connects again when its session has ended.
    pub(crate) reconnects: bool,
    /// Frames that arrived, both ways.
    pub(crate) delivered: u64,
    pub(crate) trace: Vec<String>,
    /// What the cloud sent.
    pub(crate) batches: Vec<Batch>,
    pub(crate) ends: Vec<End>,
    /// Batches that were sent after a stall or a pause.
    pub(crate) probes: u64,
    wires: VecDeque<Wire>,
    wire_count: u64,
    jobs: BTreeMap<(u64, u64), (u64, Job)>,
    job_count: u64,
    connect_ms: u64,
}

impl World {
    pub(crate) fn new(road: Road) -> Self {
        Self {
            now_ms: 0,
            road,
            edge: EdgeModel::default(),
            cloud: CloudModel::default(),
            store_ms: 2,
            disk_full: false,
            failing_commits: 0,
            features: &[FEATURE_REPAIR],
            reconnects: true,
            delivered: 0,
            trace: Vec::new(),
            batches: Vec::new(),
            ends: Vec::new(),
            probes: 0,
            wires: VecDeque::new(),
            wire_count: 0,
            jobs: BTreeMap::new(),
            job_count: 0,
            connect_ms: 0,
        }
    }

    fn note(&mut self, text: &str) {
        self.trace.push(format!("{:>8} {text}", self.now_ms));
    }

    /// An application at the edge commits.
    pub(crate) fn write(&mut self, change: Change, pad: usize) {
        self.edge.write(change, pad);
        if let Some(session) = self.edge_session() {
            session.outbox_changed();
        }
        self.drain();
    }

    /// Something changed in the cloud.
    pub(crate) fn in_cloud(&mut self, change: impl FnOnce(&mut CloudModel)) {
        change(&mut self.cloud);
        self.wake_cloud();
        self.drain();
    }

    fn wake_cloud(&mut self) {
        self.wires.iter_mut().filter_map(|wire| wire.cloud.as_mut()).for_each(CloudSession::changed);
    }

    pub(crate) fn edge_session(&mut self) -> Option<&mut EdgeSession> {
        self.wires.back_mut()?.edge.as_mut()
    }

    pub(crate) fn cloud_session(&mut self) -> Option<&mut CloudSession> {
        self.wires.back_mut()?.cloud.as_mut()
    }

    /// The link breaks, and both ends see it.
    pub(crate) fn cut(&mut self) {
        self.note("cut");
        self.wires.clear();
    }

    /// Packets are swallowed, and nobody sees it.
    pub(crate) fn swallow(&mut self) {
        self.note("swallow");
        for wire in &mut self.wires {
            (wire.up.dead, wire.down.dead) = (true, true);
        }
    }

    /// The network stands still for a while.
    pub(crate) fn freeze(&mut self, for_ms: u64) {
        self.note("freeze");
        let now_ms = self.now_ms;
        for wire in &mut self.wires {
            wire.up.freeze(now_ms, for_ms);
            wire.down.freeze(now_ms, for_ms);
        }
    }

    /// The edge's end breaks; the cloud's lives on, half open.
    pub(crate) fn half_open(&mut self) {
        self.note("half open");
        for wire in &mut self.wires {
            (wire.up.dead, wire.down.dead) = (true, true);
            wire.edge = None;
        }
    }

    /// Power fails at the edge: what its store had not finished never happened.
    pub(crate) fn kill_edge(&mut self) {
        self.note("kill edge");
        self.half_open();
        self.jobs.retain(|_, (_, job)| !job.is_edge());
    }

    /// The cloud dies and starts again at once.
    pub(crate) fn kill_cloud(&mut self) {
        self.note("kill cloud");
        self.cut();
        self.jobs.retain(|_, (_, job)| job.is_edge());
    }

    /// Runs until `until_ms` or until `stop` says so; tells whether it did.
    pub(crate) fn run(&mut self, until_ms: u64, mut stop: impl FnMut(&mut Self) -> bool) -> bool {
        self.drain();
        loop {
            if stop(self) {
                return true;
            }
            let next = self.next_ms();
            if next > until_ms {
                self.now_ms = until_ms;
                return false;
            }
            self.now_ms = self.now_ms.max(next);
            self.step();
        }
    }

    fn next_ms(&self) -> u64 {
        let job = self.jobs.keys().next().map(|(at, _)| *at);
        let connect = self.wants_link().then_some(self.connect_ms);
        let wire = |wire: &Wire| {
            let free = [&wire.up, &wire.down].into_iter().map(Pipe::free_ms).filter(|at| *at > self.now_ms).min();
            let edge = wire.edge.as_ref().and_then(EdgeSession::next_tick);
            let cloud = wire.cloud.as_ref().and_then(CloudSession::next_tick);
            [free, edge, cloud, wire.up.next_ms(), wire.down.next_ms()].into_iter().flatten().min()
        };
        let wires = self.wires.iter().filter_map(wire).min();
        [job, connect, wires].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// A new session waits until the store has finished what the old one asked for: Hello tells durable facts.
    fn wants_link(&self) -> bool {
        let alive = self.wires.back().is_some_and(|wire| wire.edge.is_some());
        self.reconnects && !alive && !self.jobs.values().any(|(_, job)| job.is_edge())
    }

    fn step(&mut self) {
        if self.wants_link() && self.now_ms >= self.connect_ms {
            self.connect();
        }
        while let Some(((at, number), (wire, job))) = self.jobs.pop_first() {
            if at > self.now_ms {
                self.jobs.insert((at, number), (wire, job));
                break;
            }
            self.work(wire, job);
            self.drain();
        }
        for at in 0..self.wires.len() {
            self.arrivals(at);
            self.ticks(at);
        }
        self.drain();
    }

    fn connect(&mut self) {
        self.wire_count += 1;
        self.connect_ms = self.now_ms + 500;
        self.note(&format!("connect {}", self.wire_count));
        let edge = EdgeSession::offering(
            self.now_ms,
            Hello { features: self.features.iter().map(ToString::to_string).collect(), ..self.edge.hello() },
        );
        let (up, down) = (Pipe::new(self.road), Pipe::new(self.road));
        self.wires.push_back(Wire { id: self.wire_count, up, down, edge: Some(edge), cloud: Some(CloudSession::new(self.now_ms)) });
        self.drain();
    }

    fn arrivals(&mut self, at: usize) {
        loop {
            let now_ms = self.now_ms;
            let Some(wire) = self.wires.get_mut(at) else { return };
            let up = wire.up.arrive(now_ms);
            if let (Some(bytes), Some(cloud)) = (&up, &mut wire.cloud) {
                cloud.bytes(wire.up.counted(now_ms));
                cloud.receive(now_ms, bytes);
                self.delivered += 1;
            }
            self.drain();
            let Some(wire) = self.wires.get_mut(at) else { return };
            let down = wire.down.arrive(now_ms);
            if let (Some(bytes), Some(edge)) = (&down, &mut wire.edge) {
                edge.bytes(wire.down.counted(now_ms));
                edge.receive(now_ms, bytes);
                self.delivered += 1;
            }
            self.drain();
            if up.is_none() && down.is_none() {
                return;
            }
        }
    }

    fn ticks(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let Some(wire) = self.wires.get_mut(at) else { return };
        if let Some(edge) = wire.edge.as_mut().filter(|edge| edge.next_tick().is_some_and(|due| due <= now_ms)) {
            edge.bytes(wire.down.counted(now_ms));
            edge.tick(now_ms);
        }
        if let Some(cloud) = wire.cloud.as_mut().filter(|cloud| cloud.next_tick().is_some_and(|due| due <= now_ms)) {
            cloud.bytes(wire.up.counted(now_ms));
            cloud.tick(now_ms);
        }
    }

    /// Takes effects and frames out of every machine until none has any.
    fn drain(&mut self) {
        for at in 0..self.wires.len() {
            while self.drain_edge(at) | self.drain_cloud(at) {}
        }
        self.wires.retain(|wire| wire.edge.is_some() || wire.cloud.is_some());
    }

    fn drain_edge(&mut self, at: usize) -> bool {
        let now_ms = self.now_ms;
        let wire = &mut self.wires[at];
        let (id, Some(session)) = (wire.id, &mut wire.edge) else { return false };
        if let Some(effect) = session.poll_effect() {
            self.note(&format!("edge {id} does {}", notation::edge_effect(&effect)));
            self.edge_effect(at, id, effect);
            return true;
        }
        let Some(frame) = (wire.up.free_ms() <= now_ms).then(|| session.poll_send(now_ms)).flatten() else { return false };
        if let Frame::Ack(ack) = &frame {
            assert!(ack.cursor <= self.edge.cursor(), "an ACK above what is durable");
        }
        wire.up.send(now_ms, session.encode(&frame));
        self.note(&format!("edge {id} says {}", notation::frame(&frame)));
        true
    }

    fn drain_cloud(&mut self, at: usize) -> bool {
        let now_ms = self.now_ms;
        let wire = &mut self.wires[at];
        let (id, Some(session)) = (wire.id, &mut wire.cloud) else { return false };
        if let Some(effect) = session.poll_effect() {
            self.note(&format!("cloud {id} does {}", notation::cloud_effect(&effect)));
            self.cloud_effect(at, id, effect);
            return true;
        }
        let now = Now { wall_ms: WALL_MS + now_ms, mono_ms: now_ms };
        let Some(frame) = (wire.down.free_ms() <= now_ms).then(|| session.poll_send(now)).flatten() else { return false };
        let status = session.status();
        let window = status.batches <= WINDOW_BATCHES && status.bytes <= WINDOW_BYTES_MAX;
        assert!(status.batches <= 1 || window, "{} batches of {} bytes are beyond the window", status.batches, status.bytes);
        self.probes += u64::from(status.mode == Mode::Probe);
        wire.down.send(now_ms, session.encode(&frame));
        self.note(&format!("cloud {id} says {}", notation::frame(&frame)));
        if let Frame::Batch(batch) = frame {
            self.batches.push(batch);
        }
        true
    }

    /// Everything is where it belongs.
    pub(crate) fn is_converged(&mut self) -> bool {
        let open = self.cloud_session().is_some_and(|session| session.status().in_sync);
        open && self.edge.is_settled() && self.edge.live() == self.expected()
    }

    /// What the edge should hold.
    fn expected(&self) -> BTreeMap<Name, (u64, i64)> {
        let live = |(name, row): (&Name, &Row)| {
            self.cloud.is_granted(&name.0).then_some(())?;
            Some((name.clone(), (row.revision, row.count?)))
        };
        self.cloud.rows.iter().filter_map(live).collect()
    }

    /// Runs until everything is where it belongs.
    pub(crate) fn converge(&mut self, within_ms: u64) {
        let until_ms = self.now_ms + within_ms;
        if !self.run(until_ms, Self::is_converged) {
            let noise = |line: &&String| !["Ping", "Pong", "clock"].iter().any(|word| line.contains(word));
            let mut steps: Vec<_> = self.trace.iter().filter(noise).rev().take(60).cloned().collect();
            steps.reverse();
            let status = self.cloud_session().map(|session| session.status());
            let missing: Vec<_> = self.expected().into_iter().filter(|row| self.edge.live().get(&row.0) != Some(&row.1)).take(5).collect();
            let surplus: Vec<_> = self.edge.live().into_iter().filter(|row| !self.expected().contains_key(&row.0)).take(5).collect();
            let settled = self.edge.is_settled();
            panic!(
                "not converged within {within_ms} ms: settled {settled}, missing {missing:?}, surplus {surplus:?}, {status:?}\n{}",
                steps.join("\n")
            );
        }
    }
}
