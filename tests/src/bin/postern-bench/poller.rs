//! One epoll set: which of many sockets can be read or written now.

use crate::Failure;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsFd;
use std::time::Duration;

/// What a socket is watched for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    Read,
    ReadWrite,
}

pub(crate) struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poller {
    pub(crate) fn new() -> Result<Poller, Failure> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller {
            epoll,
            events: vec![EpollEvent::empty(); 512],
        })
    }

    pub(crate) fn add(&self, socket: impl AsFd, token: usize) -> Result<(), Failure> {
        Ok(self.epoll.add(socket, event(Watch::Read, token))?)
    }

    pub(crate) fn watch(
        &self,
        socket: impl AsFd,
        token: usize,
        watch: Watch,
    ) -> Result<(), Failure> {
        Ok(self.epoll.modify(socket, &mut event(watch, token))?)
    }

    /// Waits, then puts the tokens of all sockets that are ready into `ready`.
    pub(crate) fn wait(
        &mut self,
        timeout: Duration,
        ready: &mut Vec<usize>,
    ) -> Result<(), Failure> {
        ready.clear();
        let timeout = EpollTimeout::try_from(timeout)?;
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        ready.extend(self.events[..count].iter().map(|e| e.data() as usize));
        Ok(())
    }
}

fn event(watch: Watch, token: usize) -> EpollEvent {
    let flags = match watch {
        Watch::Read => EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP,
        Watch::ReadWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLOUT,
    };
    EpollEvent::new(flags, token as u64)
}
