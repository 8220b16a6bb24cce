//! Frames from bytes: every name, list and number of a hostile peer is checked here, once.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use prost::Message;

use super::compress::unpack;
use super::{
    Ack, Batch, Compared, Content, DefinitionText, Devices, Entry, Fill, FillPart, Frame, Grant, GrantDigest, Grants, Held, Hello,
    Malformed, NumberedWrite, Part, Piece, RangeSums, Reason, Record, Refuse, Repair, Report, Share, Welcome, some_text,
};
use crate::digest::{Digest, RANGES, RangeSet};
use crate::ids::{Cursor, DatabaseId, Epoch, EpochStart, Position, Revision};
use crate::limits::{
    ASK_RECORDS, BATCH_RECORDS, CONFLICT_BYTES, EPOCHS_KEPT, FRAME_BYTES, HELLO_LIST, NUMBER_MAX, PART_BYTES_MIN, READ_BYTES,
    READ_UNWEIGHED, REASON_CODE, REASON_DETAIL, TICKET_BYTES, UNACKED_WRITES,
};
use crate::names::{CollectionName, Key};
use crate::op::{Hash, Outcome, Verdict};
use crate::wire::{self, frame::Body, weight};

impl Frame {
    /// Reads one frame, which must not be compressed.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::of_body(body(bytes)?)
    }

    /// Reads one frame from a peer with which compression was agreed.
    pub fn decode_compressed(bytes: &[u8]) -> Result<Self, Malformed> {
        match body(bytes)? {
            Body::Compressed(packed) => Self::decode(&unpack(&packed)?),
            body => Self::of_body(body),
        }
    }

    fn of_body(body: Body) -> Result<Self, Malformed> {
        Ok(match body {
            Body::Compressed(_) => return Err(Malformed::new("frame", "compressed, where that was not agreed")),
            Body::Hello(hello) => Self::Hello(decode_hello(hello)?),
            Body::Welcome(welcome) => Self::Welcome(decode_welcome(welcome)?),
            Body::Refuse(refuse) => Self::Refuse(decode_refuse(refuse)),
            Body::Started(started) => Self::Started { session: number(started.session)? },
            Body::Batch(batch) => Self::Batch(decode_batch(batch)?),
            Body::Ack(ack) => {
                Self::Ack(Ack { cursor: position(ack.cursor)?, fills: list(ack.fills, fill)?, answered: number(ack.answered)? })
            }
            Body::Received(received) => Self::Received { bytes: received.bytes },
            Body::Nack(reason) => Self::Nack(nack(reason)),
            Body::Ready(_) => Self::Ready,
            Body::Writes(writes) => Self::Writes(writes.writes.into_iter().map(numbered).collect::<Result<_, _>>()?),
            Body::Taken(taken) => Self::Taken { number: number(taken.number)? },
            Body::Ping(ping) => Self::Ping { sent_ms: ping.sent_ms, report: ping.report.map(report) },
            Body::Pong(pong) => Self::Pong { sent_ms: pong.sent_ms, now_ms: pong.now_ms },
            Body::Close(close) => Self::Close(reason(&close.code, &close.detail)),
            Body::Compared(compared) => {
                Self::Compared(Compared { revision: revision(compared.revision)?, differing: list(compared.differing, range_sums)? })
            }
            Body::Verify(_) => Self::Verify,
            Body::Ask(ask) if ask.records.len() > ASK_RECORDS => return Err(Malformed::new("ask", "more records than one may name")),
            Body::Ask(ask) => Self::Ask(list(ask.records, inside)?),
            Body::Held(own) => Self::Held(held(own)?),
            Body::Piece(own) => Self::Piece(piece(own)?),
        })
    }
}

fn body(bytes: &[u8]) -> Result<Body, Malformed> {
    if bytes.len() > FRAME_BYTES {
        return Err(Malformed::new("frame", "larger than 4 MiB"));
    }
    if bytes.len() > READ_UNWEIGHED && weight::of_frame(bytes) > READ_BYTES {
        return Err(Malformed::new("frame", "of more entries than a frame may have"));
    }
    let frame = wire::Frame::decode(bytes).map_err(|error| Malformed::new("frame", error))?;
    frame.body.ok_or_else(|| Malformed::new("frame", "of no kind that this version knows"))
}

fn list<W, T>(items: Vec<W>, read: impl Fn(W) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    if items.len() > HELLO_LIST {
        return Err(Malformed::new("list", "longer than 20,000 entries"));
    }
    items.into_iter().map(read).collect()
}

fn need<T>(what: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::new(what, "missing"))
}

