//! As much of X.509 as the checks in `certs` need: dates, names, who signed whom.
//!
//! Never: trust. Nothing here says a certificate is genuine; rustls does that, for peers.

/// One certificate, taken apart but not copied.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    /// What was signed, tag and length included.
    pub(crate) signed: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) subject: &'a [u8],
    /// Seconds since 1970; before that is 0.
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// The public key with its algorithm, tag and length included.
    pub(crate) key_info: &'a [u8],
    pub(crate) key_algorithm: &'a [u8],
    pub(crate) key: &'a [u8],
    pub(crate) signature_algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
    /// DNS names in lower case and addresses of the subject alternative name; else the common name.
    pub(crate) names: Vec<String>,
    /// Mail addresses of the subject alternative name, as written.
    pub(crate) mails: Vec<String>,
    /// The subject's common name, as written.
    pub(crate) common_name: Option<String>,
    /// The list of extensions, for [`Certificate::extension`].
    extensions: Option<&'a [u8]>,
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const SAN_MAIL: u8 = 0x81;
const SAN_DNS: u8 = 0x82;
const SAN_ADDRESS: u8 = 0x87;

const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// rsaEncryption.
pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(crate) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl<'a> Certificate<'a> {
    /// RFC 5280 §4.1. `None` where it is not a certificate.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let mut outer = Reader(Reader(der).take(SEQUENCE)?);
        let (signed, body) = outer.take_whole(SEQUENCE)?;
        let signature_algorithm = outer.take(SEQUENCE)?;
        let signature = bits(outer.take(BIT_STRING)?)?;

        let mut body = Reader(body);
        body.skip(VERSION);
        body.take(INTEGER)?;
        body.take(SEQUENCE)?;
        let issuer = body.take(SEQUENCE)?;
        let mut validity = Reader(body.take(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = body.take(SEQUENCE)?;
        let (key_info, inner) = body.take_whole(SEQUENCE)?;
        let mut inner = Reader(inner);
        let key_algorithm = inner.take(SEQUENCE)?;
        let key = bits(inner.take(BIT_STRING)?)?;

        let extensions = extensions(body);
        let alternative = extensions
            .and_then(|list| extension(list, ALTERNATIVE_NAME))
            .and_then(|value| Reader(value).take(SEQUENCE))
            .map(Reader);
        let common_name = common_name(subject);
        let mut names = alternative.map_or_else(Vec::new, host_names);
        if names.is_empty() {
            names.extend(common_name.as_deref().map(str::to_ascii_lowercase));
        }
        Some(Certificate {
            signed,
            issuer,
            subject,
            not_before,
            not_after,
            key_info,
            key_algorithm,
            key,
            signature_algorithm,
            signature,
            names,
            mails: alternative.map_or_else(Vec::new, mail_addresses),
            common_name,
            extensions,
        })
    }

    /// The value of an extension, by its object identifier (RFC 5280 §4.2).
    pub(crate) fn extension(&self, oid: &[u8]) -> Option<&'a [u8]> {
        extension(self.extensions?, oid)
    }

    /// Whether it has names of hosts, and not only a common name, which counts for nothing (RFC 9525 §2).
    pub(crate) fn names_hosts(&self) -> bool {
        let list = self.extension(ALTERNATIVE_NAME);
        let list = list.and_then(|value| Reader(value).take(SEQUENCE));
        list.is_some_and(|list| !host_names(Reader(list)).is_empty())
    }
}

/// The size in bits of an RSA key, from its SubjectPublicKeyInfo (RFC 8017 §A.1.1) or from the bare RSAPublicKey in it.
/// `None` where it is neither.
pub fn rsa_bits(der: &[u8]) -> Option<usize> {
    let mut outer = Reader(Reader(der).take(SEQUENCE)?);
    let mut key = match outer.take(SEQUENCE) {
        None => outer,
        Some(algorithm) => {
            if Reader(algorithm).take(OID)? != RSA {
                return None;
            }
            Reader(Reader(bits(outer.take(BIT_STRING)?)?).take(SEQUENCE)?)
        }
    };
    let modulus = key.take(INTEGER)?;
    key.take(INTEGER)?;
    let leading = modulus.iter().take_while(|octet| **octet == 0).count();
    let significant = &modulus[leading..];
    let unused = significant.first()?.leading_zeros() as usize;
    Some(significant.len() * 8 - unused)
}

/// A BIT STRING without its count of unused bits, which is 0 for keys and signatures.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[0])
}

/// The extensions, which stand last in the body.
fn extensions(mut body: Reader<'_>) -> Option<&[u8]> {
    while let Some((tag, content)) = body.next() {
        if tag == EXTENSIONS {
            return Reader(content).take(SEQUENCE);
        }
    }
    None
}

fn extension<'a>(list: &'a [u8], oid: &[u8]) -> Option<&'a [u8]> {
    let mut list = Reader(list);
    while let Some(extension) = list.take(SEQUENCE) {
        let mut extension = Reader(extension);
        if extension.take(OID) == Some(oid) {
            extension.skip(BOOLEAN);
            return extension.take(OCTET_STRING);
        }
    }
    None
}

/// RFC 5280 §4.2.1.6.
fn mail_addresses(mut list: Reader<'_>) -> Vec<String> {
    let mut mails = Vec::new();
    while let Some((tag, content)) = list.next() {
        let text = std::str::from_utf8(content).ok();
        mails.extend(text.filter(|_| tag == SAN_MAIL).map(str::to_owned));
    }
    mails
}

