//! What winbind knows of names: domains, accounts, groups, asked by `wbinfo`, which needs no rights.
//!
//! ```text
//! wbinfo --name-to-sid=CORP\alice          S-1-5-21-…-1103 SID_USER (1)
//! wbinfo --user-sids=S-1-5-21-…-1103       the account's own, then all its groups', those of groups too
//! wbinfo --lookup-sids=S-1-5-…,S-1-5-…     S-1-5-21-…-1107 -> <none>\sales 2
//! ```
//!
//! Never: a password; a name as an argument of its own, where it could be an option.

use std::path::PathBuf;
use std::time::Instant;

use super::child::{Error, Running};

/// More groups than these are not looked at.
const GROUPS: usize = 1_000;
/// As many as go into one argument (the kernel takes 128 kB).
const TOGETHER: usize = 400;

/// The programs.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    /// `ntlm_auth`.
    pub(super) ntlm_auth: PathBuf,
    /// `wbinfo`.
    pub(super) wbinfo: PathBuf,
}

/// A domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Domain {
    /// `CORP`.
    pub(super) name: String,
    /// `corp.example`; empty where it has none.
    pub(super) dns: String,
    /// `S-1-5-21-…`.
    pub(super) sid: String,
}

impl Domain {
    /// Whether it is called so: by either name, without case.
    pub(super) fn is_called(&self, name: &str) -> bool {
        !name.is_empty()
            && [&self.name, &self.dns]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
    }

    fn has(&self, sid: &str) -> bool {
        let account = sid.rsplit_once('-').map(|(domain, _)| domain);
        !self.sid.is_empty() && account == Some(self.sid.as_str())
    }
}

/// What winbind says of this host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Its NetBIOS name: `MX1`.
    pub(super) computer: String,
    /// Its domain.
    pub(super) own: Domain,
    separator: String,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// `alice`, as the domain writes it.
    pub(super) name: String,
    /// Its domain.
    pub(super) domain: Domain,
    /// Names of the groups it is in, through other groups too.
    pub(super) groups: Vec<String>,
}

#[cfg(test)]
impl Host {
    /// A host that needs not be asked.
    pub(super) fn known(computer: &str, own: Domain) -> Host {
        Host {
            computer: computer.to_owned(),
            own,
            separator: "\\".to_owned(),
        }
    }
}

impl Tools {
    /// What winbind says of this host. `None`: winbind does not answer, or there is no domain.
    pub(super) fn host(&self, deadline: Instant) -> Result<Option<Host>, Error> {
        let Some(name) = self.one("--own-domain", deadline)? else {
            return Ok(None);
        };
        let Some(own) = self.domain(&name, deadline)? else {
            return Ok(None);
        };
        let separator = self.one("--separator", deadline)?;
        Ok(Some(Host {
            computer: self.computer(deadline)?,
            own,
            separator: separator.unwrap_or_else(|| "\\".to_owned()),
        }))
    }

