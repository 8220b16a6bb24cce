//! Signing: the CA itself, the hub's certificate, the nodes' certificates. ECDSA P-256 throughout.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::names::NodeName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use transport::identity::{CertificateFacts, NodeIdentity, Serial, node_uri};
use transport::join::RenewRequest;
use transport::private_file;
use transport::tls::certificates;

use super::PkiError;

const DAY: Duration = Duration::from_secs(86_400);
/// Life of the CA.
const CA_LIFE: Duration = Duration::from_secs(3_652 * DAY.as_secs());
/// Life of hub and node certificates.
const LEAF_LIFE: Duration = Duration::from_secs(90 * DAY.as_secs());
/// Certificates begin a little in the past, for callers whose clock is a little behind.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// The CA's key and certificate.
pub(super) struct Authority {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
    issued: AtomicU64,
}

/// A certificate that was made for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate and the CA's, PEM.
    pub certificate: String,
    /// Its serial number; keep it, revoking needs it.
    pub serial: Serial,
    /// When it ends.
    pub not_after: SystemTime,
    /// SHA-256 of the public key: tells the same machine that asks again, because an answer was lost, from
    /// another one.
    pub key_sha256: [u8; 32],
}

/// Why no certificate is issued. The text is for the one who asked.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The signing request cannot be used.
    #[error("the certificate request (csr) cannot be used: {0}")]
    BadCsr(String),
    /// The certificate shown for a renewal is none of ours.
    #[error("the certificate shown cannot be renewed: {0}")]
    NotOurs(String),
    /// The node was revoked.
    #[error("the certificate of {0} was revoked; it can only join again, with a new token")]
    Revoked(String),
    /// Signing failed.
    #[error("the hub could not sign the certificate: {0}")]
    Sign(#[from] rcgen::Error),
}

