//! What can be told of a certificate and its key before a worker sees them: that they are PEM, fit each other, are in date,
//! and name the server.
//!
//! Only the four fields needed are found in the DER (RFC 5280 §4.1): validity, the public key, compared byte for byte
//! with the one that belongs to the private key, and the alternative names.
//!
//! Never: says that a chain is trusted; that is for whoever connects.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// What is wrong with a pair, and how badly.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// The certificate file holds no PEM certificate, or one that cannot be read.
    NoCertificate,
    /// The key file holds no private key of a kind that is supported.
    NoKey,
    /// The first certificate is for another key.
    OtherKey,
    /// The first certificate ended at this moment (seconds since 1970).
    Expired(u64),
    /// The first certificate ends soon, at this moment.
    EndsSoon(u64),
    /// The first certificate begins at this moment, in the future.
    NotYet(u64),
}

/// Days ahead of the end from which it is worth a warning.
const SOON: u64 = 21 * 86_400;

/// Looks at a pair; the key may be missing where it cannot be read.
pub(crate) fn inspect(certificate: &[u8], key: Option<&str>, now: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let leaf = CertificateDer::pem_slice_iter(certificate)
        .next()
        .and_then(Result::ok);
    let fields = leaf.as_deref().and_then(Fields::find);
    match &fields {
        None => faults.push(Fault::NoCertificate),
        Some(fields) if fields.ends < now => faults.push(Fault::Expired(fields.ends)),
        Some(fields) if fields.begins > now => faults.push(Fault::NotYet(fields.begins)),
        Some(fields) if fields.ends < now + SOON => faults.push(Fault::EndsSoon(fields.ends)),
        Some(_) => {}
    }
    let pair = key.map(rcgen::KeyPair::from_pem);
    match (pair, &fields) {
        (Some(Err(_)), _) => faults.push(Fault::NoKey),
        (Some(Ok(pair)), Some(fields))
            if !fields
                .public_key
                .ends_with(rcgen::PublicKeyData::der_bytes(&pair)) =>
        {
            faults.push(Fault::OtherKey);
        }
        _ => {}
    }
    faults
}

/// The host names in the first certificate; `None`: there is none that can be read.
pub(crate) fn names(certificate: &[u8]) -> Option<Vec<String>> {
    let leaf = CertificateDer::pem_slice_iter(certificate).next()?.ok()?;
    Some(Fields::find(&leaf)?.names)
}

/// Whether one of a certificate's names is `host`'s; `*` stands for one whole label, the first (RFC 6125 §6.4.3).
pub(crate) fn covers(names: &[String], host: &str) -> bool {
    names.iter().any(|name| {
        name.eq_ignore_ascii_case(host)
            || matches!(
                (name.strip_prefix("*."), host.split_once('.')),
                (Some(parent), Some((_, rest))) if parent.eq_ignore_ascii_case(rest)
            )
    })
}

/// The fields of a certificate that matter here.
struct Fields<'a> {
    begins: u64,
    ends: u64,
    /// The SubjectPublicKeyInfo, whose last bytes are the key itself.
    public_key: &'a [u8],
    /// The DNS names among the alternative names. A common name counts for nothing (RFC 9525 §2).
    names: Vec<String>,
}

