//! MTA-STS: what a domain promises of the TLS of its mail hosts (RFC 8461), as text.
//!
//! ```text
//! _mta-sts.DOMAIN TXT "v=STSv1; id=…;"  ─▶ Record: has the policy changed?
//! https://mta-sts.DOMAIN/…              ─▶ Policy: mode, patterns of hosts, how long it holds
//! ```
//!
//! Never: a look-up, a fetch, a clock.

use std::time::Duration;

/// RFC 8461 §3.2: a policy is believed for a year at most.
pub const LONGEST: Duration = Duration::from_secs(31_557_600);
/// No policy needs more; a longer one is refused, as is one of more bytes than this many lines could hold.
const MOST_LINES: usize = 1000;

/// The TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Changes with the policy; 1 to 32 letters and digits.
    pub id: String,
}

impl Record {
    /// Whether a TXT record claims to be one; others at the same name are passed over (RFC 8461 §3.1).
    pub fn is_claimed(text: &str) -> bool {
        text.strip_prefix("v=STSv1")
            .is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with(';'))
    }

    /// Reads the record; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Record, String> {
        if !Record::is_claimed(text) {
            return Err("it does not begin with v=STSv1;".to_owned());
        }
        let mut id = None;
        for field in text.split(';').skip(1) {
            let field = field.trim_matches([' ', '\t']);
            match field.split_once('=') {
                Some(("id", value)) if id.is_none() => id = Some(value),
                Some(_) => {}
                None if field.is_empty() => {}
                None => return Err(format!("{field:?} is no key=value")),
            }
        }
        let id = id.ok_or_else(|| "it has no id".to_owned())?;
        let good = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        good.then(|| Record { id: id.to_owned() })
            .ok_or_else(|| format!("its id {id:?} is not 1 to 32 letters and digits"))
    }
}

/// What is to happen to a message where the promise does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyMode {
    /// It waits.
    Enforce,
    /// It is sent, and reported.
    Testing,
    /// It is sent; the domain wants out.
    None,
}

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How strict it is.
    pub mode: PolicyMode,
    /// Host names in lower case; `*.example.com` stands for one label.
    pub mx: Vec<String>,
    /// How long it may be believed.
    pub max_age: Duration,
}

impl Policy {
    /// Reads a policy file; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx: Vec<String> = Vec::new();
        if text.lines().nth(MOST_LINES).is_some() {
            return Err(format!("it has more than {MOST_LINES} lines"));
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| format!("{line:?} is no key: value"))?;
            // RFC 8461 §3.2: of a key that comes twice the first counts, but for mx.
            let value = value.trim();
            match key.trim() {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" => mx.push(pattern(value)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("it has no line version: STSv1".to_owned());
        }
        let mode = mode_of(mode)?;
        if mx.is_empty() && mode != PolicyMode::None {
            return Err("it has no line mx: and so no host is good".to_owned());
        }
        let max_age = age(max_age)?;
        Ok(Policy { mode, mx, max_age })
    }

    /// Whether a mail host is among the patterns (RFC 8461 §4.1).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let fits = |pattern: &String| match pattern.strip_prefix("*.") {
            Some(rest) => parent == Some(rest),
            None => *pattern == host,
        };
        self.mx.iter().any(fits)
    }
}

fn mode_of(text: Option<&str>) -> Result<PolicyMode, String> {
    match text {
        Some("enforce") => Ok(PolicyMode::Enforce),
        Some("testing") => Ok(PolicyMode::Testing),
        Some("none") => Ok(PolicyMode::None),
        Some(other) => Err(format!(
            "its mode {other:?} is none of enforce, testing, none"
        )),
        None => Err("it has no line mode:".to_owned()),
    }
}

fn age(text: Option<&str>) -> Result<Duration, String> {
    let text = text.ok_or_else(|| "it has no line max_age:".to_owned())?;
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = digits.then(|| text.parse().ok()).flatten();
    let age = seconds.map(Duration::from_secs);
    age.filter(|age| *age <= LONGEST)
        .ok_or_else(|| format!("its max_age {text:?} is not a number of seconds up to 31557600"))
}

fn pattern(value: &str) -> Result<String, String> {
    let name = value.strip_prefix("*.").unwrap_or(value);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(value.to_ascii_lowercase())
    } else {
        Err(format!(
            "its mx {value:?} is no host name, nor *. and a domain"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_rfc_8461_has_them() {
        let cases = [
            ("v=STSv1; id=20160831085700Z;", Ok("20160831085700Z")),
            ("v=STSv1;id=1", Ok("1")),
            ("v=STSv1 ; id=1; more=x;", Ok("1")),
            ("v=STSv1; id=1; id=2", Ok("1")),
            ("v=STSv1;", Err("it has no id")),
            ("v=STSv1", Err("it does not begin with v=STSv1;")),
            ("v=STSv10; id=1", Err("it does not begin with v=STSv1;")),
            (" v=STSv1; id=1", Err("it does not begin with v=STSv1;")),
            (
                "v=STSv1; id=",
                Err("its id \"\" is not 1 to 32 letters and digits"),
            ),
            (
                "v=STSv1; id=a-b",
                Err("its id \"a-b\" is not 1 to 32 letters and digits"),
            ),
            ("v=STSv1; x", Err("\"x\" is no key=value")),
        ];
        for (text, expected) in cases {
            let found = Record::parse(text).map(|record| record.id);
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn policies_are_read_and_match_one_label() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.Example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";
        let policy = Policy::parse(text).expect("a policy");
        assert_eq!(policy.mode, PolicyMode::Enforce);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        let cases = [
            ("mail.example.com", true),
            ("MAIL.example.com.", true),
            ("mx.example.net", true),
            ("example.net", false),
            ("a.b.example.net", false),
            ("mail.example.org", false),
        ];
        for (host, covered) in cases {
            assert_eq!(policy.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_said() {
        let cases = [
            ("", "it has no line version: STSv1"),
            (
                "version: STSv2\nmode: none\nmax_age: 1",
                "it has no line version: STSv1",
            ),
            ("version: STSv1\nmax_age: 1", "it has no line mode:"),
            (
                "version: STSv1\nmode: maybe\nmax_age: 1",
                "its mode \"maybe\" is none of",
            ),
            (
                "version: STSv1\nmode: enforce\nmax_age: 1",
                "it has no line mx:",
            ),
            ("version: STSv1\nmode: none", "it has no line max_age:"),
            (
                "version: STSv1\nmode: none\nmax_age: 31557601",
                "its max_age",
            ),
            ("version: STSv1\nmode: none\nmax_age: +1", "its max_age"),
            (
                "version: STSv1\nmode: none\nmax_age: 99999999999999999999",
                "its max_age",
            ),
            (
                "version: STSv1\nmx: a b\n",
                "its mx \"a b\" is no host name",
            ),
            ("<html>", "\"<html>\" is no key: value"),
        ];
        for (text, expected) in cases {
            let error = Policy::parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        assert!(Policy::parse("version: STSv1\nmode: none\nmax_age: 0").is_ok());
        assert!(Policy::parse(&"x: y\n".repeat(1001)).is_err());
    }
}
