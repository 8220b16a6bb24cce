//! Bytes as a peer of a later version would send them: every message has members that this version does not know.

/// The message inside a member of a message, by the number of the member (`proto/schema/tombolo.proto`); none: it is
/// not a message.
fn inside(message: &str, member: u64) -> Option<&'static str> {
    Some(match (message, member) {
        ("Frame", 1) => "Hello",
        ("Frame", 2) => "Welcome",
        ("Frame", 4) => "Batch",
        ("Frame", 5) => "Ack",
        ("Frame", 9) => "Writes",
        ("Frame", 11) => "Ping",
        ("Frame", 15) => "Compared",
        ("Frame", 17) => "Ask",
        ("Frame", 3 | 6 | 7 | 8 | 10 | 12..=14 | 16) => "Leaf",
        ("Hello", 6 | 12) | ("Welcome", 4 | 14) | ("Grants", 2..=4) | ("Entry", 1 | 2) | ("FillPart", 3) => "Leaf",
        ("Writes", 1) | ("Report", 4) | ("Position", 2) | ("Batch", 7 | 9) | ("Repair", 1) | ("Compared", 2) | ("Ask", 1) => "Leaf",
        ("Ping", 2) => "Report",
        ("Batch", 8) => "Repair",
        ("Hello", 7) | ("Welcome", 6) => "Cursor",
        ("Hello", 9) | ("FillPart", 1) | ("Ack", 2) => "Fill",
        ("Cursor", 2) | ("Fill", 5) | ("Batch", 1 | 2) | ("Ack", 1) => "Position",
        ("Welcome", 9) | ("Batch", 4) => "Grants",
        ("Batch", 5) => "Entry",
        ("Batch", 6) => "FillPart",
        _ => return None,
    })
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A well-formed frame with unknown members in it and in every message inside it.
pub fn with_unknown_members(frame: &[u8]) -> Vec<u8> {
    message("Frame", frame)
}

fn message(name: &str, mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        put_varint(&mut out, tag);
        match tag & 7 {
            0 => {
                let number = varint(&mut bytes);
                put_varint(&mut out, number);
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap_or(usize::MAX).min(bytes.len());
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                let content = inside(name, tag >> 3).map_or_else(|| content.to_vec(), |inner| message(inner, content));
                put_varint(&mut out, content.len() as u64);
                out.extend(content);
            }
            // The wire has no other kinds.
            _ => break,
        }
    }
    // A number in member 1998 and a text in member 1999.
    put_varint(&mut out, 1998 << 3);
    put_varint(&mut out, 1 << 50);
    put_varint(&mut out, (1999 << 3) | 2);
    put_varint(&mut out, 5);
    out.extend(b"newer");
    out
}
