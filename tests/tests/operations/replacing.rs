//! A dead machine's place is taken by another one.

use serde_json::json;
use tests::shops::{Edge, World};
use tests::until::until_shown;

use super::{SHOP, event, events, same_everywhere, sell, status};

#[test]
fn another_machine_takes_the_place_of_a_dead_one() {
    let mut world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(&format!("{SHOP}nodes = {{ role = \"shop\" }}\n"));
    world.cloud.cli(&["record", "put", "stock", "a", r#"{"n":0}"#]).done();
    world.cloud.cli(&["record", "put", "products", "1", r#"{"price":1}"#]).done();
    world.settle();
    let last = sell(&mut world.edges[0].client(), "before")["id"].as_str().unwrap().to_owned();
    let old_database = status(&world.edges[0])["database_id"].as_str().unwrap().to_owned();
    world.settle();
    world.edges[0].kill();

    // Who does not say that this is a replacement is refused, and told how.
    let fresh = Edge::new(world.folder(), "fresh");
    let refused = world.join_with(&fresh, &world.cloud.token("lyon", &[])).failed(1);
    let advice = "to replace that machine run on the cloud: cloudhub token create --node lyon --replace";
    assert!(refused.contains("lyon is taken (last seen ") && refused.contains(advice), "{refused}");

    let token = world.cloud.cli(&["token", "create", "--node", "lyon", "--replace"]).done();
    let mut new = world.replace("lyon", token.trim());
    new.start();
    let mut old = std::mem::replace(&mut world.edges[0], new);
    same_everywhere(&world);
    let node = world.cloud.client().get("/v1/nodes/lyon").unwrap().ok(200);
    assert_eq!(node["labels"], json!({"role": "shop"}), "its labels stay");
    assert_ne!(node["database"], old_database);

    // The new one writes under the old name, and its numbers begin anew.
    let id = sell(&mut world.edges[0].client(), "after")["id"].as_str().unwrap().to_owned();
    assert!(id.ends_with(":1") && id != last, "{id}");
    assert_eq!(same_everywhere(&world)["stock/a"]["n"], 2);

    // The old one comes back: it serves its applications, and is told why it gets no session.
    old.start();
    sell(&mut old.client(), "on the old machine");
    let shown = until_shown("the old machine is refused", || {
        let link = status(&old)["link"].clone();
        let text = link["last_error"].as_str().unwrap_or_default().to_owned();
        if text.contains("revoked") { Ok(text) } else { Err(link.to_string()) }
    });
    assert!(shown.contains("the certificate of lyon was revoked; the machine must join again with a new token"), "{shown}");
    assert_eq!(status(&old)["outbox"]["writes"], 1, "what it has not handed over stays on it");
    assert_eq!(status(&world.edges[0])["link"]["state"], "online");
    assert!(world.cloud.record("sales", "on the old machine").is_none());

    let story = until_shown("the story is saved", || {
        let kinds: Vec<String> = events(&world.cloud, "lyon").into_iter().map(|(kind, _)| kind).collect();
        // Over TCP the hub hears that the machine died; over QUIC it learns it by the replacement.
        let told = |[first, second]: [&str; 2]| {
            let mut rest = kinds.iter();
            ["joined", "connected", first, second, "database_replaced", "connected"].iter().all(|wanted| rest.any(|kind| kind == wanted))
        };
        if told(["disconnected", "replaced"]) || told(["replaced", "disconnected"]) {
            Ok(kinds)
        } else {
            Err(format!("{:#?}", events(&world.cloud, "lyon")))
        }
    });
    let replaced = event(&world.cloud, "lyon", "database_replaced");
    assert!(replaced.ends_with(&format!("the last write taken of that one is {last}")), "{replaced} {story:?}");
    let joined = event(&world.cloud, "lyon", "replaced");
    assert!(joined.contains("another machine joined under this name"), "{joined}");
}

#[test]
fn a_machine_that_still_runs_loses_its_session_to_its_replacement() {
    let mut world = World::new(&[("lyon", &[])]);
    world.cloud.define(SHOP);
    world.settle();
    let token = world.cloud.cli(&["token", "create", "--node", "lyon", "--replace"]).done();
    let mut new = world.replace("lyon", token.trim());
    new.start();
    let old = std::mem::replace(&mut world.edges[0], new);
    world.settle();
    until_shown("the old machine is refused", || {
        let link = status(&old)["link"].clone();
        let told = link["state"] != "online" && link["last_error"].as_str().unwrap_or_default().contains("was revoked");
        told.then_some(()).ok_or_else(|| link.to_string())
    });
    assert_eq!(status(&world.edges[0])["link"]["state"], "online");
}

/// Two machines with one certificate and databases of their own: the one that lives goes on, until an operator says which
/// one is meant.
#[test]
fn an_operator_says_which_database_is_meant() {
    let mut world = World::new(&[("lyon", &[])]);
    world.cloud.define(SHOP);
    world.settle();
    let mut other = Edge::new(world.folder(), "other");
    std::fs::create_dir_all(other.data.join("pki")).unwrap();
    for entry in std::fs::read_dir(world.edges[0].data.join("pki")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, other.data.join("pki").join(path.file_name().unwrap())).unwrap();
    }
    for name in ["edgehub.toml", "config.toml"] {
        let _ = std::fs::copy(world.edges[0].data.join(name), other.data.join(name));
    }
    other.start();
    let database = status(&other)["database_id"].as_str().unwrap().to_owned();
    let refused = |edge: &Edge| {
        until_shown("a refusal", || {
            let link = status(edge)["link"].clone();
            let told = link["state"] != "online" && link["last_error"].as_str().unwrap_or_default().contains("(in_use)");
            told.then_some(()).ok_or_else(|| link.to_string())
        });
    };
    refused(&other);
    assert_eq!(status(&world.edges[0])["link"]["state"], "online", "the one that lives is not disturbed");
    assert!(event(&world.cloud, "lyon", "in_use").contains(&database));

    let said = world.cloud.cli(&["node", "accept", "lyon", "--database", &database]).done();
    assert_eq!(said, format!("database {database} is lyon's when it comes next\n"));
    other.name = "lyon".into();
    let first = std::mem::replace(&mut world.edges[0], other);
    world.settle();
    refused(&first);
    assert_eq!(status(&world.edges[0])["link"]["state"], "online");
    assert!(event(&world.cloud, "lyon", "accepted").contains(&database));
    assert!(event(&world.cloud, "lyon", "database_replaced").contains(&database));
    let unknown = world.cloud.cli(&["node", "accept", "lyon", "--database", "0011"]).failed(1);
    assert!(unknown.contains("32 hex digits"), "{unknown}");
}
