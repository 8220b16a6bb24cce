//! metamanager: the edge database of Tombolo, one SQLite file that answers reads and takes writes whether the link is
//! up or not (docs/design.md §4, §5, §9).
//!
//! [`Store`] is the one writer and [`Reader`] a read-only connection, both plain synchronous objects; [`Metamanager`]
//! (`handle`, `readers`) puts threads around them for applications in the same process. Read the inside in this order: `schema` (the
//! tables), `open` and `lock` (whose file it is), `ledger` (the small tables in memory), `store` (one transaction),
//! then one verb a file: `local` with `plan` and `group` (a local write), `reported` (what devices say), `requests` (one that is made again), `resend`
//! (one that is taken up again), `outbox` (what goes up), `adopt`, `lost`, `apply`,
//! `staging`, `grants`, `fill`, `blocked` (what comes down), `digests`, `check` with `checking` and `mend`, `repair` (whether
//! it is what the cloud has), `overlay` and `relay` (pending ops over base), `changes` with `follow` (what readers may see otherwise than
//! before), `trim` (what is kept how long), and `reader`, `list`, `history`, `conflicts`, `status` (what people see), `query` (SQL of
//! applications), `tokens` (who they are), `inspect` (the file, from outside).

mod adopt;
mod apply;
mod base;
mod blocked;
mod changes;
mod check;
mod checking;
mod conflicts;
mod damage;
mod digests;
mod disk;
mod error;
mod examine;
mod fill;
mod follow;
mod fork;
mod grants;
mod group;
mod handle;
mod history;
mod indexes;
mod inspect;
mod ledger;
pub mod limits;
mod list;
mod list_source;
mod local;
mod lock;
mod lost;
mod mend;
mod numbers;
mod open;
mod outbox;
mod overlay;
mod pieces;
mod plan;
mod query;
mod reader;
mod readers;
mod relay;
mod renew;
mod repair;
mod reported;
mod requests;
mod resend;
mod resolve;
mod salvage;
mod schema;
mod staging;
mod status;
mod store;
mod tokens;
mod trim;
mod view;
mod wipe;
mod withdraw;

pub use adopt::Adopted;
pub use apply::Applied;
pub use check::{Check, Checked, Found};
pub use conflicts::{BadConflictState, ConflictRow, ConflictState, ConflictsPage};
pub use disk::{Disk, Space, SystemDisk};
pub use error::{ApplyError, OpenError, ReadError, Refusal, StoreError, WriteError};
pub use follow::{Change, Followed, Since, Step, Stretch, What};
pub use group::{Did, Laid};
pub use handle::{Metamanager, ReadClock};
pub use history::{BadWriteState, WriteRow, WriteState, WritesPage};
pub use inspect::{Inspection, Soundness, inspect, quick_check};
pub use list::ListPage;
pub use local::{Committed, Etag, LocalRequest, LocalWrite, Precondition, WriteRef};
pub use outbox::OutboxPart;
pub use proto::list::ListQuery;
pub use query::{Cell, Param, Params, Queried, Queries, Query, QueryError};
pub use reader::Reader;
pub use renew::{Alias, Names};
pub use reported::{DeviceReport, Reported, Sent};
pub use status::{Blocked, CollectionStatus, GrantStatus, Status};
pub use store::{Event, HelloFacts, Observer, Options, Store};
pub use tokens::TokenRow;
pub use view::ViewRow;
