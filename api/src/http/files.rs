//! `[api] static`: files of one folder from the API's own origin, so that a page needs no other server and no CORS.
//!
//! Written by hand because what counts here is what is *not* served: a step of the path never follows a symbolic link,
//! names that begin with a dot do not exist, and a folder is never listed. The paths of the API are not looked for.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::answer::Answer;
use crate::limits::{FILE_CHUNK_BYTES, FILE_DEPTH};
use crate::problem::{Code, Problem};

/// What a folder is asked for.
const INDEX: &str = "index.html";
/// A page may hold its own script and style, and speaks to this API alone; no other page frames it.
const POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob: https:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// Whether a path is the API's, there or not: no file ever stands in its way.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || ["/healthz", "/readyz", "/metrics", "/openapi.json"].contains(&path)
}

/// Answers with a file below `folder`.
pub(crate) async fn serve(folder: &Path, method: &Method, uri: &Uri, headers: &HeaderMap) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        let detail = format!("{} is a file, or none: it takes GET and HEAD", shown(uri));
        return Err(Problem::new(Code::MethodNotAllowed, detail));
    }
    let missing = || Problem::not_found(format!("there is no file {}", shown(uri)));
    let steps = steps(uri.path()).ok_or_else(missing)?;
    let (folder, slash, whole) = (folder.to_owned(), uri.path().ends_with('/'), method == Method::GET);
    let found = tokio::task::spawn_blocking(move || Found::open(folder, &steps, slash)).await.map_err(Problem::internal)?;
    match found {
        Ok(Found::File(opened)) => Ok(opened.answer(headers, whole)),
        Ok(Found::Folder) => Ok(redirect(uri)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = uri.path(), "a file for pages cannot be read by this user");
            Err(missing())
        }
        Err(error) if is_missing(&error) => Err(missing()),
        Err(error) => Err(Problem::internal(format!("the file {} cannot be read: {error}", shown(uri)))),
    }
}

fn shown(uri: &Uri) -> String {
    uri.path().chars().take(200).collect()
}

/// The names to walk through; none where one of them cannot be a file's. Nothing is resolved: `..` is no name.
fn steps(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return (path == "/").then(Vec::new);
    }
    let steps: Vec<_> = inner.split('/').take(FILE_DEPTH + 1).map(step).collect::<Option<_>>()?;
    (steps.len() <= FILE_DEPTH).then_some(steps)
}

fn step(encoded: &str) -> Option<String> {
    let name = percent_decode_str(encoded).decode_utf8().ok()?;
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']) && !name.chars().any(char::is_control);
    plain.then(|| name.into_owned())
}

/// A link in the way, a name that is too long or below a file, a pipe: there is no such file.
fn is_missing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::NXIO, Errno::ISDIR].contains(&errno))
}

/// What is at a path.
enum Found {
    File(Opened),
    /// A folder that was asked for without the slash at its end, and has a page.
    Folder,
}

impl Found {
    fn open(folder: PathBuf, steps: &[String], slash: bool) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        // The folder that is named may be a link; below it, none is followed.
        let mut at: OwnedFd = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
        let inside = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut is_folder = true;
        for (place, step) in steps.iter().enumerate() {
            let last = place + 1 == steps.len();
            let kind = if last { OFlags::empty() } else { OFlags::DIRECTORY };
            at = rustix::fs::openat(&at, step.as_str(), inside | kind, Mode::empty())?;
            is_folder = !last;
        }
        let mut file = File::from(at);
        is_folder |= file.metadata()?.is_dir();
        if is_folder != slash {
            // Without the slash a page's own relative addresses would be taken from the folder above.
            let page = is_folder && rustix::fs::openat(&file, INDEX, inside, Mode::empty()).is_ok();
            return if page { Ok(Self::Folder) } else { Err(Errno::NOENT.into()) };
        }
        let mut name = steps.last().map_or(INDEX, String::as_str);
        if is_folder {
            file = rustix::fs::openat(&file, INDEX, inside, Mode::empty())?.into();
            name = INDEX;
        }
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(Errno::NOENT.into());
        }
        Opened::new(file, &about, name).map(Self::File)
    }
}

/// What was read ahead of a file, the file, and how much of it is still to be read.
type Rest = (Option<Bytes>, File, u64);

/// An open file, its first piece already read.
struct Opened {
    file: File,
    first: Bytes,
    length: u64,
    tag: String,
    changed: SystemTime,
    kind: &'static str,
}

