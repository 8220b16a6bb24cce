//! The router against an in-memory hub: every route, status and header; then some over real sockets.

#![allow(clippy::unwrap_used)]

mod admin;
mod bulk;
mod described;
mod fake;
mod files;
mod front;
mod keys;
mod records;
mod sockets;
mod watch;
mod writes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use self::fake::FakeHub;
use super::{Hosts, ServerOptions};
use crate::hub::Peer;

/// An answer, read whole.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    /// Asserts that it is a problem of this code, in the one form that problems have.
    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        for member in ["title", "detail", "collection", "key", "field", "line"] {
            assert!(problem.get(member).is_some(), "{member} in {problem}");
        }
        assert!(!self.header("request-id").is_empty());
        problem
    }

    #[track_caller]
    fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/json");
        self.json()
    }
}

fn options() -> ServerOptions {
    ServerOptions {
        hosts: Hosts::Own(super::OwnHosts { names: vec!["shop.lan".into()], ..Default::default() }),
        origins: vec!["https://till.example".into()],
        spool: std::env::temp_dir(),
        files: None,
        version: "0.0.0-test",
    }
}

struct Api {
    hub: Arc<FakeHub>,
    router: Router,
}

/// One request to be.
struct Ask<'a> {
    api: &'a Api,
    request: http::request::Builder,
    body: Body,
}

impl Api {
    fn edge() -> Self {
        let hub = Arc::new(FakeHub::default());
        Self { router: super::edge::router(hub.clone(), options()), hub }
    }

    /// An edge that also serves the files of a folder, to callers who need a token.
    fn with_files(folder: &std::path::Path) -> Self {
        let hub = Arc::new(FakeHub::with_tokens());
        let options = ServerOptions { files: Some(folder.to_owned()), ..options() };
        Self { router: super::edge::router(hub.clone(), options), hub }
    }

    fn cloud() -> Self {
        let hub = Arc::new(FakeHub::with_tokens());
        let options = ServerOptions { hosts: Hosts::Any, ..options() };
        Self { router: super::cloud::router(hub.clone(), options), hub }
    }

    /// An edge whose callers need tokens.
    fn guarded() -> Self {
        let hub = Arc::new(FakeHub::with_tokens());
        Self { router: super::edge::router(hub.clone(), options()), hub }
    }

    /// An answer whose body is still to come.
    async fn open(&self, path: &str) -> axum::response::Response {
        let request = self.get(path).request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        let peer = Peer::Tcp { local: "127.0.0.1:10550".parse().unwrap(), remote: "127.0.0.1:9".parse().unwrap(), tls: false };
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:10550").extension(peer);
        Ask { api: self, request, body: Body::empty() }
    }

    fn get(&self, path: &str) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    fn put(&self, path: &str, body: impl Into<String>) -> Ask<'_> {
        self.ask(Method::PUT, path).json(body)
    }

    fn post(&self, path: &str, body: impl Into<String>) -> Ask<'_> {
        self.ask(Method::POST, path).json(body)
    }

    fn patch(&self, path: &str, body: impl Into<String>) -> Ask<'_> {
        self.ask(Method::PATCH, path).json(body)
    }

    fn delete(&self, path: &str) -> Ask<'_> {
        self.ask(Method::DELETE, path)
    }
}

impl Ask<'_> {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.request.headers_mut().unwrap().remove(name);
        self
    }

    fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn json(self, body: impl Into<String>) -> Self {
        let mut ask = self.header("content-type", "application/json");
        ask.body = Body::from(body.into());
        ask
    }

    fn body(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        self = self.header("content-type", content_type);
        self.body = body.into();
        self
    }

    async fn answer(self) -> Answered {
        let request = self.request.body(self.body).unwrap();
        let response = self.api.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answered { status: parts.status, headers: parts.headers, body }
    }
}
