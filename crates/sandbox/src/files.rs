//! What of the file system and the network a process still reaches, by landlock (Linux 5.13, TCP 6.7, scopes 6.12).
//!
//! | kernel | is shut off |
//! |---|---|
//! | 5.13 | every file and folder but those named |
//! | 6.7 | TCP, both ways |
//! | 6.12 | signals to processes outside, abstract sockets |
//!
//! What is open already stays open, and Unix sockets with a name are reached as before. Children inherit all of it.
//!
//! Never: an error because the kernel is old; what it lacks is in [`Confined`], and to be said.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use crate::Error;

/// What is asked of the kernel at most.
const NEWEST: ABI = ABI::V6;

/// What stays within reach; a path that does not exist is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach<'a> {
    /// Files, and folders with all below: read and executed.
    pub read: &'a [&'a Path],
    /// Files, and folders with all below: read, written, made and removed.
    pub write: &'a [&'a Path],
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// All that was asked for.
    Fully,
    /// What this kernel has of it.
    Partly,
    /// Nothing: this kernel has no landlock, or has it switched off.
    Not,
}

impl Confined {
    /// In words, for a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Confined::Fully => "fully",
            Confined::Partly => "as far as this kernel can",
            Confined::Not => "not at all: this kernel has no landlock",
        }
    }
}

/// Leaves this thread, and all that it starts, nothing but `reach`. There is no way back.
pub fn confine(reach: &Reach<'_>) -> Result<Confined, Error> {
    let status = restrict(reach).map_err(|source| Error::Confine {
        source: Box::new(source),
    })?;
    Ok(match status {
        RulesetStatus::FullyEnforced => Confined::Fully,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::Not,
    })
}

fn restrict(reach: &Reach<'_>) -> Result<RulesetStatus, RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(reach.read, AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(reach.write, AccessFs::from_all(NEWEST)))?;
    Ok(rules.restrict_self()?.ruleset)
}
