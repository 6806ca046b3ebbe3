//! The pool that checks passwords: a few threads that give way to the sessions, and turns among those who wait.
//!
//! ```text
//! login ─▶ turns, bounded (turns.rs) ─▶ at most 4 threads, one processor left free ─▶ right or wrong
//!               └─▶ no room: "come back later"
//! ```
//! A check takes tens of milliseconds and the memory its hash asks for, 19 MiB as `postern account` makes them: 76 MiB at
//! most (132 MiB as `limits.memory` counts them). What waits takes less than 1 KiB each. A thread lives as long as there is
//! something to check, so an idle pool holds nothing.
//!
//! Never: a thread of the runtime's, or one with the sessions' own priority; a wait without an end.

mod turns;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, available_parallelism};
use std::time::Duration;

use postern_sasl::Secret;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::file::{Room, verify};
use turns::Turns;

/// A session waits no longer for its turn and the answer.
const WHOLE: Duration = Duration::from_secs(20);
/// As many wait.
const WAITING: usize = 512;
/// As many of them for one client.
const WAITING_EACH: usize = 64;
/// As many threads, however many processors there are.
const THREADS: usize = 4;
/// Beside a session that computes (0), such a thread gets a tenth of a processor: a flood is hardly felt, and a login
/// still ends on a machine that is never idle.
const NICE: i32 = 10;

/// The pool.
pub(super) struct Checks(Mutex<Pool>);

struct Pool {
    turns: Turns<Check>,
    threads: usize,
}

/// One that waits. Dropped, its session is told that there was no room.
struct Check {
    hash: String,
    password: Arc<Secret>,
    answer: oneshot::Sender<bool>,
}

impl Checks {
    /// Nobody waits.
    pub(super) const fn new() -> Checks {
        Checks(Mutex::new(Pool {
            turns: Turns::new(WAITING, WAITING_EACH),
            threads: 0,
        }))
    }

    /// Whether the password is the one of the hash; waits for a turn, and for the answer. The error says why there is none.
    pub(super) async fn verify(
        &'static self,
        client: IpAddr,
        hash: String,
        password: &Arc<Secret>,
    ) -> Result<bool, &'static str> {
        let (answer, said) = oneshot::channel();
        let password = password.clone();
        self.line_up(
            client,
            Check {
                hash,
                password,
                answer,
            },
        );
        match timeout(WHOLE, said).await {
            Ok(Ok(right)) => Ok(right),
            Ok(Err(_)) => Err("too many logins wait for theirs"),
            Err(_) => Err("its turn did not come in time"),
        }
    }

    fn line_up(&'static self, client: IpAddr, check: Check) {
        let mut pool = self.pool();
        // Whoever had to give way hears of it as this is dropped.
        let _no_room = pool.turns.wait(client, check);
        if pool.threads >= threads() {
            return;
        }
        let thread = Builder::new()
            .name("passwords".to_owned())
            .stack_size(256 * 1024);
        match thread.spawn(|| self.work()) {
            Ok(_) => pool.threads += 1,
            Err(error) => {
                tracing::error!(%error, "no thread to check passwords on");
                if pool.threads == 0 {
                    pool.turns.clear();
                }
            }
        }
    }

    /// Checks what there is, then ends.
    fn work(&self) {
        // Where that is not allowed, checks cost the sessions more: no reason to take no logins.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut room = Room::default();
        while let Some(check) = self.next() {
            // Its session may be gone meanwhile.
            if !check.answer.is_closed() {
                let right = verify(&check.hash, check.password.expose(), &mut room);
                let _ = check.answer.send(right);
            }
        }
    }

    /// The next, or the end of this thread: under one lock, or one who comes between would wait for nobody.
    fn next(&self) -> Option<Check> {
        let mut pool = self.pool();
        let next = pool.turns.next();
        if next.is_none() {
            pool.threads -= 1;
        }
        next
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One processor is left to the sessions, where there is more than one.
fn threads() -> usize {
    let processors = available_parallelism().map_or(1, usize::from);
    (processors - 1).clamp(1, THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least a hash may cost; the password is `wonder.land-1`.
    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38";

    #[tokio::test]
    async fn threads_come_with_work_and_go_with_it() {
        static CHECKS: Checks = Checks::new();
        let client = IpAddr::from([192, 0, 2, 7]);
        for round in 0..50 {
            let checks = (0..WAITING_EACH / 2).map(|number| {
                let right = number % 2 == 0;
                let password = if right { "wonder.land-1" } else { "wrong" };
                let password = Arc::new(Secret::from(password));
                tokio::spawn(async move {
                    let said = CHECKS.verify(client, HASH.to_owned(), &password).await;
                    assert_eq!(said, Ok(right), "round {round}, {number}");
                })
            });
            for check in checks.collect::<Vec<_>>() {
                check.await.unwrap();
            }
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while CHECKS.pool().threads > 0 {
            assert!(std::time::Instant::now() < deadline, "a thread stays");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_so() {
        static CHECKS: Checks = Checks::new();
        // As if every thread were at a long check.
        CHECKS.pool().threads = THREADS;
        let client = IpAddr::from([192, 0, 2, 7]);
        let password = Arc::new(Secret::from("wonder.land-1"));
        for _ in 0..WAITING_EACH {
            let (answer, _) = oneshot::channel();
            let (hash, password) = (HASH.to_owned(), password.clone());
            CHECKS.line_up(
                client,
                Check {
                    hash,
                    password,
                    answer,
                },
            );
        }
        let said = CHECKS.verify(client, HASH.to_owned(), &password).await;
        assert_eq!(said, Err("too many logins wait for theirs"));
    }
}
