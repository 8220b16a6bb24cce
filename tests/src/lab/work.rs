//! What the drivers of the two hubs do: effects become work of the stores, and its results answers.

use cloudhub::store::{AdmitJob, Admitted, Answer, Denied, Job as CloudJob, Peer, ReadAhead, Refused, ScanRequest, StoreError, StoreRead};
use metamanager::limits::DELIVERED_KEPT;
use metamanager::{Adopted, Applied, ApplyError};
use proto::frame::{Batch, Entry, Hello, NumberedWrite, Piece, Reason, Welcome};
use proto::op::Hash;
use proto::session::End;
use proto::session::cloud::{self, Admission, Ahead, CloudSession, Scan};
use proto::session::edge::{self, ApplyFailure, Durable, EdgeSession};

use super::{Fault, Lab, Side, Wire, check, guarantees};

/// Ends that the laboratory causes itself; any other end is a finding.
const EXPECTED_ENDS: [&str; 8] =
    ["silence", "handshake_timeout", "replaced", "version", "copied_database", "in_use", "below_floor", "parts"];

/// A store's work, done when its time has come. Its answer goes to the session that asked, if that still lives.
#[derive(Debug)]
pub(super) enum Job {
    Adopt(Welcome),
    Apply(Vec<Batch>),
    Keep(Vec<Piece>),
    Read(u64, usize),
    Admit(Hello),
    Confirm(u64),
    Scan(Scan),
    Ahead(Ahead),
    Take(u64, Vec<NumberedWrite>),
    Report,
}

/// One piece of work, and who asked. A cut in the meantime does not undo it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) side: Side,
    wire: u64,
    node: usize,
    peer: Option<Peer>,
    job: Job,
}

impl Lab {
    pub(super) fn edge_effect(&mut self, at: usize, effect: edge::Effect) {
        let side = Side::Edge(self.wires[at].node);
        match effect {
            edge::Effect::Adopt(welcome) => {
                self.edges[self.wires[at].node].days.told(welcome.now_ms, self.now_ms);
                self.job(at, side, Job::Adopt(*welcome));
            }
            edge::Effect::Apply(batches) => {
                let filled = |batch: &Batch| batch.fill.as_ref().map_or(0, |part| part.records.len());
                let records = |batch: &Batch| batch.entries.iter().filter(|entry| matches!(entry, Entry::Record(_))).count();
                self.brought.records += batches.iter().map(|batch| (filled(batch) + records(batch)) as u64).sum::<u64>();
                self.job(at, side, Job::Apply(batches));
            }
            edge::Effect::Keep(pieces) => self.job(at, side, Job::Keep(pieces)),
            edge::Effect::ReadOutbox { after, max_bytes } => self.job(at, side, Job::Read(after, max_bytes)),
            edge::Effect::Clock { cloud_ms, .. } => self.edges[self.wires[at].node].days.told(cloud_ms, self.now_ms),
            edge::Effect::Closed(end) => {
                let node = self.wires[at].node;
                self.last_word(at, true);
                if self.edges[node].backoff.is_some() {
                    self.rest(node, !end.refused && end.reason.code != "handshake_timeout");
                }
                self.edges[node].ticket.clone_from(&end.ticket);
                if end.renew {
                    self.renew(node);
                }
                self.ended("edge", end);
            }
        }
    }

