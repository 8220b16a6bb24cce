//! The rule by which repeated lines are counted; pure, with the time as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::Level;

use super::line::Line;

/// A line that goes on repeating is shown again, with its count, this often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Warnings that are remembered at once. While the link is down each of the hub's addresses has one, in turn.
const REMEMBERED: usize = 16;

/// Decides which lines are written. A line equal to the one before it is counted, and so is a warning equal to one of those
/// before it, as long as nothing but warnings came between; the count is written when a new line comes, when
/// [`INTERVAL`] has passed, or at the end.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The line that was written last and, where that is a warning, the warnings before it; oldest first.
    recent: VecDeque<Recent>,
}

#[derive(Debug)]
struct Recent {
    line: Line,
    /// How often it came since it was written.
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
        if let Some(known) = self.recent.iter_mut().find(|known| known.line.says_the_same(&line)) {
            known.repeats += 1;
            known.since.get_or_insert(now);
            known.line = line;
            return self.tick(now);
        }
        let mut written = self.flush();
        let keep = is_warning(&line);
        self.recent.retain(|known| keep && is_warning(&known.line));
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { line: line.clone(), repeats: 0, since: None });
        written.push(Written { line, repeated: None });
        written
    }

    /// The counts that are due.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Written> {
        let due = |known: &&mut Recent| known.due().is_some_and(|due| now >= due);
        self.recent.iter_mut().filter(due).filter_map(Recent::count).collect()
    }

    /// When [`Fold::tick`] has something to do; `None` while nothing is counted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.recent.iter().filter_map(Recent::due).min()
    }

    /// The counts now.
    pub(super) fn flush(&mut self) -> Vec<Written> {
        self.recent.iter_mut().filter_map(Recent::count).collect()
    }
}

impl Recent {
    fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + INTERVAL)
    }

    fn count(&mut self) -> Option<Written> {
        self.since = None;
        match std::mem::take(&mut self.repeats) {
            0 => None,
            repeats => Some(Written { line: self.line.clone(), repeated: Some(repeats) }),
        }
    }
}

fn is_warning(line: &Line) -> bool {
    line.level <= Level::WARN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::sample(text)
    }

    fn warning(text: &str) -> Line {
        Line { level: Level::WARN, ..line(text) }
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
        assert_eq!(fold.line(now, warning("a")).len(), 1);
    }

    /// A link that is down goes through the hub's addresses, each with a warning of its own.
    #[test]
    fn warnings_in_turn_are_counted_too() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        for name in ["a", "b", "c"] {
            assert_eq!(fold.line(now, warning(name)).len(), 1);
        }
        for name in ["a", "b", "c", "a"] {
            assert_eq!(shown(fold.line(now, warning(name))), []);
        }
        let counts = [("a".into(), Some(2)), ("b".into(), Some(1)), ("c".into(), Some(1))];
        assert_eq!(shown(fold.line(now, line("up"))), [&counts[..], &[("up".into(), None)]].concat());
        assert_eq!(fold.line(now, warning("a")).len(), 1, "what was mended and breaks again is news");
        for number in 0..REMEMBERED {
            fold.line(now, warning(&number.to_string()));
        }
        assert_eq!(fold.line(now, warning("a")).len(), 1, "no more are remembered than that");
    }
}
