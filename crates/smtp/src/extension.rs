//! EHLO keywords: those a server offers, in an order that never changes, and those a peer offers, read.
//!
//! Never: a guess at what a peer can do that it did not say.

use crate::server::Settings;

/// Writes the answer to EHLO.
pub(crate) fn offer(out: &mut Vec<u8>, settings: &Settings, starttls: bool, mechanisms: &[&str]) {
    let size = match settings.max_message_size {
        0 => "SIZE".to_owned(),
        size => format!("SIZE {size}"),
    };
    let auth = format!("AUTH {}", mechanisms.join(" "));
    let lines = [
        Some(settings.fqdn.as_str()),
        Some(&size),
        Some("PIPELINING"),
        Some("8BITMIME"),
        Some("SMTPUTF8"),
        Some("CHUNKING"),
        Some("BINARYMIME"),
        Some("DSN"),
        Some("ENHANCEDSTATUSCODES"),
        starttls.then_some("STARTTLS"),
        (!mechanisms.is_empty()).then_some(&auth),
        // Clients older than RFC 2554 look for this one.
        mechanisms.contains(&"LOGIN").then_some("AUTH=LOGIN"),
    ];
    let mut mark = out.len();
    for line in lines.into_iter().flatten() {
        mark = out.len() + 3;
        out.extend_from_slice(b"250-");
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out[mark] = b' ';
}

/// What a peer said in its EHLO (or LHLO) answer; all absent after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// `SIZE`: present, and the largest message if it named one above 0 (RFC 1870).
    pub size: Option<Option<u64>>,
    /// `PIPELINING` (RFC 2920).
    pub pipelining: bool,
    /// `8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `CHUNKING` (RFC 3030).
    pub chunking: bool,
    /// `BINARYMIME` (RFC 3030).
    pub binary: bool,
    /// `DSN` (RFC 3461).
    pub dsn: bool,
    /// `ENHANCEDSTATUSCODES` (RFC 2034).
    pub enhanced_codes: bool,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// The mechanisms behind `AUTH`, in upper case (RFC 4954), `AUTH=` lines included.
    pub auth: Vec<String>,
}

impl Extensions {
    /// Reads the lines of an EHLO answer, the first of which is the peer's greeting.
    pub(crate) fn parse(text: &str) -> Extensions {
        let mut extensions = Extensions::default();
        text.split('\n')
            .skip(1)
            .for_each(|line| extensions.take(line));
        extensions
    }

    fn take(&mut self, line: &str) {
        let mut words = line
            .split([' ', '='])
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_uppercase);
        match words.next().as_deref() {
            // RFC 1870 §3: 0, or nothing, is no fixed limit.
            Some("SIZE") => {
                self.size = Some(
                    words
                        .next()
                        .and_then(|size| size.parse().ok())
                        .filter(|size| *size > 0),
                )
            }
            Some("PIPELINING") => self.pipelining = true,
            Some("8BITMIME") => self.eight_bit = true,
            Some("SMTPUTF8") => self.smtputf8 = true,
            Some("CHUNKING") => self.chunking = true,
            Some("BINARYMIME") => self.binary = true,
            Some("DSN") => self.dsn = true,
            Some("ENHANCEDSTATUSCODES") => self.enhanced_codes = true,
            Some("STARTTLS") => self.starttls = true,
            Some("AUTH") => words.for_each(|name| {
                if !self.auth.contains(&name) {
                    self.auth.push(name);
                }
            }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_offers() {
        let text = "mx.example.com at your service\nSIZE 1000\npipelining\n8BITMIME\nAUTH PLAIN LOGIN\nAUTH=LOGIN CRAM-MD5\nX-OTHER a";
        let extensions = Extensions::parse(text);
        assert_eq!(extensions.size, Some(Some(1000)));
        assert!(extensions.pipelining && extensions.eight_bit && !extensions.chunking);
        assert_eq!(extensions.auth, ["PLAIN", "LOGIN", "CRAM-MD5"]);
        assert_eq!(Extensions::parse("x\nSIZE").size, Some(None));
        assert_eq!(Extensions::parse("x\nSIZE 0").size, Some(None));
        assert_eq!(Extensions::parse("PIPELINING"), Extensions::default());
    }
}
