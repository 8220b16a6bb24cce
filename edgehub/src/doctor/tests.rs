//! Facts in, verdict out.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use metamanager::{Inspection, OpenError, Soundness, Space};
use transport::address::HostPort;
use transport::tls::TlsProblem;
use transport::token::JoinToken;

use super::probe::{Lookup, Probe, Probes, Role, Trouble};
use super::*;

const BUILD: u64 = 1_795_132_800_000;
const DAY: u64 = 86_400_000;
const NOW: u64 = BUILD + 100 * DAY;

#[track_caller]
fn is(check: &Check, verdict: Verdict, words: &[&str]) {
    let text = format!("{} / {}", check.found, check.advice.as_deref().unwrap_or_default());
    assert_eq!(check.verdict, verdict, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} in {text}"));
    assert_eq!(check.advice.is_some(), verdict >= Verdict::Warning, "what is wrong comes with what to do: {text}");
}

fn server(text: &str) -> HostPort {
    HostPort::parse(text, 1).unwrap()
}

fn probe(role: Role, trouble: Option<Trouble>) -> Probe {
    let server = server(if role == Role::Link { "hub:10000" } else { "hub:10002" });
    Probe { role, server, through: None, took: Duration::from_millis(3), trouble, shown: None, hub_ms: None }
}

fn link(trouble: Trouble) -> Probes {
    Probes { links: vec![probe(Role::Link, Some(trouble))], apis: vec![probe(Role::Api, None)], ..Probes::default() }
}

fn api(trouble: Trouble) -> Probes {
    Probes { links: vec![probe(Role::Link, None)], apis: vec![probe(Role::Api, Some(trouble))], ..Probes::default() }
}

#[test]
fn clocks() {
    let facts = |system_ms, stored_ms, hub_ms| clock::judge(&clock::Facts { system_ms, build_ms: BUILD, stored_ms, hub_ms });
    is(&facts(NOW, Some(NOW - 5), Some(NOW + 900)), Verdict::Ok, &["0 s from the hub's"]);
    is(&facts(NOW, None, None), Verdict::Ok, &["the hub could not be asked"]);
    is(&facts(0, Some(NOW), None), Verdict::Warning, &["1970-01-01", "before this program was made", "timedatectl"]);
    is(&facts(0, Some(NOW), Some(NOW)), Verdict::Warning, &["behind the hub's"]);
    is(&facts(NOW + 3 * DAY, Some(NOW), Some(NOW)), Verdict::Failed, &["3 days ahead of the hub's"]);
    is(&facts(NOW + 120_000, None, Some(NOW)), Verdict::Warning, &["2 min ahead of the hub's"]);
    is(&facts(NOW, Some(NOW + 90_000), Some(NOW)), Verdict::Warning, &["stored in the database", "sets it back"]);
    is(&facts(NOW, Some(NOW + 200 * DAY), None), Verdict::Warning, &["200 days ahead of the system's", "sets it back"]);
}

#[test]
fn names() {
    let one = |result: Result<Vec<String>, String>, took| {
        let lookups = vec![Lookup { host: "hub".into(), result, took: Duration::from_millis(took) }];
        dns::judge(&Probes { lookups, links: vec![probe(Role::Link, None)], ..Probes::default() })
    };
    is(&one(Ok(vec!["10.0.0.1".into()]), 4), Verdict::Ok, &["hub is 10.0.0.1 (4 ms)"]);
    is(&one(Ok(vec!["10.0.0.1".into()]), 4_000), Verdict::Warning, &["4000 ms", "slow"]);
    is(&one(Err("no such name".into()), 4), Verdict::Failed, &["no such name", "getent hosts hub"]);
    is(&dns::judge(&Probes::default()), Verdict::Skipped, &["no address"]);
    is(&dns::judge(&link(Trouble::Refused)), Verdict::Skipped, &["numbers"]);
}

