//! All mistakes of a file at once, each by its number.
//!
//! `a < b` becomes `(match crate::mutant::at(17) { 17 => ((a) <= (b)), 18 => ((a) == (b)), _ => (a < b) })`, a body begins with
//! `match crate::mutant::at(19) { 19 => return (true), _ => {} }`, an arm gets the condition that it was not left out. So one
//! program, built once, makes any one of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::listed::{Genre, Mutant};

/// Under which number a mistake is known to the program; zero is none.
pub type Number = u32;

/// A place where a number decides.
struct Site {
    around: Range<usize>,
    before: String,
    after: &'static str,
    numbers: Vec<Number>,
    /// Where each one's text is in `before`.
    alternatives: Vec<(Number, Range<usize>)>,
}

/// A file with its mistakes in it.
#[derive(Default)]
pub struct Rewritten {
    /// All of it.
    pub text: String,
    /// Where what a number stands for is.
    pub alternatives: Vec<(Number, Range<usize>)>,
    /// Where the choice among some numbers is, inner ones later.
    pub sites: Vec<(Vec<Number>, Range<usize>)>,
    /// What stands in the condition of an `if let`, and compiles under no other operator.
    pub in_let_chains: Vec<Number>,
    /// What no place was found for.
    pub left_out: Vec<Number>,
}

/// Puts mistakes into a file.
pub fn rewrite(text: &str, mutants: &[(Number, &Mutant)]) -> Result<Rewritten> {
    let parsed = syn::parse_file(text).context("parsing")?;
    let mut waiting = BTreeMap::<usize, Vec<(Number, &Mutant)>>::new();
    for (number, mutant) in mutants {
        waiting.entry(mutant.span.bytes(text).start).or_default().push((*number, mutant));
    }
    let mut finder = Finder { text, waiting, sites: Vec::new(), in_let_chains: Vec::new() };
    finder.bodies();
    finder.visit_file(&parsed);
    let Finder { waiting, sites, in_let_chains, .. } = finder;
    let left_out = waiting.into_values().flatten().map(|(number, _)| number).collect();
    Ok(Rewritten { in_let_chains, left_out, ..written(text, sites) })
}

struct Finder<'a> {
    text: &'a str,
    waiting: BTreeMap<usize, Vec<(Number, &'a Mutant)>>,
    sites: Vec<Site>,
    in_let_chains: Vec<Number>,
}

impl Finder<'_> {
    /// Those of a genre that begin here.
    fn take(&mut self, at: usize, genre: Genre) -> Vec<(Number, String)> {
        let Some(here) = self.waiting.get_mut(&at) else { return Vec::new() };
        let taken: Vec<_> = here.extract_if(.., |(_, mutant)| mutant.genre == genre && !mutant.is_of_some_type()).collect();
        taken.into_iter().map(|(number, mutant)| (number, mutant.replacement.clone())).collect()
    }

    fn text(&self, node: &impl Spanned) -> &str {
        &self.text[node.span().byte_range()]
    }

    /// `around` becomes one of these, by number.
    fn choose(&mut self, around: Range<usize>, begin: &str, choices: Vec<(Number, String)>) {
        let Some((first, _)) = choices.first() else { return };
        let mut site = Site {
            around,
            before: format!("{begin}(match crate::mutant::at({first}) {{ "),
            after: ")})",
            numbers: Vec::new(),
            alternatives: Vec::new(),
        };
        for (number, choice) in choices {
            site.add(number, "", &choice, ", ");
        }
        site.before += "_ => (";
        self.sites.push(site);
    }

    /// What a whole function returns: before its first statement.
    fn bodies(&mut self) {
        for at in self.waiting.keys().copied().collect::<Vec<_>>() {
            let choices = self.take(at, Genre::FnValue);
            let Some((first, _)) = choices.first() else { continue };
            let before = format!("match crate::mutant::at({first}) {{ ");
            let mut site = Site { around: at..at, before, after: "", numbers: Vec::new(), alternatives: Vec::new() };
            for (number, value) in choices {
                let value = value.replace("vec![", "crate::mutant::vec![").replace("::std::", "crate::mutant::std::");
                site.add(number, "return ", &value, ", ");
            }
            site.before += "_ => {} } ";
            self.sites.push(site);
        }
    }
}

