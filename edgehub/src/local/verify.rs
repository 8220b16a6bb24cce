//! Somebody wants to know whether what is here is what the cloud has.

use std::collections::BTreeMap;
use std::time::Duration;

use api::problem::Problem;
use api::shapes::{LinkState, Repaired, Time, Verified};
use metamanager::{Checked, Reader, Status};
use proto::digest::RangeSet;
use proto::frame::Share;
use proto::names::CollectionName;
use tokio::time::Instant;

use super::{LocalHub, shape};
use crate::link::News;

/// How long an answer waits for comparisons and repairs: below the minute that the command line waits.
const WAIT: Duration = Duration::from_secs(50);
/// How often the link is looked at meanwhile: it may break.
const LOOK: Duration = Duration::from_millis(500);

impl LocalHub {
    pub(super) async fn verify_now(&self, collection: Option<CollectionName>) -> Result<Verified, Problem> {
        self.node()?;
        let status = self.store.read(Reader::status).map_err(shape::read_problem)?;
        let known = |name: &CollectionName| status.grants.iter().any(|grant| grant.grant.share.collection == *name);
        if let Some(name) = collection.as_ref().filter(|name| !known(name)) {
            return Err(Problem::no_collection(name.as_str()));
        }
        if !status.is_selected() {
            return Ok(answer(None, &status, "no collection selects this node: there is nothing to compare".into()));
        }
        if self.board.view().state != LinkState::Online {
            return self.check_alone(&status).await;
        }
        self.compare(collection.as_ref(), &status).await
    }

    /// Without the link only the rows themselves can be looked at.
    async fn check_alone(&self, status: &Status) -> Result<Verified, Problem> {
        let store = self.store.clone();
        let checked = tokio::task::spawn_blocking(move || store.check()).await.map_err(|error| Problem::internal(error.to_string()))?;
        let checked = checked.map_err(|error| Problem::internal(error.to_string()))?;
        let detail = match &checked {
            None => "the records are being read already; ask again in a while".to_owned(),
            Some(Checked { damaged: 0, records, .. }) => {
                format!("the link is down: all {records} records here are as they were stored; comparing with the cloud waits for the link")
            }
            Some(Checked { damaged, records, .. }) => format!(
                "the link is down: {damaged} of {records} records here are not as they were stored; they are repaired when the link is up"
            ),
        };
        Ok(answer(checked.as_ref(), status, detail))
    }

    async fn compare(&self, collection: Option<&CollectionName>, status: &Status) -> Result<Verified, Problem> {
        let asked_ms = self.clock.now().mono_ms;
        let owe = self.store.run(move |store, _| store.owe_check(asked_ms));
        owe.ok_or_else(|| Problem::internal("the database is closed"))?;
        let mut answers = self.verification.ask(asked_ms);
        let deadline = Instant::now() + WAIT;
        let why = loop {
            let news = answers.borrow_and_update().clone();
            if let Some(verified) = self.agreed(&news, asked_ms, collection)? {
                return Ok(verified);
            }
            if self.volume.used_up().is_some() {
                break "the daily limit of the link is reached; the comparison goes on at midnight (UTC), or with a higher daily_limit";
            }
            if news.unable {
                break "the hub is older than this node and cannot compare";
            }
            if self.board.view().state != LinkState::Online {
                break "the link went down; the comparison goes on when it is up again";
            }
            if Instant::now() >= deadline {
                break "not done yet: what differs is still being read again; ask again in a while";
            }
            let _news = tokio::time::timeout(LOOK.min(deadline - Instant::now()), answers.changed()).await;
        };
        let news = answers.borrow().clone();
        let check = news.check.as_ref().filter(|check| check.begun_ms >= asked_ms);
        let compared = news.compared.as_ref().filter(|(at_ms, _)| *at_ms >= asked_ms);
        Ok(Verified {
            agreed: compared.map(|_| false),
            repaired: repaired(&news.repairs, collection),
            ..answer(check, status, why.to_owned())
        })
    }

    /// The answer, once every record was read since somebody asked, and the newest comparison since then found no difference.
    fn agreed(&self, news: &News, asked_ms: u64, collection: Option<&CollectionName>) -> Result<Option<Verified>, Problem> {
        let Some(check) = news.check.as_ref().filter(|check| check.begun_ms >= asked_ms) else { return Ok(None) };
        let Some((_, compared)) = news.compared.as_ref().filter(|(at_ms, _)| *at_ms >= check.begun_ms) else { return Ok(None) };
        let concerns = |share: &Share| collection.is_none_or(|name| share.collection == *name);
        if compared.differing.iter().any(|sums| concerns(&sums.share)) {
            return Ok(None);
        }
        let status = self.store.read(Reader::status).map_err(shape::read_problem)?;
        // A repair that is open is no agreement, whatever the rest says.
        if status.grants.iter().any(|grant| concerns(&grant.grant.share) && !grant.done) {
            return Ok(None);
        }
        let repaired = repaired(&news.repairs, collection);
        let detail = match repaired.len() {
            0 => "what is here is what the cloud has".to_owned(),
            _ => "what differed was read again; now what is here is what the cloud has".to_owned(),
        };
        let revision = Some(compared.revision.0);
        Ok(Some(Verified { agreed: Some(true), revision, repaired, ..answer(Some(check), &status, detail) }))
    }
}

fn answer(check: Option<&Checked>, status: &Status, detail: String) -> Verified {
    Verified {
        agreed: None,
        revision: status.cursor.as_ref().map(|cursor| cursor.position.revision.0),
        records: check.map(|check| check.records),
        damaged: check.map(|check| check.damaged),
        repaired: Vec::new(),
        verified_at: status.verified_ms.map(Time),
        detail,
    }
}

/// How many ranges of each share were read again, of 256; one that was read twice counts once.
fn repaired(repairs: &[(Share, RangeSet)], collection: Option<&CollectionName>) -> Vec<Repaired> {
    let mut shares: BTreeMap<&Share, [u8; 32]> = BTreeMap::new();
    for (share, ranges) in repairs.iter().filter(|(share, _)| collection.is_none_or(|name| share.collection == *name)) {
        let all = shares.entry(share).or_default();
        all.iter_mut().zip(ranges.to_bytes()).for_each(|(all, own)| *all |= own);
    }
    let shape = |(share, ranges): (&Share, [u8; 32])| Repaired {
        collection: share.collection.to_string(),
        partition: share.partition.clone(),
        ranges: ranges.iter().map(|byte| byte.count_ones()).sum(),
    };
    shares.into_iter().map(shape).collect()
}