#[test]
fn ports() {
    let good = Probes { links: vec![probe(Role::Link, None)], apis: vec![probe(Role::Api, None)], ..Probes::default() };
    is(&port::judge(&good), Verdict::Ok, &["link hub:10000 answers", "API hub:10002 answers"]);
    is(&port::judge(&Probes::default()), Verdict::Skipped, &["[link] servers"]);
    is(&port::judge(&link(Trouble::Refused)), Verdict::Failed, &["connection refused", "start cloudhub"]);
    is(&port::judge(&link(Trouble::Silent("connecting"))), Verdict::Failed, &["does not answer within 5 s", "firewall"]);
    is(&port::judge(&link(Trouble::Tls(TlsProblem::NotTls))), Verdict::Failed, &["does not speak TLS", "proxy"]);
    is(&port::judge(&link(Trouble::Proxy("the proxy wall:3128 wants a user".into()))), Verdict::Failed, &["wall:3128", "HTTPS_PROXY"]);
    let said = |status, text: &str| Trouble::Said { status, text: text.into() };
    is(&port::judge(&link(said(404, "no such path"))), Verdict::Failed, &["is the hub's API, not the link", "mixed up", "10000"]);
    is(&port::judge(&link(said(502, "bad gateway"))), Verdict::Failed, &["proxy is in between"]);
    is(&port::judge(&link(said(403, "revoked"))), Verdict::Ok, &[]);
    is(&port::judge(&link(Trouble::Tls(TlsProblem::OtherCa))), Verdict::Ok, &[]);
    let mixed = port::judge(&api(Trouble::Tls(TlsProblem::CertificateRequired)));
    is(&mixed, Verdict::Warning, &["hub:10002 is the link, not the API", "10002"]);
    is(&port::judge(&api(Trouble::Refused)), Verdict::Warning, &["nothing listens on hub:10002"]);
    let joining = Probes { apis: vec![probe(Role::Api, Some(Trouble::Tls(TlsProblem::CertificateRequired)))], ..Probes::default() };
    is(&port::judge(&joining), Verdict::Failed, &["is the link, not the API"]);
    let two = Probes { links: vec![probe(Role::Link, Some(Trouble::Refused)), probe(Role::Link, None)], ..Probes::default() };
    is(&port::judge(&two), Verdict::Warning, &["nothing listens"]);
}

#[test]
fn udp() {
    use crate::config::{LinkConfig, Transport};
    let judge = |link: &LinkConfig, trouble| quic::judge(link, &Probes { quic: vec![probe(Role::Link, trouble)], ..Probes::default() });
    let auto = LinkConfig::default();
    is(&judge(&auto, None), Verdict::Ok, &["answers over UDP (3 ms)"]);
    is(&judge(&auto, Some(Trouble::Tls(TlsProblem::OtherCa))), Verdict::Ok, &[]);
    is(&judge(&auto, Some(Trouble::Silent("QUIC handshake"))), Verdict::Warning, &["nothing comes back", "UDP port 10000", "WebSocket"]);
    is(&quic::judge(&auto, &Probes::default()), Verdict::Skipped, &["no QUIC port"]);
    for transport in [Transport::Quic, Transport::Websocket] {
        is(&judge(&LinkConfig { transport, ..LinkConfig::default() }, Some(Trouble::Refused)), Verdict::Skipped, &[]);
    }
    is(&judge(&LinkConfig { metered: true, ..LinkConfig::default() }, None), Verdict::Skipped, &["metered"]);
    let through = Probe { through: Some(server("wall:3128")), ..probe(Role::Link, None) };
    let probes = Probes { links: vec![through], apis: vec![probe(Role::Api, None)], ..Probes::default() };
    is(&port::judge(&probes), Verdict::Ok, &["link hub:10000 answers through the proxy wall:3128"]);
}

#[test]
fn a_machine_without_an_identity() {
    let folder = tempfile::tempdir().unwrap();
    let judge = |joins| certificate::judge(&certificate::Own::read(folder.path(), joins), &Probes::default(), UNIX_EPOCH);
    is(&judge(false), Verdict::Failed, &["has not joined", "edgehub join"]);
    is(&judge(true), Verdict::Failed, &["[join] is set"]);
}

