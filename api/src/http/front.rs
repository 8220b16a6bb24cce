//! What every request passes first: where it comes from, who asks, under which id; and what every answer gets.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use proto::names::NodeName;
use tracing::Instrument;

use super::{Hosts, ServerOptions, Shared, body, files, headers, watch};
use crate::hub::{Credentials, Hub, Origin, Peer};
use crate::problem::{Code, Problem};

/// Paths that need no proof of who asks: probes, the description, and joining, whose proof is in the body.
const OPEN: [&str; 5] = ["/healthz", "/readyz", "/openapi.json", "/v1/join", "/v1/renew"];

/// Whether nobody has to prove who asks at this path.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// What the public interfaces have and this version has not: starts and ends of paths.
const LATER: [(&str, &str); 2] = [("/v1/commands", ""), ("/v1/nodes/", "")];

/// Goes around every handler.
pub(crate) async fn front<H: Hub>(State(app): State<Shared<H>>, request: Request, next: Next) -> Response {
    let id = app.ids.of(request.headers());
    // Who names a change wants to find it again; made ids, and reads, are for whoever looks closer.
    let followed = headers::own_id(request.headers()).is_some() && !request.method().is_safe();
    let web_page = listed_origin(request.headers(), &app.options);
    let span = tracing::info_span!("request", id = %id, method = %request.method(), path = request.uri().path());
    let (request, rest) = body::Rest::of(request);
    let answer = AssertUnwindSafe(pass(&app, &id, request, next)).catch_unwind().instrument(span.clone());
    let mut response = match answer.await {
        Ok(response) => response,
        Err(_) => span.in_scope(|| Problem::internal("a handler panicked").into_response()),
    };
    if let Some(rest) = rest {
        rest.drain().await;
    }
    let status = response.status().as_u16();
    span.in_scope(|| if followed { tracing::info!(status, "answered") } else { tracing::debug!(status, "answered") });
    let class = usize::from(response.status().as_u16() / 100).clamp(1, 5) - 1;
    app.answered[class].fetch_add(1, Ordering::Relaxed);
    if let Ok(id) = HeaderValue::try_from(&*id) {
        response.headers_mut().insert(headers::REQUEST_ID, id);
    }
    if let Some(origin) = web_page {
        share(response.headers_mut(), origin);
    }
    response
}

async fn pass<H: Hub>(app: &Shared<H>, id: &std::sync::Arc<str>, mut request: Request, next: Next) -> Response {
    // A router that is called without a connection (in a test, in a process) has no outside.
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unix);
    let placed = check_host(&app.options.hosts, peer, request.uri(), request.headers())
        .and_then(|()| check_origin(&app.options, peer, request.uri(), request.headers()));
    if let Err(problem) = placed {
        return problem.into_response();
    }
    if is_preflight(&request) {
        return preflight();
    }
    if let Some(folder) = app.options.files.as_deref().filter(|_| !files::is_api(request.uri().path())) {
        return files::serve(folder, request.method(), request.uri(), request.headers()).await.into_response();
    }
    if !is_open(request.uri().path()) {
        // Before anything is awaited: a request cannot be looked at from two threads.
        let keyless = headers::refuse_idempotency_key(request.method(), request.uri().path(), request.headers());
        match origin(app, id, peer, request.uri(), request.headers()).await.and_then(|origin| keyless.map(|()| origin)) {
            Ok(origin) => request.extensions_mut().insert(origin),
            Err(problem) => return problem.into_response(),
        };
    }
    next.run(request).await
}

async fn origin<H: Hub>(app: &Shared<H>, id: &std::sync::Arc<str>, peer: Peer, uri: &Uri, headers: &HeaderMap) -> Result<Origin, Problem> {
    let asked = if uri.path() == watch::PATH { watch::token(uri) } else { None };
    let bearer = headers::bearer(headers).or(asked.as_deref());
    let caller = app.hub.authorize(Credentials { bearer, peer }).await?;
    let named = headers::own_id(headers).is_some();
    Ok(Origin { caller, actor: headers::actor(headers)?, request_id: id.clone(), named })
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let origin = parts.extensions.get::<Self>().cloned();
        origin.ok_or_else(|| Problem::internal("a handler that needs to know who asks stands on an open path"))
    }
}

/// The answer where no route is.
pub(crate) async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    if LATER.iter().any(|(start, end)| path.starts_with(start) && path.ends_with(end)) {
        return Problem::not_found(format!("{path} is not in this version; /openapi.json lists what is"));
    }
    Problem::not_found(format!("there is nothing at {path}; /openapi.json lists what there is"))
}

/// The answer where the path has no such method.
pub(crate) async fn no_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(Code::MethodNotAllowed, format!("{path} does not take {method}; /openapi.json lists what it takes"))
}

