//! Frames that bytes draw: every kind, with numbers and names that lie near each other, so that some of them fit together.

use arbitrary::{Result, Unstructured};
use proto::digest::{Digest, RANGES, RangeSet};
use proto::frame::{
    Ack, Batch, Compared, Content, DefinitionText, Entry, Fill, FillPart, Frame, Grant, GrantDigest, Grants, Held, Hello, NumberedWrite,
    Part, Piece, RangeSums, Reason, Record, Refuse, Repair, Report, Share, Welcome,
};
use proto::ids::{Cursor, DatabaseId, Epoch, EpochStart, Position, Revision};
use proto::limits::{NUMBER_MAX, PART_BYTES_MIN};
use proto::names::{CollectionName, Key};
use proto::op::{Hash, Outcome, Verdict};
use proto::session::handshake::FEATURES;

type Bytes<'a, 'b> = &'a mut Unstructured<'b>;

/// Small, and now and then as large as there is.
pub(super) fn number(bytes: Bytes<'_, '_>) -> Result<u64> {
    Ok(match bytes.int_in_range(0_u8..=39)? {
        39 => bytes.int_in_range(0..=NUMBER_MAX)?,
        38 => NUMBER_MAX,
        small => (small / 2).into(),
    })
}

/// What a clock may say.
fn time(bytes: Bytes<'_, '_>) -> Result<u64> {
    if bytes.ratio(1_u8, 8_u8)? { bytes.arbitrary() } else { Ok(bytes.arbitrary::<u16>()?.into()) }
}

fn revision(bytes: Bytes<'_, '_>) -> Result<Revision> {
    number(bytes).map(Revision)
}

fn collection(bytes: Bytes<'_, '_>) -> Result<CollectionName> {
    bytes.choose(&["c", "d", "_conflicts"]).map(|name| CollectionName::parse(name).expect("a name"))
}

fn key(bytes: Bytes<'_, '_>) -> Result<Key> {
    bytes.choose(&["a", "b", "10248/11", "é"]).map(|key| Key::parse(key).expect("a key"))
}

fn hash(bytes: Bytes<'_, '_>) -> Result<Hash> {
    Ok([bytes.int_in_range(0..=2)?; 16])
}

fn maybe<T>(bytes: Bytes<'_, '_>, make: impl FnOnce(Bytes<'_, '_>) -> Result<T>) -> Result<Option<T>> {
    if bytes.ratio(1_u8, 3_u8)? { make(bytes).map(Some) } else { Ok(None) }
}

fn some<T>(bytes: Bytes<'_, '_>, most: u8, make: impl Fn(Bytes<'_, '_>) -> Result<T>) -> Result<Vec<T>> {
    (0..bytes.int_in_range(0..=most)?).map(|_| make(bytes)).collect()
}

fn text(bytes: Bytes<'_, '_>) -> Result<String> {
    bytes.choose(&["", "lyon", "{}", "{\"id\":1}", "disk_full", "daily_limit", "copied_database"]).map(|text| (*text).to_owned())
}

fn reason(bytes: Bytes<'_, '_>) -> Result<Reason> {
    Ok(Reason { code: text(bytes)?, detail: text(bytes)? })
}

pub(super) fn position(bytes: Bytes<'_, '_>) -> Result<Position> {
    Ok(Position { revision: revision(bytes)?, inside: maybe(bytes, |bytes| Ok((collection(bytes)?, key(bytes)?)))? })
}

fn grant(bytes: Bytes<'_, '_>) -> Result<Grant> {
    let share = Share { collection: collection(bytes)?, partition: maybe(bytes, text)? };
    Ok(Grant { share, since: revision(bytes)?, from: revision(bytes)? })
}

fn ranges(bytes: Bytes<'_, '_>) -> Result<RangeSet> {
    Ok(RangeSet::from_bytes(&[bytes.arbitrary()?; RANGES / 8]).expect("so many bytes are a set"))
}

fn fill(bytes: Bytes<'_, '_>) -> Result<Fill> {
    Ok(Fill { grant: grant(bytes)?, at: position(bytes)?, ranges: maybe(bytes, ranges)? })
}

