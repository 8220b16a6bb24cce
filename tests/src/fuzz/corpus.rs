//! Where inputs come from: lines of text files, what earlier versions sent, and mutations of all that.
//!
//! `tests/data/fuzz/TARGET.txt` has an input a line, `\n`, `\\`, `\xff` and so on standing for bytes, and comments after `#`. What
//! libFuzzer has found is put there by hand, shortened, with a word about what it was.

use std::path::{Path, PathBuf};

use crate::kept;
use crate::lab::dice::Dice;

/// The file of a target.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fuzz").join(format!("{name}.txt"))
}

/// All inputs of a target.
pub fn inputs(name: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file(name)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all: Vec<Vec<u8>> = lines.map(|line| unescape(line).unwrap_or_else(|| panic!("{}: {line}", file(name).display()))).collect();
    match name {
        "frame" | "write" => all.extend(sent()),
        "certificate" => {
            let texts = all.clone();
            let ders = texts.iter().filter_map(|text| transport::tls::certificates(std::str::from_utf8(text).ok()?).ok());
            all.extend(ders.flatten().map(|der| der.to_vec()));
        }
        "session" | "hostile_hub" | "hostile_edge" => all.extend(drawn()),
        _ => {}
    }
    all
}

/// Frames and writes as the last version sent them.
fn sent() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(kept::folder("v0.1.0").join("frames.txt")).unwrap();
    kept::blocks(&text).into_iter().map(|(_, bytes)| bytes).collect()
}

/// For entries that draw what happens from their bytes.
fn drawn() -> Vec<Vec<u8>> {
    (0..8).map(|seed| random(&mut Dice::new(seed), 40 << (seed / 2))).collect()
}

fn random(dice: &mut Dice, length: usize) -> Vec<u8> {
    (0..length).map(|_| dice.below(256) as u8).collect()
}

/// One line of a file; none: it is wrong.
pub fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.chars();
    while let Some(own) = rest.next() {
        if own != '\\' {
            bytes.extend_from_slice(own.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match rest.next()? {
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'x' => u8::from_str_radix(&[rest.next()?, rest.next()?].iter().collect::<String>(), 16).ok()?,
            own @ ('\\' | '\'' | '"') => own as u8,
            _ => return None,
        });
    }
    Some(bytes)
}

/// As it stands in a file.
pub fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// Bytes and words that change what a decoder does.
const WORDS: [&[u8]; 16] = [
    b"\0",
    b"\xff",
    b"\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\"",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"null",
    b"-1",
    b"1e400",
    b"9223372036854775808",
    b"%00",
    b"\n",
    b"\xc3\xa9",
];

/// One of the inputs, changed in a few places.
pub fn mutated(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let one = |dice: &mut Dice| inputs.get(dice.below(inputs.len() as u64) as usize).cloned().unwrap_or_default();
    let mut bytes = one(dice);
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() as u64 + 1) as usize;
        let end = (at + dice.below(16) as usize).min(bytes.len());
        match dice.below(8) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.extend_from_within(at..end),
            2 => bytes.truncate(at),
            3 => {
                let other = one(dice);
                let from = dice.below(other.len() as u64 + 1) as usize;
                bytes.splice(at..end, other[from..].iter().copied().take(64));
            }
            4 | 5 => drop(bytes.splice(at..at, WORDS[dice.below(WORDS.len() as u64) as usize].iter().copied())),
            6 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.below(256) as u8),
        }
    }
    bytes
}
