//! Decided writes: listed, shown, and what may be taken up again of them.

use api::hub::{MutationAnswer, Origin, PageToken, WriteFilter, WritePage};
use api::problem::{Code, Problem};
use api::shapes::Write;
use proto::ids::{Revision, WriteId};

use super::{CloudHub, by, shape};
use crate::store::{Job, WritesRequest};

impl CloudHub {
    pub(super) async fn list_writes(&self, filter: WriteFilter) -> Result<WritePage, Problem> {
        let after = filter.after.map(|token| token.to_number()).transpose()?.map(Revision);
        let verdict = match filter.state.map(shape::verdict) {
            // What is pending at an edge has not come here.
            Some(None) => return Ok(WritePage { writes: Vec::new(), next: None }),
            Some(verdict) => verdict,
            None => None,
        };
        let request = WritesRequest { verdict, after, limit: filter.limit };
        let (rows, next) = self.read(move |store| store.writes(&request)).await?;
        let mut writes: Vec<Write> = rows.into_iter().map(shape::write).collect();
        if let Some(names) = &filter.collections {
            writes.retain(|write| write.ops.iter().all(|op| names.iter().any(|name| name.as_str() == op.collection)));
        }
        Ok(WritePage { writes, next: next.map(|next| PageToken::of_number(next.0)) })
    }

    pub(super) async fn one_write(&self, id: &WriteId) -> Result<Write, Problem> {
        let asked = id.clone();
        let row = self.read(move |store| store.write(&asked)).await?;
        let missing = || Problem::not_found(format!("write {id} is not known here: it has not arrived yet, or is no longer kept"));
        row.map(shape::write).ok_or_else(missing)
    }

    /// Whatever this hub keeps of its own writes took effect; what a node wrote is the node's to send.
    pub(super) async fn send_again(&self, id: &WriteId) -> Result<MutationAnswer, Problem> {
        let write = self.one_write(id).await?;
        let detail = match id {
            WriteId::Edge { node, .. } => {
                format!("write {id} is {node}'s own; it is sent again where it was made: edgehub write resend {id}")
            }
            WriteId::Cloud(_) => format!("write {id} was {}: it took effect, and again it would have it twice", write.state.as_str()),
        };
        Err(Problem::new(Code::NotOpen, detail))
    }

    pub(super) async fn drop_write(&self, id: &WriteId, origin: &Origin) -> Result<(), Problem> {
        let WriteId::Cloud(revision) = id else {
            // Known or not: the caller hears the same as of one that is kept.
            self.one_write(id).await?;
            let detail = format!("write {id} is a node's own; it is discarded where it was made: edgehub write discard {id} --yes");
            return Err(Problem::new(Code::NotOpen, detail));
        };
        self.job(Job::Discard { revision: *revision }).await?;
        tracing::info!(write = %id, by = by(origin), "a write was discarded");
        Ok(())
    }
}
