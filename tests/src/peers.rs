//! Real servers to talk to, each in a folder and on a loopback port of its own.
//!
//! | Peer | Is | Needs |
//! |---|---|---|
//! | [`Postfix`] | next hop, by smart host or MX, with TLS if told so | root |
//! | [`Dovecot`] | LMTP into Maildirs | root |
//! | [`Slapd`] | OpenLDAP, with accounts and groups | |
//! | [`Samba`] | an Active Directory domain controller | root |
//! | [`Member`] | winbind on another host of its domain | root |
//! | [`Dns`] | nsd with a zone, unbound before it | |
//!
//! Each ends with its value. Never: a file outside the peer's folder, a service of the system, a fixed port.

mod dns;
mod dovecot;
mod postfix;
mod samba;
mod slapd;

pub use dns::Dns;
pub use dovecot::Dovecot;
pub use postfix::Postfix;
pub use samba::{Member, Samba};
pub use slapd::Slapd;
