//! Postfix as it comes, told only what the comparison needs: where to relay to, and room for 100 connections each way.

use crate::Failure;
use crate::rounds::Server;
use postern_tests::peers::Postfix;
use std::net::SocketAddr;
use std::path::Path;

pub(crate) fn start(folder: &Path, sink: SocketAddr) -> Result<Server, Failure> {
    let settings = format!(
        "relayhost = [{}]:{}
default_process_limit = 200
default_destination_concurrency_limit = 100
initial_destination_concurrency = 20
smtp_tls_security_level = none
smtpd_tls_security_level = {}
smtpd_tls_chain_files = {}
",
        sink.ip(),
        sink.port(),
        "may",
        crate::idle::certificate_chain(folder)?.display(),
    );
    let postfix = Postfix::start(folder, &settings)?;
    // Postfix has no switch that turns its syncs off; what could is a queue on a file system that keeps nothing.
    crate::measure::durable_folder(&postfix.queue())?;
    Ok(Server {
        name: "Postfix",
        root: postfix.master,
        address: postfix.address,
        worker: None,
        keep: Box::new(postfix),
    })
}

/// The version, for the report.
pub(crate) fn version() -> String {
    let output = postern_tests::program::run("postconf", ["-d", "-h", "mail_version"], b"");
    let version = output
        .ok()
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    version.unwrap_or_else(|| "?".to_owned())
}