#[test]
fn disks() {
    let good = disk::Facts {
        data: PathBuf::from("/d"),
        folder: Ok((7, 0o750)),
        me: 7,
        space: Some(Space { free: 8 << 30, total: 16 << 30 }),
        read_only: false,
        foreign: Vec::new(),
    };
    is(&disk::judge(&good), Verdict::Ok, &["of 16 GiB free in /d"]);
    let with_free = |mib: u64| disk::Facts { space: Some(Space { free: mib << 20, total: 16 << 30 }), ..good.clone() };
    is(&disk::judge(&with_free(500)), Verdict::Warning, &["nothing more is fetched", "below 512 MiB"]);
    is(&disk::judge(&with_free(200)), Verdict::Failed, &["507", "below 256 MiB"]);
    is(&disk::judge(&disk::Facts { read_only: true, ..good.clone() }), Verdict::Failed, &["takes no writes", "dmesg"]);
    is(&disk::judge(&disk::Facts { foreign: vec!["edge.db".into()], ..good.clone() }), Verdict::Failed, &["edge.db", "chown -R 7 /d"]);
    is(&disk::judge(&disk::Facts { me: 8, ..good.clone() }), Verdict::Warning, &["user 8"]);
    is(&disk::judge(&disk::Facts { me: 0, ..good.clone() }), Verdict::Ok, &[]);
    is(&disk::judge(&disk::Facts { folder: Ok((7, 0o755)), ..good.clone() }), Verdict::Warning, &["mode 0755", "chmod 750 /d"]);
    is(&disk::judge(&disk::Facts { folder: Err("no such file".into()), ..good }), Verdict::Failed, &["no such file", "--data"]);
}

fn stored(outbox_bytes: u64) -> database::Facts {
    let found = Inspection {
        format: 1,
        known: 1,
        database: proto::ids::DatabaseId([1; 16]),
        clock_ms: NOW,
        outbox_writes: 3,
        outbox_bytes,
        file_bytes: 1 << 20,
        log_bytes: 0,
    };
    database::Facts { path: PathBuf::from("/d/edge.db"), found: Ok(Some(found)), outbox_bound: 1_000 }
}

#[test]
fn databases() {
    let sound = Ok(Soundness::Sound);
    is(&database::judge(&stored(10), Some(&sound)), Verdict::Ok, &["sound", "3 writes (10 bytes)"]);
    is(&database::judge(&stored(10), Some(&Ok(Soundness::Unfinished))), Verdict::Ok, &["too large"]);
    is(
        &database::judge(&stored(10), Some(&Ok(Soundness::Damaged("page 7".into())))),
        Verdict::Failed,
        &["damaged: page 7", "copy /d/edge.db"],
    );
    is(&database::judge(&stored(900), Some(&sound)), Verdict::Warning, &["900 bytes of at most 1000 bytes"]);
    is(&database::judge(&stored(1_000), Some(&sound)), Verdict::Failed, &["507", "[outbox] max_bytes"]);
    let none = database::Facts { found: Ok(None), ..stored(0) };
    is(&database::judge(&none, None), Verdict::Skipped, &["no /d/edge.db yet"]);
    let newer = OpenError::Newer { path: PathBuf::from("/d/edge.db"), found: 9, known: 1 };
    is(
        &database::judge(&database::Facts { found: Err(newer), ..stored(0) }, None),
        Verdict::Failed,
        &["format 9", "install the newer edgehub"],
    );
}

