//! The policies that are kept: a value with bounds, and its file, one JSON object a line.
//!
//! ```text
//! {"domain":"example.com","fetched":1780000000,"id":"1","max_age":604800,"mode":"enforce","mx":["*.example.com"],"used":…}
//! ```
//!
//! Never: a clock; a file that is half written; more than [`MOST_BYTES`].

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use postern_tls::mta_sts::{Policy, PolicyMode};
use serde_json::{Value, json};

/// Domains kept at most.
const MOST: usize = 16_384;
/// Bytes kept at most, in memory and in the file. Policies have some hundred.
const MOST_BYTES: usize = 8 << 20;
/// Failures remembered at most.
const MOST_FAILED: usize = 4096;
/// After a fetch that failed the next one of the same id waits so long (RFC 8461 §3.3), in seconds.
const REST: u64 = 300;
/// A policy is fetched anew after so long at the latest (RFC 8461 §10.2), in seconds.
const DAY: u64 = 86_400;
/// A policy that was not asked for in so long is not fetched anew, in seconds.
const FORGOTTEN: u64 = 60 * DAY;

/// A policy that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The id in DNS at that time.
    pub(super) id: String,
    /// When, in seconds since 1970.
    pub(super) fetched: u64,
    /// When it was last asked for.
    pub(super) used: u64,
    pub(super) policy: Policy,
}

impl Kept {
    fn holds(&self, now: u64) -> bool {
        now < self.fetched.saturating_add(self.policy.max_age.as_secs())
    }

    fn is_due(&self, now: u64) -> bool {
        let age = (self.policy.max_age.as_secs() / 2).min(DAY);
        now >= self.fetched.saturating_add(age)
    }

    fn bytes(&self) -> usize {
        let hosts: usize = self.policy.mx.iter().map(|mx| mx.len() + 3).sum();
        hosts + self.id.len() + 512
    }
}

/// What is known of domains.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    kept: HashMap<Box<str>, Kept>,
    bytes: usize,
    failed: HashMap<Box<str>, (String, u64)>,
}

impl Shelf {
    /// The policy kept for a domain, if it still holds.
    pub(super) fn get(&self, domain: &str, now: u64) -> Option<Kept> {
        let kept = self.kept.get(domain)?;
        kept.holds(now).then(|| kept.clone())
    }

    /// The same, if it is the one published and needs not be fetched anew.
    pub(super) fn fresh(&self, domain: &str, id: &str, now: u64) -> Option<Policy> {
        let kept = self.kept.get(domain)?;
        let fresh = kept.holds(now) && !kept.is_due(now) && kept.id == id;
        fresh.then(|| kept.policy.clone())
    }

    /// Remembers that it was asked for.
    pub(super) fn used(&mut self, domain: &str, now: u64) {
        if let Some(kept) = self.kept.get_mut(domain) {
            kept.used = now;
        }
    }

    /// Keeps a policy; what was not asked for longest makes room.
    pub(super) fn put(&mut self, domain: &str, kept: Kept) {
        self.failed.remove(domain);
        self.remove(domain);
        self.bytes += kept.bytes();
        let now = kept.fetched;
        self.kept.insert(domain.into(), kept);
        if self.kept.len() <= MOST && self.bytes <= MOST_BYTES {
            return;
        }
        let mut order: Vec<(bool, u64, Box<str>)> = self
            .kept
            .iter()
            .map(|(domain, kept)| (kept.holds(now), kept.used, domain.clone()))
            .collect();
        order.sort();
        // An eighth at once, so that not every further one has to be sorted in.
        for (_, _, domain) in order {
            if self.kept.len() <= MOST / 8 * 7 && self.bytes <= MOST_BYTES / 8 * 7 {
                return;
            }
            self.remove(&domain);
        }
    }

    fn remove(&mut self, domain: &str) {
        if let Some(kept) = self.kept.remove(domain) {
            self.bytes -= kept.bytes();
        }
    }