/// A revision, or the number of a write or a session: what a store can keep.
fn number(number: u64) -> Result<u64, Malformed> {
    if number > NUMBER_MAX { Err(Malformed::new("number", "of 2^63 or more")) } else { Ok(number) }
}

fn revision(revision: u64) -> Result<Revision, Malformed> {
    number(revision).map(Revision)
}

/// A peer's words: they are shown and logged, on one line, and not all of 4 MiB.
fn reason(code: &str, detail: &str) -> Reason {
    let words = |text: &str, most: usize| text.chars().take(most).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    Reason { code: words(code, REASON_CODE), detail: words(detail, REASON_DETAIL) }
}

fn bytes16(what: &'static str, bytes: Vec<u8>) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed::new(what, "not 16 bytes"))
}

fn collection(name: &str) -> Result<CollectionName, Malformed> {
    CollectionName::parse(name).map_err(|error| Malformed::new("collection", error))
}

fn key(key: &str) -> Result<Key, Malformed> {
    Key::parse(key).map_err(|error| Malformed::new("key", error))
}

fn position(at: Option<wire::Position>) -> Result<Position, Malformed> {
    let at = need("position", at)?;
    let inside = at.inside.map(inside).transpose()?;
    Ok(Position { revision: revision(at.revision)?, inside })
}

fn inside(place: wire::Inside) -> Result<(CollectionName, Key), Malformed> {
    Ok((collection(&place.collection)?, key(&place.key)?))
}

fn ranges(bytes: &[u8]) -> Result<RangeSet, Malformed> {
    RangeSet::from_bytes(bytes).ok_or_else(|| Malformed::new("ranges", "not 32 bytes"))
}

fn sum(bytes: &[u8]) -> Result<u128, Malformed> {
    Ok(u128::from_le_bytes(bytes.try_into().map_err(|_| Malformed::new("sum", "not 16 bytes"))?))
}

fn range_sums(own: wire::RangeSums) -> Result<RangeSums, Malformed> {
    if own.sums.len() != 16 * RANGES {
        return Err(Malformed::new("sums", "not 256 of 16 bytes"));
    }
    Ok(RangeSums {
        share: share(&own.collection, own.partition)?,
        since: revision(own.since)?,
        sums: own.sums.chunks(16).map(sum).collect::<Result<_, _>>()?,
    })
}

fn digest(own: wire::Digest) -> Result<GrantDigest, Malformed> {
    Ok(GrantDigest {
        share: share(&own.collection, own.partition)?,
        since: revision(own.since)?,
        digest: Digest { count: own.count, sum: sum(&own.sum)? },
    })
}

fn share(name: &str, partition: Option<String>) -> Result<Share, Malformed> {
    Ok(Share { collection: collection(name)?, partition })
}

fn grant(grant: wire::Grant) -> Result<Grant, Malformed> {
    Ok(Grant { share: share(&grant.collection, grant.partition)?, since: revision(grant.since)?, from: revision(grant.from)? })
}

fn cursor(at: wire::Cursor) -> Result<Cursor, Malformed> {
    Ok(Cursor { epoch: Epoch(at.epoch), position: position(at.position)? })
}

fn epochs(starts: Vec<wire::EpochStart>) -> Result<Vec<EpochStart>, Malformed> {
    let skip = starts.len().saturating_sub(EPOCHS_KEPT);
    starts.into_iter().skip(skip).map(|start| Ok(EpochStart { epoch: Epoch(start.epoch), first: revision(start.first)? })).collect()
}

fn fill(fill: wire::Fill) -> Result<Fill, Malformed> {
    let ranges = if fill.ranges.is_empty() { None } else { Some(ranges(&fill.ranges)?) };
    let share = share(&fill.collection, fill.partition)?;
    Ok(Fill { grant: Grant { share, since: revision(fill.since)?, from: revision(fill.from)? }, at: position(fill.at)?, ranges })
}

fn numbered(write: wire::NumberedWrite) -> Result<NumberedWrite, Malformed> {
    let hash = if write.hash.is_empty() { None } else { Some(bytes16("hash", write.hash)?) };
    if write.part.is_some() && write.rejected {
        return Err(Malformed::new("part", "of a write without content"));
    }
    let part = write.part.map(|own| part(own, write.write.len())).transpose()?;
    Ok(NumberedWrite {
        number: number(write.number)?,
        bytes: write.write,
        rejected: write.rejected,
        hash,
        fork: write.fork.map(revision).transpose()?,
        part,
    })
}

