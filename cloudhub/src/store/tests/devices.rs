//! Devices are records that every node gets by its name.

use proto::build::Action;
use proto::device::{DEVICES, MODELS, TWINS};

use super::bench::{Bench, Fixture, op, put_op, value};
use super::edge::{Edge, put, set};
use super::shops;
use crate::store::Job;

fn moved<F: Fixture>(bench: &mut Bench<F>, device: &str, to: &str) {
    let merge = |collection| op(collection, device, Action::Merge(value(&format!(r#"{{"node":"{to}"}}"#))));
    bench.write(vec![merge(DEVICES), merge(TWINS)]).unwrap();
}

pub(super) fn devices_go_to_the_node_that_they_name<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.done(Job::DefineDevices);
    let head = bench.head();
    bench.done(Job::DefineDevices);
    assert_eq!(bench.head(), head, "once is enough");
    bench.join("paris", &[]);
    bench.write(vec![put_op(MODELS, "thermostat", r#"{"properties":{"temp":{"type":"int"}}}"#)]).unwrap();
    for (device, node) in [("cellar", "lyon"), ("roof", "paris")] {
        let [device_row, twin] = [format!(r#"{{"model":"thermostat","node":"{node}"}}"#), format!(r#"{{"node":"{node}"}}"#)];
        bench.write(vec![put_op(DEVICES, device, &device_row), put_op(TWINS, device, &twin)]).unwrap();
    }
    let mut edges: Vec<Edge> = (1..).zip(["lyon", "oslo", "paris"]).map(|(database, node)| Edge::new(node, database)).collect();
    for (edge, held) in edges.iter_mut().zip([1, 0, 1]) {
        edge.connect(&mut bench);
        edge.sync(&mut bench);
        assert_eq!((edge.holds(MODELS), edge.holds(DEVICES), edge.holds(TWINS)), (1, held, held), "{}", edge.node);
    }
    // Labels are an operator's, the name is not: no label of that name can be set, and none takes the devices away.
    bench.label("lyon", &[("site", None), ("role", Some("depot"))]);
    edges[0].sync(&mut bench);
    assert_eq!(edges[0].holds(DEVICES), 1);
}

pub(super) fn a_device_moves_with_its_twin_and_a_late_report_still_counts<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.done(Job::DefineDevices);
    let (mut lyon, mut oslo) = (Edge::new("lyon", 1), Edge::new("oslo", 2));
    for edge in [&mut lyon, &mut oslo] {
        edge.connect(&mut bench);
        edge.sync(&mut bench);
    }
    // Declared at the edge, while nobody knows of it anywhere else.
    lyon.commit([put(DEVICES, "cellar", r#"{"model":"m","node":"lyon"}"#), put(TWINS, "cellar", r#"{"node":"lyon"}"#)].concat());
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    let seen = bench.head();
    moved(&mut bench, "cellar", "oslo");
    lyon.commit(set(TWINS, "cellar", seen, "reported.temp", r#"{"value":21,"version":1,"timestamp":1,"writer":"lyon"}"#));
    lyon.upload(&mut bench).unwrap();
    assert!(bench.get(TWINS, "cellar").unwrap().value.contains("\"value\":21"), "measured before the node knew");
    for (edge, held) in [(&mut lyon, 0), (&mut oslo, 1)] {
        edge.sync(&mut bench);
        assert_eq!((edge.holds(DEVICES), edge.holds(TWINS)), (held, held), "{}", edge.node);
        edge.same_as_cloud(&mut bench);
    }
    // What it has lost it may not write any more.
    lyon.commit(set(TWINS, "cellar", bench.head(), "reported.temp", r#"{"value":99,"version":2,"timestamp":2,"writer":"lyon"}"#));
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "applied", ""), (2, "applied", ""), (3, "rejected", "not_entitled")]);
}