fn grants(bytes: Bytes<'_, '_>) -> Result<Grants> {
    let definition = |bytes: Bytes<'_, '_>| Ok(DefinitionText { name: collection(bytes)?, revision: revision(bytes)?, json: text(bytes)? });
    Ok(Grants { revision: revision(bytes)?, grants: some(bytes, 3, grant)?, definitions: some(bytes, 2, definition)?, labels: Vec::new() })
}

fn record(bytes: Bytes<'_, '_>) -> Result<Record> {
    let content = match bytes.int_in_range(0_u8..=3)? {
        0 => Content::Deleted,
        1 => Content::Left,
        _ => Content::Value(text(bytes)?),
    };
    Ok(Record {
        collection: collection(bytes)?,
        key: key(bytes)?,
        revision: revision(bytes)?,
        born: revision(bytes)?,
        partition: maybe(bytes, text)?,
        updated_ms: 7,
        writer: "cloud:7".to_owned(),
        actor: None,
        content,
    })
}

fn entry(bytes: Bytes<'_, '_>) -> Result<Entry> {
    if bytes.arbitrary()? {
        return record(bytes).map(Entry::Record);
    }
    let verdict = *bytes.choose(&[Verdict::Applied, Verdict::Merged, Verdict::Flagged, Verdict::Rejected, Verdict::Lost])?;
    let outcome = Outcome { verdict, revision: revision(bytes)?, code: None, detail: None, conflicts: Vec::new() };
    Ok(Entry::Outcome { database: None, number: number(bytes)?, outcome })
}

/// A batch; mostly one that goes on where another may have ended.
pub(super) fn batch(bytes: Bytes<'_, '_>, from: Position) -> Result<Batch> {
    let part = |bytes: Bytes<'_, '_>| Ok(FillPart { fill: fill(bytes)?, done: bytes.arbitrary()?, records: some(bytes, 3, record)? });
    let digest = |bytes: Bytes<'_, '_>| {
        let Grant { share, since, .. } = grant(bytes)?;
        Ok(GrantDigest { share, since, digest: Digest { count: number(bytes)?, sum: 7 } })
    };
    let from = if bytes.ratio(1_u8, 6_u8)? { position(bytes)? } else { from };
    let through =
        if bytes.ratio(1_u8, 3_u8)? { position(bytes)? } else { Position::at(Revision(from.revision.0.saturating_add(1).min(NUMBER_MAX))) };
    Ok(Batch {
        from,
        through,
        at_head: bytes.arbitrary()?,
        grants: maybe(bytes, grants)?,
        entries: some(bytes, 4, entry)?,
        fill: maybe(bytes, part)?,
        digests: some(bytes, 2, digest)?,
        repairs: some(bytes, 1, |bytes| Ok(Repair { grant: grant(bytes)?, ranges: ranges(bytes)? }))?,
        asked: some(bytes, 1, record)?,
        pieces: maybe(bytes, hash)?,
    })
}

pub(super) fn held(bytes: Bytes<'_, '_>) -> Result<Held> {
    Ok(Held { number: number(bytes)?, hash: hash(bytes)?, bytes: bytes.int_in_range(0..=3)? * PART_BYTES_MIN })
}

fn part(bytes: Bytes<'_, '_>) -> Result<Part> {
    let (at, total) = (bytes.int_in_range(0..=4)?, bytes.int_in_range(1..=6)?);
    Ok(Part { at: at * PART_BYTES_MIN, total: total * PART_BYTES_MIN, hash: hash(bytes)? })
}

pub(super) fn write(bytes: Bytes<'_, '_>) -> Result<NumberedWrite> {
    let part = maybe(bytes, part)?;
    let length = if part.is_some() { PART_BYTES_MIN } else { *bytes.choose(&[1, 40, 3_000, 100_000])? };
    Ok(NumberedWrite {
        number: number(bytes)?,
        bytes: vec![7; length],
        rejected: bytes.ratio(1_u8, 16_u8)?,
        hash: maybe(bytes, hash)?,
        fork: maybe(bytes, revision)?,
        part,
    })
}

