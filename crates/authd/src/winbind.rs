//! `winbind`: the accounts of the Windows domain that this host is a member of.
//!
//! Never: a handshake of winbind's own, which does not look at channel bindings.

use postern_control::auth::Account;
use postern_sasl::{NtProof, NtlmNames};

use crate::backend::{Backend, No, Proved};

/// winbind, as one thread asks it.
#[derive(Debug)]
pub(crate) struct Winbind;

impl Winbind {
    /// Ready to be asked. Called once for each thread, before the first question; the error ends this process.
    pub(crate) fn open() -> Result<Winbind, String> {
        Err("this version cannot ask winbind yet".to_owned())
    }
}

impl Backend for Winbind {
    fn names(&mut self, _host: &str) -> Result<Option<NtlmNames>, No> {
        Err(No::unavailable("winbind cannot be asked"))
    }

    fn prove(&mut self, _proof: &NtProof, _domains: &[String]) -> Result<Proved, No> {
        Err(No::unavailable("winbind cannot be asked"))
    }

    fn password(
        &mut self,
        _name: &str,
        _password: &str,
        _domains: &[String],
    ) -> Result<Account, No> {
        Err(No::unavailable("winbind cannot be asked"))
    }

    fn find(&mut self, _name: &str, _domains: &[String]) -> Result<Account, No> {
        Err(No::unavailable("winbind cannot be asked"))
    }
}
