//! Who gets a session, and who loses it.

use http::Method;
use proto::frame::Frame;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, SanType};
use serde_json::json;
use transport::dial::ConnectReason;
use transport::identity::node_uri;
use transport::link::{Link, LinkRx, LinkTx, Received};
use transport::ws::connect;

use crate::hub::{Hub, node_name};
use crate::node::{Machine, Memory, Session, new_key, server, tls_of};
use crate::run;

#[test]
fn another_database_of_a_live_node_is_refused_and_the_live_one_undisturbed() {
    run(async {
        let hub = Hub::start().await;
        hub.define("products").await;
        let machine = Machine::join(&hub, "lyon").await;
        let mut live = Session::open(&hub, &machine, Memory::new(1)).await;
        live.in_sync().await;
        let mut other = Session::open(&hub, &machine, Memory::new(2)).await;
        assert_eq!(other.ended().await.as_deref(), Some("in_use"));
        hub.import("products", "{\"id\":\"p1\"}\n".into()).await.unwrap();
        live.until(|node| node.memory.records.len() == 1).await;
        assert!(live.is_open());
        drop(live);
        hub.stop().await;
    });
}

#[test]
fn the_same_database_takes_its_own_place_and_a_copy_does_not() {
    run(async {
        let hub = Hub::start().await;
        let machine = Machine::join(&hub, "lyon").await;
        let mut first = Session::open(&hub, &machine, Memory::new(1)).await;
        first.in_sync().await;
        let image = first.memory.clone();
        let mut second = Session::open(&hub, &machine, image.clone()).await;
        second.in_sync().await;
        assert_eq!(first.ended().await.as_deref(), Some("replaced"));
        let mut third = Session::open(&hub, &machine, second.memory.clone()).await;
        third.in_sync().await;
        let mut copy = Session::open(&hub, &machine, image).await;
        assert_eq!(copy.ended().await.as_deref(), Some("copied_database"));
        assert!(hub.events("lyon").await.contains(&"copied_database".to_owned()));
        assert!(third.is_open());
        drop((second, third));
        hub.stop().await;
    });
}

#[test]
fn revoking_ends_the_session_and_refuses_the_certificate() {
    run(async {
        let hub = Hub::start().await;
        let machine = Machine::join(&hub, "lyon").await;
        let mut node = Session::open(&hub, &machine, Memory::new(1)).await;
        node.in_sync().await;
        let shown = hub.post(&["v1", "nodes", "lyon", "revoke"], json!({})).await.unwrap();
        assert_eq!((&shown["state"], &shown["reason"]), (&json!("revoked"), &json!("revoked")));
        assert_eq!(node.ended().await.as_deref(), Some("revoked"));
        let refused = machine.link(&hub).await.unwrap_err();
        assert!(matches!(&refused.reason, ConnectReason::Refused { status: 403, text } if text.contains("revoked")), "{refused}");
        let status = hub.get(&["v1", "status"]).await.unwrap();
        assert_eq!(status["nodes"], json!({"total": 1, "online": 0, "offline": 0, "revoked": 1}));
        hub.stop().await;
    });
}

#[test]
fn a_deleted_node_loses_its_session() {
    run(async {
        let hub = Hub::start().await;
        let machine = Machine::join(&hub, "lyon").await;
        let mut node = Session::open(&hub, &machine, Memory::new(1)).await;
        node.in_sync().await;
        hub.send(Method::DELETE, &["v1", "nodes", "lyon"], json!({})).await.unwrap();
        assert_eq!(node.ended().await.as_deref(), Some("unknown_node"));
        hub.stop().await;
    });
}

#[test]
fn certificates_of_others_open_nothing() {
    run(async {
        let hub = Hub::start().await;
        let machine = Machine::join(&hub, "lyon").await;
        // A CA of somebody else issues a perfect certificate for lyon.
        let (ca_key, key) = (new_key(), new_key());
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let mut leaf = CertificateParams::new(vec![]).unwrap();
        leaf.subject_alt_names = vec![SanType::URI(node_uri(&node_name("lyon")).try_into().unwrap())];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let foreign = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
        let tls = tls_of(&key, &format!("{foreign}{ca_pem}"), machine.answer["ca"].as_str().unwrap());
        let refused = connect(&server(&hub), tls).await.unwrap_err();
        assert!(matches!(refused.reason, ConnectReason::Tls(_)), "{refused}");

        let ca = std::fs::read(hub.data.path().join("data/pki/ca.crt")).unwrap();
        let refused = connect(&server(&hub), api::client::trusting(&ca).unwrap()).await.unwrap_err();
        assert!(matches!(refused.reason, ConnectReason::Tls(_)), "no certificate at all: {refused}");
        let shown = hub.get(&["v1", "nodes", "lyon"]).await.unwrap();
        assert_eq!((&shown["state"], &shown["last_seen"]), (&json!("offline"), &json!(null)));
        hub.stop().await;
    });
}

#[test]
fn garbage_closes_its_own_connection_only() {
    run(async {
        let hub = Hub::start().await;
        hub.define("products").await;
        let (lyon, oslo) = (Machine::join(&hub, "lyon").await, Machine::join(&hub, "oslo").await);
        let mut good = Session::open(&hub, &lyon, Memory::new(1)).await;
        good.in_sync().await;
        let (mut tx, mut rx) = oslo.link(&hub).await.unwrap().split();
        tx.send(vec![0xff; 100].into()).await.unwrap();
        let Received::Frame(last) = rx.recv().await.unwrap() else { panic!("no last word") };
        let Ok(Frame::Close(reason)) = Frame::decode(&last) else { panic!("{last:?}") };
        assert_eq!(reason.code, "malformed");
        assert!(!matches!(rx.recv().await, Ok(Received::Frame(_))));
        hub.import("products", "{\"id\":\"p1\"}\n".into()).await.unwrap();
        good.until(|node| node.memory.records.len() == 1).await;
        assert!(good.is_open());
        drop(good);
        hub.stop().await;
    });
}
