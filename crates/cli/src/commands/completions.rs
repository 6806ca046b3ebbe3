//! `postern completions SHELL`: the script that teaches a shell to complete these commands.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::CommandLine;
use crate::failure::Error;

/// Writes the completions for a shell to standard output.
///
/// For bash: postern completions bash > /usr/share/bash-completion/completions/postern
#[derive(Args)]
pub(crate) struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<(), Error> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut CommandLine::command(),
            "postern",
            &mut script,
        );
        Ok(out.write_all(&script)?)
    }
}
