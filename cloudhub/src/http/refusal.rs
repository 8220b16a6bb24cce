//! Refusals of the store as problems: the one place where they meet.

use std::time::Duration;

use api::problem::{Code, Problem};

use crate::engine::Failed;
use crate::store::Refused;

/// How long a client stays away from a busy hub.
const AGAIN: Duration = Duration::from_secs(1);

/// What a client is told.
pub(super) fn problem(failed: Failed, now_ms: u64) -> Problem {
    match failed {
        Failed::Refused(refused) => of_refused(refused, now_ms),
        Failed::Busy => Problem::new(Code::Rate, failed.to_string()).retry_after(AGAIN),
        Failed::DiskFull => Problem::new(Code::DiskFull, format!("{failed}; make room on the hub's machine")),
        Failed::Unavailable => Problem::new(Code::Unavailable, format!("{failed}; ask again in a moment")).retry_after(AGAIN),
        Failed::BelowFloor(reason) | Failed::Internal(reason) => Problem::internal(reason),
    }
}

fn of_refused(refused: Refused, now_ms: u64) -> Problem {
    match refused {
        // The rules that both sides share have one wording.
        Refused::Build(error) => error.into(),
        Refused::Resolve(error) => error.into(),
        Refused::NoIndex(error) => error.into(),
        Refused::BadLine { line, reason } => of_refused(*reason, now_ms).into_bad_line(line),
        Refused::NameTaken { node, last_seen_ms } => {
            Problem::new(Code::NameTaken, name_taken(node.as_str(), last_seen_ms, now_ms)).field("node")
        }
        Refused::NoCollection(ref name) => Problem::not_found(refused.to_string()).collection(name.as_str()),
        Refused::System(ref name) => Problem::new(Code::ReadOnly, refused.to_string()).collection(name.as_str()),
        Refused::Precondition { ref collection, ref key, .. } => {
            Problem::new(Code::Precondition, refused.to_string()).collection(collection.as_str()).key(key)
        }
        // A bound of the hub, or of the request: the detail names it.
        Refused::Full(detail) | Refused::TooLarge(detail) => Problem::new(Code::TooLarge, detail),
        Refused::CannotChange { ref field, .. } => Problem::bad_request(refused.to_string()).field(field),
        Refused::Unstorable(reason) => Problem::internal(reason),
        other => by_code(&other),
    }
}

/// A refusal whose code is one of the API's own.
fn by_code(refused: &Refused) -> Problem {
    let code = Code::ALL.iter().copied().find(|code| code.as_str() == refused.code());
    let code = code.unwrap_or(match refused.status() {
        400 => Code::BadRequest,
        // `count`, `gone`, `depends`: the record is not what the write stands on.
        _ => Code::Guard,
    });
    let problem = Problem::new(code, refused.to_string());
    match refused.field() {
        Some(field) => problem.field(field),
        None => problem,
    }
}

fn name_taken(node: &str, last_seen_ms: u64, now_ms: u64) -> String {
    let seen = match last_seen_ms {
        0 => "never seen since it joined".to_owned(),
        seen => format!("last seen {}", ago(now_ms.saturating_sub(seen))),
    };
    format!("{node} is taken ({seen}); to replace that machine run on the cloud: cloudhub token create --node {node} --replace")
}

/// A time ago in the one unit that a person would say.
fn ago(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..60 => format!("{seconds} s ago"),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proto::build::BuildError;
    use proto::names::{CollectionName, NodeName};

    use super::*;
    use crate::store::TokenRefused;

    fn told(refused: Refused) -> (Code, u16) {
        let problem = problem(Failed::Refused(refused), 0);
        (problem.code(), problem.code().status().as_u16())
    }

    #[test]
    fn a_taken_name_says_what_to_do() {
        let node = NodeName::parse("lyon").unwrap();
        let refused = Refused::NameTaken { node, last_seen_ms: 1_000_000 };
        let text = problem(Failed::Refused(refused), 1_000_000 + 190_000).detail().to_owned();
        assert_eq!(
            text,
            "lyon is taken (last seen 3 min ago); to replace that machine run on the cloud: cloudhub token create --node lyon --replace"
        );
        assert_eq!([0, 59_000, 61_000, 7_200_000, 400_000_000].map(ago), ["0 s ago", "59 s ago", "1 min ago", "2 h ago", "4 days ago"]);
    }

    #[test]
    fn codes_and_statuses_are_the_public_ones() {
        let name = CollectionName::parse("products").unwrap();
        let rejected = |code: &str| Refused::Rejected { code: code.into(), detail: "x".into(), field: None };
        for (refused, expected) in [
            (Refused::NoCollection(name.clone()), (Code::NotFound, 404)),
            (Refused::System(name), (Code::ReadOnly, 403)),
            (Refused::Build(BuildError::CountNeedsMatch("n".into())), (Code::CountNeedsMatch, 428)),
            (rejected("bound"), (Code::Bound, 409)),
            (rejected("schema"), (Code::Schema, 422)),
            (rejected("gone"), (Code::Guard, 409)),
            (TokenRefused::UsedUp.into(), (Code::Unauthorized, 401)),
            (Refused::Full("many".into()), (Code::TooLarge, 413)),
            (Refused::BadRequest("no".into()), (Code::BadRequest, 400)),
            (Refused::BadLine { line: 17, reason: Box::new(rejected("schema")) }, (Code::BadLine, 400)),
        ] {
            assert_eq!(told(refused.clone()), expected, "{refused}");
        }
        assert_eq!(problem(Failed::DiskFull, 0).code().status().as_u16(), 507);
        assert_eq!(problem(Failed::Busy, 0).code().status().as_u16(), 429);
    }
}
