//! Whether a node holds what it should, asked by a person: its session compares now, and what differs is sent again.

use std::sync::Arc;
use std::time::Duration;

use api::hub::Origin;
use api::problem::{Code, Problem};
use api::shapes::{RepairedPartition, Resync, Time, Verification};
use proto::digest::RANGES;
use proto::names::{CollectionName, NodeName};

use super::nodes::no_node;
use super::{CloudHub, by, unexpected};
use crate::limits::{VERIFY_AGAIN, VERIFY_WAIT};
use crate::peers::{Checked, Difference, Live};
use crate::store::{Answer, Job};

impl CloudHub {
    /// Compares and waits for what comes of it.
    pub(super) async fn verify(
        &self,
        name: &NodeName,
        collection: Option<&CollectionName>,
        origin: &Origin,
    ) -> Result<Verification, Problem> {
        let partitions = self.partitions(name, collection).await?;
        let live = self.connected(name).await?;
        tracing::info!(node = %name, by = by(origin), "a comparison of all records was asked for");
        let Some(checked) = wait(&live).await.map_err(|()| in_progress(name, &live))? else {
            return Err(Problem::new(
                Code::NodeOffline,
                format!("{name} went offline before it had compared; it does so when it comes back"),
            ));
        };
        let verified_ms = live.view().verified_ms;
        Ok(Verification {
            node: name.to_string(),
            collection: collection.map(ToString::to_string),
            agreed: checked.agreed,
            revision: checked.revision.0,
            partitions,
            verified_at: verified_ms.map(Time),
            repaired: checked.differences.iter().filter(|found| is_about(found, collection)).map(repaired).collect(),
        })
    }

    /// How many partitions a node gets, all or those of one collection.
    async fn partitions(&self, name: &NodeName, collection: Option<&CollectionName>) -> Result<u64, Problem> {
        if let Some(collection) = collection {
            self.definition(collection).await?;
        }
        let asked = name.clone();
        let granted = self.read(move |store| store.granted(&asked)).await?.ok_or_else(|| no_node(name))?;
        let count = granted.iter().filter(|share| collection.is_none_or(|collection| share.collection == *collection)).count();
        if count == 0 {
            let what = collection.map_or_else(|| "no collection".to_owned(), |collection| format!("nothing of {collection}"));
            return Err(Problem::not_found(format!("{name} is given {what}; its labels decide that: cloudhub node show {name}")));
        }
        Ok(count as u64)
    }

    async fn connected(&self, name: &NodeName) -> Result<Arc<Live>, Problem> {
        let live = self.registry.presence(name).live.filter(|(_, view)| view.open);
        let Some((live, view)) = live else {
            let node = self.one_node(name).await?;
            let seen = node.last_seen.map_or_else(|| "never seen".to_owned(), |time| format!("last seen {time}"));
            let detail = format!("{name} is offline ({seen}), so it cannot be asked; it compares by itself when it comes back");
            return Err(Problem::new(Code::NodeOffline, detail));
        };
        if !view.compares {
            return Err(Problem::new(Code::NodeTooOld, format!("{name} runs a version that cannot compare digests; update it")));
        }
        Ok(live)
    }

    /// Gives the node's grants anew.
    pub(super) async fn resync(&self, name: &NodeName, collection: Option<CollectionName>, origin: &Origin) -> Result<Resync, Problem> {
        let job = Job::Resync { node: name.clone(), collection: collection.clone() };
        let done = match self.job(job).await? {
            Answer::Resynced(done) => done,
            other => return Err(unexpected(&other)),
        };
        tracing::info!(node = %name, by = by(origin), partitions = done.grants, revision = %done.revision, "a node fills again");
        let (node, collection) = (name.to_string(), collection.map(|name| name.to_string()));
        Ok(Resync { node, collection, partitions: done.grants, revision: done.revision.0 })
    }
}

/// What came of it; `None` where the session ended first, an error where it took too long.
async fn wait(live: &Live) -> Result<Option<Arc<Checked>>, ()> {
    let again = async {
        loop {
            // A node that applied other batches together with the digests does not answer them.
            let ticket = live.verify();
            if let Ok(answer) = tokio::time::timeout(VERIFY_AGAIN, live.checked(ticket)).await {
                return answer;
            }
        }
    };
    tokio::time::timeout(VERIFY_WAIT, again).await.map_err(|_| ())
}

fn in_progress(name: &NodeName, live: &Live) -> Problem {
    let view = live.view();
    let why = match view.paused {
        Some(reason) => format!("it takes nothing ({reason})"),
        None if !view.fills.is_empty() => "it re-reads partitions".to_owned(),
        None if !view.in_sync => "it is catching up".to_owned(),
        None => "it has not answered".to_owned(),
    };
    let detail = format!(
        "{name} has not compared everything within {} s: {why}; ask again, or see: cloudhub node show {name}",
        VERIFY_WAIT.as_secs()
    );
    Problem::new(Code::InProgress, detail).retry_after(Duration::from_secs(5))
}

/// Whether a partition is of a collection, or holds the conflicts about it.
fn is_about(found: &Difference, collection: Option<&CollectionName>) -> bool {
    let Some(collection) = collection else { return true };
    let about = found.share.partition.as_deref().and_then(|partition| partition.split('/').next());
    found.share.collection == *collection || (found.share.collection == CollectionName::conflicts() && about == Some(collection.as_str()))
}

fn repaired(found: &Difference) -> RepairedPartition {
    let share = &found.share;
    let (collection, partition) = (share.collection.to_string(), share.partition.clone());
    RepairedPartition { collection, partition, ranges: found.ranges.into(), of: RANGES as u64 }
}
