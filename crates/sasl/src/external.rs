//! EXTERNAL (RFC 4422 Appendix A): the client is whoever its TLS certificate says.
//!
//! Never: a look at the certificate; the host has it.

use crate::exchange::Want;
use crate::plain;
use crate::refusal::Refusal;

/// Reads a client's blob: whom it wants to act as, or nothing.
pub(crate) fn read(blob: &[u8]) -> Result<Want, Refusal> {
    let authzid = plain::text(blob)?;
    Ok(Want::Certificate {
        authzid: (!authzid.is_empty()).then(|| authzid.to_owned()),
    })
}