fn host_names(mut list: Reader<'_>) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((tag, content)) = list.next() {
        match tag {
            SAN_DNS => names.extend(
                std::str::from_utf8(content)
                    .ok()
                    .map(str::to_ascii_lowercase),
            ),
            SAN_ADDRESS => names.extend(address(content)),
            _ => {}
        }
    }
    names
}

fn address(octets: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(octets).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}

/// The common name of old certificates that have no alternative name.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut subject = Reader(subject);
    while let Some(set) = subject.take(SET) {
        let mut attribute = Reader(Reader(set).take(SEQUENCE)?);
        if attribute.take(OID)? == COMMON_NAME {
            let (_, text) = attribute.next()?;
            return std::str::from_utf8(text).ok().map(str::to_owned);
        }
    }
    None
}

/// DER elements, one after another.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, tag and content.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, _, content) = self.element()?;
        Some((tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.take_whole(tag).map(|(_, content)| content)
    }

    /// The same, and the element as a whole beside it.
    pub(crate) fn take_whole(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        let (_, whole, content) = self.element()?;
        Some((whole, content))
    }

    /// Passes over an optional element.
    pub(crate) fn skip(&mut self, tag: u8) {
        let _ = self.take(tag);
    }

    fn element(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            long_length(first, rest)?
        };
        let content = rest.get(..length)?;
        let whole = &self.0[..self.0.len() - rest.len() + length];
        self.0 = &rest[length..];
        Some((tag, whole, content))
    }

    fn time(&mut self) -> Option<u64> {
        let (tag, text) = self.next()?;
        let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        // RFC 5280 §4.1.2.5: two digits of a year from 50 on are 19xx.
        let (year, rest) = match tag {
            UTC_TIME => {
                let short = number(text.get(..2)?)?;
                (
                    if short < 50 {
                        2000 + short
                    } else {
                        1900 + short
                    },
                    text.get(2..)?,
                )
            }
            GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
            _ => return None,
        };
        let part = |at: usize| number(rest.get(at..at + 2)?);
        let days = days_since_1970(year, part(0)?, part(2)?);
        Some((days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?).max(0) as u64)
    }
}

/// A length of one to three octets; nothing here is longer than 16 MB.
fn long_length(first: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    let count = usize::from(first & 0x7f);
    if !(1..=3).contains(&count) {
        return None;
    }
    let (octets, rest) = rest.split_at_checked(count)?;
    Some((
        octets
            .iter()
            .fold(0, |length, octet| length << 8 | usize::from(*octet)),
        rest,
    ))
}

fn number(digits: &str) -> Option<i64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

/// Days of the Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The day of a time since 1970, as `2026-11-24`.
pub(crate) fn day(seconds: u64) -> String {
    let days = (seconds / 86_400) as i64 + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_go_both_ways() {
        let cases = [
            (1970, 1, 1, "1970-01-01"),
            (2000, 2, 29, "2000-02-29"),
            (2026, 11, 24, "2026-11-24"),
            (2049, 12, 31, "2049-12-31"),
            (2100, 3, 1, "2100-03-01"),
        ];
        for (year, month, date, text) in cases {
            assert_eq!(
                day(days_since_1970(year, month, date) as u64 * 86_400 + 86_399),
                text
            );
        }
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
    }

    #[test]
    fn times_are_read_in_both_forms() {
        let cases: [(&[u8], Option<u64>); 6] = [
            (b"\x17\x0d700101000000Z", Some(0)),
            (b"\x17\x0d491231235959Z", Some(2_524_607_999)),
            (b"\x18\x0f20500101000000Z", Some(2_524_608_000)),
            (b"\x18\x0f99991231235959Z", Some(253_402_300_799)),
            (b"\x17\x0d7001010000+0Z", None),
            (b"\x17\x0b7001010000Z", None),
        ];
        for (der, seconds) in cases {
            assert_eq!(Reader(der).time(), seconds, "{}", der.escape_ascii());
        }
    }

    #[test]
    fn rsa_keys_are_measured() {
        let spki = |modulus: &[u8]| {
            let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
            let key = [wrap(INTEGER, modulus), wrap(INTEGER, &[1, 0, 1])].concat();
            let key = wrap(SEQUENCE, &key);
            let algorithm = wrap(SEQUENCE, &[wrap(OID, RSA), vec![0x05, 0x00]].concat());
            let string = wrap(BIT_STRING, &[&[0], key.as_slice()].concat());
            (wrap(SEQUENCE, &[algorithm, string].concat()), key)
        };
        let (whole, bare) = spki(&[0, 0x80, 0, 0, 0]);
        assert_eq!((rsa_bits(&whole), rsa_bits(&bare)), (Some(32), Some(32)));
        assert_eq!(rsa_bits(&spki(&[0x01, 0]).0), Some(9));
        assert_eq!(rsa_bits(&spki(&[0, 0]).0), None);
        for length in 0..whole.len() {
            assert_eq!(rsa_bits(&whole[..length]), None);
        }
    }

    #[test]
    fn cut_and_changed_certificates_never_panic() {
        let good = rcgen::generate_simple_self_signed([
            "mx.example.com".to_owned(),
            "192.0.2.1".to_owned(),
        ])
        .expect("a certificate");
        let der = good.cert.der().to_vec();
        assert_eq!(
            Certificate::parse(&der).expect("parsed").names,
            ["mx.example.com", "192.0.2.1"]
        );
        for length in 0..der.len() {
            assert!(Certificate::parse(&der[..length]).is_none());
        }
        for at in 0..der.len() {
            for byte in [0x00, 0x30, 0x7f, 0x80, 0x83, 0xff] {
                let mut changed = der.clone();
                changed[at] = byte;
                let _ = Certificate::parse(&changed);
            }
        }
    }
}
