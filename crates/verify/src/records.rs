//! TLS records as they stand on the wire (RFC 8446 §5.1, RFC 5246 §6.2.1): walked, and a hello of an old version written.
//!
//! ```text
//! type (20 to 23) · 3 · minor (0 to 4) · length (2 bytes, at most 2^14 + 2048) · so many bytes
//! ```
//!
//! Never: a key, a cipher; what is inside a record is not looked at, but for the version in a ServerHello.

const HEAD: usize = 5;
const LONGEST: usize = (1 << 14) + 2048;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Walks all of `bytes`; the number of records. The last may be cut off.
///
/// # Errors
///
/// What stands where a record should begin.
pub fn walk(bytes: &[u8]) -> Result<usize, String> {
    let (mut rest, mut count) = (bytes, 0);
    while !rest.is_empty() {
        let length = head(rest).map_err(|what| {
            format!(
                "{what} at byte {} behind the handshake's begin",
                bytes.len() - rest.len()
            )
        })?;
        rest = rest.get(HEAD + length..).unwrap_or_default();
        count += 1;
    }
    Ok(count)
}

/// The length in the head of a record. Of a cut head, what is there must fit.
fn head(bytes: &[u8]) -> Result<usize, String> {
    let fits = |at: usize, range: std::ops::RangeInclusive<u8>| {
        bytes.get(at).is_none_or(|byte| range.contains(byte))
    };
    if !fits(0, 20..=23) || !fits(1, 3..=3) || !fits(2, 0..=4) {
        let shown: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
        return Err(format!("{} is no TLS record", shown.join(" ")));
    }
    let (Some(&high), Some(&low)) = (bytes.get(3), bytes.get(4)) else {
        return Ok(0);
    };
    let length = usize::from(high) << 8 | usize::from(low);
    if (1..=LONGEST).contains(&length) {
        Ok(length)
    } else {
        Err(format!("a record of {length} bytes"))
    }
}

/// A version that should be dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// TLS 1.0 (RFC 8996: must not be used).
    Tls10,
    /// TLS 1.1 (the same).
    Tls11,
}

impl Old {
    fn minor(self) -> u8 {
        match self {
            Old::Tls10 => 1,
            Old::Tls11 => 2,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Old::Tls10 => "TLS 1.0",
            Old::Tls11 => "TLS 1.1",
        }
    }

    /// A ClientHello that can speak nothing newer, with the ciphers of its day. `random` is 32 bytes.
    ///
    /// It has no signature_algorithms, which must not stand in a hello of these versions (RFC 5246 §7.4.1.4.1). A server
    /// may name that in its log as the reason (rustls does); that it sends an alert is what counts.
    pub fn hello(self, random: [u8; 32]) -> Vec<u8> {
        // ECDHE and RSA with AES in CBC mode, then 3DES.
        const CIPHERS: [u8; 14] = [
            0xc0, 0x0a, 0xc0, 0x09, 0xc0, 0x14, 0xc0, 0x13, 0x00, 0x35, 0x00, 0x2f, 0x00, 0x0a,
        ];
        // supported_groups: x25519, secp256r1, secp384r1; ec_point_formats: uncompressed.
        const EXTENSIONS: [u8; 18] = [0, 10, 0, 8, 0, 6, 0, 29, 0, 23, 0, 24, 0, 11, 0, 2, 1, 0];
        let mut body = vec![3, self.minor()];
        body.extend_from_slice(&random);
        body.extend_from_slice(&[0, 0, CIPHERS.len() as u8]);
        body.extend_from_slice(&CIPHERS);
        body.extend_from_slice(&[1, 0, 0, EXTENSIONS.len() as u8]);
        body.extend_from_slice(&EXTENSIONS);
        let length = body.len() as u8;
        let mut record = vec![HANDSHAKE, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend_from_slice(&body);
        record
    }
}

/// What a server made of such a hello.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction {
    /// More bytes are needed to tell.
    Unclear,
    /// An alert, or something that is no TLS.
    Refused,
    /// A ServerHello of this minor version: 1 is TLS 1.0.
    Accepted(u8),
}

/// Reads the server's first record.
pub fn reaction(bytes: &[u8]) -> Reaction {
    match bytes {
        [ALERT, ..] => Reaction::Refused,
        // record head, handshake type 2 (ServerHello), length, version
        [HANDSHAKE, _, _, _, _, 2, _, _, _, 3, minor, ..] => Reaction::Accepted(*minor),
        [HANDSHAKE, ..] if bytes.len() < 11 => Reaction::Unclear,
        [] => Reaction::Unclear,
        _ => Reaction::Refused,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let mut all = vec![kind, 3, 3, (length >> 8) as u8, length as u8];
        all.resize(HEAD + length, 0xaa);
        all
    }

    #[test]
    fn records_are_walked_to_the_end_even_where_the_last_is_cut() {
        let mut all = [record(22, 500), record(20, 1), record(23, 16_384 + 256)].concat();
        assert_eq!(walk(&all), Ok(3));
        assert_eq!(walk(&[]), Ok(0));
        all.extend([23, 3]);
        assert_eq!(walk(&all), Ok(4));
        all.truncate(all.len() - 1000);
        assert_eq!(walk(&all), Ok(3));
    }

    #[test]
    fn what_is_no_record_is_named_with_its_place() {
        let all = [record(22, 10), b"250 2.0.0 OK\r\n".to_vec()].concat();
        let error = walk(&all).unwrap_err();
        assert!(
            error.contains("at byte 15") && error.contains("32 35 30"),
            "{error}"
        );
        for bad in [
            &[24, 3, 3, 0, 1][..],
            &[22, 2, 0, 0, 1],
            &[22, 3, 5, 0, 1],
            &[23, 3, 3, 0, 0],
            &[23, 3, 3, 0xff, 0xff],
        ] {
            assert!(walk(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_old_hello_is_one_good_record_and_its_answers_are_told_apart() {
        for (old, minor) in [(Old::Tls10, 1), (Old::Tls11, 2)] {
            let hello = old.hello([7; 32]);
            assert_eq!(walk(&hello), Ok(1));
            assert_eq!(usize::from(hello[4]) + HEAD, hello.len());
            assert_eq!(hello[10], minor);
            assert_eq!(
                reaction(&[22, 3, minor, 0, 80, 2, 0, 0, 76, 3, minor]),
                Reaction::Accepted(minor)
            );
        }
        assert_eq!(reaction(&[21, 3, 1, 0, 2, 2, 70]), Reaction::Refused);
        assert_eq!(reaction(b"500 what"), Reaction::Refused);
        assert_eq!(reaction(&[22, 3, 1]), Reaction::Unclear);
    }
}
