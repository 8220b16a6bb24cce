//! Figures, what they should be, and how they are printed.

use std::time::Duration;

/// What is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things a second.
    PerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Mebibytes.
    MiB,
    /// Kibibytes.
    KiB,
    /// Hundredths.
    Percent,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
}

/// One measured figure with its budget and aim (design §10).
#[derive(Debug, Clone)]
pub struct Figure {
    what: String,
    value: f64,
    unit: Unit,
    budget: Option<Bound>,
    aim: Option<Bound>,
    detail: String,
}

impl Bound {
    /// How many times better than the bound; below 1 it is missed.
    fn ratio(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(bound) => value / bound,
            Self::AtMost(bound) => bound / value.max(f64::MIN_POSITIVE),
        }
    }

    fn text(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {}", unit.text(bound)),
            Self::AtMost(bound) => format!("≤ {}", unit.text(bound)),
        }
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        let number = number(value);
        match self {
            Self::PerSecond => format!("{number}/s"),
            Self::Milliseconds => format!("{number} ms"),
            Self::Seconds => format!("{number} s"),
            Self::MiB => format!("{number} MiB"),
            Self::KiB => format!("{number} KiB"),
            Self::Percent => format!("{number} %"),
            Self::Bytes => format!("{number} bytes"),
            Self::BytesPerSecond => format!("{number} bytes/s"),
        }
    }
}

impl Figure {
    /// A figure that nothing is demanded of.
    pub fn new(what: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { what: what.into(), value, unit, budget: None, aim: None, detail: String::new() }
    }

    /// With what it must be.
    pub fn budget(self, bound: Bound) -> Self {
        Self { budget: Some(bound), ..self }
    }

    /// With where the best would be.
    pub fn aim(self, bound: Bound) -> Self {
        Self { aim: Some(bound), ..self }
    }

    /// With how it was taken, or how far it spread.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Whether it misses its budget.
    pub fn is_missed(&self) -> bool {
        self.budget.is_some_and(|budget| budget.ratio(self.value) < 1.0)
    }

    /// The columns of the table.
    fn cells(&self) -> [String; 6] {
        let bound = |bound: Option<Bound>| bound.map_or_else(String::new, |bound| bound.text(self.unit));
        [self.what.clone(), self.unit.text(self.value), bound(self.budget), bound(self.aim), self.verdict(), self.detail.clone()]
    }

    fn verdict(&self) -> String {
        let judge = |bound: Bound, held: &str, missed: &str| {
            let ratio = bound.ratio(self.value);
            format!("{} {}×", if ratio < 1.0 { missed } else { held }, number(ratio))
        };
        let budget = self.budget.map(|bound| judge(bound, "held", "MISSED"));
        let aim = self.aim.map(|bound| judge(bound, "aim", "of aim"));
        [budget, aim].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [what, value, budget, _, verdict, detail] = self.cells();
        write!(f, "  {what}: {value}")?;
        for more in [budget, verdict, detail].iter().filter(|more| !more.is_empty()) {
            write!(f, " · {more}")?;
        }
        Ok(())
    }
}

/// All figures as a Markdown table.
pub fn table(figures: &[Figure]) -> String {
    let mut text = "| what | measured | budget | aim | ratio | how |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        text.push_str(&format!("| {} |\n", figure.cells().join(" | ")));
    }
    text
}

/// Three figures are enough for anyone; thousands are set apart.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
            groups.join(",")
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => short(&format!("{value:.1}")),
        _ => short(&format!("{value:.2}")),
    }
}

/// Without zeros that say nothing.
fn short(fraction: &str) -> String {
    fraction.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Several runs of the same.
#[derive(Debug, Clone)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// Does it `times` times.
    pub fn of(times: usize, mut run: impl FnMut(usize) -> f64) -> Self {
        let mut values: Vec<f64> = (0..times.max(1)).map(&mut run).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The slowest and the fastest.
    pub fn spread(&self) -> String {
        format!("{} runs, {} to {}", self.0.len(), number(self.0[0]), number(self.0[self.0.len() - 1]))
    }
}

/// How long each of many took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one below which `share` of all are, milliseconds; 0 of none.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
        let place = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        sorted.get(place).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }
}

/// `count` things in `span`, a second.
#[allow(clippy::cast_precision_loss)] // figures for people
pub fn rate(count: usize, span: Duration) -> f64 {
    count as f64 / span.as_secs_f64()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_says_how_far_off_a_figure_is() {
        let slow = Figure::new("drain", 4_000.0, Unit::PerSecond).budget(Bound::AtLeast(5_000.0)).aim(Bound::AtLeast(10_000.0));
        assert!(slow.is_missed());
        assert_eq!(slow.to_string(), "  drain: 4,000/s · ≥ 5,000/s · MISSED 0.8×, of aim 0.4×");
        let small = Figure::new("memory", 8.0, Unit::MiB).budget(Bound::AtMost(12.0)).detail("idle");
        assert!(!small.is_missed());
        assert_eq!(table(&[small]).lines().last().unwrap(), "| memory | 8 MiB | ≤ 12 MiB |  | held 1.5× | idle |");
    }

    #[test]
    fn numbers_are_short() {
        let texts: Vec<_> = [1_234_567.8, 999.6, 12.34, 1.5, 0.0].into_iter().map(number).collect();
        assert_eq!(texts, ["1,234,568", "1000", "12.3", "1.5", "0"]);
    }

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|ms| latencies.add(Duration::from_millis(ms)));
        assert_eq!([0.5, 0.99, 1.0].map(|share| latencies.percentile(share)), [50.0, 99.0, 100.0]);
        assert_eq!(Latencies::default().percentile(0.5), 0.0);
    }
}
