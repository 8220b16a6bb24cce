//! Every TLS configuration of the project: TLS 1.3 only, ring, certificates of our own CA.
//!
//! | function | who | shows | trusts |
//! |---|---|---|---|
//! | [`link_server_config`] | cloudhub's link | hub certificate and CA | node certificates of the CA, required |
//! | [`link_client_config`] | edgehub's link | node certificate | hub certificates of the CA, by name |
//! | [`api_server_config`] | cloudhub's API | hub certificate and CA | no client certificates |
//! | [`resolving_server_config`] | edgehub's API, other addresses than loopback | node certificate and CA | no client certificates |
//! | [`api_client_config`] | command line, renewal | nothing | hub certificates of the CA, by name |
//! | [`broker_client_config`] | edgehub's way to an MQTT broker | its own certificate, where it has one | certificates of the CAs named, by name |
//! | [`join_client_config`] | `edgehub join` | nothing | the CA whose hash the token has, by name |
//! | [`looking_client_config`] | `edgehub doctor` | nothing | nobody: it only looks |
//!
//! Nothing on the link is resumed: a resumed session would skip the certificate checks (expiry, a replaced CA),
//! and 20,000 nodes would each hold tickets for handshakes that are rare.

mod pem;
mod problem;
mod shown;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};

pub use pem::{Credentials, PemError, certificates};
pub(crate) use problem::SIGNED_ITSELF;
pub use problem::TlsProblem;
pub use shown::{Shown, check_node_chain, looking_client_config};
use verify::HubVerifier;

/// The time that certificates are judged by. The edge's is the system clock or, where that was never
/// set because a Raspberry Pi boots in 1970, the later of its stored clock and the build date.
pub type CertificateClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Keys or certificates that cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// No CA certificate was given, or not a usable one.
    #[error("the CA certificate cannot be used: {0}")]
    Ca(String),
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error("certificate and key cannot be used together: {0}")]
    Credentials(String),
}

/// For the hub's link: requires a certificate that one of `cas` issued for a client.
///
/// `own` must hold the whole chain, the CA's certificate too.
///
/// # Errors
/// [`TlsConfigError`], saying what does not fit.
pub fn link_server_config(
    own: &Credentials,
    cas: &[CertificateDer<'static>],
    clock: CertificateClock,
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(cas)?, provider())
        .build()
        .map_err(|error| TlsConfigError::Ca(error.to_string()))?;
    let mut config =
        server(clock).with_client_cert_verifier(verifier).with_single_cert(own.chain.clone(), own.key.clone_key()).map_err(credentials)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For the edge's link: shows `own`, trusts `cas` and nothing else, checks the hub's name.
///
/// # Errors
/// [`TlsConfigError`], saying what does not fit.
pub fn link_client_config(
    own: &Credentials,
    cas: &[CertificateDer<'static>],
    clock: CertificateClock,
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let verifier = HubVerifier::of_roots(roots(cas)?, provider())?;
    // The hub has its CA: sending it would cost bytes at each connect and the hub's memory for as long as it lasts.
    let chain = own.chain.iter().filter(|certificate| !cas.contains(certificate)).cloned().collect();
    let mut config = client(clock, verifier).with_client_auth_cert(chain, own.key.clone_key()).map_err(credentials)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// For the hub's HTTPS API: no client certificates; who calls is a matter of bearer tokens.
///
/// # Errors
/// [`TlsConfigError::Credentials`].
pub fn api_server_config(own: &Credentials, clock: CertificateClock) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let mut config = server(clock).with_no_client_auth().with_single_cert(own.chain.clone(), own.key.clone_key()).map_err(credentials)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For an HTTPS API whose certificate may come, and change, while it is served.
pub fn resolving_server_config(certificates: Arc<dyn ResolvesServerCert>, clock: CertificateClock) -> ServerConfig {
    let mut config = server(clock).with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// For callers of the HTTPS API: trusts `cas` and nothing else, checks the hub's name.
///
/// # Errors
/// [`TlsConfigError::Ca`].
pub fn api_client_config(cas: &[CertificateDer<'static>], clock: CertificateClock) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let verifier = HubVerifier::of_roots(roots(cas)?, provider())?;
    Ok(Arc::new(client(clock, verifier).with_no_client_auth()))
}

/// For a server of somebody else's on this network, an MQTT broker: trusts `cas`, checks its name, shows `own` where it asks.
///
/// # Errors
/// [`TlsConfigError`], saying what does not fit.
pub fn broker_client_config(
    own: Option<&Credentials>,
    cas: &[CertificateDer<'static>],
    clock: CertificateClock,
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let builder = client(clock, HubVerifier::of_broker(roots(cas)?, provider())?);
    Ok(Arc::new(match own {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key()).map_err(credentials)?,
        None => builder.with_no_client_auth(),
    }))
}

/// For joining, when no CA is known yet: trusts the one CA certificate with this SHA-256, which the hub must
/// send in its chain, and checks the hub's name.
pub fn join_client_config(ca_sha256: [u8; 32], clock: CertificateClock) -> Arc<ClientConfig> {
    let verifier = HubVerifier::of_pin(ca_sha256, provider());
    Arc::new(client(clock, verifier).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server(clock: CertificateClock) -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_details(provider(), Arc::new(Clock(clock)))
        .with_protocol_versions(&[&TLS13])
        .expect("ring has the cipher suites of TLS 1.3")
}

fn client(
    clock: CertificateClock,
    verifier: impl ServerCertVerifier + 'static,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_details(provider(), Arc::new(Clock(clock)))
        .with_protocol_versions(&[&TLS13])
        .expect("ring has the cipher suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

fn roots(cas: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.clone()).map_err(|error| TlsConfigError::Ca(error.to_string()))?;
    }
    if roots.is_empty() { Err(TlsConfigError::Ca("there is none".to_owned())) } else { Ok(Arc::new(roots)) }
}

fn credentials(error: rustls::Error) -> TlsConfigError {
    TlsConfigError::Credentials(error.to_string())
}

/// Lets rustls see the injected clock.
struct Clock(CertificateClock);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = (self.0)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(UnixTime::since_unix_epoch(since))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
