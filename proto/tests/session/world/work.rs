//! What the shells of the two sides would do: effects become work of the stores, and its results answers.

use proto::clock::Now;
use proto::frame::Hello;
use proto::session::End;
use proto::session::cloud::{self, CloudSession};
use proto::session::edge::{self, ApplyFailure, EdgeSession};

use super::{EXPECTED_ENDS, Job, WALL_MS, World};

impl World {
    pub(super) fn edge_effect(&mut self, at: usize, id: u64, effect: edge::Effect) {
        match effect {
            edge::Effect::Adopt(welcome) => self.job(id, Job::Adopt(*welcome)),
            edge::Effect::Apply(batches) => self.job(id, Job::Apply(batches)),
            edge::Effect::Keep(pieces) => self.job(id, Job::Keep(pieces)),
            edge::Effect::ReadOutbox { after, max_bytes } => self.job(id, Job::Read(after, max_bytes)),
            edge::Effect::Clock { rtt_ms, cloud_ms } => assert!(cloud_ms.abs_diff(WALL_MS + self.now_ms) <= rtt_ms / 2 + 1),
            edge::Effect::Closed(end) => {
                self.last_word(at, true);
                self.ended(end);
            }
        }
    }

    pub(super) fn cloud_effect(&mut self, at: usize, id: u64, effect: cloud::Effect) {
        match effect {
            cloud::Effect::Admit(hello) => self.job(id, Job::Admit(*hello)),
            cloud::Effect::ConfirmSession(session) => self.cloud.confirm(session),
            cloud::Effect::Scan(scan) => self.job(id, Job::Scan(scan)),
            cloud::Effect::Ahead(ahead) => self.job(id, Job::Ahead(ahead)),
            cloud::Effect::Compared { .. } => {}
            cloud::Effect::Commit { session, writes } => self.job(id, Job::Commit(session, writes)),
            cloud::Effect::Acked(cursor) => assert!(cursor <= self.edge.cursor(), "the cloud believes in more than is durable"),
            cloud::Effect::Report(_) => {}
            cloud::Effect::Closed(end) => {
                self.last_word(at, false);
                self.ended(end);
            }
        }
    }

    /// What a closing machine still says, and then it is gone.
    fn last_word(&mut self, at: usize, edge: bool) {
        let now_ms = self.now_ms;
        let wire = &mut self.wires[at];
        if edge {
            if let Some(frame) = wire.edge.take().and_then(|mut session| session.poll_send(now_ms)) {
                wire.up.send(now_ms, frame.encode());
            }
        } else if let Some(frame) = wire.cloud.take().and_then(|mut session| session.poll_send(Now { wall_ms: 0, mono_ms: now_ms })) {
            wire.down.send(now_ms, frame.encode());
        }
    }

    fn ended(&mut self, end: End) {
        assert!(EXPECTED_ENDS.contains(&end.reason.code.as_str()), "a session ended: {end:?}");
        self.ends.push(end);
    }

    fn job(&mut self, wire: u64, job: Job) {
        self.job_count += 1;
        self.jobs.insert((self.now_ms + self.store_ms, self.job_count), (wire, job));
    }

    pub(super) fn work(&mut self, wire: u64, job: Job) {
        let now_ms = self.now_ms;
        match job {
            Job::Adopt(welcome) => {
                self.edge.adopt(&welcome);
                let durable = self.edge.durable();
                self.on_edge(wire, |session| session.adopted(now_ms, durable));
            }
            // Outcomes ahead of the stream need no room to speak of.
            Job::Apply(batches) if self.disk_full && batches.iter().any(|batch| batch.from < batch.through || batch.is_empty()) => {
                self.on_edge(wire, |session| session.apply_failed(now_ms, ApplyFailure::DiskFull, "for the test"));
            }
            Job::Apply(batches) => {
                self.edge.apply(&batches);
                let durable = self.edge.durable();
                self.on_edge(wire, |session| session.applied(now_ms, durable));
            }
            Job::Keep(_) if self.disk_full => {
                self.on_edge(wire, |session| session.apply_failed(now_ms, ApplyFailure::DiskFull, "for the test"));
            }
            Job::Keep(pieces) => {
                let held = self.edge.keep(pieces);
                self.on_edge(wire, |session| session.kept(now_ms, held));
            }
            Job::Read(after, max_bytes) => {
                let (writes, more) = self.edge.outbox(after, max_bytes);
                self.on_edge(wire, |session| session.outbox(writes, more));
            }
            Job::Admit(hello) => self.admit(wire, &hello),
            Job::Scan(scan) => {
                let batch = self.cloud.scan(&scan);
                self.on_cloud(wire, |session| session.scanned(now_ms, batch));
            }
            Job::Ahead(ahead) => {
                let (batch, outcomes, records) = self.cloud.ahead(&ahead);
                self.on_cloud(wire, |session| session.read_ahead(now_ms, batch, outcomes, records));
            }
            Job::Commit(_, writes) if self.failing_commits > 0 => {
                self.failing_commits -= 1;
                self.on_cloud(wire, |session| session.commit_failed(now_ms, writes));
            }
            Job::Commit(session, writes) => {
                if let Some(taken) = self.cloud.commit(session, &writes) {
                    self.on_cloud(wire, |session| session.committed(taken, None));
                    self.wake_cloud();
                }
            }
        }
    }

    fn admit(&mut self, wire: u64, hello: &Hello) {
        let now_ms = self.now_ms;
        for other in self.wires.iter_mut().filter(|other| other.id != wire) {
            other.cloud.iter_mut().for_each(|session| session.close("replaced", "a newer session of this database began"));
        }
        match self.cloud.admit(hello) {
            Ok(admission) => self.on_cloud(wire, |session| session.admitted(now_ms, admission)),
            Err(reason) => self.on_cloud(wire, |session| session.refused(reason, 0)),
        }
    }

    fn on_edge(&mut self, wire: u64, act: impl FnOnce(&mut EdgeSession)) {
        if let Some(session) = self.wires.iter_mut().find(|own| own.id == wire).and_then(|own| own.edge.as_mut()) {
            act(session);
        }
    }

    fn on_cloud(&mut self, wire: u64, act: impl FnOnce(&mut CloudSession)) {
        if let Some(session) = self.wires.iter_mut().find(|own| own.id == wire).and_then(|own| own.cloud.as_mut()) {
            act(session);
        }
    }
}
