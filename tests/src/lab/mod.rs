//! The laboratory: the real sessions, the real edge database and the real cloud store in virtual time, on one thread.
//!
//! Nothing here sleeps and nothing is drawn from the system, so the same steps give the same trace. Links can be slow,
//! late, cut at any frame or half open; either side can lose its power at any piece of work of its store, before the
//! commit or after it and before the answer. After every step [`guarantees`] are looked at: what each node's readers see.
//!
//! [`cloud`] and [`edge`] hold the stores, `power` their disks, [`road`] the links, [`by_hand`] those that a test carries itself, `work` does what the hubs' drivers do, [`season`] draws
//! a whole history from a seed, [`sim`] one with everything that goes wrong in the field, [`decisions`] one of people who resolve conflicts,
//! [`devices`] what devices report, [`words`] are the verbs of applications.
#![allow(clippy::unwrap_used, clippy::panic)]

pub mod by_hand;
pub mod check;
pub mod cloud;
pub mod decisions;
pub mod devices;
pub mod dice;
pub mod edge;
pub mod guarantees;
mod power;
pub mod road;
pub mod season;
mod sends;
pub mod sim;
mod spoil;
pub mod story;
pub mod words;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use cloudhub::store::{Job, Peer, Refused, Seen, Touched, Written};
use edgehub::link::{Backoff, Days};
use metamanager::{Committed, LocalRequest, WriteError};
use proto::frame::{Frame, Share};
use proto::ids::{DatabaseId, Position};
use proto::names::Key;
use proto::op::Idempotency;
use proto::session::End;
use proto::session::cloud::CloudSession;
use proto::session::edge::EdgeSession;

use cloud::Cloud;
use dice::Dice;
use edge::Edge;
use road::{LAN, Pipe, Road};
use spoil::Spoiler;
use work::Task;

/// How long an edge waits before it connects again.
const CONNECT_MS: u64 = 500;

/// A scratch folder, in memory where the system has a place for that: virtual time has no disk to wait for.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Whose power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The hub's.
    Cloud,
    /// The node's at this place.
    Edge(usize),
}

/// When the power fails.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// How many pieces of work of that side's store are still done and answered.
    pub after: u64,
    /// The next one commits, and its answer is lost; else it never happens, or on a failing disk it comes to any of its commits.
    pub commits: bool,
}

/// What has come over all links so far, also what had come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Brought {
    /// Bytes of whole frames, up and down.
    pub bytes: [u64; 2],
    /// Records that nodes were to store.
    pub records: u64,
    /// Writes that the hub was to decide.
    pub writes: u64,
    /// How often control overtook bulk.
    pub overtaken: u64,
}

/// The two ends of one link.
struct Wire {
    id: u64,
    node: usize,
    up: Pipe,
    down: Pipe,
    edge: Option<EdgeSession>,
    cloud: Option<CloudSession>,
    peer: Option<Peer>,
    /// The database that was admitted on it.
    database: Option<DatabaseId>,
    /// What the cloud's session is woken for.
    shares: BTreeSet<Share>,
    /// A test carries its frames.
    by_hand: bool,
}

impl Wire {
    /// On which nothing was said yet.
    fn new(id: u64, node: usize, [up, down]: [Pipe; 2], edge: Option<EdgeSession>, cloud: Option<CloudSession>) -> Self {
        Self { id, node, up, down, edge, cloud, peer: None, database: None, shares: BTreeSet::new(), by_hand: false }
    }
}

/// What happens next. One turn is one event, so that a test can step in between any two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Work,
    Up(usize),
    Down(usize),
    EdgeTick(usize),
    CloudTick(usize),
    /// What a node's devices reported is to go up.
    Report(usize),
    /// A link can take the next frame.
    Free,
    Connect(usize),
}

