//! Writes of this database: the outbox, what became of it, and what is taken up again.

use api::hub::{MutationAnswer, PageToken, ResendRequest, WriteFilter, WritePage};
use api::problem::{Code, Problem};
use metamanager::{LocalWrite, StoreError, WriteError};
use proto::ids::WriteId;
use tokio::sync::oneshot;

use super::{LocalHub, shape};

impl LocalHub {
    pub(super) fn list_writes(&self, filter: WriteFilter) -> Result<WritePage, Problem> {
        self.node()?;
        let after = filter.after.map(|token| token.to_number()).transpose()?.unwrap_or(0);
        let state = filter.state.map(shape::stored_state);
        let page = self.store.read(|reader| reader.writes(state, after, filter.limit)).map_err(shape::read_problem)?;
        let mut writes = page.writes.into_iter().map(|row| self.shape_write(row)).collect::<Result<Vec<_>, _>>()?;
        if let Some(names) = &filter.collections {
            writes.retain(|write| write.ops.iter().all(|op| names.iter().any(|name| name.as_str() == op.collection)));
        }
        Ok(WritePage { writes, next: page.next.map(PageToken::of_number) })
    }

    /// Sends an answered write once more, on the present view.
    pub(super) async fn send_again(&self, id: &WriteId, request: ResendRequest) -> Result<MutationAnswer, Problem> {
        let number = self.number_of(id)?;
        let ResendRequest { origin, wait, idempotency } = request;
        let request_id = origin.travelling_id();
        let write = LocalWrite { requests: Vec::new(), actor: origin.actor, request_id, idempotency, resends: Some(number) };
        let committed = self.durable(write).await.map_err(shape::write_problem)?;
        self.answer(committed, wait).await
    }

    /// Drops what is kept of an answered write.
    pub(super) async fn drop_write(&self, id: &WriteId) -> Result<(), Problem> {
        let number = self.number_of(id)?;
        let (answer, dropped) = oneshot::channel();
        self.store.run_then(move |store, _| store.discard(number), move |result| drop(answer.send(result)));
        let closed = || Problem::new(Code::Unavailable, "the database is being closed");
        let dropped = dropped.await.map_err(|_| closed())?;
        dropped.map_err(|error: StoreError| Problem::internal(error))?.map_err(|refusal| shape::write_problem(WriteError::from(refusal)))
    }
}
