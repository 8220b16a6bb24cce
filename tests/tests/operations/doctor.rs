//! `edgehub doctor` on what really breaks: each breakage is made with the built programs, and named by its check.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::process::command;
use tests::shops::{Edge, World};

/// What a doctor with these variables says, and how it ended.
fn examined(data: &Path, variables: &[(&str, &str)]) -> (Value, i32) {
    let mut doctor: Command = command("edgehub", &["doctor", "-o", "json"]);
    doctor.arg("--data").arg(data).envs(variables.iter().copied());
    let output = doctor.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{stderr}"));
    let code = output.status.code().unwrap();
    assert_eq!(report["ok"].as_bool().unwrap(), code == 0, "{report}");
    (report, code)
}

/// A check of it, its verdict first, as one text.
fn check(report: &Value, name: &str) -> String {
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    format!("{}: {} / {}", text("verdict"), text("found"), text("advice"))
}

/// The check says this and the doctor ends with 1.
#[track_caller]
fn fails(data: &Path, name: &str, words: &[&str]) -> Value {
    let (report, code) = examined(data, &[]);
    let said = check(&report, name);
    assert!(code == 1 && said.starts_with("failed: "), "{name} {said}\n{report}");
    words.iter().for_each(|word| assert!(said.contains(word), "{word:?} in {name} {said}"));
    report
}

fn one_shop() -> World {
    let world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define("[[collection]]\nname = \"products\"\nnodes = { role = \"shop\" }\n");
    world.settle();
    world
}

/// Puts other servers into the file that the join wrote.
fn set_servers(edge: &Edge, server: &str) {
    std::fs::write(edge.data.join("edgehub.toml"), format!("[link]\nservers = [{server:?}]\n")).unwrap();
}

/// Every file of a folder with its content, SQLite's shared memory aside: it holds nothing.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(content(&entry.path())),
            kind if kind.is_file() && !name.ends_with("-shm") => all.push((name, std::fs::read(entry.path()).unwrap())),
            _ => {}
        }
    }
    all.sort();
    all
}

#[test]
fn a_node_that_is_well_running_or_stopped() {
    let mut world = one_shop();
    let (report, code) = examined(&world.edges[0].data, &[]);
    for name in ["configuration", "clock", "port", "certificate", "disk", "database", "link"] {
        assert!(check(&report, name).starts_with("ok: "), "{name} {}", check(&report, name));
    }
    assert!(check(&report, "link").contains("in sync at revision"), "{report}");
    assert_eq!((code, report["node"].as_str()), (0, Some("lyon")), "{report}");
    let table = world.edges[0].cli(&["doctor"]).done();
    assert!(table.starts_with("CHECK ") && table.contains("\nlink "), "{table}");

    world.edges[0].stop();
    let before = content(&world.edges[0].data);
    let (report, code) = examined(&world.edges[0].data, &[]);
    assert_eq!(code, 0, "{report}");
    assert!(check(&report, "link").starts_with("warning: no edgehub runs on "), "{report}");
    assert!(check(&report, "database").starts_with("ok: sound"), "{report}");
    assert!(content(&world.edges[0].data) == before, "nothing was changed");
}

#[test]
fn wrong_ports_and_a_hub_that_is_stopped() {
    let mut world = one_shop();
    world.edges[0].stop();
    let data = world.edges[0].data.clone();
    set_servers(&world.edges[0], &world.cloud.api.to_string());
    fails(&data, "port", &["is the hub's API, not the link", "mixed up"]);
    set_servers(&world.edges[0], &tests::shops::free_port().to_string());
    fails(&data, "port", &["connection refused", "start cloudhub there"]);
    let server = world.cloud.ws.to_string();
    set_servers(&world.edges[0], &server);
    assert_eq!(examined(&data, &[]).1, 0);

    world.edges[0].start();
    world.settle();
    world.cloud.stop();
    fails(&data, "port", &[&format!("nothing listens on {server}")]);
    tests::until::until("the link is down", || {
        let status = world.edges[0].client().get("/v1/status").ok()?.json();
        (status["link"]["state"] != "online" && status["link"]["last_error"].is_string()).then_some(())
    });
    fails(&data, "link", &["edgehub runs, its link is down"]);
}

