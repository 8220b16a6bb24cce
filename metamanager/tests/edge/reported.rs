//! What devices report waits in a table, and goes up when there is room.

use metamanager::{DeviceReport, Refusal, Sent};
use proto::device::{DEVICES, TWINS, TwinField};
use proto::frame::{Batch, Content, Record};
use proto::json::Raw;
use proto::op::{Body, To, Verdict, Write};

use super::kit::*;

const BY_NODE: &str = r#"{"partition":{"field":"node","label":"=node"}}"#;

/// An edge that has two devices, `boiler` and `fan`.
fn edge() -> Edge {
    let mut edge = Edge::unjoined();
    edge.adopt(&welcome(1, 10, Some(rights())));
    fill(&mut edge);
    edge
}

fn rights() -> proto::frame::Grants {
    let mut all = grants(10);
    for collection in [DEVICES, TWINS] {
        all.grants.push(grant(collection, Some("lyon"), 1, 10));
        all.definitions.push(proto::frame::DefinitionText {
            name: name(collection),
            revision: proto::ids::Revision(1),
            json: BY_NODE.to_owned(),
        });
    }
    all.grants.sort_by(|a, b| (&a.share.collection, &a.share.partition).cmp(&(&b.share.collection, &b.share.partition)));
    all
}

/// All that it has a right to comes.
fn fill(edge: &mut Edge) {
    for grant in rights().grants {
        let twin = |id: &str| twin(id, 9, r#"{"node":"lyon"}"#);
        let records = if grant.share.collection == name(TWINS) { vec![twin("boiler"), twin("fan")] } else { Vec::new() };
        edge.apply(vec![Batch { fill: Some(filled(grant, 10, true, records)), ..batch(10, 10, true, Vec::new()) }]);
    }
}

fn twin(id: &str, revision: u64, text: &str) -> Record {
    Record { partition: Some("lyon".to_owned()), ..record(TWINS, id, revision, Content::Value(text.to_owned())) }
}

fn says(device: &str, values: &[(&str, &str)]) -> DeviceReport {
    let values = values.iter().map(|(field, json)| ((*field).to_owned(), Raw::parse(json).unwrap(), None));
    DeviceReport { device: key(device), values: values.collect() }
}

fn report(edge: &mut Edge, device: &str, values: &[(&str, &str)]) {
    edge.store().keep_reported(now(1), vec![says(device, values)]).pop().unwrap().unwrap();
}

fn send(edge: &mut Edge) -> Sent {
    edge.store().send_reported(now(2), None, &|_, _| true).unwrap()
}

fn temp(edge: &mut Edge) -> Option<TwinField> {
    let twin = edge.reader().twin(&key("boiler")).unwrap()?;
    twin.properties.get("temp")?.reported.clone()
}

/// The reported fields of a pending write, device by device.
fn carried(edge: &mut Edge, number: u64) -> Vec<(String, String, String)> {
    let part = edge.store().outbox_after(number - 1, 1).unwrap();
    let write = Write::decode(&part.writes[0].bytes).unwrap();
    let mut all = Vec::new();
    for op in &write.ops {
        let Body::Merge(changes) = &op.body else { panic!("{op:?}") };
        for change in changes {
            let To::Set(raw) = &change.to else { panic!("{change:?}") };
            all.push((op.key.to_string(), change.field.clone(), TwinField::parse(raw).unwrap().value.as_str().to_owned()));
        }
    }
    all
}

#[test]
fn a_burst_is_one_value_and_outlives_the_process() {
    let mut edge = edge();
    for value in 1..=100 {
        report(&mut edge, "boiler", &[("reported.temp", &value.to_string())]);
    }
    assert_eq!(edge.reader().reported_waiting().unwrap(), 1);
    edge.reopen();
    let kept = temp(&mut edge).unwrap();
    assert_eq!((kept.value.as_str(), kept.version, kept.writer.as_str()), ("100", 100, "lyon"));
    assert_eq!(edge.view(TWINS, "boiler").unwrap(), r#"{"node":"lyon"}"#, "the record has it when a write has it");
    let sent = send(&mut edge);
    assert_eq!(sent.fields, [(key("boiler"), "reported.temp".to_owned())]);
    assert_eq!(carried(&mut edge, sent.number.unwrap()), [("boiler".into(), "reported.temp".into(), "100".into())]);
    assert_eq!((edge.reader().reported_waiting().unwrap(), temp(&mut edge).unwrap().version), (0, 100));
    assert_eq!(send(&mut edge), Sent::default(), "nothing waits");
}

/// A publisher whose broker died before it answered says the same once more.
#[test]
fn a_value_that_comes_again_with_its_timestamp_is_taken_once() {
    let mut edge = edge();
    let says = |timestamp| DeviceReport {
        device: key("boiler"),
        values: vec![("reported.temp".to_owned(), Raw::parse("21").unwrap(), timestamp)],
    };
    let keep = |edge: &mut Edge, timestamp| edge.store().keep_reported(now(1), vec![says(timestamp)]).pop().unwrap().unwrap();
    keep(&mut edge, Some(5));
    assert!(send(&mut edge).number.is_some());
    let again = keep(&mut edge, Some(5));
    assert_eq!(again.before, again.after);
    assert_eq!((send(&mut edge), temp(&mut edge).unwrap().version), (Sent::default(), 1));
    keep(&mut edge, Some(6));
    keep(&mut edge, None);
    keep(&mut edge, None);
    assert_eq!(temp(&mut edge).unwrap().version, 4, "the same value at another time is another measurement");
}

#[test]
fn what_comes_while_a_write_is_under_way_waits_for_the_next_one() {
    let mut edge = edge();
    report(&mut edge, "boiler", &[("reported.temp", "20"), ("state", "\"online\"")]);
    let first = send(&mut edge).number.unwrap();
    let as_it_was = carried(&mut edge, first);
    report(&mut edge, "boiler", &[("reported.temp", "21")]);
    report(&mut edge, "boiler", &[("reported.temp", "22")]);
    assert_eq!(carried(&mut edge, first), as_it_was, "a number's content never changes");
    assert_eq!((temp(&mut edge).unwrap().value.as_str(), temp(&mut edge).unwrap().version), ("22", 3));
    let second = send(&mut edge).number.unwrap();
    assert_eq!(carried(&mut edge, second), [("boiler".into(), "reported.temp".into(), "22".into())], "what was between is skipped");
    let temp_of = |edge: &mut Edge| temp(edge).unwrap().to_raw();
    let kept = twin("boiler", 12, &format!(r#"{{"node":"lyon","reported.temp":{}}}"#, temp_of(&mut edge)));
    let outcomes = vec![answered(first, 11, Verdict::Applied), answered(second, 12, Verdict::Applied)];
    edge.apply(vec![batch(10, 12, true, [outcomes, vec![proto::frame::Entry::Record(kept)]].concat())]);
    assert_eq!(edge.row(TWINS, "boiler").unwrap().pending, Vec::<u64>::new());
    assert_eq!(temp(&mut edge).unwrap().value.as_str(), "22");
}

#[test]
fn only_what_is_due_goes_and_a_round_goes_on_behind_the_last_device() {
    let mut edge = edge();
    report(&mut edge, "boiler", &[("reported.temp", "20"), ("reported.rpm", "1")]);
    report(&mut edge, "fan", &[("reported.rpm", "2")]);
    let sent = edge.store().send_reported(now(2), None, &|_, field| field == "reported.rpm").unwrap();
    assert_eq!(carried(&mut edge, sent.number.unwrap()).len(), 2);
    let behind = edge.store().send_reported(now(2), Some(&key("boiler")), &|_, _| true).unwrap();
    assert_eq!(behind, Sent::default(), "the boiler is not behind the boiler");
    assert_eq!(send(&mut edge).fields, [(key("boiler"), "reported.temp".to_owned())]);
}

#[test]
fn strangers_are_refused_and_who_is_gone_is_forgotten() {
    let mut edge = edge();
    let answers =
        edge.store().keep_reported(now(1), vec![says("toaster", &[("state", "\"online\"")]), says("fan", &[("reported.rpm", "1")])]);
    assert!(matches!(&answers[0], Err(Refusal::UnknownDevice(name)) if name == "toaster"));
    assert!(answers[1].is_ok(), "each is answered for itself");
    let gone = Record { content: Content::Deleted, ..twin("fan", 11, "{}") };
    edge.apply(vec![batch(10, 11, true, vec![proto::frame::Entry::Record(gone)])]);
    assert_eq!(edge.reader().twin(&key("fan")).unwrap(), None);
    assert_eq!((send(&mut edge), edge.reader().reported_waiting().unwrap()), (Sent::default(), 0));
}

/// What a device said before its node heard that it moved goes up as a write that has seen no more than the node had.
#[test]
fn what_was_reported_before_the_move_was_heard_of_goes_up() {
    let mut edge = edge();
    report(&mut edge, "fan", &[("reported.rpm", "7")]);
    let left = Record { content: Content::Left, ..twin("fan", 11, "{}") };
    edge.apply(vec![batch(10, 11, true, vec![proto::frame::Entry::Record(left)])]);
    assert_eq!((edge.reader().twin(&key("fan")).unwrap(), edge.reader().reported_waiting().unwrap()), (None, 0));
    assert_eq!(carried(&mut edge, 1), [("fan".into(), "reported.rpm".into(), "7".into())]);
    let write = Write::decode(&edge.store().outbox_after(0, 1).unwrap().writes[0].bytes).unwrap();
    assert_eq!(write.ops[0].seen, proto::ids::Revision(10));
}

/// What waits in a damaged file was PUBACKed: it is saved as writes are, and goes up when the twins have come again.
#[test]
fn reports_are_saved_from_a_damaged_file() {
    let mut edge = edge();
    for n in 0..200 {
        report(&mut edge, "boiler", &[(&format!("reported.p{n:03}"), &format!("\"{}\"", "x".repeat(100)))]);
    }
    report(&mut edge, "fan", &[("state", "\"online\"")]);
    edge.store().checkpoint().unwrap();
    edge.store = None;
    let whole = std::fs::read(edge.path()).unwrap();
    let pages = whole.len() / 4096;
    let mut complete = 0;
    for page in 0..pages {
        std::fs::write(edge.path(), &whole).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(edge.path()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 4096], page as u64 * 4096).unwrap();
        std::fs::write(edge.path().with_extension("db.damaged"), "for the test").unwrap();
        edge.reopen();
        let saved = edge.reader().reported_waiting().unwrap();
        complete += usize::from(saved == 201);
        edge.store = None;
    }
    // Without the pages of the schema, or the root of the table, nothing can be found; without another of it, what that held.
    assert!(complete + 14 >= pages && complete > 20, "{complete} of {pages} pages");
    std::fs::write(edge.path(), &whole).unwrap();
    std::fs::write(edge.path().with_extension("db.damaged"), "for the test").unwrap();
    edge.reopen();
    edge.adopt(&welcome(1, 10, Some(rights())));
    assert_eq!((send(&mut edge), edge.reader().reported_waiting().unwrap()), (Sent::default(), 201), "the twins have not come yet");
    fill(&mut edge);
    let mut fields = 0;
    while let sent @ Sent { number: Some(_), .. } = send(&mut edge) {
        fields += sent.fields.len();
    }
    assert_eq!((fields, edge.reader().reported_waiting().unwrap()), (201, 0));
}

/// `twins-fill-outbox`: reports take no room while nothing is sent, and never more than half of it.
#[test]
fn reports_leave_half_of_the_outbox_to_everything_else() {
    let mut edge = edge();
    edge.options.max_outbox_bytes = 20_000;
    edge.reopen();
    let long = format!("\"{}\"", "x".repeat(900));
    let mut writes = 0;
    for round in 0..100 {
        report(&mut edge, "boiler", &[("reported.note", &long), ("reported.round", &round.to_string())]);
        writes += u64::from(send(&mut edge).number.is_some());
    }
    let status = edge.reader().status().unwrap();
    assert!((5..20).contains(&writes) && status.outbox_bytes <= 10_000, "{writes} {}", status.outbox_bytes);
    let waiting = edge.reader().twin(&key("boiler")).unwrap().unwrap();
    assert_eq!(waiting.properties["round"].reported.as_ref().unwrap().value.as_str(), "99", "the newest waits, whatever was sent");
    let long = value(&format!(r#"{{"W":"lyon","note":"{}"}}"#, "y".repeat(2_000)));
    for n in 0..4 {
        edge.write(vec![put("cut", &n.to_string(), &long.to_text())]);
    }
}

/// What is sold while the link is down takes nothing of the half that is the devices', however much of the outbox it fills.
#[test]
fn sales_leave_devices_their_half_of_the_outbox() {
    let mut edge = edge();
    edge.options.max_outbox_bytes = 20_000;
    edge.reopen();
    let long = value(&format!(r#"{{"W":"lyon","note":"{}"}}"#, "y".repeat(2_000)));
    for n in 0..6 {
        edge.write(vec![put("cut", &n.to_string(), &long.to_text())]);
    }
    let sold = edge.reader().status().unwrap().outbox_bytes;
    assert!(sold > 11_000, "the story fills nothing: {sold}");
    let mut writes = 0;
    let long = format!("\"{}\"", "x".repeat(900));
    for round in 0..20 {
        // What is counted outlives a restart.
        edge.reopen();
        report(&mut edge, "boiler", &[("reported.note", &long), ("reported.round", &round.to_string())]);
        writes += u64::from(send(&mut edge).number.is_some());
    }
    let status = edge.reader().status().unwrap();
    assert!((3..20).contains(&writes) && status.outbox_bytes <= 20_000, "{writes} {}", status.outbox_bytes);
}
