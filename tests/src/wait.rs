//! Waiting for something to become true: by asking again, with a deadline, never by a fixed pause.

use crate::Failure;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Asks `look` again and again until it answers `Some`, for `limit` at most; then fails naming `what`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {limit:?} in vain for {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same for a plain yes.
pub fn until_true(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> bool,
) -> Result<(), Failure> {
    until(what, limit, || look().then_some(()))
}

/// Waits until something listens on `address`.
pub fn until_listening(address: SocketAddr, limit: Duration) -> Result<(), Failure> {
    until_true(&format!("a listener on {address}"), limit, || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    })
}

/// Waits until the process `pid` is gone.
pub fn until_gone(pid: i32, limit: Duration) -> Result<(), Failure> {
    until_true(&format!("process {pid} to end"), limit, || !alive(pid))
}

/// Whether process `pid` runs: it exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    !stat[stat.rfind(')').map_or(0, |at| at + 1)..]
        .trim_start()
        .starts_with('Z')
}

/// A port of 127.0.0.1 that nobody listens on now.
///
/// The ports below the range that the kernel gives to outgoing connections are tried, each process from a place of its
/// own: a port of that range could be taken by somebody's connection before the server comes to bind it.
pub fn free_port() -> Result<u16, Failure> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    let own = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + step % COUNT)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port on 127.0.0.1".into())
}

/// `127.0.0.1` with a free port.
pub fn free_address() -> Result<SocketAddr, Failure> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}
