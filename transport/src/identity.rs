//! Who a certificate says its holder is. The one place where that is decided.
//!
//! A node's certificate carries the URI `urn:tombolo:node:NAME` among its alternative names; the common name
//! repeats NAME for people and is never read. A hub's certificate has no such URI, so it cannot pass for a node.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use proto::names::NodeName;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT,
    OID_X509_STATE_OR_PROVINCE_NAME,
};
use x509_parser::prelude::{GeneralName, X509Name};

use crate::certificate::Certificate;

const NODE_URI: &str = "urn:tombolo:node:";

/// The URI that names `node` in its certificate.
pub fn node_uri(node: &NodeName) -> String {
    format!("{NODE_URI}{node}")
}

/// SHA-256 of a certificate, what a join token pins and `cloudhub ca show` prints.
pub fn sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// A certificate's serial number, without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From the big-endian bytes that a certificate holds.
    pub fn new(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }

    /// The big-endian bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate serial number: it is an even number of small hex digits")]
pub struct BadSerial;

impl FromStr for Serial {
    type Err = BadSerial;

    fn from_str(text: &str) -> Result<Self, BadSerial> {
        let serial = Self::new(&HEXLOWER.decode(text.as_bytes()).map_err(|_| BadSerial)?);
        // Zero is no certificate's, and would be written as nothing.
        if serial.0.is_empty() { Err(BadSerial) } else { Ok(serial) }
    }
}

/// Who is at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerIdentity {
    /// A node, seen from the hub.
    Node(NodeIdentity),
    /// A hub, seen from a node.
    Hub(HubIdentity),
}

impl PeerIdentity {
    /// The node; always there on what a [`crate::ws::WsListener`] accepted.
    pub fn node(&self) -> Option<&NodeIdentity> {
        match self {
            Self::Node(node) => Some(node),
            Self::Hub(_) => None,
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {}", node.name),
            Self::Hub(hub) => write!(f, "hub {}", hub.name),
        }
    }
}

/// What a node's certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's name.
    pub name: NodeName,
    /// Which of its certificates it showed; what revoking names.
    pub serial: Serial,
    /// When that certificate ends.
    pub not_after: SystemTime,
}

/// The hub that a node reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubIdentity {
    /// The name that its certificate was checked against.
    pub name: String,
}

/// A certificate that cannot be used for what it was shown for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not an X.509 certificate.
    #[error("this is not a certificate that can be read: {0}")]
    Unreadable(String),
    /// It names no node, or more than one, or in a form that is no node name.
    #[error("the certificate names no node: it must carry exactly one alternative name {NODE_URI}NAME")]
    NoNode,
}

/// What the project reads out of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its serial number.
    pub serial: Serial,
    /// Who issued it, for people: `CN=Example Root, O=Example`. Nothing is decided by it.
    pub issuer: String,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// DNS names and IP addresses that it is valid for, as text.
    pub hosts: BTreeSet<String>,
    /// The node that it names, when it names exactly one.
    pub node: Option<NodeName>,
    /// The public key, DER (SubjectPublicKeyInfo).
    pub public_key: Vec<u8>,
}

impl CertificateFacts {
    /// Reads a certificate; nothing is verified.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`].
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let parts = Certificate::read(certificate).map_err(|error| CertificateError::Unreadable(error.to_string()))?;
        Ok(Self {
            serial: Serial::new(parts.serial),
            issuer: in_words(&parts.issuer),
            not_before: at(parts.validity.not_before.timestamp()),
            not_after: at(parts.validity.not_after.timestamp()),
            hosts: parts.names.iter().filter_map(host).collect(),
            node: one_node(&parts.names),
            public_key: parts.public_key.to_vec(),
        })
    }

    /// When the certificate should be replaced: after two thirds of its life.
    pub fn renew_at(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life * 2 / 3
    }
}

impl NodeIdentity {
    /// The node that a verified client certificate proves.
    ///
    /// # Errors
    /// The certificate cannot be read, or names no node.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let facts = CertificateFacts::read(certificate)?;
        let name = facts.node.ok_or(CertificateError::NoNode)?;
        Ok(Self { name, serial: facts.serial, not_after: facts.not_after })
    }
}

/// `CN=Example Root, O=Example`. The parser's own way to write a name carries a table of every identifier that was ever given out.
fn in_words(name: &X509Name<'_>) -> String {
    let known = [
        (OID_X509_COMMON_NAME, "CN"),
        (OID_X509_ORGANIZATION_NAME, "O"),
        (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
        (OID_X509_LOCALITY_NAME, "L"),
        (OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
        (OID_X509_COUNTRY_NAME, "C"),
    ];
    let parts = name.iter_attributes().map(|part| {
        let kind = known.iter().find(|(kind, _)| kind == part.attr_type());
        let kind = kind.map_or_else(|| part.attr_type().to_id_string(), |(_, short)| (*short).to_owned());
        format!("{kind}={}", part.as_str().unwrap_or("?"))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn at(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn one_node(names: &[GeneralName<'_>]) -> Option<NodeName> {
    let mut nodes = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(NODE_URI),
        _ => None,
    });
    let node = nodes.next()?;
    if nodes.next().is_some() { None } else { NodeName::parse(node).ok() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType, SerialNumber, date_time_ymd};

    fn certificate(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["hub.example".to_owned(), "10.0.0.7".to_owned()]).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.serial_number = Some(SerialNumber::from_slice(&[0, 0x0a, 0xff]));
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 4, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_node_is_named_by_its_uri() {
        let lyon = NodeName::parse("lyon").unwrap();
        let identity = NodeIdentity::read(&certificate(&[&node_uri(&lyon)])).unwrap();
        assert_eq!((identity.name, identity.serial.to_string()), (lyon, "0aff".to_owned()));
    }

    #[test]
    fn anything_else_names_no_node() {
        for uris in [&[][..], &["urn:tombolo:node:"], &["urn:tombolo:node:LYON"], &["urn:other:lyon"]] {
            assert_eq!(NodeIdentity::read(&certificate(uris)), Err(CertificateError::NoNode), "{uris:?}");
        }
        let two = certificate(&["urn:tombolo:node:lyon", "urn:tombolo:node:oslo"]);
        assert_eq!(NodeIdentity::read(&two), Err(CertificateError::NoNode));
        assert!(matches!(NodeIdentity::read(&vec![1, 2, 3].into()), Err(CertificateError::Unreadable(_))));
    }

    #[test]
    fn facts_are_read_and_renewal_is_due_at_two_thirds() {
        let facts = CertificateFacts::read(&certificate(&[])).unwrap();
        assert_eq!(facts.hosts.into_iter().collect::<Vec<_>>(), ["10.0.0.7", "hub.example"]);
        assert_eq!(facts.issuer, "CN=rcgen self signed cert");
        let sixty_days = Duration::from_secs(60 * 86_400);
        let facts = CertificateFacts::read(&certificate(&[])).unwrap();
        assert_eq!(facts.renew_at(), facts.not_before + sixty_days);
    }

    #[test]
    fn serials_round_trip() {
        let serial = Serial::new(&[0, 0, 0x0b, 0x00]);
        assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
        for bad in ["", "0", "00", "xx", "0A"] {
            assert_eq!(bad.parse::<Serial>(), Err(BadSerial));
        }
    }
}
