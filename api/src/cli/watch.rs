//! `record watch`: events as they come, until somebody ends it.

use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::table::{cell_at, clean};
use super::{CliError, Console, Format, OutputArgs};
use crate::client::{Answer, Client, ClientError, Event, EventReader, Request};
use crate::limits::{WATCH_BEAT, WATCH_RETRY_MS};

/// A hub that is alive sends at least a comment every [`WATCH_BEAT`]; behind four that did not come there is no hub any more,
/// whatever the connection says.
const SILENCE: Duration = WATCH_BEAT.saturating_mul(4);

/// What a hub may ask for as the pause before the next connection: less would be a busy loop, more would look dead.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// `record watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The collections
    #[arg(required = true, value_name = "COLLECTION")]
    collections: Vec<String>,
    /// Where to begin: `since` of a list, the id of an event, or 0 for everything that is there first [default: now]
    #[arg(long, value_name = "TOKEN")]
    since: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// How far a watch has come.
#[derive(Debug)]
struct Place {
    last_id: String,
    pause: Duration,
}

impl Watch {
    /// Of these collections.
    pub(super) fn of(collections: &[&str], since: Option<String>, output: OutputArgs) -> Self {
        Self { collections: collections.iter().map(|name| (*name).to_owned()).collect(), since, output }
    }

    /// Prints events until a signal, a refusal, or the end of whoever reads them.
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let mut signals = Signals::listen()?;
        tokio::select! {
            biased;
            () = signals.any() => Ok(()),
            ended = self.follow(client, console) => ended,
        }
    }

    /// The first connection must succeed, so that a wrong address is no endless wait; a later one may take its time.
    async fn follow(&self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let mut place = Place { last_id: String::new(), pause: Duration::from_millis(WATCH_RETRY_MS) };
        let mut answer = client.send(self.request(&place)?).await?;
        loop {
            let cut = self.print(answer, &mut place, client, console).await?;
            console.note(&format!("the watch of {} was cut off: {cut}; it goes on as soon as it is reached again", client.hub()));
            answer = self.again(&place, client, console).await?;
        }
    }

    async fn again(&self, place: &Place, client: &Client, console: &Console<'_>) -> Result<Answer, CliError> {
        loop {
            tokio::time::sleep(place.pause).await;
            still_read(console)?;
            match client.send(self.request(place)?).await {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Refused(refusal)) if refusal.status < 500 => return Err(ClientError::Refused(refusal).into()),
                Err(_) => {}
            }
        }
    }

    fn request(&self, place: &Place) -> Result<Request, CliError> {
        let request = self.collections.iter().fold(Request::get(&["v1", "watch"]), |request, name| request.query("collection", name));
        if place.last_id.is_empty() {
            return Ok(request.query_opt("since", self.since.as_deref()));
        }
        let id = HeaderValue::from_bytes(place.last_id.as_bytes());
        let id = id.map_err(|_| CliError::Failed(format!("the hub sent an id that no request can carry: {:?}", place.last_id)))?;
        Ok(request.header("last-event-id", id))
    }

    /// Prints one stream to its end; why it ended.
    async fn print(&self, mut answer: Answer, place: &mut Place, client: &Client, console: &mut Console<'_>) -> Result<String, CliError> {
        let unexpected = |what: String| ClientError::Unexpected { hub: client.hub(), what };
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        loop {
            let piece = match tokio::time::timeout(SILENCE, answer.piece()).await {
                Err(_) => return Ok(format!("nothing came for {} s", SILENCE.as_secs())),
                Ok(Err(ClientError::Broken { reason, .. })) => return Ok(reason),
                Ok(Err(error)) => return Ok(error.to_string()),
                Ok(Ok(None)) => return Ok("the hub ended it".into()),
                Ok(Ok(Some(piece))) => piece,
            };
            reader.read(&piece, &mut events).map_err(|error| unexpected(error.to_string()))?;
            for event in events.drain(..) {
                let line = line(&event, self.output.format).map_err(|error| unexpected(format!("an event that is not JSON: {error}")))?;
                console.stream(line.as_bytes()).await?;
            }
            // The comments of an idle hub come here too.
            still_read(console)?;
            if !reader.last_id().is_empty() {
                reader.last_id().clone_into(&mut place.last_id);
            }
            if let Some(pause) = reader.retry() {
                place.pause = pause.clamp(*PAUSES.start(), *PAUSES.end());
            }
        }
    }
}

