//! One command line, parsed: the verb first, so that the order of commands is judged before their syntax.
//!
//! Never: the state of a session.

use crate::address::{self, AddressError};
use crate::ask::{Mail, Rcpt};
use crate::params::{MailParams, ParamError, RcptParams};

/// A command, its arguments still as written where they depend on the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO.
    Ehlo(&'a str),
    /// HELO.
    Helo(&'a str),
    /// MAIL; [`mail`] reads what follows.
    Mail(&'a str),
    /// RCPT; [`rcpt`] reads what follows.
    Rcpt(&'a str),
    /// DATA.
    Data,
    /// BDAT, a chunk of the message (RFC 3030 §2).
    Bdat {
        /// Octets that follow the line.
        size: u64,
        /// The chunk ends the message.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP, whatever follows it.
    Noop,
    /// VRFY of something.
    Vrfy,
    /// HELP, whatever follows it.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth {
        /// As the client spelt it.
        mechanism: &'a str,
        /// The initial response in base64, `=` for an empty one.
        initial: Option<&'a str>,
    },
}

/// Why a line is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// No such verb.
    Unrecognized,
    /// A verb of some RFC that nobody speaks here.
    NotImplemented,
    /// Arguments where none belong, or none where they do.
    Arguments,
    /// `BDAT` without a size: where the next command begins cannot be known.
    ChunkSize,
    /// A browser, or somebody made one talk to this port.
    Http,
}

/// Why the arguments of MAIL or RCPT are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// Not `FROM:<…>` or `TO:<…>`, with a space before the parameters.
    Syntax,
    /// The address.
    Address(AddressError),
    /// The parameters.
    Params(ParamError),
}

/// Reads one line, its CRLF taken off.
pub fn parse(line: &str) -> Result<Command<'_>, CommandError> {
    // RFC 5321 §4.1.1: trailing white space is tolerated.
    let line = line.trim_end_matches([' ', '\t']);
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_start_matches(' ');
    let is = |name: &str| verb.eq_ignore_ascii_case(name);
    let alone = |command| {
        if rest.is_empty() {
            Ok(command)
        } else {
            Err(CommandError::Arguments)
        }
    };
    match verb.len() {
        4 if is("MAIL") => Ok(Command::Mail(rest)),
        4 if is("RCPT") => Ok(Command::Rcpt(rest)),
        4 if is("DATA") => alone(Command::Data),
        4 if is("BDAT") => bdat(rest),
        4 if is("EHLO") => hello(rest).map(Command::Ehlo),
        4 if is("HELO") => hello(rest).map(Command::Helo),
        4 if is("RSET") => alone(Command::Rset),
        4 if is("QUIT") => alone(Command::Quit),
        4 if is("NOOP") => Ok(Command::Noop),
        4 if is("HELP") => Ok(Command::Help),
        4 if is("VRFY") && rest.is_empty() => Err(CommandError::Arguments),
        4 if is("VRFY") => Ok(Command::Vrfy),
        4 if is("AUTH") => auth(rest),
        8 if is("STARTTLS") => alone(Command::StartTls),
        _ if ["EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML"]
            .into_iter()
            .any(is) =>
        {
            Err(CommandError::NotImplemented)
        }
        _ if rest.contains("HTTP/1.") || rest.contains("HTTP/2.") => Err(CommandError::Http),
        _ => Err(CommandError::Unrecognized),
    }
}

/// Reads `FROM:<path> params`.
pub fn mail(text: &str) -> Result<Mail, PathError> {
    let path = after(text, "FROM:")?;
    let (path, params) =
        address::reverse_path(path, MailParams::mention_utf8(path)).map_err(PathError::Address)?;
    let params = MailParams::parse(separate(params)?).map_err(PathError::Params)?;
    Ok(Mail {
        sender: path.path,
        source_route: path.source_route,
        size: params.size,
        body: params.body.unwrap_or_default(),
        smtputf8: params.smtputf8,
        ret: params.ret,
        envid: params.envid,
        auth: params.auth,
    })
}

/// Reads `TO:<path> params`; `utf8` where MAIL said SMTPUTF8.
pub fn rcpt(text: &str, utf8: bool) -> Result<Rcpt, PathError> {
    let (path, params) =
        address::forward_path(after(text, "TO:")?, utf8).map_err(PathError::Address)?;
    let params = RcptParams::parse(separate(params)?, utf8).map_err(PathError::Params)?;
    Ok(Rcpt {
        recipient: path.path,
        source_route: path.source_route,
        notify: params.notify,
        orcpt: params.orcpt,
    })
}

/// Devices put spaces behind the colon, and nothing is in doubt when they do.
fn after<'a>(text: &'a str, word: &str) -> Result<&'a str, PathError> {
    match text.get(..word.len()) {
        Some(start) if start.eq_ignore_ascii_case(word) => {
            Ok(text[word.len()..].trim_start_matches(' '))
        }
        _ => Err(PathError::Syntax),
    }
}

fn separate(params: &str) -> Result<&str, PathError> {
    if params.is_empty() || params.starts_with(' ') {
        Ok(params)
    } else {
        Err(PathError::Syntax)
    }
}

