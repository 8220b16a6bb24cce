//! The rule by which repeated lines are counted; pure, with the time as an argument.

use std::time::{Duration, Instant};

use super::line::Line;

/// A line that goes on repeating is shown again, with its count, this often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Decides which lines are written. A line equal to the one before it is counted; the count is written when another
/// line comes, when [`INTERVAL`] has passed, or at the end.
#[derive(Debug, Default)]
pub(super) struct Fold {
    last: Option<Line>,
    /// How often `last` came since it was written.
    repeats: u64,
    /// When the first of these repeats came.
    since: Option<Instant>,
}

/// A line to write, and how many equal ones it stands for when it is not the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) line: Line,
    pub(super) repeated: Option<u64>,
}

impl Fold {
    /// Takes a line; the answer is what is to be written now, in order.
    pub(super) fn line(&mut self, now: Instant, line: Line) -> Vec<Written> {
        if self.last.as_ref().is_some_and(|last| last.says_the_same(&line)) {
            self.repeats += 1;
            self.since.get_or_insert(now);
            self.last = Some(line);
            return self.tick(now).into_iter().collect();
        }
        let counted = self.flush();
        self.last = Some(line.clone());
        counted.into_iter().chain([Written { line, repeated: None }]).collect()
    }

    /// The count, when it is due.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Written> {
        if self.due().is_some_and(|due| now >= due) { self.flush() } else { None }
    }

    /// When [`Fold::tick`] has something to do; `None` while nothing is counted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + INTERVAL)
    }

    /// The count now.
    pub(super) fn flush(&mut self) -> Option<Written> {
        self.since = None;
        match std::mem::take(&mut self.repeats) {
            0 => None,
            repeats => Some(Written { line: self.last.clone()?, repeated: Some(repeats) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::sample(text)
    }

    fn shown(written: impl IntoIterator<Item = Written>) -> Vec<(String, Option<u64>)> {
        written.into_iter().map(|written| (written.line.message, written.repeated)).collect()
    }

    #[test]
    fn different_lines_are_all_written() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        assert_eq!(shown(fold.line(now, line("a"))), [("a".into(), None)]);
        assert_eq!(shown(fold.line(now, line("b"))), [("b".into(), None)]);
        assert_eq!(fold.due(), None);
    }

    #[test]
    fn equal_lines_are_counted_until_another_comes() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        fold.line(now, line("a"));
        assert_eq!(shown(fold.line(now, line("a"))), []);
        assert_eq!(shown(fold.line(now, line("a"))), []);
        assert_eq!(shown(fold.line(now, line("b"))), [("a".into(), Some(2)), ("b".into(), None)]);
        assert_eq!(shown(fold.flush()), []);
    }

    #[test]
    fn the_count_is_written_after_the_interval_and_starts_again() {
        let (mut fold, start) = (Fold::default(), Instant::now());
        fold.line(start, line("a"));
        fold.line(start + Duration::from_secs(5), line("a"));
        let due = start + Duration::from_secs(65);
        assert_eq!(fold.due(), Some(due));
        assert_eq!(shown(fold.tick(due - Duration::from_millis(1))), []);
        assert_eq!(shown(fold.tick(due)), [("a".into(), Some(1))]);
        assert_eq!(fold.due(), None);
        assert_eq!(shown(fold.line(due, line("a"))), []);
        assert_eq!(shown(fold.flush()), [("a".into(), Some(1))]);
    }

    #[test]
    fn another_level_is_another_line() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        fold.line(now, line("a"));
        let warning = Line { level: tracing::Level::WARN, ..line("a") };
        assert_eq!(fold.line(now, warning).len(), 1);
    }
}
