//! What the headers of a request say: preconditions, how long to wait, who acts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, Method};
use proto::ids::Revision;
use proto::limits::{ACTOR_BYTES, IDEMPOTENCY_KEY_BYTES, REQUEST_ID_BYTES};
use proto::op::{Idempotency, hash};

use crate::hub::{Condition, Etag};
use crate::limits::{ETAGS, WAIT};
use crate::problem::{Code, Problem};

/// The header that names a request on both sides of the link.
pub(crate) const REQUEST_ID: &str = "request-id";
const ACTOR: &str = "tombolo-actor";
const PREFER: &str = "prefer";
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// What stands between the tags of a list.
const BETWEEN_TAGS: [char; 3] = [',', ' ', '\t'];

impl fmt::Display for Etag {
    /// As the header has it, with quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.write {
            Some(write) => write!(f, "\"{}+{write}\"", self.revision),
            None => write!(f, "\"{}\"", self.revision),
        }
    }
}

/// What the precondition headers ask.
pub(crate) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    match (headers.get(IF_MATCH), headers.get(IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::None),
        (Some(_), Some(_)) => Err(Problem::bad_request("If-Match and If-None-Match exclude each other")),
        (Some(tags), None) => if_match(text(tags, "If-Match")?),
        (None, Some(tags)) if text(tags, "If-None-Match")?.trim() == "*" => Ok(Condition::Absent),
        (None, Some(_)) => {
            Err(Problem::bad_request("a mutation takes If-None-Match: * alone; to name a version use If-Match").field("If-None-Match"))
        }
    }
}

fn if_match(text: &str) -> Result<Condition, Problem> {
    if text.trim() == "*" {
        return Ok(Condition::Present);
    }
    let bad = || Problem::bad_request("If-Match takes tags in quotes as ETag had them, or *").field("If-Match");
    let mut tags = Vec::new();
    let mut rest = text.trim_start_matches(BETWEEN_TAGS);
    while !rest.is_empty() {
        let strong = rest.strip_prefix("W/").unwrap_or(rest);
        // A comma inside the quotes is part of the tag.
        let (inner, after) = strong.strip_prefix('"').and_then(|rest| rest.split_once('"')).ok_or_else(bad)?;
        // A weak tag, or one that this hub never made, matches nothing: the hub answers 412.
        if strong.len() == rest.len() {
            tags.extend(etag(inner));
        }
        if tags.len() > ETAGS {
            return Err(Problem::bad_request(format!("If-Match takes at most {ETAGS} tags")).field("If-Match"));
        }
        rest = after.trim_start_matches(BETWEEN_TAGS);
        if rest.len() == after.len() && !rest.is_empty() {
            return Err(bad());
        }
    }
    Ok(Condition::Match(tags))
}

fn etag(inner: &str) -> Option<Etag> {
    let (revision, write) = match inner.split_once('+') {
        Some((revision, write)) => (revision, Some(write.parse().ok()?)),
        None => (inner, None),
    };
    Some(Etag { revision: Revision(revision.parse().ok()?), write })
}

/// `Prefer: wait=N`, at most [`WAIT`]; other preferences, and a wait that is no number, are not known and ignored.
pub(crate) fn prefer_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferences.flat_map(|text| text.split([',', ';'])).filter_map(|one| {
        let (name, value) = one.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then(|| Duration::from_secs(seconds).min(WAIT))
    });
    waits.next()
}

/// `Tombolo-Actor`.
pub(crate) fn actor(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(ACTOR) else { return Ok(None) };
    let name = std::str::from_utf8(value.as_bytes()).ok().filter(|name| name.len() <= ACTOR_BYTES);
    match name.filter(|name| !name.is_empty() && !name.chars().any(char::is_control)) {
        Some(name) => Ok(Some(name.to_owned())),
        None => Err(Problem::bad_request(format!("Tombolo-Actor takes 1 to {ACTOR_BYTES} bytes of UTF-8 without control characters"))
            .field("Tombolo-Actor")),
    }
}

