//! `{ dovecot = "/run/dovecot/auth-client" }`: accounts from Dovecot's authentication socket.
//!
//! Never: whether the socket is there; Dovecot may start later.

use std::path::PathBuf;

use crate::reader::{Node, Reader};
use crate::values::Misfit;

const EXAMPLE: &str = "\"/run/dovecot/auth-client\"";

/// The path of the socket: absolute, and short enough for a socket's address.
pub(crate) fn read<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<PathBuf> {
    let remedy = || format!("write {EXAMPLE}");
    reader.parsed(node, EXAMPLE, |text| {
        if !text.starts_with('/') {
            return Err(Misfit::new("a socket's path must be absolute", remedy()));
        }
        // A path in a socket address has room for 107 bytes (unix(7)).
        if text.len() > 107 {
            return Err(Misfit::new(
                "a socket's path may have 107 bytes at most",
                "use a shorter path",
            ));
        }
        Ok(PathBuf::from(text))
    })
}
