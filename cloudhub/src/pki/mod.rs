//! The hub's own certificate authority: who is a node of this hub, and how a node knows the hub.
//!
//! Everything is in `DATA/pki` (0600 each): `ca.key` and `ca.crt` (10 years; an operator may put own ones there
//! before the first start), `hub.key` and `hub.crt` (90 days, made anew when names are missing or after two
//! thirds), `revoked` (serial numbers, appended only, which a restored database cannot undo).

mod authority;
mod hosts;
mod revoked;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proto::names::NodeName;
use rustls_pki_types::CertificateDer;
use transport::identity::{CertificateError, CertificateFacts, NodeIdentity, Serial, sha256};
use transport::join::RenewRequest;
use transport::private_file::{self, FileError};
use transport::swap::Swap;
use transport::tls::{Credentials, PemError, TlsConfigError};
use transport::token::{JoinToken, SecretHash};

use authority::Authority;
pub use authority::{IssueError, Issued};
pub use hosts::{certificate_hosts, own_hosts};
use revoked::Revoked;

/// The hub's keys and certificates, open for use. Shared between threads.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    authority: Authority,
    hub: Swap<Credentials>,
    revoked: Revoked,
}

/// Why the hub's keys and certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what it should.
    #[error("{} cannot be used: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Make(String),
}

impl PkiError {
    fn content(path: &Path, why: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), why: why.to_string() }
    }
}

impl Pki {
    /// Opens `DATA/pki`, creating what is missing, and makes a new hub certificate if one is due for `hosts`
    /// (see [`certificate_hosts`]).
    ///
    /// # Errors
    /// [`PkiError`], naming the file and what to do. Nothing that exists is ever overwritten but `hub.crt`.
    pub fn open(data: &Path, hosts: &[String], now: SystemTime) -> Result<Self, PkiError> {
        let dir = data.join("pki");
        private_file::create_dir(&dir)?;
        let authority = Authority::open(&dir, now)?;
        let hub = match load_hub(&dir, &authority)? {
            Some(hub) if !due(&hub, hosts, now) => hub,
            _ => make_hub(&dir, &authority, hosts, now)?,
        };
        let revoked = Revoked::open(dir.join("revoked"))?;
        Ok(Self { dir, authority, hub: Swap::new(hub.into()), revoked })
    }

    /// SHA-256 of the CA's certificate: what join tokens pin.
    pub fn ca_sha256(&self) -> [u8; 32] {
        sha256(&self.authority.certificate)
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.authority.pem
    }

