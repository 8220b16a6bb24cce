//! Bad input at the API and at the start: each a clear answer, nothing lost.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use cloudhub::config::QuicListen;

use crate::hub::{Hub, client, config, refusal};
use crate::node::{Machine, join_body, new_key};
use crate::run;

#[test]
fn tokens_are_used_once_and_a_lost_answer_can_be_asked_for_again() {
    run(async {
        let hub = Hub::start().await;
        let made = hub.post(&["v1", "join-tokens"], json!({"node": "lyon", "labels": {"role": "till"}})).await.unwrap();
        let token = made["token"].as_str().unwrap();
        assert!(made["join_command"].as_str().unwrap().ends_with(token));
        let key = new_key();
        let first = hub.post(&["v1", "join"], join_body(token, &key, Some("its-host-name"))).await.unwrap();
        let again = hub.post(&["v1", "join"], join_body(token, &key, None)).await.unwrap();
        assert_eq!((&again["certificate"], &again["node"]), (&first["certificate"], &json!("lyon")));
        let (code, text) = refusal(hub.post(&["v1", "join"], join_body(token, &new_key(), None)).await);
        assert_eq!(code, "unauthorized", "another machine with the same token: {text}");
        let shown = hub.get(&["v1", "nodes", "lyon"]).await.unwrap();
        assert_eq!(shown["labels"], json!({"role": "till"}));
        assert_eq!(hub.get(&["v1", "join-tokens"]).await.unwrap(), json!({"tokens": []}));

        let open = hub.post(&["v1", "join-tokens"], json!({})).await.unwrap();
        let (code, text) = refusal(hub.post(&["v1", "join"], join_body(open["token"].as_str().unwrap(), &new_key(), Some("lyon"))).await);
        assert_eq!(code, "name_taken");
        assert_eq!(
            text,
            "lyon is taken (never seen since it joined); to replace that machine run on the cloud: cloudhub token create --node lyon --replace"
        );
        hub.post(&["v1", "join"], join_body(open["token"].as_str().unwrap(), &new_key(), Some("oslo"))).await.unwrap();
        hub.stop().await;
    });
}

/// Each join with a shared token once issued a certificate for every answer that the token had given before.
#[test]
fn a_fleet_that_joins_with_one_token_costs_one_certificate_a_machine() {
    run(async {
        let hub = Hub::start().await;
        let made = hub.post(&["v1", "join-tokens"], json!({"uses": 20})).await.unwrap();
        let token = made["token"].as_str().unwrap();
        for number in 0..20 {
            let (key, name) = (new_key(), format!("shop-{number}"));
            let first = hub.post(&["v1", "join"], join_body(token, &key, Some(&name))).await.unwrap();
            assert_eq!(hub.figure("tombolo_certificates_issued_total").await, number + 1);
            let again = hub.post(&["v1", "join"], join_body(token, &key, Some(&name))).await.unwrap();
            assert_eq!(again["certificate"], first["certificate"]);
            assert_eq!(hub.figure("tombolo_certificates_issued_total").await, number + 1, "an answer that was lost is on record");
        }
        hub.stop().await;
    });
}

#[test]
fn a_replaced_machine_is_out_and_cannot_renew() {
    run(async {
        let hub = Hub::start().await;
        let old = Machine::join(&hub, "lyon").await;
        let renewed = json!({"certificate": old.answer["certificate"], "csr": crate::node::csr(&old.key)});
        hub.post(&["v1", "renew"], renewed.clone()).await.unwrap();
        let made = hub.post(&["v1", "join-tokens"], json!({"node": "lyon", "replace": true})).await.unwrap();
        let key = new_key();
        let answer = hub.post(&["v1", "join"], join_body(made["token"].as_str().unwrap(), &key, None)).await.unwrap();
        let new = Machine::of(key, answer);
        assert!(new.link(&hub).await.is_ok());
        assert!(old.link(&hub).await.is_err(), "the certificate from before its renewal is revoked too");
        let (code, text) = refusal(hub.post(&["v1", "renew"], renewed).await);
        assert_eq!(code, "unauthorized", "{text}");
        hub.stop().await;
    });
}

