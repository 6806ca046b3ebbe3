//! `postern certificate …`: from nothing to a certificate in use, and another in its place, without a session lost.
//!
//! ```text
//! new ─────────────────────────────▶ key.pem + certificate.pem
//! request ─▶ key.pending.pem + certificate.request.pem ─▶ (an authority) ─▶ assign ─▶ key.pem + certificate.pem
//! ```
//!
//! | File | Knows |
//! |---|---|
//! | `spot.rs` | where a server's pair is |
//! | `make.rs` | `new` and `request` |
//! | `received.rs` | what an authority sends: PEM, DER, PKCS#7, PKCS#12 |
//! | `assign.rs` | which key belongs to it, and whether all of it is sound |
//! | `swap.rs` | a pair put in place of another |
//! | `show.rs` | what is in use |
//!
//! Never: a key readable by others; a change before everything is known to be sound.

mod assign;
mod make;
mod received;
mod show;
mod spot;
mod swap;

use std::io::Write;

use clap::{Args, Subcommand};

pub(crate) use show::ends;

use super::Places;
use crate::failure::Error;

/// Makes, requests, assigns and shows the certificates of servers.
///
/// They are where the server's definition names them below [access.tls], or, as long as it names none, in
/// certificates/SERVER/ of the configuration folder. posternd watches the files: a running server shows a new
/// certificate at the next handshake within some 5 seconds, and sessions in progress go on.
#[derive(Args)]
pub(crate) struct Certificate {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    New(make::New),
    Request(make::Request),
    Assign(assign::Assign),
    Show(show::Show),
}

impl Certificate {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        match &self.verb {
            Verb::New(new) => new.run(places, out),
            Verb::Request(request) => request.run(places, out),
            Verb::Assign(assign) => assign.run(places, out),
            Verb::Show(show) => show.run(places, out),
        }
    }
}
