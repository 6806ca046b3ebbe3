//! The two lives of the process: the first has the keytab at standard output, the second has it where the library looks.
//!
//! Never: a question answered in the first.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use libgssapi::credential::{Cred, CredUsage};
use libgssapi::oid::{GSS_MECH_KRB5, GSS_MECH_SPNEGO, OidSet};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::context::Kerberos;
use super::end_points::EndPoints;
use super::keytab::{NotAKeytab, Principal, principals};
use crate::backend::Backend;
use crate::run::{Failure, secret, system};

/// This program, even where its file has been replaced since.
pub(super) const MYSELF: &str = "/proc/self/exe";

/// Threads that check tickets.
const THREADS: usize = 2;

/// Ends the first life; what comes back is why it could not.
pub(super) fn begin_again(server: &str) -> Failure {
    first(server).unwrap_or_else(|failure| failure)
}

fn first(server: &str) -> Result<Failure, Failure> {
    let keytab = secret()?;
    let found = principals(&keytab).map_err(unusable)?;
    for principal in &found {
        tracing::info!(server, %principal, "a key");
    }
    let file = sealed(&keytab)?;
    let number = file.as_raw_fd();
    let failed = Command::new(MYSELF)
        .args([server, "kerberos", &number.to_string()])
        .env("KRB5_KTNAME", format!("FILE:{}", name_of(number)))
        // In this process's folder, whose name it need not be able to look up.
        .env("KRB5RCACHENAME", "file2:replay")
        // No mechanism beside the library's own: a host's list may name NTLM, which is taken elsewhere.
        .env("GSS_MECH_CONFIG", "/dev/null")
        .exec();
    Ok(system("execute this program again")(failed))
}

/// A file in memory that stays open over exec, and that nobody can change.
fn sealed(keytab: &[u8]) -> Result<OwnedFd, Failure> {
    let file = memfd_create("keytab", MemfdFlags::ALLOW_SEALING);
    let mut file = File::from(file.map_err(system("make a file in memory"))?);
    file.write_all(keytab)
        .map_err(system("write a file in memory"))?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, all).map_err(system("seal a file in memory"))?;
    Ok(file.into())
}

/// How a file open here is opened anew, from its beginning.
fn name_of(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}

/// The second life: the keytab is open as `file`.
pub(super) fn second(server: &str, file: &str) -> Result<Vec<Box<dyn Backend>>, Failure> {
    let number: i32 = file
        .parse()
        .map_err(|_| Failure::Called(format!("{file:?} is no open file")))?;
    let keytab = std::fs::read(name_of(number)).map_err(system("read the keytab in memory"))?;
    let found = principals(&zeroize::Zeroizing::new(keytab)).map_err(unusable)?;
    let realms: BTreeSet<String> = found
        .into_iter()
        .map(|Principal { realm, .. }| realm)
        .collect();
    let realms: Arc<[String]> = realms.into_iter().collect();
    let credentials = credentials()?;
    let end_points = EndPoints::new(server, number);
    let backend = || -> Box<dyn Backend> {
        Box::new(Kerberos::new(
            credentials.clone(),
            realms.clone(),
            end_points.clone(),
        ))
    };
    Ok((0..THREADS).map(|_| backend()).collect())
}

/// Any key of the keytab, by Kerberos alone or inside SPNEGO.
fn credentials() -> Result<Cred, Failure> {
    let acquire = || {
        let mut mechanisms = OidSet::singleton(GSS_MECH_KRB5)?;
        mechanisms.add(GSS_MECH_SPNEGO)?;
        Cred::acquire(None, None, CredUsage::Accept, Some(&mechanisms))
    };
    acquire().map_err(|error| {
        Failure::Secret(format!(
            "the Kerberos library takes no key from the keytab: {error}"
        ))
    })
}

fn unusable(why: NotAKeytab) -> Failure {
    Failure::Secret(format!(
        "the keytab {why}; make one with `ktutil`, `kadmin ktadd`, `samba-tool domain exportkeytab` or ktpass.exe"
    ))
}
