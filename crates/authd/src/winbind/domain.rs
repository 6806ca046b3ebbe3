//! What winbind knows of names: domains, accounts, groups, asked by `wbinfo`, which needs no rights.
//!
//! ```text
//! wbinfo --name-to-sid=CORP\alice          S-1-5-21-…-1103 SID_USER (1)
//! wbinfo --user-sids=S-1-5-21-…-1103       the account's own, then all its groups', those of groups too
//! wbinfo --lookup-sids=S-1-5-…,S-1-5-…     S-1-5-21-…-1107 -> <none>\sales 2
//! ```
//!
//! Longer than most files: look-ups, their memory and their bounds belong together until the groups get a room of their own.
//!
//! Never: a password; a name as an argument of its own, where it could be an option.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use super::child::{Error, Running};

/// More groups than these are not looked at.
const GROUPS: usize = 1_000;
/// As many as go into one argument (the kernel takes 128 kB).
const TOGETHER: usize = 400;

/// As many questions for one account's groups: a second's work.
const QUESTIONS: usize = 48;
/// As many SIDs are remembered.
const REMEMBERED: usize = 16_384;
/// Groups that every Windows host has.
const BUILTIN: &str = "S-1-5-32";

/// SID, name and type.
type Named = (String, String, u32);

/// The programs, and what they have said.
#[derive(Debug)]
pub(super) struct Tools {
    /// `ntlm_auth`.
    pub(super) ntlm_auth: PathBuf,
    /// `wbinfo`.
    pub(super) wbinfo: PathBuf,
    /// SIDs.
    pub(super) known: Known,
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
    /// The groups it is in, through other groups too.
    pub(super) groups: Vec<Group>,
    /// Whether these are all: some may not have been named yet.
    pub(super) whole: bool,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// `sales`.
    pub(super) name: String,
    /// Whose.
    pub(super) domain: Domain,
}

/// What winbind has said of SIDs: name and type, or that nobody has it.
pub(super) type Known = Mutex<HashMap<String, (Instant, Option<(String, u32)>)>>;

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
        let (named, whole) = self.names(&self.sids(&sid, deadline)?, deadline)?;
        let is_group = |(of, _, kind): &&Named| *of != sid && matches!(kind, 2 | 4 | 5);
        let groups: Vec<&Named> = named.iter().filter(is_group).collect();
        let groups = self.groups(host, &groups, deadline)?;
        let own = named.into_iter().find(|(of, _, _)| *of == sid);
        let Some((domain, name)) = self.canonical(host, &sid, own, deadline)? else {
            return Ok(None);
        };
        Ok(Some(Person {
            name,
            domain,
            groups,
            whole,
        }))
    }

    /// Groups with their domains, which their SIDs tell. Those of Windows itself (`BUILTIN\Users`) mean this host, not its
    /// domain, and are left out.
    fn groups(
        &self,
        host: &Host,
        named: &[&Named],
        deadline: Instant,
    ) -> Result<Vec<Group>, Error> {
        let mut domains = vec![(host.own.sid.clone(), Some(host.own.clone()))];
        let mut groups = Vec::new();
        for (sid, name, _) in named {
            let Some((of, _)) = sid.rsplit_once('-').filter(|(of, _)| *of != BUILTIN) else {
                continue;
            };
            if !domains.iter().any(|(known, _)| known == of) {
                let domain = self.domain_of(host, sid, deadline)?;
                domains.push((of.to_owned(), domain));
            }
            let domain = domains.iter().find(|(known, _)| known == of);
            if let Some((_, Some(domain))) = domain {
                groups.push(Group {
                    name: name.clone(),
                    domain: domain.clone(),
                });
            }
        }
        Ok(groups)
    }

    /// The domain that has this SID; none where nobody can name it.
    fn domain_of(
        &self,
        host: &Host,
        sid: &str,
        deadline: Instant,
    ) -> Result<Option<Domain>, Error> {
        let line = self.one(&format!("--sid-to-name={sid}"), deadline)?;
        let line = line.unwrap_or_default();
        let Some((name, _)) = line.split_once(host.separator.as_str()) else {
            return Ok(None);
        };
        let known = self.domain(name, deadline)?;
        Ok(Some(known.unwrap_or_else(|| Domain {
            name: name.to_owned(),
            ..Domain::default()
        })))
    }

    /// The account's own name, and its domain: as the SID has it, whatever the client called it.
    fn canonical(
        &self,
        host: &Host,
        sid: &str,
        own: Option<Named>,
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

    /// SID, name and type of each that has one, and whether all were asked about. One that nobody knows spoils the whole
    /// question: so the halves are asked, a few times at once, and what came of it is remembered for the next login.
    fn names(&self, sids: &[String], deadline: Instant) -> Result<(Vec<Named>, bool), Error> {
        let mut named = Vec::new();
        let unknown = self.recall(sids, &mut named);
        let mut parts: Vec<&[String]> = unknown.chunks(TOGETHER).collect();
        for _ in 0..QUESTIONS {
            let Some(part) = parts.pop() else { break };
            match self.wbinfo(&format!("--lookup-sids={}", part.join(",")), deadline)? {
                Some(lines) => {
                    let lines: Vec<Named> =
                        lines.iter().filter_map(|line| named_sid(line)).collect();
                    self.remember(part, &lines);
                    named.extend(lines);
                }
                None if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first, second]);
                }
                None => self.remember(part, &[]),
            }
        }
        if !parts.is_empty() {
            tracing::warn!(
                "winbind cannot name some groups of an account yet: SIDs without a name are among them"
            );
        }
        Ok((named, parts.is_empty()))
    }

    /// Adds those that are known already; the others.
    fn recall(&self, sids: &[String], named: &mut Vec<Named>) -> Vec<String> {
        let known = super::hold(&self.known);
        let mut unknown = Vec::new();
        for sid in sids {
            match known.get(sid) {
                Some((since, what)) if since.elapsed() < super::FRESH => named.extend(
                    what.iter()
                        .map(|(name, kind)| (sid.clone(), name.clone(), *kind)),
                ),
                _ => unknown.push(sid.clone()),
            }
        }
        unknown
    }

    /// What was said of these SIDs; of those without a line, that nobody has them.
    fn remember(&self, sids: &[String], lines: &[Named]) {
        let mut known = super::hold(&self.known);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        for sid in sids {
            let line = lines.iter().find(|(of, _, _)| of == sid);
            let what = line.map(|(_, name, kind)| (name.clone(), *kind));
            known.insert(sid.clone(), (Instant::now(), what));
        }
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
fn named_sid(line: &str) -> Option<Named> {
    let (sid, rest) = line.split_once(" -> ")?;
    let (full, kind) = rest.rsplit_once(' ')?;
    let (_, name) = full.split_once('\\')?;
    let known = is_sid(sid) && !name.is_empty();
    Some((sid.to_owned(), name.to_owned(), kind.parse().ok()?)).filter(|_| known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::{Domain, Group, Host, Known, QUESTIONS, Tools, named_sid};

    /// A `wbinfo` that knows alice, with `orphans` groups that have no name, and two of other domains.
    fn tools(folder: &std::path::Path, orphans: usize) -> Tools {
        let script = format!(
            r#"#!/bin/sh
echo "$1" >> {folder}/asked
case "$1" in
--name-to-sid=*) echo "S-1-5-21-1-1-1-1103 SID_USER (1)" ;;
--user-sids=*) printf 'S-1-5-21-1-1-1-1103\nS-1-5-21-1-1-1-7\nS-1-5-32-545\nS-1-5-21-2-2-2-7\n'
  at=0; while [ $at -lt {orphans} ]; do echo S-1-5-21-3-3-3-$at; at=$((at+1)); done ;;
--lookup-sids=*-3-3-3-*) exit 1 ;;
--lookup-sids=*) echo "$1" | cut -d= -f2 | tr , '\n' | while read sid; do case $sid in
  *-1103) printf '%s -> <none>\\alice 1\n' $sid ;; *) printf '%s -> <none>\\mail users 2\n' $sid ;; esac; done ;;
