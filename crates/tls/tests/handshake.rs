//! Both roles against each other, in memory.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use postern_tls::{
    Bindings, ClientTls, Facts, MinVersion, PairFiles, PemFile, ServerSettings, ServerTls, Strength,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn pem(text: String) -> PemFile {
    PemFile {
        path: "test.pem".into(),
        text: text.into_bytes(),
    }
}

fn pair(name: &str) -> PairFiles {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    PairFiles {
        certificate: pem(made.cert.pem()),
        key: pem(made.signing_key.serialize_pem()),
    }
}

fn server(pairs: &[PairFiles], settings: &ServerSettings) -> ServerTls {
    ServerTls::new(pairs, settings, SystemTime::now()).expect("a server")
}

/// One handshake, and a word each way; the facts both ends have.
async fn meet(server: &ServerTls, client: &ClientTls, host: &str) -> io::Result<(Facts, Facts)> {
    let (near, far) = tokio::io::duplex(4096);
    let serve = async {
        let mut stream = server.accept(far).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(b"pong").await?;
        stream.flush().await?;
        Ok::<_, io::Error>(Facts::of_server(stream.get_ref().1))
    };
    let ask = async {
        let mut stream = client.connect(host, near).await?;
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        Ok::<_, io::Error>(Facts::of_client(stream.get_ref().1))
    };
    tokio::try_join!(serve, ask)
}

/// RFC 9266, RFC 5929: both ends of one connection have the same bindings, and no other connection has its exporter.
#[tokio::test]
async fn both_ends_have_the_same_bindings() {
    let server = server(&[pair("mx.example.com")], &ServerSettings::default());
    let bindings = async || {
        let (near, far) = tokio::io::duplex(4096);
        let client = ClientTls::opportunistic();
        let (served, asked) =
            tokio::try_join!(server.accept(far), client.connect("mx.example.com", near))
                .expect("met");
        (
            server.bindings(served.get_ref().1),
            Bindings::of_client(asked.get_ref().1),
        )
    };
    let (theirs, ours) = bindings().await;
    assert_eq!(theirs, ours);
    assert!(ours.exporter.is_some() && ours.end_points.len() == 1);
    let (other, _) = bindings().await;
    assert_ne!(other.exporter, theirs.exporter);
    assert_eq!(other.end_points, theirs.end_points);
}

#[tokio::test]
async fn strangers_meet_and_agree_on_the_facts() {
    let server = server(&[pair("mx.example.com")], &ServerSettings::default());
    let (theirs, ours) = meet(&server, &ClientTls::opportunistic(), "mx.example.com.")
        .await
        .expect("met");
    assert_eq!(theirs.sni.as_deref(), Some("mx.example.com"));
    assert_eq!((theirs.version, theirs.resumed), ("TLSv1.3", false));
    assert_eq!(
        (theirs.cipher, theirs.bits, theirs.group),
        (ours.cipher, ours.bits, ours.group)
    );
    assert_eq!(
        theirs.to_string(),
        "tls TLS_AES_256_GCM_SHA384 group X25519MLKEM768"
    );
}

#[tokio::test]
async fn a_ticket_spares_the_next_handshake_until_the_generation_changes() {
    let pairs = [pair("mx.example.com")];
    let first = server(&pairs, &ServerSettings::default());
    let client = ClientTls::opportunistic();
    let resumed = async |server: &ServerTls| {
        meet(server, &client, "mx.example.com")
            .await
            .expect("met")
            .0
            .resumed
    };
    assert!(!resumed(&first).await);
    assert!(resumed(&first).await);
    let second = server(&pairs, &ServerSettings::default());
    assert!(!resumed(&second).await);
}

#[tokio::test]
async fn hosts_without_a_usable_name_are_met_without_sni() {
    let server = server(&[pair("mx.example.com")], &ServerSettings::default());
    for host in ["192.0.2.1", "2001:db8::1", "not a name", ""] {
        let (theirs, _) = meet(&server, &ClientTls::opportunistic(), host)
            .await
            .expect("met");
        assert_eq!(theirs.sni, None, "{host}");
    }
}

#[tokio::test]
async fn a_verified_server_needs_a_root_and_its_name() {
    let pairs = pair("mx.example.com");
    let client = ClientTls::verified_by(pairs.certificate.clone());
    let server = server(&[pairs], &ServerSettings::default());
    meet(&server, &client, "mx.example.com").await.expect("met");
    assert!(meet(&server, &client, "other.example.com").await.is_err());
    assert!(meet(&server, &client, "not a name").await.is_err());
    let stranger = ClientTls::verified_by(pair("mx.example.com").certificate);
    assert!(meet(&server, &stranger, "mx.example.com").await.is_err());
}

#[tokio::test]
async fn the_pair_is_chosen_by_name_and_else_the_first() {
    let pairs = [
        pair("first.example"),
        pair("second.example"),
        pair("*.third.example"),
    ];
    let clients: Vec<_> = pairs
        .iter()
        .map(|pair| ClientTls::verified_by(pair.certificate.clone()))
        .collect();
    let server = server(&pairs, &ServerSettings::default());
    for (client, host) in
        clients
            .iter()
            .zip(["first.example", "second.example", "mx.third.example"])
    {
        meet(&server, client, host).await.expect("met");
    }
    assert!(meet(&server, &clients[1], "first.example").await.is_err());
    // Nobody's name: the first pair answers, and a client that checks does not like it.
    assert!(meet(&server, &clients[0], "fourth.example").await.is_err());
    meet(&server, &ClientTls::opportunistic(), "fourth.example")
        .await
        .expect("met");
}

