//! The door to DNS: where mail for a domain goes, the addresses of a host, the names of an address.
//!
//! ```text
//! host ── mx::find ──▶ Lookup::mx ──▶ order, null MX, loop to self ──▶ hosts ── Lookup::addresses ──▶ addresses
//!      └─ reverse::confirm ──▶ Lookup::pointers ──▶ each name back to its addresses ──▶ names that hold
//!                              Lookup is Resolver (hickory), or Zone (a fake, for tests)
//! name ── Ask::ask ──▶ who answered, over what, aliases, records   Ask is Direct (one server after the other), or Zone
//!      └─ dane::find ──▶ a host's addresses, and the TLSA records that DNSSEC vouches for
//! ```
//!
//! Every look-up ends within a hard deadline, and an answer says "there is none" only where a name server said so:
//! all else is temporary, and mail waits.
//!
//! Never: policy; a fall from a failed look-up to another way of delivery; a look-up for an address literal.

pub mod ask;
pub mod dane;
pub mod lookup;
pub mod mx;
pub mod reverse;

mod direct;
mod hickory;
mod zone;

pub use ask::{Ask, Association, Data, Told, Type, Untold};
pub use direct::Direct;
pub use hickory::{Resolver, Settings};
pub use lookup::{Answer, Error, Exchange, Lookup};
pub use zone::Zone;
