//! Clients that send without pause, each message with a name of its own, and remember which were answered 250.

use crate::wire::Wire;
use crate::{Failure, mail};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a client deals with a connection that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It is to be expected: another one is made.
    Expected,
    /// It must not happen: it is noted.
    Noted,
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    number: AtomicU64,
    acknowledged: AtomicU64,
    names: Mutex<Vec<String>>,
    troubles: Mutex<Vec<String>>,
}

/// What the clients remember.
pub struct Remembered {
    /// The `X-Test` of every message that was answered 250.
    pub acknowledged: Vec<String>,
    /// What went wrong, where that was to be noted.
    pub troubles: Vec<String>,
}

impl Load {
    /// Starts `clients` of them; each sends `each` messages a connection, named `PREFIX-NUMBER`.
    pub fn start(
        to: SocketAddr,
        prefix: &str,
        clients: usize,
        each: usize,
        failing: Failing,
    ) -> Load {
        let shared = Arc::new(Shared::default());
        let run = |_| {
            let (shared, prefix) = (Arc::clone(&shared), prefix.to_owned());
            std::thread::spawn(move || {
                while !shared.ended.load(Ordering::SeqCst) {
                    match session(to, &prefix, each, &shared) {
                        Err(error) if failing == Failing::Noted => {
                            lock(&shared.troubles).push(error.to_string())
                        }
                        // Nobody listens just now: no reason to ask ten thousand times a second.
                        Err(_) => std::thread::sleep(Duration::from_millis(2)),
                        Ok(()) => {}
                    }
                }
            })
        };
        let clients = (0..clients).map(run).collect();
        Load { shared, clients }
    }

    /// How many messages have been acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Ends the clients, each after the message it is at.
    pub fn finish(mut self) -> Result<Remembered, Failure> {
        self.end()?;
        let (acknowledged, troubles) = (
            lock(&self.shared.names).clone(),
            lock(&self.shared.troubles).clone(),
        );
        Ok(Remembered {
            acknowledged,
            troubles,
        })
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.clients
            .drain(..)
            .try_for_each(|client| client.join().map_err(|_| "a client panicked".into()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn session(to: SocketAddr, prefix: &str, each: usize, shared: &Shared) -> Result<(), Failure> {
    let mut wire = Wire::open(to)?;
    wire.set_patience(Duration::from_secs(30))?;
    for _ in 0..each {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("{prefix}-{}", shared.number.fetch_add(1, Ordering::SeqCst));
        let reply = wire.message(
            "load@client.test",
            "someone@far.test",
            &mail::with_header(&name, b"text\r\n"),
        )?;
        if !reply.starts_with("250") {
            return Err(format!("{name}: {reply}").into());
        }
        lock(&shared.names).push(name);
        shared.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    wire.expect("221", "QUIT").map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `X-Test` of a content.
pub fn name_of(content: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(content, b"X-Test: ")? + 8;
    let end = at + memchr::memchr(b'\r', &content[at..])?;
    String::from_utf8(content[at..end].to_vec()).ok()
}
