//! Certificates are renewed at two thirds of their life, without dropping the link: the next handshake takes the
//! new one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};
use transport::address::HostPort;
use transport::join::JoinResponse;
use transport::swap::Swap;
use transport::tls::CertificateClock;

use crate::call::call;
use crate::identity::Identity;
use crate::serving::NodeCertificate;

/// The API's port, where an address names none.
const API_PORT: u16 = 10002;
/// How often to look whether it is time, and to try again when it could not be done.
const EVERY: Duration = Duration::from_secs(600);

/// Renews when it is time, until told to stop. `shown`: what other machines see, where they may connect.
pub(crate) async fn keep(
    mut identity: Identity,
    tls: Arc<Swap<rustls::ClientConfig>>,
    shown: Option<Arc<NodeCertificate>>,
    clock: CertificateClock,
    mut stop: watch::Receiver<bool>,
) {
    // One of an older hub does not name this node for the machines that call it: once, a new one is asked for at once.
    let mut unfit = shown.is_some() && !identity.can_serve();
    if unfit {
        warn!(node = %identity.node(), "this node's certificate does not name it for other machines, which cannot trust it; asking for a new one");
    }
    while !*stop.borrow() {
        if unfit || identity.needs_renewal(clock()) {
            match renew(&identity, &clock).await {
                Ok(renewed) => {
                    match renewed.link_tls(Arc::clone(&clock)) {
                        Ok(config) => tls.set(config),
                        Err(error) => warn!(%error, "the renewed certificate cannot be used"),
                    }
                    if let Some(shown) = &shown {
                        shown.show(&renewed, &clock);
                    }
                    unfit = false;
                    info!(node = %renewed.node(), "certificate renewed");
                    identity = renewed;
                }
                Err(error) => warn!(%error, "the certificate could not be renewed; trying again in ten minutes"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn renew(identity: &Identity, clock: &CertificateClock) -> Result<Identity, String> {
    let request = identity.renewal_request().map_err(|error| error.to_string())?;
    let tls = identity.api_tls(Arc::clone(clock)).map_err(|error| error.to_string())?;
    let mut last = "the hub named no API address at the join".to_owned();
    for server in &identity.servers().api {
        let Ok(server) = HostPort::parse(server, API_PORT) else { continue };
        match call::<JoinResponse>(&server, Arc::clone(&tls), "/v1/renew", &request).await {
            Ok(answer) => return identity.store_renewed(&answer.certificate).map_err(|error| error.to_string()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}
