//! Whether a name or password can be read in recorded bytes: as it is, or in base64 wherever in its blob it stands.
//!
//! Base64 turns three bytes into four characters, so a text looks different by its place in the blob modulo 3. For each
//! place the characters that depend on the text alone are searched for:
//!
//! ```text
//! place 0   al i  ce        YWxpY2…
//! place 1   ?  al ic e      ..FsaWNl      the characters that ? has a part in are left out
//! place 2   ?? a  li ce     ...hbGlj
//! ```
//!
//! Never: keeps or prints a secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem;

/// A text shorter than this stands in any bytes by chance.
pub const SHORTEST: usize = 3;

/// How a secret can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Byte for byte.
    Clear,
    /// In base64.
    Base64,
}

/// Looks for `secret` in `bytes`. A secret shorter than [`SHORTEST`] is never found.
pub fn find(bytes: &[u8], secret: &[u8]) -> Option<Form> {
    if secret.len() < SHORTEST {
        return None;
    }
    if memmem::find(bytes, secret).is_some() {
        return Some(Form::Clear);
    }
    (0..3)
        .filter_map(|place| characters(secret, place))
        .any(|text| memmem::find(bytes, text.as_bytes()).is_some())
        .then_some(Form::Base64)
}

/// What base64 makes of `secret` behind `place` unknown bytes, without the characters that depend on others. Too few of
/// them say nothing.
fn characters(secret: &[u8], place: usize) -> Option<String> {
    let mut padded = vec![0; place];
    padded.extend_from_slice(secret);
    let text = STANDARD_NO_PAD.encode(&padded);
    let start = (place * 8).div_ceil(6);
    let end = (padded.len() * 8) / 6;
    text.get(start..end)
        .filter(|text| text.len() > SHORTEST)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn a_secret_is_found_at_every_place_of_a_blob() {
        for before in 0..7 {
            for after in 0..7 {
                let blob = [
                    &b"\x01x\x02yz\x03w"[..before],
                    b"wonder.land-1",
                    &b"\0abcdef"[..after],
                ]
                .concat();
                let wire = format!("AUTH PLAIN {}\r\n", STANDARD.encode(&blob));
                assert_eq!(
                    find(wire.as_bytes(), b"wonder.land-1"),
                    Some(Form::Base64),
                    "{before} {after}"
                );
                assert_eq!(find(wire.as_bytes(), b"wonder.lard-1"), None);
            }
        }
    }

    #[test]
    fn name_and_password_are_found_in_plain_and_in_login() {
        let plain = STANDARD.encode(b"\0alice\0secret77");
        let login = format!(
            "{}\r\n{}\r\n",
            STANDARD.encode("alice"),
            STANDARD.encode("secret77")
        );
        for wire in [plain, login] {
            for secret in ["alice", "secret77"] {
                assert_eq!(find(wire.as_bytes(), secret.as_bytes()), Some(Form::Base64));
            }
        }
        assert_eq!(
            find(b"a001 LOGIN alice secret77", b"alice"),
            Some(Form::Clear)
        );
    }

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        assert_eq!(find(b"", b"alice"), None);
        assert_eq!(find(b"an", b"an"), None);
        assert_eq!(find(b"alic", b"alice"), None);
        let noise: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        assert_eq!(find(&noise, b"alice"), None);
    }
}
