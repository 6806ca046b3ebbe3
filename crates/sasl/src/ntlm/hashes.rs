//! The file of NT hashes: whom NTLM lets in, and by what.
//!
//! ```text
//! # a comment
//! alice:32 hexadecimal digits      the name ends at the last colon; names are compared without case
//! ```
//!
//! An NT hash has no salt, and whoever has it can log in with it: it **is** the password.
//!
//! Never: a file opened; a hash in an error or in what `Debug` prints.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::proof::NtHash;

/// What stands at the top of a file that is written here.
const HEADER: &str = "\
# NT hashes, for NTLM. Change them with `postern account`.
# An NT hash IS the password: whoever reads it can log in with it (\"pass the hash\"), without guessing anything.
# Only root may read this file (mode 0600), and it belongs in no backup.
";

/// The longest name, in octets: a mailbox of RFC 5321, as in an account file.
const LONGEST: usize = 254;

/// The accounts that may use NTLM. Hashes are wiped when dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NtHashes {
    /// By the name in lower case: the name as written, and its hash.
    hashes: BTreeMap<String, (String, NtHash)>,
}

/// A line that cannot be read; what is in it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNtHashes {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: NtHashFault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NtHashFault {
    /// It has no colon.
    NoColon,
    /// What stands before the colon can be no account's name.
    Name,
    /// What stands after it are not 32 hexadecimal digits.
    Hash,
    /// An earlier line has this name.
    Twice,
}

/// The name cannot be written in a file of NT hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnNtHashName;

impl NtHashes {
    /// Reads a file. Nothing of it is taken where a line is wrong: whose line it is may be wrong too.
    pub fn parse(text: &str) -> Result<NtHashes, NotNtHashes> {
        let mut all = NtHashes::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            all.take(line).map_err(|fault| NotNtHashes {
                line: at + 1,
                fault,
            })?;
        }
        Ok(all)
    }

    fn take(&mut self, line: &str) -> Result<(), NtHashFault> {
        let (name, hash) = line.rsplit_once(':').ok_or(NtHashFault::NoColon)?;
        let (name, hash) = (name.trim_end(), hash.trim_start());
        let hash = hash.parse().map_err(|_| NtHashFault::Hash)?;
        match self.set(name, hash) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(NtHashFault::Twice),
            Err(NotAnNtHashName) => Err(NtHashFault::Name),
        }
    }

    /// The hash of this account.
    pub fn get(&self, name: &str) -> Option<&NtHash> {
        self.hashes.get(&name.to_lowercase()).map(|(_, hash)| hash)
    }

    /// Gives an account a hash; its former one is returned.
    pub fn set(&mut self, name: &str, hash: NtHash) -> Result<Option<NtHash>, NotAnNtHashName> {
        if !can_be_written(name) {
            return Err(NotAnNtHashName);
        }
        let former = self
            .hashes
            .insert(name.to_lowercase(), (name.to_owned(), hash));
        Ok(former.map(|(_, hash)| hash))
    }

    /// Takes an account's hash away.
    pub fn remove(&mut self, name: &str) -> Option<NtHash> {
        let removed = self.hashes.remove(&name.to_lowercase());
        removed.map(|(_, hash)| hash)
    }

    /// The names, as written, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hashes.values().map(|(name, _)| name.as_str())
    }

    /// How many accounts have one.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether none has one.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The file as it is written, in the order of the names. Comments of a former text are not kept.
    pub fn to_text(&self) -> Zeroizing<String> {
        let lines = self.names().map(|name| name.len() + ":".len() + 32 + 1);
        // As long as it gets: a text that grows leaves copies behind that nobody wipes.
        let length = HEADER.len() + lines.sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(HEADER);
        for (name, hash) in self.hashes.values() {
            text.push_str(name);
            text.push(':');
            text.push_str(&hash.to_hex());
            text.push('\n');
        }
        text
    }
}

/// One word, and no comment.
fn can_be_written(name: &str) -> bool {
    let broken = |c: char| c.is_whitespace() || c.is_control();
    !name.is_empty() && name.len() <= LONGEST && !name.starts_with('#') && !name.contains(broken)
}

impl fmt::Display for NotNtHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl fmt::Display for NtHashFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NtHashFault::NoColon => "there is no colon; a line is NAME:32 hexadecimal digits",
            NtHashFault::Name => "what stands before the colon can be no account's name",
            NtHashFault::Hash => "what stands after the colon are not 32 hexadecimal digits",
            NtHashFault::Twice => "an earlier line has the same name",
        })
    }
}