    pub(super) fn cloud_effect(&mut self, at: usize, effect: cloud::Effect) {
        match effect {
            cloud::Effect::Admit(hello) => match self.busy.clone().filter(|(_, ticket)| *ticket != hello.ticket) {
                Some((retry_ms, ticket)) => {
                    let detail = format!("many nodes come at once; this one's turn is in {} s", retry_ms.div_ceil(1_000));
                    let reason = Reason { code: "busy".to_owned(), detail };
                    self.wires[at].cloud.iter_mut().for_each(|session| session.wait(reason.clone(), retry_ms, ticket.clone()));
                }
                None => self.job(at, Side::Cloud, Job::Admit(*hello)),
            },
            cloud::Effect::ConfirmSession(session) => self.job(at, Side::Cloud, Job::Confirm(session)),
            cloud::Effect::Scan(scan) => self.job(at, Side::Cloud, Job::Scan(scan)),
            cloud::Effect::Ahead(ahead) => self.job(at, Side::Cloud, Job::Ahead(ahead)),
            cloud::Effect::Compared { revision, differing, .. } => self.note(&format!("compared at {revision}: {differing} differ")),
            cloud::Effect::Commit { session, writes } => {
                self.brought.writes += writes.iter().filter(|write| write.completes()).count() as u64;
                self.job(at, Side::Cloud, Job::Take(session, writes));
            }
            cloud::Effect::Acked(cursor) => {
                let node = self.wires[at].node;
                if self.wires[at].edge.is_some() {
                    let durable = self.edges[node].reader().status().unwrap().cursor.unwrap().position;
                    let wrong = || format!("the cloud believes that {cursor:?} is durable, and it is {durable:?}");
                    guarantees::NO_FALSE_ACK.holds(self, node, (cursor <= durable).then_some(()).ok_or_else(wrong));
                }
                self.acked.extend(self.wires[at].peer.map(|peer| (peer, cursor)));
            }
            cloud::Effect::Report(_) => {}
            cloud::Effect::Closed(end) => {
                self.last_word(at, false);
                self.ended("cloud", end);
            }
        }
    }

    /// The node's database is a copy: another id, and back at once.
    fn renew(&mut self, node: usize) {
        self.edges[node].store().renew().unwrap();
        if self.wires.iter().any(|wire| wire.by_hand) {
            self.known_id(node);
        }
        let database = self.edges[node].database();
        self.note(&format!("edge {node} is a copy, and goes on as {}", database.short()));
        self.edges[node].connect_ms = self.now_ms;
    }

    fn ended(&mut self, side: &str, end: End) {
        self.note(&format!("{side} session ended: {}", end.reason.code));
        let any = self.was_spoilt || self.wires.iter().any(|wire| wire.by_hand);
        // What was delivered a week before the store was put back is not kept any more.
        let lost = end.reason.code == "gaps" && self.was_restored && self.now_ms > DELIVERED_KEPT.as_millis() as u64;
        let expected = any || lost || EXPECTED_ENDS.contains(&end.reason.code.as_str());
        assert!(expected, "a session ended: {end:?}\n{}", check::recent(self));
        self.ends.push(end);
    }

    /// What a node's devices reported is to become a write.
    pub(super) fn report_job(&mut self, node: usize) {
        self.edges[node].reports.asked = true;
        self.job_count += 1;
        let task = Task { side: Side::Edge(node), wire: 0, node, peer: None, job: Job::Report };
        self.jobs.insert((self.now_ms + self.store_ms, self.job_count), task);
    }

    fn job(&mut self, at: usize, side: Side, job: Job) {
        self.job_count += 1;
        let Wire { id: wire, node, peer, .. } = self.wires[at];
        self.jobs.insert((self.now_ms + self.store_ms, self.job_count), Task { side, wire, node, peer, job });
    }

    /// Does the next piece of work, unless the power fails before; the answer is lost where it fails after.
    pub(super) fn work(&mut self) {
        let Some((_, task)) = self.jobs.pop_first() else { return };
        let side = task.side;
        let fault = self.faults.get_mut(&side).and_then(|fault| match fault.after.checked_sub(1) {
            Some(left) => {
                fault.after = left;
                None
            }
            None => Some(*fault),
        });
        match fault {
            Some(Fault { commits: false, .. }) => self.fail_amid(side, |lab| lab.done(task)),
            _ => self.done(task),
        }
        if let (Side::Edge(node), None) = (side, fault) {
            guarantees::every_step(self, node);
        }
        if fault.is_some() {
            self.kill(side);
        }
    }

