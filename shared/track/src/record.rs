//! The events of a message's life, and how each is written.
//!
//! ```text
//! {"time":"2026-11-03T09:41:07.512Z","server":"mx1","event":"accepted","id":"0A…","sender":"a@example.net", … }
//! ```
//!
//! Every line has `time`, `server` and `event`; what else it has depends on the event. Addresses are as in the
//! envelope, without angle brackets; the null sender is the empty string. Times are RFC 3339 in UTC; sizes bytes.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

/// What happened.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// A message is on disk and was answered 250.
    Accepted {
        /// The queue id.
        id: &'a str,
        /// The envelope's sender.
        sender: &'a str,
        /// The envelope's recipients.
        #[serde(serialize_with = "texts")]
        recipients: &'a [&'a str],
        /// In bytes, with the trace headers.
        size: u64,
        /// The client's address; absent where the message was made here (a notice, a pickup file).
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<IpAddr>,
        /// The name in its EHLO.
        #[serde(skip_serializing_if = "Option::is_none")]
        helo: Option<&'a str>,
        /// The account it was logged in as.
        #[serde(skip_serializing_if = "Option::is_none")]
        login: Option<&'a str>,
        /// `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPSA` …  (RFC 3848).
        protocol: &'a str,
    },
    /// A sender, a recipient or a whole message was refused.
    Refused {
        /// The client's address.
        client: IpAddr,
        /// The account it was logged in as.
        #[serde(skip_serializing_if = "Option::is_none")]
        login: Option<&'a str>,
        /// The envelope's sender, once known.
        #[serde(skip_serializing_if = "Option::is_none")]
        sender: Option<&'a str>,
        /// The recipient, if it was the recipient that was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        recipient: Option<&'a str>,
        /// The reply it got.
        reply: &'a str,
    },
    /// A recipient's copy is in its mailbox.
    Delivered {
        /// The queue id.
        id: &'a str,
        /// The recipient.
        recipient: &'a str,
        /// Where: a Maildir's path, or the LMTP server.
        host: &'a str,
        /// What it answered.
        #[serde(skip_serializing_if = "str::is_empty")]
        reply: &'a str,
        /// Milliseconds since the message was accepted.
        delay: u64,
    },
    /// A recipient's copy was taken by the next hop.
    Relayed {
        /// The queue id.
        id: &'a str,
        /// The recipient.
        recipient: &'a str,
        /// The next hop.
        host: &'a str,
        /// What it answered.
        reply: &'a str,
        /// The protocol version, where the connection was encrypted.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<&'a str>,
        /// Milliseconds since the message was accepted.
        delay: u64,
    },
    /// A recipient will be tried again.
    Deferred {
        /// The queue id.
        id: &'a str,
        /// The recipient.
        recipient: &'a str,
        /// The next hop, where it came to one.
        #[serde(skip_serializing_if = "str::is_empty")]
        host: &'a str,
        /// What it answered, or why it could not be asked.
        reply: &'a str,
        /// When it is tried again, unix milliseconds.
        #[serde(serialize_with = "stamp")]
        next_try: u64,
    },
    /// A recipient failed for good.
    Failed {
        /// The queue id.
        id: &'a str,
        /// The recipient.
        recipient: &'a str,
        /// The next hop, where it came to one.
        #[serde(skip_serializing_if = "str::is_empty")]
        host: &'a str,
        /// What it answered, or why it could not be asked.
        reply: &'a str,
    },
    /// A recipient was tried for as long as may be.
    Expired {
        /// The queue id.
        id: &'a str,
        /// The recipient.
        recipient: &'a str,
        /// The last answer.
        reply: &'a str,
    },
    /// A notice was made about a message.
    Noticed {
        /// The queue id of the message it is about.
        id: &'a str,
        /// What it tells.
        notice: Notice,
        /// The queue id of the notice; empty where it was only kept as badmail.
        #[serde(skip_serializing_if = "str::is_empty")]
        notice_id: &'a str,
        /// Whom it tells.
        recipient: &'a str,
    },
    /// A notice could not be delivered and was kept aside.
    Badmail {
        /// The queue id.
        id: &'a str,
        /// Why.
        reply: &'a str,
    },
    /// An operator took a message out of the queue.
    Deleted {
        /// The queue id.
        id: &'a str,
        /// Whether its sender is told.
        notified: bool,
    },
    /// An operator held a message back.
    Frozen {
        /// The queue id.
        id: &'a str,
    },
    /// An operator let it go again.
    Thawed {
        /// The queue id.
        id: &'a str,
    },
    /// So many lines are missing here: the disk did not keep up, or refused.
    Dropped {
        /// How many.
        count: u64,
    },
}

/// What a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Notice {
    /// Delivery takes longer.
    Delay,
    /// Delivery failed.
    Failure,
    /// Delivery succeeded (asked for with NOTIFY=SUCCESS).
    Success,
}

