//! How a server logs in at the next hop.
//!
//! | `login` | Who | With | By |
//! |---|---|---|---|
//! | `basic` | `user` | `password`, or the one line of `password_file` | SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN: the first that is offered, or only `mechanism` |
//! | `integrated` | `user`, as `CORP\\svc` | the same | GSS-SPNEGO or NTLM: NTLMv2, bound to the TLS channel; Kerberos is not there |
//! | `xoauth2` | `user` | the token in `token_file` | OAUTHBEARER or XOAUTH2 |
//!
//! A token lives for an hour or so: whatever renews it writes the file anew, and the server is reloaded.
//!
//! Never: a file opened; root opens what a definition names.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::authentication::LdapBind;
use crate::reader::{Node, Reader};
use crate::secret::Secret;

/// How we log in at the next hop.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundLogin {
    /// By which kind of mechanism.
    pub kind: LoginKind,
    /// The account's name there.
    pub user: String,
    /// Its password or token.
    pub secret: LoginSecret,
}

/// What a login shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// That we know a password, by the best mechanism there is or by this one only.
    Basic(Option<PasswordMechanism>),
    /// A Windows account's password, by NTLMv2.
    Integrated,
    /// An OAuth 2 token.
    Xoauth2,
}

/// The mechanisms that `basic` may be kept to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordMechanism {
    /// SCRAM-SHA-256-PLUS.
    ScramSha256Plus,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// PLAIN.
    Plain,
    /// LOGIN.
    Login,
}

/// Where a password or token is.
#[derive(Clone, Debug, PartialEq)]
pub enum LoginSecret {
    /// In the definition.
    Written(Secret),
    /// In the only line of this file, as written.
    File(PathBuf),
}

impl OutboundLogin {
    /// The file its secret is in.
    pub fn file(&self) -> Option<&Path> {
        match &self.secret {
            LoginSecret::Written(_) => None,
            LoginSecret::File(path) => Some(path),
        }
    }

    /// The secret in that file's content: its only line, without the end; or what is wrong with the file.
    pub fn secret_in<'c>(&self, content: &'c [u8]) -> Result<&'c [u8], &'static str> {
        if self.kind != LoginKind::Xoauth2 {
            return LdapBind::password_in(content);
        }
        // RFC 6750 §2.1 has fewer letters; what would break the message is refused.
        match content.trim_ascii_end() {
            [] => Err("holds no token"),
            token if token.iter().all(u8::is_ascii_graphic) => Ok(token),
            _ => Err("holds something else than a token"),
        }
    }

    /// What to do about a file that [`OutboundLogin::secret_in`] refuses.
    pub fn remedy(&self) -> &'static str {
        match self.kind {
            LoginKind::Xoauth2 => "write the access token into it, on one line, and nothing else",
            _ => "write the password into it, and nothing else",
        }
    }
}

impl fmt::Display for PasswordMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = MECHANISMS.iter();
        let mut word = words.filter(|(_, one)| one == self).map(|(word, _)| *word);
        f.write_str(word.next().unwrap_or_default())
    }
}

const MECHANISMS: [(&str, PasswordMechanism); 4] = [
    ("scram-sha-256-plus", PasswordMechanism::ScramSha256Plus),
    ("scram-sha-256", PasswordMechanism::ScramSha256),
    ("plain", PasswordMechanism::Plain),
    ("login", PasswordMechanism::Login),
];

const BASIC: &str =
    "{ basic = { user = \"gateway\", password_file = \"/etc/postern/relay.password\" } }";
const INTEGRATED: &str = "{ integrated = { user = \"CORP\\\\gateway\", password_file = \"/etc/postern/exchange.password\" } }";
const XOAUTH2: &str =
    "{ xoauth2 = { user = \"gateway@example.com\", token_file = \"/run/mail-token/access\" } }";