/// A cloud, its nodes, and the links between them.
pub struct Lab {
    /// Virtual time.
    pub now_ms: u64,
    /// The hub.
    pub cloud: Cloud,
    /// The nodes, in the order in which they joined.
    pub edges: Vec<Edge>,
    /// How new links are.
    pub road: Road,
    /// New links have a stream for each lane, as over QUIC, and what comes first is drawn from here.
    pub streams: Option<Dice>,
    /// How nodes put a frame into bytes: as this version does, unless a test lets them be of another one.
    pub edge_says: fn(Frame) -> Vec<u8>,
    /// The same of the hub.
    pub cloud_says: fn(Frame) -> Vec<u8>,
    /// How long each piece of work of a store takes.
    pub store_ms: u64,
    /// Everything that was said and done, with its time.
    pub trace: Vec<String>,
    /// How sessions ended.
    pub ends: Vec<End>,
    /// What the links have brought.
    pub brought: Brought,
    /// What cloud writes put into and added to counters of [`edge::TALLY`].
    promised: Vec<(Key, i64)>,
    /// Whose frames are spoilt on their way, both ways.
    spoiler: Option<Spoiler>,
    /// They ever were: sessions end with any code.
    was_spoilt: bool,
    /// The hub's store was put back once.
    was_restored: bool,
    faults: BTreeMap<Side, Fault>,
    /// What a hub saves lazily: where each node's last ACK was.
    acked: BTreeMap<Peer, Position>,
    wires: VecDeque<Wire>,
    wire_count: u64,
    jobs: BTreeMap<(u64, u64), Task>,
    job_count: u64,
    /// The hub lets nobody in without this ticket, which it gives with the time to come back.
    pub busy: Option<(u64, Vec<u8>)>,
    /// Databases that took another id on links of [`by_hand`].
    renewals: u8,
    /// The power fails for real; what it takes comes from this seed.
    failing: Option<u64>,
    keeps_logs: bool,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty hub.
    pub fn new() -> Self {
        Self {
            now_ms: 0,
            cloud: Cloud::new(),
            edges: Vec::new(),
            road: LAN,
            streams: None,
            edge_says: |frame| frame.encode(),
            cloud_says: |frame| frame.encode(),
            store_ms: 2,
            trace: Vec::new(),
            ends: Vec::new(),
            brought: Brought::default(),
            promised: Vec::new(),
            spoiler: None,
            was_spoilt: false,
            was_restored: false,
            faults: BTreeMap::new(),
            acked: BTreeMap::new(),
            wires: VecDeque::new(),
            wire_count: 0,
            jobs: BTreeMap::new(),
            job_count: 0,
            renewals: 0,
            busy: None,
            failing: None,
            keeps_logs: false,
        }
    }

    /// An empty hub, and nodes to come, on disks that keep what was synced and nothing else: whatever ends without a word loses some
    /// of the rest, as the seed says.
    pub fn failing(seed: u64) -> Self {
        Self { cloud: Cloud::failing(seed), failing: Some(seed), ..Self::new() }
    }

    /// A hub with these collections, and nodes that are in sync; each node's label `site` is its name.
    pub fn with(definitions: &[(&str, &str)], nodes: &[&str]) -> Self {
        let mut lab = Self::new();
        for (name, json) in definitions {
            lab.define(name, json);
        }
        for name in nodes {
            lab.join(name, &[("site", name)]);
        }
        lab.converge(60_000);
        lab
    }

    /// A hub and nodes whose databases are made from these files, at a time when nobody has started yet.
    pub fn of_files(cloud: &Path, edges: &[(&str, &Path)], now_ms: u64) -> Self {
        let (cloud, edges) = (Cloud::of_file(cloud, now_ms), edges.iter().map(|(name, file)| Edge::of_file(name, file, now_ms)).collect());
        Self { now_ms, cloud, edges, ..Self::new() }
    }

    /// The database files: the cloud's, then the nodes'.
    pub fn files(&self) -> Vec<PathBuf> {
        std::iter::once(self.cloud.path()).chain(self.edges.iter().map(Edge::path)).collect()
    }

    fn note(&mut self, text: &str) {
        self.trace.push(format!("{:>8} {text}", self.now_ms));
    }

