//! What posternd and systemd tell each other: state, signs of life, and listeners kept over a restart of posternd.
//! Without `NOTIFY_SOCKET` all of it does nothing.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use nix::unistd::close;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sd_notify::NotifyState;

/// A listener kept by systemd while posternd was not there.
pub(crate) struct Inherited {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) socket: OwnedFd,
}

/// Takes what systemd kept, and closes every other file this process was started with: none of them is a worker's
/// business either. To be called before any file is opened.
pub(crate) fn take_inherited() -> Vec<Inherited> {
    let kept: Vec<(RawFd, String)> = match sd_notify::listen_fds_with_names() {
        Ok(kept) => kept.collect(),
        Err(error) => {
            eprintln!("posternd: the listeners kept by systemd are not usable: {error}");
            Vec::new()
        }
    };
    let ours = |number: RawFd| kept.iter().any(|(kept, _)| *kept == number);
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let open: Vec<RawFd> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in open.into_iter().filter(|number| *number > 2 && !ours(*number)) {
        // The number of the folder just read is among them, and closed already.
        let _ = close(number);
    }
    kept.into_iter().filter_map(|(number, name)| own(number, name)).collect()
}

/// A number is no owner: the file is taken from this very process by pidfd, and the number closed.
fn own(number: RawFd, name: String) -> Option<Inherited> {
    let socket =
        pidfd_open(getpid(), PidfdFlags::empty()).and_then(|this| pidfd_getfd(this, number, PidfdGetfdFlags::empty()));
    let _ = close(number);
    let socket =
        socket.inspect_err(|error| eprintln!("posternd: cannot take the listener {name} back: {error}")).ok()?;
    let listening = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false);
    let address = rustix::net::getsockname(&socket).ok().and_then(|at| SocketAddr::try_from(at).ok());
    match address {
        Some(address) if listening => Some(Inherited { name, address, socket }),
        _ => {
            eprintln!("posternd: {name}, kept by systemd, is no listener");
            forget(&name);
            None
        }
    }
}

/// Tells systemd something.
pub(crate) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd does not listen: {error}");
    }
}

pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Has systemd keep a listener under this name.
pub(crate) fn store(name: &str, socket: BorrowedFd<'_>) {
    let states = [NotifyState::FdStore, NotifyState::FdName(name)];
    if let Err(error) = sd_notify::notify_with_fds(&states, &[socket]) {
        tracing::debug!("systemd does not keep {name}: {error}");
    }
}

/// Has systemd close what it keeps under this name.
pub(crate) fn forget(name: &str) {
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}
