//! Who may compress: only sides that both know it, and nothing of the handshake.

use prost::Message;
use proto::clock::Now;
use proto::frame::{Batch, Entry, Frame, Hello, NumberedWrite, Reason, Refuse, Report, Welcome};
use proto::ids::{Cursor, DatabaseId, Epoch, Position, Revision};
use proto::op::Hash;
use proto::session::cloud::{Admission, CloudSession};
use proto::session::edge::{Durable, EdgeSession, Effect};
use proto::session::handshake::{FEATURE_REPAIR, FEATURE_ZSTD, FEATURES, VERSIONS};

const OLD: &[&str] = &[FEATURE_REPAIR];

fn hello() -> Hello {
    Hello {
        versions: VERSIONS,
        features: Vec::new(),
        database: DatabaseId([7; 16]),
        session: 0,
        epochs: Vec::new(),
        cursor: None,
        grants_hash: Hash::default(),
        fills: Vec::new(),
        newest_write: 0,
        outbox_first: 0,
        gaps: Vec::new(),
        now_ms: 0,
        software: "0".into(),
        metered: false,
        report: Report::default(),
        previous: None,
        ticket: Vec::new(),
        paused: None,
        held: None,
    }
}

fn admission() -> Admission {
    Admission {
        session: 1,
        epochs: Vec::new(),
        head: Revision(0),
        cursor: Cursor { epoch: Epoch(1), position: Position::default() },
        reset: false,
        fork: None,
        taken: 0,
        grants: None,
        told: Revision(0),
        answer_first: 0,
        labels: Vec::new(),
        hashes: Vec::new(),
        held: None,
    }
}

/// Both ends of a session that is open; `hub` is what the hub's Welcome chooses from.
fn open(node: &[&str], hub: &[&str]) -> (EdgeSession, CloudSession) {
    let mut edge = EdgeSession::offering(0, Hello { features: node.iter().map(ToString::to_string).collect(), ..hello() });
    let mut cloud = CloudSession::new(0);
    let said = edge.poll_send(0).unwrap();
    let Frame::Hello(mut said) = said else { panic!("{said:?}") };
    said.features.retain(|name| hub.contains(&name.as_str()));
    cloud.receive(0, &Frame::Hello(said).encode());
    cloud.admitted(0, admission());
    let welcome = cloud.poll_send(Now { wall_ms: 0, mono_ms: 0 }).unwrap();
    assert_eq!(cloud.encode(&welcome), welcome.encode(), "a Welcome goes as it is");
    edge.receive(0, &cloud.encode(&welcome));
    assert!(matches!(edge.poll_effect(), Some(Effect::Adopt(_))));
    edge.adopted(0, Durable::default());
    while let Some(frame) = edge.poll_send(0) {
        cloud.receive(0, &edge.encode(&frame));
    }
    assert!(edge.is_open() && cloud.is_open());
    (edge, cloud)
}

fn outcome(number: u64) -> Entry {
    let text = Some("a word that is said very often ".repeat(40));
    let verdict = proto::op::Verdict::Rejected;
    let outcome = proto::op::Outcome { revision: Revision(number), verdict, code: None, detail: text, conflicts: Vec::new() };
    Entry::Outcome { database: None, number, outcome }
}

fn batch() -> Frame {
    let to = |revision| Position { revision: Revision(revision), inside: None };
    Frame::Batch(Batch { entries: (1..20).map(outcome).collect(), ..Batch::empty(to(0), to(20)) })
}

fn writes() -> Frame {
    let write = |number| NumberedWrite { number, bytes: vec![7; 500], rejected: false, hash: None, fork: None, part: None };
    Frame::Writes((1..20).map(write).collect())
}

fn end_of(frame: &Frame, bytes: &[u8], (mut edge, mut cloud): (EdgeSession, CloudSession)) -> Option<String> {
    let closed = match frame {
        Frame::Batch(_) => {
            edge.receive(0, bytes);
            edge.is_closed().then(|| edge.poll_send(0))
        }
        _ => {
            cloud.receive(0, bytes);
            cloud.is_closed().then(|| cloud.poll_send(Now { wall_ms: 0, mono_ms: 0 }))
        }
    };
    closed.map(|last| match last {
        Some(Frame::Close(Reason { code, detail })) => format!("{code}: {detail}"),
        other => panic!("{other:?}"),
    })
}

#[test]
fn two_that_know_it_compress_both_ways() {
    let (edge, cloud) = open(FEATURES, FEATURES);
    for (frame, bytes) in [(batch(), cloud.encode(&batch())), (writes(), edge.encode(&writes()))] {
        assert!(bytes.len() < frame.encode().len() / 4, "{} of {}", bytes.len(), frame.encode().len());
        assert_eq!(end_of(&frame, &bytes, open(FEATURES, FEATURES)), None);
    }
    let ping = Frame::Ping { sent_ms: 1, report: None };
    assert_eq!(edge.encode(&ping), ping.encode());
}

