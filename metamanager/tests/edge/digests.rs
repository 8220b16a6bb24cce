//! Digests: the figures that are kept, what a check of the rows finds, and repairs.

use std::collections::BTreeMap;

use metamanager::{Applied, Checked};
use proto::digest::{Digest, Hashed, RANGES, RangeSet, range_of};
use proto::frame::{Batch, Content, Fill, FillPart, GrantDigest, RangeSums, Record, Repair, Share};
use proto::ids::{Position, Revision};
use proto::limits::VERIFY_MS;

use crate::kit::{Edge, at, batch, create, grants, key, name, now, record, sell, welcome};

/// What the cloud has, and what it answers.
#[derive(Default)]
struct Cloud {
    head: u64,
    records: BTreeMap<(String, String), Record>,
}

impl Cloud {
    fn put(&mut self, collection: &str, id: &str, revision: u64, text: &str) {
        let new = record(collection, id, revision, Content::Value(text.to_owned()));
        self.head = self.head.max(revision);
        self.records.insert((collection.to_owned(), id.to_owned()), new);
    }

    fn of<'a>(&'a self, share: &'a Share) -> impl Iterator<Item = &'a Record> {
        self.records.values().filter(|record| record.collection == share.collection && record.partition == share.partition)
    }

    /// A batch at the head with everything above `from`, and digests.
    fn verify(&self, from: u64) -> Batch {
        let entries = self.records.values().filter(|record| record.revision.0 > from).cloned().map(proto::frame::Entry::Record).collect();
        let digest = |grant: proto::frame::Grant| {
            let mut digest = Digest::default();
            self.of(&grant.share).for_each(|record| digest.add(&hash(record)));
            GrantDigest { share: grant.share, since: grant.since, digest }
        };
        Batch { digests: grants(10).grants.into_iter().map(digest).collect(), ..batch(from, self.head, true, entries) }
    }

    /// Which ranges differ.
    fn judge(&self, sums: &RangeSums) -> Repair {
        let mut own = [0u128; RANGES];
        for record in self.of(&sums.share) {
            let sum = &mut own[usize::from(range_of(record.key.as_str()))];
            *sum = sum.wrapping_add(u128::from_le_bytes(hash(record)));
        }
        let mut ranges = RangeSet::default();
        (0..=u8::MAX).filter(|range| own[usize::from(*range)] != sums.sums[usize::from(*range)]).for_each(|range| ranges.insert(range));
        let grant = proto::frame::Grant { share: sums.share.clone(), since: sums.since, from: Revision(self.head) };
        Repair { grant, ranges }
    }

    /// The whole fill of a repair, in one part.
    fn fill(&self, fill: &Fill) -> FillPart {
        let ranges = fill.ranges.unwrap();
        let records = self.of(&fill.grant.share).filter(|record| ranges.contains(range_of(record.key.as_str()))).cloned();
        FillPart { records: records.collect(), done: true, fill: Fill { at: Position::at(fill.grant.from), ..fill.clone() } }
    }
}

fn hash(record: &Record) -> proto::op::Hash {
    let Content::Value(value) = &record.content else { panic!("no value") };
    Hashed {
        key: record.key.as_str(),
        revision: record.revision,
        born: record.born,
        updated_ms: record.updated_ms,
        writer: &record.writer,
        actor: record.actor.as_deref(),
        value,
    }
    .hash()
}