    /// Remembers that the policy of this id could not be fetched; what holds instead.
    pub(super) fn fail(&mut self, domain: &str, id: String, now: u64) -> Option<Kept> {
        if self.failed.len() >= MOST_FAILED {
            self.failed.retain(|_, (_, at)| now < *at + REST);
        }
        if self.failed.len() >= MOST_FAILED {
            self.failed.clear();
        }
        self.failed.insert(domain.into(), (id, now));
        self.get(domain, now)
    }

    /// Whether the policy of this id could not be fetched a moment ago.
    pub(super) fn failed_lately(&self, domain: &str, id: &str, now: u64) -> bool {
        self.failed
            .get(domain)
            .is_some_and(|(failed, at)| failed == id && (*at..*at + REST).contains(&now))
    }

    /// The domains whose policies are to be fetched anew.
    pub(super) fn due(&self, now: u64) -> Vec<Box<str>> {
        let due = |kept: &Kept| {
            kept.holds(now) && kept.is_due(now) && now < kept.used.saturating_add(FORGOTTEN)
        };
        self.kept
            .iter()
            .filter(|(_, kept)| due(kept))
            .map(|(domain, _)| domain.clone())
            .collect()
    }

    /// As the file has it.
    pub(super) fn to_text(&self) -> String {
        let mut lines: Vec<String> = self
            .kept
            .iter()
            .map(|(name, kept)| line(name, kept))
            .collect();
        lines.sort_unstable();
        lines.concat()
    }

    /// Those of a text that still hold; a line that cannot be read is passed over, and counted.
    pub(super) fn from_text(text: &str, now: u64) -> (Shelf, usize) {
        let mut shelf = Shelf::default();
        let mut damaged = 0;
        for line in text.lines() {
            match parse(line) {
                Some((domain, kept)) if kept.holds(now) => shelf.put(&domain, kept),
                Some(_) => {}
                None => damaged += 1,
            }
        }
        (shelf, damaged)
    }

    /// Those of a file. One that is missing or damaged costs a fetch, no more.
    pub(super) fn read(file: &Path, now: u64) -> Shelf {
        let text = match read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Shelf::default(),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the policies of MTA-STS cannot be read, and are fetched anew");
                return Shelf::default();
            }
        };
        let (shelf, damaged) = Shelf::from_text(&text, now);
        if damaged > 0 {
            tracing::warn!(file = %file.display(), damaged, "lines of MTA-STS policies are damaged, and fetched anew");
        }
        shelf
    }
}

