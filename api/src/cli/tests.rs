//! The shared verbs against a hub that answers from a table: what is asked, and what is printed.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::{CommandFactory, Parser, Subcommand};
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use super::*;
use crate::client::Client;

#[derive(Debug, Parser)]
#[command(name = "hub")]
struct Hub {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(subcommand)]
    Record(RecordVerb),
    #[command(subcommand)]
    Conflict(ConflictVerb),
    Writes(WritesList),
    Write {
        #[command(flatten)]
        show: WriteShow,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// What one command did.
struct Ran {
    asked: Vec<String>,
    out: String,
    notes: String,
    error: Option<CliError>,
}

/// Runs one command line against a hub that gives `answers` in turn, the last one for ever.
async fn run(line: &[&str], answers: &[(u16, &'static str)]) -> Ran {
    let data = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(data.path().join("edgehub.sock")).unwrap();
    let client = Client::socket(data.path());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = tokio::spawn(answer_all(listener, answers.to_vec(), asked.clone()));
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut notes, false);
    let result = match Hub::parse_from([&["hub"], line].concat()).verb {
        Verb::Record(verb) => verb.run(&client, &mut console).await,
        Verb::Conflict(verb) => verb.run(&client, &mut console).await,
        Verb::Writes(list) => list.run(&client, &mut console).await,
        Verb::Write { show, wait } => show.run_waiting(&client, &mut console, wait.wait.unwrap_or_default()).await,
    };
    server.abort();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let asked = asked.lock().unwrap().clone();
    Ran { asked, out: text(out), notes: text(notes), error: result.err() }
}

async fn answer_all(listener: UnixListener, answers: Vec<(u16, &'static str)>, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let shown = |name| head.headers.get(name).map_or(String::new(), |value| format!(" {name}={}", value.to_str().unwrap()));
            let headers = ["if-match", "last-event-id"].map(shown).concat();
            let said = format!("{} {}{headers} {}", head.method, head.uri, String::from_utf8_lossy(&body));
            let mut asked = asked.lock().unwrap();
            let (status, text) = answers[asked.len().min(answers.len() - 1)];
            asked.push(said.trim_end().to_owned());
            Ok::<_, Infallible>(Response::builder().status(status).body(Full::new(Bytes::from_static(text.as_bytes()))).unwrap())
        });
        let _ = hyper::server::conn::http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
    }
}

const RECORD: &str = r#"{"collection":"products","key":"11","value":{"Name":"Queso","Stock":22},"revision":7,"updated_at":"2026-11-20T08:00:00.000Z","writer":"cloud:7","actor":null,"sync":{"state":"clean","pending":[],"conflicts":[]},"write":{"id":"cloud:7","state":"applied","revision":7}}"#;

#[test]
fn the_tree_is_sound() {
    Hub::command().debug_assert();
}

#[tokio::test]
async fn get_shows_the_record() {
    let ran = run(&["record", "get", "products", "a/b"], &[(200, RECORD)]).await;
    assert_eq!(ran.asked, ["GET /v1/collections/products/records/a%2Fb"]);
    assert!(ran.out.contains("value           {\"Name\":\"Queso\",\"Stock\":22}\n"), "{}", ran.out);
}

