//! Sizes and times as an administrator writes them: `"25 MB"`, `"64 KiB"`, `"10m"`, `"2d"`.

use std::time::Duration;

/// A size in bytes: a whole number and one of `B`, `kB`, `KB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`, or nothing for bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A time: a whole number and one of `ms`, `s`, `m`, `h`, `d`, `w`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_secs)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_and_times() {
        for (text, bytes) in [
            ("25 MB", 25_000_000),
            ("64KiB", 65_536),
            ("0", 0),
            (" 7 B ", 7),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for (text, seconds) in [
            ("10m", 600),
            ("12 h", 43_200),
            ("2d", 172_800),
            ("0s", 0),
            ("1w", 604_800),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for bad in [
            "",
            "MB",
            "-1 MB",
            "1.5 MB",
            "99999999999 TB",
            "10",
            "10 x",
            "1 m 2",
            "18446744073709551615w",
        ] {
            assert_eq!(parse_size(bad).filter(|_| bad != "10"), None, "{bad}");
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