pub(super) fn login<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<OutboundLogin> {
    let table = reader.table(node, &["basic", "integrated", "xoauth2"], BASIC)?;
    if table.len() != 1 {
        let what = "a login is of one kind";
        reader.error(node.span(), what, format!("write {BASIC}"));
        return None;
    }
    let (key, node) = table.iter().next()?;
    match key.get_ref().as_ref() {
        "basic" => basic(reader, node),
        "integrated" => integrated(reader, node),
        "xoauth2" => xoauth2(reader, node),
        _ => None,
    }
}

fn basic<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<OutboundLogin> {
    let keys = ["user", "password", "password_file", "mechanism"];
    let table = reader.table(node, &keys, BASIC)?;
    let mechanism = match table.get("mechanism") {
        Some(node) => reader.word(node, &MECHANISMS).map(Some),
        None => Some(None),
    };
    let user = user(reader, node, table, BASIC);
    let secret = password(reader, node, table);
    Some(OutboundLogin {
        kind: LoginKind::Basic(mechanism?),
        user: user?,
        secret: secret?,
    })
}

fn integrated<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<OutboundLogin> {
    if node
        .get_ref()
        .as_table()
        .is_none_or(|table| table.is_empty())
    {
        let remedy = format!("name a Windows account, for NTLMv2: {INTEGRATED}");
        reader.not_yet(node.span(), "logging in by Kerberos", remedy);
        return None;
    }
    let keys = ["user", "password", "password_file"];
    let table = reader.table(node, &keys, INTEGRATED)?;
    let user = user(reader, node, table, INTEGRATED);
    let secret = password(reader, node, table);
    Some(OutboundLogin {
        kind: LoginKind::Integrated,
        user: user?,
        secret: secret?,
    })
}

fn xoauth2<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<OutboundLogin> {
    let table = reader.table(node, &["user", "token_file"], XOAUTH2)?;
    let user = user(reader, node, table, XOAUTH2);
    let Some(file) = table.get("token_file") else {
        let what = "a login without the file its token is in";
        reader.error(node.span(), what, format!("write {XOAUTH2}"));
        return None;
    };
    let file = reader.path(file, "\"/run/mail-token/access\"");
    Some(OutboundLogin {
        kind: LoginKind::Xoauth2,
        user: user?,
        secret: LoginSecret::File(file?),
    })
}

fn user<'t>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
    table: &DeTable<'t>,
    example: &str,
) -> Option<String> {
    let Some(user) = table.get("user") else {
        let what = "a login without `user`";
        reader.error(node.span(), what, format!("write {example}"));
        return None;
    };
    let name = reader.text(user, "the user's name in quotes")?;
    if name.is_empty() {
        let what = "a login without a name";
        reader.error(user.span(), what, format!("write {example}"));
        return None;
    }
    Some(name.to_owned())
}

fn password<'t>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
    table: &DeTable<'t>,
) -> Option<LoginSecret> {
    match (table.get("password"), table.get("password_file")) {
        (Some(password), None) => reader
            .text(password, "the password in quotes")
            .map(|text| LoginSecret::Written(Secret::new(text))),
        (None, Some(file)) => reader
            .path(file, "\"/etc/postern/relay.password\"")
            .map(LoginSecret::File),
        (Some(_), Some(file)) => {
            let what = "there is a password already";
            reader.error(file.span(), what, "remove `password_file`");
            None
        }
        (None, None) => {
            let remedy = "write password_file = \"/etc/postern/relay.password\" too";
            reader.error(node.span(), "a login without a password", remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_secret() {
        let login = |kind| OutboundLogin {
            kind,
            user: "u".to_owned(),
            secret: LoginSecret::File(PathBuf::from("x")),
        };
        let (basic, token) = (login(LoginKind::Basic(None)), login(LoginKind::Xoauth2));
        assert_eq!(basic.secret_in(b" pass word \n"), Ok(&b" pass word "[..]));
        assert_eq!(token.secret_in(b"ya29.x-y_z\r\n\n"), Ok(&b"ya29.x-y_z"[..]));
        for bad in [&b""[..], b" \n", b"a b", b"a\nb", b"a\x01b", "ä".as_bytes()] {
            assert!(token.secret_in(bad).is_err(), "{bad:?}");
        }
    }
}
