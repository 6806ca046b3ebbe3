//! PLAIN (RFC 4616): `authzid NUL authcid NUL password` in one blob.
//!
//! Never: SASLprep. Names and passwords are compared as sent, which is what the account file holds.

use crate::client::Credentials;
use crate::exchange::Want;
use crate::refusal::Refusal;
use crate::secret::Secret;

/// RFC 4616 §2 lets each part have 255 octets at least; more is nobody's account.
const PART_LIMIT: usize = 255;

/// Reads a client's blob.
pub(crate) fn read(blob: &[u8]) -> Result<Want, Refusal> {
    let mut parts = blob.split(|byte| *byte == 0);
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Malformed);
    };
    let authzid = text(authzid)?;
    let authcid = name(authcid)?;
    Ok(Want::Password {
        authzid: (!authzid.is_empty() && authzid != authcid).then(|| authzid.to_owned()),
        authcid: authcid.to_owned(),
        password: self::password(password)?,
    })
}

/// The blob a client sends.
pub(crate) fn write(credentials: &Credentials) -> Secret {
    let password = credentials.password.expose();
    // Sized once: growing would leave copies of the password behind.
    let mut blob = Vec::with_capacity(credentials.name.len() + password.len() + 2);
    blob.push(0);
    blob.extend_from_slice(credentials.name.as_bytes());
    blob.push(0);
    blob.extend_from_slice(password);
    Secret::new(blob)
}

/// A name: text, not empty.
pub(crate) fn name(bytes: &[u8]) -> Result<&str, Refusal> {
    let name = text(bytes)?;
    if name.is_empty() {
        Err(Refusal::NoName)
    } else {
        Ok(name)
    }
}

/// A password: text, not empty (RFC 4616 §2: `passwd = 1*SAFE`).
pub(crate) fn password(bytes: &[u8]) -> Result<Secret, Refusal> {
    let password = text(bytes)?;
    if password.is_empty() {
        Err(Refusal::NoPassword)
    } else {
        Ok(Secret::from(password))
    }
}

/// Text without NUL, as long as a name may be.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.len() > PART_LIMIT {
        return Err(Refusal::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NotText)?;
    if text.contains('\0') {
        Err(Refusal::NotText)
    } else {
        Ok(text)
    }
}
