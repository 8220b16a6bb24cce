//! The HTTP side: what both hubs serve, and what the cloud ([`cloud::router`]) and the edge ([`edge::router`]) put
//! beside it; [`serve`] puts a router on sockets.
//!
//! The way of one request: `front` looks at where it comes from and who asks, a handler (one file a noun) parses it
//! with `path`, `query`, `headers` and `body`, the hub judges it, and `answer` writes what comes back.

pub(crate) mod access;
mod answer;
mod body;
pub(crate) mod bulk;
pub mod cloud;
pub(crate) mod collections;
pub(crate) mod conflicts;
pub(crate) mod devices;
pub mod edge;
mod files;
mod front;
mod headers;
pub mod import;
pub(crate) mod observe;
mod ops;
mod path;
mod query;
pub(crate) mod records;
pub mod serve;
mod stall;
pub(crate) mod watch;
pub(crate) mod writes;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::routing::{MethodRouter, get, patch, post, put};
use proto::names::NodeName;

use crate::hub::Hub;
use crate::watch::Watched;

pub(crate) use front::is_open;
pub(crate) use headers::keeps_key;

/// What an operator may set about the surface.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Which `Host` headers are answered.
    pub hosts: Hosts,
    /// Web pages of which origins may ask besides the API's own, as `https://shop.example`.
    pub origins: Vec<String>,
    /// Where an import waits until all of it was checked: a folder on the data's disk.
    pub spool: PathBuf,
    /// A folder whose files are served beside the API, to everybody who reaches it: the page that will ask for a token.
    pub files: Option<PathBuf>,
    /// The software's version, for the API's description and its metrics.
    pub version: &'static str,
}

/// Which `Host` headers are answered; through the Unix socket any is.
#[derive(Debug, Clone)]
pub enum Hosts {
    /// Any: the caller proves itself with a token.
    Any,
    /// Only what this machine is called: a web page that points its own name at it is turned away.
    Own(OwnHosts),
}

/// What a machine is called, with the port that was connected to or none: the address that was connected to, `localhost` where
/// that is a loopback one, and these.
#[derive(Debug, Clone, Default)]
pub struct OwnHosts {
    /// Names that the operator gave it: `name`, or `name:port`.
    pub names: Vec<String>,
    /// The node's name, once it has one, which its certificate proves; so it counts over TLS alone: whoever is near could
    /// answer to it in the local network.
    pub node: Arc<OnceLock<NodeName>>,
}

/// What the handlers share.
pub(crate) struct App<H> {
    pub(crate) hub: Arc<H>,
    pub(crate) options: ServerOptions,
    /// The hub's description, as it is kept.
    pub(crate) description: &'static str,
    pub(crate) ids: headers::RequestIds,
    /// Answers by class of status, 1xx to 5xx.
    pub(crate) answered: [AtomicU64; 5],
    pub(crate) watches: Arc<watch::Watches>,
}

pub(crate) type Shared<H> = Arc<App<H>>;

/// Routes, and the list of them that the description is compared with.
pub(crate) struct Routes<H> {
    router: Router<Shared<H>>,
    pub(crate) listed: Vec<&'static str>,
}

impl<H: Hub> Routes<H> {
    /// Adds a path. Its methods are those of `methods`; everything else there is a 405 problem.
    pub(crate) fn add(mut self, path: &'static str, methods: MethodRouter<Shared<H>>) -> Self {
        self.router = self.router.route(path, methods);
        self.listed.push(path);
        self
    }

    pub(crate) fn finish(self, hub: Arc<H>, options: ServerOptions, description: &'static str) -> Router {
        let app = Arc::new(App {
            hub,
            options,
            description,
            ids: headers::RequestIds::new(),
            answered: Default::default(),
            watches: Default::default(),
        });
        self.router
            .route("/v1/collections/{c}/records/", axum::routing::any(path::empty_key))
            .fallback(front::no_route)
            .method_not_allowed_fallback(front::no_method)
            .layer(axum::middleware::from_fn_with_state(app.clone(), front::front::<H>))
            .with_state(app)
    }
}

