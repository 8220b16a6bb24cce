//! How answers are written.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::hub::{Etag, MutationAnswer, OpResult, PageToken};
use crate::problem::{Code, Problem};
use crate::shapes::{Object, Record, RecordFields, Write};

/// What stands as it is in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a handler returns.
pub(crate) type Answer = Result<Response, Problem>;

/// An answer whose body is JSON text already.
pub(crate) fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An answer that serde writes.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(body).map_err(Problem::internal)?;
    Ok(json_bytes(status, text))
}

/// 200 with R and its tag; with `write`, the answer to a mutation.
pub(crate) fn record(status: StatusCode, record: &Record, write: Option<&Write>) -> Response {
    let mut body = Vec::new();
    record.write_json(&mut body, write);
    tagged(json_bytes(status, body), record)
}

/// 200 with R, who set its fields, and its tag.
pub(crate) fn with_fields(fields: &RecordFields) -> Response {
    let mut body = Vec::new();
    fields.write_json(&mut body);
    tagged(json_bytes(StatusCode::OK, body), &fields.record)
}

fn tagged(response: Response, record: &Record) -> Response {
    with_tag(response, &record.etag())
}

/// Puts a version's tag on an answer.
pub(crate) fn with_tag(mut response: Response, tag: &Etag) -> Response {
    if let Ok(tag) = HeaderValue::try_from(tag.to_string()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The answer to a mutation of one record.
pub(crate) fn changed(result: &OpResult, write: &Write, created_is_201: bool) -> Response {
    match result {
        OpResult::Created(new) if created_is_201 => {
            let mut response = record(StatusCode::CREATED, new, Some(write));
            locate(&mut response, place_of(&new.collection, &new.key));
            response
        }
        OpResult::Gone { collection, key } => {
            let mut body = Vec::new();
            deleted(&mut body, collection, key, Some(write));
            let mut response = json_bytes(if created_is_201 { StatusCode::CREATED } else { StatusCode::OK }, body);
            if created_is_201 {
                locate(&mut response, place_of(collection, key));
            }
            response
        }
        OpResult::Created(new) | OpResult::Changed(new) => record(StatusCode::OK, new, Some(write)),
        OpResult::Deleted { collection, key } => {
            let mut body = Vec::new();
            deleted(&mut body, collection, key, Some(write));
            json_bytes(StatusCode::OK, body)
        }
    }
}

fn place_of(collection: &str, key: &str) -> String {
    format!("/v1/collections/{collection}/records/{}", utf8_percent_encode(key, SEGMENT))
}

/// 201 with a write and the records that it touched.
pub(crate) fn committed(done: &MutationAnswer) -> Response {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    done.write.write_json(object.member("write"));
    object.list("records", &done.results, |out, result| match result {
        OpResult::Created(record) | OpResult::Changed(record) => record.write_json(out, None),
        OpResult::Deleted { collection, key } | OpResult::Gone { collection, key } => deleted(out, collection, key, None),
    });
    object.end();
    let mut response = json_bytes(StatusCode::CREATED, out);
    locate(&mut response, format!("/v1/writes/{}", done.write.id));
    response
}

/// 304 for a reader who holds this version already.
pub(crate) fn not_modified(record: &Record) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(response, record)
}

/// Names the place of what was made.
pub(crate) fn locate(response: &mut Response, place: String) {
    // Percent-encoded, so it always is a header value.
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(LOCATION, place);
    }
}

/// Writes what is left of a deleted record.
pub(crate) fn deleted(out: &mut Vec<u8>, collection: &str, key: &str, write: Option<&Write>) {
    let mut object = Object::new(out);
    object.text("collection", collection);
    object.text("key", key);
    object.flag("deleted", true);
    if let Some(write) = write {
        write.write_json(object.member("write"));
    }
    object.end();
}

/// `{"writes":[W…],"next":TOKEN|null}`.
pub(crate) fn writes(writes: &[Write], next: Option<&PageToken>) -> Response {
    let mut body = Vec::new();
    let mut object = Object::new(&mut body);
    object.list("writes", writes, |out, write| write.write_json(out));
    object.text_or_null("next", next.map(PageToken::as_str));
    object.end();
    json_bytes(StatusCode::OK, body)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of texts and numbers always serialises.
        let mut response = json_bytes(self.code().status(), serde_json::to_vec(&self.body()).unwrap_or_default());
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(wait) = self.retry_in() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.code() == Code::Unauthorized {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tombolo\""));
        }
        response
    }
}