    /// Creates or changes a collection.
    pub fn define(&mut self, name: &str, json: &str) {
        let touched = self.cloud.define(name, json, self.now_ms);
        self.wake(&touched);
    }

    /// Removes a collection.
    pub fn undefine(&mut self, name: &str) {
        let touched = self.cloud.undefine(name, self.now_ms);
        self.wake(&touched);
    }

    /// Fills a node's disk to the last byte, or gives it room again.
    pub fn fill_disk(&mut self, node: usize, full: bool) {
        self.note(&format!("disk of {} {}", self.edges[node].name, if full { "full" } else { "free" }));
        self.edges[node].fill_disk(full);
    }

    /// How many bytes may pass on a node's links in a day from now on; what passed today counts.
    pub fn limit(&mut self, node: usize, limit: Option<u64>) {
        self.note(&format!("limit of {} {limit:?}", self.edges[node].name));
        let days = Days::new(limit).with_text(&self.edges[node].days.to_text()).unwrap();
        self.edges[node].days = days;
        self.drain();
    }

    /// Takes a node in; its place in [`Lab::edges`].
    pub fn join(&mut self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.cloud.join(name, labels, self.now_ms);
        let place = self.edges.len();
        self.edges.push(Edge::new(name, place as u8 + 1, self.failing));
        if self.keeps_logs {
            self.keep_log(Side::Edge(place));
        }
        place
    }

    /// Sets a label.
    pub fn label(&mut self, node: &str, label: &str, value: &str) {
        self.note(&format!("label {node} {label}={value}"));
        let touched = self.cloud.label(node, label, value, self.now_ms);
        self.wake(&touched);
    }

    /// An application at an edge commits.
    pub fn try_write(&mut self, node: usize, requests: Vec<LocalRequest>) -> Result<Committed, WriteError> {
        self.commit(node, requests, None)
    }

    /// The same under an `Idempotency-Key`; `asked` stands for what the request says.
    pub fn try_write_as(&mut self, node: usize, key: &str, asked: u8, requests: Vec<LocalRequest>) -> Result<Committed, WriteError> {
        self.commit(node, requests, Some(Idempotency { key: key.to_owned(), request: [asked; 16] }))
    }

    fn commit(&mut self, node: usize, requests: Vec<LocalRequest>, named: Option<Idempotency>) -> Result<Committed, WriteError> {
        let committed = self.edges[node].write(requests, named, self.now_ms);
        let word = committed.as_ref().map_or_else(|error| error.code().to_owned(), |committed| format!("{:?}", committed.write));
        self.note(&format!("edge {node} writes {word}"));
        let own = self.wires.iter_mut().filter(|wire| wire.node == node).filter_map(|wire| wire.edge.as_mut());
        own.for_each(EdgeSession::outbox_changed);
        self.drain();
        guarantees::every_step(self, node);
        committed
    }

    /// The same where nothing can be refused; the write's place in the order.
    pub fn write(&mut self, node: usize, requests: Vec<LocalRequest>) -> Committed {
        self.try_write(node, requests).unwrap()
    }

    /// A caller of the cloud's API commits.
    pub fn try_in_cloud(&mut self, requests: Vec<LocalRequest>) -> Result<Written, Refused> {
        for request in requests.iter().map(|request| &request.request) {
            self.edges.iter_mut().for_each(|edge| edge.watch(&request.collection, &request.key));
        }
        let promised: Vec<_> = requests.iter().filter_map(|request| edge::promised(&request.request)).collect();
        let head = self.cloud.head();
        let (written, touched) = self.cloud.write(requests, self.now_ms);
        // A repeat of appends is answered with the first write, and has no effect.
        if written.as_ref().is_ok_and(|written| written.write.revision > head) {
            self.promised.extend(promised);
        }
        self.note(&format!("cloud writes {}", written.as_ref().map_or_else(ToString::to_string, |written| written.write.id.to_string())));
        self.wake(&touched);
        written
    }