#[tokio::test]
async fn get_shows_who_set_which_field() {
    let known = r#"{"key":"11","value":{"Name":"Queso","Stock":22},"fields":{"Name":{"revision":7,"at":"T7","writer":"lyon","actor":"anna"},"Stock":{"revision":null,"at":"T9","writer":"oslo","actor":null}}}"#;
    let ran = run(&["record", "get", "products", "11", "--fields"], &[(200, known)]).await;
    assert_eq!(ran.asked, ["GET /v1/collections/products/records/11?fields=true"]);
    let table = "key  11\n\nFIELD  VALUE  REVISION  AT  WRITER  ACTOR\nName   Queso  7         T7  lyon    anna\nStock  22     -         T9  oslo    -\n";
    assert_eq!((ran.out.as_str(), ran.notes.as_str()), (table, ""));
    let ran = run(&["record", "get", "products", "11", "--fields", "-o", "json"], &[(200, known)]).await;
    assert_eq!((ran.asked.concat().as_str(), ran.out.as_str()), ("GET /v1/collections/products/records/11?fields=true", known));

    let nothing = r#"{"value":{"Name":"Queso"},"fields":{"Name":{"revision":null,"at":null,"writer":null,"actor":null}}}"#;
    let ran = run(&["record", "get", "products", "11", "--fields"], &[(200, nothing)]).await;
    assert!(ran.out.ends_with("Name   Queso  -         -   -       -\n"), "{}", ran.out);
    assert!(ran.notes.contains("the cloud keeps the history of single fields"), "{}", ran.notes);
}

#[tokio::test]
async fn json_is_the_answer_byte_for_byte() {
    let ran = run(&["record", "get", "products", "11", "-o", "json"], &[(200, RECORD)]).await;
    assert_eq!(ran.out, RECORD);
}

#[tokio::test]
async fn lists_ask_with_every_condition_and_name_the_next_page() {
    let answer =
        r#"{"records":[{"key":"1","value":{"A":1},"revision":3,"updated_at":"T","sync":{"state":"pending"}}],"next":"tok","since":"s"}"#;
    let line = ["record", "list", "p", "--where", "City=Lyon", "--where", "limit=3", "--sort", "-Name", "--limit", "1"];
    let ran = run(&line, &[(200, answer)]).await;
    assert_eq!(ran.asked, ["GET /v1/collections/p/records?sort=-Name&City=Lyon&value.limit=3&limit=1"]);
    assert_eq!(ran.out, "KEY  REVISION  SYNC     UPDATED-AT  VALUE\n1    3         pending  T           {\"A\":1}\n");
    assert_eq!(ran.notes, "there are more; go on with --after tok\n");
}

#[tokio::test]
async fn changes_send_the_value_as_written() {
    let ran = run(&["record", "put", "p", "11", "{\"B\": 1.0}", "--if-match", "6"], &[(200, RECORD)]).await;
    assert_eq!(ran.asked, ["PUT /v1/collections/p/records/11 if-match=\"6\" {\"B\": 1.0}"]);
    assert_eq!(ran.out, "products/11: applied (write cloud:7, revision 7)\n");
    let ran = run(&["record", "merge", "p", "11", "{\"B\":null}"], &[(200, RECORD)]).await;
    assert_eq!(ran.asked, ["PATCH /v1/collections/p/records/11 {\"B\":null}"]);
    let ran = run(&["record", "increment", "p", "11", "Stock=-3", "Sold=3"], &[(200, RECORD)]).await;
    assert_eq!(ran.asked, ["POST /v1/collections/p/records/11/increment {\"Sold\":3,\"Stock\":-3}"]);
    let ran = run(&["record", "delete", "p", "11", "--force"], &[(200, RECORD)]).await;
    assert_eq!(ran.asked, ["DELETE /v1/collections/p/records/11?force=true"]);
}

#[tokio::test]
async fn a_value_comes_from_a_file_and_must_be_json() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("v.json");
    std::fs::write(&file, "{\n \"A\": 1\n}\n").unwrap();
    let at = format!("@{}", file.display());
    let ran = run(&["record", "put", "p", "1", &at], &[(200, RECORD)]).await;
    assert_eq!(ran.asked, ["PUT /v1/collections/p/records/1 {\n \"A\": 1\n}"]);
    std::fs::write(&file, "{\n \"A\": }\n").unwrap();
    let ran = run(&["record", "put", "p", "1", &at], &[(200, RECORD)]).await;
    let error = ran.error.unwrap();
    assert!(error.to_string().contains("v.json is not JSON: expected value at line 2"), "{error}");
    assert_eq!((error.code(), ran.asked.len()), (2, 0));
}

