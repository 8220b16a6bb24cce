//! Server-sent events, from bytes that arrive in pieces of any size.

use std::time::Duration;

use super::limits::MAX_EVENT;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name; `message` where it has none.
    pub name: String,
    /// The last id that the stream named, up to and with this event.
    pub id: String,
    /// Its data; several lines of it are joined by line feeds.
    pub data: String,
}

/// A line, or the data of one event, is longer than any hub's. There is no way to go on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {} MiB", MAX_EVENT >> 20)]
pub struct TooLong;

/// Reads one stream. What is not ended by an empty line is no event: a stream that is cut inside of one goes on, as a new
/// stream with a new reader, from the id of the event before.
#[derive(Debug, Default)]
pub struct EventReader {
    /// The line so far.
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed after it ends no second line.
    returned: bool,
    /// A line has been read, so that no byte order mark can come.
    begun: bool,
    /// The event so far.
    name: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    last_id: String,
    retry: Option<Duration>,
}

impl EventReader {
    /// Reads on, and adds every event that is whole now.
    pub fn read(&mut self, mut piece: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        while let Some(first) = piece.first() {
            if std::mem::take(&mut self.returned) && *first == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(piece);
            };
            self.keep(&piece[..end])?;
            self.returned = piece[end] == b'\r';
            piece = &piece[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.take_line(&String::from_utf8_lossy(&line), events)?;
        }
        Ok(())
    }

    /// The id from which a new stream goes on; empty: none has been named.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How long to wait before a new stream, when the hub said so.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MAX_EVENT {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, line: &str, events: &mut Vec<Event>) -> Result<(), TooLong> {
        let line = if std::mem::replace(&mut self.begun, true) { line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            events.extend(self.end());
            return Ok(());
        }
        // A comment is a field without a name.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => return self.add_data(value),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        Ok(())
    }

    fn add_data(&mut self, value: &str) -> Result<(), TooLong> {
        if self.data.len() + value.len() >= MAX_EVENT {
            return Err(TooLong);
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(value);
        Ok(())
    }

    /// The event that an empty line ends. One without data is none, but its id counts.
    fn end(&mut self) -> Option<Event> {
        if let Some(id) = self.id.take() {
            self.last_id = id;
        }
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Event { name, id: self.last_id.clone(), data })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, id: &str, data: &str) -> Event {
        Event { name: name.into(), id: id.into(), data: data.into() }
    }

    fn read(pieces: &[&[u8]]) -> (EventReader, Vec<Event>) {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        pieces.iter().for_each(|piece| reader.read(piece, &mut events).unwrap());
        (reader, events)
    }

    #[test]
    fn a_watch_as_a_hub_sends_it() {
        let stream =
            b"retry: 2000\n\nid: a.1\nevent: record\ndata: {\"key\":\"x: y\"}\n\n:\n\nid: a.2\n\nid: a.3\nevent: ready\ndata: {}\n\n";
        let (reader, events) = read(&[stream]);
        assert_eq!(events, [event("record", "a.1", "{\"key\":\"x: y\"}"), event("ready", "a.3", "{}")]);
        assert_eq!((reader.last_id(), reader.retry()), ("a.3", Some(Duration::from_secs(2))));
    }

    #[test]
    fn an_id_without_data_counts_and_one_that_is_cut_off_does_not() {
        let (reader, events) = read(&[b"id: 1\ndata: a\n\nid: 2\n\nid: 3\ndata: b\n"]);
        assert_eq!((reader.last_id(), events), ("2", vec![event("message", "1", "a")]));
    }

    #[test]
    fn fields_as_the_standard_has_them() {
        let stream =
            "\u{feff}data:a\ndata\ndata:  b\n: note\nother: x\nid: 1\0\nretry: 1s\nretry: 99999999999999999999\n\nevent: e\n\ndata: c\n\n";
        let (reader, events) = read(&[stream.as_bytes()]);
        assert_eq!(events, [event("message", "", "a\n\n b"), event("message", "", "c")]);
        assert_eq!((reader.last_id(), reader.retry()), ("", None));
        let (_, events) = read(&[b"data: \xff\n\n"]);
        assert_eq!(events, [event("message", "", "\u{fffd}")]);
    }

    #[test]
    fn a_line_and_the_data_of_an_event_are_bounded() {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        let mib = vec![b'x'; 1 << 20];
        reader.read(b"data: ", &mut events).unwrap();
        let taken = (0..100).take_while(|_| reader.read(&mib, &mut events).is_ok()).count();
        assert_eq!((taken, reader.line.len()), (7, (7 << 20) + 6));
        let (mut reader, line) = (EventReader::default(), [b"data: ", &mib[..], b"\n"].concat());
        let taken = (0..100).take_while(|_| reader.read(&line, &mut events).is_ok()).count();
        assert_eq!((taken, events.len()), (7, 0));
    }

    proptest! {
        #[test]
        fn line_ends_and_pieces_change_nothing(cuts in proptest::collection::vec(0usize..200, 0..20), ends in proptest::collection::vec(0usize..3, 1..8)) {
            let lines = ["retry: 5", "", "id: 1", "event: record", "data: {\"ä\":1,", "data: \"b\":2}", "", ":", "", "id: 2", "", "", "data: last", ""];
            let mut stream = Vec::new();
            for (at, line) in lines.iter().enumerate() {
                stream.extend_from_slice(line.as_bytes());
                stream.extend_from_slice(["\n", "\r\n", "\r"][ends[at % ends.len()]].as_bytes());
            }
            // A lone carriage return before a lone line feed would be one line end.
            prop_assume!(!ends.contains(&2) || !ends.contains(&0));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let (reader, events) = read(&pieces);
            prop_assert_eq!(events, [event("record", "1", "{\"ä\":1,\n\"b\":2}"), event("message", "2", "last")]);
            prop_assert_eq!((reader.last_id(), reader.retry()), ("2", Some(Duration::from_millis(5))));
        }
    }
}
