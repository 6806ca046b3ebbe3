//! `postern-authd`: holds for one source of accounts what a worker must never hold, and answers whether a client is who it
//! says.
//!
//! ```text
//! postern-authd SERVER hashes | winbind | kerberos
//! stdin   its link to the worker; it ends when the worker hangs up
//! stdout  the open secret: the file of NT hashes, or the keytab; read at the start, and then replaced by /dev/null
//! cwd     a folder of its own, kept over restarts
//! ```
//!
//! Started by posternd, under a uid of its own. Blobs of SASL come in, and go out; who the client is comes out at the end.
//!
//! Never: a secret on the link, in an answer or in the log; a key or a proof for a challenge that is not its own; a socket
//! but the link (winbind's helpers have theirs).

#![forbid(unsafe_code)]

mod run;

mod serve;
mod session;
mod table;

mod backend;
mod guesses;
mod hashes;
mod kerberos;
mod winbind;

fn main() -> std::process::ExitCode {
    run::main()
}
