//! What the checks found, as a table for people and as JSON for programs.

use std::path::Path;

use api::cli::{CliError, Console, Format, OutputArgs, Table};
use api::shapes::Time;
use serde::Serialize;

/// How a check ended, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// There was nothing to look at.
    Skipped,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, one stable word.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; nothing where all is well.
    pub advice: Option<String>,
}

impl Check {
    /// All is well.
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    /// There is nothing to look at.
    pub(super) fn skipped(name: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(name, found) }
    }

    /// It works so far.
    pub(super) fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, advice: Some(advice.into()), ..Self::ok(name, found) }
    }

    /// It does not work.
    pub(super) fn failed(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::warning(name, found, advice) }
    }

    /// One check of several findings: the worst verdict, everything that is not well, each with what to do.
    pub(super) fn worst(name: &'static str, findings: Vec<Self>) -> Self {
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Skipped);
        let told = |finding: &&Self| verdict <= Verdict::Skipped || finding.verdict > Verdict::Skipped;
        let mut found = Vec::new();
        let mut advice: Vec<String> = Vec::new();
        for finding in findings.iter().filter(told) {
            found.push(finding.found.as_str());
            advice.extend(finding.advice.clone().filter(|text| !advice.contains(text)));
        }
        let advice = Some(advice.join("; ")).filter(|text| !text.is_empty());
        Self { name, verdict, found: found.join("; "), advice }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing failed.
    pub ok: bool,
    /// The data folder.
    pub data: String,
    /// The node; null on a machine that has not joined.
    pub node: Option<String>,
    /// The software.
    pub version: &'static str,
    /// When, by the system's clock.
    pub at: Time,
    /// The checks, in the order in which trouble is looked for.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(data: &Path, node: Option<String>, at_ms: u64, checks: Vec<Check>) -> Self {
        let ok = checks.iter().all(|check| check.verdict != Verdict::Failed);
        Self { ok, data: data.display().to_string(), node, version: env!("CARGO_PKG_VERSION"), at: Time(at_ms), checks }
    }

    /// Prints it.
    ///
    /// # Errors
    /// [`CliError::Failed`], exit code 1, when a check failed.
    pub fn show(&self, output: OutputArgs, console: &mut Console<'_>) -> Result<(), CliError> {
        match output.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(self).map_err(|error| CliError::Failed(error.to_string()))?;
                console.line(&text)?;
            }
            Format::Table => console.raw(self.table().as_bytes())?,
        }
        console.flush()?;
        let failed = self.checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
        match failed {
            0 => Ok(()),
            1 => Err(CliError::Failed(format!("1 check failed (data folder {})", self.data))),
            _ => Err(CliError::Failed(format!("{failed} checks failed (data folder {})", self.data))),
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["CHECK", "VERDICT", "FOUND"]);
        for check in &self.checks {
            table.row([check.name.to_owned(), check.verdict.as_str().to_owned(), check.found.clone()]);
        }
        let mut text = table.render();
        let todo: Vec<_> = self.checks.iter().filter_map(|check| Some((check.name, check.advice.as_ref()?))).collect();
        if !todo.is_empty() {
            text.push_str("\nWhat to do:\n");
        }
        for (name, advice) in todo {
            text.push_str(&format!("  {name}: {advice}\n"));
        }
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report() -> Report {
        let checks = vec![Check::ok("clock", "right"), Check::failed("disk", "full", "free some space"), Check::skipped("token", "joined")];
        Report::new(Path::new("/d"), Some("lyon".into()), 0, checks)
    }

    fn shown(format: Format) -> (String, Result<(), CliError>) {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let result = report().show(OutputArgs { format }, &mut Console::new(&mut out, &mut notes, false));
        (String::from_utf8(out).unwrap(), result)
    }

    #[test]
    fn a_table_says_what_to_do_below() {
        let (text, result) = shown(Format::Table);
        let expected = "CHECK  VERDICT  FOUND\nclock  ok       right\ndisk   failed   full\ntoken  skipped  joined\n\nWhat to do:\n  disk: free some space\n";
        assert_eq!(text, expected);
        let error = result.unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (1, "1 check failed (data folder /d)"));
    }

    #[test]
    fn json_has_a_row_a_check() {
        let value: serde_json::Value = serde_json::from_str(&shown(Format::Json).0).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["node"], "lyon");
        assert_eq!(
            value["checks"][1],
            serde_json::json!({"name": "disk", "verdict": "failed", "found": "full", "advice": "free some space"})
        );
        assert_eq!(value["checks"][0]["advice"], serde_json::Value::Null);
    }

    #[test]
    fn the_worst_finding_decides_and_what_is_well_is_left_out() {
        let all = vec![Check::ok("c", "a"), Check::warning("c", "b", "x"), Check::failed("c", "d", "x")];
        assert_eq!(Check::worst("c", all), Check::failed("c", "b; d", "x"));
        assert_eq!(Check::worst("c", vec![Check::ok("c", "a"), Check::ok("c", "b")]), Check::ok("c", "a; b"));
        assert_eq!(Check::worst("c", Vec::new()).verdict, Verdict::Skipped);
    }
}
