//! Frames survive the wire unchanged, and no bytes of a peer do harm.
#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use proto::clock::Hlc;
use proto::digest::{Digest, RANGES, RangeSet};
use proto::frame::{
    Ack, Batch, Compared, Content, DefinitionText, Devices, Entry, Fill, FillPart, Frame, Grant, GrantDigest, Grants, Held, Hello,
    NumberedWrite, Part, Piece, RangeSums, Reason, Record, Refuse, Repair, Report, Share, Welcome,
};
use proto::ids::{Cursor, DatabaseId, Epoch, EpochStart, Position, Revision};
use proto::limits::{FRAME_BYTES, HELLO_LIST, NUMBER_MAX, PING_METERED_MS, REASON_CODE, REASON_DETAIL, RETRY_MS_MAX, SILENCE_METERED_MS};
use proto::names::{CollectionName, Key};
use proto::op::{Op, Outcome, Verdict, Write};
use proto::session::cloud::CloudSession;
use proto::session::edge::{Durable, EdgeSession, Effect};
use proto::wire::{self, frame::Body};

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn some_text() -> impl Strategy<Value = Option<String>> {
    option::of("\\PC{1,12}")
}

/// What a store can keep.
fn number() -> impl Strategy<Value = u64> {
    0..=NUMBER_MAX
}

fn revision() -> impl Strategy<Value = Revision> {
    number().prop_map(Revision)
}

fn collection() -> impl Strategy<Value = CollectionName> {
    "_?[a-z][a-z0-9_-]{0,20}".prop_map(|name| CollectionName::parse(&name).unwrap())
}

fn key() -> impl Strategy<Value = Key> {
    "[^\\pC.]{1,20}".prop_map(|key| Key::parse(&key).unwrap())
}

fn position() -> impl Strategy<Value = Position> {
    (revision(), option::of((collection(), key()))).prop_map(|(revision, inside)| Position { revision, inside })
}

fn epochs() -> impl Strategy<Value = Vec<EpochStart>> {
    vec((any::<u64>(), revision()).prop_map(|(epoch, first)| EpochStart { epoch: Epoch(epoch), first }), 0..5)
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (any::<u64>(), position()).prop_map(|(epoch, position)| Cursor { epoch: Epoch(epoch), position })
}

fn grant() -> impl Strategy<Value = Grant> {
    let share = (collection(), option::of(text())).prop_map(|(collection, partition)| Share { collection, partition });
    (share, revision(), revision()).prop_map(|(share, since, from)| Grant { share, since, from })
}

fn grants() -> impl Strategy<Value = Grants> {
    let definition = (collection(), revision(), text()).prop_map(|(name, revision, json)| DefinitionText { name, revision, json });
    (revision(), vec(grant(), 0..4), vec(definition, 0..3), labels()).prop_map(|(revision, grants, definitions, labels)| Grants {
        revision,
        grants,
        definitions,
        labels,
    })
}

fn ranges() -> impl Strategy<Value = RangeSet> {
    any::<[u8; RANGES / 8]>().prop_map(|bytes| RangeSet::from_bytes(&bytes).unwrap())
}

fn range_sums() -> impl Strategy<Value = RangeSums> {
    (grant(), any::<u128>()).prop_map(|(Grant { share, since, .. }, sum)| RangeSums { share, since, sums: vec![sum; RANGES] })
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..3)
}

fn fill() -> impl Strategy<Value = Fill> {
    (grant(), position(), option::of(ranges())).prop_map(|(grant, at, ranges)| Fill { grant, at, ranges })
}

fn record() -> impl Strategy<Value = Record> {
    let content = prop_oneof![text().prop_map(Content::Value), Just(Content::Deleted), Just(Content::Left)];
    let head = (collection(), key(), revision(), revision());
    (head, option::of(text()), any::<u64>(), text(), some_text(), content).prop_map(
        |((collection, key, revision, born), partition, updated_ms, writer, actor, content)| Record {
            collection,
            key,
            revision,
            born,
            partition,
            updated_ms,
            writer,
            actor,
            content,
        },
    )
}

