//! How a node judges the certificate of a hub.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::TlsConfigError;
use crate::identity::{CertificateFacts, NodeIdentity, sha256};

/// The chain that a hub sent does not hold the CA that the token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub's CA is not the one that the join token names")]
pub(super) struct PinMismatch;

/// A node answers where a hub should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is the certificate of a node, not of a hub")]
pub(super) struct NodeForHub;

/// Verifies chain, name and time of a hub's certificate.
///
/// A node's clock is only ever a lower bound of the true time (it may boot in 1970, with a build date from before
/// the hub's certificate), so "not valid yet" says nothing about the certificate: it is judged at its own
/// beginning instead. That cannot revive anything, because a certificate ends after it begins.
#[derive(Debug)]
pub(super) struct HubVerifier {
    trust: Trust,
    /// Whether a node's certificate will do.
    nodes: bool,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trust {
    Roots(Arc<WebPkiServerVerifier>),
    Pin([u8; 32]),
}

impl HubVerifier {
    pub(super) fn of_roots(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Result<Self, TlsConfigError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TlsConfigError::Ca(error.to_string()))?;
        Ok(Self { trust: Trust::Roots(verifier), nodes: false, provider })
    }

    /// For another server than a hub: an MQTT broker may well show the certificate of the node that it runs on.
    pub(super) fn of_broker(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Result<Self, TlsConfigError> {
        Ok(Self { nodes: true, ..Self::of_roots(roots, provider)? })
    }

    pub(super) fn of_pin(ca_sha256: [u8; 32], provider: Arc<CryptoProvider>) -> Self {
        Self { trust: Trust::Pin(ca_sha256), nodes: false, provider }
    }

    /// The verifier for the pinned CA, if the hub sent that one.
    fn pinned(&self, pin: [u8; 32], chain: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let ca = chain.iter().find(|certificate| sha256(certificate) == pin);
        let ca = ca.ok_or_else(|| CertificateError::Other(OtherError(Arc::new(PinMismatch))))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = match &self.trust {
            Trust::Roots(verifier) => verifier.clone(),
            Trust::Pin(pin) => self.pinned(*pin, intermediates)?,
        };
        // A node's certificate serves its own local API, and must not pass for the hub's, whatever the hub is called.
        if !self.nodes && NodeIdentity::read(end_entity).is_ok() {
            return Err(CertificateError::Other(OtherError(Arc::new(NodeForHub))).into());
        }
        let now = not_before_its_beginning(now, end_entity)?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn not_before_its_beginning(now: UnixTime, certificate: &CertificateDer<'_>) -> Result<UnixTime, Error> {
    let facts = CertificateFacts::read(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let begins = facts.not_before.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(if begins.as_secs() > now.as_secs() { UnixTime::since_unix_epoch(begins) } else { now })
}