fn read(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(2 * MOST_BYTES as u64)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Replaces the file: whole and on disk, or as it was.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    // While a successor starts there are two of us.
    let fresh = file.with_extension(format!("new.{}", std::process::id()));
    let mut new = File::create(&fresh)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&fresh, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn line(domain: &str, kept: &Kept) -> String {
    let mode = match kept.policy.mode {
        PolicyMode::Enforce => "enforce",
        PolicyMode::Testing => "testing",
        PolicyMode::None => "none",
    };
    let value = json!({
        "domain": domain,
        "id": kept.id,
        "fetched": kept.fetched,
        "used": kept.used,
        "mode": mode,
        "mx": kept.policy.mx,
        "max_age": kept.policy.max_age.as_secs(),
    });
    format!("{value}\n")
}

fn parse(line: &str) -> Option<(String, Kept)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let mode = match value["mode"].as_str()? {
        "enforce" => PolicyMode::Enforce,
        "testing" => PolicyMode::Testing,
        "none" => PolicyMode::None,
        _ => return None,
    };
    let mx = value["mx"].as_array()?.iter();
    let mx: Option<Vec<String>> = mx.map(|one| Some(one.as_str()?.to_owned())).collect();
    let policy = Policy {
        mode,
        mx: mx?,
        max_age: Duration::from_secs(value["max_age"].as_u64()?),
    };
    let kept = Kept {
        id: value["id"].as_str()?.to_owned(),
        fetched: value["fetched"].as_u64()?,
        used: value["used"].as_u64()?,
        policy,
    };
    Some((value["domain"].as_str()?.to_owned(), kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &str, fetched: u64, max_age: u64) -> Kept {
        Kept {
            id: id.to_owned(),
            fetched,
            used: fetched,
            policy: Policy {
                mode: PolicyMode::Enforce,
                mx: vec!["*.a.test".to_owned()],
                max_age: Duration::from_secs(max_age),
            },
        }
    }

    #[test]
    fn a_policy_holds_for_its_time_and_is_due_before() {
        let mut shelf = Shelf::default();
        shelf.put("a.test", kept("1", 1000, 100));
        for (now, id, fresh, holds) in [
            (1000, "1", true, true),
            (1049, "1", true, true),
            (1049, "2", false, true),
            (1050, "1", false, true),
            (1099, "1", false, true),
            (1100, "1", false, false),
        ] {
            assert_eq!(shelf.fresh("a.test", id, now).is_some(), fresh, "{now}");
            assert_eq!(shelf.get("a.test", now).is_some(), holds, "{now}");
            let due = shelf.due(now).len() == 1;
            assert_eq!(due, holds && now >= 1050, "{now}");
        }
        shelf.put("b.test", kept("1", 1000, 10 * DAY));
        assert!(shelf.fresh("b.test", "1", 1000 + DAY - 1).is_some());
        assert!(shelf.fresh("b.test", "1", 1000 + DAY).is_none());
    }

    #[test]
    fn a_failure_is_not_repeated_at_once() {
        let mut shelf = Shelf::default();
        shelf.put("a.test", kept("1", 1000, DAY));
        assert!(shelf.fail("a.test", "2".to_owned(), 1010).is_some());
        assert!(shelf.fail("b.test", "1".to_owned(), 1010).is_none());
        assert!(shelf.failed_lately("a.test", "2", 1010 + REST - 1));
        assert!(!shelf.failed_lately("a.test", "2", 1010 + REST));
        assert!(!shelf.failed_lately("a.test", "3", 1011));
        shelf.put("a.test", kept("2", 1020, DAY));
        assert!(!shelf.failed_lately("a.test", "2", 1021));
        for n in 0..2 * MOST_FAILED {
            shelf.fail(&format!("{n}.test"), "1".to_owned(), 1010);
        }
        assert!(shelf.failed.len() <= MOST_FAILED);
    }

    #[test]
    fn what_is_written_is_read_again_but_what_is_over() {
        let mut shelf = Shelf::default();
        shelf.put("a.test", kept("1", 1000, 100));
        shelf.put("b.test", kept("x", 1000, 1000));
        let text = shelf.to_text();
        let (again, damaged) = Shelf::from_text(&text, 1001);
        assert_eq!((&again.kept, damaged), (&shelf.kept, 0));
        let (later, _) = Shelf::from_text(&text, 1100);
        assert_eq!(
            later.kept.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["b.test"]
        );
        let broken = text.replacen("enforce", "enforced", 1) + "nonsense\n{}\n";
        let (rest, damaged) = Shelf::from_text(&broken, 1001);
        assert_eq!((rest.kept.len(), damaged), (1, 3));
        let whole = text.len();
        for end in 0..whole {
            Shelf::from_text(&text[..end], 1001);
        }
    }

    #[test]
    fn the_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mta-sts");
        assert!(Shelf::read(&file, 1000).kept.is_empty());
        let mut shelf = Shelf::default();
        for id in ["1", "2"] {
            shelf.put("a.test", kept(id, 1000, 100));
            write(&file, &shelf.to_text()).expect("written");
            assert_eq!(Shelf::read(&file, 1001).kept["a.test"].id, id);
        }
        fs::write(&file, b"\xff\xfe").expect("written");
        assert!(Shelf::read(&file, 1000).kept.is_empty());
    }

    #[test]
    fn there_is_a_bound_and_the_used_ones_stay() {
        let mut shelf = Shelf::default();
        let mut large = kept("1", 1000, DAY);
        large.policy.mx = vec!["x".repeat(200); 250];
        for n in 0..1000 {
            shelf.put(&format!("{n}.test"), large.clone());
            shelf.used("0.test", 2000 + n);
            assert!(shelf.bytes <= MOST_BYTES);
        }
        assert!(shelf.kept.contains_key("0.test") && shelf.kept.contains_key("999.test"));
        assert!(shelf.to_text().len() <= MOST_BYTES);
        let sum: usize = shelf.kept.values().map(Kept::bytes).sum();
        assert_eq!(sum, shelf.bytes);
    }
}