/// A part of so many bytes: inside its whole, which fits a frame, and large enough unless it ends it.
fn part(own: wire::Part, len: usize) -> Result<Part, Malformed> {
    let wrong = |why| Malformed::new("part", why);
    let (at, total) = (length(own.at)?, length(own.total)?);
    match at.checked_add(len).map(|end| end.cmp(&total)) {
        Some(Ordering::Equal) if len > 0 => {}
        Some(Ordering::Less) if len >= PART_BYTES_MIN => {}
        Some(Ordering::Greater) | None => return Err(wrong("beyond the end of its write")),
        Some(_) => return Err(wrong("of less than 16 KiB, and not the last")),
    }
    Ok(Part { at, total, hash: bytes16("part", own.hash)? })
}

fn piece(own: wire::Piece) -> Result<Piece, Malformed> {
    let wire::Piece { hash, total, at, bytes } = own;
    if total > CONFLICT_BYTES as u64 {
        return Err(Malformed::new("piece", "of a value larger than 2 MiB"));
    }
    Ok(Piece { part: part(wire::Part { at, total, hash }, bytes.len())?, bytes })
}

fn held(own: wire::Held) -> Result<Held, Malformed> {
    Ok(Held { number: number(own.number)?, hash: bytes16("held", own.hash)?, bytes: length(own.bytes)? })
}

/// Bytes of something that fits a frame.
fn length(bytes: u64) -> Result<usize, Malformed> {
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= FRAME_BYTES).ok_or_else(|| Malformed::new("part", "of more than 4 MiB"))
}

fn report(report: wire::Report) -> Report {
    let warnings = report.warnings.into_iter().take(32).map(|text| text.chars().take(500).collect::<String>()).collect();
    let devices = report.devices.map(devices);
    Report { outbox_writes: report.outbox_writes, outbox_oldest_ms: report.outbox_oldest_ms, warnings, devices }
}

fn devices(devices: wire::Devices) -> Devices {
    let wire::Devices { broker, broker_since_ms, updates, kept, coalesced, waiting, refused, unknown } = devices;
    Devices { broker, broker_since_ms, updates, kept, coalesced, waiting, refused, unknown }
}

fn decode_hello(hello: wire::Hello) -> Result<Hello, Malformed> {
    Ok(Hello {
        versions: (hello.version_min, hello.version_max),
        features: hello.features.into_iter().take(64).collect(),
        database: DatabaseId(bytes16("database", hello.database)?),
        session: number(hello.session)?,
        epochs: epochs(hello.epochs)?,
        cursor: hello.cursor.map(cursor).transpose()?,
        grants_hash: bytes16("grants_hash", hello.grants_hash)?,
        fills: list(hello.fills, fill)?,
        newest_write: number(hello.newest_write)?,
        outbox_first: number(hello.outbox_first)?,
        gaps: list(hello.gaps, |gap| Ok((number(gap.first)?, gap.last.min(NUMBER_MAX))))?,
        now_ms: hello.now_ms,
        software: hello.software.chars().take(64).collect(),
        metered: hello.metered,
        report: Report { outbox_writes: hello.outbox_writes, outbox_oldest_ms: hello.outbox_oldest_ms, ..Report::default() },
        previous: if hello.previous.is_empty() { None } else { Some(DatabaseId(bytes16("previous", hello.previous)?)) },
        ticket: ticket(hello.ticket),
        paused: hello.paused.map(nack),
        held: hello.held.map(held).transpose()?,
    })
}

fn nack(nack: wire::Nack) -> Reason {
    reason(&nack.code, &nack.detail)
}

fn decode_welcome(welcome: wire::Welcome) -> Result<Welcome, Malformed> {
    Ok(Welcome {
        version: welcome.version,
        features: welcome.features,
        session: number(welcome.session)?,
        epochs: epochs(welcome.epochs)?,
        head: revision(welcome.head)?,
        cursor: cursor(need("cursor", welcome.cursor)?)?,
        reset: welcome.reset,
        taken: number(welcome.taken)?,
        grants: welcome.grants.map(decode_grants).transpose()?,
        now_ms: welcome.now_ms,
        ping_ms: welcome.ping_ms,
        silence_ms: welcome.silence_ms,
        fork: welcome.fork.map(revision).transpose()?,
        labels: labels(welcome.labels)?,
        hashes: hashes(&welcome.hashes)?,
        held: welcome.held.map(held).transpose()?,
    })
}

