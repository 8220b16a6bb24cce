//! The trading company's tables go down, and orders up, in a part of the bytes; a node that does not compress is served beside it.

use tests::northwind::{DEFINITIONS, TABLES, rows, same, tables};
use tests::shops::World;

/// Bytes that the hub sent to a node and got from it since it started.
fn passed(world: &World, node: &str) -> [u64; 2] {
    let text = String::from_utf8(world.cloud.client().get("/metrics").unwrap().body).unwrap();
    ["sent", "received"].map(|direction| {
        let name = format!("tombolo_node_{direction}_bytes_total{{node=\"{node}\"}} ");
        let figure = text.lines().find_map(|line| line.strip_prefix(&name));
        figure.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    })
}

#[test]
fn records_and_writes_take_a_part_of_the_bytes_over_both_transports() {
    let tables = tables();
    let file = |table: &str| tables.folder.join(format!("{table}.ndjson")).display().to_string();
    let mut world = World::new(&[]);
    world
        .cloud
        .define(&format!("{DEFINITIONS}\n[[collection]]\nname = \"made_here\"\nkey = \"OrderID\"\nnodes = {{ writes = \"yes\" }}\n"));
    for (table, _) in TABLES {
        world.cloud.cli(&["record", "import", table, &file(table)]).done();
    }
    for (name, transport, compression) in [("a", "websocket", true), ("b", "websocket", false), ("c", "quic", true), ("d", "quic", false)] {
        let mut edge = world.join(name, &["writes=yes"]);
        edge.transport = transport.into();
        // The join wrote [link] last.
        edge.configure(&format!("compression = {compression}"));
        edge.start();
        world.edges.push(edge);
    }
    world.settle();
    let orders = rows(&tables.folder, "orders", &["OrderID"]);
    for edge in &world.edges {
        let mut client = edge.client();
        for (key, value) in orders.iter().step_by(100) {
            let record = client.get(&format!("/v1/collections/orders/records/{key}")).unwrap().ok(200);
            assert!(same(&record["value"], value), "{} has {record}", edge.name);
        }
    }
    for [packed, plain] in [["a", "b"], ["c", "d"]] {
        let ([packed, _], [plain, _]) = (passed(&world, packed), passed(&world, plain));
        assert!(packed * 3 < plain, "{packed} bytes down where {plain} go uncompressed");
    }
    // Up, from nodes that were away: the hub counts anew.
    world.cloud.stop();
    for edge in &world.edges {
        let prefixed = rows(&tables.folder, "orders", &["OrderID"]).into_iter().take(300).map(|(key, mut value)| {
            value["OrderID"] = format!("{}-{key}", edge.name).into();
            format!("{value}\n")
        });
        let lines = edge.data.join("made_here.ndjson");
        std::fs::write(&lines, prefixed.collect::<String>()).unwrap();
        edge.cli(&["record", "import", "made_here", &lines.display().to_string()]).done();
    }
    world.cloud.start();
    world.settle();
    for [packed, plain] in [["a", "b"], ["c", "d"]] {
        let ([_, packed], [_, plain]) = (passed(&world, packed), passed(&world, plain));
        assert!(packed * 2 < plain, "{packed} bytes up where {plain} go uncompressed");
    }
    let list = world.cloud.cli(&["record", "export", "made_here"]).done();
    assert_eq!(list.lines().count(), 4 * 300);
}
