//! An authd that only pretends: it notes what it was given, and ends when its link does. For the tests of posternd.
//!
//! What it was given at stdout is copied into `given-PID`; one that says `crash` ends it with code 7, `hopeless` with 78.

use std::io::Read;
use std::os::fd::AsFd;

use postern_control::auth::Question;
use postern_control::{Link, Received};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut given = String::new();
    let mut file = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    if file.metadata()?.is_file() {
        file.read_to_string(&mut given)?;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let note = format!("{} {}\n{given}", words.join(" "), nix::unistd::geteuid());
    std::fs::write(format!("given-{}", std::process::id()), note)?;
    if given.contains("crash") {
        std::process::exit(7);
    }
    if given.contains("hopeless") {
        std::process::exit(78);
    }
    let link = Link::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    while let Received::Packet(..) = link.receive::<Question>()? {}
    Ok(())
}