/// A list of hashes in one field; no more than there can be unacknowledged writes.
fn hashes(bytes: &[u8]) -> Result<Vec<Hash>, Malformed> {
    let (hashes, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() || hashes.len() as u64 > UNACKED_WRITES {
        return Err(Malformed::new("hashes", "not a list of 16 bytes each"));
    }
    Ok(hashes.to_vec())
}

fn labels(labels: Vec<wire::Label>) -> Result<Vec<(String, String)>, Malformed> {
    list(labels, |label| Ok((label.name, label.value)))
}

/// A longer one is none that this build gives out or keeps.
fn ticket(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() <= TICKET_BYTES { bytes } else { Vec::new() }
}

fn decode_refuse(refuse: wire::Refuse) -> Refuse {
    Refuse {
        reason: reason(&refuse.code, &refuse.detail),
        retry_ms: refuse.retry_ms,
        versions: (refuse.version_min, refuse.version_max),
        renew: refuse.renew,
        ticket: ticket(refuse.ticket),
    }
}

fn decode_grants(grants: wire::Grants) -> Result<Grants, Malformed> {
    let definition = |definition: wire::Definition| {
        Ok(DefinitionText { name: collection(&definition.name)?, revision: revision(definition.revision)?, json: definition.json })
    };
    Ok(Grants {
        revision: revision(grants.revision)?,
        grants: list(grants.grants, grant)?,
        definitions: list(grants.definitions, definition)?,
        labels: labels(grants.labels)?,
    })
}

fn decode_batch(batch: wire::Batch) -> Result<Batch, Malformed> {
    let part = |part: wire::FillPart| {
        let fill = fill(need("fill", part.fill)?)?;
        Ok(FillPart { fill, done: part.done, records: part.records.into_iter().map(record).collect::<Result<_, _>>()? })
    };
    if batch.entries.len() > 2 * BATCH_RECORDS || batch.asked.len() > BATCH_RECORDS {
        return Err(Malformed::new("batch", "more entries than a batch may have"));
    }
    Ok(Batch {
        from: position(batch.from)?,
        through: position(batch.through)?,
        at_head: batch.at_head,
        grants: batch.grants.map(decode_grants).transpose()?,
        entries: batch.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        fill: batch.fill.map(part).transpose()?,
        digests: list(batch.digests, digest)?,
        repairs: list(batch.repairs, |repair| Ok(Repair { grant: grant(need("grant", repair.grant)?)?, ranges: ranges(&repair.ranges)? }))?,
        asked: batch.asked.into_iter().map(record).collect::<Result<_, _>>()?,
        pieces: if batch.pieces.is_empty() { None } else { Some(bytes16("pieces", batch.pieces)?) },
    })
}

fn entry(entry: wire::Entry) -> Result<Entry, Malformed> {
    match need("entry", entry.body)? {
        wire::entry::Body::Record(own) => Ok(Entry::Record(record(own)?)),
        wire::entry::Body::Outcome(own) => outcome(own),
    }
}

fn outcome(outcome: wire::Outcome) -> Result<Entry, Malformed> {
    let verdict = match outcome.verdict() {
        wire::Verdict::Applied => Verdict::Applied,
        wire::Verdict::Merged => Verdict::Merged,
        wire::Verdict::Flagged => Verdict::Flagged,
        wire::Verdict::Rejected => Verdict::Rejected,
        wire::Verdict::Lost => Verdict::Lost,
        wire::Verdict::Unspecified => return Err(Malformed::new("outcome", "a verdict that this version does not know")),
    };
    let database = if outcome.database.is_empty() { None } else { Some(DatabaseId(bytes16("database", outcome.database)?)) };
    let revision = Revision(outcome.revision);
    let (code, detail) = (some_text(outcome.code), some_text(outcome.detail));
    let outcome_number = number(outcome.number)?;
    Ok(Entry::Outcome {
        database,
        number: outcome_number,
        outcome: Outcome { verdict, revision, code, detail, conflicts: outcome.conflicts },
    })
}

fn record(record: wire::Record) -> Result<Record, Malformed> {
    let content = match need("content", record.content)? {
        wire::record::Content::Value(text) if text.len() > CONFLICT_BYTES => return Err(Malformed::new("value", "larger than 2 MiB")),
        wire::record::Content::Value(text) => Content::Value(text),
        wire::record::Content::Deleted(_) => Content::Deleted,
        wire::record::Content::Left(_) => Content::Left,
    };
    Ok(Record {
        collection: collection(&record.collection)?,
        key: key(&record.key)?,
        revision: revision(record.revision)?,
        born: revision(record.born)?,
        partition: record.partition,
        updated_ms: record.updated_ms,
        writer: record.writer,
        actor: some_text(record.actor),
        content,
    })
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
