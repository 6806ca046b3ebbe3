//! The current generation of policy: built whole, swapped in one step, never changed.
//!
//! A session keeps the generation it began under; deliveries take the current one at each try.
//!
//! Never: a field that is written after the generation was built.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use postern_access::{ConnectionRule, RelayRule, SenderRule};
use postern_config::{Definition, TlsMode};
use postern_delivery::route::Table;
use postern_dns::Resolver;
use postern_smtp::Settings;
use postern_tls::{ClientTls, ServerTls};

use crate::accounts::Accounts;

/// Where the generation in force is found.
pub(crate) type Current = Arc<ArcSwap<Generation>>;

/// One generation of policy.
pub(crate) struct Generation {
    /// What the administrator wrote.
    pub definition: Arc<Definition>,
    /// The session settings of each kind of identity.
    pub sessions: SessionSettings,
    /// How TLS is spoken to clients; none without a certificate.
    pub server_tls: Option<ServerTls>,
    /// How TLS is spoken to next hops.
    pub client_tls: ClientTls,
    /// Who answers outgoing look-ups.
    pub resolver: Resolver,
    /// Where mail goes.
    pub routes: Arc<Table>,
    /// Who may log in.
    pub accounts: Accounts,
    /// Who may connect.
    pub connection: ConnectionRule,
    /// Who may send as whom.
    pub sender: SenderRule,
    /// Who may send to whom.
    pub relay: RelayRule,
    /// Who is there in the local domains, by domain in lower case.
    pub people: HashMap<Box<str>, People>,
}

/// The session settings of each kind of identity.
pub(crate) struct SessionSettings {
    starttls: Arc<Settings>,
    implicit: Arc<Settings>,
    none: Arc<Settings>,
}

impl SessionSettings {
    /// From what differs between the kinds: `offer` says which TLS each has.
    pub(crate) fn new(of: impl Fn(TlsMode) -> Settings) -> SessionSettings {
        SessionSettings {
            starttls: Arc::new(of(TlsMode::Starttls)),
            implicit: Arc::new(of(TlsMode::Implicit)),
            none: Arc::new(of(TlsMode::None)),
        }
    }

    /// Those of one kind.
    pub(crate) fn of(&self, mode: TlsMode) -> &Arc<Settings> {
        match mode {
            TlsMode::Starttls => &self.starttls,
            TlsMode::Implicit => &self.implicit,
            TlsMode::None => &self.none,
        }
    }
}

/// Who is there in one local domain.
pub(crate) struct People {
    /// Local parts in lower case; none: everybody is taken.
    pub known: Option<HashSet<Box<str>>>,
    /// Other names for them, in lower case.
    pub aliases: HashMap<Box<str>, Vec<String>>,
}

/// What a recipient of a local domain turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Person<'p> {
    /// There, or nobody said who is.
    Known,
    /// Another name for these.
    Alias(&'p [String]),
    /// Not there.
    Unknown,
}

impl People {
    /// Looks a local part up; case does not matter, and quotes have been taken off.
    pub(crate) fn find(&self, local: &str) -> Person<'_> {
        // Nothing is listed for most domains: no copy is made then.
        if self.known.is_none() && self.aliases.is_empty() {
            return Person::Known;
        }
        let name = local.to_lowercase();
        if let Some(names) = self.aliases.get(name.as_str()) {
            return Person::Alias(names);
        }
        match &self.known {
            Some(known) if !known.contains(name.as_str()) => Person::Unknown,
            _ => Person::Known,
        }
    }
}
