//! Messages to send, each of a kind that some server somewhere has changed on the way, and how to compare what arrived.

/// A message and what it needs from the way.
pub struct Sample {
    /// What is special about it.
    pub name: &'static str,
    /// Header and body, every line ended with CRLF.
    pub content: Vec<u8>,
    /// Needs 8BITMIME.
    pub eight_bit: bool,
}

/// One of each kind, none large.
pub fn samples() -> Vec<Sample> {
    let plain = |name, body: &str| Sample {
        name,
        content: with_header(name, body.as_bytes()),
        eight_bit: false,
    };
    let eight = |name, body: Vec<u8>| Sample {
        name,
        content: with_header(name, &body),
        eight_bit: true,
    };
    vec![
        plain("plain", "Hello.\r\n\r\nYours\r\n"),
        plain("empty-body", ""),
        plain(
            "dots",
            ".\r\n..\r\n...\r\n.one\r\n..two\r\n \r\n.\r\nend.\r\n.\r\n",
        ),
        plain(
            "from-line",
            "From somebody who begins a line like an mbox does\r\n>From there\r\n",
        ),
        plain("trailing-space", "space at the end \t \r\n\t\r\n   \r\n"),
        plain("blank-lines-at-end", "text\r\n\r\n\r\n\r\n"),
        plain(
            "looks-like-commands",
            "MAIL FROM:<a@b>\r\nRSET\r\nQUIT\r\nDATA\r\n",
        ),
        Sample {
            name: "long-lines",
            content: with_header("long-lines", &long_lines()),
            eight_bit: false,
        },
        Sample {
            name: "many-lines",
            content: with_header("many-lines", &b"x\r\n".repeat(20_000)),
            eight_bit: false,
        },
        eight(
            "latin-1",
            (0xa0..=0xff)
                .flat_map(|byte| [byte, b'\r', b'\n'])
                .collect(),
        ),
        eight(
            "utf-8",
            "Grüße aus Zürich, привет, 日本語, 🐈\r\n"
                .as_bytes()
                .to_vec(),
        ),
        eight("every-byte", every_byte()),
    ]
}

/// A message of `size` bytes in all, with `name` in its header.
pub fn of_size(name: &str, size: usize) -> Vec<u8> {
    let mut content = with_header(name, b"");
    let line = b"0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789\r\n";
    while content.len() + line.len() <= size {
        content.extend_from_slice(line);
    }
    while content.len() + 2 < size {
        content.push(b'x');
    }
    content.extend_from_slice(b"\r\n");
    content
}

/// `body` behind a header that names it.
pub fn with_header(name: &str, body: &[u8]) -> Vec<u8> {
    let header = format!(
        "From: Alice <alice@example.test>\r\nTo: Bob <bob@example.test>\r\nSubject: {name}\r\n\
         X-Test: {name}\r\nX-Folded: one\r\n\ttwo\r\n  three\r\nMessage-ID: <{name}@example.test>\r\n\
         Date: Tue, 24 Nov 2026 07:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n"
    );
    [header.as_bytes(), body].concat()
}

/// Lines of up to 998 characters, the longest that RFC 5322 §2.1.1 allows.
fn long_lines() -> Vec<u8> {
    let lines = [76, 77, 78, 79, 511, 512, 513, 997, 998]
        .map(|length| [vec![b'x'; length], b"\r\n".to_vec()].concat());
    lines.concat()
}

/// All bytes but NUL, CR and LF.
fn every_byte() -> Vec<u8> {
    let bytes = (1..=255u8).filter(|byte| !matches!(byte, b'\r' | b'\n'));
    bytes
        .collect::<Vec<_>>()
        .chunks(64)
        .flat_map(|chunk| [chunk, b"\r\n"].concat())
        .collect()
}

/// The content without the trace headers put before it on the way: `Return-Path`, `Delivered-To`, `X-Original-To`,
/// `Received`, with their folded lines.
pub fn without_trace(content: &[u8]) -> &[u8] {
    const TRACE: [&[u8]; 4] = [
        b"return-path:",
        b"delivered-to:",
        b"x-original-to:",
        b"received:",
    ];
    let mut rest = content;
    loop {
        let lower: Vec<u8> = rest.iter().take(20).map(u8::to_ascii_lowercase).collect();
        if !TRACE.iter().any(|name| lower.starts_with(name)) {
            return rest;
        }
        rest = after_line(rest);
        while rest.starts_with(b" ") || rest.starts_with(b"\t") {
            rest = after_line(rest);
        }
    }
}

/// The trace headers of a content, as text.
pub fn trace(content: &[u8]) -> String {
    String::from_utf8_lossy(&content[..content.len() - without_trace(content).len()]).into_owned()
}

fn after_line(text: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', text).map_or(&[], |at| &text[at + 1..])
}

/// LF-only text, as it lies in a Maildir, with CRLF.
pub fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for (at, &byte) in text.iter().enumerate() {
        if byte == b'\n' && (at == 0 || text[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

/// Fails unless the two are the same, and shows where they part.
pub fn compare(name: &str, sent: &[u8], arrived: &[u8]) -> crate::Outcome {
    if sent == arrived {
        return Ok(());
    }
    let at = sent
        .iter()
        .zip(arrived)
        .position(|(a, b)| a != b)
        .unwrap_or(sent.len().min(arrived.len()));
    let near = |text: &[u8]| {
        String::from_utf8_lossy(
            &text[at.saturating_sub(40).min(text.len())..(at + 40).min(text.len())],
        )
        .into_owned()
    };
    Err(format!(
        "{name}: sent {} bytes, {} arrived; they part at byte {at}: sent {:?}, arrived {:?}",
        sent.len(),
        arrived.len(),
        near(sent),
        near(arrived)
    )
    .into())
}
