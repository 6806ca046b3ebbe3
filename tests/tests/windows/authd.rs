//! A postern-authd that a test is the worker of: what it answers, question by question.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_control::auth::{Account, Answer, Blob, Question, RefusedKind, Terms};
use postern_control::{Link, Received, VERSION};
use postern_sasl::{Bindings, Credentials, Login, Mechanism, Peer, Secret};
use postern_tests::Failure;
use postern_tests::stage::children_of;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The server that asks.
pub(crate) const HOST: &str = "post.corp.postern.test";

/// A running one, with its link.
pub(crate) struct Authd {
    link: Link,
    child: Child,
    next: AtomicU32,
}

/// How a login ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Who it is.
    Account(Box<Account>),
    /// Nobody: why, and what follows.
    Refused(String, RefusedKind),
    /// Not to be found out.
    Unavailable(String),
}

impl End {
    /// The account, which must be there.
    pub(crate) fn account(self) -> Result<Account, Failure> {
        match self {
            End::Account(account) => Ok(*account),
            other => Err(format!("no account: {other:?}").into()),
        }
    }
}

impl Authd {
    /// Starts one for `kind` in `folder`; `prefix` is put before its command line.
    pub(crate) fn start(kind: &str, folder: &Path, prefix: &[&str]) -> Result<Authd, Failure> {
        let test = std::env::current_exe()?;
        let binaries = test.ancestors().nth(2).ok_or("no target folder")?;
        let (link, there) = Link::pair()?;
        let words: Vec<_> = prefix
            .iter()
            .map(|word| word.into())
            .chain([binaries.join("postern-authd").into_os_string()])
            .collect();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["post", kind])
            .current_dir(folder)
            .stdin(OwnedFd::from(there))
            .stdout(Stdio::null())
            .spawn()?;
        link.set_timeout(Some(Duration::from_secs(60)))?;
        let authd = Authd {
            link,
            child,
            next: AtomicU32::new(1),
        };
        authd.tell(&Question::Hello { version: VERSION })?;
        match authd.hear()? {
            Answer::Hello { .. } => Ok(authd),
            other => Err(format!("greeted with {other:?}").into()),
        }
    }

    /// Ends the helpers it has started.
    pub(crate) fn kill_helpers(&self) -> Result<usize, Failure> {
        let helpers = children_of(i32::try_from(self.child.id())?);
        for pid in &helpers {
            kill(Pid::from_raw(*pid), Signal::SIGKILL)?;
        }
        Ok(helpers.len())
    }

    /// A number for an exchange.
    pub(crate) fn exchange(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Says something.
    pub(crate) fn tell(&self, question: &Question) -> Result<(), Failure> {
        Ok(self.link.send(question, &[])?)
    }

    /// The next answer, whosever it is.
    pub(crate) fn hear(&self) -> Result<Answer, Failure> {
        match self.link.receive()? {
            Received::Packet(answer, _) => Ok(answer),
            Received::Closed => Err("postern-authd has hung up".into()),
        }
    }

    fn end(&self) -> Result<End, Failure> {
        Ok(match self.hear()? {
            Answer::Account { account, .. } => End::Account(account),
            Answer::Refused { why, kind, .. } => End::Refused(why, kind),
            Answer::Unavailable { why, .. } => End::Unavailable(why),
            other => return Err(format!("ended with {other:?}").into()),
        })
    }

    /// Asks whether this is the password.
    pub(crate) fn password(
        &self,
        (name, password): (&str, &str),
        domains: &[&str],
    ) -> Result<End, Failure> {
        self.tell(&Question::Password {
            exchange: self.exchange(),
            name: name.to_owned(),
            password: Blob::from(password.as_bytes()),
            domains: texts(domains),
        })?;
        self.end()
    }

    /// Asks for an account.
    pub(crate) fn find(&self, name: &str, domains: &[&str]) -> Result<End, Failure> {
        self.tell(&Question::Find {
            exchange: self.exchange(),
            name: name.to_owned(),
            domains: texts(domains),
        })?;
        self.end()
    }

    /// Logs in by NTLM, alone or inside SPNEGO; `tamper` may change the last message.
    pub(crate) fn ntlm(
        &self,
        mechanism: Mechanism,
        (name, password): (&str, &str),
        terms: &Terms,
        tamper: impl FnOnce(&mut Vec<u8>),
    ) -> Result<End, Failure> {
        let credentials = Credentials {
            name: name.to_owned(),
            password: Secret::from(password),
        };
        let mut login = Login::facing(mechanism, &credentials, peer(terms));
        let first = match login.initial() {
            Some(first) => first,
            None => login.answer(b"").map_err(|why| why.to_string())?,
        };
        let exchange = self.exchange();
        self.tell(&Question::Begin {
            exchange,
            mechanism: mechanism.to_string(),
            initial: Blob::from(first.expose()),
            terms: Box::new(terms.clone()),
        })?;
        let mut tamper = Some(tamper);
        loop {
            let answer = self.hear()?;
            match answer {
                Answer::Challenge { challenge, .. } => {
                    let response = login.answer(&challenge.0).map_err(|why| why.to_string())?;
                    let mut response = response.expose().to_vec();
                    if let Some(tamper) = tamper.take() {
                        tamper(&mut response);
                    }
                    let response = Blob(response);
                    self.tell(&Question::Respond { exchange, response })?;
                }
                Answer::Claims { .. } => self.tell(&Question::Proceed { exchange })?,
                Answer::Account { account, .. } => return Ok(End::Account(account)),
                Answer::Refused { why, kind, .. } => return Ok(End::Refused(why, kind)),
                Answer::Unavailable { why, .. } => return Ok(End::Unavailable(why)),
                Answer::Hello { .. } => return Err("greeted twice".into()),
            }
        }
    }
}

impl Drop for Authd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Terms that have NTLM.
pub(crate) fn terms() -> Terms {
    Terms {
        host: HOST.to_owned(),
        ntlm: true,
        ..Terms::default()
    }
}

fn peer(terms: &Terms) -> Peer {
    let mut random = [0; 32];
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    random[..16].copy_from_slice(&seed.as_nanos().to_be_bytes());
    Peer {
        random,
        bindings: Bindings {
            exporter: None,
            end_points: terms
                .end_points
                .iter()
                .map(|blob| blob.0.clone().into())
                .collect(),
        },
        plus_offered: false,
        host: HOST.to_owned(),
        time: postern_sasl::filetime(seed),
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