/// Whether a reader already holds the version that is there: `If-None-Match` with tags, by weak comparison, or `*`.
pub(crate) fn holds(headers: &HeaderMap, present: &Etag) -> bool {
    let mut tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let present = present.to_string();
    tags.any(|tag| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == present)
}

/// `Idempotency-Key` of a mutation, with a hash of what is asked: method, path, `query` as far as it says what is done, body.
pub(crate) fn idempotency(parts: &Parts, query: &str, body: &[u8]) -> Result<Option<Idempotency>, Problem> {
    let mut all = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let bad = |detail: String| Problem::bad_request(detail).field("Idempotency-Key");
    if all.next().is_some() {
        return Err(bad("Idempotency-Key stands more than once; a request has one name".to_owned()));
    }
    let key = first.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES).contains(&key.len()) && !key.contains('\t'));
    let key =
        key.ok_or_else(|| bad(format!("Idempotency-Key takes 1 to {IDEMPOTENCY_KEY_BYTES} printable ASCII characters, as a UUID")))?;
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let asked = [method.as_bytes(), &[0], path.as_bytes(), &[0], query.as_bytes(), &[0], body].concat();
    Ok(Some(Idempotency { key: key.to_owned(), request: hash(&asked) }))
}

/// Whether a path keeps an `Idempotency-Key`: where records are changed.
pub(crate) fn keeps_key(path: &str) -> bool {
    let under = |prefix: &str| path.strip_prefix(prefix).map(|rest| rest.split('/').collect::<Vec<_>>());
    matches!(under("/v1/collections/").as_deref(), Some([_, "records", ..]))
        || matches!(under("/v1/writes").as_deref(), Some([""] | ["", _, "resend"]))
        || matches!(under("/v1/conflicts/").as_deref(), Some([_, "resolve"]))
        || matches!(under("/v1/device-models/").as_deref(), Some([_]))
        || matches!(under("/v1/devices/").as_deref(), Some([_] | [_, "twin"]))
}

/// A promise that cannot be kept is not taken: where keys are not kept, a repeat would be done twice.
pub(crate) fn refuse_idempotency_key(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let changes_nothing = method.is_safe() || path == "/v1/query";
    if changes_nothing || !headers.contains_key(IDEMPOTENCY_KEY) || keeps_key(path) {
        return Ok(());
    }
    let detail = match path.ends_with("/import") {
        true => "an import takes no Idempotency-Key and needs none: a line that is there already is unchanged the second time",
        false => "this path keeps no Idempotency-Key; it goes with changes of records, and with writes that are sent again",
    };
    Err(Problem::bad_request(detail).field("Idempotency-Key"))
}

/// The token of `Authorization: Bearer TOKEN`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Which content types a mutation may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// JSON.
    Json,
    /// JSON, or one value a line.
    Lines,
}

/// 415 unless the content type is one that a web form cannot send.
pub(crate) fn content_type(headers: &HeaderMap, accepts: Accepts) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    let is = |wanted: &str| essence.eq_ignore_ascii_case(wanted);
    let json = is("application/json") || is("application/merge-patch+json");
    match accepts {
        _ if json => Ok(()),
        Accepts::Lines if is("application/x-ndjson") => Ok(()),
        Accepts::Json => Err(refuse_type(essence, "application/json")),
        Accepts::Lines => Err(refuse_type(essence, "application/x-ndjson")),
    }
}

fn refuse_type(given: &str, wanted: &str) -> Problem {
    let detail = match given {
        "" => format!("the request has no Content-Type; send Content-Type: {wanted}"),
        _ => format!("Content-Type {given:?} is not taken here; send Content-Type: {wanted}"),
    };
    Problem::new(Code::MediaType, detail).field("Content-Type")
}

fn text<'a>(value: &'a http::HeaderValue, name: &str) -> Result<&'a str, Problem> {
    value.to_str().map_err(|_| Problem::bad_request(format!("{name} holds what is not ASCII")).field(name))
}