#[test]
fn who_asks_must_prove_it_and_may_what_the_token_says() {
    run(async {
        let hub = Hub::start().await;
        hub.define("products").await;
        hub.define("secrets").await;
        let made =
            hub.post(&["v1", "access-tokens"], json!({"name": "till", "role": "editor", "collections": ["products"]})).await.unwrap();
        let folder = hub.data.path().join("data");
        let port = hub.running.api.port();
        let as_token = |token: &str| client(&folder, port, token);
        let till = Hub { client: as_token(made["token"].as_str().unwrap()), running: hub.running, data: Arc::clone(&hub.data) };
        till.send(Method::PUT, &["v1", "collections", "products", "records", "a"], json!({"id": "a"})).await.unwrap();
        let put = till.send(Method::PUT, &["v1", "collections", "secrets", "records", "a"], json!({"id": "a"})).await;
        assert_eq!(refusal(put).0, "not_entitled");
        assert_eq!(refusal(till.post(&["v1", "join-tokens"], json!({})).await).0, "not_entitled");
        let id = made["id"].as_str().unwrap();
        let admin = Hub { client: hub.client, running: till.running, data: till.data };
        admin.send(Method::DELETE, &["v1", "access-tokens", id], json!({})).await.unwrap();
        let gone = Hub { client: till.client, running: admin.running, data: admin.data };
        assert_eq!(refusal(gone.get(&["v1", "collections"]).await).0, "unauthorized");
        gone.stop().await;
    });
}

#[test]
fn line_17_changes_nothing() {
    run(async {
        let hub = Hub::start().await;
        hub.define("products").await;
        let line =
            |id: usize| if id == 17 { "{\"id\":\"p17\",\"stock\":\"many\"}\n".to_owned() } else { format!("{{\"id\":\"p{id}\"}}\n") };
        let (code, text) = refusal(hub.import("products", (1..=2_000).map(line).collect()).await);
        assert_eq!(code, "bad_line", "{text}");
        assert!(text.starts_with("line 17: "), "{text}");
        let records = hub.get(&["v1", "collections", "products", "records"]).await.unwrap();
        assert_eq!(records["records"], json!([]));
        let definition = json!({"policy": "merge", "fields": {"stock": {"type": "countr"}}});
        let (code, text) = refusal(hub.send(Method::PUT, &["v1", "collections", "x"], definition).await);
        assert_eq!(code, "bad_request", "{text}");
        let missing = hub.send(Method::PUT, &["v1", "collections", "nothing", "records", "a"], json!({})).await;
        assert_eq!(refusal(missing).0, "not_found");
        hub.stop().await;
    });
}

#[test]
fn a_start_that_cannot_be_says_why() {
    run(async {
        let hub = Hub::start().await;
        let started = |config| async { cloudhub::serve::Running::start(config).await.err().map(|error| format!("{error:#}")).unwrap() };
        let text = started(config(&hub.data)).await;
        assert!(text.contains("in use by another cloudhub"), "{text}");
        let other = tempfile::tempdir().unwrap();
        let mut taken = config(&other);
        taken.listen.api = hub.running.api;
        let text = started(taken.clone()).await;
        assert!(text.contains(&hub.running.api.to_string()) && text.contains("--listen-api"), "{text}");
        taken.listen.api = config(&other).listen.api;
        taken.listen.ws = hub.running.websocket;
        let text = started(taken.clone()).await;
        assert!(text.contains(&hub.running.websocket.to_string()) && text.contains("--listen-ws"), "{text}");
        taken.listen.ws = config(&other).listen.ws;
        let quic = hub.running.quic.unwrap();
        taken.listen.quic = QuicListen::At(quic);
        let text = started(taken.clone()).await;
        assert!(text.contains(&quic.to_string()) && text.contains("--listen-quic"), "{text}");
        taken.listen.quic = QuicListen::Off;
        let second = cloudhub::serve::Running::start(taken).await.unwrap();
        second.stop().await.unwrap();
        hub.stop().await;
    });
}
