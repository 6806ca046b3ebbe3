//! Servers judged by TLSA records in real handshakes.

use std::io;
use std::time::{Duration, SystemTime};

use postern_tls::dane::{Pin, Pins};
use postern_tls::{ClientTls, PairFiles, PemFile, ServerSettings, ServerTls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};

/// A server, the DER of what it shows, and its authority's.
struct Host {
    tls: ServerTls,
    leaf: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

/// A host whose certificate bears `name`, from an authority that it shows too if `whole`.
fn host(name: &str, over: bool, whole: bool) -> Host {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().expect("a key"));
    let root = root.expect("a root");
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new([name.to_owned()]).expect("parameters");
    if over {
        leaf.not_before = date_time_ymd(2020, 1, 1);
        leaf.not_after = date_time_ymd(2021, 1, 1);
    }
    let leaf = leaf.signed_by(&key, &root).expect("a leaf");
    let shown = match whole {
        true => leaf.pem() + &root.pem(),
        false => leaf.pem(),
    };
    let file = |text: String| PemFile {
        path: "mx.pem".into(),
        text: text.into_bytes(),
    };
    let pair = PairFiles {
        certificate: file(shown),
        key: file(key.serialize_pem()),
    };
    let then = match over {
        true => SystemTime::UNIX_EPOCH + Duration::from_secs(1_590_000_000),
        false => SystemTime::now(),
    };
    Host {
        tls: ServerTls::new(&[pair], &ServerSettings::default(), then).expect("a server"),
        leaf: leaf.der().to_vec(),
        key: key.subject_public_key_info(),
        authority: root.der().to_vec(),
    }
}

fn pin(usage: u8, selector: u8, data: &[u8]) -> Pin {
    Pin {
        usage,
        selector,
        matching: 0,
        data: data.into(),
    }
}

/// The handshake, with these records at `mx.test` for the domain `example.test`.
async fn meet(host: &Host, records: Vec<Pin>) -> io::Result<()> {
    let pins = Pins {
        records,
        base: "mx.test".into(),
        names: vec!["alias.test".into(), "example.test".into()],
    };
    let (near, far) = tokio::io::duplex(4096);
    let client = ClientTls::dane(pins);
    let (_, met) = tokio::join!(host.tls.accept(far), client.connect("10.0.0.1", near));
    met.map(drop)
}

#[tokio::test]
async fn the_servers_own_record_asks_for_nothing_else() {
    for (name, over) in [("mx.test", false), ("other.test", false), ("mx.test", true)] {
        let host = host(name, over, false);
        let other = pin(3, 1, &host.leaf);
        for record in [pin(3, 0, &host.leaf), pin(3, 1, &host.key)] {
            let met = meet(&host, vec![other.clone(), record]).await;
            assert!(met.is_ok(), "{name} {over}: {met:?}");
        }
    }
}

#[tokio::test]
async fn an_authoritys_record_asks_for_a_name_and_the_date() {
    for name in ["mx.test", "alias.test", "example.test"] {
        for whole in [true, false] {
            let host = host(name, false, whole);
            let met = meet(&host, vec![pin(2, 0, &host.authority)]).await;
            assert!(met.is_ok(), "{name} {whole}: {met:?}");
        }
    }
    for (name, over, why) in [
        ("other.test", false, "not valid for name"),
        ("mx.test", true, "expired"),
    ] {
        let host = host(name, over, true);
        let met = meet(&host, vec![pin(2, 0, &host.authority)]).await;
        let refusal = met.expect_err("refused").to_string();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[tokio::test]
async fn what_no_record_fits_is_refused() {
    let one = host("mx.test", false, true);
    let other = host("mx.test", false, true);
    for records in [
        vec![pin(3, 1, &other.key), pin(2, 0, &other.authority)],
        // An authority's record is none for the server itself, nor the other way round.
        vec![pin(3, 0, &one.authority)],
        vec![pin(2, 0, &one.leaf), pin(1, 0, &one.leaf)],
        vec![],
    ] {
        let met = meet(&one, records.clone()).await;
        assert!(met.is_err(), "{records:?}");
    }
    let refusal = meet(&one, vec![pin(3, 1, &other.key)]).await;
    let refusal = refusal.expect_err("refused").to_string();
    assert_eq!(refusal, "no TLSA record of mx.test fits the certificate");
}
