//! The current generation of policy: built whole, swapped in one step, never changed.
//!
//! A session keeps the generation it began under; deliveries take the current one at each try.
//!
//! Never: a rule that is written after the generation was built. Only what is known of names is renewed under it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use postern_config::{Definition, TlsMode};
use postern_delivery::route::Table;
use postern_dns::Resolver;
use postern_policy::Policy;
use postern_smtp::Settings;
use postern_tls::{ClientTls, ServerTls};

use crate::accounts::Accounts;
use crate::hosts::Hosts;

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
    /// The rules.
    pub policy: Policy,
    /// The addresses of the lists' `host` entries, renewed as they run out.
    pub hosts: ArcSwap<Hosts>,
}

impl Generation {
    /// The names of the lists' `host` entries, each once.
    pub(crate) fn host_names(&self) -> BTreeSet<&str> {
        let relay = self.policy.relay.list.hosts();
        self.policy.connection.list().hosts().chain(relay).collect()
    }
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