/// Three hundred records, so that ranges are met and missed, in sync and verified.
fn in_sync() -> (Edge, Cloud) {
    let (mut edge, mut cloud) = (Edge::new(), Cloud::default());
    for n in 0..300u64 {
        cloud.put("stock", &format!("needle-{n}"), 11 + n, &format!(r#"{{"id":"needle-{n}","n":{n},"note":"hay-{n}-hay"}}"#));
    }
    cloud.put("cut", "x", 320, r#"{"W":"lyon"}"#);
    let applied = edge.apply(vec![cloud.verify(10)]);
    assert!(applied.check && applied.compared.is_none(), "the first comparison after a start reads the rows");
    let checked = check(&mut edge);
    assert_eq!((checked.records, checked.damaged), (301, 0));
    assert_eq!(checked.compared.unwrap().differing, []);
    assert_eq!(edge.reader().status().unwrap().verified_ms, Some(now(0).wall_ms));
    (edge, cloud)
}

fn check(edge: &mut Edge) -> Checked {
    edge.store().check(now(0)).unwrap().unwrap()
}

/// Compares, repairs and compares again; how many ranges were read again.
fn verify(edge: &mut Edge, cloud: &Cloud) -> u32 {
    let applied = edge.apply(vec![cloud.verify(cloud.head)]);
    assert!(applied.check);
    let differing = check(edge).compared.unwrap().differing;
    edge.assert_digests();
    let repairs: Vec<_> = differing.iter().map(|sums| cloud.judge(sums)).collect();
    let ranges = repairs.iter().map(|repair| repair.ranges.len()).sum();
    let applied = edge.apply(vec![Batch { repairs, ..batch(cloud.head, cloud.head, true, Vec::new()) }]);
    fill(edge, cloud, applied);
    edge.apply(vec![cloud.verify(cloud.head)]);
    let checked = check(edge);
    assert_eq!((checked.damaged, checked.compared.unwrap().differing), (0, Vec::new()));
    edge.assert_digests();
    same(edge, cloud);
    ranges
}

fn fill(edge: &mut Edge, cloud: &Cloud, applied: Applied) {
    for open in applied.fills {
        let part = Batch { fill: Some(cloud.fill(&open)), ..batch(cloud.head, cloud.head, true, Vec::new()) };
        edge.apply(vec![part]);
    }
}

/// Every record, looked up one by one and listed, is the cloud's.
fn same(edge: &mut Edge, cloud: &Cloud) {
    let mut reader = edge.reader();
    for ((collection, id), record) in &cloud.records {
        let row = reader.get_base(&name(collection), &key(id)).unwrap().unwrap_or_else(|| panic!("no {id}"));
        assert_eq!((Content::Value(row.value), row.revision), (record.content.clone(), record.revision), "{id}");
    }
    let stock = cloud.records.keys().filter(|(collection, _)| collection == "stock").count() as u64;
    assert_eq!(reader.count(&name("stock")).unwrap(), stock);
    let status = reader.status().unwrap();
    assert_eq!(status.collections.iter().find(|own| own.name == name("stock")).unwrap().records, stock);
}

#[test]
fn a_row_that_was_changed_by_hand_is_found_and_repaired() {
    let changes = [
        "UPDATE base SET value = replace(value, 'hay-7-', 'hoy-7-')",
        "UPDATE base SET revision = revision + 1000000 WHERE key = 'needle-8'",
        "UPDATE base SET born = 99, updated_ms = 5 WHERE key = 'needle-8'",
        "UPDATE base SET key = 'needle-x' WHERE key = 'needle-9'",
        "UPDATE base SET granted = 4711 WHERE key = 'needle-10'",
        "UPDATE base SET collection = 4711 WHERE key = 'needle-11'",
        "UPDATE base SET granted = (SELECT granted FROM base WHERE key = 'x') WHERE key = 'needle-11'",
        "UPDATE base SET hash = x'00' WHERE key = 'needle-12'",
        "UPDATE base SET key = 'needle-' || char(10) WHERE key = 'needle-14'",
        "DELETE FROM base WHERE key IN ('needle-13', 'x')",
        "INSERT INTO base (collection, key, granted, revision, born, updated_ms, fill, writer, value) \
         SELECT collection, 'more', granted, 999999, born, 1, fill, writer, value FROM base WHERE key = 'needle-1'",
        "UPDATE grants SET digest_count = 3, digest_sum = x'00000000000000000000000000000001'; UPDATE collections SET records = 7, view = 7",
    ];
    for change in changes {
        let (mut edge, cloud) = in_sync();
        edge.meanwhile(|file| file.execute_batch(change).unwrap());
        let ranges = verify(&mut edge, &cloud);
        assert!(ranges <= 2, "{change}: {ranges} ranges were read again");
    }
}

/// A bit of the file itself, wherever the record's text or its key stand: in the table or in the index.
#[test]
fn bit_flip_digest() {
    for needle in ["needle-25", "hay-131-hay"] {
        let places = places(needle);
        assert!(!places.is_empty());
        for place in 0..places.len() {
            let (mut edge, cloud) = in_sync();
            edge.store().checkpoint().unwrap();
            let path = edge.path();
            edge.closed(|| {
                let mut bytes = std::fs::read(&path).unwrap();
                let at = find(&bytes, needle)[place] + 2;
                bytes[at] ^= 4;
                std::fs::write(&path, bytes).unwrap();
            });
            verify(&mut edge, &cloud);
        }
    }
}

fn places(needle: &str) -> Vec<usize> {
    let (mut edge, _) = in_sync();
    edge.store().checkpoint().unwrap();
    find(&std::fs::read(edge.path()).unwrap(), needle)
}

fn find(bytes: &[u8], needle: &str) -> Vec<usize> {
    bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle.as_bytes()).map(|(at, _)| at).collect()
}

/// What cannot be stored counts as held, by what the cloud sent; what is still there of it does not.
#[test]
fn blocked_digest() {
    let (mut edge, mut cloud) = in_sync();
    let from = cloud.head;
    cloud.put("stock", "needle-3", 330, r#"{"id":"needle-3","id":"twice"}"#);
    cloud.put("stock", "new", 331, "[]");
    let applied = edge.apply(vec![cloud.verify(from)]);
    assert_eq!(applied.blocked, 2);
    assert!(edge.view("stock", "needle-3").unwrap().contains("hay-3-hay"), "what was there stays readable");
    let checked = check(&mut edge);
    assert_eq!((checked.damaged, checked.compared.unwrap().differing), (0, Vec::new()));
    edge.assert_digests();
    edge.reopen();
    edge.assert_digests();
    // A newer version that can be stored takes its place.
    let from = cloud.head;
    cloud.put("stock", "needle-3", 340, r#"{"id":"needle-3","n":1}"#);
    cloud.put("stock", "new", 341, r#"{"id":"new","n":1}"#);
    edge.apply(vec![cloud.verify(from)]);
    assert_eq!(check(&mut edge).compared.unwrap().differing, []);
    assert_eq!(edge.reader().status().unwrap().blocked_count, 0);
    same(&mut edge, &cloud);
}

/// A repair reads a blocked record again, and one that is gone meanwhile is not blocked any more.
#[test]
fn a_repair_forgets_what_was_blocked_in_its_ranges() {
    let (mut edge, mut cloud) = in_sync();
    let from = cloud.head;
    cloud.put("stock", "new", 331, "[]");
    cloud.put("stock", "other", 332, "[]");
    edge.apply(vec![cloud.verify(from)]);
    cloud.records.remove(&("stock".to_owned(), "new".to_owned()));
    edge.reopen();
    edge.apply(vec![cloud.verify(cloud.head)]);
    let sums = check(&mut edge).compared.unwrap().differing.remove(0);
    let applied = edge.apply(vec![Batch { repairs: vec![cloud.judge(&sums)], ..batch(cloud.head, cloud.head, true, Vec::new()) }]);
    fill(&mut edge, &cloud, applied);
    edge.apply(vec![cloud.verify(cloud.head)]);
    assert_eq!(check(&mut edge).compared.unwrap().differing, []);
    assert_eq!(edge.reader().status().unwrap().blocked_count, 1);
    edge.assert_digests();
}

/// Pending ops stay laid over what a repair brings, and over what it removes.
#[test]
fn a_repair_settles_what_is_laid_over_its_records() {
    let (mut edge, cloud) = in_sync();
    edge.write(vec![sell("needle-20", 3)]);
    edge.write(vec![create("stock", "own", r#"{"id":"own","n":2}"#)]);
    edge.meanwhile(|file| {
        file.execute_batch("UPDATE base SET value = replace(value, '\"n\":20', '\"n\":29'); DELETE FROM base WHERE key = 'needle-21'")
            .unwrap();
    });
    edge.apply(vec![cloud.verify(cloud.head)]);
    let differing = check(&mut edge).compared.unwrap().differing;
    let repairs = differing.iter().map(|sums| cloud.judge(sums)).collect();
    let applied = edge.apply(vec![Batch { repairs, ..batch(cloud.head, cloud.head, true, Vec::new()) }]);
    fill(&mut edge, &cloud, applied);
    assert_eq!(edge.n("needle-20"), Some(17));
    assert_eq!(edge.n("own"), Some(2));
    assert_eq!(edge.reader().count(&name("stock")).unwrap(), 301);
    edge.assert_digests();
}

/// An open repair is a durable fact, as any back-fill, and what the stream brings meanwhile stays.
#[test]
fn a_repair_goes_on_after_a_restart() {
    let (mut edge, mut cloud) = in_sync();
    edge.meanwhile(|file| file.execute_batch("UPDATE base SET value = '{}' WHERE key IN ('needle-1', 'needle-2')").unwrap());
    edge.apply(vec![cloud.verify(cloud.head)]);
    let sums = check(&mut edge).compared.unwrap().differing.remove(0);
    let repair = cloud.judge(&sums);
    let applied = edge.apply(vec![Batch { repairs: vec![repair.clone()], ..batch(cloud.head, cloud.head, true, Vec::new()) }]);
    let open = Fill { grant: repair.grant, at: at(0), ranges: Some(repair.ranges) };
    assert_eq!(applied.fills, std::slice::from_ref(&open));
    assert_eq!(applied.repairs.len(), 1);
    edge.reopen();
    assert_eq!(edge.store().facts().unwrap().fills, std::slice::from_ref(&open));
    let adopted = edge.adopt(&welcome(2, cloud.head, None));
    assert_eq!(adopted.fills, std::slice::from_ref(&open));
    let from = cloud.head;
    cloud.put("stock", "needle-1", from + 1, r#"{"id":"needle-1","n":5}"#);
    edge.apply(vec![cloud.verify(from)]);
    let whole = Fill { ranges: None, ..open.clone() };
    let part = FillPart { fill: Fill { at: at(from), ..whole }, done: true, records: Vec::new() };
    edge.apply(vec![Batch { fill: Some(part), ..batch(cloud.head, cloud.head, true, Vec::new()) }]);
    assert_eq!(edge.store().facts().unwrap().fills, std::slice::from_ref(&open), "a part of another back-fill is not taken for it");
    let mut part = cloud.fill(&open);
    part.records.retain(|record| record.revision.0 <= from);
    edge.apply(vec![Batch { fill: Some(part), ..batch(cloud.head, cloud.head, true, Vec::new()) }]);
    assert_eq!(edge.store().facts().unwrap().fills, []);
    edge.apply(vec![cloud.verify(cloud.head)]);
    assert_eq!(check(&mut edge).compared.unwrap().differing, []);
    same(&mut edge, &cloud);
}

/// What nobody asked for and came at its time is compared by the figures that are kept; everything else by the rows.
#[test]
fn the_rows_are_read_when_somebody_asks() {
    let (mut edge, cloud) = in_sync();
    let later = |edge: &mut Edge, ms: u64| edge.store().apply(&[cloud.verify(cloud.head)], now(ms)).unwrap();
    let applied = later(&mut edge, VERIFY_MS);
    assert_eq!((applied.check, applied.compared.unwrap().differing), (false, Vec::new()), "in turn");
    assert_eq!(edge.reader().status().unwrap().verified_ms, Some(now(VERIFY_MS).wall_ms));
    assert!(later(&mut edge, VERIFY_MS + 60_000).check, "out of turn: somebody in the cloud asked");
    check(&mut edge);
    edge.store().owe_check(VERIFY_MS * 2);
    assert!(later(&mut edge, VERIFY_MS * 3).check, "somebody here asked");
    edge.store().check(now(VERIFY_MS * 3)).unwrap().unwrap();
    assert!(!later(&mut edge, VERIFY_MS * 4).check);
    assert!(later(&mut edge, VERIFY_MS * 4 + 7 * 24 * 3_600_000).check, "every week");
}

/// Digests are about exactly the state at their batch: behind others in one commit they only meet the kept figures.
#[test]
fn a_check_holds_the_state_that_the_digests_are_about() {
    let (mut edge, mut cloud) = in_sync();
    edge.store().owe_check(1);
    edge.apply(vec![cloud.verify(cloud.head)]);
    let held = edge.store().take_check(0).unwrap().unwrap();
    let from = cloud.head;
    cloud.put("stock", "needle-0", from + 1, r#"{"id":"needle-0","n":77}"#);
    edge.store().apply(&[cloud.verify(from)], now(VERIFY_MS)).unwrap();
    let mut found = held.run().unwrap().unwrap();
    let checked = edge.store().settle(&mut found, now(VERIFY_MS)).unwrap().unwrap();
    assert_eq!(checked.compared.map(|compared| (compared.revision.0, compared.differing)), Some((from, Vec::new())));
    edge.assert_digests();
    same(&mut edge, &cloud);
}

/// Where a flipped bit parts a row from its index, the stream goes on all the same, and the next verification finds it.
#[test]
fn the_stream_goes_on_over_a_damaged_index() {
    let needle = "needle-77";
    for place in 0..places(needle).len() {
        let (mut edge, mut cloud) = in_sync();
        edge.store().checkpoint().unwrap();
        let path = edge.path();
        edge.closed(|| {
            let mut bytes = std::fs::read(&path).unwrap();
            let at = find(&bytes, needle)[place] + 2;
            bytes[at] ^= 4;
            std::fs::write(&path, bytes).unwrap();
        });
        let from = cloud.head;
        cloud.records.remove(&("stock".to_owned(), needle.to_owned()));
        cloud.head += 1;
        let gone = vec![batch(from, from + 1, true, vec![crate::kit::gone("stock", needle, from + 1)])];
        // A declared index that says something else than the row is built again, and the session comes again.
        if edge.store().apply(&gone, now(0)).is_err() {
            edge.apply(gone);
        }
        verify(&mut edge, &cloud);
    }
}

/// A grant that begins to fill anew while the rows are read makes what was found about it worthless.
#[test]
fn what_a_check_found_before_a_new_fill_counts_for_nothing() {
    let (mut edge, cloud) = in_sync();
    edge.meanwhile(|file| file.execute_batch("UPDATE grants SET digest_count = digest_count + 7").unwrap());
    let mut found = edge.store().take_check(0).unwrap().unwrap().run().unwrap().unwrap();
    let reset = welcome(2, cloud.head, Some(grants(cloud.head)));
    edge.adopt(&proto::frame::Welcome { reset: true, ..reset });
    let checked = edge.store().settle(&mut found, now(0)).unwrap().unwrap();
    assert!(checked.again && checked.compared.is_none());
    edge.assert_none_counts();
}