    fn done(&mut self, Task { wire, node, peer, job, .. }: Task) {
        let now_ms = self.now_ms;
        match job {
            Job::Adopt(welcome) => {
                let edge = &mut self.edges[node];
                let now = edge.now(now_ms);
                edge.store().observe_cloud_time(welcome.now_ms, now).unwrap();
                match edge.store().adopt(&welcome, now) {
                    Ok(Adopted { lost: 1.., .. }) => {
                        self.on_edge(wire, |session| session.close("gaps", "declares writes that neither side has any more"));
                    }
                    Ok(Adopted { cursor, fills, answered, asks, .. }) => {
                        let durable = Durable { cursor, fills, answered, asks, ..Durable::default() };
                        self.on_edge(wire, |session| session.adopted(now_ms, durable));
                    }
                    Err(error @ ApplyError::Copied { .. }) => {
                        self.renew(node);
                        self.on_edge(wire, |session| session.close("copied_database", &error.to_string()));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Job::Apply(batches) => self.apply(wire, node, &batches),
            Job::Report => self.send_reported(node),
            Job::Keep(pieces) => {
                let result = self.edges[node].store().keep_pieces(&pieces);
                self.on_edge(wire, |session| match result {
                    Ok(held) => session.kept(now_ms, held),
                    Err(error) => apply_failed(session, now_ms, &error),
                });
            }
            Job::Read(after, max_bytes) => {
                let part = self.edges[node].reader().outbox_after(after, max_bytes).unwrap();
                self.on_edge(wire, |session| session.outbox(part.writes, part.more));
            }
            Job::Admit(hello) => self.admit(wire, node, hello),
            Job::Confirm(session) => {
                let Some(peer) = peer else { return };
                // A session that was replaced in the meantime may be refused: then nobody needs it.
                let _refused = self.cloud.decide(CloudJob::Confirm { peer, session }, now_ms);
            }
            Job::Scan(scan) => self.scan(wire, peer, &scan),
            Job::Ahead(ahead) => {
                let Some(peer) = peer else { return };
                let ReadAhead { batch, outcomes, records } = self.cloud.reader().ahead(peer, &ahead).unwrap();
                self.on_cloud(wire, |session| session.read_ahead(now_ms, batch, outcomes, records));
            }
            Job::Take(session, writes) => self.take_writes(wire, peer, session, writes),
        }
    }

    fn apply(&mut self, wire: u64, node: usize, batches: &[Batch]) {
        let now_ms = self.now_ms;
        let edge = &mut self.edges[node];
        let now = edge.now(now_ms);
        let newest = edge.newest_write();
        let result = edge.store().apply(batches, now);
        let reported = edge.newest_write() > newest;
        let first = edge.first_pending();
        edge.reports.answered(first);
        let check = matches!(&result, Ok(applied) if applied.check);
        let checked = if check { edge.store().check(now).unwrap() } else { None };
        let found = checked.and_then(|checked| checked.compared);
        if let Some(compared) = &found {
            let differing: Vec<_> = compared.differing.iter().map(|sums| sums.share.collection.as_str()).collect();
            let text = format!("edge {node} compared at {}: differing {differing:?}", compared.revision);
            self.note(&text);
        }
        self.on_edge(wire, |session| match result {
            Ok(Applied { cursor, fills, answered, compared, asks, .. }) => {
                session.applied(now_ms, Durable { cursor, fills, answered, compared, asks });
                found.into_iter().for_each(|compared| session.compared(compared));
            }
            Err(error) => apply_failed(session, now_ms, &error),
        });
        if reported {
            // Of a device that has just moved away.
            self.on_edge(wire, EdgeSession::outbox_changed);
        }
    }

    fn admit(&mut self, wire: u64, node: usize, mut hello: Hello) {
        let now_ms = self.now_ms;
        let held = hello.cursor.is_some().then_some(hello.grants_hash);
        hello.grants_hash = Hash::default();
        let name = self.edges[node].name.clone();
        let (address, database, hello) = ("lab".to_owned(), hello.database, Box::new(hello));
        let others = self.wires.iter().filter(|own| own.id != wire && own.cloud.is_some() && self.edges[own.node].name == name);
        let live = others.filter_map(|own| own.database).next_back();
        let job = AdmitJob { node: name.clone(), serial: None, hello, live, address, transport: "memory" };
        let (answer, touched) = self.cloud.decide(CloudJob::Admit(Box::new(job)), now_ms);
        let Answer::Admitted(answer) = answer.unwrap() else { panic!("no admission") };
        match answer {
            Ok(admitted) => {
                let edges = &self.edges;
                let older = self.wires.iter_mut().filter(|own| edges[own.node].name == name && own.id != wire);
                older.filter_map(|own| own.cloud.as_mut()).for_each(|session| session.close("replaced", "a newer session began"));
                self.wire(wire).into_iter().for_each(|own| own.database = Some(database));
                self.admitted(wire, *admitted, held);
            }
            Err(Denied { reason, renew: true }) => self.on_cloud(wire, |session| session.renew(reason)),
            Err(Denied { reason, .. }) => self.on_cloud(wire, |session| session.refused(reason, 0)),
        }
        self.wake(&touched);
    }

    fn admitted(&mut self, wire: u64, admitted: Admitted, held: Option<Hash>) {
        let now_ms = self.now_ms;
        let Admitted {
            peer,
            session,
            epochs,
            head,
            cursor,
            reset,
            fork,
            taken,
            grants,
            told,
            answer_first,
            labels,
            hashes,
            held: parts,
            ..
        } = admitted;
        if let Some(own) = self.wire(wire) {
            own.peer = Some(peer);
            own.shares = grants.iter().flat_map(|grants| &grants.grants).map(|grant| grant.share.clone()).collect();
        }
        let grants = grants.filter(|grants| reset || held != Some(grants.hash()));
        let admission =
            Admission { session, epochs, head, cursor, reset, fork, taken, grants, told, answer_first, labels, hashes, held: parts };
        self.on_cloud(wire, |own| own.admitted(now_ms, admission));
    }

    fn scan(&mut self, wire: u64, peer: Option<Peer>, scan: &Scan) {
        let now_ms = self.now_ms;
        let Some(peer) = peer else { return };
        let batch = match self.cloud.reader().scan(&ScanRequest { peer, scan }) {
            Err(below @ StoreError::BelowFloor { .. }) => {
                return self.on_cloud(wire, |session| session.close("below_floor", &below.to_string()));
            }
            batch => batch.unwrap(),
        };
        let Some(own) = self.wire(wire) else { return };
        let regranted = batch.grants.as_ref().map(|grants| grants.grants.iter().map(|grant| grant.share.clone()).collect());
        let changed = regranted.is_some();
        own.shares = regranted.unwrap_or_else(|| std::mem::take(&mut own.shares));
        self.on_cloud(wire, |session| {
            session.scanned(now_ms, batch);
            if changed {
                session.changed();
            }
        });
    }

    fn take_writes(&mut self, wire: u64, peer: Option<Peer>, session: u64, writes: Vec<NumberedWrite>) {
        let now_ms = self.now_ms;
        let Some(peer) = peer else { return };
        let (answer, touched) = self.cloud.decide(CloudJob::Take { peer, session, writes: writes.clone() }, now_ms);
        self.on_cloud(wire, |own| match answer {
            Ok(Answer::Taken(taken)) => {
                own.committed(taken.taken, taken.held);
                if let Some(reason) = taken.stop {
                    own.close(&reason.code, &reason.detail);
                }
            }
            Err(Refused::Replaced) => own.close("replaced", "a newer session of this database took its place"),
            _ => own.commit_failed(now_ms, writes),
        });
        self.wake(&touched);
    }

    pub(super) fn wire(&mut self, id: u64) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|own| own.id == id)
    }

    pub(super) fn on_edge(&mut self, wire: u64, act: impl FnOnce(&mut EdgeSession)) {
        if let Some(session) = self.wire(wire).and_then(|own| own.edge.as_mut()) {
            act(session);
        }
    }

    pub(super) fn on_cloud(&mut self, wire: u64, act: impl FnOnce(&mut CloudSession)) {
        if let Some(session) = self.wire(wire).and_then(|own| own.cloud.as_mut()) {
            act(session);
        }
    }
}

fn apply_failed(session: &mut EdgeSession, now_ms: u64, error: &ApplyError) {
    match error {
        ApplyError::DiskLow { .. } => session.apply_failed(now_ms, ApplyFailure::DiskFull, ""),
        ApplyError::Pieces => session.close("parts", &error.to_string()),
        error => session.apply_failed(now_ms, ApplyFailure::Broken, &error.to_string()),
    }
}
