//! One request: method, path, query, headers, body.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::limits;
use super::upload::Upload;

/// Everything but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request to be sent with [`super::Client::send`].
#[derive(Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: RequestBody,
    pub(super) deadline: Duration,
    parameters: usize,
}

#[derive(Debug)]
pub(super) enum RequestBody {
    Whole(Bytes),
    Stream(Upload),
}

impl Request {
    /// A request for the path made of `segments`, each percent-encoded: a key may hold slashes.
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let path = segments.iter().fold(String::new(), |path, segment| path + "/" + &escape(segment));
        let body = RequestBody::Whole(Bytes::new());
        let mut request = Self { method, path, headers: Vec::new(), body, deadline: limits::ANSWER, parameters: 0 };
        if request.method != Method::GET {
            request.set_type("application/json");
        }
        request
    }

    /// GET of the path made of `segments`.
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let mark = if self.parameters == 0 { '?' } else { '&' };
        self.path.push(mark);
        self.path.push_str(&escape(name));
        self.path.push('=');
        self.path.push_str(&escape(value.as_ref()));
        self.parameters += 1;
        self
    }

    /// Adds a query parameter when there is one.
    pub fn query_opt(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((HeaderName::from_static(name), value));
        self
    }

    /// Sets a JSON body, sent as these very bytes.
    pub fn json(mut self, body: impl Into<Bytes>) -> Self {
        self.body = RequestBody::Whole(body.into());
        self
    }

    /// Streams newline-delimited JSON; the answer may then come late.
    pub fn upload(mut self, upload: Upload) -> Self {
        self.set_type("application/x-ndjson");
        self.body = RequestBody::Stream(upload);
        self.deadline = limits::QUIET;
        self
    }

    /// Gives the hub this much longer before it must answer.
    pub fn patience(mut self, more: Duration) -> Self {
        self.deadline += more;
        self
    }

    /// Path and query as they go on the wire.
    pub fn target(&self) -> &str {
        &self.path
    }

    fn set_type(&mut self, kind: &'static str) {
        self.headers.retain(|(name, _)| name != http::header::CONTENT_TYPE);
        self.headers.push((http::header::CONTENT_TYPE, HeaderValue::from_static(kind)));
    }
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_segment() {
        let request = Request::get(&["v1", "collections", "order_details", "records", "10248/11"]);
        assert_eq!(request.target(), "/v1/collections/order_details/records/10248%2F11");
        let request = Request::get(&["k", "ä b%?#"]);
        assert_eq!(request.target(), "/k/%C3%A4%20b%25%3F%23");
    }

    #[test]
    fn parameters_are_joined_and_escaped() {
        let request = Request::get(&["r"]).query("Price[lt]", "1&2").query_opt("after", None::<&str>).query("limit", "5");
        assert_eq!(request.target(), "/r?Price%5Blt%5D=1%262&limit=5");
    }

    #[test]
    fn mutations_say_that_they_are_json() {
        assert!(Request::get(&["a"]).headers.is_empty());
        assert_eq!(Request::new(Method::DELETE, &["a"]).headers.len(), 1);
    }
}
