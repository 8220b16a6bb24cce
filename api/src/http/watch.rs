//! `GET /v1/watch`: server-sent events. The stream pulls its next step from the hub whenever the client has read the one
//! before, so a slow client holds back nobody but itself; one that reads nothing is cut off (`stall`) and comes again with
//! the last id that it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Uri};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::answer::Answer;
use super::query::Query;
use super::serve::Stopping;
use super::{Shared, collections, headers, path};
use crate::hub::{Credentials, Origin, Peer};
use crate::limits::{LIST_KEYS, STALL_TIME, WATCH_BEAT, WATCH_REST, WATCH_RETRY_MS, WATCHES};
use crate::problem::{Code, Problem};
use crate::watch::{Seen, Watch, WatchFrom, WatchStep, Watched};

/// The only path where a token may stand in the query: an `EventSource` of a browser sends no headers.
pub(crate) const PATH: &str = "/v1/watch";

/// The watches that are open, and how many were cut off.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    open: AtomicUsize,
    cut: AtomicU64,
}

impl Watches {
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    fn seat(self: &Arc<Self>) -> Result<Seat, Problem> {
        let seat = Seat { watches: self.clone(), handed: None };
        if self.open.fetch_add(1, Ordering::Relaxed) < WATCHES {
            return Ok(seat);
        }
        let detail = format!("{WATCHES} watches are open already; share one, or come again when another has ended");
        Err(Problem::new(Code::Rate, detail).retry_after(WATCH_BEAT))
    }
}

