//! `postern-vserver`: one SMTP virtual server, in a process of its own without any privilege.
//!
//! Started by posternd, with its link as standard input; its own state folder is all it owns. See `run` for its life.

#![forbid(unsafe_code)]

mod run;

mod assemble;
mod certificates;
mod generation;
mod hosts;
mod names;
mod orders;
mod packets;
mod server;

mod accept;
mod accounts;
mod door;
mod inbound;

mod outbound;

mod answers;
mod counters;

fn main() -> std::process::ExitCode {
    run::main()
}