#[tokio::test]
async fn an_import_counts_and_names_the_bad_line() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("p.ndjson");
    std::fs::write(&file, "{\"A\":1}\n{\"A\":2}\n").unwrap();
    let file = file.to_str().unwrap();
    let counts = r#"{"read":77,"created":2,"changed":5,"unchanged":70,"revision":9}"#;
    let line = ["record", "import", "p", file, "--key", "A/B", "--mode", "merge", "--counters", "set"];
    let ran = run(&line, &[(200, counts)]).await;
    assert_eq!(ran.asked, ["POST /v1/collections/p/import?mode=merge&counters=set&key=A%2FB {\"A\":1}\n{\"A\":2}"]);
    assert_eq!(ran.out, "77 read: 2 created, 5 changed, 70 unchanged\n");

    let bad = r#"{"status":400,"title":"Bad line","detail":"not an object","code":"bad_line","line":17}"#;
    let error = run(&["record", "import", "p", file], &[(400, bad)]).await.error.unwrap();
    assert_eq!(error.to_string(), format!("{file} line 17: not an object (bad_line); nothing was changed"));
    assert_eq!(error.code(), 1);

    let error = run(&["record", "import", "p", "no/such"], &[(200, counts)]).await.error.unwrap();
    assert!(error.to_string().starts_with("cannot read no/such: "), "{error}");
}

#[tokio::test]
async fn an_export_goes_to_a_file_or_to_the_output() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("out.ndjson");
    let lines = "{\"A\":1}\n{\"A\":2}\n";
    let ran = run(&["record", "export", "p", file.to_str().unwrap()], &[(200, lines)]).await;
    assert_eq!(ran.out, format!("2 records written to {}\n", file.display()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), lines);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    assert_eq!(run(&["record", "export", "p"], &[(200, lines)]).await.out, lines);
}

#[tokio::test]
async fn a_write_is_asked_for_until_it_is_final() {
    let pending = r#"{"id":"lyon:7f3a9c:1","state":"pending","final":false}"#;
    let done = r#"{"id":"lyon:7f3a9c:1","state":"applied","final":true}"#;
    let ran = run(&["write", "lyon:7f3a9c:1", "--wait", "70s", "-o", "json"], &[(200, pending), (200, done)]).await;
    assert_eq!(ran.asked, ["GET /v1/writes/lyon%3A7f3a9c%3A1?wait=30"; 2]);
    assert_eq!(ran.out, done);
    let ran = run(&["write", "lyon:7f3a9c:1"], &[(200, pending)]).await;
    assert_eq!(ran.asked, ["GET /v1/writes/lyon%3A7f3a9c%3A1"]);
    assert_eq!(ran.out, "final  false\nid     lyon:7f3a9c:1\nstate  pending\n");
}

