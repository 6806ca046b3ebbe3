//! What may follow the address in MAIL and RCPT: SIZE, BODY, SMTPUTF8, AUTH, RET, ENVID, NOTIFY, ORCPT.
//!
//! Never: the same parameter twice, or one nobody offered.

/// `BODY=` (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BodyKind {
    /// `7BIT`, also when nothing was said.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBit,
    /// `BINARYMIME`: only BDAT carries it.
    Binary,
}

/// `RET=`: how much of the message a failure report returns (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ret {
    /// `FULL`.
    Full,
    /// `HDRS`.
    Headers,
}

/// `NOTIFY=` (RFC 3461 §4.1): when the sender wants to hear of this recipient. Nothing said is `Notify::default()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Notify(u8);

/// Why parameters are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamError {
    /// Not `KEYWORD` or `KEYWORD=value`, twice the same, or a value that does not fit: 501.
    Syntax,
    /// A keyword nobody offered here: 555 (RFC 5321 §4.1.1.11).
    Unknown,
}

/// The parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParams {
    /// `SIZE=`; beyond 64 bits it is the largest number there is.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Option<BodyKind>,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, checked, still as xtext.
    pub envid: Option<Box<str>>,
    /// `AUTH=`, decoded; `<>` is the empty text.
    pub auth: Option<Box<str>>,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcptParams {
    /// `NOTIFY=`.
    pub notify: Notify,
    /// `ORCPT=`, checked, the address still as xtext.
    pub orcpt: Option<Box<str>>,
}

impl MailParams {
    /// Reads what follows the path of MAIL.
    pub fn parse(text: &str) -> Result<MailParams, ParamError> {
        let mut params = MailParams::default();
        for word in words(text) {
            let (keyword, value) = word?;
            params.take(keyword, value)?;
        }
        Ok(params)
    }

    fn take(&mut self, keyword: &str, value: Option<&str>) -> Result<(), ParamError> {
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        match value {
            Some(value) if is("SIZE") => once(&mut self.size, size(value)),
            Some(value) if is("BODY") => once(&mut self.body, body(value)),
            Some(value) if is("RET") => once(&mut self.ret, ret(value)),
            Some(value) if is("ENVID") => once(&mut self.envid, envid(value)),
            Some(value) if is("AUTH") => once(&mut self.auth, auth(value)),
            None if is("SMTPUTF8") && !self.smtputf8 => {
                self.smtputf8 = true;
                Ok(())
            }
            _ if ["SIZE", "BODY", "RET", "ENVID", "AUTH", "SMTPUTF8"]
                .into_iter()
                .any(is) =>
            {
                Err(ParamError::Syntax)
            }
            _ => Err(ParamError::Unknown),
        }
    }

    /// Whether `SMTPUTF8` stands among the parameters: asked before the path is read, which depends on it.
    pub(crate) fn mention_utf8(text: &str) -> bool {
        text.split(' ')
            .any(|word| word.eq_ignore_ascii_case("SMTPUTF8"))
    }
}

impl RcptParams {
    /// Reads what follows the path of RCPT; `utf8` where the transaction is SMTPUTF8.
    pub fn parse(text: &str, utf8: bool) -> Result<RcptParams, ParamError> {
        let mut found = (None, None);
        for word in words(text) {
            match word? {
                (keyword, Some(value)) if keyword.eq_ignore_ascii_case("NOTIFY") => {
                    once(&mut found.0, notify(value))?;
                }
                (keyword, Some(value)) if keyword.eq_ignore_ascii_case("ORCPT") => {
                    once(&mut found.1, orcpt(value, utf8))?;
                }
                (keyword, None)
                    if ["NOTIFY", "ORCPT"]
                        .iter()
                        .any(|name| keyword.eq_ignore_ascii_case(name)) =>
                {
                    return Err(ParamError::Syntax);
                }
                _ => return Err(ParamError::Unknown),
            }
        }
        Ok(RcptParams {
            notify: found.0.unwrap_or_default(),
            orcpt: found.1,
        })
    }
}

type Word<'a> = (&'a str, Option<&'a str>);