impl fmt::Display for NotAnNtHashName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an account with an NT hash has a name of one word that does not begin with #")
    }
}

impl std::error::Error for NotNtHashes {}
impl std::error::Error for NotAnNtHashName {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "8846f7eaee8fb117ad06bdd830b7586c";

    fn hash() -> NtHash {
        NtHash::of("password")
    }

    #[test]
    fn a_file_is_read_whatever_the_case_of_names_and_digits() {
        let text = format!(
            "# some of ours\r\n\r\n  Alice:{}\nCORP\\bob:{HASH}\nodd:name : {HASH} \n",
            HASH.to_uppercase()
        );
        let hashes = NtHashes::parse(&text).unwrap();
        assert_eq!(hashes.get("aLICE"), Some(&hash()));
        assert_eq!(hashes.get("corp\\BOB"), Some(&hash()));
        assert_eq!(hashes.get("odd:name"), Some(&hash()));
        assert_eq!(hashes.get("alice "), None);
        assert_eq!(
            hashes.names().collect::<Vec<_>>(),
            ["Alice", "CORP\\bob", "odd:name"]
        );
    }

    #[test]
    fn one_bad_line_is_named_and_not_repeated() {
        let bad = |line: &str| NtHashes::parse(&format!("# here\nalice:{HASH}\n{line}\n"));
        for (line, fault) in [
            ("secret", NtHashFault::NoColon),
            (HASH, NtHashFault::NoColon),
            (":8846f7eaee8fb117ad06bdd830b7586c", NtHashFault::Name),
            ("a b:8846f7eaee8fb117ad06bdd830b7586c", NtHashFault::Name),
            ("bob:", NtHashFault::Hash),
            ("bob:8846f7eaee8fb117ad06bdd830b7586", NtHashFault::Hash),
            ("bob:+846f7eaee8fb117ad06bdd830b7586c", NtHashFault::Hash),
            ("bob:8846f7eaee8fb117ad06bdd830b7586c:", NtHashFault::Hash),
            ("ALICE:8846f7eaee8fb117ad06bdd830b7586c", NtHashFault::Twice),
        ] {
            let error = bad(line).unwrap_err();
            assert_eq!(error, NotNtHashes { line: 3, fault }, "{line}");
            assert!(!error.to_string().contains("8846"), "{error}");
        }
        let text = "a:1";
        assert_eq!(
            NtHashes::parse(text).unwrap_err().to_string(),
            "line 1: what stands after the colon are not 32 hexadecimal digits"
        );
    }

    #[test]
    fn what_is_written_is_sorted_and_warns() {
        let mut hashes = NtHashes::default();
        assert_eq!(hashes.set("bob", hash()), Ok(None));
        assert_eq!(hashes.set("Alice", NtHash::of("old")), Ok(None));
        assert_eq!(hashes.set("alice", hash()), Ok(Some(NtHash::of("old"))));
        let text = hashes.to_text();
        assert!(text.starts_with("# NT hashes"));
        assert!(text.contains("IS the password"));
        assert!(text.ends_with(&format!("\nalice:{HASH}\nbob:{HASH}\n")));
        assert_eq!(text.capacity(), text.len());
        assert_eq!(NtHashes::parse(&text), Ok(hashes.clone()));
        assert_eq!(hashes.remove("BOB"), Some(hash()));
        assert_eq!(hashes.remove("bob"), None);
        assert_eq!(hashes.len(), 1);
    }

    #[test]
    fn a_name_that_would_be_read_as_something_else_is_not_taken() {
        let long = "a".repeat(255);
        for name in ["", "#alice", "a b", "a\nb", " a", "a\u{a0}", "a\0", &long] {
            let mut hashes = NtHashes::default();
            assert_eq!(hashes.set(name, hash()), Err(NotAnNtHashName), "{name:?}");
            assert!(hashes.is_empty());
        }
    }

    #[test]
    fn no_hash_is_printed() {
        let mut hashes = NtHashes::default();
        hashes.set("alice", hash()).unwrap();
        let printed = format!("{hashes:?}");
        assert!(printed.contains("alice") && printed.contains("***"));
        assert!(!printed.contains("8846"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[#a-f0-9:\n \\PC]{0,200}") {
            let _ = NtHashes::parse(&text);
        }

        #[test]
        fn what_is_taken_comes_back(names in proptest::collection::vec("\\PC{1,12}", 0..8)) {
            let mut hashes = NtHashes::default();
            for name in &names {
                let _ = hashes.set(name, NtHash::of(name));
            }
            prop_assert_eq!(NtHashes::parse(&hashes.to_text()), Ok(hashes));
        }
    }
}