/// One of the places that watches have.
struct Seat {
    watches: Arc<Watches>,
    /// When the last bytes were handed over; none: they are read.
    handed: Option<Instant>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.watches.open.fetch_sub(1, Ordering::Relaxed);
        if self.handed.is_some_and(|handed| handed.elapsed() >= STALL_TIME) {
            self.watches.cut.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The token of `access_token=`.
pub(crate) fn token(uri: &Uri) -> Option<String> {
    Query::parse(uri.query()?).ok()?.take("access_token").ok()?
}

/// What changes, as server-sent events: `record`, `outcome`, `conflict`, `ready`, `reset`. The `id` of the last one, as
/// `Last-Event-ID` or `since`, goes on from there.
#[utoipa::path(
    get, path = "/v1/watch", tag = "records", operation_id = "watch",
    params(
        ("collection" = Option<Vec<String>>, Query, description = "Only these collections; all that the caller sees where left out"),
        ("since" = Option<String>, Query, description = "`since` of a list, or an event's id; `0`: everything that is there first; left out: from now on"),
        ("access_token" = Option<String>, Query, description = "The token, for clients that cannot send Authorization"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event; goes before `since`"),
    ),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "Events without end")),
)]
pub(crate) async fn watch<H: Watched>(State(app): State<Shared<H>>, mut query: Query, origin: Origin, request: Request) -> Answer {
    let names = query.take_all("collection");
    if names.len() > LIST_KEYS {
        return Err(Problem::bad_request(format!("a watch names at most {LIST_KEYS} collections")).field("collection"));
    }
    let (since, asked) = (query.take("since")?, query.take("access_token")?);
    query.finish("collection, since, access_token")?;
    let mut watch = Watch { collections: Vec::new(), caller: origin.caller };
    for name in names {
        let name = path::collection(&name)?;
        collections::may_see(&watch.caller, name.as_str())?;
        watch.collections.push(name);
    }
    let seat = app.watches.seat()?;
    let from = from(request.headers(), since);
    let mut changes = app.hub.changes();
    changes.borrow_and_update();
    // The first step is taken before anything is answered, so that a refusal still is one.
    let first = app.hub.watch(&watch, &from).await?;
    let stopping = request.extensions().get::<Stopping>().cloned();
    if let Some(stopping) = &stopping {
        stopping.is_watched();
    }
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unix);
    let bearer = headers::bearer(request.headers()).map(str::to_owned).or(asked);
    let events = Events {
        at: String::new(),
        shown: String::new(),
        step: Some(first),
        ready: false,
        begun: false,
        beat: beat(),
        looked: Instant::now(),
        stop: stopping.map(|stopping| stopping.stop),
        app,
        watch,
        changes,
        bearer,
        peer,
        seat,
    };
    let mut response = Response::new(Body::from_stream(futures_util::stream::unfold(events, next)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and others keep answers back until they have enough of them.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn from(headers: &HeaderMap, since: Option<String>) -> WatchFrom {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?").to_owned());
    match last.filter(|id| !id.is_empty()).or(since.filter(|since| !since.is_empty())) {
        None => WatchFrom::Now,
        Some(text) if text == "0" => WatchFrom::Start,
        Some(text) => WatchFrom::Token(text),
    }
}

fn beat() -> Interval {
    let mut beat = tokio::time::interval_at(Instant::now() + WATCH_BEAT, WATCH_BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// One open watch.
struct Events<H> {
    app: Shared<H>,
    watch: Watch,
    changes: Receiver<()>,
    stop: Option<Receiver<bool>>,
    bearer: Option<String>,
    peer: Peer,
    seat: Seat,
    /// A step that is to be shown.
    step: Option<WatchStep>,
    /// Where it goes on, and the last id that the client was sent.
    at: String,
    shown: String,
    begun: bool,
    /// All that was there has been sent, and said to be.
    ready: bool,
    beat: Interval,
    looked: Instant,
}

async fn next<H: Watched>(mut events: Events<H>) -> Option<(Result<Bytes, std::convert::Infallible>, Events<H>)> {
    events.seat.handed = None;
    let chunk = events.chunk().await?;
    events.seat.handed = Some(Instant::now());
    Some((Ok(chunk.into()), events))
}

impl<H: Watched> Events<H> {
    /// The next bytes; none: the watch ends.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(step) = self.step.take() {
                let more = step.more;
                let chunk = self.show(step);
                if more {
                    self.changes.mark_changed();
                }
                if !chunk.is_empty() {
                    return Some(chunk);
                }
            }
            let rest = self.looked + WATCH_REST * u32::try_from(self.app.watches.open()).unwrap_or(u32::MAX);
            tokio::select! {
                biased;
                () = stopped(self.stop.as_mut()) => return None,
                _ = self.beat.tick() => return self.pulse().await,
                rung = changed(&mut self.changes, rest) => if !rung { return None },
            }
            self.changes.borrow_and_update();
            self.looked = Instant::now();
            match self.app.hub.watch(&self.watch, &WatchFrom::On(self.at.clone())).await {
                Ok(step) => self.step = Some(step),
                Err(problem) => {
                    // The client comes again and is told why.
                    tracing::debug!(%problem, "a watch ends");
                    return None;
                }
            }
        }
    }

    fn show(&mut self, step: WatchStep) -> Vec<u8> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(format!("retry: {WATCH_RETRY_MS}\n\n").as_bytes());
        }
        for event in step.events {
            // After a reset it is the list that brings what was there.
            self.ready |= event.what == Seen::Reset;
            let start = write_head(&mut out, &event.id, event.what.name());
            event.what.write_json(&mut out);
            end(&mut out, start);
            self.shown = event.id;
        }
        self.at = step.next;
        if !step.more && !std::mem::replace(&mut self.ready, true) {
            let start = write_head(&mut out, &self.at, "ready");
            out.extend_from_slice(b"{}");
            end(&mut out, start);
            self.shown.clone_from(&self.at);
        }
        out
    }

    /// A comment, so that nothing in between takes the connection for dead; and how far the watch has come, where nothing
    /// that happened was for it. None: the caller may not watch any more.
    async fn pulse(&mut self) -> Option<Vec<u8>> {
        let credentials = Credentials { bearer: self.bearer.as_deref(), peer: self.peer };
        self.watch.caller = self.app.hub.authorize(credentials).await.ok()?;
        if !self.watch.collections.iter().all(|name| self.watch.caller.sees(name.as_str())) {
            return None;
        }
        let mut out = b":\n\n".to_vec();
        if self.shown != self.at {
            // Without data it is no event, and yet the last id from now on.
            out.extend_from_slice(format!("id: {}\n\n", self.at).as_bytes());
            self.shown.clone_from(&self.at);
        }
        Some(out)
    }
}

/// Writes an event up to its data; where that begins.
fn write_head(out: &mut Vec<u8>, id: &str, name: &str) -> usize {
    out.extend_from_slice(format!("id: {id}\nevent: {name}\ndata: ").as_bytes());
    out.len()
}

/// Ends an event. Outside of strings a line break is white space, and inside of them it is always escaped.
fn end(out: &mut Vec<u8>, start: usize) {
    out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    out.extend_from_slice(b"\n\n");
}

/// Ends when the hub stops.
async fn stopped(stop: Option<&mut Receiver<bool>>) {
    match stop {
        // A sender that is gone means that its hub is.
        Some(stop) => drop(stop.wait_for(|stopping| *stopping).await),
        None => std::future::pending().await,
    }
}

/// Waits until something changed, and not before `rest`. False: the hub is gone.
async fn changed(changes: &mut Receiver<()>, rest: Instant) -> bool {
    tokio::time::sleep_until(rest).await;
    changes.changed().await.is_ok()
}