fn outcome() -> impl Strategy<Value = Entry> {
    let verdicts = [Verdict::Applied, Verdict::Merged, Verdict::Flagged, Verdict::Rejected, Verdict::Lost];
    let outcome = (prop::sample::select(verdicts.to_vec()), revision(), some_text(), some_text(), vec(text(), 0..3));
    (option::of(any::<[u8; 16]>()), number(), outcome).prop_map(|(database, number, (verdict, revision, code, detail, conflicts))| {
        Entry::Outcome { database: database.map(DatabaseId), number, outcome: Outcome { verdict, revision, code, detail, conflicts } }
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    let entry = prop_oneof![record().prop_map(Entry::Record), outcome()];
    let part = (fill(), any::<bool>(), vec(record(), 0..3)).prop_map(|(fill, done, records)| FillPart { fill, done, records });
    let digest = (grant(), any::<u64>(), any::<u128>()).prop_map(|(Grant { share, since, .. }, count, sum)| GrantDigest {
        share,
        since,
        digest: Digest { count, sum },
    });
    let repair = (grant(), ranges()).prop_map(|(grant, ranges)| Repair { grant, ranges });
    let extras = (vec(digest, 0..3), vec(repair, 0..3), vec(record(), 0..3));
    (position(), position(), any::<bool>(), option::of(grants()), vec(entry, 0..5), option::of(part), extras).prop_map(
        |(from, through, at_head, grants, entries, fill, (digests, repairs, asked))| Batch {
            from,
            through,
            at_head,
            grants,
            entries,
            fill,
            digests,
            repairs,
            asked,
            pieces: None,
        },
    )
}

fn ticket() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=proto::limits::TICKET_BYTES)
}

fn hello() -> impl Strategy<Value = Hello> {
    let who = (any::<(u32, u32)>(), vec(text(), 0..3), any::<[u8; 16]>(), number(), epochs());
    let where_it_stands = (option::of(cursor()), any::<[u8; 16]>(), vec(fill(), 0..3));
    let before = (option::of(any::<[u8; 16]>()), ticket(), option::of(reason()));
    let outbox = (number(), number(), vec((number(), number()), 0..3), any::<(u64, u64)>(), before);
    (who, where_it_stands, outbox, any::<u64>(), text(), any::<bool>()).prop_map(|(who, stands, outbox, now_ms, software, metered)| {
        let (versions, features, database, session, epochs) = who;
        let (cursor, grants_hash, fills) = stands;
        let (newest_write, outbox_first, gaps, (outbox_writes, outbox_oldest_ms), (previous, ticket, paused)) = outbox;
        Hello {
            versions,
            features,
            database: DatabaseId(database),
            session,
            epochs,
            cursor,
            grants_hash,
            fills,
            newest_write,
            outbox_first,
            gaps,
            now_ms,
            software,
            metered,
            report: Report { outbox_writes, outbox_oldest_ms, ..Report::default() },
            previous: previous.map(DatabaseId),
            ticket,
            paused,
            held: None,
        }
    })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let agreed = (any::<u32>(), vec(text(), 0..3), number(), epochs());
    let stands = (revision(), cursor(), any::<bool>(), number(), option::of(grants()));
    let more = (option::of(revision()), labels());
    (agreed, stands, any::<(u64, u32, u32)>(), more).prop_map(|(agreed, stands, (now_ms, ping_ms, silence_ms), (fork, labels))| {
        let (version, features, session, epochs) = agreed;
        let (head, cursor, reset, taken, grants) = stands;
        Welcome {
            version,
            features,
            session,
            epochs,
            head,
            cursor,
            reset,
            taken,
            grants,
            now_ms,
            ping_ms,
            silence_ms,
            fork,
            labels,
            hashes: Vec::new(),
            held: None,
        }
    })
}

fn reason() -> impl Strategy<Value = Reason> {
    (text(), text()).prop_map(|(code, detail)| Reason { code, detail })
}

fn report() -> impl Strategy<Value = Report> {
    let devices = any::<(bool, [u64; 7])>().prop_map(|(broker, [broker_since_ms, updates, kept, coalesced, waiting, refused, unknown])| {
        Devices { broker, broker_since_ms, updates, kept, coalesced, waiting, refused, unknown }
    });
    (any::<(u64, u64)>(), vec(text(), 0..4), option::of(devices))
        .prop_map(|((outbox_writes, outbox_oldest_ms), warnings, devices)| Report { outbox_writes, outbox_oldest_ms, warnings, devices })
}

