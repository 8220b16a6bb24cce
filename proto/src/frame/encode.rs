//! Frames to bytes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use prost::Message;

use super::compress::pack;
use super::{
    Ack, Batch, Compared, Content, Devices, Entry, Fill, FillPart, Frame, Grant, GrantDigest, Grants, Held, Hello, NumberedWrite, Piece,
    RangeSums, Reason, Record, Refuse, Repair, Report, Welcome,
};
use crate::ids::{Cursor, EpochStart, Position};
use crate::names::{CollectionName, Key};
use crate::op::Verdict;
use crate::wire::{self, frame::Body};

impl Frame {
    /// The frame's bytes. That they stay below [`crate::limits::FRAME_BYTES`] is the sender's care.
    pub fn encode(&self) -> Vec<u8> {
        wire::Frame { body: Some(self.body()) }.encode_to_vec()
    }

    /// The frame's bytes for a peer with which compression was agreed: compressed where that is allowed and worth it.
    pub fn encode_compressed(&self) -> Vec<u8> {
        let bytes = self.encode();
        let plain = matches!(self, Self::Hello(_) | Self::Welcome(_) | Self::Refuse(_));
        match (!plain).then(|| pack(&bytes)).flatten() {
            Some(packed) => wire::Frame { body: Some(Body::Compressed(packed)) }.encode_to_vec(),
            None => bytes,
        }
    }

    fn body(&self) -> Body {
        match self {
            Self::Hello(hello) => Body::Hello(encode_hello(hello)),
            Self::Welcome(welcome) => Body::Welcome(encode_welcome(welcome)),
            Self::Refuse(refuse) => Body::Refuse(encode_refuse(refuse)),
            Self::Started { session } => Body::Started(wire::Started { session: *session }),
            Self::Batch(batch) => Body::Batch(encode_batch(batch)),
            Self::Ack(Ack { cursor, fills, answered }) => {
                Body::Ack(wire::Ack { cursor: Some(position(cursor)), fills: fills.iter().map(fill).collect(), answered: *answered })
            }
            Self::Received { bytes } => Body::Received(wire::Received { bytes: *bytes }),
            Self::Nack(reason) => Body::Nack(nack(reason)),
            Self::Ready => Body::Ready(wire::Ready {}),
            Self::Writes(writes) => Body::Writes(wire::Writes { writes: writes.iter().map(numbered).collect() }),
            Self::Taken { number } => Body::Taken(wire::Taken { number: *number }),
            Self::Ping { sent_ms, report } => Body::Ping(wire::Ping { sent_ms: *sent_ms, report: report.as_ref().map(encode_report) }),
            Self::Pong { sent_ms, now_ms } => Body::Pong(wire::Pong { sent_ms: *sent_ms, now_ms: *now_ms }),
            Self::Close(Reason { code, detail }) => Body::Close(wire::Close { code: code.clone(), detail: detail.clone() }),
            Self::Compared(compared) => Body::Compared(encode_compared(compared)),
            Self::Verify => Body::Verify(wire::Verify {}),
            Self::Ask(records) => {
                Body::Ask(wire::Ask { records: records.iter().map(|(collection, key)| inside(collection, key)).collect() })
            }
            Self::Held(own) => Body::Held(held(own)),
            Self::Piece(Piece { part, bytes }) => {
                Body::Piece(wire::Piece { hash: part.hash.to_vec(), total: part.total as u64, at: part.at as u64, bytes: bytes.clone() })
            }
        }
    }
}

impl Record {
    /// About how many bytes the record takes on the wire, for the bound of a batch.
    pub fn wire_len(&self) -> usize {
        let content = match &self.content {
            Content::Value(text) => text.len(),
            Content::Deleted | Content::Left => 2,
        };
        content
            + self.collection.as_str().len()
            + self.key.as_str().len()
            + self.partition.as_ref().map_or(0, alloc::string::String::len)
            + self.writer.len()
            + self.actor.as_ref().map_or(0, alloc::string::String::len)
            + 40
    }
}

impl Batch {
    /// Whether it holds nothing that an edge would store beside the cursor.
    pub fn is_empty(&self) -> bool {
        let extras = self.digests.is_empty() && self.repairs.is_empty() && self.asked.is_empty();
        self.grants.is_none() && self.entries.is_empty() && self.fill.is_none() && extras
    }

    /// About how many bytes the batch takes on the wire. Both sides count the window with it.
    pub fn wire_len(&self) -> usize {
        let entry = |entry: &Entry| match entry {
            Entry::Record(record) => record.wire_len(),
            Entry::Outcome { outcome, .. } => outcome_len(outcome),
        };
        let grants = |grants: &Grants| {
            let grant =
                |grant: &Grant| grant.share.collection.as_str().len() + grant.share.partition.as_ref().map_or(0, |own| own.len()) + 24;
            let definition = |definition: &super::DefinitionText| definition.name.as_str().len() + definition.json.len() + 16;
            grants.grants.iter().map(grant).sum::<usize>() + grants.definitions.iter().map(definition).sum::<usize>()
        };
        let fill = |part: &FillPart| part.records.iter().map(Record::wire_len).sum::<usize>() + 64;
        let entries = self.entries.iter().map(entry).sum::<usize>();
        let asked = self.asked.iter().map(Record::wire_len).sum::<usize>();
        let extras = asked + 64 * (self.digests.len() + self.repairs.len());
        entries + self.grants.as_ref().map_or(0, grants) + self.fill.as_ref().map_or(0, fill) + extras + 32
    }
}

