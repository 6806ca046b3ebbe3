//! Who may connect, who may send, who may relay: policy decided on values.
//!
//! | File | Decides |
//! |---|---|
//! | `connection.rs` | may this address connect at all? |
//! | `sender.rs` | may this session send MAIL FROM this address? |
//! | `relay.rs` | is this recipient taken: local, relayed for, granted to a login or by the list? |
//! | `limits.rs` | how many sessions and messages at once and in a time |
//! | `lockout.rs` | how many distinct wrong passwords |
//!
//! Each decision is a [`Verdict`]; `decide` costs no allocation, `explain` is the same code and keeps the trail.
//!
//! Never: a socket, a clock, a look-up. Names are facts the caller passes in; time is an argument.

mod connection;
mod domains;
mod entry;
mod grants;
mod limits;
mod list;
mod lockout;
mod relay;
mod sender;
mod verdict;

pub use connection::ConnectionRule;
pub use domains::DomainSet;
pub use entry::{Entry, EntryError, EntryKind, Origin};
pub use grants::{Grant, GrantError, Grants, Login, Who};
pub use limits::{ClientKey, Full, Occupancy, OccupancyLimits, Rate, RateBook};
pub use list::{Found, List, Matched, Mode, NameFacts, ResolvedHosts, Share};
pub use lockout::{Lockout, LockoutRule};
pub use relay::{RelayQuestion, RelayRule};
pub use sender::{AnonymousLocalSender, SenderQuestion, SenderRule};
pub use verdict::{Reason, Step, Verdict};