/// 421 for a `Host` of another machine.
fn check_host(hosts: &Hosts, peer: Peer, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let (Hosts::Own(own), Peer::Tcp { local, tls, .. }) = (hosts, peer) else { return Ok(()) };
    let header = headers.get(HOST).map(|host| host.to_str().unwrap_or("?"));
    let named = header.into_iter().chain(uri.authority().map(http::uri::Authority::as_str));
    let mut count = 0;
    for host in named {
        count += 1;
        let node = own.node.get().filter(|_| tls).map(NodeName::as_str);
        if !is_own_name(host, local, node) && !own.names.iter().any(|own| is_host(own, host)) {
            let host: String = host.chars().take(80).collect();
            let detail = format!("this API answers to {}, not to {host:?}; [api] hosts lists more names", own_names(local, node));
            return Err(Problem::new(Code::Host, detail).field("Host"));
        }
    }
    if count == 0 { Err(Problem::new(Code::Host, "the request names no Host").field("Host")) } else { Ok(()) }
}

/// What a person can call it.
fn own_names(local: SocketAddr, node: Option<&str>) -> String {
    let (shown, port) = (SocketAddr::new(local.ip().to_canonical(), local.port()), local.port());
    match (local.ip().to_canonical().is_loopback(), node) {
        (true, None) => format!("localhost:{port} and {shown}"),
        (true, Some(node)) => format!("localhost:{port}, {shown}, {node}:{port} and {node}.local:{port}"),
        (false, None) => shown.to_string(),
        (false, Some(node)) => format!("{shown}, {node}:{port} and {node}.local:{port}"),
    }
}

/// A name of this machine for itself, with the right port or none.
fn is_own_name(host: &str, local: SocketAddr, node: Option<&str>) -> bool {
    let (name, given) = split_port(host);
    let ip = local.ip().to_canonical();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let named = address.parse::<IpAddr>().is_ok_and(|given| given == ip || given.is_loopback() && ip.is_loopback());
    let called = node.is_some_and(|node| {
        let bare = name.len().checked_sub(".local".len()).filter(|end| name.is_char_boundary(*end));
        let bare = bare.filter(|end| name[*end..].eq_ignore_ascii_case(".local")).map_or(name, |end| &name[..end]);
        bare.eq_ignore_ascii_case(node)
    });
    let ours = named || called || ip.is_loopback() && name.eq_ignore_ascii_case("localhost");
    ours && given.is_none_or(|given| given.parse() == Ok(local.port()))
}

/// `own` is a name, which goes with any port, or a name with its port.
fn is_host(own: &str, host: &str) -> bool {
    own.eq_ignore_ascii_case(host) || own.eq_ignore_ascii_case(split_port(host).0)
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// 403 for a web page of another origin.
fn check_origin(options: &ServerOptions, peer: Peer, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let text = origin.to_str().unwrap_or("?");
    let page = match peer {
        Peer::Tcp { tls: true, .. } => text.strip_prefix("https://"),
        // A proxy of this machine may speak TLS for it.
        _ => text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")),
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = host.or_else(|| uri.authority().map(http::uri::Authority::as_str));
    if page.zip(own).is_some_and(|(page, own)| page.eq_ignore_ascii_case(own)) || is_listed(options, text) {
        return Ok(());
    }
    let text: String = text.chars().take(80).collect();
    let detail = format!("web pages of {text} may not ask this API; the ones that may are listed under [api] origins");
    Err(Problem::new(Code::Origin, detail).field("Origin"))
}

fn is_listed(options: &ServerOptions, origin: &str) -> bool {
    options.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
}

fn listed_origin(headers: &HeaderMap, options: &ServerOptions) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    origin.to_str().is_ok_and(|text| is_listed(options, text)).then(|| origin.clone())
}

/// A browser's question whether a page may ask.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let out = response.headers_mut();
    out.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    out.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, prefer, request-id, tombolo-actor",
        ),
    );
    out.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets a listed page read the answer.
fn share(out: &mut HeaderMap, origin: HeaderValue) {
    out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, location, request-id, retry-after"));
    out.append(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        let here = "127.0.0.1:10550".parse().unwrap();
        for good in ["127.0.0.1:10550", "localhost:10550", "LOCALHOST:10550", "[::1]:10550", "localhost", "[::1]", "127.0.0.1"] {
            assert!(is_own_name(good, here, None), "{good}");
        }
        for bad in
            ["evil.example", "127.0.0.1:80", "localhost.evil.example:10550", "127.0.0.1.nip.io", "", "[::2]", "lyon", ".local", "é.local"]
        {
            assert!(!is_own_name(bad, here, None), "{bad}");
            assert!(bad == "lyon" || !is_own_name(bad, here, Some("lyon")), "{bad}");
        }
        let near = "[::ffff:192.0.2.7]:10550".parse().unwrap();
        for good in ["192.0.2.7:10550", "lyon:10550", "Lyon.LOCAL:10550", "lyon"] {
            assert!(is_own_name(good, near, Some("lyon")), "{good}");
        }
        for bad in ["localhost:10550", "127.0.0.1:10550", "192.0.2.8:10550", "lyon:80", "oslo.local:10550", "lyon.local.evil.example"] {
            assert!(!is_own_name(bad, near, Some("lyon")), "{bad}");
        }
        assert!(own_names(near, Some("lyon")).starts_with("192.0.2.7:10550, lyon:10550"));
        assert!(is_host("shop.lan", "shop.lan:10550"));
        assert!(is_host("shop.lan:80", "Shop.lan:80"));
        assert!(!is_host("shop.lan:80", "shop.lan:81"));
    }
}
