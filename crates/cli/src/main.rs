//! `postern`: the command that orders, asks, checks and writes for an administrator.
//!
//! Never: root's work, and no secret on a command line; what it orders is done by posternd or a worker.

mod ask;
mod certificates;
mod commands;
mod connect;
mod failure;
mod keytab;
mod loaded;
mod passwords;
mod render;

fn main() -> std::process::ExitCode {
    commands::run()
}