/// A client that speaks the given versions only, and AES-128 only where it is weak.
fn old_client(
    versions: &[&'static rustls::SupportedProtocolVersion],
    weak: bool,
) -> Arc<rustls::ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if weak {
        provider
            .cipher_suites
            .retain(|suite| format!("{:?}", suite.suite()).contains("AES_128"));
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        use rustls::SignatureScheme as Scheme;
        vec![
            Scheme::ECDSA_NISTP256_SHA256,
            Scheme::ED25519,
            Scheme::RSA_PSS_SHA256,
            Scheme::RSA_PKCS1_SHA256,
        ]
    }
}

async fn try_old(server: &ServerTls, client: Arc<rustls::ClientConfig>) -> io::Result<Facts> {
    let (near, far) = tokio::io::duplex(4096);
    let name = rustls::pki_types::ServerName::try_from("mx.example.com").expect("a name");
    let ask = tokio_rustls::TlsConnector::from(client).connect(name, near);
    let (served, asked) = tokio::join!(server.accept(far), ask);
    asked?;
    Ok(Facts::of_server(served?.get_ref().1))
}

#[tokio::test]
async fn versions_and_strength_are_held() {
    let pairs = [pair("mx.example.com")];
    let with = |min_version, min_strength| {
        server(
            &pairs,
            &ServerSettings {
                min_version,
                min_strength,
                client_ca: None,
            },
        )
    };
    let twelve = || old_client(&[&rustls::version::TLS12], false);
    let weak = || old_client(&[&rustls::version::TLS12, &rustls::version::TLS13], true);

    let loose = with(MinVersion::Tls12, Strength::Bits128);
    assert_eq!(
        try_old(&loose, twelve()).await.expect("met").version,
        "TLSv1.2"
    );
    let facts = try_old(&loose, weak()).await.expect("met");
    assert_eq!((facts.cipher, facts.bits), ("TLS_AES_128_GCM_SHA256", 128));

    let new = with(MinVersion::Tls13, Strength::Bits128);
    assert!(try_old(&new, twelve()).await.is_err());
    assert!(try_old(&new, weak()).await.is_ok());

    let strong = with(MinVersion::Tls12, Strength::Bits256);
    assert!(try_old(&strong, weak()).await.is_err());
    assert_eq!(try_old(&strong, twelve()).await.expect("met").bits, 256);
}

#[tokio::test]
async fn rsa_serves_too() {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
    let params = CertificateParams::new(["mx.example.com".to_owned()]).expect("parameters");
    let certificate = pem(params.self_signed(&key).expect("a certificate").pem());
    let pair = PairFiles {
        certificate: certificate.clone(),
        key: pem(key.serialize_pem()),
    };
    let server = server(&[pair], &ServerSettings::default());
    let client = ClientTls::verified_by(certificate);
    meet(&server, &client, "mx.example.com").await.expect("met");
    let twelve = old_client(&[&rustls::version::TLS12], false);
    assert_eq!(try_old(&server, twelve).await.expect("met").bits, 256);
}

#[tokio::test]
async fn a_client_may_show_a_certificate_of_the_named_authority() {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("an authority");
    let settings = ServerSettings {
        client_ca: Some(pem(authority.pem())),
        ..ServerSettings::default()
    };
    let server = server(&[pair("mx.example.com")], &settings);
    let (theirs, _) = meet(&server, &ClientTls::opportunistic(), "mx.example.com")
        .await
        .expect("met");
    assert!(!theirs.client_certificate);

    let show = |certificate: rcgen::Certificate, key: KeyPair| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .expect("a client")
    };
    let params = || {
        let mut params = CertificateParams::new(["client.example".to_owned()]).expect("parameters");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params
    };
    // Whom it names: mail addresses before the common name.
    let named = async |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = params();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let client = Arc::new(show(
            params.signed_by(&key, &authority).expect("a certificate"),
            key,
        ));
        let (near, far) = tokio::io::duplex(4096);
        let name = rustls::pki_types::ServerName::try_from("mx.example.com").expect("a name");
        let ask = tokio_rustls::TlsConnector::from(client).connect(name, near);
        let (served, _asked) = tokio::try_join!(server.accept(far), ask).expect("met");
        postern_tls::client_names(served.get_ref().1)
    };
    let san = |params: &mut CertificateParams| {
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name(
            "alice@example.com".try_into().expect("an address"),
        ));
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Alice");
    };
    assert_eq!(named(&san).await, ["alice@example.com"]);
    let common = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Printer-7");
    };
    assert_eq!(named(&common).await, ["Printer-7"]);

    let key = KeyPair::generate().expect("a key");
    let known = show(
        params().signed_by(&key, &authority).expect("a certificate"),
        key,
    );
    assert!(
        try_old(&server, Arc::new(known))
            .await
            .expect("met")
            .client_certificate
    );
    let key = KeyPair::generate().expect("a key");
    let stranger = show(params().self_signed(&key).expect("a certificate"), key);
    assert!(try_old(&server, Arc::new(stranger)).await.is_err());
}

#[tokio::test]
async fn plain_text_is_no_handshake() {
    let server = server(&[pair("mx.example.com")], &ServerSettings::default());
    let (mut near, far) = tokio::io::duplex(4096);
    let say = async {
        near.write_all(b"EHLO client.example\r\n")
            .await
            .expect("written");
        near
    };
    let (served, _near) = tokio::join!(server.accept(far), say);
    assert!(served.is_err());
}
