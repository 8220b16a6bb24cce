//! Frames as text and back, by the schema itself: what is added to it appears here without a change.
//!
//! It is protobuf's text format with four liberties: bytes are `<hex>`, long ones with much that repeats
//! `<256: 16=0a1b 64=78*100>` (the length, and what is not zero where, a run by its byte and its length); a text may stand in single quotes; a long run of one letter is `"x"*40000`, and pieces
//! beside each other are one text; an encoded `Write` is shown as what it says where that gives the same bytes.

use std::fmt::Write as _;

use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

/// A line is at most so long, where it can be.
const WIDTH: usize = 140;
/// Runs of one letter, and bytes, from this length on are shortened.
const LONG: usize = 64;

/// The schema of the link.
pub(super) struct Schema {
    pool: DescriptorPool,
}

impl Schema {
    /// As it is in the tree.
    pub(super) fn read() -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/schema");
        let set = protox::compile([folder.join("tombolo.proto")], [folder]).unwrap();
        Self { pool: DescriptorPool::from_file_descriptor_set(set).unwrap() }
    }

    /// Every message that it has.
    pub(super) fn messages(&self) -> Vec<MessageDescriptor> {
        self.pool.all_messages().collect()
    }

    fn message(&self, name: &str) -> MessageDescriptor {
        self.pool.get_message_by_name(&format!("tombolo.v1.{name}")).unwrap()
    }

    /// `hello { … }`
    pub(super) fn show(&self, frame: &[u8]) -> String {
        let message = DynamicMessage::decode(self.message("Frame"), frame).unwrap();
        let (field, value) = message.fields().next().unwrap();
        let text = self.field(&field, value, 0);
        assert_eq!(self.parse(&text).as_deref(), Ok(frame), "a frame that is not what its text says:\n{text}");
        text
    }

    /// The frame that such a text says.
    pub(super) fn parse(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut reader = Reader { schema: self, rest: text };
        let mut frame = DynamicMessage::new(self.message("Frame"));
        reader.field(&mut frame)?;
        reader.skip();
        if reader.rest.is_empty() { Ok(frame.encode_to_vec()) } else { Err(format!("more than a frame: {:?}", reader.rest)) }
    }

    fn field(&self, field: &FieldDescriptor, value: &Value, indent: usize) -> String {
        let name = field.name();
        match value {
            Value::List(items) if matches!(field.kind(), Kind::Message(_)) => {
                let items: Vec<_> = items.iter().map(|item| self.field(field, item, indent)).collect();
                items.join(&format!("\n{}", " ".repeat(indent)))
            }
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.scalar(field, item)).collect();
                format!("{name}: [{}]", items.join(", "))
            }
            Value::Message(message) => format!("{name} {}", self.body(message, indent)),
            Value::Bytes(bytes) if field.full_name() == "tombolo.v1.NumberedWrite.write" => match self.said(bytes) {
                Some(write) => format!("{name} {}", self.body(&write, indent)),
                None => format!("{name}: {}", self.scalar(field, value)),
            },
            value => format!("{name}: {}", self.scalar(field, value)),
        }
    }

    /// The write that these bytes are, when they are exactly one.
    fn said(&self, bytes: &[u8]) -> Option<DynamicMessage> {
        let write = DynamicMessage::decode(self.message("Write"), bytes).ok()?;
        (!bytes.is_empty() && write.encode_to_vec() == bytes && write.unknown_fields().next().is_none()).then_some(write)
    }

    fn body(&self, message: &DynamicMessage, indent: usize) -> String {
        let fields = || message.fields().map(|(field, value)| (field, value.clone()));
        let flat: Vec<_> = fields().map(|(field, value)| self.field(&field, &value, indent + 2)).collect();
        let line = format!("{{ {} }}", flat.join("  "));
        if flat.is_empty() {
            return "{}".into();
        }
        if indent + line.chars().count() <= WIDTH && !line.contains('\n') && flat.len() <= 12 {
            return line;
        }
        let (mut text, mut filled) = (String::from("{"), WIDTH);
        for part in flat {
            let len = part.chars().count();
            if part.contains('\n') || part.contains(" {") || filled + len + 2 > WIDTH {
                write!(text, "\n{}{part}", " ".repeat(indent + 2)).unwrap();
                filled = if part.contains('\n') || part.contains(" {") { WIDTH } else { indent + 2 + len };
            } else {
                write!(text, "  {part}").unwrap();
                filled += len + 2;
            }
        }
        write!(text, "\n{}}}", " ".repeat(indent)).unwrap();
        text
    }

    fn scalar(&self, field: &FieldDescriptor, value: &Value) -> String {
        match (value, field.kind()) {
            (Value::Bool(value), _) => value.to_string(),
            (Value::U64(value), _) => value.to_string(),
            (Value::U32(value), _) => value.to_string(),
            (Value::I64(value), _) => value.to_string(),
            (Value::I32(value), _) => value.to_string(),
            (Value::EnumNumber(number), Kind::Enum(kind)) => {
                kind.get_value(*number).map_or_else(|| number.to_string(), |value| value.name().to_owned())
            }
            (Value::String(text), _) => quoted(text),
            (Value::Bytes(bytes), _) => hex(bytes),
            (other, _) => panic!("{} has a value that has no text: {other:?}", field.full_name()),
        }
    }
}

fn quoted(text: &str) -> String {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut run = 1;
        while letters.next_if_eq(&letter).is_some() {
            run += 1;
        }
        if run < LONG {
            piece.extend(std::iter::repeat_n(letter, run));
            continue;
        }
        pieces.extend((!piece.is_empty()).then(|| one(&piece)));
        pieces.push(format!("{}*{run}", one(&letter.to_string())));
        piece.clear();
    }
    if !piece.is_empty() || pieces.is_empty() {
        pieces.push(one(&piece));
    }
    pieces.join(" ")
}

