//! Who gets in at an edge: tokens, names, origins, other machines, and the pages that it serves.

use std::path::Path;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use tests::http::{Answer, Client};
use tests::process::run;
use tests::shops::{Edge, World, free_port};
use tests::until::until;

const COLLECTIONS: &str = r#"
[[collection]]
name = "products"

[[collection]]
name = "orders"
"#;

/// A shop with two collections whose node is not running.
fn shop() -> World {
    let mut world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(COLLECTIONS);
    for collection in ["products", "orders"] {
        world.cloud.cli(&["record", "put", collection, "1", r#"{"Name":"x"}"#]).done();
    }
    world.settle();
    world.edges[0].stop();
    world
}

fn token(edge: &Edge, args: &[&str]) -> String {
    let made = edge.cli(&[&["access", "create"], args].concat()).done();
    made.trim().to_owned()
}

fn with(edge: &Edge, token: &str) -> Client {
    edge.client().with("authorization", &format!("Bearer {token}"))
}

#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) -> Value {
    let problem = answer.ok(status);
    assert_eq!(problem["code"], code, "{problem}");
    problem
}

const RECORD: &str = "/v1/collections/products/records/1";
const OTHER: &str = "/v1/collections/orders/records/1";

#[test]
fn tokens_are_asked_for_and_hold_what_they_say() {
    let mut world = shop();
    let edge = &mut world.edges[0];
    edge.configure("[api]\ntokens = \"required\"");
    edge.start();
    // Nobody without one; probes and the description need none, the socket is the machine's own.
    let mut nobody = edge.client();
    for path in [RECORD, "/v1/collections", "/v1/status", "/metrics", "/v1/access-tokens", "/v1/outbox"] {
        let answer = nobody.get(path).unwrap();
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{path}");
        refused(answer, 401, "unauthorized");
    }
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        nobody.get(path).unwrap().expect(200);
    }
    assert!(edge.cli(&["record", "get", "products", "1"]).done().contains('x'));
    refused(with(edge, "tba_wrong").get(RECORD).unwrap(), 401, "unauthorized");
    // Who may only look.
    let viewer = token(edge, &["screen", "--role", "viewer"]);
    let mut api = with(edge, &viewer);
    api.get(RECORD).unwrap().ok(200);
    refused(api.json("PUT", RECORD, &json!({"Name": "y"})).unwrap(), 403, "not_entitled");
    refused(
        api.json("POST", "/v1/writes", &json!({"ops": [{"op": "delete", "collection": "products", "key": "1"}]})).unwrap(),
        403,
        "not_entitled",
    );
    refused(api.get("/v1/access-tokens").unwrap(), 403, "not_entitled");
    refused(api.json("POST", "/v1/access-tokens", &json!({"name": "me", "role": "admin"})).unwrap(), 403, "not_entitled");
    refused(api.json("POST", "/v1/verify", &json!({})).unwrap(), 403, "not_entitled");
    assert_eq!(api.json("POST", "/v1/query", &json!({"sql": "SELECT count(*) FROM orders"})).unwrap().ok(200)["rows"], json!([[1]]));
    // Who may write, in one collection.
    let editor = token(edge, &["till", "--role", "editor", "--collection", "products"]);
    let mut api = with(edge, &editor);
    api.json("PUT", RECORD, &json!({"Name": "y"})).unwrap().ok(200);
    for answer in [
        api.get(OTHER).unwrap(),
        api.get("/v1/collections/orders/records").unwrap(),
        api.get("/v1/collections/orders/export").unwrap(),
        api.json("PUT", OTHER, &json!({})).unwrap(),
        api.json("POST", "/v1/query", &json!({"sql": "SELECT * FROM orders"})).unwrap(),
        api.json("POST", "/v1/query", &json!({"sql": "SELECT * FROM products JOIN orders"})).unwrap(),
    ] {
        refused(answer, 403, "not_entitled");
    }
    // A watch may bring its token in the query, where an EventSource cannot send a header; nothing else may, and no log has it.
    refused(api.get("/v1/watch?collection=orders").unwrap(), 403, "not_entitled");
    refused(nobody.get(&format!("/v1/watch?collection=orders&access_token={editor}")).unwrap(), 403, "not_entitled");
    refused(nobody.get("/v1/watch?access_token=tba_wrong").unwrap(), 401, "unauthorized");
    refused(nobody.get(&format!("{RECORD}?access_token={editor}")).unwrap(), 401, "unauthorized");
    assert!(!edge.process().log().contains(&editor));
    let listed = api.get("/v1/collections").unwrap().ok(200);
    assert_eq!(listed["collections"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(api.json("POST", "/v1/query", &json!({"sql": "SELECT count(*) FROM products"})).unwrap().ok(200)["rows"], json!([[1]]));
    let made = edge.cli(&["access", "list", "-o", "json"]).done();
    assert!(!made.contains(&editor[4..]) && made.contains("till"), "secrets are shown once: {made}");
    // Through the API too, and only for who administers.
    let admin = token(edge, &["boss", "--role", "admin"]);
    let mut api = with(edge, &admin);
    let short = api.json("POST", "/v1/access-tokens", &json!({"name": "short", "role": "viewer", "ttl_seconds": 1})).unwrap().expect(201);
    assert_eq!(short.header("cache-control"), Some("no-store"));
    let short = short.json();
    let mut guest = with(edge, short["token"].as_str().unwrap());
    until("the end of a token", || (guest.get(RECORD).unwrap().status == 401).then_some(()));
    refused(guest.get(RECORD).unwrap(), 401, "unauthorized");
    let listed = api.get("/v1/access-tokens").unwrap().ok(200);
    let id = |name: &str| {
        listed["tokens"].as_array().unwrap().iter().find(|token| token["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    // Revoked: at once, and after a restart.
    with(edge, &viewer).get(RECORD).unwrap().ok(200);
    edge.cli(&["access", "revoke", &id("screen")]).done();
    refused(with(edge, &viewer).get(RECORD).unwrap(), 401, "unauthorized");
    api.send("DELETE", &format!("/v1/access-tokens/{}", id("till")), &[("content-type", "application/json")], None).unwrap().expect(200);
    refused(with(edge, &editor).get(RECORD).unwrap(), 401, "unauthorized");
    assert!(edge.cli(&["access", "revoke", "nonesuch"]).failed(1).contains("not_found"));
    edge.kill();
    edge.start();
    refused(with(edge, &viewer).get(RECORD).unwrap(), 401, "unauthorized");
    with(edge, &admin).get(RECORD).unwrap().ok(200);
    let secret = admin.trim_start_matches("tba_").as_bytes();
    assert_eq!(tests::process::holds(&edge.data, secret), None, "a token is kept as its hash");
    assert!(!edge.process().log().contains(&admin));
}

#[test]
fn other_addresses_need_their_lines() {
    let mut world = shop();
    let port = free_port().port();
    let edge = &mut world.edges[0];
    let data = edge.data.display().to_string();
    let start = |listen: &str| {
        let ended = run("edgehub", &["run", "--data", &data, "--listen", listen]);
        assert!(matches!(ended.status.code(), Some(1 | 2)), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stderr).unwrap()
    };
    for listen in [format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let why = start(&listen);
        assert!(why.contains("`tokens = \"required\"` is missing in [api]"), "{why}");
    }
    edge.configure("[api]\ntokens = \"none\"");
    assert!(start(&format!("0.0.0.0:{port}")).contains("`tokens = \"required\"` is missing in [api]"));
    let toml = edge.data.join("edgehub.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    for (line, why) in [
        ("static = \"/nonesuch\"", "names /nonesuch"),
        ("hosts = [\"http://x\"]", "is not a host name"),
        ("tokens = \"maybe\"", "api.tokens"),
    ] {
        std::fs::write(&toml, text.replace("tokens = \"none\"", line)).unwrap();
        let told = start(&format!("127.0.0.1:{port}"));
        assert!(told.contains(why), "{line}: {told}");
    }
    std::fs::write(&toml, text.replace("tokens = \"none\"", &format!("static = {data:?}"))).unwrap();
    assert!(start(&format!("127.0.0.1:{port}")).contains("lies in it"));
    // A machine without an identity has no certificate: it says to join.
    let fresh = world.folder().join("fresh");
    let ended = run("edgehub", &["run", "--data", &fresh.display().to_string(), "--listen", "127.0.0.1:0"]);
    assert!(String::from_utf8_lossy(&ended.stderr).contains("has not joined"));
}

/// Every address of the machine, so that loopback is enough to come from outside.
fn open_to_others(edge: &mut Edge, api: &str) -> std::net::SocketAddr {
    let open = free_port();
    edge.configure(&format!("[api]\ntokens = \"required\"\n{api}"));
    edge.argument("--listen");
    edge.argument(&format!("0.0.0.0:{}", open.port()));
    edge.start();
    open
}

#[test]
fn other_machines_come_over_tls_under_the_nodes_names() {
    let mut world = shop();
    let ca = world.cloud.data.join("pki/ca.crt");
    let edge = &mut world.edges[0];
    let open = open_to_others(edge, "hosts = [\"till.example\"]");
    let editor = token(edge, &["tablet", "--role", "editor"]);
    let bearer = format!("Bearer {editor}");
    for name in ["lyon", "lyon.local"] {
        let mut tablet = Client::tls_as(open, name, &ca).with("authorization", &bearer);
        tablet.get(RECORD).unwrap().ok(200);
        tablet.json("PUT", RECORD, &json!({"Name": "from a tablet"})).unwrap().ok(200);
    }
    // Not in plain text, not under another name, not without a token.
    assert!(Client::tcp(open).get("/healthz").is_err(), "TLS alone");
    assert!(Client::tls_as(open, "oslo", &ca).get("/healthz").is_err(), "the certificate names lyon");
    refused(Client::tls_as(open, "lyon", &ca).get(RECORD).unwrap(), 401, "unauthorized");
    // What a page that was sent here under its own name would say.
    let asking = |host: &str| Client::tls_as(open, "lyon", &ca).with("authorization", &bearer).with("host", host).get(RECORD).unwrap();
    for host in ["evil.example", "oslo.local", "192.0.2.1", "lyon:1", "lyon.evil.example"] {
        refused(asking(host), 421, "host");
    }
    for host in ["till.example", "lyon", "LYON.local", &format!("127.0.0.1:{}", open.port())] {
        asking(host).ok(200);
    }
    let page = |origin: &str| Client::tls_as(open, "lyon", &ca).with("authorization", &bearer).with("origin", origin).get(RECORD).unwrap();
    page(&format!("https://lyon:{}", open.port())).ok(200);
    for origin in ["https://evil.example".to_owned(), format!("http://lyon:{}", open.port()), "null".to_owned()] {
        refused(page(&origin), 403, "origin");
    }
    // Loopback stays plain HTTP, under its own names; the node's name is proved by nothing there.
    let mut local = with(edge, &editor);
    local.get(RECORD).unwrap().ok(200);
    refused(local.with("host", &format!("lyon:{}", edge.api.port())).get(RECORD).unwrap(), 421, "host");
}

/// A certificate as hubs made them before nodes served other machines, still good.
fn certificate_of_an_older_hub(cloud: &Path, edge: &Path) {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let ca = read(cloud.join("pki/ca.crt"));
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&read(cloud.join("pki/ca.key"))).unwrap()).unwrap();
    let key = KeyPair::from_pem(&read(edge.join("pki/node.key"))).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("urn:tombolo:node:lyon".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(edge.join("pki/node.crt"), format!("{}{ca}", certificate.pem())).unwrap();
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let mut world = shop();
    let ca = world.cloud.data.join("pki/ca.crt");
    certificate_of_an_older_hub(&world.cloud.data, &world.edges[0].data);
    let edge = &mut world.edges[0];
    let open = open_to_others(edge, "");
    let process = edge.process().id();
    until("a certificate that names the node", || Client::tls_as(open, "lyon", &ca).get("/healthz").ok());
    assert_eq!(edge.process().id(), process);
    assert!(edge.process().log().contains("does not name it for other machines"), "{}", edge.process().log());
}

#[test]
fn pages_of_this_machine_and_of_listed_origins() {
    let mut world = shop();
    let pages = world.folder().join("pages");
    std::fs::create_dir_all(pages.join("till")).unwrap();
    std::fs::write(pages.join("index.html"), "<title>Home</title>").unwrap();
    std::fs::write(pages.join("till/index.html"), "<title>Till</title>").unwrap();
    std::fs::write(pages.join(".secret"), "secret").unwrap();
    std::fs::write(world.folder().join("outside"), "secret").unwrap();
    std::os::unix::fs::symlink(world.folder().join("outside"), pages.join("link")).unwrap();
    std::os::unix::fs::symlink(world.folder(), pages.join("up")).unwrap();
    let edge = &mut world.edges[0];
    edge.configure(&format!("[api]\ntokens = \"required\"\norigins = [\"https://till.example\"]\nstatic = {pages:?}"));
    edge.start();
    // The page loads without a token, so that it can ask for one; the records do not.
    let mut browser = edge.client();
    let home = browser.get("/").unwrap().expect(200);
    assert_eq!((home.header("content-type"), home.body.as_slice()), (Some("text/html; charset=utf-8"), &b"<title>Home</title>"[..]));
    let tag = home.header("etag").unwrap().to_owned();
    assert_eq!(browser.send("GET", "/", &[("if-none-match", &tag)], None).unwrap().status, 304);
    assert_eq!(browser.get("/till").unwrap().expect(308).header("location"), Some("/till/"));
    browser.get("/till/").unwrap().expect(200);
    refused(browser.get("/v1/status").unwrap(), 401, "unauthorized");
    for path in [
        "/../outside",
        "/%2e%2e/outside",
        "/..%2Foutside",
        "/till/../../outside",
        "/link",
        "/up/outside",
        "/.secret",
        "/%2esecret",
        "/till/..",
        "//outside",
    ] {
        let answer = browser.get(path).unwrap();
        assert!(answer.status == 404 && !answer.body.ends_with(b"secret"), "{path}: {answer}");
    }
    refused(browser.json("POST", "/index.html", &json!({})).unwrap(), 405, "method_not_allowed");
    // A listed page may ask, with everything that an application sends, and read what it needs of the answer.
    let token = token(edge, &["page", "--role", "editor"]);
    let mut page = edge.client().with("origin", "https://till.example");
    let asked = "authorization, idempotency-key, if-match, prefer, tombolo-actor, request-id, last-event-id, content-type";
    let preflight = page
        .send("OPTIONS", "/v1/writes", &[("access-control-request-method", "POST"), ("access-control-request-headers", asked)], None)
        .unwrap()
        .expect(204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://till.example"));
    let allowed = preflight.header("access-control-allow-headers").unwrap();
    for name in asked.split(", ") {
        assert!(allowed.split(", ").any(|own| own == name), "{name}: {allowed}");
    }
    let answer = page.with("authorization", &format!("Bearer {token}")).get(RECORD).unwrap().expect(200);
    let exposed = answer.header("access-control-expose-headers").unwrap();
    assert!(["etag", "location", "request-id"].iter().all(|name| exposed.split(", ").any(|own| own == *name)), "{exposed}");
    // No other page may, not even ask whether; and no web form can change anything.
    let mut foreign = edge.client().with("origin", "https://evil.example").with("authorization", &format!("Bearer {token}"));
    let answer = foreign.get(RECORD).unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), None);
    refused(answer, 403, "origin");
    refused(foreign.send("OPTIONS", "/v1/writes", &[("access-control-request-method", "POST")], None).unwrap(), 403, "origin");
    let mut form = with(edge, &token);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let answer = form.send("POST", "/v1/writes", &[("content-type", kind)], Some(b"{\"ops\":[]}")).unwrap();
        refused(answer, 415, "media_type");
    }
    refused(with(edge, &token).with("host", "evil.example").get(RECORD).unwrap(), 421, "host");
}