fn frame() -> impl Strategy<Value = Frame> {
    let refuse = (reason(), any::<(u64, (u32, u32), bool)>(), ticket());
    let refuse = refuse
        .prop_map(|(reason, (retry_ms, versions, renew), ticket)| Frame::Refuse(Refuse { reason, retry_ms, versions, renew, ticket }));
    let write = (number(), vec(any::<u8>(), 0..40), any::<bool>(), option::of(any::<[u8; 16]>()));
    let write = write.prop_map(|(number, bytes, rejected, hash)| NumberedWrite { number, bytes, rejected, hash, fork: None, part: None });
    let compared = (revision(), vec(range_sums(), 0..2)).prop_map(|(revision, differing)| Compared { revision, differing });
    prop_oneof![
        hello().prop_map(Frame::Hello),
        welcome().prop_map(Frame::Welcome),
        refuse,
        number().prop_map(|session| Frame::Started { session }),
        batch().prop_map(Frame::Batch),
        (position(), vec(fill(), 0..3), number()).prop_map(|(cursor, fills, answered)| Frame::Ack(Ack { cursor, fills, answered })),
        compared.prop_map(Frame::Compared),
        Just(Frame::Verify),
        vec((collection(), key()), 0..3).prop_map(Frame::Ask),
        any::<u64>().prop_map(|bytes| Frame::Received { bytes }),
        reason().prop_map(Frame::Nack),
        Just(Frame::Ready),
        vec(write, 0..4).prop_map(Frame::Writes),
        number().prop_map(|number| Frame::Taken { number }),
        (number(), any::<[u8; 16]>(), 0..=FRAME_BYTES).prop_map(|(number, hash, bytes)| Frame::Held(Held { number, hash, bytes })),
        (any::<[u8; 16]>(), 0_usize..1_000, vec(any::<u8>(), 1..40))
            .prop_map(|(hash, at, bytes)| { Frame::Piece(Piece { part: Part { at, total: at + bytes.len(), hash }, bytes }) }),
        (any::<u64>(), option::of(report())).prop_map(|(sent_ms, report)| Frame::Ping { sent_ms, report }),
        any::<(u64, u64)>().prop_map(|(sent_ms, now_ms)| Frame::Pong { sent_ms, now_ms }),
        reason().prop_map(Frame::Close),
    ]
}

/// Whole frames, some of whose bytes were changed, cut off, or doubled.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (frame(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), any::<prop::sample::Index>(), 0..3).prop_map(
        |(frame, flips, end, way)| {
            let mut bytes = frame.encode();
            bytes.push(0);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            match way {
                0 => bytes.truncate(end.index(bytes.len())),
                1 => bytes.extend_from_within(end.index(bytes.len())..),
                _ => {}
            }
            bytes
        },
    )
}

/// With so much in it, where it can hold much.
fn grown(frame: Frame, times: usize) -> Frame {
    match frame {
        Frame::Batch(batch) => Frame::Batch(Batch { entries: vec![batch.entries; times].concat(), ..batch }),
        Frame::Writes(writes) => Frame::Writes(vec![writes; times].concat()),
        frame => frame,
    }
}