    /// The same where nothing can be refused.
    pub fn in_cloud(&mut self, requests: Vec<LocalRequest>) -> Written {
        self.try_in_cloud(requests).unwrap()
    }

    fn wake(&mut self, touched: &Touched) {
        for wire in &mut self.wires {
            let named = touched.nodes.contains(&self.edges[wire.node].name);
            if named || !wire.shares.is_disjoint(&touched.shares) {
                wire.cloud.iter_mut().for_each(CloudSession::changed);
            }
        }
        self.drain();
    }

    /// Does what the hub does between its groups: saves what it learned of the nodes, then all the housekeeping.
    pub fn tidy(&mut self) {
        let at_ms = cloud::WALL_MS + self.now_ms;
        let acked = std::mem::take(&mut self.acked).into_iter();
        let seen = acked.map(|(peer, cursor)| Seen { peer, at_ms, cursor: Some(cursor), report: None, verified_ms: None }).collect();
        self.cloud.decide(Job::Seen(seen), self.now_ms).0.unwrap();
        for touched in self.cloud.tidy(self.now_ms) {
            self.wake(&touched);
        }
    }

    /// Lets a job of the hub's API happen.
    pub fn hub(&mut self, job: Job) {
        let (answer, touched) = self.cloud.decide(job, self.now_ms);
        answer.unwrap();
        self.wake(&touched);
    }

    /// A node's links break, and both ends see it.
    pub fn cut(&mut self, node: usize) {
        self.note(&format!("cut {node}"));
        let had = self.wires.iter().any(|wire| wire.node == node && wire.edge.as_ref().is_some_and(EdgeSession::is_open));
        self.wires.retain(|wire| wire.node != node);
        self.rest(node, had);
    }

    /// From now on a node waits between its tries as edgehub does.
    pub fn back_off(&mut self, node: usize, seed: u64) {
        self.edges[node].backoff = Some((Backoff::default(), Dice::new(seed)));
    }

    /// A node waits before its next try; `had`: it had a session.
    fn rest(&mut self, node: usize, had: bool) {
        let now_ms = self.now_ms;
        let edge = &mut self.edges[node];
        let wait_ms = edge.backoff.as_mut().map_or(CONNECT_MS, |(backoff, dice)| {
            if had {
                backoff.session(now_ms);
            }
            backoff.next(now_ms, dice.roll())
        });
        edge.connect_ms = now_ms + wait_ms;
    }

    /// A silent black hole swallows everything of a node's for a while, links that it begins meanwhile too.
    pub fn darken(&mut self, node: usize, for_ms: u64) {
        self.note(&format!("dark {node}"));
        let (now_ms, until_ms) = (self.now_ms, self.now_ms + for_ms);
        self.edges[node].dark_until_ms = until_ms;
        for wire in self.wires.iter_mut().filter(|wire| wire.node == node) {
            wire.up.darken(now_ms, until_ms);
            wire.down.darken(now_ms, until_ms);
        }
    }

    /// Takes a node off the network, or lets it back.
    pub fn online(&mut self, node: usize, online: bool) {
        self.edges[node].online = online;
        self.cut(node);
    }

    /// The edge's end breaks; the cloud's lives on, half open.
    pub fn half_open(&mut self, node: usize) {
        self.note(&format!("half open {node}"));
        for wire in self.wires.iter_mut().filter(|wire| wire.node == node) {
            (wire.up.dead, wire.down.dead) = (true, true);
            wire.edge = None;
        }
    }

    /// From now on the frames of a node are spoilt on their way, as the seed says; `None`: no more. What a node has by that is looked
    /// at no longer.
    pub fn spoil(&mut self, node: Option<(usize, u64)>) {
        self.note(&format!("spoil {node:?}"));
        node.iter().for_each(|(node, _)| self.edges[*node].watched = false);
        self.was_spoilt |= node.is_some();
        self.spoiler = node.map(|(node, seed)| Spoiler::new(node, seed));
    }