/// RFC 5321 §4.1.2, esmtp-param, spaces between them.
fn words(text: &str) -> impl Iterator<Item = Result<Word<'_>, ParamError>> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword_fits = keyword
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && keyword.starts_with(|first: char| first.is_ascii_alphanumeric());
        let value_fits = value.is_none_or(|value| {
            !value.is_empty() && !value.contains(|c: char| c == '=' || c.is_control())
        });
        if keyword_fits && value_fits {
            Ok((keyword, value))
        } else {
            Err(ParamError::Syntax)
        }
    })
}

fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), ParamError> {
    match (&slot, value) {
        (None, Some(value)) => {
            *slot = Some(value);
            Ok(())
        }
        _ => Err(ParamError::Syntax),
    }
}

/// RFC 1870 §4: up to 20 digits.
fn size(value: &str) -> Option<u64> {
    let digits = value.len() <= 20 && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Option<BodyKind> {
    [
        ("7BIT", BodyKind::SevenBit),
        ("8BITMIME", BodyKind::EightBit),
        ("BINARYMIME", BodyKind::Binary),
    ]
    .into_iter()
    .find_map(|(name, kind)| value.eq_ignore_ascii_case(name).then_some(kind))
}

fn ret(value: &str) -> Option<Ret> {
    [("FULL", Ret::Full), ("HDRS", Ret::Headers)]
        .into_iter()
        .find_map(|(name, ret)| value.eq_ignore_ascii_case(name).then_some(ret))
}

/// RFC 3461 §4.4: at most 100 characters of xtext, printable once decoded.
fn envid(value: &str) -> Option<Box<str>> {
    let printable = |text: String| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (value.len() <= 100 && xtext_decode(value).is_some_and(printable)).then(|| value.into())
}

/// RFC 4954 §5: a mailbox as xtext, or `<>`.
fn auth(value: &str) -> Option<Box<str>> {
    if value == "<>" {
        return Some("".into());
    }
    let decoded = xtext_decode(value)
        .filter(|text| value.len() <= 500 && !text.contains(char::is_control))?;
    Some(decoded.into())
}

/// RFC 3461 §4.1: NEVER alone, or any of the others.
fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::NEVER);
    }
    let names = [
        ("SUCCESS", Notify::SUCCESS),
        ("FAILURE", Notify::FAILURE),
        ("DELAY", Notify::DELAY),
    ];
    value.split(',').try_fold(Notify::default(), |all, word| {
        let (_, one) = names
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))?;
        Some(all.with(*one))
    })
}

/// RFC 3461 §4.2: `type;xtext`, at most 500 characters; RFC 6533 §3 for the type `utf-8`.
fn orcpt(value: &str, utf8: bool) -> Option<Box<str>> {
    let (kind, address) = value.split_once(';')?;
    let is_atom = !kind.is_empty()
        && kind
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte));
    let raw_allowed = utf8 && kind.eq_ignore_ascii_case("utf-8");
    let fits = if raw_allowed && !address.is_ascii() {
        !address.contains(|letter: char| letter.is_control() || letter.is_whitespace())
    } else {
        xtext_decode(address).is_some_and(|text| !text.contains(char::is_control))
    };
    (is_atom && fits && !address.is_empty() && value.len() <= 500).then(|| value.into())
}

impl Notify {
    /// `SUCCESS`.
    pub const SUCCESS: Notify = Notify(1);
    /// `FAILURE`.
    pub const FAILURE: Notify = Notify(2);
    /// `DELAY`.
    pub const DELAY: Notify = Notify(4);
    /// `NEVER`.
    pub const NEVER: Notify = Notify(8);

    /// As bits: 1 SUCCESS, 2 FAILURE, 4 DELAY, 8 NEVER, 0 nothing said.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// From [`Notify::bits`]; bits without meaning are dropped.
    pub fn from_bits(bits: u8) -> Notify {
        Notify(bits & 15)
    }

    /// Both.
    pub fn with(self, other: Notify) -> Notify {
        Notify(self.0 | other.0)
    }

    /// Whether the client said nothing.
    pub fn is_default(self) -> bool {
        self.0 == 0
    }

    /// Whether everything in `other` was asked for.
    pub fn has(self, other: Notify) -> bool {
        self.0 & other.0 == other.0
    }
}

