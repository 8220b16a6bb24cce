//! A certificate authority for tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto::names::NodeName;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;
use transport::identity::{node_uri, sha256};
use transport::tls::{CertificateClock, Credentials, link_client_config, link_server_config};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The moment that certificates of tests are judged at, unless a test says otherwise: 2026-11-20.
pub(crate) fn today() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_777 * DAY
}

pub(crate) fn clock(at: SystemTime) -> CertificateClock {
    Arc::new(move || at)
}

/// A CA whose certificates are valid from 2026-10-01 to 2026-12-31.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    pub(crate) fn cas(&self) -> [CertificateDer<'static>; 1] {
        [self.certificate.clone()]
    }

    pub(crate) fn hub(&self) -> Credentials {
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn node(&self, name: &str) -> Credentials {
        let mut params = CertificateParams::new(vec![]).unwrap();
        let uri = node_uri(&NodeName::parse(name).unwrap());
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A node that also serves under the names of a hub.
    pub(crate) fn impostor(&self) -> Credentials {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let uri = node_uri(&NodeName::parse("lyon").unwrap());
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate of this CA that names no node.
    pub(crate) fn nobody(&self) -> Credentials {
        self.issue(CertificateParams::new(vec![]).unwrap(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// What a proxy or a device makes for itself: one certificate, signed by its own key, that may sign others.
    pub(crate) fn of_a_device() -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Credentials { chain: vec![certificate], key: key.serialize_der().try_into().unwrap() }
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Credentials {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2026, 10, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = key.serialize_der().try_into().unwrap();
        Credentials { chain: vec![leaf.der().clone(), self.certificate.clone()], key }
    }

    pub(crate) fn link_server(&self) -> Arc<ServerConfig> {
        link_server_config(&self.hub(), &self.cas(), clock(today())).unwrap()
    }

    pub(crate) fn link_client(&self, own: &Credentials) -> Arc<ClientConfig> {
        link_client_config(own, &self.cas(), clock(today())).unwrap()
    }
}
