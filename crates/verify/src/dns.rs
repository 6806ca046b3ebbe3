//! What DNS says of a server and of its domains, and what to publish.
//!
//! Never: a change of anything.