#[test]
fn brokers() {
    use crate::config::{MqttConfig, MqttMode, Unusable};
    use crate::eventbus::trouble::Trouble as Broken;
    use rumqttc::ConnectReturnCode;
    let none = link::Facts { data: PathBuf::from("/d"), answer: link::Answer::NotRunning };
    let named = MqttConfig { broker: "mqtts://broker.lan".into(), ..MqttConfig::default() };
    let judge = |config: &MqttConfig, beside| broker::judge(config, &broker::Facts { secrets: Vec::new(), beside }, &none, NOW);
    let good = broker::Seen { version: Some("mosquitto version 2.0.11".into()), dropped: Some(0), kept: Some(true), held: Some(1_200) };
    is(&judge(&named, Some(Ok(good.clone()))), Verdict::Ok, &["mqtts://broker.lan is mosquitto version 2.0.11, over TLS"]);
    let forgets = broker::Seen { kept: Some(false), held: None, ..good.clone() };
    is(&judge(&named, Some(Ok(forgets))), Verdict::Failed, &["forgets its clients", "persistence true"]);
    let short = broker::Seen { held: Some(1_000), ..good.clone() };
    is(&judge(&named, Some(Ok(short))), Verdict::Warning, &["keeps 1000 messages", "max_queued_messages 100000"]);
    let drops = broker::Seen { dropped: Some(7), ..good.clone() };
    is(&judge(&named, Some(Ok(drops))), Verdict::Warning, &["dropped 7 messages", "$SYS"]);
    is(&judge(&named, Some(Ok(broker::Seen { kept: None, ..good }))), Verdict::Warning, &["could not be seen", "$hw/#"]);
    // A node without devices has no broker, and needs none.
    is(&judge(&MqttConfig::default(), Some(Err(Broken::Refused))), Verdict::Skipped, &["devices need one"]);
    is(&judge(&named, Some(Err(Broken::Refused))), Verdict::Failed, &["connection refused", "systemctl start mosquitto"]);
    let unusable = Unusable { key: "mqtt.ca", why: "no such file".into() };
    for (trouble, words) in [
        (Broken::Denied(ConnectReturnCode::NotAuthorized), ["not authorized", "mosquitto_passwd"]),
        (Broken::Denied(ConnectReturnCode::BadUserNamePassword), ["user or password", "password_file"]),
        (Broken::Tls(TlsProblem::OtherCa), ["not issued by a CA of the file `ca`", "name the CA"]),
        (Broken::Tls(TlsProblem::Expired { not_after: None }), ["has expired", "renew"]),
        (Broken::Closed, ["without an answer", "mqtts://"]),
        (Broken::Silent("connecting"), ["nothing comes back", "firewall"]),
        (Broken::Foreign("x".into()), ["does not speak MQTT", "1883"]),
        (Broken::NoSubscription, ["hear no device", "topic readwrite $hw/#"]),
        (Broken::Config(unusable), ["`mqtt.ca`: no such file", "mend mqtt.ca"]),
    ] {
        is(&judge(&named, Some(Err(trouble))), Verdict::Failed, &words);
    }
    is(&judge(&MqttConfig { mode: MqttMode::Off, ..named.clone() }, None), Verdict::Skipped, &["mode is off"]);
    is(
        &judge(&MqttConfig { mode: MqttMode::Internal, ..named.clone() }, None),
        Verdict::Skipped,
        &["mqtt://127.0.0.1:1884", "when edgehub runs"],
    );
    let open = vec![("password_file", PathBuf::from("/p"), Some(0o644)), ("key", PathBuf::from("/k"), Some(0o600))];
    let readable = broker::judge(&named, &broker::Facts { secrets: open, beside: None }, &none, NOW);
    is(&readable, Verdict::Warning, &["/p, can be read by others (mode 0644)", "chmod 600 /p"]);
    assert!(!readable.found.contains("/k"));
}

#[test]
fn tokens() {
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
    let token = JoinToken::generate([7; 32], at(NOW), Duration::from_secs(60)).0.to_string();
    let found = |text: &str| token::Facts::read(&RunConfig::default(), Some(text.into()), false);
    let asked = |trouble| Probes { apis: vec![probe(Role::Api, trouble)], ..Probes::default() };
    let judge = |facts: &token::Facts, trouble, ms| token::judge(facts, &asked(trouble), at(ms));
    is(&judge(&found(&token), None, NOW), Verdict::Ok, &["$EDGEHUB_TOKEN", "whole"]);
    is(&judge(&found(&token[..40]), None, NOW), Verdict::Failed, &["not whole"]);
    is(&judge(&found(&token), None, NOW + DAY), Verdict::Failed, &["ended", "cloudhub token create"]);
    is(&judge(&found(&token), Some(Trouble::Tls(TlsProblem::PinMismatch)), NOW), Verdict::Failed, &["is not the one"]);
    is(&judge(&found(&token), Some(Trouble::Refused), NOW), Verdict::Warning, &["could not be asked"]);
    is(&token::judge(&found(&token), &Probes::default(), at(NOW)), Verdict::Warning, &["no [join] server"]);
    is(&judge(&token::Facts::Joined, None, NOW), Verdict::Skipped, &["has joined"]);
    is(&judge(&token::Facts::None { wanted: true }, None, NOW), Verdict::Failed, &["token_file"]);
    let shown = format!("{:?}", found(&token));
    assert!(!shown.contains(&token), "the secret stays out of every message");
}

#[tokio::test]
async fn a_folder_where_nothing_runs_is_examined_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let patient = Patient { data: data.clone(), config: RunConfig::default(), config_error: None, token: None };
    let report = examine(patient).await;
    assert!(!report.ok && !Path::exists(&data));
    let names: Vec<_> = report.checks.iter().map(|check| check.name).collect();
    assert_eq!(names, ["configuration", "clock", "dns", "port", "quic", "certificate", "disk", "database", "link", "broker", "token"]);
}
