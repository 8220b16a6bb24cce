//! Lists of writes: the outbox, and what became of it.

use api::hub::{PageToken, WriteFilter, WritePage};
use api::problem::Problem;

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
}
