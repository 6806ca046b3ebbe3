//! XOAUTH2 and OAUTHBEARER (RFC 7628), the client's half: an OAuth 2 token in one blob.
//!
//! ```text
//! XOAUTH2       user=NAME ^A auth=Bearer TOKEN ^A ^A
//! OAUTHBEARER   n,a=NAME, ^A auth=Bearer TOKEN ^A ^A
//! refused       334 {"status":"invalid_token", …}   the client acknowledges it, and only then comes the 535
//! ```
//!
//! Never: where a token comes from, or when it must be renewed.

use crate::client::Credentials;
use crate::scram::message;
use crate::secret::Secret;

/// The kinds of blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    XOauth2,
    OauthBearer,
}

/// As much of a server's complaint is kept.
const COMPLAINT_LIMIT: usize = 1_024;

/// The blob a client sends; the credentials' password is the token.
pub(crate) fn write(form: Form, credentials: &Credentials) -> Secret {
    let head = match form {
        Form::XOauth2 => format!("user={}", credentials.name),
        Form::OauthBearer => format!("n,a={},", message::escaped(&credentials.name)),
    };
    let token = credentials.password.expose();
    // Sized once: growing would leave copies of the token behind.
    let mut blob = Vec::with_capacity(head.len() + token.len() + 16);
    blob.extend_from_slice(head.as_bytes());
    blob.extend_from_slice(b"\x01auth=Bearer ");
    blob.extend_from_slice(token);
    blob.extend_from_slice(b"\x01\x01");
    Secret::new(blob)
}

/// What acknowledges a complaint: nothing in XOAUTH2, a lone ^A in OAUTHBEARER (RFC 7628 §3.2.3).
pub(crate) fn acknowledgement(form: Form) -> Secret {
    Secret::new(match form {
        Form::XOauth2 => Vec::new(),
        Form::OauthBearer => vec![1],
    })
}

/// A server's complaint, made fit for a log line.
pub(crate) fn complaint(challenge: &[u8]) -> String {
    let kept = &challenge[..challenge.len().min(COMPLAINT_LIMIT)];
    String::from_utf8_lossy(kept)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}
