//! The definition of a virtual server: read with every mistake named, and written as a commented example.
//!
//! | File | Holds |
//! |---|---|
//! | `general.rs` … `delivery.rs` | one section each: its type, its defaults, how it is read |
//! | `settings.rs` | the list of all settings: name, default, meaning; the example and the manual come from it |
//! | `load.rs`, `reader.rs`, `fields.rs`, `values.rs`, `checks.rs` | text → definition and findings |
//! | `lists.rs` | the files of entries that the lists name |
//! | `whole.rs`, `coverage.rs` | what is wrong with the lists as a whole: the open-relay guard |
//! | `host.rs` | what the lists mean on a host with such gateways and bridges |
//! | `write.rs` | a commented definition for `postern new` |
//! | `accounts.rs`, `replace.rs` | the account file, and how it is replaced |
//!
//! Never: a look-up, a socket; a file only where `replace.rs` writes one.

mod accounts;
mod authentication;
mod checks;
mod connection;
mod coverage;
mod delivery;
mod fields;
mod general;
mod grants;
mod host;
mod lists;
mod load;
mod messages;
mod nearest;
mod reader;
mod relay;
mod replace;
mod secret;
mod settings;
mod target;
mod tls;
mod values;
mod whole;
mod write;

pub use accounts::{Account, AccountError, AccountFile, UpdateError};
pub use authentication::{
    AccountSource, Authentication, ChannelBinding, LdapBind, LdapFilter, LdapKind, LdapRelation,
    LdapServer, LdapSource, LdapTls, Ntlm, Template,
};
pub use connection::ListRule;
pub use delivery::{
    Aliases, Delivery, LocalDomain, LoginKind, LoginSecret, OutboundLogin, OutboundSecurity,
    OutboundTls, PasswordMechanism, Recipients, Route,
};
pub use general::General;
pub use host::{HostFacts, Lender, Role};
pub use load::{Definition, load};
pub use messages::{Badmail, BareNewline, Messages, RatePair};
pub use postern_access::{AnonymousLocalSender, Entry, Grants, LockoutRule, Mode, Rate, Who};
pub use postern_hosting::{Finding, Identity, Place, ProcessLimits, Severity, TlsMode};
pub use relay::Relay;
pub use replace::{Owner, lock_folder_of, replace_file};
pub use secret::Secret;
pub use settings::{SETTINGS, Section, Setting, source_of};
pub use target::{Endpoint, Host, HostPort, MaildirTemplate, SmartHost, Target};
pub use tls::{CertificatePair, MinStrength, MinVersion, Tls};
pub use write::{Answers, NewDomain, new_definition};