/// Appends one line to `line`, newline included. `time` is unix milliseconds.
pub fn write_line(line: &mut Vec<u8>, time: u64, server: &str, event: &Event<'_>) {
    let begin = line.len();
    line.extend_from_slice(b"{\"time\":\"");
    write_time(line, time);
    line.extend_from_slice(b"\",\"server\":");
    let object = append(line, server).and_then(|()| {
        let object = line.len();
        append(line, event).map(|()| object)
    });
    match object.map(|object| line.get_mut(object)) {
        // The event's own object becomes the rest of ours.
        Ok(Some(brace)) => *brace = b',',
        _ => return line.truncate(begin),
    }
    line.push(b'\n');
}

fn append<T: Serialize + ?Sized>(line: &mut Vec<u8>, value: &T) -> Result<(), serde_json::Error> {
    serde_json::to_writer(line, value)
}

fn texts<S: Serializer>(texts: &[&str], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts)
}

fn stamp<S: Serializer>(time: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::with_capacity(24);
    write_time(&mut text, *time);
    serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

/// `2026-11-03T09:41:07.512Z`. Beyond the year 9999 it stays there.
pub(crate) fn write_time(out: &mut Vec<u8>, time: u64) {
    const LAST: u64 = 253_402_300_799_999;
    let time = time.min(LAST);
    let (days, in_day) = (time / 86_400_000, time % 86_400_000);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, in_day / 3_600_000),
        (14..16, in_day / 60_000 % 60),
        (17..19, in_day / 1000 % 60),
        (20..23, in_day % 1000),
    ];
    for (place, mut value) in fields {
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    out.extend_from_slice(&text);
}

/// Year, month and day of the day `days` after 1970-01-01: counted in eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The unix milliseconds of a time as [`write_time`] writes it.
pub(crate) fn read_time(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 24
        && bytes
            .iter()
            .zip(b"0000-00-00T00:00:00.000Z")
            .all(|(byte, mark)| match mark {
                b'0' => byte.is_ascii_digit(),
                _ => byte == mark,
            });
    if !shape {
        return None;
    }
    let number = |place: std::ops::Range<usize>| text.get(place)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let clock = number(11..13)? * 3_600_000
        + number(14..16)? * 60_000
        + number(17..19)? * 1000
        + number(20..23)?;
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || clock >= 86_401_000
    {
        return None;
    }
    Some(days_before(year, month, day)? * 86_400_000 + clock)
}

fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &Event<'_>) -> String {
        let mut line = Vec::new();
        write_line(&mut line, 1_793_698_867_512, "mx1", event);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn an_accepted_message_reads_as_documented() {
        let recipients = [
            "b@example.com",
            "\"odd \u{7} \\\"\"@example.com",
            "grün@example.com",
        ];
        let event = Event::Accepted {
            id: "0A1B2C3D4E5F6",
            sender: "",
            recipients: &recipients,
            size: 4096,
            client: Some("2001:db8::7".parse().unwrap()),
            helo: Some("mail.example.net\n"),
            login: None,
            protocol: "ESMTPS",
        };
        assert_eq!(
            line(&event),
            "{\"time\":\"2026-11-03T09:41:07.512Z\",\"server\":\"mx1\",\"event\":\"accepted\",\"id\":\"0A1B2C3D4E5F6\",\
             \"sender\":\"\",\"recipients\":[\"b@example.com\",\"\\\"odd \\u0007 \\\\\\\"\\\"@example.com\",\"grün@example.com\"],\
             \"size\":4096,\"client\":\"2001:db8::7\",\"helo\":\"mail.example.net\\n\",\"protocol\":\"ESMTPS\"}\n"
        );
    }

    #[test]
    fn a_deferred_one_names_the_next_try() {
        let event = Event::Deferred {
            id: "X",
            recipient: "b@c",
            host: "",
            reply: "451 4.7.1 later",
            next_try: 0,
        };
        let parsed: serde_json::Value = serde_json::from_str(&line(&event)).unwrap();
        assert_eq!(parsed["event"], "deferred");
        assert_eq!(parsed["next_try"], "1970-01-01T00:00:00.000Z");
        assert!(parsed.get("host").is_none());
    }

    #[test]
    fn times_go_both_ways() {
        let shown = |time: u64| {
            let mut text = Vec::new();
            write_time(&mut text, time);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(shown(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(u64::MAX), "9999-12-31T23:59:59.999Z");
        for day in 0..100_000u64 {
            let time = day * 86_400_000 + day % 86_400_000;
            assert_eq!(read_time(&shown(time)), Some(time));
        }
        for bad in [
            "",
            "2026-11-03T09:41:07Z",
            "2026-13-03T09:41:07.512Z",
            "1960-01-01T00:00:00.000Z",
            "2026-11-03 09:41:07.512Z",
        ] {
            assert_eq!(read_time(bad), None, "{bad}");
        }
    }
}