fn outcome_len(outcome: &crate::op::Outcome) -> usize {
    let text = |text: &Option<alloc::string::String>| text.as_ref().map_or(0, |own| own.len());
    text(&outcome.code) + text(&outcome.detail) + outcome.conflicts.iter().map(|id| id.len() + 2).sum::<usize>() + 24
}

impl NumberedWrite {
    /// About how many bytes the write takes on the wire. Both sides count the window with it.
    pub fn wire_len(&self) -> usize {
        self.bytes.len() + 16
    }
}

fn position(at: &Position) -> wire::Position {
    let inside = at.inside.as_ref().map(|(collection, key)| inside(collection, key));
    wire::Position { revision: at.revision.0, inside }
}

fn inside(collection: &CollectionName, key: &Key) -> wire::Inside {
    wire::Inside { collection: collection.to_string(), key: key.to_string() }
}

fn cursor(at: &Cursor) -> wire::Cursor {
    wire::Cursor { epoch: at.epoch.0, position: Some(position(&at.position)) }
}

fn epoch(start: &EpochStart) -> wire::EpochStart {
    wire::EpochStart { epoch: start.epoch.0, first: start.first.0 }
}

fn fill(fill: &Fill) -> wire::Fill {
    let Grant { share, since, from } = &fill.grant;
    wire::Fill {
        collection: share.collection.to_string(),
        partition: share.partition.clone(),
        since: since.0,
        from: from.0,
        at: Some(position(&fill.at)),
        ranges: fill.ranges.as_ref().map(|ranges| ranges.to_bytes().to_vec()).unwrap_or_default(),
    }
}

fn numbered(write: &NumberedWrite) -> wire::NumberedWrite {
    wire::NumberedWrite {
        number: write.number,
        write: write.bytes.clone(),
        rejected: write.rejected,
        hash: write.hash.map(|hash| hash.to_vec()).unwrap_or_default(),
        fork: write.fork.map(|fork| fork.0),
        part: write.part.map(|part| wire::Part { at: part.at as u64, total: part.total as u64, hash: part.hash.to_vec() }),
    }
}

fn held(own: &Held) -> wire::Held {
    wire::Held { number: own.number, hash: own.hash.to_vec(), bytes: own.bytes as u64 }
}

fn encode_report(report: &Report) -> wire::Report {
    wire::Report {
        outbox_writes: report.outbox_writes,
        outbox_oldest_ms: report.outbox_oldest_ms,
        warnings: report.warnings.clone(),
        devices: report.devices.map(encode_devices),
    }
}

fn encode_devices(devices: Devices) -> wire::Devices {
    let Devices { broker, broker_since_ms, updates, kept, coalesced, waiting, refused, unknown } = devices;
    wire::Devices { broker, broker_since_ms, updates, kept, coalesced, waiting, refused, unknown }
}

fn encode_hello(hello: &Hello) -> wire::Hello {
    wire::Hello {
        version_min: hello.versions.0,
        version_max: hello.versions.1,
        features: hello.features.clone(),
        database: hello.database.0.to_vec(),
        session: hello.session,
        epochs: hello.epochs.iter().map(epoch).collect(),
        cursor: hello.cursor.as_ref().map(cursor),
        grants_hash: hello.grants_hash.to_vec(),
        fills: hello.fills.iter().map(fill).collect(),
        newest_write: hello.newest_write,
        outbox_first: hello.outbox_first,
        gaps: hello.gaps.iter().map(|(first, last)| wire::Range { first: *first, last: *last }).collect(),
        now_ms: hello.now_ms,
        software: hello.software.clone(),
        metered: hello.metered,
        outbox_writes: hello.report.outbox_writes,
        outbox_oldest_ms: hello.report.outbox_oldest_ms,
        previous: hello.previous.map(|id| id.0.to_vec()).unwrap_or_default(),
        ticket: hello.ticket.clone(),
        paused: hello.paused.as_ref().map(nack),
        held: hello.held.as_ref().map(held),
    }
}

fn nack(reason: &Reason) -> wire::Nack {
    wire::Nack { code: reason.code.clone(), detail: reason.detail.clone() }
}

fn encode_welcome(welcome: &Welcome) -> wire::Welcome {
    wire::Welcome {
        version: welcome.version,
        features: welcome.features.clone(),
        session: welcome.session,
        epochs: welcome.epochs.iter().map(epoch).collect(),
        head: welcome.head.0,
        cursor: Some(cursor(&welcome.cursor)),
        reset: welcome.reset,
        taken: welcome.taken,
        grants: welcome.grants.as_ref().map(encode_grants),
        now_ms: welcome.now_ms,
        ping_ms: welcome.ping_ms,
        silence_ms: welcome.silence_ms,
        fork: welcome.fork.map(|fork| fork.0),
        labels: encode_labels(&welcome.labels),
        hashes: welcome.hashes.concat(),
        held: welcome.held.as_ref().map(held),
    }
}

