//! The text file of a conversation: what is said, what happens, how time passes, and what each store holds then.

use std::fmt::Write as _;

/// One thing in a file, with the lines of comment and the blank lines before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// The line that it begins at.
    pub(super) line: usize,
    /// Comments and blank lines before it, as they stand.
    pub(super) notes: String,
    /// What it is.
    pub(super) what: What,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// `* edge connects`
    Event(String),
    /// `+15s`
    Later(u64),
    /// `edge: ping {}`; the cloud's words on any link but the first are `cloud to copy: …`.
    Said {
        /// The machine at the link's edge.
        link: String,
        /// It speaks; else the cloud does.
        up: bool,
        /// The frame.
        frame: String,
    },
    /// `edge holds:` and lines that are indented.
    Holds {
        /// The machine, or `cloud`.
        who: String,
        /// What its store holds.
        lines: Vec<String>,
    },
    /// The end of the file.
    End,
}

/// Who speaks, in words.
pub(super) fn speaker(link: &str, up: bool) -> String {
    match (up, link) {
        (true, link) => link.to_owned(),
        (false, "edge") => "cloud".to_owned(),
        (false, link) => format!("cloud to {link}"),
    }
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut notes = String::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            notes += line;
            notes.push('\n');
            continue;
        }
        let what = if let Some(event) = line.strip_prefix("* ") {
            What::Event(event.to_owned())
        } else if let Some(time) = line.strip_prefix('+') {
            What::Later(milliseconds(time).unwrap_or_else(|| panic!("line {}: {time:?} is no time", at + 1)))
        } else if let Some(who) = line.strip_suffix(" holds:") {
            let mut held = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("  ")) {
                held.push(line[2..].to_owned());
            }
            What::Holds { who: who.to_owned(), lines: held }
        } else {
            let (who, first) = line.split_once(": ").unwrap_or_else(|| panic!("line {}: {line:?} is nothing", at + 1));
            let mut frame = first.to_owned();
            while frame.ends_with('{') || frame.contains('\n') && !frame.ends_with("\n}") {
                let (_, more) = lines.next().unwrap_or_else(|| panic!("line {}: the frame does not end", at + 1));
                write!(frame, "\n{more}").unwrap();
            }
            let (link, up) = match (who, who.strip_prefix("cloud to ")) {
                ("cloud", _) => ("edge", false),
                (_, Some(link)) => (link, false),
                (link, None) => (link, true),
            };
            What::Said { link: link.to_owned(), up, frame }
        };
        items.push(Item { line: at + 1, notes: std::mem::take(&mut notes), what });
    }
    items.push(Item { line: text.lines().count() + 1, notes, what: What::End });
    items
}

fn milliseconds(text: &str) -> Option<u64> {
    match text.strip_suffix("ms") {
        Some(ms) => ms.parse().ok(),
        None => text.strip_suffix('s')?.parse::<u64>().ok().map(|seconds| seconds * 1000),
    }
}

/// The file again.
pub(super) fn print(items: &[Item]) -> String {
    let mut text = String::new();
    for Item { notes, what, .. } in items {
        text += notes;
        match what {
            What::Event(event) => writeln!(text, "* {event}").unwrap(),
            What::Later(ms) if ms % 1000 == 0 => writeln!(text, "+{}s", ms / 1000).unwrap(),
            What::Later(ms) => writeln!(text, "+{ms}ms").unwrap(),
            What::Said { link, up, frame } => writeln!(text, "{}: {frame}", speaker(link, *up)).unwrap(),
            What::Holds { who, lines } => {
                writeln!(text, "{who} holds:").unwrap();
                lines.iter().for_each(|line| writeln!(text, "  {line}").unwrap());
            }
            What::End => {}
        }
    }
    text
}