/// An old peer on either side, and a node that is told not to: nothing compressed is sent.
#[test]
fn a_peer_that_does_not_know_it_gets_nothing_compressed() {
    for (node, hub) in [(OLD, FEATURES), (FEATURES, OLD), (OLD, OLD)] {
        let (edge, cloud) = open(node, hub);
        assert_eq!(cloud.encode(&batch()), batch().encode());
        assert_eq!(edge.encode(&writes()), writes().encode());
    }
}

/// A hub that chooses what was not offered does not get it.
#[test]
fn what_was_not_offered_is_not_taken_up() {
    let mut edge = EdgeSession::offering(0, Hello { features: vec![FEATURE_REPAIR.into()], ..hello() });
    let Admission { session, epochs, head, cursor, reset, fork, taken, grants, labels, hashes, held, .. } = admission();
    let features = vec![FEATURE_ZSTD.to_owned()];
    let (version, now_ms, ping_ms, silence_ms) = (1, 0, 15_000, 45_000);
    #[rustfmt::skip]
    let welcome = Welcome { version, features, session, epochs, head, cursor, reset, taken, grants, now_ms, ping_ms, silence_ms, fork, labels, hashes, held };
    edge.receive(0, &Frame::Welcome(welcome).encode());
    edge.adopted(0, Durable::default());
    assert!(edge.is_open());
    assert_eq!(edge.encode(&writes()), writes().encode());
}

#[test]
fn compressed_without_agreement_ends_the_session_with_a_reason() {
    let reason = Some("malformed: malformed frame: compressed, where that was not agreed".to_owned());
    for frame in [batch(), writes()] {
        let bytes = frame.encode_compressed();
        assert_eq!(end_of(&frame, &bytes, open(OLD, FEATURES)), reason);
        assert_eq!(end_of(&frame, &bytes, open(FEATURES, OLD)), reason);
    }
    // Nor in the handshake, whatever both may know.
    let bytes = batch().encode_compressed();
    let mut edge = EdgeSession::new(0, hello());
    edge.receive(0, &bytes);
    let mut cloud = CloudSession::new(0);
    cloud.receive(0, &bytes);
    assert!(edge.is_closed() && cloud.is_closed());
}

#[test]
fn a_compressed_frame_inside_another_is_refused() {
    let inside = NumberedWrite { number: 1, bytes: vec![7; 5_000], rejected: false, hash: None, fork: None, part: None };
    let inner = Frame::Writes(vec![inside]).encode_compressed();
    // The member of Frame that holds compressed bytes, around a frame that is one already, padded so that it is worth it.
    let padded = [&inner[..], &[0xfa, 0x07, 0xd0, 0x0f], &[0; 2_000]].concat();
    let outer = wrapped(&zstd(&padded));
    let end = end_of(&writes(), &outer, open(FEATURES, FEATURES)).unwrap();
    assert_eq!(end, "malformed: malformed frame: compressed, where that was not agreed");
    assert!(end_of(&writes(), &wrapped(&zstd(&writes().encode())), open(FEATURES, FEATURES)).is_none(), "any encoder's frame is good");
    let bomb = end_of(&writes(), &wrapped(&zstd(&vec![0; 5 << 20])), open(FEATURES, FEATURES)).unwrap();
    assert_eq!(bomb, "malformed: malformed compressed frame: larger than 4 MiB");
}

/// A Hello and a Refuse with much in them.
#[test]
fn the_handshake_is_never_compressed() {
    let reason = Reason { code: "busy".into(), detail: "come back later ".repeat(500) };
    let refuse = Frame::Refuse(Refuse { reason, retry_ms: 0, versions: (1, 1), renew: false, ticket: Vec::new() });
    let hello = Frame::Hello(Hello { gaps: (1..2_000).map(|n| (n * 3, n * 3)).collect(), ..hello() });
    for frame in [refuse, hello] {
        assert_eq!(frame.encode_compressed(), frame.encode());
    }
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; zstd_safe::compress_bound(bytes.len())];
    let size = zstd_safe::compress(&mut packed[..], bytes, 3).unwrap();
    packed.truncate(size);
    packed
}

/// Member 18 of Frame.
fn wrapped(packed: &[u8]) -> Vec<u8> {
    proto::wire::Frame { body: Some(proto::wire::frame::Body::Compressed(packed.to_vec())) }.encode_to_vec()
}
