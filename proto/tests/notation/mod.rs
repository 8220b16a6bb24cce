//! Frames and effects in one short line each, for conversations and traces.

use proto::frame::{Batch, Entry, Fill, Frame, NumberedWrite};
use proto::ids::Position;
use proto::session::{End, cloud, edge};

pub(crate) fn position(at: &Position) -> String {
    match &at.inside {
        None => at.revision.to_string(),
        Some((collection, key)) => format!("{}+{collection}/{key}", at.revision),
    }
}

pub(crate) fn fills(fills: &[Fill]) -> String {
    fills.iter().map(|fill| format!(" fill={}@{}", fill.grant.share.collection, position(&fill.at))).collect()
}

pub(crate) fn batch(batch: &Batch) -> String {
    let mut text = format!("{}..{}", position(&batch.from), position(&batch.through));
    if batch.at_head {
        text += " head";
    }
    if let Some(grants) = &batch.grants {
        text += &format!(" grants={}", grants.revision);
    }
    let records = batch.entries.iter().filter(|entry| matches!(entry, Entry::Record(_))).count();
    if records > 0 {
        text += &format!(" records={records}");
    }
    for entry in &batch.entries {
        if let Entry::Outcome { number, outcome, .. } = entry {
            text += &format!(" outcome={number}@{}", outcome.revision);
        }
    }
    if let Some(part) = &batch.fill {
        text += &fills(std::slice::from_ref(&part.fill));
        text += &format!(" of {}{}", part.records.len(), if part.done { " done" } else { "" });
    }
    if !batch.digests.is_empty() {
        text += &format!(" digests={}", batch.digests.len());
    }
    for repair in &batch.repairs {
        text += &format!(" repair={}:{}", repair.grant.share.collection, repair.ranges.len());
    }
    for record in &batch.asked {
        text += &format!(" asked={}", record.key);
    }
    text
}

fn writes(writes: &[NumberedWrite]) -> String {
    if let [NumberedWrite { number, bytes, part: Some(part), .. }] = writes {
        return format!("{number} at {} of {}", part.at + bytes.len(), part.total);
    }
    match (writes.first(), writes.last()) {
        (Some(first), Some(last)) if writes.len() > 1 => format!("{}..{} ({})", first.number, last.number, writes.len()),
        (Some(one), _) => one.number.to_string(),
        _ => "none".into(),
    }
}

pub(crate) fn frame(frame: &Frame) -> String {
    let rest = match frame {
        Frame::Hello(hello) => {
            let cursor = hello.cursor.as_ref().map_or("none".into(), |cursor| position(&cursor.position));
            let (versions, session, newest) = (hello.versions, hello.session, hello.newest_write);
            format!("versions={}-{} session={session} cursor={cursor} newest={newest} first={}", versions.0, versions.1, hello.outbox_first)
        }
        Frame::Welcome(welcome) => format!(
            "version={} session={} cursor={} taken={} ping={} silence={}{}",
            welcome.version,
            welcome.session,
            position(&welcome.cursor.position),
            welcome.taken,
            welcome.ping_ms,
            welcome.silence_ms,
            welcome.held.map_or(String::new(), |held| format!(" held={}:{}", held.number, held.bytes))
        ),
        Frame::Refuse(refuse) => {
            let renew = if refuse.renew { " renew" } else { "" };
            format!("{} retry={}{renew}: {}", refuse.reason.code, refuse.retry_ms, refuse.reason.detail)
        }
        Frame::Started { session } => session.to_string(),
        Frame::Batch(own) => batch(own),
        Frame::Ack(ack) => position(&ack.cursor) + &fills(&ack.fills),
        Frame::Received { bytes } => bytes.to_string(),
        Frame::Nack(reason) | Frame::Close(reason) => format!("{}: {}", reason.code, reason.detail),
        Frame::Ready => String::new(),
        Frame::Writes(own) => writes(own),
        Frame::Taken { number } => number.to_string(),
        Frame::Piece(piece) => format!("{} of {}", piece.part.at + piece.bytes.len(), piece.part.total),
        Frame::Held(held) => format!("{} bytes of {}", held.bytes, held.number),
        Frame::Ping { sent_ms, report } => format!("{sent_ms}{}", if report.is_some() { " report" } else { "" }),
        Frame::Pong { sent_ms, .. } => sent_ms.to_string(),
        Frame::Compared(compared) => format!("{} differing={}", compared.revision, compared.differing.len()),
        Frame::Verify => String::new(),
        Frame::Ask(records) => format!("{} records", records.len()),
    };
    format!("{} {rest}", frame.name()).trim_end().to_string()
}

fn end(end: &End) -> String {
    let by = if end.by_peer { "by the peer" } else { "by this side" };
    let renew = if end.renew { ", to be renewed" } else { "" };
    format!("closed {by}{}{renew}: {}", if end.refused { ", refused" } else { "" }, end.reason.code)
}

pub(crate) fn edge_effect(effect: &edge::Effect) -> String {
    match effect {
        edge::Effect::Adopt(welcome) => format!("adopt session={}", welcome.session),
        edge::Effect::Apply(batches) => format!("apply {}", batches.iter().map(batch).collect::<Vec<_>>().join(", ")),
        edge::Effect::Keep(pieces) => format!("keep {} pieces", pieces.len()),
        edge::Effect::ReadOutbox { after, max_bytes } => format!("read-outbox after={after} bytes={max_bytes}"),
        edge::Effect::Clock { rtt_ms, cloud_ms } => format!("clock rtt={rtt_ms} cloud={cloud_ms}"),
        edge::Effect::Closed(own) => end(own),
    }
}

pub(crate) fn cloud_effect(effect: &cloud::Effect) -> String {
    match effect {
        cloud::Effect::Admit(hello) => format!("admit session={}", hello.session),
        cloud::Effect::ConfirmSession(session) => format!("confirm session={session}"),
        cloud::Effect::Scan(scan) => {
            let mut text = format!("scan from={} told={} bytes={}{}", position(&scan.from), scan.told, scan.max_bytes, fills(&scan.fills));
            if let Some(open) = &scan.digests {
                text += " digests";
                open.iter().for_each(|share| text += &format!(" but={}", share.collection));
            }
            if !scan.compare.is_empty() {
                text += &format!(" compare={}", scan.compare.len());
            }
            if !scan.ask.is_empty() {
                text += &format!(" ask={}", scan.ask.len());
            }
            text
        }
        cloud::Effect::Ahead(ahead) => {
            let records = ahead.records.map_or("none".into(), |revision| revision.to_string());
            format!("read-ahead at={} outcomes={} records={records}", position(&ahead.at), ahead.outcomes)
        }
        cloud::Effect::Compared { revision, differing, .. } => format!("compared {revision} differing={differing}"),
        cloud::Effect::Commit { session, writes: own } => format!("commit session={session} {}", writes(own)),
        cloud::Effect::Acked(at) => format!("acked {}", position(at)),
        cloud::Effect::Report(report) => format!("report outbox={}", report.outbox_writes),
        cloud::Effect::Closed(own) => end(own),
    }
}
