//! The hub's own certificate: looked at daily, and exchanged without dropping a link.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};
use transport::swap::Swap;
use transport::tls::{CertificateClock, TlsConfigError, api_server_config, link_server_config};

use crate::limits::CERTIFICATE_CHECK;
use crate::pki::Pki;

/// The configurations that handshakes are made with.
pub(super) struct Certificates {
    pki: Arc<Pki>,
    hosts: Vec<String>,
    clock: CertificateClock,
    link: Arc<Swap<ServerConfig>>,
    api: Arc<Swap<ServerConfig>>,
}

impl Certificates {
    pub(super) fn new(pki: Arc<Pki>, hosts: Vec<String>, clock: CertificateClock) -> Result<Self, TlsConfigError> {
        let (link, api) = configurations(&pki, &clock)?;
        Ok(Self { pki, hosts, clock, link: Arc::new(Swap::new(link)), api: Arc::new(Swap::new(api)) })
    }

    /// For the link; what is swapped in serves the next handshakes.
    pub(super) fn link(&self) -> Arc<Swap<ServerConfig>> {
        Arc::clone(&self.link)
    }

    /// For the API, the same way.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut config = ServerConfig::clone(&self.api.get());
        config.cert_resolver = Arc::new(Newest(Arc::clone(&self.api)));
        TlsAcceptor::from(Arc::new(config))
    }

    /// Looks once a day until the hub stops.
    pub(super) async fn keep(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(CERTIFICATE_CHECK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let (pki, hosts, now) = (Arc::clone(&self.pki), self.hosts.clone(), (self.clock)());
            let refreshed = tokio::task::spawn_blocking(move || pki.refresh_hub(&hosts, now)).await;
            match refreshed {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => self.exchange(),
                Ok(Err(problem)) => {
                    error!(error = %problem, "the hub's certificate could not be renewed; the present one goes on being used")
                }
                Err(problem) => error!(error = %problem, "the hub's certificate could not be looked at"),
            }
        }
    }

    fn exchange(&self) {
        match configurations(&self.pki, &self.clock) {
            Ok((link, api)) => {
                self.link.set(link);
                self.api.set(api);
                info!("the hub's certificate was renewed");
            }
            Err(problem) => error!(error = %problem, "the hub's new certificate cannot be used; the present one goes on being used"),
        }
    }
}

/// Shows the newest certificate, whichever configuration a handshake began with.
#[derive(Debug)]
struct Newest(Arc<Swap<ServerConfig>>);

impl ResolvesServerCert for Newest {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get().cert_resolver.resolve(hello)
    }
}

fn configurations(pki: &Pki, clock: &CertificateClock) -> Result<(Arc<ServerConfig>, Arc<ServerConfig>), TlsConfigError> {
    let hub = pki.hub();
    Ok((link_server_config(&hub, &[pki.ca()], Arc::clone(clock))?, api_server_config(&hub, Arc::clone(clock))?))
}
