//! `postern man DIR`: every manual page, made from what the programs themselves know.
//!
//! | page | source |
//! |---|---|
//! | postern(1), postern-VERB(1) | the command line's own definition |
//! | postern-definition(5) | the table of settings in shared/config |
//! | posternd(8), postern-vserver(8) | the texts below |
//!
//! Never: a setting or an option described here that is described elsewhere.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use postern_config::{SETTINGS, Section, Setting};

use super::CommandLine;
use crate::failure::Error;

/// Writes the manual pages into a folder.
#[derive(Args)]
pub(crate) struct Man {
    /// The folder.
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<(), Error> {
        let tell = |source| Error::Write {
            path: self.dir.clone(),
            source,
        };
        std::fs::create_dir_all(&self.dir).map_err(tell)?;
        clap_mangen::generate_to(CommandLine::command(), &self.dir).map_err(tell)?;
        self.page("postern-definition.5", &definition())?;
        self.page("posternd.8", POSTERND)?;
        self.page("postern-vserver.8", VSERVER)?;
        Ok(writeln!(
            out,
            "wrote the manual pages to {}",
            self.dir.display()
        )?)
    }

    fn page(&self, name: &str, text: &str) -> Result<(), Error> {
        let path: &Path = &self.dir.join(name);
        std::fs::write(path, text).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })
    }
}

/// postern-definition(5), from the table of settings.
fn definition() -> String {
    let mut page = String::from(DEFINITION);
    for section in Section::ALL {
        let _ = writeln!(
            page,
            ".SH \"[{}]\"\n{}",
            section.name(),
            escaped(section.about())
        );
        for setting in SETTINGS.iter().filter(|setting| setting.section == section) {
            page.push_str(&entry(setting));
        }
    }
    page.push_str(DEFINITION_END);
    page
}

fn entry(setting: &Setting) -> String {
    let mut text = format!(
        ".TP\n.B {}\n{}\n",
        escaped(setting.name),
        escaped(setting.about)
    );
    if let Some(default) = setting.default {
        let _ = writeln!(text, ".br\nDefault: {}", escaped(default));
    }
    if let Some(example) = setting.example {
        let _ = writeln!(
            text,
            ".br\nExample: {} = {}",
            escaped(setting.name),
            escaped(example)
        );
    }
    text
}

/// Text as roff takes it literally: backslashes, hyphens, what is not ASCII, and dots or quotes at the beginning of a line.
fn escaped(text: &str) -> String {
    let letter = |c: char| match c {
        '\\' => "\\e".to_owned(),
        '-' => "\\-".to_owned(),
        _ if c.is_ascii() => c.to_string(),
        _ => format!("\\[u{:04X}]", u32::from(c)),
    };
    let line = |line: &str| {
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        format!("{guard}{}", line.chars().map(letter).collect::<String>())
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

const DEFINITION: &str = r#".TH POSTERN\-DEFINITION 5 "" Postern
.SH NAME
postern\-definition \- the definition of a virtual server
.SH SYNOPSIS
/etc/postern/servers/NAME.toml
.SH DESCRIPTION
One TOML file for each virtual server of
.BR posternd (8).
The file's name is the server's name: lower\-case letters, digits and hyphens, at most 32.
A file with an error keeps its own server from starting, or from reloading, and no other.
Relative paths are meant from the folder of the definition.
.PP
Sizes are written "25 MB" or "64 KiB", times "10m", "12h" or "2d", networks in CIDR.
An unknown setting is an error.
.BR postern\-check (1)
finds errors, and
.BR postern\-new (1)
writes a definition with every setting in it.
"#;

const DEFINITION_END: &str = r#".SH FILES
.TP
.I /etc/postern/postern.toml
What belongs to the host:
.B control_group
(who may use the control socket, besides root),
.B uids
(the range the servers' uids are taken from),
.B log
(error, warn, info, debug or trace).
.SH SEE ALSO
.BR postern (1),
.BR posternd (8)
"#;

const POSTERND: &str = r#".TH POSTERND 8 "" Postern
.SH NAME
posternd \- starts, watches and stops the virtual servers
.SH SYNOPSIS
.B posternd
.RB [ \-\-config
.IR DIR ]
.RB [ \-\-state
.IR DIR ]
.RB [ \-\-run
.IR DIR ]
.RB [ \-\-worker
.IR PATH ]
.SH DESCRIPTION
Reads one definition for each virtual server (see
.BR postern\-definition (5)),
binds their addresses, and executes one
.BR postern\-vserver (8)
for each, under a uid of its own and with the files it needs already open.
A worker that dies is started again, after longer and longer pauses.
It stays in the foreground and takes orders from
.BR postern (1)
over its control socket; each order leaves an audit line in the log.
.PP
Run by another user than root, it runs all workers as that user; their isolation from each other is then weaker, and
.B postern status
says so.
.SH OPTIONS
.TP
.BI \-\-config " DIR"
The folder with postern.toml and servers/. Default: /etc/postern.
.TP
.BI \-\-state " DIR"
Where the servers keep their queues, each in a folder of its own. Default: /var/lib/postern.
.TP
.BI \-\-run " DIR"
Where the control socket is made. Default: /run/postern.
.TP
.BI \-\-worker " PATH"
The worker's program. Default: postern\-vserver beside posternd.
.SH SIGNALS
.TP
.B SIGTERM, SIGINT
Workers finish messages being received, then all ends.
.TP
.B SIGHUP
Reloads all servers.
.SH EXIT STATUS
0 after SIGTERM or SIGINT; 1 if it cannot start; 64 if it is called wrongly.
.SH FILES
.TP
.I /etc/postern/servers/NAME.toml
The definition of the server NAME.
.TP
.I /run/postern/control
The control socket.
.TP
.I /var/lib/postern/
The servers' state, and which of them are to run.
.SH SEE ALSO
.BR postern (1),
.BR postern\-definition (5),
.BR postern\-vserver (8)
"#;

const VSERVER: &str = r#".TH POSTERN\-VSERVER 8 "" Postern
.SH NAME
postern\-vserver \- the worker of one virtual server
.SH SYNOPSIS
.B postern\-vserver
.I NAME
.SH DESCRIPTION
Accepts mail by SMTP for one virtual server, keeps it in its spool, and delivers it.
It is executed by
.BR posternd (8),
which gives it its link on standard input and all files and listening sockets over that link, and is of no use by itself.
It ends when told to, or when posternd is gone; a message being received is finished first.
.SH SEE ALSO
.BR posternd (8),
.BR postern\-definition (5),
.BR postern\-queue (1)
"#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_in_a_text_is_taken_for_a_roff_request() {
        assert_eq!(escaped(".TH\na-b \\n\n'x"), "\\&.TH\na\\-b \\en\n\\&'x");
        assert_eq!(escaped("wait…"), "wait\\[u2026]");
    }
}
