//! Who this machine is: `DATA/pki` (0600 each).
//!
//! - `node.key`: made here, never leaves, stays over joins and renewals. So a machine whose join answer was lost
//!   asks again with the same key, and a new certificate never meets an old key;
//! - `ca.crt`: the hub's CA, and `node.crt`: this node's certificate with its chain;
//! - `join.json`: the node's name and the hub's addresses. Written last: with it the machine is joined.

mod key;
mod time;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use proto::names::NodeName;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use transport::identity::{CertificateFacts, NodeIdentity, Serial, sha256};
use transport::join::{JoinResponse, RenewRequest, Servers};
use transport::private_file::{self, FileError};
use transport::tls::{
    CertificateClock, Credentials, TlsConfigError, api_client_config, api_server_config, certificates, link_client_config,
};

use key::Key;
pub use key::KeyError;
pub use time::{build_date, certificate_time};

/// Why the machine's identity cannot be used or stored.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what it should.
    #[error("{} cannot be used: {why}; restore DATA/pki from a backup, or run `edgehub join` with a new token", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The hub answered a join or a renewal with something that does not fit this machine.
    #[error("the hub's answer cannot be used: {0}")]
    Answer(String),
    /// Key or signing request could not be made.
    #[error("no key could be made: {0}")]
    Make(#[from] KeyError),
}

/// A joined machine's identity.
#[derive(Clone)]
pub struct Identity {
    dir: PathBuf,
    node: NodeName,
    servers: Servers,
    certificate: String,
    credentials: Credentials,
    facts: CertificateFacts,
    ca: Vec<CertificateDer<'static>>,
}

/// What `join.json` holds.
#[derive(Serialize, Deserialize)]
struct Joined {
    node: String,
    servers: Servers,
}

impl Identity {
    /// The identity in `data`, or `None` on a machine that has not joined. An expired certificate is no error:
    /// it renews.
    ///
    /// # Errors
    /// [`IdentityError`], naming the file.
    pub fn load(data: &Path) -> Result<Option<Self>, IdentityError> {
        let dir = data.join("pki");
        let path = dir.join("join.json");
        let Some(text) = private_file::read(&path)? else { return Ok(None) };
        let joined: Joined = serde_json::from_str(&text).map_err(|error| content(&path, error))?;
        let read = |name: &str| {
            let path = dir.join(name);
            private_file::read(&path)?.ok_or_else(|| content(&path, "it is missing"))
        };
        let parts = (read("node.crt")?, read("node.key")?, read("ca.crt")?);
        let identity = Self::from_parts(&dir, joined, parts).map_err(|(file, why)| content(&dir.join(file), why))?;
        Ok(Some(identity))
    }

    /// Stores the hub's answer to a join and returns the new identity. `ca_sha256` is the token's: an answer with
    /// another CA is refused, as is a certificate over another key than [`signing_request`] used.
    ///
    /// # Errors
    /// [`IdentityError::Answer`] before anything is written; [`IdentityError::File`] leaves a machine that has
    /// not joined.
    pub fn store(data: &Path, answer: &JoinResponse, ca_sha256: [u8; 32]) -> Result<Self, IdentityError> {
        let dir = data.join("pki");
        let key = load_or_make_key(&dir)?;
        let joined = Joined { node: answer.node.clone(), servers: answer.servers.clone() };
        let text = serde_json::to_string_pretty(&joined).map_err(|error| IdentityError::Answer(error.to_string()))?;
        let parts = (answer.certificate.clone(), key.to_pem(), answer.ca.clone());
        let identity = Self::from_parts(&dir, joined, parts).map_err(|(_, why)| IdentityError::Answer(why))?;
        if !identity.ca.iter().any(|ca| sha256(ca) == ca_sha256) {
            return Err(IdentityError::Answer("its CA is not the one that the token names".to_owned()));
        }
        // A machine that joins again is not joined until all of the new identity is there.
        private_file::remove(&dir.join("join.json"))?;
        private_file::write(&dir.join("ca.crt"), answer.ca.as_bytes())?;
        private_file::write(&dir.join("node.crt"), answer.certificate.as_bytes())?;
        private_file::write(&dir.join("join.json"), text.as_bytes())?;
        Ok(identity)
    }

    /// Stores a renewed certificate (PEM, with its chain) and returns the identity with it.
    ///
    /// # Errors
    /// [`IdentityError`]; the present certificate stays.
    pub fn store_renewed(&self, certificate: &str) -> Result<Self, IdentityError> {
        let key = load_or_make_key(&self.dir)?;
        let joined = Joined { node: self.node.to_string(), servers: self.servers.clone() };
        let ca_path = self.dir.join("ca.crt");
        let ca = private_file::read(&ca_path)?.ok_or_else(|| content(&ca_path, "it is missing"))?;
        let parts = (certificate.to_owned(), key.to_pem(), ca);
        let renewed = Self::from_parts(&self.dir, joined, parts).map_err(|(_, why)| IdentityError::Answer(why))?;
        private_file::write(&self.dir.join("node.crt"), certificate.as_bytes())?;
        Ok(renewed)
    }

