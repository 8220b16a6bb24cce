//! Every mistake from outside: a clear error that says what to do, the right status or exit code, nothing lost.
#![allow(clippy::unwrap_used)]

#[path = "bad_input/doors.rs"]
mod doors;
#[path = "bad_input/frames.rs"]
mod frames;
#[path = "bad_input/hubs.rs"]
mod hubs;
#[path = "bad_input/kit.rs"]
mod kit;

use std::net::TcpListener;

use serde_json::{Value, json};
use tests::http::Client;
use tests::process::{Process, command, run};
use tests::shops::World;
use tests::until::until;

const DEFINITIONS: &str = r#"
[[collection]]
name = "products"
key = "ProductID"
[collection.fields]
Stock = { type = "counter", min = 0, on_violation = "reject" }
Price = { edge = "read-only" }

[[collection]]
name = "prices"
edge = "read-only"
"#;

fn world() -> World {
    let world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(DEFINITIONS);
    world.cloud.cli(&["record", "put", "products", "11", r#"{"Name":"Chai","Stock":3,"Price":18}"#]).done();
    world.settle();
    world
}

#[track_caller]
fn problem(client: &mut Client, method: &str, path: &str, body: &Value, status: u16, code: &str) -> Value {
    let answer = client.json(method, path, body).unwrap();
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}: {answer}");
    let problem = answer.ok(status);
    assert_eq!(problem["code"], code, "{method} {path}: {problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    problem
}

#[test]
fn requests_that_cannot_be_taken() {
    let world = world();
    let big = json!({"x": "y".repeat(1024 * 1024)});
    let deep: Value = serde_json::from_str(&format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100))).unwrap();
    for (name, mut client) in [("edge", world.edges[0].client()), ("cloud", world.cloud.client())] {
        let records = "/v1/collections/products/records";
        let cases = [
            ("PUT", "/v1/collections/nowhere/records/1".to_owned(), json!({}), 404, "not_found"),
            ("PUT", format!("{records}/%2E%2E"), json!({}), 400, "bad_key"),
            ("PUT", format!("{records}/a%0Ab"), json!({}), 400, "bad_key"),
            ("PUT", format!("{records}/{}", "k".repeat(513)), json!({}), 400, "bad_key"),
            ("PUT", format!("{records}/12"), json!([1]), 422, "not_object"),
            ("PUT", format!("{records}/12"), json!({"ProductID": 13}), 422, "key_mismatch"),
            ("PUT", format!("{records}/12"), big.clone(), 413, "too_large"),
            ("PUT", format!("{records}/12"), deep.clone(), 413, "too_large"),
            ("PUT", format!("{records}/12"), json!({"Stock": "many"}), 422, "counter_not_integer"),
            ("PUT", format!("{records}/11"), json!({"Stock": 9, "Name": "Chai", "Price": 18}), 428, "count_needs_match"),
            ("POST", format!("{records}/none/increment"), json!({"Stock": 1}), 404, "not_found"),
            ("POST", format!("{records}/11/increment"), json!({"Stock": 1.5}), 422, "counter_not_integer"),
            ("DELETE", format!("{records}/none"), json!({}), 404, "not_found"),
            ("POST", "/v1/writes".to_owned(), json!({"ops": []}), 400, "bad_request"),
            ("POST", "/v1/writes".to_owned(), json!({"ops": [{"op": "fly"}]}), 400, "bad_request"),
        ];
        for (method, path, body, status, code) in cases {
            let answer = client.json(method, &path, &body).unwrap();
            assert_eq!(answer.status, status, "{name}: {method} {}: {answer}", &path[..path.len().min(80)]);
            assert_eq!(answer.json()["code"], code, "{name}: {method} {}: {answer}", &path[..path.len().min(80)]);
        }
        let garbage = client.send("PUT", &format!("{records}/12"), &[("content-type", "application/json")], Some(b"{\"a\":1,}")).unwrap();
        assert_eq!(garbage.ok(400)["code"], "bad_request", "{name}");
        let twice =
            client.send("PUT", &format!("{records}/12"), &[("content-type", "application/json")], Some(b"{\"a\":1,\"a\":2}")).unwrap();
        assert_eq!(twice.ok(400)["code"], "bad_request", "{name}");
        let form = client.send("PUT", &format!("{records}/12"), &[("content-type", "text/plain")], Some(b"{}")).unwrap();
        assert_eq!(form.status, 415, "{name}");
        problem(&mut client, "GET", "/v1/nothing", &Value::Null, 404, "not_found");
        let sorted = client.get(&format!("{records}?sort=Name")).unwrap();
        assert_eq!(sorted.ok(400)["code"], "no_index", "{name}");
        let stale = client
            .send("PUT", &format!("{records}/11"), &[("content-type", "application/json"), ("if-match", "\"1\"")], Some(b"{}"))
            .unwrap();
        assert_eq!(stale.ok(412)["code"], "precondition", "{name}");
        assert_eq!(client.get(&format!("{records}/11")).unwrap().ok(200)["value"]["Stock"], 3, "{name}: nothing changed");
        assert_eq!(client.get(&format!("{records}/12")).unwrap().status, 404, "{name}: nothing was made");
    }
    let mut edge = world.edges[0].client();
    let price = problem(&mut edge, "PATCH", "/v1/collections/products/records/11", &json!({"Price": 1}), 403, "read_only");
    assert_eq!(price["field"], "Price");
    problem(&mut edge, "PUT", "/v1/collections/prices/records/1", &json!({}), 403, "read_only");
    let foreign = edge.with("host", "shop.example:80").get("/v1/status").unwrap();
    assert_eq!(foreign.ok(421)["code"], "host");
    let page = edge.with("origin", "https://evil.example").get("/v1/status").unwrap();
    assert_eq!(page.ok(403)["code"], "origin");
}

