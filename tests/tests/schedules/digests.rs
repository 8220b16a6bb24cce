//! Digests: what a node holds is compared with what the cloud has, and what differs is read again, no more.

use metamanager::Reader;
use tests::lab::words::{add, delete, put};
use tests::lab::{Lab, Side};

use super::{n, shop};

/// When digests last agreed at a node.
fn verified(lab: &mut Lab, node: usize) -> Option<u64> {
    let status: &mut Reader = lab.edges[node].reader();
    status.status().unwrap().verified_ms
}

/// Runs until the node has been verified after now.
fn until_verified(lab: &mut Lab, node: usize) {
    let before = lab.edges[node].wall_ms + lab.now_ms;
    let done = lab.run(120_000, |lab| verified(lab, node).is_some_and(|at| at >= before));
    assert!(done, "never verified\n{}", tests::lab::check::recent(lab));
}

/// A row changed while nobody held the file, in many ways: repaired within one verification, and only what differs comes again.
#[test]
fn bit_flip_digest() {
    let changes = [
        "UPDATE base SET value = replace(value, '\"x\":7', '\"x\":3') WHERE key = 'k7'",
        "UPDATE base SET born = 1 WHERE key = 'k8'",
        "UPDATE base SET key = 'kk9' WHERE key = 'k9'",
        "UPDATE base SET granted = granted + 1048576 WHERE key = 'k10'",
        "DELETE FROM base WHERE key = 'k11'",
        "UPDATE base SET writer = 'cloud:1', updated_ms = 5 WHERE key = 'k12'",
    ];
    let mut lab = shop(&["lyon"]);
    for x in 0..200 {
        lab.in_cloud(vec![put("stock", &format!("k{x}"), &format!(r#"{{"W":"lyon","x":{x}}}"#))]);
    }
    lab.converge(60_000);
    for change in changes {
        let from = lab.trace.len();
        lab.kill_edge(0, |file| assert!(file.execute(change, []).unwrap() > 0, "{change}"));
        // A sale waits meanwhile, and counts once over what is repaired.
        lab.write(0, vec![add("products", "1", "n", -1)]);
        until_verified(&mut lab, 0);
        lab.converge(60_000);
        let compared: Vec<_> = lab.trace[from..].iter().filter(|line| line.contains("compared at")).cloned().collect();
        assert!(compared.iter().any(|line| line.contains("stock")), "{change}: {compared:?}");
        assert!(compared.last().unwrap().ends_with("[]"), "{change}: {compared:?}");
    }
    assert_eq!(n(&mut lab, 0, "products"), Some(20 - changes.len() as i64));
}

/// A repair is cut in the middle and by a restart, while the cloud goes on: it is finished all the same.
#[test]
fn a_repair_survives_cuts_and_restarts() {
    let mut lab = shop(&["lyon"]);
    for x in 0..300 {
        lab.in_cloud(vec![put("stock", &format!("k{x}"), &format!(r#"{{"W":"lyon","x":{x}}}"#))]);
    }
    lab.converge(60_000);
    lab.kill_edge(0, |file| file.execute_batch("UPDATE base SET value = '{}' WHERE key LIKE 'k1%'").unwrap());
    let came = lab.run(60_000, |lab| lab.edges[0].reader().status().unwrap().grants.iter().any(|grant| !grant.done));
    assert!(came, "a repair begins");
    lab.cut(0);
    lab.in_cloud(vec![put("stock", "k100", r#"{"W":"lyon","x":-1}"#)]);
    lab.in_cloud(vec![delete("stock", "k101", false)]);
    lab.kill(Side::Edge(0));
    until_verified(&mut lab, 0);
    lab.converge(60_000);
    assert_eq!(lab.edges[0].value("stock", "k100").as_deref(), Some(r#"{"W":"lyon","x":-1}"#));
    assert_eq!(lab.edges[0].value("stock", "k101"), None);
}