/// RFC 5321 §4.1.4: any name or literal will do. What could not stand in a trace header will not.
fn hello(name: &str) -> Result<&str, CommandError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let fits = !name.is_empty() && name.len() <= 255 && name.bytes().all(sign);
    if fits {
        Ok(name)
    } else {
        Err(CommandError::Arguments)
    }
}

fn bdat(text: &str) -> Result<Command<'_>, CommandError> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let size = words
        .next()
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|word| word.parse().ok());
    match (size, words.next(), words.next()) {
        (Some(size), None, None) => Ok(Command::Bdat { size, last: false }),
        (Some(size), Some(last), None) if last.eq_ignore_ascii_case("LAST") => {
            Ok(Command::Bdat { size, last: true })
        }
        _ => Err(CommandError::ChunkSize),
    }
}

fn auth(text: &str) -> Result<Command<'_>, CommandError> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism, initial }),
        _ => Err(CommandError::Arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{ForwardPath, ReversePath};

    #[test]
    fn lines_that_are_commands() {
        for (line, command) in [
            ("EHLO mx.example.com", Command::Ehlo("mx.example.com")),
            ("ehlo  [192.0.2.1] ", Command::Ehlo("[192.0.2.1]")),
            ("HELO my_host", Command::Helo("my_host")),
            (
                "EHLO [IPv6:2001:db8::1]",
                Command::Ehlo("[IPv6:2001:db8::1]"),
            ),
            ("MAIL FROM:<>", Command::Mail("FROM:<>")),
            ("DATA", Command::Data),
            ("DATA \t", Command::Data),
            (
                "BDAT 0 last",
                Command::Bdat {
                    size: 0,
                    last: true,
                },
            ),
            (
                "BDAT 86",
                Command::Bdat {
                    size: 86,
                    last: false,
                },
            ),
            ("NOOP anything at all", Command::Noop),
            ("HELP me", Command::Help),
            ("VRFY postmaster", Command::Vrfy),
            ("StartTLS", Command::StartTls),
            (
                "AUTH plain =",
                Command::Auth {
                    mechanism: "plain",
                    initial: Some("="),
                },
            ),
            (
                "AUTH LOGIN",
                Command::Auth {
                    mechanism: "LOGIN",
                    initial: None,
                },
            ),
        ] {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn lines_that_are_not() {
        use CommandError::*;
        for (line, error) in [
            ("", Unrecognized),
            (" EHLO x", Unrecognized),
            ("EHLOX", Unrecognized),
            ("MAIL\tFROM:<>", Unrecognized),
            ("XCLIENT ADDR=1", Unrecognized),
            ("EXPN list", NotImplemented),
            ("turn", NotImplemented),
            ("EHLO", Arguments),
            ("EHLO <script>", Arguments),
            ("EHLO a b", Arguments),
            ("EHLO m\u{fc}", Arguments),
            ("DATA now", Arguments),
            ("QUIT x", Arguments),
            ("VRFY", Arguments),
            ("AUTH", Arguments),
            ("AUTH PLAIN a b", Arguments),
            ("BDAT", ChunkSize),
            ("BDAT -1", ChunkSize),
            ("BDAT 1 2", ChunkSize),
            ("BDAT 1 LAST x", ChunkSize),
            ("BDAT 99999999999999999999999", ChunkSize),
            ("GET / HTTP/1.1", Http),
        ] {
            assert_eq!(parse(line), Err(error), "{line:?}");
        }
    }

    #[test]
    fn mail_and_its_path() {
        let parsed = mail("from: <a@b.c>  SIZE=5").unwrap();
        assert_eq!(
            (parsed.sender.to_string().as_str(), parsed.size),
            ("a@b.c", Some(5))
        );
        assert_eq!(mail("FROM:<>").unwrap().sender, ReversePath::Null);
        assert!(mail("FROM:<m\u{fc}@b.c> SMTPUTF8").is_ok());
        assert_eq!(
            mail("FROM:<m\u{fc}@b.c>"),
            Err(PathError::Address(AddressError::NeedsUtf8))
        );
        assert_eq!(mail("FROM:<a@b.c>SIZE=5"), Err(PathError::Syntax));
        assert_eq!(mail("TO:<a@b.c>"), Err(PathError::Syntax));
        assert_eq!(mail("FROM <a@b.c>"), Err(PathError::Syntax));
        assert_eq!(mail(""), Err(PathError::Syntax));
        assert_eq!(
            mail("FROM:<a@b.c> FOO"),
            Err(PathError::Params(ParamError::Unknown))
        );
    }

    #[test]
    fn rcpt_and_its_path() {
        assert_eq!(
            rcpt("TO:<postmaster>", false).unwrap().recipient,
            ForwardPath::Postmaster
        );
        assert!(rcpt("TO:<@x.y:a@b.c>", false).unwrap().source_route);
        assert_eq!(
            rcpt("TO:<>", false),
            Err(PathError::Address(AddressError::Syntax))
        );
        assert!(rcpt("TO:<m\u{fc}@b.c>", true).is_ok());
        assert_eq!(
            rcpt("TO:<a@b.c> SIZE=1", false),
            Err(PathError::Params(ParamError::Unknown))
        );
    }
}