impl Site {
    fn add(&mut self, number: Number, before: &str, choice: &str, after: &str) {
        let _ = write!(self.before, "{number} => {before}(");
        let begin = self.before.len();
        self.before += choice;
        self.alternatives.push((number, begin..self.before.len()));
        self.numbers.push(number);
        self.before += ")";
        self.before += after;
    }
}

/// `let` binds in the condition around it, and nowhere else.
fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(both) => binds(&both.left) || binds(&both.right),
        _ => false,
    }
}

impl<'a> Visit<'a> for Finder<'_> {
    fn visit_expr_binary(&mut self, node: &'a syn::ExprBinary) {
        let found = self.take(node.op.span().byte_range().start, Genre::BinaryOperator);
        if binds(&node.left) || binds(&node.right) {
            self.in_let_chains.extend(found.into_iter().map(|(number, _)| number));
        } else {
            let (left, right) = (self.text(&node.left), self.text(&node.right));
            let choices = found.into_iter().map(|(number, operator)| (number, format!("({left}) {operator} ({right})"))).collect();
            self.choose(node.span().byte_range(), "", choices);
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'a syn::ExprUnary) {
        let found = self.take(node.op.span().byte_range().start, Genre::UnaryOperator);
        let inner = self.text(&node.expr).to_owned();
        self.choose(node.span().byte_range(), "", found.into_iter().map(|(number, _)| (number, inner.clone())).collect());
        visit::visit_expr_unary(self, node);
    }

    /// Each arm alone may be left out where others take what it took; with conditions on all of them the compiler cannot see that.
    fn visit_expr_match(&mut self, node: &'a syn::ExprMatch) {
        let begin = |arm: &syn::Arm| arm.span().byte_range().start;
        let is_arm = |at: usize| self.waiting.get(&at).is_some_and(|here| here.iter().any(|(_, mutant)| mutant.genre == Genre::MatchArm));
        if let Some(last) = node.arms.last().filter(|_| node.arms.iter().any(|arm| is_arm(begin(arm)))) {
            let at = last.span().byte_range().end;
            let comma = if last.comma.is_none() { "," } else { "" };
            let before = format!("{comma} _ => core::unreachable!(\"its arm is left out\")");
            self.sites.push(Site { around: at..at, before, after: "", numbers: Vec::new(), alternatives: Vec::new() });
        }
        visit::visit_expr_match(self, node);
    }

    fn visit_arm(&mut self, node: &'a syn::Arm) {
        let guard = node.guard.as_ref().map(|(_, guard)| guard);
        for (number, _) in self.take(node.span().byte_range().start, Genre::MatchArm) {
            let (around, before, after) = match guard {
                Some(guard) if binds(guard) => {
                    let at = guard.span().byte_range().start;
                    (at..at, format!("crate::mutant::at({number}) != {number} && "), "")
                }
                Some(guard) => (guard.span().byte_range(), format!("crate::mutant::at({number}) != {number} && ("), ")"),
                None => {
                    let at = node.pat.span().byte_range().end;
                    (at..at, format!(" if crate::mutant::at({number}) != {number} "), "")
                }
            };
            self.sites.push(Site { around, before, after, numbers: vec![number], alternatives: Vec::new() });
        }
        if let Some(guard) = guard.filter(|guard| !binds(guard)) {
            let around = guard.span().byte_range();
            let found = self.take(around.start, Genre::MatchArmGuard);
            self.choose(around, "", found);
        }
        visit::visit_arm(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'a syn::ExprStruct) {
        if let Some(rest) = &node.rest {
            let rest = self.text(rest).to_owned();
            for field in &node.fields {
                let name = self.text(&field.member).to_owned();
                let found = self.take(field.span().byte_range().start, Genre::StructField);
                let choices = found.into_iter().map(|(number, _)| (number, format!("({rest}).{name}"))).collect();
                let begin = if field.colon_token.is_some() { String::new() } else { format!("{name}: ") };
                self.choose(field.expr.span().byte_range(), &begin, choices);
            }
        }
        visit::visit_expr_struct(self, node);
    }
}

/// The file with what decides around each site.
fn written(text: &str, mut sites: Vec<Site>) -> Rewritten {
    sites.sort_by_key(|site| (site.around.start, !site.around.is_empty(), usize::MAX - site.around.end));
    let mut new = Rewritten::default();
    let (mut open, mut done) = (Vec::<usize>::new(), 0);
    let close = |new: &mut Rewritten, done: &mut usize, at: usize| {
        let Site { around, after, .. } = &sites[at];
        new.text += &text[*done..around.end];
        new.text += after;
        *done = around.end;
        new.sites[at].1.end = new.text.len();
    };
    for (at, site) in sites.iter().enumerate() {
        while let Some(inner) = open.pop_if(|inner| sites[*inner].around.end <= site.around.start) {
            close(&mut new, &mut done, inner);
        }
        new.text += &text[done..site.around.start];
        done = site.around.start;
        let begin = new.text.len();
        new.text += &site.before;
        new.alternatives.extend(site.alternatives.iter().map(|(number, range)| (*number, begin + range.start..begin + range.end)));
        new.sites.push((site.numbers.clone(), begin..new.text.len()));
        if !site.around.is_empty() {
            open.push(at);
        }
    }
    while let Some(inner) = open.pop() {
        close(&mut new, &mut done, inner);
    }
    new.text += &text[done..];
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str =
        "fn low(a: i64, b: Option<i64>) -> bool {\n    match b {\n        Some(b) if a < b => !(a == b),\n        _ => false,\n    }\n}\n";

    /// As cargo-mutants writes one.
    fn mutant(place: [usize; 2], genre: &str, replacement: &str) -> Result<Mutant> {
        let at = serde_json::json!({ "line": place[0], "column": place[1] });
        let span = serde_json::json!({ "start": at, "end": at });
        let function = serde_json::json!({ "function_name": "low", "return_type": "-> bool" });
        let whole = serde_json::json!({ "package": "", "file": "", "name": "", "function": function, "span": span,
            "genre": genre, "replacement": replacement });
        Ok(serde_json::from_value(whole)?)
    }

    #[test]
    fn each_kind_is_chosen_by_its_number() -> Result<()> {
        let mutants = [
            mutant([2, 5], "FnValue", "true")?,
            mutant([3, 9], "MatchArm", "")?,
            mutant([3, 20], "MatchArmGuard", "true")?,
            mutant([3, 22], "BinaryOperator", "<=")?,
            mutant([3, 29], "UnaryOperator", "")?,
        ];
        let new = rewrite(CODE, &(1..).zip(&mutants).collect::<Vec<_>>())?;
        let expected = "fn low(a: i64, b: Option<i64>) -> bool {\n    match crate::mutant::at(1) { 1 => return (true), _ => {} } match b {\n        \
            Some(b) if crate::mutant::at(2) != 2 && ((match crate::mutant::at(3) { 3 => (true), _ => ((match crate::mutant::at(4) \
            { 4 => ((a) <= (b)), _ => (a < b)}))})) => (match crate::mutant::at(5) { 5 => ((a == b)), _ => (!(a == b))}),\n        _ => false, \
            _ => core::unreachable!(\"its arm is left out\")\n    }\n}\n";
        assert_eq!(new.text, expected);
        assert!(new.left_out.is_empty() && new.in_let_chains.is_empty());
        assert!(new.alternatives.iter().all(|(_, range)| ["true", "(a) <= (b)", "(a == b)"].contains(&&new.text[range.clone()])));
        Ok(())
    }
}