fn batch_len(frame: &Frame) -> Option<usize> {
    match frame {
        Frame::Batch(batch) => Some(batch.wire_len()),
        Frame::Writes(writes) => Some(writes.iter().map(NumberedWrite::wire_len).sum()),
        _ => None,
    }
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(frame in frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(Frame::decode(&bytes), Ok(frame.clone()));
        if let Some(len) = batch_len(&frame) {
            prop_assert!(bytes.len() < 2 * len + 600, "{} bytes counted as {}", bytes.len(), len);
        }
    }

    #[test]
    fn damage_is_an_error_or_another_frame(bytes in damaged()) {
        if let Ok(frame) = Frame::decode(&bytes) {
            prop_assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn what_was_encoded_is_decoded_compressed_or_not(frame in frame(), times in 1_usize..60) {
        let frame = grown(frame, times);
        let (plain, bytes) = (frame.encode(), frame.encode_compressed());
        prop_assert!(bytes.len() <= plain.len());
        prop_assert_eq!(Frame::decode_compressed(&bytes), Ok(frame.clone()));
        prop_assert_eq!(Frame::decode_compressed(&plain), Ok(frame.clone()));
        prop_assert_eq!(Frame::decode(&bytes).is_ok(), bytes == plain);
    }

    #[test]
    fn noise_is_no_frame_that_harms(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Frame::decode(&bytes);
    }

    /// Whatever a peer sends in whatever order: the session lives on, or ends with a reason.
    #[test]
    fn machines_bear_any_frames(frames in vec(frame(), 1..12), damaged in vec(damaged(), 0..3), hello in hello()) {
        let mut cloud = CloudSession::new(0);
        let mut edge = EdgeSession::new(0, hello);
        for bytes in frames.iter().map(Frame::encode).chain(damaged) {
            cloud.receive(1, &bytes);
            edge.receive(1, &bytes);
        }
        cloud.tick(u64::MAX / 2);
        edge.tick(u64::MAX / 2);
        let _ = (cloud.next_tick(), edge.next_tick(), cloud.status());
    }
}

#[test]
fn a_frame_beyond_the_bound_is_refused_unread() {
    let error = Frame::decode(&vec![0; FRAME_BYTES + 1]).unwrap_err();
    assert_eq!(error.what, "frame");
}

/// Two bytes an entry, some hundred once it is read: refused before that.
#[test]
fn a_frame_of_empty_entries_is_refused_unread() {
    let frame = |body| wire::Frame { body: Some(body) }.encode_to_vec();
    let most = FRAME_BYTES / 2 - 100;
    let ops = vec![wire::Op::default(); most];
    let frames = [
        frame(Body::Writes(wire::Writes { writes: vec![wire::NumberedWrite::default(); most] })),
        frame(Body::Batch(wire::Batch { entries: vec![wire::Entry::default(); most], ..wire::Batch::default() })),
        frame(Body::Hello(wire::Hello { features: vec![String::new(); most], ..wire::Hello::default() })),
        frame(Body::Hello(wire::Hello { gaps: vec![wire::Range::default(); most], ..wire::Hello::default() })),
        frame(Body::Ask(wire::Ask { records: vec![wire::Inside::default(); most] })),
        frame(Body::Ping(wire::Ping {
            sent_ms: 1,
            report: Some(wire::Report { warnings: vec![String::new(); most], ..wire::Report::default() }),
        })),
    ];
    for bytes in frames {
        assert!(bytes.len() <= FRAME_BYTES);
        let error = Frame::decode(&bytes).unwrap_err();
        assert!(error.why.contains("more entries"), "{error}");
    }
    let error = Write::decode(&wire::Write { ops, ..wire::Write::default() }.encode_to_vec()).unwrap_err();
    assert!(error.why.contains("more ops"), "{error}");
}

/// The longest lists that there are, and the longest write, are read.
#[test]
fn the_longest_lists_are_not_too_many() {
    let collection = CollectionName::parse(&"c".repeat(63)).unwrap();
    let place = |number: usize| Some((collection.clone(), Key::parse(&format!("{number}")).unwrap()));
    let share = |number: usize| Share { collection: collection.clone(), partition: Some(format!("p{number}")) };
    let grant = |number| Grant { share: share(number), since: Revision(NUMBER_MAX), from: Revision(7) };
    let fill = |number| Fill { grant: grant(number), at: Position { revision: Revision(1), inside: place(number) }, ranges: None };
    let fills: Vec<Fill> = (0..HELLO_LIST).map(fill).collect();
    let ack = Frame::Ack(Ack { cursor: Position::at(Revision(1)), fills, answered: 3 });
    assert_eq!(Frame::decode(&ack.encode()), Ok(ack));
    let definition = |_| DefinitionText { name: collection.clone(), revision: Revision(1), json: "{}".to_owned() };
    let grants = (0..HELLO_LIST).map(grant).collect();
    let definitions = (0..10_000).map(definition).collect();
    let grants = Grants { revision: Revision(1), grants, definitions, labels: Vec::new() };
    let batch = Frame::Batch(Batch { grants: Some(grants), ..Batch::empty(Position::at(Revision(1)), Position::at(Revision(2))) });
    assert_eq!(Frame::decode(&batch.encode()), Ok(batch));
    let put = |number: usize| Op {
        collection: collection.clone(),
        key: Key::parse(&format!("{number}")).unwrap(),
        seen: Revision(1),
        definition: Revision(1),
        depends: Some(7),
        stands_on: vec![NUMBER_MAX; 64],
        expect: None,
        body: proto::op::Body::Delete { force: false },
    };
    let write = Write { hlc: Hlc(1), at_ms: 1, actor: None, request_id: None, ops: (0..1_000).map(put).collect(), idempotency: None };
    assert_eq!(Write::decode(&write.encode()), Ok(write));
}

#[test]
fn numbers_that_no_store_can_keep_are_no_frame() {
    let frame = |body| wire::Frame { body: Some(body) }.encode_to_vec();
    for bytes in [
        frame(Body::Started(wire::Started { session: u64::MAX })),
        frame(Body::Taken(wire::Taken { number: NUMBER_MAX + 1 })),
        frame(Body::Writes(wire::Writes { writes: vec![wire::NumberedWrite { number: u64::MAX, ..wire::NumberedWrite::default() }] })),
        frame(Body::Ack(wire::Ack { cursor: Some(wire::Position { revision: u64::MAX, inside: None }), ..wire::Ack::default() })),
    ] {
        assert!(Frame::decode(&bytes).unwrap_err().why.contains("2^63"));
    }
}

/// They are logged and shown, and come from a peer.
#[test]
fn the_words_of_a_peer_are_cut_and_on_one_line() {
    let detail = format!("one\ntwo\u{1b}[31m{}", "x".repeat(FRAME_BYTES / 2));
    let bytes = Frame::Close(Reason { code: "c".repeat(1_000), detail }).encode();
    let Ok(Frame::Close(reason)) = Frame::decode(&bytes) else { panic!("a last word is a frame") };
    assert_eq!((reason.code.len(), reason.detail.len()), (REASON_CODE, REASON_DETAIL));
    assert!(reason.detail.starts_with("one two [31mxx"), "{}", reason.detail);
}

#[test]
fn a_hub_cannot_send_an_edge_to_sleep() {
    let hello = |frame: Frame| {
        let hello = Hello {
            versions: (0, 0),
            features: Vec::new(),
            database: DatabaseId([1; 16]),
            session: 0,
            epochs: Vec::new(),
            cursor: None,
            grants_hash: [0; 16],
            fills: Vec::new(),
            newest_write: 0,
            outbox_first: 0,
            gaps: Vec::new(),
            now_ms: 0,
            software: String::new(),
            metered: false,
            report: Report::default(),
            previous: None,
            ticket: Vec::new(),
            paused: None,
            held: None,
        };
        let mut edge = EdgeSession::new(0, hello);
        edge.receive(1, &frame.encode());
        edge
    };
    let reason = Reason { code: "busy".into(), detail: String::new() };
    let mut edge = hello(Frame::Refuse(Refuse { reason, retry_ms: u64::MAX, versions: (1, 1), renew: false, ticket: Vec::new() }));
    let Some(Effect::Closed(end)) = edge.poll_effect() else { panic!("refused") };
    assert_eq!(end.retry_ms, RETRY_MS_MAX);
    for (ping_ms, silence_ms) in [(0, 0), (u32::MAX, u32::MAX)] {
        let welcome = Welcome {
            version: 1,
            features: Vec::new(),
            session: 1,
            epochs: Vec::new(),
            head: Revision(0),
            cursor: Cursor { epoch: Epoch(1), position: Position::default() },
            reset: false,
            taken: 0,
            grants: None,
            now_ms: u64::MAX,
            ping_ms,
            silence_ms,
            fork: None,
            labels: Vec::new(),
            hashes: Vec::new(),
            held: None,
        };
        let mut edge = hello(Frame::Welcome(welcome));
        edge.adopted(2, Durable::default());
        let next = edge.next_tick().unwrap();
        assert!(next <= 2 + u64::from(PING_METERED_MS) && edge.is_open(), "{next}");
        edge.tick(2 + u64::from(SILENCE_METERED_MS));
        assert!(edge.is_closed(), "no silence is longer than the longest that was agreed on ever");
    }
}