impl Authority {
    /// Made of the CA's key, which it does not tell.
    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(purpose.as_bytes());
        hash.update([0]);
        hash.update(self.issuer.key().serialize_der());
        hash.finalize().into()
    }

    /// Loads the CA, or makes one.
    pub(super) fn open(dir: &Path, now: SystemTime) -> Result<Self, PkiError> {
        let (key_path, path) = (dir.join("ca.key"), dir.join("ca.crt"));
        let pem = match private_file::read(&path)? {
            Some(pem) => {
                if private_file::read(&key_path)?.is_none() {
                    let why = "it is missing, but ca.crt is there: put it back from a backup, for nodes trust that CA alone";
                    return Err(PkiError::content(&key_path, why));
                }
                pem
            }
            None => {
                let pem = make_ca(&load_or_make_key(&key_path)?, now).map_err(|e| PkiError::Make(e.to_string()))?;
                private_file::write(&path, pem.as_bytes())?;
                pem
            }
        };
        Self::from_parts(pem, load_or_make_key(&key_path)?).map_err(|why| PkiError::content(&path, why))
    }

    fn from_parts(pem: String, key: KeyPair) -> Result<Self, String> {
        let mut found = certificates(&pem).map_err(|error| error.to_string())?;
        let certificate = found.swap_remove(0);
        let facts = CertificateFacts::read(&certificate).map_err(|error| error.to_string())?;
        if facts.public_key != key.subject_public_key_info() {
            return Err("it does not belong to ca.key; put back the pair".to_owned());
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| error.to_string())?;
        Ok(Self { certificate, pem, issuer, issued: AtomicU64::new(0) })
    }

    /// The hub's certificate and the CA's, PEM.
    pub(super) fn issue_hub(&self, key: &KeyPair, hosts: &[String], now: SystemTime) -> Result<String, rcgen::Error> {
        let mut params = leaf("cloudhub", ExtendedKeyUsagePurpose::ServerAuth, now);
        params.subject_alt_names = CertificateParams::new(hosts)?.subject_alt_names;
        Ok(self.chain(&params.signed_by(key, &self.issuer)?))
    }

    /// A node proves its name to the hub with it, and to whoever calls its local API from another machine: NAME and NAME.local
    /// are the names that it has there, unless the hub is called so itself.
    pub(super) fn issue_node(&self, node: &NodeName, csr: &str, hub: &[String], now: SystemTime) -> Result<Issued, IssueError> {
        let key = public_key(csr)?;
        self.issued.fetch_add(1, Ordering::Relaxed);
        let mut params = leaf(node.as_str(), ExtendedKeyUsagePurpose::ClientAuth, now);
        params.subject_alt_names = vec![SanType::URI(node_uri(node).try_into()?)];
        let names = [node.to_string(), format!("{node}.local")];
        if !names.iter().any(|name| hub.iter().any(|own| own.eq_ignore_ascii_case(name))) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            for name in names {
                params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
            }
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        let facts = CertificateFacts::read(certificate.der()).map_err(|error| IssueError::BadCsr(error.to_string()))?;
        Ok(Issued {
            certificate: self.chain(&certificate),
            serial: facts.serial,
            not_after: facts.not_after,
            key_sha256: Sha256::digest(facts.public_key).into(),
        })
    }

    /// Certificates that were signed for nodes.
    pub(super) fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// Verifies a certificate as one of ours at a moment when it was valid, and the request as made by its key.
    pub(super) fn check_renewal(&self, request: &RenewRequest) -> Result<NodeIdentity, IssueError> {
        let not_ours = |why: &dyn fmt::Display| IssueError::NotOurs(why.to_string());
        let chain = certificates(&request.certificate).map_err(|error| not_ours(&error))?;
        let (shown, rest) = chain.split_first().ok_or_else(|| not_ours(&"there is none"))?;
        let facts = CertificateFacts::read(shown).map_err(|error| not_ours(&error))?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(|error| not_ours(&error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), ring::default_provider().into());
        let verifier = verifier.build().map_err(|error| not_ours(&error))?;
        let ended = facts.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        verifier
            .verify_client_cert(shown, rest, UnixTime::since_unix_epoch(ended))
            .map_err(|_| not_ours(&"this hub's CA did not issue it to a node; join again"))?;
        if public_key(&request.csr)?.subject_public_key_info() != facts.public_key {
            return Err(not_ours(&"the request was made with another key than the certificate's"));
        }
        NodeIdentity::read(shown).map_err(|error| not_ours(&error))
    }

    fn chain(&self, certificate: &rcgen::Certificate) -> String {
        format!("{}{}", certificate.pem(), self.pem)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// SHA-256 of the key that a request was made with, as [`Issued::key_sha256`] has it.
pub(super) fn key_of(csr: &str) -> Result<[u8; 32], IssueError> {
    Ok(Sha256::digest(public_key(csr)?.subject_public_key_info()).into())
}

/// The key in `path`; a new one, stored there first, where there is none.
pub(super) fn load_or_make_key(path: &Path) -> Result<KeyPair, PkiError> {
    if let Some(pem) = private_file::read(path)? {
        return KeyPair::from_pem(&pem).map_err(|error| PkiError::content(path, format!("no private key: {error}")));
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| PkiError::Make(error.to_string()))?;
    private_file::write(path, key.serialize_pem().as_bytes())?;
    Ok(key)
}

fn make_ca(key: &KeyPair, now: SystemTime) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    // Two CAs never share a name, so that an error can tell them apart.
    let id = random::<4>().map(|byte| format!("{byte:02x}")).concat();
    params.distinguished_name.push(DnType::CommonName, format!("Tombolo CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    live(&mut params, now, CA_LIFE);
    Ok(params.self_signed(key)?.pem())
}

fn leaf(name: &str, usage: ExtendedKeyUsagePurpose, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    live(&mut params, now, LEAF_LIFE);
    params
}

fn live(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SLACK);
    params.not_after = epoch + now + life;
    let mut serial = random::<16>();
    // Positive and of full length, whatever the dice say.
    serial[0] = (serial[0] & 0x3f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

/// The public key of a request whose signature holds.
fn public_key(csr: &str) -> Result<rcgen::PublicKey, IssueError> {
    if csr.len() > transport::limits::CSR {
        return Err(IssueError::BadCsr(format!("it is larger than {} bytes", transport::limits::CSR)));
    }
    let csr = CertificateSigningRequestParams::from_pem(csr).map_err(|error| IssueError::BadCsr(error.to_string()))?;
    // 65 bytes: an uncompressed point of P-256; the algorithm alone would let P-384 keys pass.
    if csr.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 || csr.public_key.der_bytes().len() != 65 {
        return Err(IssueError::BadCsr("its key is not an ECDSA key on P-256".to_owned()));
    }
    Ok(csr.public_key)
}
