//! Who set which field.

use proto::build::Action;
use proto::clock::Hlc;

use super::bench::{Bench, Fixture, key, name, node, op, value};
use super::edge::{Edge, increment, put, set};
use super::shops;
use crate::store::{FieldRow, Job, StoreRead};

/// Field, revision, writer and actor.
type Told = (String, u64, Option<String>, Option<String>);

fn told<F: Fixture>(bench: &mut Bench<F>, record: &str) -> Vec<Told> {
    let found = bench.reader().record_fields(&name("products"), &key(record)).unwrap().unwrap();
    found.fields.into_iter().map(|row| (row.name, row.revision.unwrap().0, row.writer, row.actor)).collect()
}

fn by(field: &str, revision: u64, writer: &str, actor: &str) -> Told {
    (field.to_owned(), revision, Some(writer.to_owned()), Some(actor.to_owned()))
}

pub(super) fn every_field_names_who_set_it<F: Fixture>() {
    let mut bench = shops::<F>();
    let born = bench.put("products", "1", r#"{"ProductID":1,"ProductName":"Chai","UnitPrice":18,"UnitsInStock":20}"#);
    let (mut lyon, mut oslo) = (Edge::new("lyon", 1), Edge::new("oslo", 2));
    for edge in [&mut lyon, &mut oslo] {
        edge.connect(&mut bench);
        edge.sync(&mut bench);
    }
    let fields = ["ProductID", "ProductName", "UnitPrice", "UnitsInStock"];
    assert_eq!(told(&mut bench, "1"), fields.map(|field| by(field, born, "cloud", "office")));

    let price = bench.write(vec![op("products", "1", Action::Merge(value(r#"{"UnitPrice":19}"#)))]).unwrap().write.revision.0;
    lyon.commit(set("products", "1", born, "ProductName", r#""Chai bio""#));
    lyon.upload(&mut bench).unwrap();
    let renamed = bench.head();
    oslo.commit(increment("1", born, -3));
    oslo.upload(&mut bench).unwrap();
    let sold = bench.head();
    let all = [
        by("ProductID", born, "cloud", "office"),
        by("ProductName", renamed, "lyon", "till-lyon"),
        by("UnitPrice", price, "cloud", "office"),
        by("UnitsInStock", sold, "oslo", "till-oslo"),
    ];
    assert_eq!(told(&mut bench, "1"), all);
    let found = bench.reader().record_fields(&name("products"), &key("1")).unwrap().unwrap();
    assert_eq!(found.fields[1].at_ms, Some(1_800_000_000_001), "by the clock of the shop");
    assert_eq!(Some(found.record), bench.get("products", "1"));

    // With a node its writes are forgotten; the change stays, without a name.
    bench.done(Job::DeleteNode { node: node("lyon") });
    assert_eq!(told(&mut bench, "1")[1], ("ProductName".to_owned(), renamed, None, None));
    bench.done(Job::DeleteNode { node: node("oslo") });
    assert_eq!(told(&mut bench, "1")[3], by("UnitsInStock", sold, "oslo", "till-oslo"), "the record itself says who changed it last");
}

pub(super) fn what_lost_has_not_set_a_field<F: Fixture>() {
    let mut bench = shops::<F>();
    let born = bench.put("products", "1", r#"{"ProductID":1,"ProductName":"Chai"}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    bench.now_ms += 1_000_000;
    let kept = bench.write(vec![op("products", "1", Action::Merge(value(r#"{"ProductName":"Tea"}"#)))]).unwrap().write.revision.0;
    lyon.commit(set("products", "1", born, "ProductName", r#""Green tea""#));
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "merged", "")]);
    assert_eq!(told(&mut bench, "1")[1], by("ProductName", kept, "cloud", "office"));
}

/// Who changes a value after a node whose clock is ahead stands above its clock: a third, who saw neither and whose clock lies between
/// the two, does not win over him.
pub(super) fn the_clock_follows_what_was_taken<F: Fixture>() {
    let mut bench = shops::<F>();
    let born = bench.put("products", "1", r#"{"ProductID":1,"ProductName":"Chai"}"#);
    let (mut lyon, mut oslo) = (Edge::new("lyon", 1), Edge::new("oslo", 2));
    for edge in [&mut lyon, &mut oslo] {
        edge.connect(&mut bench);
        edge.sync(&mut bench);
    }
    let ahead = |ms| Hlc::from_ms(bench.now_ms + ms);
    let (by_lyon, by_oslo) = (ahead(30_000), ahead(10_000));
    lyon.commit_at(by_lyon, set("products", "1", born, "ProductName", r#""Lyon""#));
    lyon.upload(&mut bench).unwrap();
    let last = bench.write(vec![op("products", "1", Action::Merge(value(r#"{"ProductName":"Office"}"#)))]).unwrap().write.revision.0;
    oslo.commit_at(by_oslo, set("products", "1", born, "ProductName", r#""Oslo""#));
    oslo.upload(&mut bench).unwrap();
    assert_eq!(told(&mut bench, "1")[1], by("ProductName", last, "cloud", "office"));
}

pub(super) fn conflict_rows_keep_no_clocks_of_fields<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    bench.put("products", "7", r#"{"ProductID":7}"#);
    lyon.commit(put("products", "7", r#"{"ProductID":7,"ProductName":"Chai"}"#));
    lyon.upload(&mut bench).unwrap();
    let row = bench.reader().conflicts(&crate::store::ConflictsRequest { limit: 1, ..Default::default() }).unwrap().0.remove(0);
    let found = bench.reader().record_fields(&name("_conflicts"), &key(&row.id)).unwrap().unwrap();
    assert!(!found.fields.is_empty());
    for field in found.fields {
        assert_eq!(field, FieldRow { name: field.name.clone(), ..FieldRow::default() });
    }
}
