//! A commented definition for `postern new`.

use std::path::PathBuf;

use postern_hosting::Identity;

/// What `postern new` was told.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// `description`.
    pub description: Option<String>,
    /// `fqdn`.
    pub fqdn: String,
    /// `listen`.
    pub listen: Vec<Identity>,
    /// `anonymous`: a gateway that takes mail from everywhere for its own domains.
    pub anonymous: bool,
    /// The certificate chain and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The account file.
    pub accounts: Option<PathBuf>,
    /// Networks that may relay without logging in.
    pub relay_list: Vec<String>,
    /// The local domains.
    pub domains: Vec<NewDomain>,
    /// Smart hosts.
    pub smart_host: Vec<String>,
}

/// A local domain for `postern new`.
#[derive(Clone, Debug)]
pub struct NewDomain {
    /// Its name.
    pub name: String,
    /// Where its mail goes: `maildir:…`, `lmtp:…` or `smtp:…`.
    pub to: String,
    /// Who is there; `None`: everyone is taken.
    pub recipients: Option<Vec<String>>,
}

/// The text of a new definition: what was answered, and every other setting as a comment with its default.
pub fn new_definition(_answers: &Answers) -> String {
    String::new()
}