    /// What to send to the hub for a new certificate, also after this one has ended.
    ///
    /// # Errors
    /// [`IdentityError`]: the key cannot be read.
    pub fn renewal_request(&self) -> Result<RenewRequest, IdentityError> {
        Ok(RenewRequest { certificate: self.certificate.clone(), csr: request_for(&load_or_make_key(&self.dir)?)? })
    }

    /// Whether two thirds of the certificate's life are over.
    pub fn needs_renewal(&self, now: SystemTime) -> bool {
        now >= self.facts.renew_at()
    }

    /// This node's name.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Where the hub said it can be reached.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The serial number of the certificate.
    pub fn serial(&self) -> &Serial {
        &self.facts.serial
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// Its certificate with what leads to the CA.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.credentials.chain
    }

    /// The hub's CA, as it was at the join.
    pub fn ca(&self) -> &[CertificateDer<'static>] {
        &self.ca
    }

    /// For links to the hub; build it anew after a renewal.
    ///
    /// # Errors
    /// [`TlsConfigError`], which loading has ruled out for all but odd key types.
    pub fn link_tls(&self, clock: CertificateClock) -> Result<Arc<ClientConfig>, TlsConfigError> {
        link_client_config(&self.credentials, &self.ca, clock)
    }

    /// For machines that call this node's local API.
    ///
    /// # Errors
    /// [`TlsConfigError`].
    pub fn server_tls(&self, clock: CertificateClock) -> Result<Arc<ServerConfig>, TlsConfigError> {
        api_server_config(&self.credentials, clock)
    }

    /// Whether the certificate names this node for machines that call it; those of older hubs do not.
    pub fn can_serve(&self) -> bool {
        self.facts.hosts.contains(self.node.as_str())
    }

    /// For calls to the hub's API.
    ///
    /// # Errors
    /// [`TlsConfigError`].
    pub fn api_tls(&self, clock: CertificateClock) -> Result<Arc<ClientConfig>, TlsConfigError> {
        api_client_config(&self.ca, clock)
    }

    /// Checks that everything belongs together; an error names the file that does not.
    fn from_parts(dir: &Path, joined: Joined, (certificate, key, ca): (String, String, String)) -> Result<Self, (&'static str, String)> {
        let in_file = |file: &'static str| move |error: &dyn fmt::Display| (file, error.to_string());
        let node = NodeName::parse(&joined.node).map_err(|error| in_file("join.json")(&error))?;
        let ca = certificates(&ca).map_err(|error| in_file("ca.crt")(&error))?;
        let credentials = Credentials::from_pem(&certificate, &key).map_err(|error| in_file("node.crt")(&error))?;
        let own = credentials.chain.first().ok_or_else(|| in_file("node.crt")(&"it is empty"))?;
        let facts = CertificateFacts::read(own).map_err(|error| in_file("node.crt")(&error))?;
        let named = NodeIdentity::read(own).map_err(|error| in_file("node.crt")(&error))?.name;
        if named != node {
            return Err(("node.crt", format!("it is the certificate of {named}, not of {node}")));
        }
        let pair = Key::from_pem(&key).map_err(|error| in_file("node.key")(&error))?;
        if pair.public_key() != facts.public_key {
            return Err(("node.crt", "it was made for another key than node.key".to_owned()));
        }
        Ok(Self { dir: dir.to_owned(), node, servers: joined.servers, certificate, credentials, facts, ca })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).field("serial", &self.facts.serial).finish_non_exhaustive()
    }
}

/// A certificate signing request (PEM) with this machine's key, which is made and stored where there is none.
///
/// # Errors
/// [`IdentityError`], naming the file.
pub fn signing_request(data: &Path) -> Result<String, IdentityError> {
    request_for(&load_or_make_key(&data.join("pki"))?)
}

fn request_for(key: &Key) -> Result<String, IdentityError> {
    Ok(key.request()?)
}

fn load_or_make_key(dir: &Path) -> Result<Key, IdentityError> {
    let path = dir.join("node.key");
    if let Some(pem) = private_file::read(&path)? {
        return Key::from_pem(&pem).map_err(|error| content(&path, format!("it holds no private key ({error})")));
    }
    private_file::create_dir(dir)?;
    let key = Key::generate()?;
    private_file::write(&path, key.to_pem().as_bytes())?;
    Ok(key)
}

fn content(path: &Path, why: impl ToString) -> IdentityError {
    IdentityError::Content { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