pub(super) fn hello(bytes: Bytes<'_, '_>) -> Result<Hello> {
    Ok(Hello {
        versions: if bytes.ratio(1_u8, 16_u8)? { (bytes.arbitrary()?, bytes.arbitrary()?) } else { (1, 1) },
        features: some(bytes, 8, |bytes| bytes.choose(FEATURES).map(|name| (*name).to_owned()))?,
        database: DatabaseId([7; 16]),
        session: number(bytes)?,
        epochs: some(bytes, 2, |bytes| Ok(EpochStart { epoch: Epoch(number(bytes)?), first: revision(bytes)? }))?,
        cursor: maybe(bytes, |bytes| Ok(Cursor { epoch: Epoch(1), position: position(bytes)? }))?,
        grants_hash: hash(bytes)?,
        fills: some(bytes, 2, fill)?,
        newest_write: number(bytes)?,
        outbox_first: number(bytes)?,
        gaps: some(bytes, 3, |bytes| Ok((number(bytes)?, number(bytes)?)))?,
        now_ms: time(bytes)?,
        software: String::new(),
        metered: bytes.arbitrary()?,
        report: Report::default(),
        previous: None,
        ticket: Vec::new(),
        paused: maybe(bytes, reason)?,
        held: maybe(bytes, held)?,
    })
}

pub(super) fn welcome(bytes: Bytes<'_, '_>) -> Result<Welcome> {
    Ok(Welcome {
        version: if bytes.ratio(1_u8, 16_u8)? { bytes.arbitrary()? } else { 1 },
        features: FEATURES.iter().map(ToString::to_string).collect(),
        session: number(bytes)?.max(1),
        epochs: Vec::new(),
        head: revision(bytes)?,
        cursor: Cursor { epoch: Epoch(1), position: position(bytes)? },
        reset: bytes.arbitrary()?,
        taken: number(bytes)?,
        grants: maybe(bytes, grants)?,
        now_ms: time(bytes)?,
        ping_ms: bytes.arbitrary()?,
        silence_ms: bytes.arbitrary()?,
        fork: maybe(bytes, revision)?,
        labels: Vec::new(),
        hashes: some(bytes, 3, hash)?,
        held: maybe(bytes, held)?,
    })
}

/// Any frame; a batch goes on at `from`.
pub(super) fn frame(bytes: Bytes<'_, '_>, from: Position) -> Result<Frame> {
    let sums = |bytes: Bytes<'_, '_>| {
        let Grant { share, since, .. } = grant(bytes)?;
        Ok(RangeSums { share, since, sums: vec![bytes.arbitrary()?; RANGES] })
    };
    Ok(match bytes.int_in_range(0_u8..=24)? {
        0 => Frame::Hello(hello(bytes)?),
        1 => Frame::Welcome(welcome(bytes)?),
        2 => {
            let reason = reason(bytes)?;
            Frame::Refuse(Refuse { reason, retry_ms: time(bytes)?, versions: (1, 1), renew: bytes.arbitrary()?, ticket: Vec::new() })
        }
        3 => Frame::Started { session: number(bytes)? },
        4 => Frame::Received { bytes: bytes.arbitrary()? },
        5 => Frame::Nack(reason(bytes)?),
        6 => Frame::Ready,
        7 => Frame::Ping { sent_ms: time(bytes)?, report: maybe(bytes, |_| Ok(Report::default()))? },
        8 => Frame::Pong { sent_ms: time(bytes)?, now_ms: time(bytes)? },
        9 => Frame::Close(reason(bytes)?),
        10 => Frame::Compared(Compared { revision: revision(bytes)?, differing: some(bytes, 2, sums)? }),
        11 => Frame::Verify,
        12 => Frame::Ask(some(bytes, 3, |bytes| Ok((collection(bytes)?, key(bytes)?)))?),
        13 => Frame::Held(held(bytes)?),
        14 | 15 => {
            let part = part(bytes)?;
            Frame::Piece(Piece { part, bytes: vec![b'7'; PART_BYTES_MIN] })
        }
        16 => Frame::Taken { number: number(bytes)? },
        17..=19 => Frame::Writes(some(bytes, 4, write)?),
        20 | 21 => Frame::Ack(Ack { cursor: position(bytes)?, fills: some(bytes, 2, fill)?, answered: number(bytes)? }),
        _ => Frame::Batch(batch(bytes, from)?),
    })
}