    /// A node's links stand still for a while.
    pub fn freeze(&mut self, node: usize, for_ms: u64) {
        self.note(&format!("freeze {node}"));
        for wire in self.wires.iter_mut().filter(|wire| wire.node == node) {
            wire.up.freeze(self.now_ms, for_ms);
            wire.down.freeze(self.now_ms, for_ms);
        }
    }

    /// The power fails now: what the store had not finished never happened.
    pub fn kill(&mut self, side: Side) {
        self.note(&format!("kill {side:?}"));
        match side {
            Side::Cloud => self.kill_cloud(|_| {}),
            Side::Edge(node) => self.kill_edge(node, |_| {}),
        }
    }

    /// The hub ends and starts again; `meanwhile` gets its file.
    pub fn kill_cloud(&mut self, meanwhile: impl FnOnce(&rusqlite::Connection)) {
        self.faults.remove(&Side::Cloud);
        self.jobs.retain(|_, task| task.side != Side::Cloud);
        self.wires.clear();
        self.cloud.restart(self.now_ms, meanwhile);
    }

    /// A node ends and starts again, the hub does not notice; `meanwhile` gets its file.
    pub fn kill_edge(&mut self, node: usize, meanwhile: impl FnOnce(&rusqlite::Connection)) {
        self.faults.remove(&Side::Edge(node));
        self.jobs.retain(|_, task| task.side != Side::Edge(node));
        self.half_open(node);
        self.edges[node].restart(self.now_ms, meanwhile);
        self.edges[node].connect_ms = self.now_ms + CONNECT_MS;
        guarantees::every_step(self, node);
    }

    /// A copy of a side's database file as it is now. Taking it ends that side for a moment.
    pub fn image(&mut self, side: Side) -> Vec<u8> {
        let path = match side {
            Side::Cloud => self.cloud.path(),
            Side::Edge(node) => self.edges[node].path(),
        };
        let mut image = Vec::new();
        let copy = |file: &rusqlite::Connection| {
            file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            image = std::fs::read(&path).unwrap();
        };
        match side {
            Side::Cloud => self.kill_cloud(copy),
            Side::Edge(node) => self.kill_edge(node, copy),
        }
        image
    }

    /// The side ends, an older image of its file is put in its place, and it starts again. From now on records may go back, and
    /// a write may get its outcome twice: what is looked at after every step is no longer looked at.
    pub fn put_back(&mut self, side: Side, image: &[u8]) {
        self.note(&format!("{side:?}: an image is put back"));
        match side {
            Side::Cloud => {
                self.was_restored = true;
                self.kill_cloud(|_| {});
                self.cloud.put_back(image, self.now_ms);
                self.edges.iter_mut().for_each(|edge| edge.watched = false);
            }
            Side::Edge(node) => {
                self.kill_edge(node, |_| {});
                self.edges[node].put_back(image, self.now_ms);
                self.edges[node].watched = false;
            }
        }
    }

    /// A second machine under the name of a node, with an image of its database; its place.
    pub fn twin(&mut self, node: usize, image: &[u8]) -> usize {
        let name = self.edges[node].name.to_string();
        let mut twin = Edge::new(&name, 0xee, self.failing);
        twin.put_back(image, self.now_ms);
        twin.watched = false;
        self.edges[node].watched = false;
        self.edges.push(twin);
        self.edges.len() - 1
    }

    /// A machine of the same name whose database is new; its place.
    pub fn wiped(&mut self, node: usize) -> usize {
        let name = self.edges[node].name.to_string();
        let place = self.edges.len();
        self.edges.push(Edge::new(&name, 0x77, self.failing));
        self.edges[place].watched = false;
        place
    }

    /// The power will fail at a coming piece of work.
    pub fn fault(&mut self, side: Side, fault: Fault) {
        self.note(&format!("{side:?} will fail: {fault:?}"));
        self.faults.insert(side, fault);
    }

    /// Runs for a while.
    pub fn pass(&mut self, ms: u64) {
        self.run(ms, |_| false);
    }

