//! What root reads of a virtual server's definition, and how a server's state is named when it is shown.
//!
//! The supervisor needs the addresses, the user, the limits and the names of the files only root can open; everything else in
//! `servers/NAME.toml` is the worker's, which reads the same file unread by root. Text in, values out.
//!
//! Never: a socket, a file, a clock; a setting that does not concern the host.

mod finding;
mod hosting;
mod identity;
mod name;
mod read;
mod settings;
mod state;
mod units;

pub use finding::{Finding, Place, Severity};
pub use hosting::{Authd, AuthdKind, Hosting, ProcessLimits};
pub use identity::{Identity, TlsMode};
pub use name::{BadName, ServerName};
pub use settings::HostSettings;
pub use state::ServerState;
pub use units::{parse_duration, parse_size};
