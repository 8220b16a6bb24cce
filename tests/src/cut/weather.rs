//! What a path does to what travels on it, one direction.

use std::str::FromStr;
use std::time::Duration;

/// A million: shares are counted in parts of it.
pub(super) const MILLION: u64 = 1_000_000;
/// Bytes that wait in front of a narrow path before a router drops datagrams, and a sender of a stream has to wait.
const BUFFER: usize = 256 * 1024;

/// What one direction of a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// How long everything takes.
    pub latency: Duration,
    /// How much longer it may take, evenly spread; alone it never changes the order.
    pub jitter: Duration,
    /// Packets that are lost, in a million.
    pub loss: u64,
    /// Datagrams that arrive twice, in a million.
    pub duplicate: u64,
    /// Datagrams that are overtaken by later ones, in a million.
    pub reorder: u64,
    /// Bits a second; none: as fast as it gets.
    pub bandwidth: Option<u64>,
    /// Bytes that wait in front of the path, and of a stream also those on it.
    pub buffer: usize,
    /// Whether who sends a stream begins slowly and steps back for what is lost, as TCP does on a real path.
    pub congestion: bool,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            bandwidth: None,
            buffer: BUFFER,
            congestion: false,
        }
    }
}

impl Weather {
    /// A path that only takes its time.
    pub fn far(one_way: Duration) -> Self {
        Self { latency: one_way, ..Self::default() }
    }

    /// Sets one property as a person writes it: `latency 150ms`, `loss 5%`, `bandwidth 64kbit`. Errors: what is wrong and
    /// what would be right.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "latency" => self.latency = duration(text)?,
            "jitter" => self.jitter = duration(text)?,
            "loss" => self.loss = share(text)?,
            "duplicate" => self.duplicate = share(text)?,
            "reorder" => self.reorder = share(text)?,
            "bandwidth" => self.bandwidth = bits(text)?,
            "buffer" => self.buffer = text.parse().map_err(|_| format!("{text:?} is no number of bytes"))?,
            "congestion" => self.congestion = text.parse().map_err(|_| format!("{text:?} is neither true nor false"))?,
            _ => return Err(format!("{name:?} is none of latency, jitter, loss, duplicate, reorder, bandwidth, buffer, congestion")),
        }
        Ok(())
    }
}

/// `150ms`, `10s`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: 150ms, 10s or 2m, please");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(60 * number)),
        _ => Err(wrong()),
    }
}

/// `5%`, `0.1%`.
fn share(text: &str) -> Result<u64, String> {
    let percent = text.strip_suffix('%').and_then(|number| f64::from_str(number).ok()).filter(|percent| (0.0..=100.0).contains(percent));
    let percent = percent.ok_or_else(|| format!("{text:?} is no share: 0% to 100%, please"))?;
    Ok((percent * MILLION as f64 / 100.0).round() as u64)
}

/// `64kbit`, `1mbit`, `0`: without bound.
fn bits(text: &str) -> Result<Option<u64>, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "bit" => 1,
        "kbit" => 1_000,
        "mbit" => MILLION,
        _ => return Err(format!("{text:?} is no bandwidth: 64kbit, 1mbit or 0 for no bound, please")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} does not begin with a number"))?;
    Ok(Some(number * factor).filter(|bits| *bits > 0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn written_as_people_write_it() {
        let mut weather = Weather::default();
        for (name, text) in [("latency", "150ms"), ("jitter", "2s"), ("loss", "5%"), ("reorder", "0.1%"), ("bandwidth", "64kbit")] {
            weather.set(name, text).unwrap();
        }
        let expected = Weather {
            latency: Duration::from_millis(150),
            jitter: Duration::from_secs(2),
            loss: 50_000,
            reorder: 1_000,
            bandwidth: Some(64_000),
            ..Weather::default()
        };
        assert_eq!(weather, expected);
        weather.set("bandwidth", "0").unwrap();
        assert_eq!(weather.bandwidth, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut weather = Weather::default();
        for (name, text) in
            [("latency", "150"), ("latency", "ms"), ("loss", "5"), ("loss", "101%"), ("bandwidth", "x"), ("congestion", "1"), ("wind", "1")]
        {
            assert!(!weather.set(name, text).unwrap_err().is_empty(), "{name} {text}");
        }
        assert_eq!(weather, Weather::default());
    }
}