fn encode_refuse(refuse: &Refuse) -> wire::Refuse {
    wire::Refuse {
        code: refuse.reason.code.clone(),
        detail: refuse.reason.detail.clone(),
        retry_ms: refuse.retry_ms,
        version_min: refuse.versions.0,
        version_max: refuse.versions.1,
        renew: refuse.renew,
        ticket: refuse.ticket.clone(),
    }
}

fn encode_grants(grants: &Grants) -> wire::Grants {
    let definition = |definition: &super::DefinitionText| wire::Definition {
        name: definition.name.to_string(),
        revision: definition.revision.0,
        json: definition.json.clone(),
    };
    wire::Grants {
        revision: grants.revision.0,
        grants: grants.grants.iter().map(encode_grant).collect(),
        definitions: grants.definitions.iter().map(definition).collect(),
        labels: encode_labels(&grants.labels),
    }
}

fn encode_labels(labels: &[(String, String)]) -> Vec<wire::Label> {
    labels.iter().map(|(name, value)| wire::Label { name: name.clone(), value: value.clone() }).collect()
}

fn encode_grant(grant: &Grant) -> wire::Grant {
    wire::Grant {
        collection: grant.share.collection.to_string(),
        partition: grant.share.partition.clone(),
        since: grant.since.0,
        from: grant.from.0,
    }
}

fn encode_compared(compared: &Compared) -> wire::Compared {
    let sums = |own: &RangeSums| wire::RangeSums {
        collection: own.share.collection.to_string(),
        partition: own.share.partition.clone(),
        since: own.since.0,
        sums: own.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect(),
    };
    wire::Compared { revision: compared.revision.0, differing: compared.differing.iter().map(sums).collect() }
}

fn encode_digest(own: &GrantDigest) -> wire::Digest {
    wire::Digest {
        collection: own.share.collection.to_string(),
        partition: own.share.partition.clone(),
        since: own.since.0,
        count: own.digest.count,
        sum: own.digest.sum.to_le_bytes().to_vec(),
    }
}

fn encode_batch(batch: &Batch) -> wire::Batch {
    let part = |part: &FillPart| wire::FillPart {
        fill: Some(fill(&part.fill)),
        done: part.done,
        records: part.records.iter().map(record).collect(),
    };
    let repair = |repair: &Repair| wire::Repair { grant: Some(encode_grant(&repair.grant)), ranges: repair.ranges.to_bytes().to_vec() };
    wire::Batch {
        from: Some(position(&batch.from)),
        through: Some(position(&batch.through)),
        at_head: batch.at_head,
        grants: batch.grants.as_ref().map(encode_grants),
        entries: batch.entries.iter().map(entry).collect(),
        fill: batch.fill.as_ref().map(part),
        digests: batch.digests.iter().map(encode_digest).collect(),
        repairs: batch.repairs.iter().map(repair).collect(),
        asked: batch.asked.iter().map(record).collect(),
        pieces: batch.pieces.map(|hash| hash.to_vec()).unwrap_or_default(),
    }
}

fn entry(entry: &Entry) -> wire::Entry {
    let body = match entry {
        Entry::Record(own) => wire::entry::Body::Record(record(own)),
        Entry::Outcome { database, number, outcome } => wire::entry::Body::Outcome(wire::Outcome {
            number: *number,
            revision: outcome.revision.0,
            verdict: verdict(outcome.verdict).into(),
            code: outcome.code.clone().unwrap_or_default(),
            detail: outcome.detail.clone().unwrap_or_default(),
            conflicts: outcome.conflicts.clone(),
            database: database.map(|id| id.0.to_vec()).unwrap_or_default(),
        }),
    };
    wire::Entry { body: Some(body) }
}

fn verdict(verdict: Verdict) -> wire::Verdict {
    match verdict {
        Verdict::Applied => wire::Verdict::Applied,
        Verdict::Merged => wire::Verdict::Merged,
        Verdict::Flagged => wire::Verdict::Flagged,
        Verdict::Rejected => wire::Verdict::Rejected,
        Verdict::Lost => wire::Verdict::Lost,
    }
}

fn record(record: &Record) -> wire::Record {
    wire::Record {
        collection: record.collection.to_string(),
        key: record.key.to_string(),
        revision: record.revision.0,
        born: record.born.0,
        partition: record.partition.clone(),
        updated_ms: record.updated_ms,
        writer: record.writer.clone(),
        actor: record.actor.clone().unwrap_or_default(),
        content: Some(match &record.content {
            Content::Value(text) => wire::record::Content::Value(text.clone()),
            Content::Deleted => wire::record::Content::Deleted(true),
            Content::Left => wire::record::Content::Left(true),
        }),
    }
}
