//! `kerberos`: tickets, checked by the system's library against a keytab.
//!
//! ```text
//! first life    keytab from fd 1 ─▶ a sealed memory file ─▶ exec of this program, KRB5_KTNAME and KRB5RCACHENAME set
//! second life   postern-authd SERVER kerberos FD ─▶ serves                                    keys, and replays seen
//! ```
//!
//! The library takes both from the environment alone, which cannot be changed safely from within. Authenticators seen are kept
//! in `replay` in this process's folder, so that one is refused after a reload too.
//!
//! Never: a ticket for anything but the keytab's keys; the keytab in a file that has a name.

use crate::backend::Backend;
use crate::run::Failure;

#[cfg(feature = "kerberos")]
mod context;
#[cfg(feature = "kerberos")]
mod end_points;
#[cfg(feature = "kerberos")]
mod keytab;
#[cfg(feature = "kerberos")]
mod lives;

/// Ready to be asked, a backend for each thread. `rest` are the arguments behind the kind.
#[cfg(feature = "kerberos")]
pub(crate) fn open(server: &str, rest: &[&str]) -> Result<Vec<Box<dyn Backend>>, Failure> {
    match rest {
        [] => Err(lives::begin_again(server)),
        [file] => lives::second(server, file),
        _ => Err(Failure::Called("too many arguments".to_owned())),
    }
}

/// Nothing to be asked.
#[cfg(not(feature = "kerberos"))]
pub(crate) fn open(_server: &str, _rest: &[&str]) -> Result<Vec<Box<dyn Backend>>, Failure> {
    Err(Failure::Secret(
        "this postern-authd was built without Kerberos: install one that was built with it, \
         or take the gssapi source out of the definition"
            .to_owned(),
    ))
}
