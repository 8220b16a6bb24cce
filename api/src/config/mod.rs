//! Configuration of both hubs: a TOML file, variables and flags, in layers.
//!
//! A setting has one dotted key (`listen.ws`), one variable (`CLOUDHUB_LISTEN_WS`) and, where it is useful on the
//! command line, one flag (`--listen-ws`). The first of *flag, variable, file, default* that names it wins. A hub
//! describes its settings as a `&'static [Setting]`, stacks what it found in [`Layers`], and gets back its own typed
//! struct; an error names the place that the value came from.
//!
//! No key holds a secret: tokens are named by the file that holds them, so a printed configuration can be shown.

mod data_dir;
mod document;
mod error;
mod layers;
mod nearest;
mod schema;
mod values;

pub use data_dir::DataDir;
pub use document::Document;
pub use error::{ConfigError, Origin};
pub use layers::{Kind, Layers, Setting};
pub use nearest::nearest;
pub use schema::Schema;
pub use values::{ByteSize, HostPort, parse_duration};
