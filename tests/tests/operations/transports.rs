//! Nodes over QUIC and over WebSocket beside each other, and a node that finds out what works.

use serde_json::json;
use tests::shops::World;
use tests::until::until_shown;

use super::{SHOP, records, sell};

/// What carries a node's link, as the hub shows it and as the node itself does.
fn carried(world: &World, node: usize, transport: &str) {
    let edge = &world.edges[node];
    until_shown(&format!("{} over {transport}", edge.name), || {
        let there = world.cloud.client().get(&format!("/v1/nodes/{}", edge.name)).map_err(|error| error.to_string())?.json();
        let here = edge.client().get("/v1/status").map_err(|error| error.to_string())?.json();
        let seen = there["state"] == "online" && there["transport"] == transport && here["link"]["transport"] == transport;
        seen.then_some(()).ok_or_else(|| format!("{there}\n{here}"))
    });
}

/// A run over QUIC that is silently one over WebSocket would prove nothing.
#[test]
fn links_run_over_the_transport_that_the_run_names() {
    let world = World::new(&[("lyon", &[])]);
    let named = tests::shops::transport();
    assert_eq!(world.edges[0].transport, named);
    carried(&world, 0, &named);
    world.settle();
}

#[test]
fn quic_beside_websocket_and_all_have_the_same() {
    let mut world = World::new(&[("lyon", &[]), ("oslo", &[]), ("graz", &[])]);
    for (edge, transport) in world.edges.iter_mut().zip(["quic", "websocket", "auto"]) {
        edge.stop();
        edge.transport = transport.into();
        edge.start();
    }
    world.cloud.define(SHOP);
    let mut cloud = world.cloud.client();
    cloud.json("PUT", "/v1/collections/stock/records/a", &json!({"n": 0})).unwrap().ok(201);
    for (node, transport) in ["quic", "websocket", "quic"].into_iter().enumerate() {
        carried(&world, node, transport);
    }
    let listen = cloud.get("/v1/status").unwrap().ok(200)["listen"].clone();
    assert_eq!(listen["quic"], world.cloud.quic.unwrap().to_string(), "{listen}");
    world.settle();
    for (number, edge) in world.edges.iter().enumerate() {
        let mut client = edge.client();
        for turn in 0..20 {
            sell(&mut client, &format!("{number}-{turn}"));
        }
    }
    world.settle();
    let all = records(&mut world.cloud.client());
    assert_eq!(world.cloud.record("stock", "a").unwrap()["n"], 60);
    for edge in &world.edges {
        assert_eq!(records(&mut edge.client()), all, "{}", edge.name);
    }
    // A hub that stops says so, and one that is back is found, over either.
    world.cloud.stop();
    sell(&mut world.edges[0].client(), "while away");
    world.cloud.start();
    world.settle();
    assert_eq!(world.cloud.record("stock", "a").unwrap()["n"], 61);
    let traffic = world.cloud.client().get("/metrics").unwrap();
    let traffic = String::from_utf8(traffic.body).unwrap();
    assert!(traffic.lines().any(|line| line.contains("lyon") && line.contains("bytes")), "{traffic}");
}

#[test]
fn where_quic_does_not_get_through_websocket_is_used_and_remembered() {
    let mut world = World::new(&[("lyon", &[])]);
    world.edges[0].stop();
    world.cloud.stop();
    let quic = world.cloud.quic.take();
    world.cloud.start();
    world.edges[0].transport = "auto".into();
    world.edges[0].start();
    carried(&world, 0, "websocket");
    let hint = std::fs::read_to_string(world.edges[0].data.join("transport")).unwrap();
    assert!(hint.starts_with("websocket "), "{hint}");
    // An hour later, or on another network, or when a person says so, QUIC goes first again.
    world.cloud.stop();
    world.edges[0].stop();
    world.cloud.quic = quic;
    world.cloud.start();
    std::fs::write(world.edges[0].data.join("transport"), "websocket 0\n").unwrap();
    world.edges[0].start();
    carried(&world, 0, "quic");
    let hint = std::fs::read_to_string(world.edges[0].data.join("transport")).unwrap();
    assert!(hint.starts_with("quic "), "{hint}");
}

#[test]
fn a_revoked_node_is_told_so_over_quic() {
    let mut world = World::new(&[("lyon", &[])]);
    world.edges[0].stop();
    world.edges[0].transport = "quic".into();
    world.edges[0].start();
    carried(&world, 0, "quic");
    world.cloud.cli(&["node", "revoke", "lyon"]).done();
    until_shown("refused as revoked", || {
        let status = world.edges[0].client().get("/v1/status").map_err(|error| error.to_string())?.json();
        (status["sync"]["reason"] == "revoked").then_some(()).ok_or_else(|| status.to_string())
    });
}
