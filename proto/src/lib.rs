//! What both sides of the link must agree on, and nothing that touches the world.
//!
//! The crate has no socket, no clock, no file and no random hasher: inputs come in, effects go out, `now` is an
//! argument. Read it in this order: [`names`] and [`ids`] (what things are called), [`json`] (a record's
//! value), [`definition`], [`index`] and [`schema`] (what an operator declared about a collection), [`op`] and [`build`] (what a write
//! says, and how a request becomes one), [`overlay`] (pending ops over base), [`resolve`] (what resolving a conflict makes of
//! its record), [`list`] (which records, in which order, read from which index), [`wire`] and [`frame`] (bytes),
//! [`repeat`] (what a request was answered), [`clock`], [`session`] (both ends of the link as state machines), [`traffic`] (what its bytes
//! are spent on).
#![no_std]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod build;
pub mod clock;
pub mod definition;
pub mod device;
pub mod digest;
pub mod frame;
pub mod ids;
pub mod index;
pub mod json;
pub mod limits;
pub mod list;
pub mod names;
pub mod number;
pub mod op;
pub mod overlay;
pub mod repeat;
pub mod resolve;
pub mod schema;
pub mod session;
pub mod traffic;
pub mod wire;