#[test]
fn who_asks_the_cloud_must_prove_it() {
    let world = world();
    let client = world.cloud.client();
    let mut nobody = client.with("authorization", "Bearer nonsense");
    problem(&mut nobody, "GET", "/v1/status", &Value::Null, 401, "unauthorized");
    let made = world.cloud.cli(&["access", "create", "till", "--role", "viewer", "--collection", "products"]).done();
    let mut viewer = client.with("authorization", &format!("Bearer {}", made.trim()));
    viewer.get("/v1/collections/products/records/11").unwrap().expect(200);
    problem(&mut viewer, "PATCH", "/v1/collections/products/records/11", &json!({"Name": "x"}), 403, "not_entitled");
    viewer.get("/v1/collections/prices/records").map(|answer| assert!([403, 404].contains(&answer.status), "{answer}")).unwrap();
}

#[test]
fn definitions_and_imports_name_the_line() {
    let world = world();
    let file = world.folder().join("bad.toml");
    let apply = |text: &str, code: i32| {
        std::fs::write(&file, text).unwrap();
        world.cloud.cli(&["collection", "apply", "-f", &file.display().to_string()]).failed(code)
    };
    let error = apply("[[collection]]\nname = \"a\"\npolcy = \"merge\"\n", 2);
    assert!(error.contains("bad.toml") && error.contains('3') && error.contains("policy"), "{error}");
    let error = apply("[[collection]]\nname = \"Bad Name\"\n", 1);
    assert!(error.contains("Bad Name"), "{error}");
    let lines: String = (1..=20)
        .map(|id| if id == 17 { "{\"ProductID\": }\n".to_owned() } else { format!("{{\"ProductID\":{id},\"Name\":\"n{id}\"}}\n") })
        .collect();
    let import = world.folder().join("bad.ndjson");
    std::fs::write(&import, &lines).unwrap();
    let error = world.cloud.cli(&["record", "import", "products", &import.display().to_string()]).failed(1);
    assert!(error.contains("17"), "{error}");
    assert_eq!(world.cloud.record("products", "1"), None, "nothing was changed");
    let mut client = world.cloud.client();
    let answer =
        client.send("POST", "/v1/collections/products/import", &[("content-type", "application/x-ndjson")], Some(lines.as_bytes()));
    let problem = answer.unwrap().ok(400);
    assert_eq!((problem["code"].as_str(), problem["line"].as_u64()), (Some("bad_line"), Some(17)), "{problem}");
}