/// An idle watch would else outlive its reader, and keep one of the hub's places for watches.
fn still_read(console: &Console<'_>) -> Result<(), CliError> {
    if console.reader_is_gone() { Err(CliError::ReaderGone) } else { Ok(()) }
}

/// An event as one line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: &'a str,
    id: &'a str,
    data: &'a RawValue,
}

/// The part of a record whose text is printed as it came.
#[derive(Debug, Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// One line, with its end. Line ends between the parts of a JSON text become spaces; inside of strings they are escaped.
fn line(event: &Event, format: Format) -> serde_json::Result<String> {
    let data = event.data.replace('\n', " ");
    let text = match format {
        Format::Json => serde_json::to_string(&Line { event: &event.name, id: &event.id, data: serde_json::from_str(&data)? })?,
        Format::Table => clean(&cells(&event.name, &data)?.join("  ")),
    };
    Ok(text + "\n")
}

fn cells(name: &str, data: &str) -> serde_json::Result<Vec<String>> {
    let told: Value = serde_json::from_str(data)?;
    let at = |path| cell_at(&told, path);
    let record = || format!("{}/{}", at("collection"), at("key"));
    let mut cells = vec![name.to_owned()];
    match name {
        "record" if told.get("deleted") == Some(&Value::Bool(true)) => cells.extend([record(), "deleted".into()]),
        "record" => {
            let whole: Whole<'_> = serde_json::from_str(data)?;
            cells.extend([record(), at("sync.state"), whole.value.map_or("-", RawValue::get).to_owned()]);
        }
        "outcome" => {
            cells.extend([at("id"), at("state")]);
            cells.extend(["code", "conflicts"].map(at).into_iter().filter(|cell| cell != "-"));
        }
        "conflict" => cells.extend([at("id"), at("state"), record(), at("kind")]),
        "ready" | "reset" => {}
        _ => cells.push(data.to_owned()),
    }
    Ok(cells)
}

/// What ends a watch in order.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(name: &str, data: &str, format: Format) -> String {
        line(&Event { name: name.into(), id: "a.1".into(), data: data.into() }, format).unwrap()
    }

    #[test]
    fn one_line_an_event() {
        let table = |name, data| shown(name, data, Format::Table);
        let record = r#"{"collection":"products","key":"11","value":{"Price": 1.0,"A":"b"},"sync":{"state":"pending"}}"#;
        assert_eq!(table("record", record), "record  products/11  pending  {\"Price\": 1.0,\"A\":\"b\"}\n");
        assert_eq!(table("record", r#"{"collection":"products","key":"11","deleted":true}"#), "record  products/11  deleted\n");
        let outcome = r#"{"id":"lyon:7f3a9c:42","state":"applied","code":null,"conflicts":[]}"#;
        assert_eq!(table("outcome", outcome), "outcome  lyon:7f3a9c:42  applied\n");
        let outcome = r#"{"id":"lyon:7f3a9c:43","state":"rejected","code":"bound","conflicts":["c1"]}"#;
        assert_eq!(table("outcome", outcome), "outcome  lyon:7f3a9c:43  rejected  bound  c1\n");
        let conflict = r#"{"id":"c1","collection":"products","key":"11","kind":"field","state":"open"}"#;
        assert_eq!(table("conflict", conflict), "conflict  c1  open  products/11  field\n");
        assert_eq!(["ready", "reset"].map(|name| table(name, "{}")), ["ready\n", "reset\n"]);
        assert_eq!(table("later", "{\"a\":1}"), "later  {\"a\":1}\n");
    }

    #[test]
    fn json_keeps_the_text_of_the_data() {
        let line = shown("record", "{\"b\": 1.50,\n\"a\":\"\\n\"}", Format::Json);
        assert_eq!(line, "{\"event\":\"record\",\"id\":\"a.1\",\"data\":{\"b\": 1.50, \"a\":\"\\n\"}}\n");
    }

    #[test]
    fn what_others_wrote_does_not_command_the_terminal() {
        let line = shown("record", "{\"collection\":\"p\",\"key\":\"\\u001b[31m\",\"value\":\"\u{9b}1m\"}", Format::Table);
        assert_eq!(line, "record  p/\\u{1b}[31m  -  \"\\u{9b}1m\"\n");
    }

    #[test]
    fn an_event_that_is_not_json_is_an_error() {
        assert!(line(&Event { name: "record".into(), id: String::new(), data: "<html>".into() }, Format::Json).is_err());
        assert!(line(&Event { name: "record".into(), id: String::new(), data: "<html>".into() }, Format::Table).is_err());
    }
}
