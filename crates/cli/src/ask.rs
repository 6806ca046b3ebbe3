//! Questions to the person at the terminal.
//!
//! Never: asked where standard input is no terminal; the caller looks first.

use std::io::{self, Write};

use crate::failure::Error;

/// Asks for a line; an empty one is `default`. The end of input ends the command.
pub(crate) fn line(question: &str, default: &str) -> Result<String, Error> {
    let hint = if default.is_empty() {
        String::new()
    } else {
        format!(" [{default}]")
    };
    let mut err = io::stderr();
    write!(err, "{question}{hint}: ")?;
    err.flush()?;
    let mut answer = String::new();
    let read = io::stdin()
        .read_line(&mut answer)
        .map_err(|source| Error::Read {
            path: "the terminal".into(),
            source,
        })?;
    if read == 0 {
        return Err(Error::Failed("no answer; nothing was changed".to_owned()));
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() {
        default.to_owned()
    } else {
        answer.to_owned()
    })
}

/// Asks until `parse` likes the answer; what it does not like, it says why.
pub(crate) fn until<T>(
    question: &str,
    default: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Error> {
    loop {
        match parse(&line(question, default)?) {
            Ok(value) => return Ok(value),
            Err(why) => writeln!(io::stderr(), "  {why}")?,
        }
    }
}

/// A question for yes or no; no, unless yes is said.
pub(crate) fn yes(question: &str) -> Result<bool, Error> {
    let answer = line(&format!("{question} (yes/no)"), "no")?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}
