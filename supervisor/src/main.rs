//! posternd: starts, watches and stops one unprivileged worker process for each virtual server, and its authds.
//!
//! `posternd [--config DIR] [--state DIR] [--run DIR] [--worker PATH]` exits 0 after SIGTERM or SIGINT, 1 if it cannot
//! start, 64 if it is called wrongly.
//!
//! Never: SMTP, TLS, DNS, a policy; an async runtime; a thread; `unsafe`.

mod authds;
mod backoff;
mod desk;
mod handover;
mod introduce;
mod life;
mod link;
mod listeners;
mod options;
mod roster;
mod run;
mod server;
mod spawn;
mod systemd;
mod timers;
mod uids;
mod wanted;
mod watch;

use std::process::ExitCode;

use options::{Asked, Options};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Print(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("posternd: {wrong}\n\n{}", options::USAGE);
            return ExitCode::from(64);
        }
    };
    match run::Supervisor::start(options).and_then(run::Supervisor::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("posternd: {error}");
            ExitCode::FAILURE
        }
    }
}