/// What both hubs serve.
pub(crate) fn shared<H: Watched>() -> Routes<H> {
    Routes { router: Router::new(), listed: Vec::new() }
        .add("/v1/collections/{c}/records", get(records::list::<H>).post(records::create::<H>))
        .add(
            "/v1/collections/{c}/records/{key}",
            get(records::read::<H>).put(records::replace::<H>).patch(records::merge::<H>).delete(records::remove::<H>),
        )
        .add("/v1/collections/{c}/records/{key}/increment", post(records::increment::<H>))
        .add("/v1/collections", get(collections::list::<H>))
        .add("/v1/collections/{c}/import", post(bulk::import::<H>))
        .add("/v1/collections/{c}/export", get(bulk::export::<H>))
        .add("/v1/writes", get(writes::list::<H>).post(writes::commit::<H>))
        .add("/v1/writes/{id}", get(writes::show::<H>))
        .add("/v1/writes/{id}/resend", post(writes::resend::<H>))
        .add("/v1/writes/{id}/discard", post(writes::discard::<H>))
        .add("/v1/conflicts", get(conflicts::list::<H>))
        .add("/v1/conflicts/{id}", get(conflicts::show::<H>))
        .add("/v1/conflicts/{id}/resolve", post(conflicts::resolve::<H>))
        .add("/v1/device-models", get(devices::models::list::<H>))
        .add("/v1/device-models/{id}", get(devices::models::show::<H>).put(devices::models::put::<H>).delete(devices::models::remove::<H>))
        .add("/v1/devices", get(devices::declared::list::<H>))
        .add("/v1/devices/{id}", get(devices::declared::show::<H>).put(devices::declared::put::<H>).delete(devices::declared::remove::<H>))
        .add("/v1/devices/{id}/twin", get(devices::twins::show::<H>).patch(devices::twins::desire::<H>))
        .add("/v1/access-tokens", get(access::list::<H>).post(access::create::<H>))
        .add("/v1/access-tokens/{id}", axum::routing::delete(access::revoke::<H>))
        .add("/v1/watch", get(watch::watch::<H>))
        .add("/v1/status", get(observe::status::<H>))
        .add("/healthz", get(observe::healthz))
        .add("/readyz", get(observe::readyz::<H>))
        .add("/metrics", get(observe::metrics::<H>))
        .add("/openapi.json", get(observe::description::<H>))
}

/// A path that the two hubs serve with different methods.
pub(crate) fn one_collection<H: Hub>() -> MethodRouter<Shared<H>> {
    get(collections::show::<H>)
}

/// The cloud's own routes besides [`shared`].
pub(crate) fn cloud_routes<H: crate::hub::CloudAdmin>() -> Routes<H> {
    shared::<H>()
        .add("/v1/collections/{c}", one_collection::<H>().merge(put(cloud::put_collection::<H>).delete(cloud::delete_collection::<H>)))
        .add("/v1/nodes", get(cloud::nodes::<H>))
        .add("/v1/nodes/{n}", get(cloud::node::<H>).merge(patch(cloud::label_node::<H>).delete(cloud::delete_node::<H>)))
        .add("/v1/nodes/{n}/accept", post(cloud::accept_database::<H>))
        .add("/v1/nodes/{n}/revoke", post(cloud::revoke_node::<H>))
        .add("/v1/nodes/{n}/verify", post(cloud::verify_node::<H>))
        .add("/v1/nodes/{n}/resync", post(cloud::resync_node::<H>))
        .add("/v1/nodes/{n}/events", get(cloud::node_events::<H>))
        .add("/v1/join-tokens", get(cloud::join_tokens::<H>).post(cloud::create_join_token::<H>))
        .add("/v1/join-tokens/{id}", axum::routing::delete(cloud::revoke_join_token::<H>))
        .add("/v1/join", post(cloud::join::<H>))
        .add("/v1/renew", post(cloud::renew::<H>))
}

/// The edge's own routes besides [`shared`].
pub(crate) fn edge_routes<H: crate::hub::EdgeAdmin>() -> Routes<H> {
    shared::<H>()
        .add("/v1/collections/{c}", one_collection::<H>())
        .add("/v1/outbox", get(edge::outbox::<H>))
        .add("/v1/verify", post(edge::verify::<H>))
        .add("/v1/query", post(edge::query::<H>))
}
