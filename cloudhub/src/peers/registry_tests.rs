#![allow(clippy::unwrap_used)]

use proto::frame::Grant;
use proto::ids::Revision;
use proto::names::CollectionName;
use tokio::time::{Duration, timeout};

use super::*;

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn share(text: &str) -> Share {
    let (collection, partition) = text.split_once('/').map_or((text, None), |(c, p)| (c, Some(p.to_owned())));
    Share { collection: CollectionName::parse(collection).unwrap(), partition }
}

fn grants(shares: &[&str]) -> Grants {
    let grants = shares.iter().map(|text| Grant { share: share(text), since: Revision(1), from: Revision(1) }).collect();
    Grants { grants, ..Grants::default() }
}

fn connect(registry: &Registry, node: &str) -> Arc<Live> {
    registry.connect(name(node), "10.0.0.1:1".into(), TransportKind::Memory, LinkCounters::new())
}

fn touched(shares: &[&str], nodes: &[&str]) -> Touched {
    let nodes = nodes.iter().map(|text| name(text)).collect();
    Touched { head: Revision(2), shares: shares.iter().map(|text| share(text)).collect(), nodes }
}

/// Which of them were woken; asking takes the wake-up.
async fn woken(all: &[&Arc<Live>]) -> Vec<String> {
    let mut names = Vec::new();
    for live in all {
        if timeout(Duration::ZERO, live.wake.notified()).await.is_ok() {
            names.push(live.node.to_string());
        }
    }
    names
}

#[tokio::test]
async fn only_those_concerned_are_woken() {
    let registry = Registry::default();
    let [lyon, oslo, bonn] = ["lyon", "oslo", "bonn"].map(|node| connect(&registry, node));
    registry.admit(&lyon, DatabaseId([1; 16]), &grants(&["products", "stock/lyon"]));
    registry.admit(&oslo, DatabaseId([2; 16]), &grants(&["products", "stock/oslo"]));
    let all = [&lyon, &oslo, &bonn];
    registry.touched(&touched(&["stock/oslo"], &[]));
    assert_eq!(woken(&all).await, ["oslo"]);
    registry.touched(&touched(&["products", "stock/paris"], &[]));
    assert_eq!(woken(&all).await, ["lyon", "oslo"]);
    registry.touched(&touched(&[], &["lyon", "bonn"]));
    assert_eq!(woken(&all).await, ["lyon"], "bonn has not been admitted");
    registry.touched(&touched(&["stock"], &[]));
    assert_eq!(woken(&all).await, Vec::<String>::new());

    registry.regrant(&lyon, &grants(&["stock/oslo"]));
    registry.touched(&touched(&["products"], &[]));
    assert_eq!(woken(&all).await, ["oslo"]);
    registry.touched(&touched(&["stock/oslo"], &[]));
    assert_eq!(woken(&all).await, ["lyon", "oslo"]);

    registry.leave(&oslo);
    registry.touched(&touched(&["products", "stock/oslo"], &["oslo"]));
    assert_eq!(woken(&all).await, ["lyon"]);
    registry.leave(&lyon);
    assert!(registry.lock().shares.is_empty(), "nothing is kept of nodes that are gone");
}

#[tokio::test]
async fn a_newer_session_takes_the_place_of_the_old_one() {
    let registry = Registry::default();
    let old = connect(&registry, "lyon");
    registry.admit(&old, DatabaseId([1; 16]), &grants(&["products"]));
    assert_eq!(registry.live(&name("lyon")), Some(DatabaseId([1; 16])));
    let new = connect(&registry, "lyon");
    assert!(old.ending().is_none(), "a connection alone replaces nothing");
    registry.admit(&new, DatabaseId([1; 16]), &grants(&["products"]));
    assert_eq!(old.ending().unwrap().code, "replaced");
    assert_eq!(woken(&[&old]).await, ["lyon"]);
    registry.leave(&old);
    registry.touched(&touched(&["products"], &[]));
    assert_eq!(woken(&[&new]).await, ["lyon"], "the old one took nothing of the new one along");
    assert_eq!(registry.live(&name("lyon")), Some(DatabaseId([1; 16])));
}

#[tokio::test]
async fn a_connection_that_broke_while_it_was_judged_is_not_live() {
    let registry = Registry::default();
    let live = connect(&registry, "lyon");
    registry.leave(&live);
    registry.admit(&live, DatabaseId([1; 16]), &grants(&["products"]));
    assert_eq!(registry.live(&name("lyon")), None);
    assert!(registry.lock().shares.is_empty());
}

#[test]
fn who_ends_hears_why_and_whoever_comes_later_too() {
    let registry = Registry::default();
    let (lyon, oslo) = (connect(&registry, "lyon"), connect(&registry, "oslo"));
    registry.end(&name("lyon"), "revoked", "the node was revoked");
    assert_eq!(lyon.ending().unwrap().code, "revoked");
    assert_eq!(oslo.ending(), None);
    registry.close();
    assert_eq!(oslo.ending().unwrap().code, "shutdown");
    assert_eq!(lyon.ending().unwrap().code, "revoked", "the first reason counts");
    assert_eq!(connect(&registry, "bonn").ending().unwrap().code, "shutdown");
}

#[test]
fn presence_shows_sessions_and_refusals() {
    let registry = Registry::default();
    let lyon = connect(&registry, "lyon");
    registry.refuse(&lyon, "copied_database");
    assert_eq!(registry.presence(&name("lyon")).refused.as_deref(), Some("copied_database"));
    registry.admit(&lyon, DatabaseId([1; 16]), &grants(&[]));
    let presence = registry.presence(&name("lyon"));
    assert!(presence.refused.is_none() && !presence.is_online(), "admitted, and Welcome may be lost");
    lyon.update(|view| view.open = true);
    assert!(registry.presence(&name("lyon")).is_online());
    assert_eq!(registry.online(), 1);
}

#[test]
fn one_node_cannot_have_all_connections() {
    let registry = Registry::default();
    let session = connect(&registry, "lyon");
    registry.admit(&session, DatabaseId([1; 16]), &grants(&["products"]));
    let oslo = connect(&registry, "oslo");
    let silent: Vec<_> = (0..3 * CONNECTIONS_PER_NODE).map(|_| connect(&registry, "lyon")).collect();
    let living = silent.iter().filter(|live| !live.is_ending()).count();
    assert_eq!(living, CONNECTIONS_PER_NODE - 1, "the oldest give way");
    assert!(silent[silent.len() - living..].iter().all(|live| !live.is_ending()), "the newest stay");
    assert!(!session.is_ending() && !oslo.is_ending(), "neither the session nor another node is touched");
    silent.iter().for_each(|live| registry.leave(live));
    registry.leave(&session);
    assert!(!registry.lock().of_node.contains_key(&name("lyon")), "nothing is kept of who is gone");
    registry.end(&name("oslo"), "revoked", "");
    assert!(oslo.is_ending());
}
