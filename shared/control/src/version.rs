//! The version of all three vocabularies.

/// Said by both sides in their first packet; they must be equal. Raised when a packet changes its meaning or shape; a new
/// question does not: whoever does not know it says so.
pub const VERSION: u32 = 1;
