//! What the running edgehub says of its link; or that none runs.

use std::path::{Path, PathBuf};

use api::client::{Client, ClientError, Request};
use api::shapes::{EdgeStatus, LinkState, SyncState};
use tokio::time::timeout;

use super::{Check, PATIENCE};

const NAME: &str = "link";

/// What its socket answers.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) data: PathBuf,
    pub(super) answer: Answer,
}

/// The status, or why there is none.
#[derive(Debug)]
pub(super) enum Answer {
    Status(Box<EdgeStatus>),
    NotRunning,
    Broken(String),
}

impl Facts {
    pub(super) async fn ask(data: &Path) -> Self {
        let client = Client::socket(data);
        let asked = async { client.send(Request::get(&["v1", "status"])).await?.json::<EdgeStatus>().await };
        let answer = match timeout(PATIENCE, asked).await {
            Ok(Ok(status)) => Answer::Status(Box::new(status)),
            Ok(Err(ClientError::NotRunning { .. })) => Answer::NotRunning,
            Ok(Err(error)) => Answer::Broken(error.to_string()),
            Err(_) => Answer::Broken(format!("edgehub on {} does not answer within {} s", data.display(), PATIENCE.as_secs())),
        };
        Self { data: data.to_owned(), answer }
    }

    /// The cloud's time less the system's, as the running node knows it.
    pub(super) fn offset_ms(&self) -> Option<i64> {
        match &self.answer {
            Answer::Status(status) => status.clock.offset_ms,
            _ => None,
        }
    }
}

pub(super) fn judge(facts: &Facts, joined: bool) -> Check {
    let data = facts.data.display();
    match &facts.answer {
        Answer::NotRunning => {
            let advice = match joined {
                true => format!("start it: systemctl start edgehub, or edgehub run --data {data}"),
                false => format!("after the join start it: systemctl start edgehub, or edgehub run --data {data}"),
            };
            Check::warning(NAME, format!("no edgehub runs on {data}"), advice)
        }
        Answer::Broken(reason) => Check::failed(NAME, reason.clone(), "run this as the user that edgehub runs as, or restart edgehub"),
        Answer::Status(status) => {
            let mut findings = vec![state(status)];
            findings.extend(status.warnings.iter().map(|warning| Check::warning(NAME, warning.clone(), warned(warning))));
            Check::worst(NAME, findings)
        }
    }
}

fn state(status: &EdgeStatus) -> Check {
    let reason = status.sync.reason.as_deref().unwrap_or_default();
    if status.link.state != LinkState::Online {
        let why = status.link.last_error.as_deref().unwrap_or("it has not been up since the start");
        return Check::failed(NAME, format!("edgehub runs, its link is down: {why}"), refused(reason));
    }
    let over = status.link.transport.as_deref().unwrap_or("?");
    let at = status.sync.cursor.map(|cursor| format!(" at revision {cursor}")).unwrap_or_default();
    match status.sync.state {
        SyncState::InSync => Check::ok(NAME, format!("online over {over}, in sync{at}")),
        SyncState::Syncing | SyncState::Offline => Check::ok(NAME, format!("online over {over}, records are arriving ({reason})")),
        SyncState::Blocked => {
            let advice = match reason {
                "paused-disk-full" => "see the disk check",
                "paused-daily-limit" => {
                    "records go on at midnight (UTC); to have them sooner raise daily_limit under [link] and restart edgehub"
                }
                _ => "install the newest edgehub; see: edgehub status",
            };
            Check::failed(NAME, format!("online over {over}, but it does not get further: {reason}"), advice)
        }
    }
}

/// What to do about the reason that `GET /v1/status` gives for being offline.
fn refused(reason: &str) -> &'static str {
    match reason {
        "revoked" => "the operator revoked this node: join it again with a new token",
        "refused-copied-database" => {
            "another machine runs with a copy of this card, or this is an old image: run one of the two only, and start over on the other \
             with edgehub reset --yes"
        }
        "refused-version" => "hub and node have no protocol version in common: update the older of the two",
        _ if reason.starts_with("refused") => "let the operator look: cloudhub node events NAME",
        _ => "see the checks before this one",
    }
}

fn warned(warning: &str) -> &'static str {
    if warning.starts_with("no collection selects") {
        "the operator: cloudhub node label NAME K=V, or the collection's nodes"
    } else {
        "see: edgehub status"
    }
}
