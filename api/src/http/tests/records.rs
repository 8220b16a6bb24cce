//! One record at a time, and lists of them.

use proto::ids::Revision;

use super::*;
use crate::hub::{Condition, Etag, OpAction};

const CHAI: &str = "/v1/collections/products/records/1";

#[tokio::test]
async fn put_creates_then_changes_and_get_reads() {
    let api = Api::edge();
    let made = api.put(CHAI, r#"{"Name":"Chai","Price":18.50}"#).answer().await;
    let body = made.ok(201);
    assert_eq!(made.header("location"), CHAI);
    assert_eq!(made.header("etag"), "\"1\"");
    assert_eq!(body["write"]["state"], "applied");
    assert_eq!(body["write"]["final"], true);
    assert_eq!(body["write"]["accepted"], true);
    assert_eq!(body["sync"], serde_json::json!({"state":"clean","pending":[],"conflicts":[]}));
    assert_eq!(body["updated_at"], "2026-11-20T09:20:00.120Z");

    let again = api.put(CHAI, r#"{"Name":"Chai 2"}"#).answer().await;
    again.ok(200);
    assert!(again.headers.get("location").is_none());

    api.put(CHAI, r#"{"big":12345678901234567890.10,"u":"\u00fc"}"#).answer().await.ok(200);
    let read = api.get(CHAI).answer().await;
    read.ok(200);
    assert_eq!(read.header("etag"), "\"3\"");
    assert!(read.body.contains(r#""value":{"big":12345678901234567890.10,"u":"\u00fc"}"#), "{}", read.body);
    assert!(!read.body.contains("\"write\""));
}

#[tokio::test]
async fn keys_are_one_percent_encoded_segment() {
    let api = Api::edge();
    let path = "/v1/collections/notes/records/10248%2F11";
    let made = api.put(path, "{}").answer().await;
    assert_eq!(made.ok(201)["key"], "10248/11");
    assert_eq!(made.header("location"), path);
    assert_eq!(api.get(path).answer().await.ok(200)["key"], "10248/11");
    let umlaut = api.put("/v1/collections/notes/records/K%C3%A4se%20%25", "{}").answer().await;
    assert_eq!(umlaut.ok(201)["key"], "Käse %");
    assert_eq!(umlaut.header("location"), "/v1/collections/notes/records/K%C3%A4se%20%25");
    api.get("/v1/collections/notes/records/10248/11").answer().await.refused(404, "not_found");
}

#[tokio::test]
async fn bad_keys_are_named() {
    let api = Api::edge();
    let long = "k".repeat(513);
    for bad in ["%2E%2E", "%2E", "a%00b", "a%0Ab", "%FF", "", long.as_str()] {
        let answer = api.put(&format!("/v1/collections/notes/records/{bad}"), "{}").answer().await;
        answer.refused(400, "bad_key");
    }
    api.get("/v1/collections/notes/records/%2E%2E").answer().await.refused(400, "bad_key");
}

#[tokio::test]
async fn post_makes_a_time_ordered_key() {
    let api = Api::edge();
    let first = api.post("/v1/collections/notes/records", r#"{"text":"a"}"#).answer().await;
    let key = first.ok(201)["key"].as_str().unwrap().to_owned();
    let id = uuid::Uuid::parse_str(&key).unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(first.header("location"), format!("/v1/collections/notes/records/{key}"));
    let second = api.post("/v1/collections/notes/records", "{}").answer().await;
    assert!(second.ok(201)["key"].as_str().unwrap() > key.as_str());
    assert!(matches!(api.hub.last().ops[0].action, OpAction::Create(_)));
}

#[tokio::test]
async fn patch_increment_delete() {
    let api = Api::edge();
    api.put(CHAI, r#"{"Name":"Chai","UnitsInStock":20}"#).answer().await.ok(201);
    let merged = api.ask(Method::PATCH, CHAI).body("application/merge-patch+json", r#"{"Name":"Tee"}"#).answer().await;
    assert_eq!(merged.ok(200)["value"]["Name"], "Tee");
    let sold = api.post(&format!("{CHAI}/increment"), r#"{"UnitsInStock":-3}"#).answer().await;
    assert_eq!(sold.ok(200)["value"]["UnitsInStock"], 17);
    let gone = api.delete(&format!("{CHAI}?force=true")).answer().await.ok(200);
    assert_eq!((&gone["collection"], &gone["key"], &gone["deleted"]), (&"products".into(), &"1".into(), &true.into()));
    assert!(gone["write"]["id"].is_string());
    assert!(matches!(api.hub.last().ops[0].action, OpAction::Delete { force: true }));
    let problem = api.delete(CHAI).answer().await.refused(404, "not_found");
    assert_eq!((&problem["collection"], &problem["key"]), (&"products".into(), &"1".into()));
    assert_eq!(api.patch(CHAI, "{}").answer().await.status, 200);
}

#[tokio::test]
async fn bodies_are_judged_before_the_hub_sees_them() {
    let api = Api::edge();
    let put = async |body: &str| api.put(CHAI, body).answer().await;
    let problem = put("{\"a\":1,}").await.refused(400, "bad_request");
    assert!(problem["detail"].as_str().unwrap().contains("line 1 column 8"), "{problem}");
    assert_eq!(problem["key"], "1");
    put("").await.refused(400, "bad_request");
    put("[1]").await.refused(422, "not_object");
    put("\"text\"").await.refused(422, "not_object");
    assert_eq!(put(r#"{"a":1,"a":2}"#).await.refused(400, "bad_request")["field"], "a");
    put(r#"{"a":{"b":1,"b":2}}"#).await.refused(400, "bad_request");
    put(&format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024))).await.refused(413, "too_large");
    put(&format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70))).await.refused(413, "too_large");
    let fields: Vec<_> = (0..1_001).map(|field| format!("\"f{field}\":0")).collect();
    put(&format!("{{{}}}", fields.join(","))).await.refused(413, "too_large");
    api.ask(Method::PUT, CHAI).body("application/json", vec![b'{', 0xff]).answer().await.refused(400, "bad_request");
    api.ask(Method::PUT, CHAI).body("text/plain", "{}").answer().await.refused(415, "media_type");
    api.ask(Method::PUT, CHAI).answer().await.refused(415, "media_type");
    let wrong = api.post(&format!("{CHAI}/increment"), r#"{"UnitsInStock":1.5}"#).answer().await;
    assert_eq!(wrong.refused(422, "counter_not_integer")["field"], "UnitsInStock");
    api.post(&format!("{CHAI}/increment"), "{}").answer().await.refused(400, "bad_request");
    api.get(CHAI).answer().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_whether_announced_or_not() {
    let api = Api::edge();
    let huge = vec![b' '; crate::limits::VALUE_BODY_BYTES + 1];
    let announced = api.ask(Method::PUT, CHAI).header("content-length", &huge.len().to_string());
    announced.body("application/json", huge.clone()).answer().await.refused(413, "too_large");
    let chunks = futures_util::stream::iter(huge.chunks(65_536).map(|chunk| std::io::Result::Ok(chunk.to_vec())).collect::<Vec<_>>());
    api.ask(Method::PUT, CHAI).body("application/json", Body::from_stream(chunks)).answer().await.refused(413, "too_large");
}

#[tokio::test]
async fn preconditions_reach_the_hub_and_its_412_comes_back() {
    let api = Api::edge();
    let put = async |name: &str, value: &str| api.put(CHAI, "{}").header(name, value).answer().await;
    put("if-match", "*").await.refused(412, "precondition");
    put("if-none-match", "*").await.ok(201);
    put("if-none-match", "*").await.refused(412, "precondition");
    put("if-match", "\"1\"").await.ok(200);
    put("if-match", "\"1\"").await.refused(412, "precondition");
    put("if-match", "nonsense").await.refused(400, "bad_request");
    put("if-match", "\"7+lyon:7f3a9c:42\"").await.refused(412, "precondition");
    let tag = Etag { revision: Revision(7), write: "lyon:7f3a9c:42".parse().ok() };
    assert_eq!(api.hub.last().ops[0].condition, Condition::Match(vec![tag]));
}

#[tokio::test]
async fn a_pending_record_has_the_writes_tag_and_base_has_not() {
    let api = Api::edge();
    let path = "/v1/collections/notes/records/waits";
    api.put(path, "{}").answer().await.ok(201);
    let view = api.get(path).answer().await;
    assert_eq!(view.header("etag"), "\"1+lyon:7f3a9c:42\"");
    assert_eq!(view.ok(200)["sync"]["state"], "pending");
    assert_eq!(view.json()["sync"]["pending"][0], "lyon:7f3a9c:42");
    let base = api.get(&format!("{path}?read=base")).answer().await;
    assert_eq!((base.header("etag"), &base.json()["sync"]["state"]), ("\"1\"", &"clean".into()));
    api.get(&format!("{path}?read=view")).answer().await.refused(400, "bad_request");
}

#[tokio::test]
async fn who_acts_and_how_long_to_wait_reach_the_hub() {
    let api = Api::edge();
    let asked = api.put(CHAI, "{}").header("tombolo-actor", "cashier-4").header("prefer", "wait=7");
    asked.header("request-id", "r-1").answer().await.ok(201);
    let seen = api.hub.last();
    assert_eq!(seen.origin.actor.as_deref(), Some("cashier-4"));
    assert_eq!(seen.origin.travelling_id().as_deref(), Some("r-1"));
    assert_eq!(seen.wait, Some(std::time::Duration::from_secs(7)));
    api.put(CHAI, "{}").answer().await.ok(200);
    assert_eq!(api.hub.last().origin.travelling_id(), None, "a made id stays here");
    let long = "x".repeat(129);
    api.put(CHAI, "{}").header("tombolo-actor", &long).answer().await.refused(400, "bad_request");
}

#[tokio::test]
async fn lists_page_in_key_order() {
    let api = Api::edge();
    api.hub.fill(250);
    let list = "/v1/collections/products/records";
    let first = api.get(list).answer().await.ok(200);
    assert_eq!(first["records"].as_array().unwrap().len(), 100);
    assert_eq!(first["since"], "e1.7");
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let page = api.get(&format!("{list}?limit=90{after}")).answer().await.ok(200);
        keys.extend(page["records"].as_array().unwrap().iter().map(|r| r["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(keys.len(), 250);
    assert!(keys.is_sorted());
}

#[tokio::test]
async fn lists_filter() {
    let api = Api::edge();
    api.hub.fill(20);
    let count = async |query: &str| {
        let page = api.get(&format!("/v1/collections/products/records?{query}")).answer().await.ok(200);
        page["records"].as_array().unwrap().len()
    };
    assert_eq!(count("prefix=0001").await, 10);
    assert_eq!(count("key=00003&key=00005&key=nope").await, 2);
    assert_eq!(count("Name=N1").await, 10);
    assert_eq!(count("Name=N1&n=3").await, 1);
    assert_eq!(count("value.n=4").await, 1);
    assert_eq!(count("n[lt]=3&n%5Bgte%5D=1").await, 2);
    assert_eq!(count("n[in]=1,2,x").await, 2);
    assert_eq!(count("n[ne]=1").await, 19);
    assert_eq!(count("limit=7").await, 7);
    assert_eq!(count("sort=key").await, 20);
}

#[tokio::test]
async fn lists_refuse_what_they_cannot_do() {
    let api = Api::edge();
    api.hub.fill(3);
    let ask = async |query: &str| api.get(&format!("/v1/collections/products/records?{query}")).answer().await;
    let problem = ask("sort=-UnitPrice").await.refused(400, "no_index");
    assert!(problem["detail"].as_str().unwrap().contains("indexes = [\"UnitPrice\"]"), "{problem}");
    assert_eq!(problem["field"], "UnitPrice");
    let problem = ask("UnitPrice%5Blike%5D=10").await.refused(400, "bad_request");
    assert!(problem["detail"].as_str().unwrap().contains("[like]"), "{problem}");
    let next = api.get("/v1/collections/products/records?limit=1").answer().await.ok(200)["next"].as_str().unwrap().to_owned();
    for other in ["sort=-key", "n[lt]=3", "prefix=0", "key=00001"] {
        let problem = ask(&format!("after={next}&{other}")).await.refused(400, "bad_request");
        assert_eq!(problem["field"], "after", "{other}");
    }
    ask(&format!("after={next}&limit=7")).await.ok(200);
    for bad in
        ["sort=key,Name", "sort=,", "sort=A,-A", "limit=0", "limit=1001", "limit=ten", "after=nonsense", "prefix=a&prefix=b", "a=%ff"]
    {
        ask(bad).await.refused(400, "bad_request");
    }
    ask("key=..").await.refused(400, "bad_key");
    ask(&vec!["key=a"; 101].join("&")).await.refused(400, "bad_request");
    let problem = api.get("/v1/collections/nope/records").answer().await.refused(404, "not_found");
    assert_eq!(problem["collection"], "nope");
    api.get("/v1/collections/No%20Name/records").answer().await.refused(404, "not_found");
}

#[tokio::test]
async fn fields_say_who_set_them() {
    let api = Api::edge();
    api.put(CHAI, r#"{"Na\"me":"Chai","Price":18.50,"Size":null}"#).answer().await.ok(201);
    let read = api.get(&format!("{CHAI}?fields=true")).answer().await;
    let body = read.ok(200);
    assert_eq!(read.header("etag"), "\"1\"");
    let known = serde_json::json!({"revision": 1, "at": "1970-01-01T00:00:00.000Z", "writer": "lyon", "actor": null});
    let nothing = serde_json::json!({"revision": null, "at": null, "writer": null, "actor": null});
    assert_eq!(body["fields"], serde_json::json!({"Na\"me": known, "Price": known, "Size": nothing}));
    let whole = api.get(CHAI).answer().await.ok(200);
    let mut rest = body;
    rest.as_object_mut().unwrap().remove("fields");
    assert_eq!(rest, whole, "R and one member more");
    api.get(&format!("{CHAI}?fields=false")).answer().await.ok(200);
    api.get(&format!("{CHAI}?fields=Name")).answer().await.refused(400, "bad_request");
    api.get("/v1/collections/products/records/none?fields=true").answer().await.refused(404, "not_found");
}