    /// A domain by one of its names.
    pub(super) fn domain(&self, name: &str, deadline: Instant) -> Result<Option<Domain>, Error> {
        let lines = self.wbinfo(&format!("--domain-info={name}"), deadline)?;
        let value = |key: &str| {
            let mut pairs = lines
                .iter()
                .flatten()
                .filter_map(|line| line.split_once(':'));
            let found = pairs.find(|(known, _)| known.trim() == key);
            found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let domain = Domain {
            name: value("Name"),
            dns: value("Alt_Name"),
            sid: value("SID"),
        };
        Ok(Some(domain).filter(|domain| !domain.name.is_empty()))
    }

    /// Who `user` is, of `domain` or, where that is empty, of the host's own. `None`: nobody.
    pub(super) fn person(
        &self,
        host: &Host,
        (domain, user): (&str, &str),
        deadline: Instant,
    ) -> Result<Option<Person>, Error> {
        let Some(sid) = self.account(host, (domain, user), deadline)? else {
            return Ok(None);
        };
        let named = self.names(&self.sids(&sid, deadline)?, deadline)?;
        let mut groups: Vec<String> = Vec::new();
        for (of, name, kind) in &named {
            if *of != sid && matches!(kind, 2 | 4 | 5) && !groups.contains(name) {
                groups.push(name.clone());
            }
        }
        let own = named.into_iter().find(|(of, _, _)| *of == sid);
        let Some((domain, name)) = self.canonical(host, &sid, own, deadline)? else {
            return Ok(None);
        };
        Ok(Some(Person {
            name,
            domain,
            groups,
        }))
    }

    /// The account's own name, and its domain: as the SID has it, whatever the client called it.
    fn canonical(
        &self,
        host: &Host,
        sid: &str,
        own: Option<(String, String, u32)>,
        deadline: Instant,
    ) -> Result<Option<(Domain, String)>, Error> {
        if let (Some((_, name, _)), true) = (own, host.own.has(sid)) {
            return Ok(Some((host.own.clone(), name)));
        }
        // `OTHER\alice 1`
        let Some(line) = self.one(&format!("--sid-to-name={sid}"), deadline)? else {
            return Ok(None);
        };
        let full = line
            .rsplit_once(' ')
            .map_or(line.as_str(), |(full, _)| full);
        let Some((domain, name)) = full.split_once(host.separator.as_str()) else {
            return Ok(None);
        };
        let known = match host.own.has(sid) {
            true => Some(host.own.clone()),
            false => self.domain(domain, deadline)?,
        };
        let domain = known.unwrap_or_else(|| Domain {
            name: domain.to_owned(),
            ..Domain::default()
        });
        Ok(Some((domain, name.to_owned())))
    }

    fn account(
        &self,
        host: &Host,
        (domain, user): (&str, &str),
        deadline: Instant,
    ) -> Result<Option<String>, Error> {
        let Some((before, realm)) = user.split_once('@') else {
            let domain = match domain {
                "" => &host.own.name,
                named => named,
            };
            return self.sid(&[domain, &host.separator, user].concat(), deadline);
        };
        let found = self.sid(user, deadline)?;
        if found.is_some() {
            return Ok(found);
        }
        // The winbind of a domain controller looks for no such name. Controllers see to it that `alice@corp.example` is
        // nobody but CORP\alice where corp.example is CORP (CVE-2020-25722, KB5008382).
        let domain = match host.own.is_called(realm) {
            true => Some(host.own.clone()),
            false => self.domain(realm, deadline)?,
        };
        match domain {
            Some(domain) => self.sid(
                &[&domain.name, host.separator.as_str(), before].concat(),
                deadline,
            ),
            None => Ok(None),
        }
    }

    /// The SID of an account; `None` for a group too.
    fn sid(&self, name: &str, deadline: Instant) -> Result<Option<String>, Error> {
        let line = self.one(&format!("--name-to-sid={name}"), deadline)?;
        let line = line.unwrap_or_default();
        let sid = line.strip_suffix(" SID_USER (1)").filter(|sid| is_sid(sid));
        Ok(sid.map(str::to_owned))
    }

    fn sids(&self, sid: &str, deadline: Instant) -> Result<Vec<String>, Error> {
        let lines = self.wbinfo(&format!("--user-sids={sid}"), deadline)?;
        let mut sids = lines.unwrap_or_default();
        sids.retain(|line| is_sid(line));
        sids.truncate(GROUPS + 1);
        if sids.is_empty() {
            sids.push(sid.to_owned());
        }
        Ok(sids)
    }

    /// SID, name and type of each that has one. One that nobody knows spoils the whole question: so the halves are asked.
    fn names(
        &self,
        sids: &[String],
        deadline: Instant,
    ) -> Result<Vec<(String, String, u32)>, Error> {
        let mut named = Vec::new();
        let mut parts: Vec<&[String]> = sids.chunks(TOGETHER).collect();
        while let Some(part) = parts.pop() {
            let list = format!("--lookup-sids={}", part.join(","));
            match self.wbinfo(&list, deadline)? {
                Some(lines) => named.extend(lines.iter().filter_map(|line| named_sid(line))),
                None if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first, second]);
                }
                None => {}
            }
        }
        Ok(named)
    }

    /// Whether winbind is there.
    pub(super) fn answers(&self, deadline: Instant) -> bool {
        matches!(self.wbinfo("--ping", deadline), Ok(Some(_)))
    }

    /// Whether winbind reaches a domain controller.
    pub(super) fn reaches(&self, deadline: Instant) -> bool {
        matches!(self.wbinfo("--ping-dc", deadline), Ok(Some(_)))
    }

    /// The name in a challenge of winbind's own: a controller refuses what a client made of another (MS-NLMP 3.2.5.1.2).
    fn computer(&self, deadline: Instant) -> Result<String, Error> {
        const NEGOTIATE: &str = "YR TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAA=\n";
        let mut helper = Running::start(&self.ntlm_auth, &["--helper-protocol=squid-2.5-ntlmssp"])?;
        helper.write(NEGOTIATE.as_bytes())?;
        let line = helper.line(deadline)?.unwrap_or_default();
        line.strip_prefix("TT ")
            .and_then(super::challenge::computer)
            .ok_or_else(|| helper.nonsense(line.as_bytes()))
    }

    fn one(&self, question: &str, deadline: Instant) -> Result<Option<String>, Error> {
        let lines = self.wbinfo(question, deadline)?;
        Ok(lines.and_then(|lines| lines.into_iter().next()))
    }

    /// Its lines; `None` where it says no.
    fn wbinfo(&self, question: &str, deadline: Instant) -> Result<Option<Vec<String>>, Error> {
        let (content, lines) = Running::start(&self.wbinfo, &[question])?.finish(deadline)?;
        Ok(Some(lines).filter(|_| content))
    }
}