#[tokio::test]
async fn writes_and_conflicts_are_listed_by_state() {
    let ran = run(&["writes", "--state", "rejected", "--after", "t"], &[(200, r#"{"writes":[],"next":null}"#)]).await;
    assert_eq!(ran.asked, ["GET /v1/writes?state=rejected&after=t"]);
    assert_eq!(ran.out, "ID  STATE  AT  ACTOR  REVISION  CODE  CONFLICTS  DETAIL\n");
    let answer = r#"{"conflicts":[{"id":"c1","collection":"p","key":"1","kind":"field","state":"auto","node":"lyon","write":"w","outcome":"merged","count":1,"opened_at":"T"}],"next":null}"#;
    let ran = run(&["conflict", "list", "--state", "all"], &[(200, answer)]).await;
    assert_eq!(ran.asked, ["GET /v1/conflicts?state=all"]);
    assert!(ran.out.ends_with("c1  p           1    field  auto   lyon  w      merged   1      T\n"), "{}", ran.out);
    let ran = run(&["conflict", "show", "c1"], &[(200, r#"{"id":"c1","fields":[{"name":"N","cloud":"a","edge":"b"}]}"#)]).await;
    assert_eq!(ran.out, "id  c1\n\nfields:\nCLOUD  EDGE  NAME\na      b     N\n");
}

#[tokio::test]
async fn a_refusal_is_an_error_in_any_format() {
    let refused = r#"{"status":404,"title":"Not found","detail":"there is no record 12 in products","code":"not_found"}"#;
    let ran = run(&["record", "get", "products", "12", "-o", "json"], &[(404, refused)]).await;
    assert_eq!(ran.out, "");
    let error = ran.error.unwrap();
    assert_eq!((error.to_string().as_str(), error.code()), ("there is no record 12 in products (not_found)", 1));
}

#[tokio::test]
async fn a_watch_goes_on_from_its_last_id_until_it_is_refused() {
    let first = "retry: 100\n\nid: a.1\nevent: ready\ndata: {}\n\nid: a.2\n\nid: a.3\nevent: record\ndata: {\"cut";
    let second = "id: a.4\nevent: record\ndata: {\"collection\":\"p\",\"key\":\"1\",\"deleted\":true}\n\n";
    let busy = r#"{"status":503,"title":"Not synced","detail":"wait","code":"not_synced"}"#;
    let refused = r#"{"status":404,"title":"Not found","detail":"there is no collection q","code":"not_found"}"#;
    let answers = [(200, first), (503, busy), (200, second), (404, refused)];
    let ran = run(&["record", "watch", "p", "q", "--since", "a.0"], &answers).await;
    let path = "GET /v1/watch?collection=p&collection=q";
    let again = |id| format!("{path} last-event-id={id}");
    assert_eq!(ran.asked, [format!("{path}&since=a.0"), again("a.2"), again("a.2"), again("a.4")]);
    assert_eq!(ran.out, "ready\nrecord  p/1  deleted\n");
    assert_eq!(ran.notes.lines().count(), 2, "{}", ran.notes);
    assert!(ran.notes.lines().all(|note| note.contains("was cut off: the hub ended it; it goes on")), "{}", ran.notes);
    let error = ran.error.unwrap();
    assert_eq!((error.to_string().as_str(), error.code()), ("there is no collection q (not_found)", 1));
    let ran = run(&["record", "watch", "q", "-o", "json"], &[(404, refused)]).await;
    assert_eq!((ran.asked.len(), ran.out.as_str(), ran.notes.as_str()), (1, "", ""));
}

#[tokio::test]
async fn conflicts_are_resolved_one_after_the_other() {
    let done = r#"{"conflict":{"id":"c1","collection":"p","key":"1","state":"resolved"},"write":{"id":"lyon:7f3a9c:4","state":"pending"}}"#;
    let closed = r#"{"status":409,"title":"Not open","detail":"conflict c2 is resolved already","code":"not_open"}"#;
    let ran = run(&["conflict", "resolve", "c1", "c2", "c3", "--use", "edge"], &[(200, done), (409, closed), (200, done)]).await;
    let path = |id| format!(r#"POST /v1/conflicts/{id}/resolve {{"use":"edge"}}"#);
    assert_eq!(ran.asked, ["c1", "c2", "c3"].map(path));
    assert_eq!(ran.out, "c1: p/1 resolved (write lyon:7f3a9c:4, pending)\n".repeat(2));
    assert_eq!(ran.notes, "c2: conflict c2 is resolved already (not_open)\n2 resolved, 1 not\n");
    let error = ran.error.unwrap();
    assert_eq!((error.to_string().as_str(), error.code()), ("not resolved: c2", 1));
    let ran = run(&["conflict", "resolve", "c1", "--use", "value", "--value", r#"{"n":3}"#], &[(200, done)]).await;
    assert_eq!(ran.asked, [r#"POST /v1/conflicts/c1/resolve {"use":"value","value":{"n":3}}"#]);
    let ran = run(&["conflict", "resolve", "c1", "--use", "cloud", "--value", "{}"], &[(200, done)]).await;
    assert_eq!((ran.asked.len(), ran.error.unwrap().code()), (0, 2));
}