/// As the value of `NOTIFY=`; empty when nothing was said.
impl std::fmt::Display for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.has(Notify::NEVER) {
            return f.write_str("NEVER");
        }
        let mut comma = "";
        for (one, name) in [
            (Notify::SUCCESS, "SUCCESS"),
            (Notify::FAILURE, "FAILURE"),
            (Notify::DELAY, "DELAY"),
        ] {
            if self.has(one) {
                write!(f, "{comma}{name}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}

/// Decodes `+41` forms (RFC 3461 §4); `None` if it is not xtext.
pub fn xtext_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?),
            b'!'..=b'~' if byte != b'=' => decoded.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(decoded).ok()
}

/// Encodes as xtext (RFC 3461 §4).
pub fn xtext_encode(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' | ..=b' ' | 0x7f.. => {
                let digits =
                    [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
                encoded.push('+');
                encoded.extend(digits);
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

/// RFC 3461 §4: upper case only.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_params_as_the_rfcs_have_them() {
        let params = MailParams::parse(
            " size=100 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ314159 AUTH=a+2Bb@example.com",
        )
        .unwrap();
        assert_eq!(params.size, Some(100));
        assert_eq!(params.body, Some(BodyKind::EightBit));
        assert!(params.smtputf8);
        assert_eq!(params.ret, Some(Ret::Headers));
        assert_eq!(params.envid.as_deref(), Some("QQ314159"));
        assert_eq!(params.auth.as_deref(), Some("a+b@example.com"));
        assert_eq!(
            MailParams::parse("  AUTH=<>  ").unwrap().auth.as_deref(),
            Some("")
        );
        assert_eq!(
            MailParams::parse("SIZE=99999999999999999999").unwrap().size,
            Some(u64::MAX)
        );
    }

    #[test]
    fn mail_params_refused() {
        for text in [
            "SIZE",
            "SIZE=",
            "SIZE=1 SIZE=2",
            "SIZE=-1",
            "SIZE=1k",
            "SIZE=000000000000000000001",
            "BODY=9BIT",
            "BODY",
            "SMTPUTF8=1",
            "SMTPUTF8 SMTPUTF8",
            "RET=ALL",
            "RET=FULL RET=FULL",
            "ENVID=a=b",
            "ENVID=+2",
            "ENVID=+zz",
            "ENVID=+0A",
            "ENVID=",
            "=x",
            "-A=1",
            "AUTH=+zz",
        ] {
            assert_eq!(MailParams::parse(text), Err(ParamError::Syntax), "{text}");
        }
        let long = format!("ENVID={}", "a".repeat(101));
        assert_eq!(MailParams::parse(&long), Err(ParamError::Syntax));
        for text in ["FOO", "FOO=bar", "NOTIFY=NEVER", "X-1=2"] {
            assert_eq!(MailParams::parse(text), Err(ParamError::Unknown), "{text}");
        }
    }

    #[test]
    fn rcpt_params() {
        let params =
            RcptParams::parse("NOTIFY=success,FAILURE ORCPT=rfc822;a+2Bb@c.d", false).unwrap();
        assert_eq!(params.notify, Notify::SUCCESS.with(Notify::FAILURE));
        assert_eq!(params.notify.to_string(), "SUCCESS,FAILURE");
        assert_eq!(params.orcpt.as_deref(), Some("rfc822;a+2Bb@c.d"));
        assert_eq!(
            RcptParams::parse("notify=never", false).unwrap().notify,
            Notify::NEVER
        );
        assert!(RcptParams::parse("ORCPT=utf-8;m\u{fc}ller@c.d", true).is_ok());
        for text in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=SOON",
            "NOTIFY=DELAY NOTIFY=DELAY",
            "ORCPT=a@b",
            "ORCPT=;a",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;a+2bb",
            "ORCPT=rfc822;m\u{fc}",
            "ORCPT=utf-8;m\u{fc}",
            "ORCPT=rfc822;a+0Ab",
        ] {
            assert_eq!(
                RcptParams::parse(text, false),
                Err(ParamError::Syntax),
                "{text}"
            );
        }
        assert_eq!(RcptParams::parse("SIZE=1", false), Err(ParamError::Unknown));
    }

    #[test]
    fn xtext_there_and_back() {
        assert_eq!(xtext_encode("a+b=c d\u{fc}"), "a+2Bb+3Dc+20d+C3+BC");
        assert_eq!(
            xtext_decode("a+2Bb+3Dc+20d+C3+BC").as_deref(),
            Some("a+b=c d\u{fc}")
        );
        assert_eq!(xtext_decode("+FF"), None);
    }
}