/// The id that the application gave its request, where it is printable ASCII of at most 128 bytes.
pub(crate) fn own_id(headers: &HeaderMap) -> Option<&str> {
    let own = headers.get(REQUEST_ID)?.to_str().ok()?;
    ((1..=REQUEST_ID_BYTES).contains(&own.len()) && own.bytes().all(|b| b.is_ascii_graphic())).then_some(own)
}

/// Makes ids for requests that bring none: random per process, counted inside it.
pub(crate) struct RequestIds {
    process: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let random = uuid::Uuid::now_v7().simple().to_string();
        // The last digits are the random ones.
        Self { process: random[random.len() - 8..].to_owned(), next: AtomicU64::new(1) }
    }

    /// The request's own id, or a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Arc<str> {
        match own_id(headers) {
            Some(id) => id.into(),
            None => format!("{}-{}", self.process, self.next.fetch_add(1, Ordering::Relaxed)).into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn of(name: &'static str, value: &'static str) -> Result<Condition, Problem> {
        condition(&headers(&[(name, value)]))
    }

    #[test]
    fn preconditions() {
        let plain = Etag { revision: Revision(7), write: None };
        let pending = Etag { revision: Revision(7), write: "lyon:7f3a9c:42".parse().ok() };
        assert_eq!(condition(&HeaderMap::new()).unwrap(), Condition::None);
        assert_eq!(of("if-match", "*").unwrap(), Condition::Present);
        assert_eq!(of("if-none-match", "*").unwrap(), Condition::Absent);
        assert_eq!(of("if-match", "\"7\"").unwrap(), Condition::Match(vec![plain.clone()]));
        let both = Condition::Match(vec![plain.clone(), pending.clone()]);
        assert_eq!(of("if-match", "\"7\", \"7+lyon:7f3a9c:42\"").unwrap(), both);
        assert_eq!(of("if-match", "W/\"7\", \"other\"").unwrap(), Condition::Match(vec![]));
        assert_eq!(of("if-match", "\"a, b\",\"7\" , \"7+lyon:7f3a9c:42\"").unwrap(), both, "a comma in a foreign tag");
        for bad in ["7", "\"7", "\"7\"\"8\"", "\"7\"x"] {
            assert!(of("if-match", bad).is_err(), "{bad}");
        }
        assert!(of("if-none-match", "\"7\"").is_err());
        assert!(condition(&headers(&[("if-match", "*"), ("if-none-match", "*")])).is_err());
        assert_eq!(pending.to_string(), "\"7+lyon:7f3a9c:42\"");
    }

    #[test]
    fn waits_are_bounded() {
        let wait = |value| prefer_wait(&headers(&[("prefer", value)]));
        assert_eq!(wait("wait=5"), Some(Duration::from_secs(5)));
        assert_eq!(wait("respond-async, wait=600"), Some(WAIT));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("return=minimal"), None);
    }

    #[test]
    fn actors_and_ids() {
        assert_eq!(actor(&headers(&[("tombolo-actor", "cashier-4")])).unwrap().as_deref(), Some("cashier-4"));
        assert!(actor(&headers(&[("tombolo-actor", "")])).is_err());
        let ids = RequestIds::new();
        assert_eq!(&*ids.of(&headers(&[("request-id", "abc-1")])), "abc-1");
        let made = ids.of(&headers(&[("request-id", "with space")]));
        assert_ne!(made, ids.of(&HeaderMap::new()));
    }

    #[test]
    fn forms_are_no_json() {
        let check = |value| content_type(&headers(&[("content-type", value)]), Accepts::Json);
        assert!(check("application/json; charset=utf-8").is_ok());
        assert!(check("Application/Merge-Patch+JSON").is_ok());
        assert!(check("application/x-ndjson").is_err());
        assert_eq!(check("text/plain").unwrap_err().code(), Code::MediaType);
        assert!(content_type(&HeaderMap::new(), Accepts::Lines).is_err());
        assert!(content_type(&headers(&[("content-type", "application/x-ndjson")]), Accepts::Lines).is_ok());
    }
}
