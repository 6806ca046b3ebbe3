//! What a server under test may send, as functions over bytes: replies, TLS records, and the capture made of them.

use std::net::SocketAddr;
use std::time::SystemTime;

use postern_verify::records::{reaction, walk};
use postern_verify::{Answer, Chunk, Recording, Side, pcap, readable};

/// Reads the bytes as replies and as records, looks for a secret in them, and captures them.
pub(crate) fn peer(bytes: &[u8]) {
    replies(bytes);
    let _ = reaction(bytes);
    if let Ok(count) = walk(bytes) {
        assert!(count <= bytes.len());
    }
    if readable::find(bytes, b"wonder.land-1").is_some() {
        assert!(bytes.len() >= 13);
    }
    capture(bytes);
}

/// Each reply takes some bytes, and is shown without control characters.
fn replies(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        match Answer::read(rest) {
            Ok(Some((answer, used))) => {
                assert!(used > 3 && !answer.lines.is_empty());
                assert!(!answer.to_string().contains(char::is_control));
                rest = &rest[used..];
            }
            Ok(None) => return,
            Err(text) => {
                assert!(!text.contains(char::is_control) && text.len() < 8000);
                return;
            }
        }
    }
}

fn capture(bytes: &[u8]) {
    let local = SocketAddr::from(([192, 0, 2, 1], 40_000));
    let now = SystemTime::UNIX_EPOCH;
    let session = Recording {
        local,
        peer: SocketAddr::from(([192, 0, 2, 2], 25)),
        opened: now,
        chunks: vec![Chunk {
            at: now,
            from: Side::Server,
            bytes: bytes.to_owned(),
        }],
        closed: Some((now, Side::Server)),
    };
    let mut file = Vec::new();
    let written = pcap::write(&mut file, &[session]);
    assert!(written.is_ok() && file.len() > bytes.len());
}
