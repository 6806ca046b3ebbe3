//! Logging in at a next hop: one mechanism, one exchange, and what a refusal means.
//!
//! | Login | The first of these that the host offers |
//! |---|---|
//! | name and password | SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN |
//! | name and token | OAUTHBEARER (RFC 7628), XOAUTH2 |
//! | Windows account | GSS-SPNEGO, NTLM: both NTLMv2, bound to the channel |
//!
//! What fails is not tried again by something weaker: a host that cannot prove in SCRAM that it knows the password would
//! otherwise be handed it in PLAIN. Whatever fails, the mail waits, since the administrator of one of both sides can mend it.
//!
//! Never: a login outside TLS, which [`crate::security`] sees to; a password or token in an answer or in the log.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_sasl::{Credentials, Login as Exchange, Mechanism, Peer, Refusal, Secret, filetime};
use postern_smtp::{ClientEvent, EnhancedCode, Reply, Stage};

use crate::outcome::Answer;
use crate::security::Login;
use crate::smtp::{Connection, Terms};
use crate::transport::Break;

/// An AUTH command with an initial response is at most this long with its end (RFC 4954 §4); many tokens are longer.
const LONGEST_COMMAND: usize = 512;
/// As much of a word in a host's complaint is shown.
const LONGEST_WORD: usize = 160;
/// Fewer letters of a line that was sent tell nothing, and may be a word.
const SHORTEST_PART: usize = 12;
/// What is shown in a secret's place.
const HIDDEN: &str = "***";

impl Connection {
    /// Logs in; `host` is what the definition calls the host.
    pub(crate) async fn log_in(
        &mut self,
        terms: &Terms,
        host: &str,
        login: &Login,
    ) -> Result<(), Answer> {
        let offered = &self.client.extensions().auth;
        let Some(mechanism) = login.choose(offered, &self.bindings) else {
            return Err(self.offers_nothing(login));
        };
        let peer = self.peer(host)?;
        let credentials = Credentials {
            name: login.user.to_string(),
            password: login.secret.clone(),
        };
        let mut exchange = Exchange::facing(mechanism, &credentials, peer);
        let mut lines = Vec::new();
        let ended = self.exchange(mechanism, &mut exchange, &mut lines).await?;
        let answered = match ended {
            Ok(()) => {
                tracing::debug!(host = %self.host, account = ?login.user, %mechanism, "logged in");
                return Ok(());
            }
            Err(why) => {
                lines.push(login.secret.clone());
                self.refused(mechanism, &lines, &exchange, why)
            }
        };
        tracing::warn!(target: "audit", server = %terms.server, host = %self.host, account = ?login.user, %mechanism, tls = self.tls().map(|version| &**version), reason = %answered, "login refused by the next hop");
        Err(answered)
    }

    /// Walks through the exchange, and keeps the lines that were sent; the outer error is a connection that is lost.
    async fn exchange(
        &mut self,
        mechanism: Mechanism,
        exchange: &mut Exchange<'_>,
        lines: &mut Vec<Secret>,
    ) -> Result<Result<(), Denial>, Answer> {
        let mut held = exchange.initial();
        // Before it has begun, a sound one is merely unproven.
        if let Err(why) = exchange.finish()
            && why != Refusal::Unproven
        {
            return Ok(Err(Denial::Ours(why)));
        }
        let sent = held.take_if(|blob| fits(mechanism, blob));
        lines.extend(sent.as_ref().map(line));
        self.client
            .login(mechanism.name(), sent.as_ref().map(Secret::expose));
        let mut fault = None;
        loop {
            match self.event().await? {
                ClientEvent::LoggedIn => return Ok(exchange.finish().map_err(Denial::Ours)),
                ClientEvent::Refused { reply, .. } => {
                    return Ok(Err(fault.map_or(Denial::Theirs(reply), Denial::Ours)));
                }
                ClientEvent::Challenge(challenge) => {
                    // A host that goes on asking after `*` would never end.
                    if let Some(why) = fault {
                        return Ok(Err(Denial::Ours(why)));
                    }
                    let answer = match held.take() {
                        Some(blob) if challenge.is_empty() => Ok(blob),
                        _ => exchange.answer(&challenge),
                    };
                    lines.extend(answer.as_ref().ok().map(line));
                    self.client
                        .respond(answer.as_ref().ok().map(Secret::expose));
                    fault = answer.err();
                }
                _ => return Err(self.lost(Stage::Auth, &Break::Closed)),
            }
        }
    }

    fn peer(&self, host: &str) -> Result<Peer, Answer> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|_| self.ours(EnhancedCode(4, 3, 0), "the system has no random octets"))?;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let plus = Mechanism::ScramSha256Plus.name();
        let offered = &self.client.extensions().auth;
        Ok(Peer {
            random,
            bindings: self.bindings.clone(),
            plus_offered: offered.iter().any(|name| name == plus),
            host: host.to_owned(),
            time: filetime(since_1970.unwrap_or_default()),
        })
    }

    fn offers_nothing(&self, login: &Login) -> Answer {
        let known: Vec<_> = login.mechanisms.iter().map(|known| known.name()).collect();
        let text = format!(
            "the host offers no way to log in that may be used here ({})",
            known.join(", ")
        );
        Answer::ours(&self.host, EnhancedCode(4, 7, 4), text)
    }

    fn refused(
        &self,
        mechanism: Mechanism,
        secrets: &[Secret],
        exchange: &Exchange<'_>,
        why: Denial,
    ) -> Answer {
        let reply = match why {
            Denial::Ours(why) => {
                let text = format!("the login by {mechanism} was broken off: {why}");
                return Answer::ours(&self.host, EnhancedCode(4, 7, 5), text);
            }
            Denial::Theirs(reply) => reply,
        };
        let answer = self.answer(&reply).softened();
        let told = exchange.complaint().map(told).unwrap_or_default();
        let text = format!(
            "the login by {mechanism} was refused: {told}{}",
            answer.text
        );
        let text = without(&text, secrets);
        Answer::replied(&self.host, answer.code, answer.enhanced, &text)
    }
}

