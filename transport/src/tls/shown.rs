//! Looking at what a server shows, so that a person can be told who answers in a hub's place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{TlsConfigError, TlsProblem, client, provider, roots};

/// The chain that the last server showed to a [`looking_client_config`]; empty while there was none.
#[derive(Debug, Clone, Default)]
pub struct Shown(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Shown {
    /// Own certificate first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// For diagnosis: remembers what the server shows and trusts nothing, so every handshake ends in an error, and not a
/// byte of anything can be sent over it.
pub fn looking_client_config() -> (Arc<ClientConfig>, Shown) {
    let shown = Shown::default();
    let config = client(Arc::new(SystemTime::now), Looker(shown.clone())).with_no_client_auth();
    (Arc::new(config), shown)
}

/// Whether one of `cas` issued a node's certificate, and whether it is good at `now`; what a hub's link port asks.
///
/// # Errors
/// [`TlsProblem`]; its words speak of the certificate.
pub fn check_node_chain(
    chain: &[CertificateDer<'static>],
    cas: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<Result<(), TlsProblem>, TlsConfigError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(cas)?, provider())
        .build()
        .map_err(|error| TlsConfigError::Ca(error.to_string()))?;
    let Some((own, rest)) = chain.split_first() else {
        return Err(TlsConfigError::Credentials("there is no certificate".to_owned()));
    };
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let judged = verifier.verify_client_cert(own, rest, UnixTime::since_unix_epoch(since));
    Ok(judged.map(|_| ()).map_err(|error| TlsProblem::of_rustls(&error)))
}

#[derive(Debug)]
struct Looker(Shown);

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|certificate| certificate.clone().into_owned());
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = chain.collect();
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nothing is trusted here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nothing is trusted here".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