#[test]
fn joins_that_cannot_be() {
    let world = world();
    let (api, ws) = (world.cloud.api.to_string(), world.cloud.ws.to_string());
    let data = world.folder().join("paris").display().to_string();
    let join = |server: &str, token: &str, node: &str| {
        let args = ["join", "--server", server, "--token", token, "--node", node, "--data", &data];
        let output = run("edgehub", &args);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    let good = world.cloud.token("paris", &[]);
    let error = join(&api, "not-a-token", "paris");
    assert!(error.to_lowercase().contains("token"), "{error}");
    let error = join(&ws, &good, "paris");
    assert!(error.contains("is the link; join uses the API port, 10002"), "{error}");
    let spare = world.cloud.cli(&["token", "create"]).done();
    let error = join(&api, spare.trim(), "lyon");
    assert!(error.contains("lyon is taken") && error.contains("cloudhub token create --node lyon --replace"), "{error}");
    // A token of another hub: its CA is not the one that answers here.
    let other = World::new(&[]);
    let error = join(&api, &other.cloud.token("paris", &[]), "paris");
    assert!(error.contains("CA"), "{error}");
    // Used up, revoked, expired.
    let id = |world: &World| world.cloud.cli(&["token", "list", "-o", "json"]).done();
    world.join("paris-2", &[]);
    let tokens: Value = serde_json::from_str(&id(&world)).unwrap();
    for token in tokens["tokens"].as_array().unwrap() {
        world.cloud.cli(&["token", "revoke", token["id"].as_str().unwrap()]).done();
    }
    let error = join(&api, &good, "paris");
    assert!(error.contains("token"), "{error}");
    let short = world.cloud.cli(&["token", "create", "--node", "paris", "--ttl", "1s"]).done();
    until("the token's end", || {
        let args = ["join", "--server", &api, "--token", short.trim(), "--node", "paris", "--data", &data];
        let error = String::from_utf8(run("edgehub", &args).stderr).unwrap();
        error.contains("expired").then_some(())
    });
}

#[test]
fn folders_ports_and_configuration() {
    let mut world = world();
    let second = |name: &str, args: &[&str]| {
        let output = run(name, args);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    let edge_data = world.edges[0].data.display().to_string();
    let cloud_data = world.cloud.data.display().to_string();
    let error = second("edgehub", &["run", "--data", &edge_data, "--listen", "127.0.0.1:0"]);
    assert!(error.contains(&edge_data), "a second process on the same folder: {error}");
    let links = ["--listen-ws", "127.0.0.1:0", "--listen-quic", "127.0.0.1:0"];
    let ports = [&["--listen-api", "127.0.0.1:0"], &links[..]].concat();
    let error = second("cloudhub", &[&["serve", "--data", &cloud_data], &ports[..]].concat());
    assert!(error.contains(&cloud_data), "a second process on the same folder: {error}");
    // A port in use.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let fresh = world.folder().join("fresh").display().to_string();
    let error = second("cloudhub", &[&["serve", "--data", &fresh, "--listen-api", &address], &links[..]].concat());
    assert!(error.contains(&address), "{error}");
    world.edges[0].stop();
    let error = second("edgehub", &["run", "--data", &edge_data, "--listen", &address]);
    assert!(error.contains(&address), "{error}");
    // A data folder of a newer version, and a file of something else.
    world.cloud.stop();
    for (folder, file, name, args) in [
        (&edge_data, "edge.db", "edgehub", vec!["run", "--data", &edge_data, "--listen", "127.0.0.1:0"]),
        (&cloud_data, "cloudhub.db", "cloudhub", [&["serve", "--data", &cloud_data], &ports[..]].concat()),
    ] {
        let path = std::path::Path::new(folder).join(file);
        let original = std::fs::read(&path).unwrap();
        // `user_version` is the big-endian number at byte 60 of an SQLite file.
        let mut newer = original.clone();
        newer[60..64].copy_from_slice(&9_999u32.to_be_bytes());
        std::fs::write(&path, &newer).unwrap();
        let error = second(name, &args);
        assert!(error.contains("newer") && error.contains("9999"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), newer, "{name} changed a file that it refused");
        std::fs::write(&path, b"this is something else, and not an SQLite database at all").unwrap();
        let error = second(name, &args);
        assert!(error.contains(folder.as_str()) || error.contains(file), "{error}");
        std::fs::write(&path, &original).unwrap();
    }
    world.cloud.start();
    world.edges[0].start();
    world.settle();
    assert_eq!(world.edges[0].record("products", "11").unwrap()["Stock"], 3);
    // A typo in a configuration: file, line, nearest key.
    let config = world.folder().join("edge.toml");
    std::fs::write(&config, "# mine\n[link]\nserver = [\"a:1\"]\n").unwrap();
    let output = run("edgehub", &["run", "--data", &fresh, "--config", &config.display().to_string()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("edge.toml line 3") && error.contains("servers"), "{error}");
    let error = second("edgehub", &["run", "--data", &fresh]);
    assert!(error.contains("has not joined") && error.contains("edgehub join"), "{error}");
    let nowhere = world.folder().join("nowhere");
    let error = second("edgehub", &["run", "--data", &nowhere.display().to_string()]);
    assert!(error.contains("has not joined") && !nowhere.exists(), "who is sent away leaves no folder behind: {error}");
    assert_eq!(run("edgehub", &["fly"]).status.code(), Some(2), "bad usage");
    let error = world.edges[0].cli(&["record", "get", "products", "none"]).failed(1);
    assert!(error.contains("none"), "{error}");
}

#[test]
fn sigterm_ends_both_in_good_order() {
    let mut world = world();
    world.edges[0].stop();
    world.cloud.stop();
    world.cloud.start();
    world.edges[0].start();
    world.settle();
}

#[test]
fn a_stranger_on_the_link_port_costs_only_itself() {
    use std::io::{Read, Write};
    let world = world();
    for bytes in [&b"GET /link HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 4096], &[]] {
        let mut stream = std::net::TcpStream::connect(world.cloud.ws).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    // No certificate, though TLS is spoken: no session, seen from the server.
    let mut client = Client::tls(world.cloud.ws, &world.cloud.data.join("pki/ca.crt"), "x");
    assert!(client.get("/link").is_err());
    let nodes = world.cloud.client().get("/v1/nodes").unwrap().ok(200);
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 1, "{nodes}");
    assert_eq!(nodes["nodes"][0]["state"], "online", "{nodes}");
    world.settle();
}

#[test]
fn a_node_of_another_ca_gets_no_session() {
    let world = world();
    let other = World::new(&[]);
    let stranger = other.join("lyon", &[]);
    // It knows the right address and has a certificate, from the wrong CA.
    let servers = format!("[link]\nservers = [\"{}\"]\n", world.cloud.ws);
    std::fs::write(stranger.data.join("edgehub.toml"), servers).unwrap();
    let api = stranger.api.to_string();
    let data = stranger.data.display().to_string();
    let mut process = Process::start("stranger", command("edgehub", &["run", "--data", &data, "--listen", &api]));
    process.line_with("link down");
    let status = stranger.client().get("/v1/status").unwrap().ok(200);
    assert_ne!(status["link"]["state"], "online");
    assert!(status["link"]["last_error"].as_str().is_some_and(|error| error.contains("CA") || error.contains("certificate")), "{status}");
    let node = world.cloud.client().get("/v1/nodes/lyon").unwrap().ok(200);
    assert_eq!(node["state"], "online", "the rightful lyon is undisturbed: {node}");
}

/// `poison-record` from outside: a value in the cloud's file is no JSON any more. The shop gets everything else, goes on
/// writing, and says which record it lacks and why; the next version of it heals that.
#[test]
fn a_record_that_cannot_be_stored_stops_nothing() {
    let mut world = world();
    world.cloud.stop();
    let file = rusqlite::Connection::open(world.cloud.data.join("cloudhub.db")).unwrap();
    let spoilt = "UPDATE records SET value = '{\"Name\":', revision = (SELECT head + 1 FROM meta) WHERE key = '11'";
    assert_eq!(file.execute(spoilt, []).unwrap(), 1);
    file.execute_batch("UPDATE meta SET head = head + 1").unwrap();
    drop(file);
    world.cloud.start();
    world.cloud.cli(&["record", "put", "products", "12", r#"{"Name":"Chang"}"#]).done();
    let mut edge = world.edges[0].client();
    until("the record behind it", || world.edges[0].record("products", "12"));
    edge.json("PUT", "/v1/collections/products/records/13", &json!({"Name": "Syrup"})).unwrap().ok(201);
    until("the shop's own write", || world.cloud.record("products", "13"));
    let status = edge.get("/v1/status").unwrap().ok(200);
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("products/11") && warnings.contains("not valid JSON"), "{status}");
    assert_eq!(status["sync"]["state"], "blocked", "{status}");
    assert_eq!(world.edges[0].record("products", "11").unwrap()["Name"], "Chai", "what was there stays");
    let file = rusqlite::Connection::open(world.cloud.data.join("cloudhub.db")).unwrap();
    world.cloud.stop();
    assert_eq!(file.execute("UPDATE records SET value = '{\"Name\":\"Chai\",\"ProductID\":11}' WHERE key = '11'", []).unwrap(), 1);
    drop(file);
    world.cloud.start();
    let newer = world.cloud.client().json("PATCH", "/v1/collections/products/records/11", &json!({"Name": "Masala"}));
    newer.unwrap().ok(200);
    world.settle();
    assert_eq!(world.edges[0].record("products", "11").unwrap()["Name"], "Masala");
    let status = edge.get("/v1/status").unwrap().ok(200);
    assert!(!status["warnings"].to_string().contains("cannot be stored"), "{status}");
}

#[test]
fn a_request_with_a_name_is_found_in_both_logs() {
    let mut world = world();
    let mut api = world.edges[0].client().with("request-id", "till-7-receipt-4711").with("prefer", "wait=30");
    let answer = api.json("PATCH", "/v1/collections/products/records/11", &json!({"Name": "Tea"})).unwrap();
    assert_eq!(answer.header("request-id"), Some("till-7-receipt-4711"), "{answer}");
    let write = answer.ok(200)["write"]["id"].as_str().unwrap().to_owned();
    let here = world.edges[0].process().line_with("till-7-receipt-4711");
    assert!(here.contains("PATCH") && here.contains("200"), "{here}");
    let there = world.cloud.process().line_with("till-7-receipt-4711");
    assert!(there.contains(&write) && there.contains("applied"), "{there}");
}

#[test]
fn a_post_of_a_taken_key_names_it() {
    let world = world();
    for mut api in [world.cloud.client(), world.edges[0].client()] {
        let body = json!({"ProductID": 11});
        let problem = problem(&mut api, "POST", "/v1/collections/products/records", &body, 409, "key_taken");
        assert_eq!((&problem["collection"], &problem["key"]), (&"products".into(), &"11".into()), "{problem}");
    }
}
