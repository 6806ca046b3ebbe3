//! The small languages inside quotes: sizes, times, rates, names.
//!
//! Never: a place in a file; that is the reader's.

use std::time::Duration;

use postern_access::Rate;
use postern_hosting::parse_size;

/// Why a text is not what it should be, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl Misfit {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Misfit {
        Misfit {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// A foreign text as it is quoted in a finding: short, on one line.
pub(crate) fn clip(text: &str) -> String {
    const MOST: usize = 48;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    // `escape_debug` is for Rust; quotes need no escape here.
    shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// `"25 MB"`, `"64 KiB"`.
pub(crate) fn size(text: &str) -> Result<u64, Misfit> {
    if let Some(size) = parse_size(text) {
        return Ok(size);
    }
    let trimmed = text.trim();
    let (number, unit) = trimmed.split_at(trimmed.bytes().take_while(u8::is_ascii_digit).count());
    let meant = match unit.trim().to_ascii_lowercase().as_str() {
        "k" | "kb" => Some("kB"),
        "m" | "mb" => Some("MB"),
        "g" | "gb" => Some("GB"),
        "ki" | "kib" => Some("KiB"),
        "mi" | "mib" => Some("MiB"),
        "gi" | "gib" => Some("GiB"),
        _ => None,
    };
    let remedy = match meant {
        Some(unit) if (1..=18).contains(&number.len()) => format!("write \"{number} {unit}\""),
        _ => "write a whole number and a unit, such as \"25 MB\" or \"64 KiB\"".to_owned(),
    };
    Err(Misfit::new(
        format!("`{}` is not a size", clip(text)),
        remedy,
    ))
}

/// `"10m"`, `"12h"`, `"2d"`, `"1h30m"`: whole numbers with units, the larger unit first.
pub(crate) fn time(text: &str) -> Result<Duration, Misfit> {
    parse_time(text).ok_or_else(|| {
        let bare = text.trim();
        let remedy = if (1..=9).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_digit()) {
            format!("write the unit too: \"{bare}s\" or \"{bare}m\"")
        } else {
            "write a whole number and a unit (s, m, h, d, w), such as \"10m\", \"12h\" or \"1h30m\""
                .to_owned()
        };
        Misfit::new(format!("`{}` is not a time", clip(text)), remedy)
    })
}

fn parse_time(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let (mut total, mut last) = (Duration::ZERO, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        if millis >= last {
            return None;
        }
        last = millis;
        total = total.checked_add(Duration::from_millis(
            number.parse::<u64>().ok()?.checked_mul(millis)?,
        ))?;
        rest = after.trim_start();
    }
    (last != u64::MAX).then_some(total)
}

/// A time as an administrator writes it: the shortest form [`time`] reads back.
pub(crate) fn show_time(time: Duration) -> String {
    let mut left = time.as_millis();
    let mut shown = String::new();
    for (unit, millis) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ] {
        if left >= millis {
            shown.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown
    }
}

/// `"100/1h"`.
pub(crate) fn rate(text: &str) -> Result<Rate, Misfit> {
    let misfit = || {
        let remedy = "write how many and in which time, such as \"100/1h\"";
        Misfit::new(format!("`{}` is not a rate", clip(text)), remedy)
    };
    let (count, per) = text.split_once('/').ok_or_else(misfit)?;
    let count: u32 = count.trim().parse().map_err(|_| misfit())?;
    let per = parse_time(per).ok_or_else(misfit)?;
    if count == 0 || per < Duration::from_secs(1) || per > Duration::from_secs(30 * 86_400) {
        let remedy = "write at least 1, in a time from \"1s\" to \"30d\"";
        return Err(Misfit::new(
            format!("`{}` is a rate that cannot be kept", clip(text)),
            remedy,
        ));
    }
    Ok(Rate { count, per })
}

/// The name of a host in the DNS: labels of letters, digits and hyphens, the last one not all digits.
pub(crate) fn is_host_name(name: &str) -> bool {
    name.is_ascii() && is_domain(name)
}

/// The same, in any script.
pub(crate) fn is_domain(name: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    name.len() <= 253
        && name.split('.').all(label_fits)
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_show() {
        for (text, seconds, shown) in [
            ("10m", 600, "10m"),
            ("12 h", 43_200, "12h"),
            ("2d", 172_800, "2d"),
            ("1h30m", 5400, "1h30m"),
            ("1h 30m", 5400, "1h30m"),
            ("90m", 5400, "1h30m"),
            ("1w", 604_800, "7d"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(show_time(Duration::from_secs(seconds)), shown);
        }
        for bad in [
            "",
            "10",
            "m",
            "10x",
            "30m1h",
            "1h1h",
            "-1h",
            "1.5h",
            "99999999999999999999h",
            "18446744073709551615w",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert_eq!(
            time("10").unwrap_err().remedy,
            "write the unit too: \"10s\" or \"10m\""
        );
    }

    #[test]
    fn sizes_suggest_the_unit_that_was_meant() {
        assert_eq!(size("25 MB"), Ok(25_000_000));
        assert_eq!(size("25M").unwrap_err().remedy, "write \"25 MB\"");
        assert_eq!(size("64 kib").unwrap_err().remedy, "write \"64 KiB\"");
        assert!(size("much").unwrap_err().remedy.contains("such as"));
    }

    #[test]
    fn rates() {
        assert_eq!(
            rate("100/1h"),
            Ok(Rate {
                count: 100,
                per: Duration::from_secs(3600)
            })
        );
        for bad in [
            "",
            "100",
            "100/h",
            "0/1h",
            "1/0s",
            "1/31d",
            "-1/1h",
            "5000000000/1h",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        for good in [
            "mx1.example.com",
            "localhost",
            "_dmarc.example.com",
            "3com.com",
        ] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "a.",
            "-a.b",
            "a b",
            "192.0.2.1",
            "a.1",
            "[192.0.2.1]",
            "bücher.example",
        ] {
            assert!(!is_host_name(bad), "{bad}");
        }
        assert!(is_domain("bücher.example"));
    }

    #[test]
    fn foreign_text_is_clipped() {
        assert_eq!(clip("a\n\u{1b}[31m\"b\""), "a\\n\\u{1b}[31m\"b\"");
        assert_eq!(clip(&"é".repeat(100)).chars().count(), 49);
    }
}
