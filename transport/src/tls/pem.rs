//! Certificates and keys as text.

use std::fmt;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A text that does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No certificate in it, or a broken one.
    #[error("no certificate in PEM form is in it{0}")]
    Certificate(String),
    /// No private key in it, or a broken one.
    #[error("no private key in PEM form is in it{0}")]
    Key(String),
}

/// A certificate with its chain, own certificate first, and its private key.
pub struct Credentials {
    /// Own certificate, then what leads to the CA, the CA itself last.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Reads both from PEM.
    ///
    /// # Errors
    /// [`PemError`], saying which of the two is missing or broken.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, PemError> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| PemError::Key(detail(&error)))?;
        Ok(Self { chain: certificates(chain)?, key })
    }
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// All certificates of a PEM text, in its order; at least one.
///
/// # Errors
/// [`PemError::Certificate`].
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(PemError::Certificate(String::new())),
        Ok(found) => Ok(found),
        Err(error) => Err(PemError::Certificate(detail(&error))),
    }
}

fn detail(error: &rustls_pki_types::pem::Error) -> String {
    match error {
        rustls_pki_types::pem::Error::NoItemsFound => String::new(),
        // Debug of other variants could quote the text, and the text may be a key.
        _ => " (it is damaged)".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        assert_eq!(Credentials::from_pem(&certificate, &key).unwrap().chain.len(), 1);
        assert_eq!(certificates(&format!("{certificate}{certificate}")).unwrap().len(), 2);
        assert!(matches!(Credentials::from_pem("", &key), Err(PemError::Certificate(_))));
        assert!(matches!(Credentials::from_pem(&certificate, &certificate), Err(PemError::Key(_))));
        let broken = certificate.replace("-----END", "----END");
        assert!(matches!(certificates(&broken), Err(PemError::Certificate(why)) if why.contains("damaged")));
    }
}
