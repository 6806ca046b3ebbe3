//! [access.relay]: who may send on to foreign domains.

use postern_access::{Entry, Mode, Origin};

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// What the list means.
    pub mode: Mode,
    /// Who may relay without logging in.
    pub list: Vec<Entry>,
    /// Clients that log in may relay whatever the list says.
    pub authenticated: bool,
    /// Foreign domains mail is always taken for, in lower case, each with its line.
    pub domains: Vec<(String, Origin)>,
    /// A definition that would relay for everyone is meant.
    pub allow_everyone: bool,
}

impl Default for Relay {
    fn default() -> Relay {
        Relay {
            mode: Mode::Only,
            list: Vec::new(),
            authenticated: true,
            domains: Vec::new(),
            allow_everyone: false,
        }
    }
}
