use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd,
};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("parameters")
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn root(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_params(name), key()).expect("a root")
}

fn intermediate(name: &str, root: &Authority) -> Authority {
    CertifiedIssuer::signed_by(authority_params(name), key(), root).expect("an intermediate")
}

fn pem(path: &str, text: &str) -> PemFile {
    PemFile {
        path: path.into(),
        text: text.as_bytes().to_vec(),
    }
}

fn pair(certificate: &str, key: &str) -> PairFiles {
    PairFiles {
        certificate: pem("cert.pem", certificate),
        key: pem("key.pem", key),
    }
}

fn self_signed(names: &[&str]) -> PairFiles {
    let key = key();
    let certificate = params(names).self_signed(&key).expect("a certificate");
    pair(&certificate.pem(), &key.serialize_pem())
}

fn error(files: &PairFiles) -> Error {
    error_at(files, SystemTime::now())
}

fn error_at(files: &PairFiles, now: SystemTime) -> Error {
    let mut errors =
        Store::new(std::slice::from_ref(files), &crate::provider(), now).expect_err("an error");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = errors.remove(0);
    assert!(!error.remedy().is_empty());
    error
}

fn store(files: &[PairFiles]) -> Store {
    Store::new(files, &crate::provider(), SystemTime::now()).expect("a store")
}

#[test]
fn keys_of_every_kind_and_chains_of_every_length_are_taken() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = params(&["mx.example.com"])
            .self_signed(&key)
            .expect("a certificate");
        store(&[pair(&certificate.pem(), &key.serialize_pem())]);
    }
    let root = root("root");
    let middle = intermediate("middle", &root);
    let key = key();
    let leaf = params(&["mx.example.com"])
        .signed_by(&key, &middle)
        .expect("a leaf")
        .pem();
    for chain in [
        leaf.clone(),
        leaf.clone() + &middle.pem(),
        leaf + &middle.pem() + &root.pem(),
    ] {
        let store = store(&[pair(&chain, &key.serialize_pem())]);
        assert_eq!(
            store.facts().next().expect("facts").names,
            ["mx.example.com"]
        );
    }
}

#[test]
fn key_and_certificate_may_share_a_file() {
    let files = self_signed(&["mx.example.com"]);
    let both = [files.key.text, files.certificate.text].concat();
    let both = String::from_utf8(both).expect("text");
    store(&[pair(&both, &both)]);
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let good = self_signed(&["mx.example.com"]);
    let (certificate, key) = (&good.certificate.text, &good.key.text);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let damaged = |pem: &[u8]| text(pem).replacen("\nM", "\n!", 1);
    let cut = |pem: &[u8]| text(pem).replace("-----END", "-----");
    let other = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old_locked = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    let tiny = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let cases = [
        (text(key), text(key), "cert.pem: holds no certificate"),
        (String::new(), text(key), "cert.pem: holds no certificate"),
        (damaged(certificate), text(key), "cert.pem: not PEM"),
        (cut(certificate), text(key), "cert.pem: not PEM"),
        (
            other.into(),
            text(key),
            "cert.pem: certificate 1 cannot be read",
        ),
        (
            text(certificate) + other,
            text(key),
            "cert.pem: certificate 2 cannot be read",
        ),
        (
            text(certificate),
            text(certificate),
            "key.pem: holds no private key",
        ),
        (text(certificate), damaged(key), "key.pem: not PEM"),
        (
            text(certificate),
            locked.into(),
            "key.pem: the key is locked",
        ),
        (
            text(certificate),
            old_locked.into(),
            "key.pem: the key is locked",
        ),
        (
            text(certificate),
            tiny.into(),
            "key.pem: this key cannot be used",
        ),
    ];
    for (certificate, key, expected) in cases {
        let error = error(&pair(&certificate, &key));
        assert!(
            error.to_string().starts_with(expected),
            "{error} is not {expected}"
        );
        assert_eq!(
            error.path().map(|path| path.to_str()),
            Some(expected.split(':').next())
        );
    }
}

#[test]
fn a_key_that_does_not_fit_is_told_what_it_fits() {
    let root = root("root");
    let (leaf_key, stranger) = (key(), key());
    let leaf = params(&["mx.example.com"])
        .signed_by(&leaf_key, &root)
        .expect("a leaf")
        .pem();
    let found = error(&pair(&leaf, &stranger.serialize_pem()));
    assert!(
        matches!(found, Error::KeyMismatch { fits: None, .. }),
        "{found}"
    );

    let reversed = root.pem() + &leaf;
    let found = error(&pair(&reversed, &leaf_key.serialize_pem()));
    assert!(
        matches!(found, Error::KeyMismatch { fits: Some(2), .. }),
        "{found}"
    );
    assert_eq!(found.remedy(), "put that certificate first in the file");
}

