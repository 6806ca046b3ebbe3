//! The numbers of one worker: all present and zero from the start, so that a graph has no gaps.
//!
//! Never: a number that is set rather than counted; what is the case now (sessions, queue) is asked of its owner.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($name:ident: $doc:literal,)*) => {
        /// What this worker has counted since it started.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(#[doc = $doc] pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Every number under its name.
            #[must_use]
            pub(crate) fn all(&self) -> BTreeMap<String, u64> {
                BTreeMap::from([$((stringify!($name).to_owned(), self.$name.load(Ordering::Relaxed)),)*])
            }
        }
    };
}

counters! {
    connections_accepted: "Connections that were greeted with 220.",
    connections_refused_access: "Connections refused by the connection list.",
    connections_refused_limit: "Connections refused because there were too many, in all or from one address.",
    connections_refused_paused: "Connections turned away while the server was paused.",
    early_talkers: "Clients refused because they spoke before the greeting.",
    tls_on_plain_port: "Clients that began TLS where it begins with STARTTLS.",
    proxy_headers_refused: "Connections closed for a PROXY header that was missing, malformed, or from nobody in proxy_from.",
    reverse_lookups: "Look-ups of a client's names, for rules that speak of domains.",
    reverse_lookups_failed: "Those of them that failed, and counted as no match.",
    tls_handshakes: "TLS handshakes completed with clients.",
    tls_failures: "TLS handshakes with clients that failed.",
    logins_accepted: "Logins accepted.",
    logins_refused: "Logins refused.",
    lockouts: "Accounts and addresses locked out after too many wrong passwords.",
    recipients_accepted: "Recipients accepted.",
    recipients_refused: "Recipients refused.",
    relay_refused: "Recipients refused because the client may not relay.",
    messages_accepted: "Messages answered 250.",
    messages_refused: "Messages refused or not stored after their body.",
    bytes_accepted: "Octets of the messages answered 250.",
    protocol_errors: "Sessions ended for too many errors.",
    idle_timeouts: "Sessions ended because nothing came.",
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts `by`.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
