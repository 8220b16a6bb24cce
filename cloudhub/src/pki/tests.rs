#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::time::UNIX_EPOCH;

use super::*;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

fn today() -> SystemTime {
    UNIX_EPOCH + 20_777 * DAY
}

fn hosts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn open(dir: &TempDir) -> Pki {
    Pki::open(dir.path(), &hosts(&["localhost", "10.0.0.7"]), today()).unwrap()
}

fn lyon() -> NodeName {
    NodeName::parse("lyon").unwrap()
}

fn csr(key: &KeyPair) -> String {
    let mut params = CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "oslo");
    params.serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn the_first_start_makes_everything_and_the_next_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, first_hub) = (open(&dir).ca_sha256(), open(&dir).hub().chain);
    let again = open(&dir);
    assert_eq!((again.ca_sha256(), again.hub().chain), (first, first_hub));
    for file in ["ca.key", "ca.crt", "hub.key", "hub.crt"] {
        let mode = dir.path().join("pki").join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let ca = CertificateFacts::read(&again.ca()).unwrap();
    assert!(ca.not_after > today() + 3_650 * DAY);
    let hub = again.hub_facts().unwrap();
    assert_eq!(hub.not_after, today() + 90 * DAY);
    assert_eq!(hub.hosts.into_iter().collect::<Vec<_>>(), ["10.0.0.7", "localhost"]);
}

#[test]
fn the_hub_certificate_is_made_anew_when_a_name_is_missing_or_its_time_comes() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(&dir);
    let before = pki.hub_facts().unwrap();
    let more = hosts(&["localhost", "10.0.0.7", "hub.example"]);
    assert!(!pki.refresh_hub(&hosts(&["localhost"]), today() + 59 * DAY).unwrap(), "nothing is due");
    assert!(pki.refresh_hub(&more, today()).unwrap());
    let named = pki.hub_facts().unwrap();
    assert!(named.hosts.contains("hub.example") && named.serial != before.serial);
    assert_eq!(named.public_key, before.public_key, "the key stays");
    assert!(pki.refresh_hub(&more, today() + 60 * DAY).unwrap());

    let restarted = Pki::open(dir.path(), &more, today() + 121 * DAY).unwrap();
    assert_eq!(restarted.hub_facts().unwrap().not_after, today() + 211 * DAY);
    assert_eq!(restarted.ca_sha256(), pki.ca_sha256());
}

#[test]
fn a_first_start_that_was_interrupted_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir);
    for lost in ["ca.crt", "hub.crt", "hub.key"] {
        std::fs::remove_file(dir.path().join("pki").join(lost)).unwrap();
        let pki = open(&dir);
        assert_eq!(pki.hub().chain.last(), Some(&pki.ca()), "{lost}");
    }
}

#[test]
fn a_ca_without_its_key_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir);
    std::fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
    let error = Pki::open(dir.path(), &[], today()).unwrap_err().to_string();
    assert!(error.contains("pki/ca.key cannot be used: it is missing") && error.contains("backup"), "{error}");
    std::fs::write(dir.path().join("pki/ca.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = Pki::open(dir.path(), &[], today()).unwrap_err().to_string();
    assert!(error.contains("does not belong to ca.key"), "{error}");
}

#[test]
fn a_node_gets_the_name_that_the_hub_says() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(&dir);
    let key = KeyPair::generate().unwrap();
    let issued = pki.issue(&lyon(), &csr(&key), today()).unwrap();
    let chain = transport::tls::certificates(&issued.certificate).unwrap();
    let node = NodeIdentity::read(&chain[0]).unwrap();
    assert_eq!((node.name, node.not_after), (lyon(), today() + 90 * DAY));
    assert_eq!((&node.serial, chain.last()), (&issued.serial, Some(&pki.ca())));
    let facts = CertificateFacts::read(&chain[0]).unwrap();
    let hosts: Vec<_> = facts.hosts.iter().map(String::as_str).collect();
    assert_eq!(hosts, ["lyon", "lyon.local"], "what else the request asked for is ignored");

    let again = pki.issue(&lyon(), &csr(&key), today()).unwrap();
    assert_ne!(again.serial, issued.serial);
    assert_eq!(again.key_sha256, issued.key_sha256);
}

#[test]
fn bad_requests_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(&dir);
    let good = csr(&KeyPair::generate().unwrap());
    let p384 = csr(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    let ed25519 = csr(&KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let middle = good.len() / 2;
    let letter = if &good[middle..=middle] == "A" { "B" } else { "A" };
    let tampered = format!("{}{letter}{}", &good[..middle], &good[middle + 1..]);
    let large = "x".repeat(20_000);
    for bad in ["", "hello", &p384, &ed25519, &tampered, &large] {
        let error = pki.issue(&lyon(), bad, today()).unwrap_err();
        assert!(matches!(error, IssueError::BadCsr(_)), "{error}");
    }
    assert!(pki.issue(&lyon(), &p384, today()).unwrap_err().to_string().contains("P-256"));
}

#[test]
fn an_expired_node_renews_with_its_key_unless_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(&dir);
    let key = KeyPair::generate().unwrap();
    let issued = pki.issue(&lyon(), &csr(&key), today() - 400 * DAY).unwrap();
    let request = |key: &KeyPair, certificate: &str| RenewRequest { certificate: certificate.to_owned(), csr: csr(key) };

    let node = pki.check_renewal(&request(&key, &issued.certificate)).unwrap();
    assert_eq!((node.name, &node.serial), (lyon(), &issued.serial));

    let other_key = request(&KeyPair::generate().unwrap(), &issued.certificate);
    assert!(matches!(pki.check_renewal(&other_key), Err(IssueError::NotOurs(why)) if why.contains("another key")));

    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = open(&elsewhere).issue(&lyon(), &csr(&key), today()).unwrap();
    assert!(matches!(pki.check_renewal(&request(&key, &foreign.certificate)), Err(IssueError::NotOurs(_))));
    let hub = std::fs::read_to_string(dir.path().join("pki/hub.crt")).unwrap();
    assert!(matches!(pki.check_renewal(&request(&key, &hub)), Err(IssueError::NotOurs(_))));

    pki.revoke(&lyon(), std::slice::from_ref(&issued.serial)).unwrap();
    assert!(matches!(pki.check_renewal(&request(&key, &issued.certificate)), Err(IssueError::Revoked(name)) if name == "lyon"));
    assert!(open(&dir).is_revoked(&issued.serial), "after a restart too");
}

#[test]
fn tokens_name_this_ca() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(&dir);
    let (token, hash) = pki.new_token(today(), DAY);
    assert_eq!((token.ca_sha256(), token.secret().hash()), (pki.ca_sha256(), hash));
    assert_eq!(token.expires(), today() + DAY);
}
