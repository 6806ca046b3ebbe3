//! The policy of one definition: every decision, and every word a client hears of it.
//!
//! | File | Knows |
//! |---|---|
//! | `build.rs` | definition and files → a [`Policy`] |
//! | `people.rs` | who is there in the local domains |
//! | `offer.rs` | what a session on each kind of identity offers |
//! | `accounts.rs` | which account a name at login means |
//! | `decide.rs` | may this client connect, send as this sender, reach this recipient |
//! | `places.rs` | where a rule stands: `servers/mx1.toml:41` |
//! | `facts.rs`, `diff.rs`, `networks.rs` | what a policy comes to; what another would change |
//! | `explain.rs` | what would happen in a session that might be, and why |
//!
//! The worker decides with it, and `postern explain` shows what it would decide: the same code on the same files, so that
//! what is shown is what happens.
//!
//! Never: a socket, a clock, a look-up, a file opened here. Files are read, and names looked up, by whoever calls.

mod accounts;
mod build;
pub mod decide;
pub mod diff;
pub mod explain;
pub mod facts;
mod networks;
mod offer;
mod people;
mod places;

pub use accounts::{
    ByTicket, TAKEN_FOR_A_TICKETS, TAKEN_FOR_DOVECOTS, by_ticket, completed, dovecots,
    find_account, is_home, login_of, windows_account, windows_login, windows_names,
};
pub use build::{Policy, Source};
pub use offer::{Means, session_settings};
pub use people::{People, Person};
pub use places::Places;
