//! Who comes to the wrong door: clients that speak another protocol, known by their first octets.
//!
//! | First octets | Protocol |
//! |---|---|
//! | `16 03` | a TLS ClientHello (RFC 8446 §5.1) where TLS begins with STARTTLS |
//! | `PROXY `, or `0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A` | a PROXY protocol header, version 1 or 2, from a peer whose word is not asked for |
//! | `GET `, `POST ` … | HTTP |
//!
//! Never: an answer in that protocol; such a session ends.

/// Who is no SMTP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A client that begins TLS at once.
    Tls,
    /// A balancer, or somebody who would like to be taken for one.
    Proxy,
    /// A web browser, or a web page that sends its form here.
    Http,
}

const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

impl Stranger {
    /// Who speaks like this. A command of SMTP begins like none of them; what is too short to tell is nobody.
    pub(super) fn recognise(bytes: &[u8]) -> Option<Stranger> {
        match bytes {
            [0x16, 0x03, ..] => Some(Stranger::Tls),
            [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => Some(Stranger::Proxy),
            _ if bytes.starts_with(PROXY_V2) => Some(Stranger::Proxy),
            _ => None,
        }
    }

    /// What he hears; a TLS client cannot read it, but a log or a capture can.
    pub(super) fn reply(self) -> &'static str {
        match self {
            Stranger::Tls => "554 5.5.1 TLS begins with STARTTLS on this port",
            Stranger::Proxy => "554 5.7.1 No PROXY header is taken from your address",
            Stranger::Http => "421 4.7.0 This is a mail server",
        }
    }
}