--sid-to-name=*) printf '%s\n' 'LAB\mail users 2' ;;
*) exit 1 ;;
esac
"#,
            folder = folder.display()
        );
        let wbinfo = folder.join("wbinfo");
        std::fs::write(&wbinfo, script).unwrap();
        std::fs::set_permissions(&wbinfo, std::fs::Permissions::from_mode(0o755)).unwrap();
        // While another test's child is between fork and exec, it holds the script open for writing: "text file busy".
        let end = Instant::now() + Duration::from_secs(10);
        while std::process::Command::new(&wbinfo).output().is_err() {
            assert!(Instant::now() < end, "the script cannot be started");
        }
        Tools {
            ntlm_auth: wbinfo.clone(),
            wbinfo,
            known: Known::default(),
        }
    }

    fn corp() -> Host {
        let own = Domain {
            name: "CORP".into(),
            dns: "corp.example".into(),
            sid: "S-1-5-21-1-1-1".into(),
        };
        Host::known("MX1", own)
    }

    fn whose(groups: &[Group]) -> Vec<(&str, &str)> {
        let mut whose: Vec<_> = groups
            .iter()
            .map(|group| (group.domain.name.as_str(), group.name.as_str()))
            .collect();
        whose.sort_unstable();
        whose
    }

    #[test]
    fn groups_are_of_their_domains_and_windows_own_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let tools = tools(folder.path(), 0);
        let deadline = Instant::now() + Duration::from_secs(60);
        let person = tools.person(&corp(), ("CORP", "alice"), deadline);
        let person = person.unwrap().unwrap();
        assert_eq!(
            whose(&person.groups),
            [("CORP", "mail users"), ("LAB", "mail users")]
        );
        assert_eq!((person.name.as_str(), person.whole), ("alice", true));
    }

    #[test]
    fn groups_without_names_are_left_out_a_few_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let tools = tools(folder.path(), 60);
        let asked = || std::fs::read_to_string(folder.path().join("asked")).unwrap();
        for at in 1..20 {
            let before = std::fs::read_to_string(folder.path().join("asked")).unwrap_or_default();
            let deadline = Instant::now() + Duration::from_secs(60);
            let person = tools.person(&corp(), ("CORP", "alice"), deadline);
            let person = person.unwrap().unwrap();
            let questions = asked().lines().count() - before.lines().count();
            assert!(questions <= QUESTIONS + 8, "{questions}");
            if person.whole {
                assert!(at > 1);
                assert_eq!(person.groups.len(), 2);
                return;
            }
        }
        panic!("never the whole");
    }

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
