//! The trace header a message gets on its way in (RFC 5321 §4.4), and the count of those it brings along.
//!
//! Never: a header other than `Received:` is read, and none is changed.

use std::fmt::Write as _;
use std::net::IpAddr;

use memchr::memchr;

/// What the `Received:` line says of the session.
#[derive(Debug)]
pub(crate) struct Trace<'a> {
    /// What the client called itself.
    pub helo: &'a str,
    /// Where it came from.
    pub client: IpAddr,
    /// This server.
    pub fqdn: &'a str,
    /// The protocol as the client used it, `ESMTPSA` and kin (RFC 3848, RFC 6531).
    pub protocol: &'static str,
    /// Version and cipher, inside TLS (RFC 8314 §4.3 asks for the cipher).
    pub tls: Option<&'a str>,
    /// The message's id in the queue.
    pub id: &'a str,
    /// The recipient, where there is only one: more than one would tell each of the others (RFC 5321 §7.2).
    pub recipient: Option<&'a str>,
    /// Seconds since 1970.
    pub time: i64,
}

impl Trace<'_> {
    /// The header, folded, ended by CRLF.
    pub(crate) fn header(&self) -> String {
        let mut line = String::with_capacity(256);
        let _ = write!(
            line,
            "Received: from {} ({})\r\n\tby {} with {}",
            self.helo,
            Literal(self.client),
            self.fqdn,
            self.protocol
        );
        if let Some(tls) = self.tls {
            let _ = write!(line, " ({tls})");
        }
        let _ = write!(line, "\r\n\tid {}", self.id);
        if let Some(recipient) = self.recipient {
            let _ = write!(line, " for <{recipient}>");
        }
        line.push_str("; ");
        push_date(&mut line, self.time);
        line.push_str("\r\n");
        line
    }
}

/// `with` as registered: SMTP, ESMTP, S for TLS, A for a login, UTF8 in front where SMTPUTF8 was used.
pub(crate) fn protocol(extended: bool, secure: bool, login: bool, utf8: bool) -> &'static str {
    match (extended, secure, login, utf8) {
        (false, ..) => "SMTP",
        (true, false, false, false) => "ESMTP",
        (true, true, false, false) => "ESMTPS",
        (true, false, true, false) => "ESMTPA",
        (true, true, true, false) => "ESMTPSA",
        (true, false, false, true) => "UTF8SMTP",
        (true, true, false, true) => "UTF8SMTPS",
        (true, false, true, true) => "UTF8SMTPA",
        (true, true, true, true) => "UTF8SMTPSA",
    }
}

/// An address as a literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
struct Literal(IpAddr);

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "[{address}]"),
            IpAddr::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// Appends the time as RFC 5322 §3.3 writes it, in UTC.
pub(crate) fn push_date(out: &mut String, time: i64) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, second) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let _ = write!(
        out,
        "{}, {day} {} {year} {:02}:{:02}:{:02} +0000",
        DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)],
        MONTHS[month - 1],
        second / 3600,
        second / 60 % 60,
        second % 60
    );
}

/// Year, month from 1, day from 1 of a day counted from 1970-01-01, by the proleptic Gregorian calendar: eras of 400
/// years, years that begin in March.
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (
        year + era * 400 + i64::from(month <= 2),
        usize::try_from(month).unwrap_or(1),
        day,
    )
}

/// Counts the `Received:` fields of a message as it streams by; stops looking at the end of the header section.
#[derive(Debug, Default)]
pub(crate) struct HopCount {
    hops: u32,
    /// What is known of the line that is being read.
    line: LineSoFar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum LineSoFar {
    /// This many octets of `received:` have matched.
    Matches(usize),
    /// It is another field, or a folded line.
    Other,
    /// The header section is over.
    Body,
    #[default]
    Start,
}

const FIELD: &[u8] = b"received:";

impl HopCount {
    /// How many fields there were so far.
    pub(crate) fn hops(&self) -> u32 {
        self.hops
    }

    /// Looks at the next piece. Lines end with LF here: the core lets only CRLF through, and in a binary body
    /// (RFC 3030) a header section still has lines.
    pub(crate) fn look(&mut self, mut piece: &[u8]) {
        while self.line != LineSoFar::Body && !piece.is_empty() {
            piece = self.advance(piece);
        }
    }

    fn advance<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let matched = match self.line {
            LineSoFar::Body => return &[],
            LineSoFar::Other => {
                let Some(end) = memchr(b'\n', piece) else {
                    return &[];
                };
                self.line = LineSoFar::Start;
                return &piece[end + 1..];
            }
            LineSoFar::Start => 0,
            LineSoFar::Matches(matched) => matched,
        };
        let octet = piece[0];
        self.line = match octet {
            b'\r' if self.line == LineSoFar::Start => LineSoFar::Start,
            b'\n' if self.line == LineSoFar::Start => LineSoFar::Body,
            b'\n' => LineSoFar::Start,
            _ if octet.eq_ignore_ascii_case(&FIELD[matched]) && matched + 1 == FIELD.len() => {
                self.hops += 1;
                LineSoFar::Other
            }
            _ if octet.eq_ignore_ascii_case(&FIELD[matched]) => LineSoFar::Matches(matched + 1),
            _ => LineSoFar::Other,
        };
        &piece[1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (time, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 +0000"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 +0000"),
        ] {
            let mut out = String::new();
            push_date(&mut out, time);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn the_header_reads_as_the_rfc_has_it() {
        let trace = Trace {
            helo: "client.example",
            client: "2001:db8::1".parse().unwrap(),
            fqdn: "mx.example.com",
            protocol: protocol(true, true, true, false),
            tls: Some("TLS1.3 TLS_AES_256_GCM_SHA384"),
            id: "0000001",
            recipient: Some("a@example.com"),
            time: 0,
        };
        assert_eq!(
            trace.header(),
            "Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example.com with ESMTPSA (TLS1.3 TLS_AES_256_GCM_SHA384)\r\n\
             \tid 0000001 for <a@example.com>; Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
    }

    #[test]
    fn hops_are_counted_however_the_message_is_cut() {
        let text = b"Received: one\r\nX: y\r\nRECEIVED:\r\n two\r\nReceivedX: no\r\n received: folded\r\n\r\nReceived: body\r\n";
        for size in 1..text.len() {
            let mut count = HopCount::default();
            text.chunks(size).for_each(|piece| count.look(piece));
            assert_eq!(count.hops(), 2, "pieces of {size}");
        }
    }
}