    /// Runs for at most `ms`, or until `stop` says so after an event; tells whether it did.
    pub fn run(&mut self, ms: u64, mut stop: impl FnMut(&mut Self) -> bool) -> bool {
        let until_ms = self.now_ms + ms;
        self.drain();
        loop {
            if stop(self) {
                return true;
            }
            let Some((at, turn)) = self.next().filter(|(at, _)| *at <= until_ms) else {
                self.now_ms = until_ms;
                return false;
            };
            self.now_ms = self.now_ms.max(at);
            self.take(turn);
            self.drain();
        }
    }

    /// Runs until a line with this word is added to the trace.
    pub fn until(&mut self, word: &str) {
        let from = self.trace.len();
        let came = self.run(120_000, |lab| lab.trace[from..].iter().any(|line| line.contains(word)));
        assert!(came, "{word:?} was neither said nor done\n{}", check::recent(self));
    }

    /// Runs until everything is where it belongs; `ms` is how long that may take.
    pub fn converge(&mut self, ms: u64) {
        self.converge_seeing(ms, |_| {});
    }

    /// The same, with a look at every event.
    pub fn converge_seeing(&mut self, ms: u64, mut look: impl FnMut(&mut Self)) {
        let settled = self.run(ms, |lab| {
            look(lab);
            lab.is_quiet() && check::differences(lab).is_empty()
        });
        if !settled {
            let differences = check::differences(self);
            // Nobody is at work any more, and it will stay so; or somebody still is.
            let broken = if self.is_quiet() { &guarantees::CONVERGENCE } else { &guarantees::LIVE };
            broken.missed(self, &format!("not in sync within {ms} ms: {differences:?}"));
        }
        guarantees::when_done(self);
    }

    /// Nobody has anything to say or to do.
    fn is_quiet(&mut self) -> bool {
        let synced = |lab: &Self, node: usize| {
            let newest = lab.wires.iter().rev().find(|wire| wire.node == node);
            newest.and_then(|wire| wire.cloud.as_ref()).is_some_and(|session| session.status().in_sync && session.status().fills == 0)
        };
        self.jobs.is_empty()
            && (0..self.edges.len())
                .all(|node| !self.edges[node].online || (synced(self, node) && self.edges[node].pending() == 0 && self.has_reported(node)))
    }

    /// A new session waits until the store has finished what the old one asked for: Hello tells durable facts.
    fn wants_link(&self, node: usize) -> bool {
        let alive = self.wires.iter().any(|wire| wire.node == node && wire.edge.is_some());
        let busy = self.jobs.values().any(|task| task.side == Side::Edge(node));
        self.edges[node].online && !alive && !busy
    }

    fn next(&self) -> Option<(u64, Turn)> {
        let work = self.jobs.keys().next().map(|(at, _)| (*at, Turn::Work));
        let connects = (0..self.edges.len()).filter(|node| self.wants_link(*node));
        let connects = connects.map(|node| (self.edges[node].connect_ms, Turn::Connect(node)));
        let reports = (0..self.edges.len()).filter_map(|node| Some((self.report_ms(node)?, Turn::Report(node))));
        let wires = self.wires.iter().enumerate().flat_map(|(at, wire)| {
            let free = [&wire.up, &wire.down].into_iter().filter_map(|pipe| pipe.frees_ms(self.now_ms)).min();
            [
                wire.up.next_ms().map(|ms| (ms, Turn::Up(at))),
                wire.down.next_ms().map(|ms| (ms, Turn::Down(at))),
                wire.edge.as_ref().and_then(EdgeSession::next_tick).map(|ms| (ms, Turn::EdgeTick(at))),
                wire.cloud.as_ref().and_then(CloudSession::next_tick).map(|ms| (ms, Turn::CloudTick(at))),
                free.map(|ms| (ms, Turn::Free)),
            ]
        });
        let all = work.into_iter().chain(connects).chain(reports).chain(wires.flatten());
        all.map(|(at, turn)| (at.max(self.now_ms), turn)).min()
    }
}
