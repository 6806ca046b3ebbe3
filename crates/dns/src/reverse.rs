//! The names of a client's address, believed only where they lead back to it.
//!
//! Whoever owns an address writes its PTR record as he likes; only the owner of a name can make the name point at the
//! address. So each claimed name is looked up, and those that do not have the address among theirs are dropped.
//!
//! Never: more than [`MOST_NAMES`] look-ups for one address, or longer than the deadline the caller gives.

use std::net::IpAddr;
use std::time::Duration;

use crate::lookup::{Answer, Error, Lookup};

/// A PTR answer can hold hundreds of names; the first few are looked at.
pub const MOST_NAMES: usize = 5;

/// The names that lead to `address` and back, and how long that holds.
///
/// No such name is not an error: the answer is then [`Confirmed::default`]. A temporary failure is an error only where
/// nothing could be confirmed, so that a caller may tell "has no name" from "not known now". It ends with
/// [`Error::Temporary`] after `deadline`.
pub async fn confirm<L: Lookup>(
    lookup: &L,
    address: IpAddr,
    deadline: Duration,
) -> Result<Confirmed, Error> {
    let address = address.to_canonical();
    match tokio::time::timeout(deadline, within(lookup, address)).await {
        Ok(result) => result,
        Err(_) => Err(Error::Temporary {
            name: crate::lookup::reverse_name(address),
            kind: crate::lookup::Kind::Pointer,
            reason: "no answer within the deadline".to_owned(),
        }),
    }
}

/// What [`confirm`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// Names that lead back, in lower case, without final dot.
    pub names: Vec<Box<str>>,
    /// How long that holds; zero where the answer was "none".
    pub ttl: Duration,
}

async fn within<L: Lookup>(lookup: &L, address: IpAddr) -> Result<Confirmed, Error> {
    let claims = match lookup.pointers(address).await {
        Ok(claims) => claims,
        Err(error) if error.is_temporary() => return Err(error),
        Err(_) => return Ok(Confirmed::default()),
    };
    let mut confirmed = Confirmed {
        names: Vec::new(),
        ttl: claims.ttl,
    };
    let mut failed = None;
    for name in claims.records.into_iter().take(MOST_NAMES) {
        match lookup.addresses(&name).await {
            Ok(Answer { records, ttl, .. }) if records.contains(&address) => {
                confirmed.names.push(name);
                confirmed.ttl = confirmed.ttl.min(ttl);
            }
            Err(error) if error.is_temporary() => failed = Some(error),
            Ok(_) | Err(_) => {}
        }
    }
    match failed {
        Some(error) if confirmed.names.is_empty() => Err(error),
        _ => Ok(confirmed),
    }
}
