//! DKIM: the public key that a selector names (RFC 6376 §3.6.1, RFC 8463, RFC 8301).
//!
//! Never: a guess at selectors; DNS does not list them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_dns::Ask;

use super::desk::Desk;
use super::row::{Grade, Row, text_line};
use super::tags::Tags;

/// RFC 8301 §3.2: verifiers take no smaller RSA key.
const SMALLEST: usize = 1024;
/// What signers should use.
const ADVISED: usize = 2048;

/// What a key record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// No longer in use: `p=` is empty.
    Revoked,
    /// RSA of so many bits.
    Rsa(usize),
    /// Ed25519.
    Ed25519,
}

/// The row of a domain and a selector.
pub(super) async fn check<A: Ask>(desk: &Desk<'_, A>, domain: &str, selector: &str) -> Row {
    let subject = format!("DKIM {selector}");
    let name = format!("{selector}._domainkey.{domain}");
    let texts = match desk.texts(&name).await {
        Ok(texts) => texts,
        Err(untold) => return desk.not_asked(subject, &untold),
    };
    let publish = vec![text_line(
        &name,
        "v=DKIM1; k=rsa; p=<the public key of the signer, in base64>",
    )];
    let text = match texts.as_slice() {
        [] => {
            let remark = "signatures that name this selector count for nothing";
            return desk.row(subject, Grade::Missing, remark).with(publish);
        }
        [one] => one,
        more => {
            let remark = format!(
                "there are {} texts; a verifier may take any of them (RFC 6376 §3.6.2.2)",
                more.len()
            );
            return desk
                .row(subject, Grade::Contradictory, remark)
                .with(publish);
        }
    };
    let contradictory = |remark: String| {
        desk.row(subject.clone(), Grade::Contradictory, remark)
            .with(publish.clone())
    };
    match parse(text) {
        Err(why) => contradictory(format!("the key record is broken: {why}")),
        Ok((Key::Revoked, _)) => {
            contradictory("the key is revoked (p= is empty), so signatures with it fail".to_owned())
        }
        Ok((Key::Rsa(bits), _)) if bits < SMALLEST => contradictory(format!(
            "the RSA key has {bits} bits; verifiers take none below {SMALLEST} (RFC 8301)"
        )),
        Ok((key, testing)) => desk.row(subject, Grade::Found, notes(&key, testing).join("; ")),
    }
}

/// The row where no selector was named.
pub(super) fn not_asked<A: Ask>(desk: &Desk<'_, A>) -> Row {
    desk.row(
        "DKIM",
        Grade::Note,
        "DNS does not list selectors; name the signer's with --selector",
    )
}

fn notes(key: &Key, testing: bool) -> Vec<String> {
    let mut notes = vec![match key {
        Key::Rsa(bits) if *bits < ADVISED => {
            format!("RSA of {bits} bits; {ADVISED} are advised (RFC 8301)")
        }
        Key::Rsa(bits) => format!("RSA of {bits} bits"),
        _ => "Ed25519; sign with an RSA key too, which every verifier knows".to_owned(),
    }];
    if testing {
        notes.push("t=y: verifiers take it for a test, and a bad signature for none".to_owned());
    }
    notes
}

/// The key, and whether it is for testing (`t=y`).
pub(super) fn parse(text: &str) -> Result<(Key, bool), String> {
    let tags = Tags::parse(text)?;
    if let Some(version) = tags.get("v")
        && (version != "DKIM1" || tags.place("v") != Some(0))
    {
        return Err("v=DKIM1 must stand first".to_owned());
    }
    let services = tags.get("s").unwrap_or("*");
    if !services
        .split(':')
        .any(|one| matches!(one.trim(), "*" | "email"))
    {
        return Err(format!("s={services} keeps it from mail"));
    }
    let hashes = tags.get("h").unwrap_or("sha256");
    if !hashes.split(':').any(|one| one.trim() == "sha256") {
        return Err(format!(
            "h={hashes} leaves out sha256, the only hash in use"
        ));
    }
    let testing = tags
        .get("t")
        .is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y"));
    let data = tags.get("p").ok_or_else(|| "p= is missing".to_owned())?;
    // RFC 6376 §2.10: space inside it does not count.
    let data: String = data
        .chars()
        .filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n'))
        .collect();
    let bytes = STANDARD
        .decode(data)
        .map_err(|_| "p= is not base64".to_owned())?;
    Ok((key(tags.get("k").unwrap_or("rsa"), &bytes)?, testing))
}

fn key(kind: &str, bytes: &[u8]) -> Result<Key, String> {
    match kind {
        _ if bytes.is_empty() => Ok(Key::Revoked),
        "rsa" => postern_tls::rsa_bits(bytes)
            .map(Key::Rsa)
            .ok_or_else(|| "p= is no RSA key".to_owned()),
        "ed25519" if bytes.len() == 32 => Ok(Key::Ed25519),
        "ed25519" => Err(format!(
            "p= holds {} bytes; an Ed25519 key has 32",
            bytes.len()
        )),
        _ => Err(format!("k={kind} is no kind of key; rsa and ed25519 are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6376 appendix C.
    const RSA_1024: &str = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC\
        jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

    #[test]
    fn keys_are_read_or_the_fault_is_named() {
        assert_eq!(parse(RSA_1024), Ok((Key::Rsa(1024), false)));
        let ed = "v=DKIM1; k=ed25519; t=s:y; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        assert_eq!(parse(ed), Ok((Key::Ed25519, true)));
        assert_eq!(parse("v=DKIM1; p="), Ok((Key::Revoked, false)));
        let cases = [
            ("", "p= is missing"),
            ("p=AAAA; v=DKIM1", "v=DKIM1 must stand first"),
            ("v=DKIM2; p=AAAA", "v=DKIM1 must stand first"),
            ("v=DKIM1; p=!!", "p= is not base64"),
            ("v=DKIM1; p=AAAA", "p= is no RSA key"),
            ("v=DKIM1; k=ed25519; p=AAAA", "p= holds 3 bytes"),
            ("v=DKIM1; k=dsa; p=AAAA", "k=dsa is no kind of key"),
            ("v=DKIM1; s=tls; p=AAAA", "s=tls keeps it from mail"),
            ("v=DKIM1; h=sha1; p=AAAA", "h=sha1 leaves out sha256"),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