#[test]
fn a_broken_chain_is_found_at_its_place() {
    let (root, stranger) = (root("root"), root("stranger"));
    let middle = intermediate("middle", &root);
    let key = key();
    let leaf = params(&["mx.example.com"])
        .signed_by(&key, &middle)
        .expect("a leaf")
        .pem();

    let found = error(&pair(
        &(leaf.clone() + &root.pem() + &middle.pem()),
        &key.serialize_pem(),
    ));
    assert!(
        matches!(found, Error::OutOfOrder { number: 1, .. }),
        "{found}"
    );
    let found = error(&pair(
        &(leaf.clone() + &middle.pem() + &stranger.pem()),
        &key.serialize_pem(),
    ));
    assert!(
        matches!(found, Error::OutOfOrder { number: 2, .. }),
        "{found}"
    );

    let namesake = intermediate("middle", &root);
    let found = error(&pair(&(leaf + &namesake.pem()), &key.serialize_pem()));
    assert!(
        matches!(found, Error::WrongIssuer { number: 1, .. }),
        "{found}"
    );
}

#[test]
fn dates_are_checked_and_shown() {
    let key = key();
    let mut params = params(&["mx.example.com"]);
    params.not_before = date_time_ymd(2026, 2, 1);
    params.not_after = date_time_ymd(2026, 5, 2);
    let certificate = params.self_signed(&key).expect("a certificate");
    let files = pair(&certificate.pem(), &key.serialize_pem());
    let at = |year, month, day| SystemTime::from(date_time_ymd(year, month, day));

    let found = error_at(&files, at(2026, 5, 3));
    assert_eq!(
        found.to_string(),
        "cert.pem: certificate 1 expired on 2026-05-02"
    );
    let found = error_at(&files, at(2026, 1, 31));
    assert_eq!(
        found.to_string(),
        "cert.pem: certificate 1 is not valid before 2026-02-01"
    );

    let store = Store::new(&[files], &crate::provider(), at(2026, 4, 1)).expect("valid");
    let facts = store.facts().next().expect("facts");
    assert_eq!(
        (facts.not_before, facts.not_after),
        (at(2026, 2, 1), at(2026, 5, 2))
    );
    assert_eq!(
        facts.remaining(at(2026, 4, 30)),
        Duration::from_secs(2 * 86_400)
    );
    assert_eq!(facts.remaining(at(2027, 1, 1)), Duration::ZERO);
}

#[test]
fn every_bad_pair_is_told_at_once() {
    let bad = pair("", "");
    let good = self_signed(&["mx.example.com"]);
    let errors = Store::new(
        &[bad.clone(), good, bad],
        &crate::provider(),
        SystemTime::now(),
    )
    .expect_err("bad");
    assert_eq!(errors.len(), 2);
    let none = Store::new(&[], &crate::provider(), SystemTime::now()).expect_err("none");
    assert!(matches!(none[..], [Error::NoPair]));
}

#[test]
fn names_cover_as_clients_read_them() {
    let store = store(&[self_signed(&[
        "MX.Example.com",
        "*.example.net",
        "192.0.2.1",
    ])]);
    let facts = store.facts().next().expect("facts");
    for name in [
        "mx.example.com",
        "MX.EXAMPLE.COM.",
        "a.example.net",
        "192.0.2.1",
    ] {
        assert!(facts.covers(name), "{name}");
    }
    for name in [
        "example.com",
        "example.net",
        "a.b.example.net",
        "b.mx.example.com",
        "",
        "net",
    ] {
        assert!(!facts.covers(name), "{name}");
    }
}

#[test]
fn a_name_finds_its_pair_exact_before_wildcard() {
    let store = store(&[
        self_signed(&["first.example.com"]),
        self_signed(&["*.example.com"]),
        self_signed(&["mx.example.com"]),
    ]);
    let place = |name: &str| {
        let found = store.named(name).next();
        found.and_then(|pair| {
            store
                .pairs
                .iter()
                .position(|other| std::ptr::eq(other, pair))
        })
    };
    assert_eq!(place("first.example.com"), Some(0));
    assert_eq!(place("mx.example.com"), Some(2));
    assert_eq!(place("other.example.com"), Some(1));
    assert_eq!(place("a.b.example.com"), None);
    assert_eq!(place("example.com"), None);
}

#[test]
fn nothing_prints_a_key() {
    let files = self_signed(&["mx.example.com"]);
    let text = format!("{files:?} {:?}", store(std::slice::from_ref(&files)));
    let key = String::from_utf8(files.key.text).expect("text");
    let line = key.lines().nth(1).expect("a line");
    assert!(text.contains("key.pem") && !text.contains(line));
}
