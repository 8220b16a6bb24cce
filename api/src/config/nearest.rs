//! "Did you mean": the known name with the smallest edit distance.

/// The candidate nearest to `name`; of equally near ones the first. `None` only without candidates.
///
/// Dotted names are compared whole and by their last part, because a key in the wrong section is as common a mistake
/// as a misspelled one.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| far(name, candidate))
}

fn far(name: &str, candidate: &str) -> usize {
    let whole = distance(name, candidate);
    let last = distance(last_part(name), last_part(candidate)) + 1;
    whole.min(last)
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Edits (insert, remove, replace, swap two neighbours) between two names, case not counted.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut best = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisetn", "listen"), 1);
        assert_eq!(distance("Listen", "listen"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn finds_misspelled_and_misplaced_keys() {
        let known = ["data", "listen.ws", "listen.api", "link.servers", "log.level"];
        assert_eq!(nearest("listen.wss", known), Some("listen.ws"));
        assert_eq!(nearest("servers", known), Some("link.servers"));
        assert_eq!(nearest("log.levle", known), Some("log.level"));
        assert_eq!(nearest("x", []), None);
    }
}
