//! The wire schema: Rust code generated from `schema/tombolo.proto` (prost), committed, and compared with the schema
//! by `tests/schema.rs`. Everything else in the crate speaks in the types of [`crate::frame`] and [`crate::op`].

#[allow(missing_docs, clippy::all, unreachable_pub)]
mod generated {
    include!("tombolo.v1.rs");
}

pub use generated::*;

pub(crate) mod weight;
mod write;
