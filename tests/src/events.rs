//! Server-sent events as a stranger reads them.

use std::io::{self, BufRead, BufReader, Read};

use serde_json::Value;

use crate::http::Stream;
use crate::until::PATIENCE;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub data: Value,
}

/// An open stream of events.
pub struct Events {
    body: BufReader<Chunks>,
    /// The id to go on from: of the last event, or what the stream said since.
    pub last: String,
}

impl Events {
    pub(crate) fn new(stream: BufReader<Box<dyn Stream>>) -> Self {
        Self { body: BufReader::new(Chunks { stream, left: 0, ended: false }), last: String::new() }
    }

    /// The next event; none: the stream has ended, or was cut.
    pub fn next_event(&mut self) -> Option<Event> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            match self.body.read_line(&mut line) {
                Ok(0) => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no event in {PATIENCE:?}"),
                Err(_) => return None,
                Ok(_) => {}
            }
            let line = line.trim_end_matches('\n');
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut self.last),
                Some(("event", text)) => text.clone_into(&mut name),
                Some(("data", text)) => data.push_str(text),
                _ if line.is_empty() && !data.is_empty() => {
                    let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data}"));
                    return Some(Event { id: self.last.clone(), name, data });
                }
                _ => {}
            }
        }
    }

    /// The next event; panics at the end.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        self.next_event().expect("the stream goes on")
    }

    /// Events up to the first that `wanted` takes, that one too.
    #[track_caller]
    pub fn until(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.event();
            events.push(event.clone());
            if wanted(&event) {
                return events;
            }
        }
    }
}

/// The body of an answer in chunks.
struct Chunks {
    stream: BufReader<Box<dyn Stream>>,
    left: usize,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut size = String::new();
            self.stream.read_line(&mut size)?;
            self.left = usize::from_str_radix(size.trim_end(), 16).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(0);
        }
        let most = self.left.min(buffer.len());
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        if self.left == 0 {
            self.stream.read_line(&mut String::new())?;
        }
        Ok(read)
    }
}
