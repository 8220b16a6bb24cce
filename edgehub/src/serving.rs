//! What the local API is served on, and under which rules.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use api::http::serve::{Listening, UnixSocket, serve};
use api::http::{Hosts, OwnHosts, ServerOptions, edge};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::warn;
use transport::tls::{CertificateClock, resolving_server_config};

use crate::config::{RunConfig, is_open};
use crate::identity::Identity;
use crate::local::LocalHub;

/// The certificate that is shown to other machines: none before the join, and always the newest.
#[derive(Default)]
pub(crate) struct NodeCertificate(RwLock<Option<Arc<ServerConfig>>>);

impl NodeCertificate {
    /// From the next handshake on.
    pub(crate) fn show(&self, identity: &Identity, clock: &CertificateClock) {
        match identity.server_tls(Arc::clone(clock)) {
            Ok(config) => *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(config),
            Err(error) => warn!(%error, "this node's certificate cannot be shown to other machines"),
        }
    }

    /// For whoever listens for other machines.
    pub(crate) fn acceptor(self: &Arc<Self>, clock: &CertificateClock) -> TlsAcceptor {
        let newest: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        TlsAcceptor::from(Arc::new(resolving_server_config(newest, Arc::clone(clock))))
    }
}

impl ResolvesServerCert for NodeCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let newest = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        newest?.cert_resolver.resolve(hello)
    }
}

impl fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCertificate").finish_non_exhaustive()
    }
}

/// Binds everything that the local API is served on, and serves it; says what that is.
pub(crate) async fn listen(
    config: &RunConfig,
    hub: LocalHub,
    (certificate, clock): (&Arc<NodeCertificate>, &CertificateClock),
    tasks: &mut JoinSet<()>,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<String>> {
    let data = &config.data;
    let options = ServerOptions {
        hosts: Hosts::Own(OwnHosts { names: config.api.hosts.clone(), node: Arc::clone(&hub.node) }),
        origins: config.api.origins.clone(),
        spool: data.clone(),
        files: config.api.files.as_deref().map(|folder| files(folder, data)).transpose()?,
        version: env!("CARGO_PKG_VERSION"),
    };
    let router = edge::router(Arc::new(hub), options);
    let mut shown = Vec::new();
    for address in &config.listen {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr().map_or(*address, |bound| bound);
                let listening = if is_open(address) {
                    shown.push(format!("https://{bound}"));
                    Listening::Tls(listener, certificate.acceptor(clock))
                } else {
                    shown.push(bound.to_string());
                    Listening::Tcp(listener)
                };
                tasks.spawn(serve(listening, router.clone(), stop.clone()));
            }
            // A machine without IPv6 still serves on 127.0.0.1.
            Err(error) if address.is_ipv6() && error.kind() == std::io::ErrorKind::AddrNotAvailable && config.listen.len() > 1 => {
                warn!(%address, %error, "not listening there");
            }
            Err(error) => anyhow::bail!(
                "cannot listen on {address}: {error}; another program may use the port: name another one with --listen (data folder {})",
                data.display()
            ),
        }
    }
    let path = data.join("edgehub.sock");
    let socket = UnixSocket::bind(&path).with_context(|| format!("cannot make the socket {}", path.display()))?;
    shown.push(path.display().to_string());
    tasks.spawn(serve(Listening::Unix(socket), router, stop.clone()));
    Ok(shown)
}

/// The folder of `[api] static`, which everybody who reaches the API may read: not one that holds the node's key.
pub(crate) fn files(folder: &Path, data: &Path) -> anyhow::Result<PathBuf> {
    let name = || format!("`static` in [api] names {}", folder.display());
    let found = std::fs::canonicalize(folder).with_context(|| format!("{}, which cannot be read", name()))?;
    anyhow::ensure!(found.is_dir(), "{}, which is no folder", name());
    let data = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    anyhow::ensure!(!data.starts_with(&found), "{}, and the data folder {} lies in it: name another one", name(), data.display());
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_never_served() {
        let scratch = tempfile::tempdir().unwrap();
        let (data, pages) = (scratch.path().join("data"), scratch.path().join("pages"));
        std::fs::create_dir_all(data.join("www")).unwrap();
        std::fs::create_dir(&pages).unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        assert!(files(&pages, &data).is_ok());
        assert!(files(&data.join("www"), &data).is_ok());
        std::os::unix::fs::symlink(&data, scratch.path().join("link")).unwrap();
        for (folder, why) in
            [("data", "lies in it"), ("", "lies in it"), ("link", "lies in it"), ("file", "no folder"), ("none", "cannot be read")]
        {
            let error = files(&scratch.path().join(folder), &data).unwrap_err().to_string();
            assert!(error.starts_with("`static` in [api] names ") && error.contains(why), "{folder}: {error}");
        }
    }
}
