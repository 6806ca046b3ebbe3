//! What posternd is called with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The help text.
pub(crate) const USAGE: &str = "\
usage: posternd [OPTION…]

Starts one worker process for each definition in CONFIG/servers, and stays in the foreground.

  --config DIR   postern.toml and servers/*.toml      (default /etc/postern)
  --state DIR    the servers' state, each its own     (default /var/lib/postern)
  --run DIR      the control socket                   (default /run/postern)
  --worker PATH  the worker program                   (default postern-vserver beside this program)
  --help         print this
  --version      print the version

SIGHUP reloads all servers, SIGTERM and SIGINT end them and posternd.
Exit: 0 after a signal to end, 1 if it cannot start, 64 if it is called wrongly.";

/// Where everything is. All paths are absolute, and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) worker: PathBuf,
}

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) enum Asked {
    Run(Options),
    Print(String),
}

impl Options {
    /// Reads the arguments after the program's name; the error says what is wrong with them.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Asked, String> {
        let mut options = Options {
            config: "/etc/postern".into(),
            state: "/var/lib/postern".into(),
            run: "/run/postern".into(),
            worker: beside_this_program(),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().ok_or("an argument is not text")?;
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let place = match name {
                "--help" | "-h" => return Ok(Asked::Print(USAGE.to_owned())),
                "--version" | "-V" => return Ok(Asked::Print(format!("posternd {}", env!("CARGO_PKG_VERSION")))),
                "--config" => &mut options.config,
                "--state" => &mut options.state,
                "--run" => &mut options.run,
                "--worker" => &mut options.worker,
                _ => return Err(format!("unknown argument {text}")),
            };
            let value = value.or_else(|| arguments.next()?.into_string().ok());
            *place = absolute(name, &value.ok_or_else(|| format!("{name} needs a path"))?)?;
        }
        Ok(Asked::Run(options))
    }

    pub(crate) fn servers(&self) -> PathBuf {
        self.config.join("servers")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.run.join("control")
    }
}

fn absolute(name: &str, value: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(value).map_err(|error| format!("{name} {value:?}: {error}"))?;
    path.to_str().ok_or_else(|| format!("{name}: the working directory's path is not text"))?;
    Ok(path)
}

fn beside_this_program() -> PathBuf {
    let here = std::env::current_exe().ok();
    here.as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr/sbin")).join("postern-vserver")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn both_forms_are_read_and_made_absolute() {
        let Ok(Asked::Run(options)) = parse("--config=/c --state /s --run r --worker=/w") else {
            panic!("refused");
        };
        assert_eq!(options.servers(), Path::new("/c/servers"));
        assert_eq!(options.state, Path::new("/s"));
        assert_eq!(options.control(), std::env::current_dir().unwrap().join("r/control"));
        assert_eq!(options.worker, Path::new("/w"));
    }

    #[test]
    fn wrong_calls_are_refused() {
        for wrong in ["--confg /c", "extra", "--config", "-x", "--run="] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(parse("--help"), Ok(Asked::Print(_))));
        assert!(matches!(parse("--version"), Ok(Asked::Print(text)) if text.starts_with("posternd ")));
    }
}
