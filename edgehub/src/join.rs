//! How a machine becomes a node: a token, a key made here, a certificate from the hub.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use proto::names::NodeName;
use tracing::warn;
use transport::address::HostPort;
use transport::join::{JoinRequest, JoinResponse};
use transport::tls::{CertificateClock, TlsProblem, join_client_config};
use transport::token::JoinToken;

use crate::call::{CallError, call};
use crate::config::{JoinOptions, Joined, Transport};
use crate::config_file;
use crate::identity::{Identity, build_date, certificate_time, signing_request};

/// The API's port, where joins go.
const API_PORT: u16 = 10002;
/// The link's port, which people name by mistake.
const LINK_PORT: u16 = 10000;
/// How long to wait between two tries of a join that cannot reach the hub.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs a join to its end, as `edgehub join` does.
pub fn join(options: JoinOptions) -> anyhow::Result<Joined> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let clock: CertificateClock = Arc::new(join_time);
    let identity = runtime.block_on(Box::pin(join_now(&options, &clock)))?;
    // Said on the command line: `edgehub run` is to know it.
    if options.transport != Transport::default() {
        config_file::write_transport(&options.data, options.transport)?;
    }
    Ok(Joined { node: identity.node().to_string() })
}

/// Certificate time before there is a database: the system's, or the build's on a machine that booted in 1970.
fn join_time() -> SystemTime {
    certificate_time(SystemTime::now(), 0, build_date())
}

/// Asks the hub until it answers or the patience of `options` is over.
pub(crate) async fn join_now(options: &JoinOptions, clock: &CertificateClock) -> anyhow::Result<Identity> {
    let token = options.token.reveal().parse::<JoinToken>()?;
    token.check_expiry(clock())?;
    let server = HostPort { host: options.server.host.clone(), port: options.server.port.unwrap_or(API_PORT) };
    make_folder(&options.data)?;
    let before = Identity::load(&options.data)?;
    if let (Some(before), Some(wanted)) = (&before, &options.node)
        && before.node().as_str() != wanted
    {
        return Err(other_node(options, before, wanted));
    }
    let named = options.node.clone().or_else(|| before.as_ref().map(|identity| identity.node().to_string()));
    let mut request = JoinRequest {
        secret: token.secret().to_text(),
        node: named,
        csr: signing_request(&options.data)?,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let answer = match ask(options, &server, &request, &token, clock).await {
        // The token fixes no name, and neither does the command: the machine's own it is.
        Err(CallError::Refused { code, .. }) if code == "bad_request" && request.node.is_none() && host_name().is_some() => {
            request.node = host_name();
            ask(options, &server, &request, &token, clock).await
        }
        answer => answer,
    };
    let answer = answer.map_err(|error| explain(error, &server))?;
    if let Some(before) = before
        && before.node().as_str() != answer.node
    {
        return Err(other_node(options, &before, &answer.node));
    }
    let identity = Identity::store(&options.data, &answer, token.ca_sha256())?;
    config_file::write_servers(&options.data, &answer.servers.websocket)?;
    Ok(identity)
}

/// A data folder belongs to one node for good: its writes carry that name.
fn other_node(options: &JoinOptions, before: &Identity, wanted: &str) -> anyhow::Error {
    let (data, node) = (options.data.display(), before.node());
    anyhow::anyhow!(
        "{data} holds the data of node {node}, this join would make it {wanted}; use another --data, \
         or give that data up with: edgehub reset --yes --data {data}"
    )
}

async fn ask(
    options: &JoinOptions,
    server: &HostPort,
    request: &JoinRequest,
    token: &JoinToken,
    clock: &CertificateClock,
) -> Result<JoinResponse, CallError> {
    let begun = Instant::now();
    loop {
        let tls = join_client_config(token.ca_sha256(), Arc::clone(clock));
        match call(server, tls, "/v1/join", request).await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_passing() && options.wait.is_some_and(|wait| begun.elapsed() < wait) => {
                warn!(%error, "cannot join yet; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The mistakes that people make first get words of their own.
fn explain(error: CallError, server: &HostPort) -> anyhow::Error {
    let link = server.port == LINK_PORT || matches!(&error, CallError::Tls { problem: TlsProblem::CertificateRequired, .. });
    if link {
        return anyhow::anyhow!("{} is the link; join uses the API port, 10002 ({error})", server.port);
    }
    match error {
        CallError::Unreachable { .. } => anyhow::anyhow!("{error}; is cloudhub running there, and is its API port open?"),
        error => error.into(),
    }
}

/// The machine's name as a node name, where it can be one.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().split('.').next()?.to_ascii_lowercase();
    NodeName::parse(&name).ok().map(|name| name.to_string())
}

/// Makes the data folder, readable by its owner alone.
pub(crate) fn make_folder(data: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(data)
        .with_context(|| format!("cannot make the data folder {}; name another one with --data", data.display()))
}
