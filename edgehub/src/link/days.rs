//! What passed on which day, and whether that was as much as may pass.
//!
//! A day is one of UTC, by the cloud's time: as the session was told it, carried on by the monotonic clock. Nothing passes without a session,
//! so this machine's own clock has no say. The cloud's may be wrong, too, and be set right: therefore the sums of several days are kept. A day
//! that comes again goes on with its own sum, so a clock that jumps to and fro wins nothing; a day that was never seen begins at
//! nothing, so no clock blocks the link for longer than until its own midnight.

use api::shapes::DAY_MS;
use proto::traffic::{Cause, Causes, Traffic};

/// Days that are remembered; the one that was not used for the longest time is forgotten.
const KEPT: usize = 8;

/// The newest days with what passed on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Days {
    limit: Option<u64>,
    /// The present one last.
    kept: Vec<Day>,
    /// The cloud's time, and when that was on the monotonic clock, milliseconds.
    told: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Day {
    /// Since 1970; none: before this node had ever been told the time.
    number: Option<u64>,
    traffic: Traffic,
}

impl Days {
    /// `limit`: bytes of both directions that may pass in a day.
    pub fn new(limit: Option<u64>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// What may pass in a day.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The cloud said its time.
    pub fn told(&mut self, cloud_ms: u64, mono_ms: u64) {
        self.told = Some((cloud_ms, mono_ms));
        self.turn(mono_ms);
    }

    /// Looks which day it is. What was booked before the time was first known belongs to the day that was then found to be.
    pub fn turn(&mut self, mono_ms: u64) {
        let Some((cloud_ms, told_ms)) = self.told else { return };
        let number = Some(cloud_ms.saturating_add(mono_ms.saturating_sub(told_ms)) / DAY_MS);
        if self.kept.last().is_some_and(|day| day.number == number) {
            return;
        }
        let mut day = match self.kept.iter().position(|day| day.number == number) {
            Some(known) => self.kept.remove(known),
            None => Day { number, traffic: Traffic::default() },
        };
        if let Some(unnamed) = self.kept.pop_if(|day| day.number.is_none()) {
            day.traffic = day.traffic.plus(&unnamed.traffic);
        }
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(day);
    }

    /// More has passed.
    pub fn book(&mut self, traffic: &Traffic, mono_ms: u64) {
        self.turn(mono_ms);
        match self.kept.last_mut() {
            Some(day) => day.traffic = day.traffic.plus(traffic),
            None => self.kept.push(Day { number: None, traffic: *traffic }),
        }
    }

    /// The present day, since 1970, and what has passed on it.
    pub fn today(&self) -> (Option<u64>, Traffic) {
        self.kept.last().map_or((None, Traffic::default()), |day| (day.number, day.traffic))
    }

    /// Whether no more should pass today; `besides`: bytes that are not booked yet.
    pub fn is_used_up(&self, besides: u64) -> bool {
        let spent = self.today().1.total().saturating_add(besides);
        self.limit.is_some_and(|limit| spent >= limit)
    }

    /// As it is kept in a file: a line a day, its number and the bytes by cause, sent and received.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for day in &self.kept {
            let Some(number) = day.number else { continue };
            text.push_str(&number.to_string());
            for causes in [&day.traffic.sent, &day.traffic.received] {
                Cause::ALL.into_iter().for_each(|cause| text.push_str(&format!(" {}", causes.get(cause))));
            }
            text.push('\n');
        }
        text
    }

    /// Takes over what a file holds. `None`: it is not of this kind.
    pub fn with_text(mut self, text: &str) -> Option<Self> {
        for line in text.lines() {
            let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
            let (number, bytes) = numbers.split_first().filter(|(_, bytes)| bytes.len() == 2 * Cause::ALL.len())?;
            let (sent, received) = bytes.split_at(Cause::ALL.len());
            let causes = |bytes: &[u64]| {
                let mut causes = Causes::default();
                Cause::ALL.into_iter().zip(bytes).for_each(|(cause, bytes)| causes.add(cause, *bytes));
                causes
            };
            self.kept.push(Day { number: Some(*number), traffic: Traffic { sent: causes(sent), received: causes(received) } });
        }
        (self.kept.len() <= KEPT).then_some(self)
    }
}

#[cfg(test)]
#[path = "days_tests.rs"]
mod tests;
