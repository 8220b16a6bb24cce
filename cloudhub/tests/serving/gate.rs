//! Many at once: sessions begin in turn, back-fills in turn, and what an old session still says counts for nothing.

use std::time::Duration;

use proto::op::Verdict;
use serde_json::json;
use tokio::task::JoinSet;
use transport::link::TransportKind;

use crate::hub::Hub;
use crate::node::{Listens, Machine, Memory, Session};
use crate::run;
use crate::sync::{products, sale};

const BOTH: [TransportKind; 2] = [TransportKind::WebSocket, TransportKind::Quic];

/// KubeEdge #3567: a fleet that reconnects starves those who are connected.
#[test]
fn a_fleet_comes_in_by_its_tickets_and_connected_nodes_are_served_meanwhile() {
    run(async {
        let hub = Hub::paced(4, 1, 256).await;
        hub.define("products").await;
        let machine = Machine::join(&hub, "lyon").await;
        let mut live = Session::open(&hub, &machine, Memory::new(1)).await;
        live.in_sync().await;
        let mut fleet = JoinSet::new();
        for number in 0..16 {
            let machine = Machine::join(&hub, &format!("shop-{number}")).await;
            let link = machine.link_over(&hub, BOTH[number % 2]).await;
            let at = (hub.running.websocket, hub.running.quic);
            fleet.spawn(comes_in(machine, link, at, BOTH[number % 2], number as u8));
        }
        hub.import("products", products(1)).await.unwrap();
        live.until(|node| node.memory.records.len() == 1).await;
        assert!(live.is_open());
        let (mut told, mut sessions) = (0, Vec::new());
        while let Some(done) = fleet.join_next().await {
            let (refusals, session) = done.unwrap();
            told += refusals;
            assert!(refusals <= 1, "who comes in its turn is let in");
            sessions.push(session);
        }
        assert!(told > 0, "sixteen came at once, and four a second are let in");
        assert_eq!(hub.figure("tombolo_sessions_deferred_total{ticket=\"yes\"}").await, told);
        assert_eq!(hub.figure("tombolo_sessions_admitted_total").await, 17);
        assert_eq!(hub.figure("tombolo_sessions_waiting").await, 0);
        let status = hub.get(&["v1", "status"]).await.unwrap();
        assert_eq!(status["nodes"]["online"], json!(17));
        drop((live, sessions));
        hub.stop().await;
    });
}

/// One node, until it is in sync: how often it was told to come back.
async fn comes_in(machine: Machine, link: transport::any::AnyLink, at: Listens, transport: TransportKind, database: u8) -> (u64, Session) {
    let mut refusals = 0;
    let mut session = Session::over(link, Memory::new(database));
    loop {
        session.in_sync().await;
        let Some(end) = session.end.take() else {
            assert!(session.is_open(), "the link broke");
            return (refusals, session);
        };
        assert_eq!(end.reason.code, "busy");
        assert!(!end.ticket.is_empty() && end.retry_ms > 0);
        refusals += 1;
        tokio::time::sleep(Duration::from_millis(end.retry_ms)).await;
        let memory = Memory { ticket: end.ticket, ..session.memory.clone() };
        session = Session::over(machine.link_at(at, transport).await, memory);
    }
}

#[test]
fn a_snapshot_that_waits_keeps_nothing_else_waiting() {
    run(async {
        let hub = Hub::paced(200, 200, 1).await;
        hub.define("products").await;
        hub.import("products", products(3_000)).await.unwrap();
        let (lyon, oslo) = (Machine::join(&hub, "lyon").await, Machine::join(&hub, "oslo").await);
        let mut fills = Session::open(&hub, &lyon, Memory::new(1)).await;
        fills.until(|node| !node.memory.records.is_empty()).await;
        // It says no more, and so has its place for as long as it may.
        let mut waits = Session::open(&hub, &oslo, Memory::new(2)).await;
        waits.until(Session::is_open).await;
        hub.import("products", "{\"id\":\"new\",\"stock\":20}\n".into()).await.unwrap();
        waits.until(|node| node.memory.records.len() == 1).await;
        assert_eq!(hub.figure("tombolo_snapshots{state=\"waiting\"}").await, 1);
        waits.wrote(sale("new", 3));
        waits.until(|node| node.memory.field("products", "new", "stock") == Some(json!(17))).await;
        assert_eq!(waits.memory.outcomes[&1].verdict, Verdict::Applied);
        assert_eq!(waits.memory.records.len(), 1, "its own snapshot has not begun");
        drop(fills);
        waits.until(|node| node.memory.records.len() == 3_001 && node.memory.fills.is_empty()).await;
        assert!(waits.is_open());
        drop(waits);
        hub.stop().await;
    });
}

/// The old connection is still there, and speaks, while the new session is open: on its own transport, and across.
#[test]
fn frames_of_a_session_that_was_replaced_are_dropped() {
    run(async {
        let hub = Hub::start().await;
        hub.define("products").await;
        hub.import("products", products(1)).await.unwrap();
        let ways = BOTH.iter().flat_map(|old| BOTH.iter().map(move |new| (*old, *new)));
        for (number, (old, new)) in ways.enumerate() {
            let name = format!("shop-{number}");
            let machine = Machine::join(&hub, &name).await;
            let mut first = Session::over(machine.link_over(&hub, old).await, Memory::new(number as u8));
            first.in_sync().await;
            let mut second = Session::over(machine.link_over(&hub, new).await, first.memory.clone());
            second.in_sync().await;
            // It does not know yet, and sends a write and ACKs.
            first.wrote(sale("p1", 100));
            assert_eq!(first.ended().await.as_deref(), Some("replaced"), "{old} then {new}");
            second.wrote(sale("p1", 1));
            second.until(|node| node.memory.outcomes.contains_key(&1)).await;
            assert_eq!(second.memory.outcomes[&1].verdict, Verdict::Applied, "number 1 was not taken before");
            let record = hub.get(&["v1", "collections", "products", "records", "p1"]).await.unwrap();
            assert_eq!(record["value"]["stock"], json!(20 - (number + 1)), "{old} then {new}");
            assert!(second.is_open());
        }
        hub.stop().await;
    });
}
