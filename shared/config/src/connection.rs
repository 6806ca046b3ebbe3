//! [access.connection]: who may connect.

use postern_access::{ConnectionRule, Entry, List, Mode};

/// One list and one mode.
#[derive(Clone, Debug, PartialEq)]
pub struct ListRule {
    /// What the list means.
    pub mode: Mode,
    /// Its entries, each with its line.
    pub list: Vec<Entry>,
}

impl Default for ListRule {
    /// Everybody may connect.
    fn default() -> ListRule {
        ListRule {
            mode: Mode::AllExcept,
            list: Vec::new(),
        }
    }
}

impl ListRule {
    /// The rule, ready to decide.
    pub fn rule(&self) -> ConnectionRule {
        ConnectionRule::new(self.mode, List::new(&self.list))
    }
}