#[test]
fn another_authority_and_a_key_that_others_can_read() {
    let (mut world, other) = (one_shop(), World::new(&[]));
    world.edges[0].stop();
    let data = world.edges[0].data.clone();
    set_servers(&world.edges[0], &other.cloud.ws.to_string());
    let report = fails(&data, "certificate", &["shows a certificate that the authority in ca.crt did not issue", "proxy", "issued by"]);
    assert!(!check(&report, "port").starts_with("failed"), "the port is reached: {report}");

    set_servers(&world.edges[0], &world.cloud.ws.to_string());
    let key = data.join("pki/node.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(&data, "certificate", &["node.key has mode 0644 instead of 0600", "chmod 600"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::copy(other.cloud.data.join("pki/ca.crt"), data.join("pki/ca.crt")).unwrap();
    fails(&data, "certificate", &["node.crt was not issued by the authority in ca.crt"]);
}

#[test]
fn a_revoked_node_is_told_so() {
    let mut world = one_shop();
    world.edges[0].stop();
    world.cloud.cli(&["node", "revoke", "lyon"]).done();
    fails(&world.edges[0].data, "certificate", &["was revoked", "joins again with a new token"]);
    world.edges[0].start();
    tests::until::until_shown("the reason", || {
        let status = world.edges[0].client().get("/v1/status").unwrap().json();
        (status["sync"]["reason"] == "revoked").then_some(()).ok_or_else(|| status.to_string())
    });
    fails(&world.edges[0].data, "link", &["was revoked", "join it again"]);
}

#[test]
fn a_stored_clock_that_is_far_ahead() {
    let mut world = one_shop();
    world.edges[0].stop();
    let data = &world.edges[0].data;
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let ahead = i64::try_from((now_ms + 3_650 * 86_400_000) << 16).unwrap();
    let database = rusqlite::Connection::open(data.join("edge.db")).unwrap();
    database.execute("UPDATE meta SET clock = ?1", [ahead]).unwrap();
    drop(database);
    let (report, code) = examined(data, &[]);
    let clock = check(&report, "clock");
    assert!(code == 0 && clock.starts_with("warning: ") && clock.contains("stored in the database"), "{report}");
    assert!(check(&report, "certificate").starts_with("ok: "), "{report}");

    // The link comes up all the same, and sets the clock back: ten years ahead, certificates would have ended.
    world.edges[0].start();
    let sale = json!({"name": "tea"});
    world.edges[0].client().json("PUT", "/v1/collections/products/records/a", &sale).unwrap().ok(201);
    world.settle();
    world.edges[0].stop();
    let clock = check(&examined(&world.edges[0].data, &[]).0, "clock");
    assert!(clock.starts_with("ok: "), "{clock}");
}

#[test]
fn a_database_that_is_damaged() {
    let mut world = one_shop();
    world.edges[0].stop();
    let path = world.edges[0].data.join("edge.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..16].copy_from_slice(b"not a database!!");
    std::fs::write(&path, &bytes).unwrap();
    fails(&world.edges[0].data, "database", &["is no edge database (not a SQLite file)", "keep the file"]);
}

#[test]
fn a_machine_that_has_not_joined() {
    let world = World::new(&[]);
    let data = world.folder().join("new");
    let report = fails(&data, "certificate", &["has not joined", "edgehub join"]);
    assert!(check(&report, "disk").contains("cannot be used"), "{report}");
    assert!(!data.exists(), "a doctor makes nothing");

    let token = world.cloud.token("lyon", &[]);
    let api = world.cloud.api.to_string();
    let with = |server: &str, token: &str| examined(&data, &[("EDGEHUB_JOIN_SERVER", server), ("EDGEHUB_TOKEN", token)]).0;
    let good = with(&api, &token);
    assert!(check(&good, "token").starts_with("ok: ") && check(&good, "port").starts_with("ok: "), "{good}");
    assert!(!good.to_string().contains(&token), "the token stays secret");
    let cut = with(&api, &token[..50]);
    assert!(check(&cut, "token").starts_with("failed: ") && check(&cut, "token").contains("not whole"), "{cut}");
    let mixed = with(&world.cloud.ws.to_string(), &token);
    assert!(check(&mixed, "port").contains("is the link, not the API"), "{mixed}");
    let other = World::new(&[]);
    let foreign = with(&other.cloud.api.to_string(), &token);
    assert!(check(&foreign, "token").contains("is not the one that the token"), "{foreign}");
}

#[test]
fn a_configuration_with_a_typing_error() {
    let world = one_shop();
    std::fs::write(world.edges[0].data.join("edgehub.toml"), "[link]\nservres = []\n").unwrap();
    fails(&world.edges[0].data, "configuration", &["edgehub.toml line 2", "servers"]);
}
