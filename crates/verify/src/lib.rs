//! A running server seen from outside: what DNS says of it, and whether its rules hold.
//!
//! Never: a definition or a word from inside; whoever calls says what is to be expected.

pub mod dns;
