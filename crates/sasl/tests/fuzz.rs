//! The fuzz targets of the mechanisms, over mutated seeds for a bounded time.

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../../../tests/fuzz/sasl.rs"]
mod sasl;

use postern_sasl::{Credentials, Exchange, Login, Mechanism, Peer, Secret, Step};

#[test]
fn exchanges_survive_mutated_responses() {
    let seeds: &[&[u8]] = &[
        b"\0alice\0secret",
        b"alice\0alice\0secret",
        b"other\0alice\0secret",
        b"alice\xfesecret",
        "j\u{fc}rgen\u{feff}".as_bytes(),
        b"",
    ];
    let words: &[&[u8]] = &[
        b"\0",
        b"\xfe",
        b"\xff",
        b"\xc3",
        b"=",
        b"*",
        &[b'a'; 300],
        b"\0\0",
    ];
    mutate::play(seeds, words, 50_000, sasl::exchange);
}

#[test]
fn scram_survives_mutated_messages() {
    let seeds: &[&[u8]] = &[
        b"n,,n=alice,r=abc\xfec=biws,r=abcBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH,p=AAAA\xfe",
        b"p=tls-exporter,,n=alice,r=abc\xfec=cD10bHMtZXhwb3J0ZXIsLA==,r=abcBwcHBwcH,p=AAAA",
        b"y,a=b=2Cob,n=al=3Dice,r=abc,x=y\xfec=eSwsLA==,r=abc,x=y,p=dHzb",
        b"r={nonce}abc,s=c2FsdA==,i=4096\nv=AAAA",
        b"r={nonce}abc,s=c2FsdA==,i=4095\ne=other-error",
    ];
    let words: &[&[u8]] = &[
        b",",
        b"=",
        b"=2C",
        b"m=x,",
        b"r=",
        b"p=",
        b"\xfe",
        b"\0",
        b"\xff",
        b"{nonce}",
        b"n,,",
        b"i=1000000000000",
    ];
    mutate::play(seeds, words, 20_000, sasl::scram);
}

/// What stands in front of a blob.
fn length(blob: &[u8]) -> [u8; 2] {
    u16::try_from(blob.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// What a client and a server of ours say to each other, blob after blob, each behind its length.
fn spoken(mechanism: Mechanism, by_client: bool) -> Vec<u8> {
    let credentials = Credentials {
        name: "CORP\\alice".into(),
        password: Secret::from("pw"),
    };
    let peer = Peer {
        random: [9; 32],
        bindings: sasl::surroundings().bindings,
        plus_offered: true,
        host: "mx1.corp.example".into(),
        time: 1,
    };
    let mut client = Login::facing(mechanism, &credentials, peer);
    let mut server = None;
    let mut answer = client.initial().map(|first| first.expose().to_vec());
    let mut spoken = Vec::new();
    let mut add = |blob: &[u8], mine: bool| {
        if mine == by_client {
            spoken.extend_from_slice(&length(blob));
            spoken.extend_from_slice(blob);
        }
    };
    for _ in 0..4 {
        if let Some(blob) = &answer {
            add(blob, true);
        }
        let step = match &mut server {
            None => {
                let (exchange, step) =
                    Exchange::start(mechanism, answer.as_deref(), &sasl::surroundings());
                server = Some(exchange);
                step
            }
            Some(exchange) => exchange.step(answer.as_deref().unwrap_or_default()),
        };
        let Step::Challenge(challenge) = step else {
            break;
        };
        add(&challenge, false);
        answer = client
            .answer(&challenge)
            .ok()
            .map(|blob| blob.expose().to_vec());
    }
    spoken
}

/// What makes length fields lie.
const WORDS: [&[u8]; 12] = [
    b"\0",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"NTLMSSP\0",
    b"\x01\0\0\0",
    b"\x03\0\0\0",
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x60\x82",
    b"\xa1",
    b"\0\x10",
    b"\x0a\0\x10\0",
];

#[test]
fn ntlm_survives_mutated_messages() {
    let seeds = [
        spoken(Mechanism::Ntlm, true),
        spoken(Mechanism::Ntlm, false),
    ];
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    mutate::play(&seeds, &WORDS, 50_000, sasl::ntlm);
}

#[test]
fn spnego_survives_mutated_tokens() {
    let ticket = b"\x60\x0d\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02AP";
    let mut kerberos = length(ticket).to_vec();
    kerberos.extend_from_slice(ticket);
    kerberos.extend_from_slice(b"\0\0\0\x04\x01\0\0\0");
    let seeds = [
        spoken(Mechanism::GssSpnego, true),
        spoken(Mechanism::GssSpnego, false),
        kerberos,
    ];
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    mutate::play(&seeds, &WORDS, 50_000, sasl::spnego);
}