impl Opened {
    fn new(mut file: File, about: &std::fs::Metadata, name: &str) -> io::Result<Self> {
        let length = about.len();
        let first = piece(&mut file, length)?;
        let seconds = Duration::from_secs(about.mtime().try_into().unwrap_or(0));
        // The time of the last change of the inode: a copy that keeps times and sizes still is another version.
        let tag = format!("\"{:x}-{length:x}-{:x}.{:x}\"", about.ino(), about.ctime(), about.ctime_nsec());
        Ok(Self { file, first, length, tag, changed: UNIX_EPOCH + seconds, kind: kind(name) })
    }

    fn answer(self, headers: &HeaderMap, whole: bool) -> Response {
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        out.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        out.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        // Kept, but asked for again each time: a new page is used as soon as it is there.
        out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        for (name, text) in [(ETAG, self.tag.clone()), (LAST_MODIFIED, httpdate::fmt_http_date(self.changed))] {
            if let Ok(value) = HeaderValue::try_from(text) {
                out.insert(name, value);
            }
        }
        if self.is_known(headers) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        out.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        out.insert(CONTENT_LENGTH, HeaderValue::from(self.length));
        if whole {
            *response.body_mut() = self.into_body();
        }
        response
    }

    /// Whether the client has this version.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if headers.contains_key(IF_NONE_MATCH) {
            let tags = text(IF_NONE_MATCH).unwrap_or_default();
            return tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag);
        }
        let since = text(IF_MODIFIED_SINCE).and_then(|text| httpdate::parse_http_date(text).ok());
        since.is_some_and(|since| self.changed <= since)
    }

    fn into_body(self) -> Body {
        let left = self.length - self.first.len() as u64;
        if left == 0 {
            return Body::from(self.first);
        }
        Body::from_stream(futures_util::stream::try_unfold((Some(self.first), self.file, left), next_piece))
    }
}

/// One piece of a body, and what comes after it.
async fn next_piece((first, mut file, left): Rest) -> io::Result<Option<(Bytes, Rest)>> {
    if let Some(first) = first {
        return Ok(Some((first, (None, file, left))));
    }
    if left == 0 {
        return Ok(None);
    }
    let read = tokio::task::spawn_blocking(move || piece(&mut file, left).map(|bytes| (bytes, file)));
    let (bytes, file) = read.await.map_err(io::Error::other)??;
    if bytes.is_empty() {
        // Cut off while it was sent: the client sees that the length does not hold.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let left = left - bytes.len() as u64;
    Ok(Some((bytes, (None, file, left))))
}

/// The next bytes of a file, at most one chunk and at most `left`.
fn piece(file: &mut File, left: u64) -> io::Result<Bytes> {
    let wanted = left.min(FILE_CHUNK_BYTES as u64);
    let mut bytes = Vec::with_capacity(wanted as usize);
    file.take(wanted).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// To the same path with a slash. It begins with exactly one, so it stays on this host.
fn redirect(uri: &Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(place) = HeaderValue::try_from(format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(LOCATION, place);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The content type by the end of the name.
fn kind(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
    match end.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_walked_through() {
        let walked = |path| steps(path).map(|steps| steps.join("|"));
        assert_eq!(walked("/").as_deref(), Some(""));
        assert_eq!(walked("/a%20b/c.js").as_deref(), Some("a b|c.js"));
        assert_eq!(walked("/caf%C3%A9/").as_deref(), Some("café"));
        for path in ["", "//", "//evil.example", "/a//b", "/..", "/a/../b", "/%2e%2e/b", "/.env", "/a/%2Egit/config"] {
            assert_eq!(walked(path), None, "{path}");
        }
        for path in ["/a%2Fb", "/a%5Cb", "/a\\b", "/a%00", "/%0a", "/%ff", "/%252e%252e/", "/."] {
            let known = walked(path).is_some_and(|steps| steps != "%2e%2e");
            assert!(!known, "{path}");
        }
        assert_eq!(walked(&"/a".repeat(FILE_DEPTH + 1)), None);
    }

    #[test]
    fn the_paths_of_the_api_are_its_own() {
        for path in ["/v1", "/v1/", "/v1/nothing", "/healthz", "/metrics", "/openapi.json"] {
            assert!(is_api(path), "{path}");
        }
        for path in ["/", "/v1.html", "/v2/x", "/healthz/x", "/till/"] {
            assert!(!is_api(path), "{path}");
        }
    }

    #[test]
    fn kinds_by_the_end_of_the_name() {
        assert_eq!((kind("INDEX.HTML"), kind("a.b.mjs")), ("text/html; charset=utf-8", "text/javascript; charset=utf-8"));
        assert_eq!((kind("noend"), kind("a.exe")), ("application/octet-stream", "application/octet-stream"));
    }
}
