//! Comparison in a time that tells nothing of the octets compared.
//!
//! Never: a length kept secret.

use subtle::{Choice, ConstantTimeEq};

/// Whether these are the same octets.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Whether `one` is among `others`; all of them are looked at.
pub(crate) fn among<T: AsRef<[u8]>>(one: &[u8], others: impl IntoIterator<Item = T>) -> bool {
    others
        .into_iter()
        .fold(Choice::from(0), |found, other| {
            found | one.ct_eq(other.as_ref())
        })
        .into()
}