fn one(text: &str) -> String {
    if text.contains('"') && !text.contains(['\'', '\\', '\n']) {
        format!("'{text}'")
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    }
}

/// Hex.
pub(super) fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn hex(bytes: &[u8]) -> String {
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    let run = |at: usize| bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
    let runs = bytes.chunk_by(|one, next| one == next).any(|run| run.len() >= LONG);
    if bytes.len() < 32 || (zeros * 2 < bytes.len() && !runs) {
        return format!("<{}>", digits(bytes));
    }
    let mut text = format!("<{}:", bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == 0 {
            at += 1;
            continue;
        }
        if run(at) >= LONG {
            write!(text, " {at}={:02x}*{}", bytes[at], run(at)).unwrap();
            at += run(at);
            continue;
        }
        let ends = |end: &usize| bytes[*end..].iter().take(4).all(|byte| *byte == 0) || run(*end) >= LONG;
        let end = (at..bytes.len()).find(ends).unwrap_or(bytes.len());
        write!(text, " {at}={}", digits(&bytes[at..end])).unwrap();
        at = end;
    }
    text + ">"
}

struct Reader<'a> {
    schema: &'a Schema,
    rest: &'a str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eats(&mut self, letter: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> Result<String, String> {
        self.skip();
        let end = self.rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"_-".contains(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            Err(format!("a word is missing before {:?}", rest.chars().take(40).collect::<String>()))
        } else {
            Ok(word.into())
        }
    }

    fn upto(&mut self, end: char) -> Result<String, String> {
        let (text, rest) = self.rest.split_once(end).ok_or_else(|| format!("{end:?} is missing"))?;
        self.rest = rest;
        Ok(text.into())
    }

    fn field(&mut self, into: &mut DynamicMessage) -> Result<(), String> {
        let name = self.word()?;
        let descriptor = into.descriptor();
        let field = descriptor.get_field_by_name(&name).ok_or_else(|| format!("{} has no {name}", descriptor.name()))?;
        self.eats(':');
        if field.is_list() {
            let mut all = into.get_field(&field).as_list().unwrap().to_vec();
            if self.eats('[') {
                while !self.eats(']') {
                    all.push(self.value(&field)?);
                    self.eats(',');
                }
            } else {
                all.push(self.value(&field)?);
            }
            into.set_field(&field, Value::List(all));
        } else {
            let value = self.value(&field)?;
            into.set_field(&field, value);
        }
        Ok(())
    }

    fn body(&mut self, of: MessageDescriptor) -> Result<DynamicMessage, String> {
        let mut message = DynamicMessage::new(of);
        if !self.eats('{') {
            return Err("{ is missing".into());
        }
        while !self.eats('}') {
            self.field(&mut message)?;
        }
        Ok(message)
    }

    fn value(&mut self, field: &FieldDescriptor) -> Result<Value, String> {
        self.skip();
        Ok(match field.kind() {
            Kind::Message(of) => Value::Message(self.body(of)?),
            Kind::Bytes if self.rest.starts_with('{') => Value::Bytes(self.body(self.schema.message("Write"))?.encode_to_vec().into()),
            Kind::Bytes => Value::Bytes(self.bytes()?.into()),
            Kind::String => Value::String(self.text()?),
            Kind::Bool => Value::Bool(self.number()?),
            Kind::Uint32 => Value::U32(self.number()?),
            Kind::Uint64 => Value::U64(self.number()?),
            Kind::Sint64 => Value::I64(self.number()?),
            Kind::Enum(of) => {
                let word = self.word()?;
                Value::EnumNumber(of.get_value_by_name(&word).ok_or_else(|| format!("{} has no {word}", of.name()))?.number())
            }
            other => return Err(format!("{}: {other:?} is not read yet", field.name())),
        })
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("{word:?} is none"))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, String> {
        if !self.eats('<') {
            return Err("bytes begin with <".into());
        }
        let text = self.upto('>')?;
        let Some((len, parts)) = text.split_once(':') else { return unhex(&text) };
        let mut bytes = vec![0; len.parse().map_err(|_| format!("{len:?} is no length"))?];
        for part in parts.split_whitespace() {
            let (at, part) = part.split_once('=').ok_or("an = is missing in bytes")?;
            let (part, times) = part.split_once('*').unwrap_or((part, "1"));
            let times: usize = times.parse().map_err(|_| format!("{times:?} is no length"))?;
            let (at, part) = (at.parse::<usize>().map_err(|_| format!("{at:?} is no place"))?, unhex(part)?.repeat(times));
            bytes.get_mut(at..at + part.len()).ok_or("behind the end of the bytes")?.copy_from_slice(&part);
        }
        Ok(bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        let mut whole = String::new();
        loop {
            self.skip();
            let piece = if self.eats('\'') {
                self.upto('\'')?
            } else if self.eats('"') {
                let mut piece = String::new();
                loop {
                    let mut letters = self.rest.chars();
                    let letter = match letters.next().ok_or("a text does not end")? {
                        '"' => break self.rest = letters.as_str(),
                        '\\' => match letters.next().ok_or("a text does not end")? {
                            'n' => '\n',
                            other => other,
                        },
                        other => other,
                    };
                    piece.push(letter);
                    self.rest = letters.as_str();
                }
                piece
            } else {
                return Ok(whole);
            };
            let times = if self.rest.starts_with('*') {
                self.eats('*');
                self.number()?
            } else {
                1
            };
            whole += &piece.repeat(times);
        }
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(format!("{text:?} is no hex"));
    (0..text.len()).step_by(2).map(byte).collect()
}
