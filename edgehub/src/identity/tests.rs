#![allow(clippy::unwrap_used)]

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, SanType, SerialNumber, date_time_ymd,
};
use transport::identity::node_uri;

const DAY: Duration = Duration::from_secs(86_400);

/// A hub's CA, as far as a node sees it.
struct Hub {
    pem: String,
    sha256: [u8; 32],
    issuer: Issuer<'static, KeyPair>,
    issued: std::cell::Cell<u8>,
}

impl Hub {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, sha256) = (certificate.pem(), sha256(certificate.der()));
        Self { pem, sha256, issuer: Issuer::new(params, key), issued: 0.into() }
    }

    /// Valid from 2026-01-01 for ninety days.
    fn certificate(&self, name: &str, csr: &str) -> String {
        let csr = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let mut params = CertificateParams::default();
        let uri = node_uri(&NodeName::parse(name).unwrap());
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        self.issued.set(self.issued.get() + 1);
        params.serial_number = Some(SerialNumber::from_slice(&[self.issued.get()]));
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 4, 1);
        format!("{}{}", params.signed_by(&csr.public_key, &self.issuer).unwrap().pem(), self.pem)
    }

    fn answer(&self, name: &str, csr: &str) -> JoinResponse {
        JoinResponse {
            node: name.to_owned(),
            certificate: self.certificate(name, csr),
            ca: self.pem.clone(),
            servers: Servers { websocket: vec!["hub.example:10000".to_owned()], ..Servers::default() },
            time: "2026-01-01T00:00:00.000Z".to_owned(),
        }
    }
}

#[test]
fn a_join_is_stored_and_loaded_again() {
    let (dir, hub) = (tempfile::tempdir().unwrap(), Hub::new());
    assert!(Identity::load(dir.path()).unwrap().is_none());
    let csr = signing_request(dir.path()).unwrap();
    assert!(Identity::load(dir.path()).unwrap().is_none(), "a key alone is no identity");

    Identity::store(dir.path(), &hub.answer("lyon", &csr), hub.sha256).unwrap();
    let identity = Identity::load(dir.path()).unwrap().unwrap();
    assert_eq!(identity.node().as_str(), "lyon");
    assert_eq!(identity.servers().websocket, ["hub.example:10000"]);
    identity.link_tls(Arc::new(SystemTime::now)).unwrap();
    identity.api_tls(Arc::new(SystemTime::now)).unwrap();

    let begin = UNIX_EPOCH + 20_454 * DAY;
    assert_eq!(identity.not_after(), begin + 90 * DAY);
    assert!(!identity.needs_renewal(begin + 59 * DAY));
    assert!(identity.needs_renewal(begin + 60 * DAY));
}

#[test]
fn a_lost_answer_is_asked_for_with_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = |csr: &str| CertificateSigningRequestParams::from_pem(csr).unwrap().public_key;
    assert_eq!(key(&signing_request(dir.path()).unwrap()), key(&signing_request(dir.path()).unwrap()));
}

#[test]
fn answers_that_do_not_fit_change_nothing() {
    let (dir, hub, other) = (tempfile::tempdir().unwrap(), Hub::new(), Hub::new());
    let csr = signing_request(dir.path()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign_csr = signing_request(elsewhere.path()).unwrap();
    Identity::store(dir.path(), &hub.answer("lyon", &csr), hub.sha256).unwrap();

    let mut misnamed = hub.answer("lyon", &csr);
    misnamed.node = "oslo".to_owned();
    for (answer, why) in [
        (other.answer("lyon", &csr), "not the one that the token names"),
        (hub.answer("lyon", &foreign_csr), "another key"),
        (misnamed, "the certificate of lyon, not of oslo"),
    ] {
        let error = Identity::store(dir.path(), &answer, hub.sha256).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(Identity::load(dir.path()).unwrap().unwrap().node().as_str(), "lyon");
}

#[test]
fn a_renewed_certificate_takes_the_place_of_the_old() {
    let (dir, hub) = (tempfile::tempdir().unwrap(), Hub::new());
    let csr = signing_request(dir.path()).unwrap();
    let identity = Identity::store(dir.path(), &hub.answer("lyon", &csr), hub.sha256).unwrap();

    let request = identity.renewal_request().unwrap();
    assert!(request.certificate.contains(&hub.pem));
    let renewed = identity.store_renewed(&hub.certificate("lyon", &request.csr)).unwrap();
    assert_ne!(renewed.serial(), identity.serial());
    assert_eq!(Identity::load(dir.path()).unwrap().unwrap().serial(), renewed.serial());

    let foreign = hub.certificate("oslo", &request.csr);
    assert!(identity.store_renewed(&foreign).unwrap_err().to_string().contains("certificate of oslo"));
}

#[test]
fn what_is_broken_is_named() {
    let (dir, hub) = (tempfile::tempdir().unwrap(), Hub::new());
    let csr = signing_request(dir.path()).unwrap();
    Identity::store(dir.path(), &hub.answer("lyon", &csr), hub.sha256).unwrap();
    let pki = dir.path().join("pki");
    for (file, content) in [("node.crt", "x"), ("ca.crt", ""), ("join.json", "{"), ("node.key", "x")] {
        let path = pki.join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        let error = Identity::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("cannot be used") && error.contains("edgehub join"), "{file}: {error}");
        std::fs::write(&path, good).unwrap();
    }
    std::fs::remove_file(pki.join("ca.crt")).unwrap();
    let error = Identity::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("pki/ca.crt cannot be used: it is missing"), "{error}");
}
