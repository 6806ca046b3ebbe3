//! The conversation with a worker that knows its part, and with one that does not.
