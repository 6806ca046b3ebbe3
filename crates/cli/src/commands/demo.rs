//! `postern demo`: to come.
use crate::failure::Error;
use clap::Args;
use std::io::Write;

/// Runs posternd with two example servers on loopback.
#[derive(Args)]
pub(crate) struct Demo {}
impl Demo {
    pub(crate) fn run(&self, _out: &mut dyn Write) -> Result<(), Error> {
        Ok(())
    }
}