impl<'a> Fields<'a> {
    /// RFC 5280 §4.1: version, serial number, signature, issuer, validity, subject, subjectPublicKeyInfo.
    fn find(der: &'a [u8]) -> Option<Fields<'a>> {
        let certificate = element(&mut { der }, 0x30)?;
        let mut rest = element(&mut { certificate }, 0x30)?;
        if rest.first() == Some(&0xa0) {
            element(&mut rest, 0xa0)?;
        }
        element(&mut rest, 0x02)?;
        element(&mut rest, 0x30)?;
        element(&mut rest, 0x30)?;
        let mut validity = element(&mut rest, 0x30)?;
        let (begins, ends) = (time(&mut validity)?, time(&mut validity)?);
        element(&mut rest, 0x30)?;
        Some(Fields {
            begins,
            ends,
            public_key: element(&mut rest, 0x30)?,
            names: alternative_names(rest).unwrap_or_default(),
        })
    }
}

/// RFC 5280 §4.2.1.6, in what follows the public key: two unique identifiers, which nobody uses, and the extensions.
fn alternative_names(mut rest: &[u8]) -> Option<Vec<String>> {
    const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    const DNS_NAME: u8 = 0x82;
    while matches!(rest.first(), Some(0x81 | 0x82)) {
        let tag = *rest.first()?;
        element(&mut rest, tag)?;
    }
    let mut wrapped = element(&mut rest, 0xa3)?;
    let mut extensions = element(&mut wrapped, 0x30)?;
    while let Some(mut extension) = element(&mut extensions, 0x30) {
        if element(&mut extension, 0x06)? != SUBJECT_ALT_NAME {
            continue;
        }
        // It may be said to be critical.
        let _ = element(&mut { extension }, 0x01).map(|_| element(&mut extension, 0x01));
        let mut value = element(&mut extension, 0x04)?;
        let mut names = element(&mut value, 0x30)?;
        let mut found = Vec::new();
        while let Some(&tag) = names.first() {
            let name = element(&mut names, tag)?;
            if tag == DNS_NAME {
                found.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        return Some(found);
    }
    None
}

/// The content of the element at the front, which must have this tag; `rest` is then what follows it.
fn element<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&first, after) = rest.split_first()?;
    let (&short, mut after) = after.split_first()?;
    let length = match short {
        0..=0x7f => usize::from(short),
        0x81..=0x83 => {
            let (digits, behind) = after.split_at_checked(usize::from(short & 0x7f))?;
            after = behind;
            digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit))
        }
        _ => return None,
    };
    let (content, behind) = after.split_at_checked(length)?;
    *rest = behind;
    (first == tag).then_some(content)
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ`, in UTC and with seconds (RFC 5280 §4.1.2.5).
fn time(rest: &mut &[u8]) -> Option<u64> {
    let tag = *rest.first()?;
    let text = std::str::from_utf8(element(rest, tag)?).ok()?;
    let (year, digits) = match tag {
        0x17 => (two(text.get(..2)?)?, text.get(2..)?),
        0x18 => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let year = if tag == 0x17 {
        year + if year < 50 { 2000 } else { 1900 }
    } else {
        year
    };
    let field = |at: usize| two(digits.get(at..at + 2)?);
    let (month, day) = (field(0)?, field(2)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(year, month, day) * 86_400 + field(4)? * 3600 + field(6)? * 60 + field(8)?)
}

fn two(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Hinnant's `days_from_civil`).
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn pair(from: i32, to: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["mail.example.com".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 3, 1);
        params.not_after = date_time_ymd(to, 3, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    const MARCH_2026: u64 = 1_772_323_200;

    #[test]
    fn a_sound_pair_has_no_faults() {
        let (certificate, key) = pair(2020, 2060);
        assert_eq!(inspect(certificate.as_bytes(), Some(&key), MARCH_2026), []);
        assert_eq!(inspect(certificate.as_bytes(), None, MARCH_2026), []);
    }

    #[test]
    fn dates_are_read_to_the_second() {
        let (certificate, key) = pair(2020, 2026);
        assert_eq!(
            inspect(certificate.as_bytes(), Some(&key), MARCH_2026 + 1),
            [Fault::Expired(MARCH_2026)]
        );
        assert_eq!(
            inspect(certificate.as_bytes(), Some(&key), MARCH_2026 - 1),
            [Fault::EndsSoon(MARCH_2026)]
        );
        let (certificate, key) = pair(2026, 2060);
        assert_eq!(
            inspect(certificate.as_bytes(), Some(&key), MARCH_2026 - 1),
            [Fault::NotYet(MARCH_2026)]
        );
    }

    #[test]
    fn what_does_not_fit_or_is_not_there_is_named() {
        let (certificate, key) = pair(2020, 2060);
        let (_, other) = pair(2020, 2060);
        assert_eq!(
            inspect(certificate.as_bytes(), Some(&other), MARCH_2026),
            [Fault::OtherKey]
        );
        assert_eq!(
            inspect(key.as_bytes(), Some(&key), MARCH_2026),
            [Fault::NoCertificate]
        );
        assert_eq!(
            inspect(certificate.as_bytes(), Some(&certificate), MARCH_2026),
            [Fault::NoKey]
        );
    }

    #[test]
    fn names_are_found_and_wildcards_stand_for_one_label() {
        let certificate = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let params = CertificateParams::new(names).unwrap();
            params
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
                .pem()
        };
        let pem = certificate(&["mx1.example.com", "192.0.2.7", "*.example.net"]);
        let found = names(pem.as_bytes()).unwrap();
        assert_eq!(found, ["mx1.example.com", "*.example.net"]);
        for (host, covered) in [
            ("mx1.example.com", true),
            ("MX1.example.com", true),
            ("mx2.example.com", false),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
        ] {
            assert_eq!(covers(&found, host), covered, "{host}");
        }
        assert_eq!(names(certificate(&[]).as_bytes()).unwrap(), [""; 0]);
        assert_eq!(names(b"nothing"), None);
    }

    #[test]
    fn a_cut_certificate_is_no_certificate() {
        let (certificate, _) = pair(2020, 2060);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let whole = Fields::find(&der).unwrap();
        assert!(whole.begins < whole.ends);
        for end in 0..der.len() - whole.public_key.len() {
            let _ = Fields::find(&der[..end]);
        }
        assert!(Fields::find(&der[..40]).is_none());
    }
}
