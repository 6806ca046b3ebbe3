//! Headers as balancers send them, and as they should not, over a real connection.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

/// What is read from `pieces`, each in a segment of its own, and what is left of the stream behind the header.
fn heard(pieces: &[&[u8]]) -> Result<(Option<String>, Vec<u8>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        peer.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let send = async move {
            for piece in pieces {
                peer.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (client, ()) = tokio::join!(read(&mut stream), send);
        let client = client.map_err(|error| error.to_string())?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        Ok((client.map(|client| client.to_string()), rest))
    })
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, rest].concat()
}

#[test]
fn lines_of_version_1() {
    let good = [
        (
            "TCP4 192.0.2.7 192.0.2.10 56324 25",
            Some("192.0.2.7:56324"),
        ),
        ("TCP6 2001:db8::7 2001:db8::a 1 25", Some("[2001:db8::7]:1")),
        (
            "TCP6 ::ffff:192.0.2.7 2001:db8::a 1 25",
            Some("192.0.2.7:1"),
        ),
        ("UNKNOWN", None),
        ("UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", None),
    ];
    for (line, client) in good {
        let header = format!("PROXY {line}\r\n");
        let whole = [header.as_bytes(), b"EHLO x\r\n"].concat();
        for cut in [1, 11, 12, 13, header.len() - 1, header.len()] {
            let (first, second) = whole.split_at(cut);
            assert_eq!(
                heard(&[first, second]),
                Ok((client.map(str::to_owned), b"EHLO x\r\n".to_vec())),
                "{line} cut at {cut}"
            );
        }
    }
}

#[test]
fn headers_of_version_2() {
    let v4 = [192, 0, 2, 7, 192, 0, 2, 10, 0xdc, 0x04, 0, 25];
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    v6[32..34].copy_from_slice(&[0, 1]);
    let more = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    let cases = [
        (binary(0x21, 0x11, &v4), Some("192.0.2.7:56324")),
        (binary(0x21, 0x11, &more), Some("192.0.2.7:56324")),
        (binary(0x21, 0x21, &v6), Some("[2001:db8::7]:1")),
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, &v4), None),
        (binary(0x21, 0x00, &[]), None),
        (binary(0x21, 0x31, &[0; 216]), None),
    ];
    for (header, client) in cases {
        let whole = [&header[..], b"\x16\x03\x01"].concat();
        for cut in [1, 12, 15, 16, header.len()] {
            let (first, second) = whole.split_at(cut);
            let expected = (client.map(str::to_owned), b"\x16\x03\x01".to_vec());
            assert_eq!(
                heard(&[first, second]),
                Ok(expected),
                "{header:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn what_is_no_header_is_refused() {
    let long = format!("PROXY {}\r\n", "x".repeat(200));
    let cases: [(&[u8], &str); 11] = [
        (b"EHLO client.example.net\r\n", "neither version"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.10 56324\r\n", "words"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.10 56324 99999\r\n", "ports"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::a 1 25\r\n", "addresses"),
        (b"PROXY TCP5 192.0.2.7 192.0.2.10 1 25\r\n", "words"),
        (b"PROXY  TCP4 192.0.2.7 192.0.2.10 1 25\r\n", "words"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.10 1 25\n", "text"),
        (long.as_bytes(), "does not end"),
        (&binary(0x31, 0x11, &[0; 12]), "version"),
        (&binary(0x21, 0x11, &[0; 11]), "too short"),
        (&binary(0x21, 0x44, &[0; 12]), "family"),
    ];
    for (bytes, why) in cases {
        let error = heard(&[bytes]).unwrap_err();
        assert!(error.contains(why), "{}: {error}", bytes.escape_ascii());
    }
    let huge = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff][..]].concat();
    assert!(heard(&[&huge]).unwrap_err().contains("longer"));
    assert!(heard(&[b"PRO"]).unwrap_err().contains("broke"));
}
