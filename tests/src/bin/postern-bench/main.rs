//! `make bench`: Postern and Postfix on the same disk, under the same load, measured in turn.
//!
//! ```text
//! postern-bench [run]        the whole comparison (BENCH_QUICK=1: a first look)
//! postern-bench postfix      Postfix alone: is the machinery sound?
//! postern-bench postern      Postern alone
//! postern-bench null         the generator against the sink: what the machinery itself can do
//! postern-bench sink …       the SMTP sink, a process of its own so that its processor time is told apart
//! postern-bench load …       the load generator, likewise
//! postern-bench ask …        asks Dovecot's authentication socket about passwords
//! postern-bench flood …      guesses at passwords until its standard input ends
//! ```
//! Never: a figure from a debug build, or from a server that does not sync.

mod accounts;
mod arguments;
mod ask;
mod doors;
mod flood;
mod idle;
mod load;
mod logins;
mod measure;
mod poller;
mod postern;
mod postfix;
mod report;
mod rounds;
mod sink;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_else(|| "run".to_owned());
    let rest: Vec<String> = words.collect();
    let outcome = match verb.as_str() {
        "sink" => sink::main(&rest),
        "load" => load::main(&rest),
        "ask" => ask::main(&rest),
        "flood" => flood::main(&rest),
        "null" => rounds::null(),
        "run" => rounds::run(rounds::Who::Both),
        "postfix" => rounds::run(rounds::Who::Postfix),
        "postern" => rounds::run(rounds::Who::Postern),
        other => Err(format!(
            "unknown word `{other}`: run, postfix, postern, null, sink, load, ask or flood"
        )
        .into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postern-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

use postern_tests::Failure;