    /// The CA's certificate, as the TLS configurations want it.
    pub fn ca(&self) -> CertificateDer<'static> {
        self.authority.certificate.clone()
    }

    /// A secret of this hub for one use, the same at each start. Another CA makes another one.
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        self.authority.secret(purpose)
    }

    /// The hub's certificate, with its chain and key.
    pub fn hub(&self) -> Credentials {
        Credentials::clone(&self.hub.get())
    }

    /// When the hub's certificate ends.
    ///
    /// # Errors
    /// It cannot be read, which [`Pki::open`] has ruled out.
    pub fn hub_facts(&self) -> Result<CertificateFacts, CertificateError> {
        facts(&self.hub.get())
    }

    /// Makes a new hub certificate if one is due: `true` means that TLS configurations are to be built anew and
    /// swapped in. A hub that runs for months calls this daily.
    ///
    /// # Errors
    /// [`PkiError`]; the present certificate goes on being used.
    pub fn refresh_hub(&self, hosts: &[String], now: SystemTime) -> Result<bool, PkiError> {
        if !due(&self.hub.get(), hosts, now) {
            return Ok(false);
        }
        self.hub.set(make_hub(&self.dir, &self.authority, hosts, now)?.into());
        Ok(true)
    }

    /// A new join token for this hub, and the hash to store.
    pub fn new_token(&self, now: SystemTime, ttl: Duration) -> (JoinToken, SecretHash) {
        JoinToken::generate(self.ca_sha256(), now, ttl)
    }

    /// A certificate for `node` over the public key of `csr` (PEM); whatever else the request says is ignored.
    ///
    /// # Errors
    /// [`IssueError`], for the one who sent the request.
    pub fn issue(&self, node: &NodeName, csr: &str, now: SystemTime) -> Result<Issued, IssueError> {
        let hub = self.hub_facts().map(|facts| facts.hosts.into_iter().collect::<Vec<_>>()).unwrap_or_default();
        self.authority.issue_node(node, csr, &hub, now)
    }

    /// [`Issued::key_sha256`] of the key that a request was made with; nothing is signed.
    ///
    /// # Errors
    /// [`IssueError::BadCsr`], for the one who sent the request.
    pub fn key_of(&self, csr: &str) -> Result<[u8; 32], IssueError> {
        authority::key_of(csr)
    }

    /// Certificates that were signed for nodes since the hub started.
    pub fn issued(&self) -> u64 {
        self.authority.issued()
    }

    /// Who asks for a renewal: checks that the certificate shown is one of ours (it may have ended), is not
    /// revoked, and that the request was made with its key. Then [`Pki::issue`], if the node is still wanted.
    ///
    /// # Errors
    /// [`IssueError`], for the one who sent the request.
    pub fn check_renewal(&self, request: &RenewRequest) -> Result<NodeIdentity, IssueError> {
        let node = self.authority.check_renewal(request)?;
        if self.is_revoked(&node.serial) {
            return Err(IssueError::Revoked(node.name.to_string()));
        }
        Ok(node)
    }

    /// Whether a certificate was revoked. Asked in every handshake.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked.contains(serial)
    }

    /// Revokes certificates of `node`; durable when it returns. Name every certificate issued to the node that
    /// has not ended: a renewed node has two.
    ///
    /// # Errors
    /// [`PkiError::File`]: try again; what was written counts.
    pub fn revoke(&self, node: &NodeName, serials: &[Serial]) -> Result<(), PkiError> {
        serials.iter().try_for_each(|serial| self.revoked.add(serial, node))
    }
}

/// What `hub.crt` and `hub.key` hold, if they are there and belong to this CA.
fn load_hub(dir: &Path, authority: &Authority) -> Result<Option<Credentials>, PkiError> {
    let path = dir.join("hub.crt");
    let (Some(chain), Some(key)) = (private_file::read(&path)?, private_file::read(&dir.join("hub.key"))?) else {
        return Ok(None);
    };
    let hub = Credentials::from_pem(&chain, &key)
        .map_err(|error: PemError| PkiError::content(&path, format!("{error}; remove hub.crt and hub.key, the hub makes new ones")))?;
    let ours = hub.chain.last() == Some(&authority.certificate);
    // Certificate and key of different pairs, as after a crash in the first start: made anew.
    let fits = transport::tls::api_server_config(&hub, std::sync::Arc::new(SystemTime::now));
    match fits {
        Ok(_) if ours => Ok(Some(hub)),
        Ok(_) | Err(TlsConfigError::Credentials(_)) => Ok(None),
        Err(error @ TlsConfigError::Ca(_)) => Err(PkiError::content(&path, error)),
    }
}

fn make_hub(dir: &Path, authority: &Authority, hosts: &[String], now: SystemTime) -> Result<Credentials, PkiError> {
    let key = authority::load_or_make_key(&dir.join("hub.key"))?;
    let chain = authority.issue_hub(&key, hosts, now).map_err(|error| PkiError::Make(error.to_string()))?;
    let path = dir.join("hub.crt");
    private_file::write(&path, chain.as_bytes())?;
    Credentials::from_pem(&chain, &key.serialize_pem()).map_err(|error| PkiError::content(&path, error))
}

fn facts(hub: &Credentials) -> Result<CertificateFacts, CertificateError> {
    CertificateFacts::read(hub.chain.first().ok_or(CertificateError::NoNode)?)
}

/// Whether a new hub certificate is due: a host is missing, or two thirds of its life are over.
fn due(hub: &Credentials, hosts: &[String], now: SystemTime) -> bool {
    facts(hub).map_or(true, |facts| now >= facts.renew_at() || hosts.iter().any(|host| !facts.hosts.contains(host)))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
