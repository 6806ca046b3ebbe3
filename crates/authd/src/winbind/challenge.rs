//! The server's name in an NTLM challenge (MS-NLMP 2.2.1.2) made by a helper of Samba's.
//!
//! Never: a challenge that is sent to anybody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where the pairs of names stand: their length and offset.
const LENGTH: usize = 40;
const OFFSET: usize = 44;
const COMPUTER: u16 = 1;

/// The NetBIOS name of the computer.
pub(super) fn computer(base64: &str) -> Option<String> {
    let message = STANDARD.decode(base64.trim_end()).ok()?;
    if !message.starts_with(b"NTLMSSP\0\x02\0\0\0") {
        return None;
    }
    let length = usize::from(word(&message, LENGTH)?);
    let offset = usize::from(word(&message, OFFSET)?);
    let mut rest = message.get(offset..offset + length)?;
    loop {
        let (kind, length) = (word(rest, 0)?, usize::from(word(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        match kind {
            0 => return None,
            COMPUTER => return text(value),
            _ => rest = &rest[4 + length..],
        }
    }
}

fn word(octets: &[u8], at: usize) -> Option<u16> {
    let pair = octets.get(at..at + 2)?;
    Some(u16::from_le_bytes([pair[0], pair[1]]))
}

fn text(utf16: &[u8]) -> Option<String> {
    let units: Vec<u16> = utf16
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let name = String::from_utf16(&units).ok()?;
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::computer;

    #[test]
    fn the_name_is_found() {
        let seen = "TlRMTVNTUAACAAAABAAEADgAAAAGgokCztVjQr2q0XUAAAAAAAAAADIAMgA8AAAABgEAAAAAAA9DT1JQAgAIAEMATwBSAFAAAQAGAEQAQwAxAAQAAAADAAQAdgBtAAcACAA0goClyHvdAQAAAAA=";
        assert_eq!(computer(seen).as_deref(), Some("DC1"));
        assert_eq!(computer(&seen[..80]), None);
        assert_eq!(computer(""), None);
        assert_eq!(
            computer("TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAA="),
            None
        );
    }
}