/// Why a login failed on a connection that is still good.
enum Denial {
    /// The host refused it.
    Theirs(Reply),
    /// We did.
    Ours(Refusal),
}

/// Whether the response may go with the command.
fn fits(mechanism: Mechanism, initial: &Secret) -> bool {
    let encoded = initial.expose().len().div_ceil(3) * 4;
    "AUTH ".len() + mechanism.name().len() + " ".len() + encoded + "\r\n".len() <= LONGEST_COMMAND
}

/// What a host says of a token it refuses (RFC 7628 §3.2.2): `status invalid_token, scope mail: `.
fn told(complaint: &str) -> String {
    let Ok(serde_json::Value::Object(words)) = serde_json::from_str(complaint) else {
        return String::new();
    };
    let word = |name: &str| {
        let said = match words.get(name)? {
            serde_json::Value::String(said) => said.chars().take(LONGEST_WORD).collect(),
            serde_json::Value::Number(said) => said.to_string(),
            _ => return None,
        };
        Some(format!("{name} {said}"))
    };
    let told: Vec<String> = ["status", "scope"].into_iter().filter_map(word).collect();
    match told.is_empty() {
        true => String::new(),
        false => format!("{}: ", told.join(", ")),
    }
}

/// A blob as it goes over the wire.
fn line(blob: &Secret) -> Secret {
    Secret::new(STANDARD.encode(blob.expose()).into_bytes())
}

/// The text without the secrets: a host may repeat what it was sent, or as much of it as it has room for.
fn without(text: &str, secrets: &[Secret]) -> String {
    let secrets = secrets.iter().map(Secret::expose);
    let mut secrets: Vec<&str> = secrets
        .filter_map(|one| std::str::from_utf8(one).ok())
        .collect();
    // One may be a part of another.
    secrets.sort_by_key(|one| std::cmp::Reverse(one.len()));
    secrets.retain(|one| !one.is_empty());
    let is_part = |word: &str| {
        let long = word.len() >= SHORTEST_PART;
        long && secrets.iter().any(|secret| secret.contains(word))
    };
    // What base64 and tokens are made of (RFC 6750 §2.1); a point at the end is the sentence's.
    let outside = |c: char| !c.is_ascii_alphanumeric() && !"+/=-._~".contains(c);
    let words = text.split_inclusive(outside).map(|word| {
        let bare = word.trim_end_matches(|c| outside(c) || c == '.');
        match is_part(bare) {
            true => format!("{HIDDEN}{}", &word[bare.len()..]),
            false => word.to_owned(),
        }
    });
    let whole = |text: String, secret: &&str| text.replace(*secret, HIDDEN);
    secrets.iter().fold(words.collect(), whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told_in_two_words() {
        for (complaint, want) in [
            (
                r#"{"status":"invalid_token","scope":"mail","openid-configuration":"https://x"}"#,
                "status invalid_token, scope mail: ",
            ),
            (
                r#"{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}"#,
                "status 401, scope https://mail.google.com/: ",
            ),
            (r#"{"status":401}"#, "status 401: "),
            (r#"{"status":["x"],"token":"ya29"}"#, ""),
            ("no JSON", ""),
            ("", ""),
        ] {
            assert_eq!(told(complaint), want, "{complaint}");
        }
        let long = format!(r#"{{"status":"{}"}}"#, "ä".repeat(1000));
        assert_eq!(
            told(&long).chars().count(),
            "status : ".len() + LONGEST_WORD
        );
    }

    #[test]
    fn a_long_response_does_not_go_with_the_command() {
        // `AUTH PLAIN ` and CRLF leave 499 octets: 124 groups of four.
        for (length, want) in [(3, true), (372, true), (373, false)] {
            assert_eq!(fits(Mechanism::Plain, &Secret::new(vec![0; length])), want);
        }
    }

    #[test]
    fn a_secret_that_comes_back_is_not_shown() {
        let secret = [Secret::from("hunter2")];
        assert_eq!(without("no hunter2 here", &secret), "no *** here");
        assert_eq!(without("no", &[Secret::from("")]), "no");
    }

    #[test]
    fn a_line_that_comes_back_is_not_shown() {
        let sent = [
            Secret::from("hunter2"),
            line(&Secret::from("hunter2")),
            line(&Secret::from("\0postern@example.com\0hunter2")),
        ];
        for (text, want) in [
            ("5.7.8 `aHVudGVyMg==`: no", "5.7.8 `***`: no"),
            (
                "what is AHBvc3Rlcm5AZXhhbXBsZS5jb20AaHVudGVyMg== supposed to be",
                "what is *** supposed to be",
            ),
            // Cut off, and over two lines.
            ("not AHBvc3Rlcm5AZXhhbXBs...", "not ***..."),
            ("AHBvc3Rlcm5AZXhhbXBs\nZS5jb20AaHVudGVyMg==", "***\n***"),
            ("authentication failed", "authentication failed"),
        ] {
            assert_eq!(without(text, &sent), want);
        }
    }
}