fn is_sid(text: &str) -> bool {
    let rest = text.strip_prefix("S-1-").unwrap_or_default();
    !rest.is_empty()
        && rest
            .bytes()
            .all(|octet| octet.is_ascii_digit() || octet == b'-')
}

/// `S-1-5-21-…-513 -> <none>\Domain Users 2`
fn named_sid(line: &str) -> Option<(String, String, u32)> {
    let (sid, rest) = line.split_once(" -> ")?;
    let (full, kind) = rest.rsplit_once(' ')?;
    let (_, name) = full.split_once('\\')?;
    let known = is_sid(sid) && !name.is_empty();
    Some((sid.to_owned(), name.to_owned(), kind.parse().ok()?)).filter(|_| known)
}

#[cfg(test)]
mod tests {
    use super::{Domain, named_sid};

    #[test]
    fn a_line_names_a_sid() {
        let named = named_sid(r"S-1-5-21-1-2-3-513 -> <none>\Domain Users 2");
        let wanted = ("S-1-5-21-1-2-3-513".into(), "Domain Users".into(), 2);
        assert_eq!(named, Some(wanted));
        for line in [
            "",
            "S-1-5 -> x",
            r"x -> a\b 2",
            r"S-1-5 -> a\ 2",
            r"S-1-5 -> a\b",
        ] {
            assert_eq!(named_sid(line), None, "{line}");
        }
    }

    #[test]
    fn a_domain_has_its_own_accounts() {
        let domain = Domain {
            name: "CORP".into(),
            dns: "corp.example".into(),
            sid: "S-1-5-21-1-2-3".into(),
        };
        assert!(domain.has("S-1-5-21-1-2-3-1103"));
        assert!(!domain.has("S-1-5-21-1-2-33-1103"));
        assert!(!domain.has("S-1-5-21-1-2-3-4-5"));
        assert!(domain.is_called("corp") && domain.is_called("CORP.example"));
        assert!(!domain.is_called("") && !Domain::default().has("S-1"));
    }
}
