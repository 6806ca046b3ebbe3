//! Packets over real socket pairs, good and foreign.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;

use rustix::net::{SendFlags, send};

use super::*;
use crate::worker::{Item, Manifest, Order, Report};

fn receive<T: DeserializeOwned>(link: &Link) -> (T, Vec<OwnedFd>) {
    match link.receive() {
        Ok(Received::Packet(value, files)) => (value, files),
        Ok(Received::Closed) => panic!("closed"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_packet_arrives_with_its_files() {
    let (here, there) = Link::pair().unwrap();
    let file = File::open("/proc/self/stat").unwrap();
    let manifest = Manifest {
        items: vec![Item::File {
            path: "stat".into(),
        }],
        missing: Vec::new(),
    };
    here.send(
        &Order::Reload {
            manifest: manifest.clone(),
        },
        &[file.as_fd()],
    )
    .unwrap();
    let (order, files): (Order, _) = receive(&there);
    assert_eq!(
        order,
        Order::Reload {
            manifest: manifest.clone()
        }
    );
    let mut paired = manifest.with(files).unwrap();
    let mut text = String::new();
    File::from(paired.remove(0).1)
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.starts_with(&std::process::id().to_string()));
    assert!(matches!(
        manifest.with(Vec::new()),
        Err(Error::Malformed(_))
    ));
}

#[test]
fn received_files_close_on_exec_and_so_do_both_ends() {
    let (here, there) = Link::pair().unwrap();
    here.send(&Report::Ready, &[here.as_fd()]).unwrap();
    let (_, files): (Report, _) = receive(&there);
    for fd in [here.as_fd(), there.as_fd(), files[0].as_fd()] {
        assert!(
            rustix::io::fcntl_getfd(fd)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
}

#[test]
fn foreign_bytes_are_an_error_and_nothing_else() {
    let long = vec![b' '; LONGEST + 1];
    let cases: [&[u8]; 8] = [
        b"\xff\xfe",
        b"{",
        b"\"Nonsense\"",
        b"{\"Hello\":{}}",
        b"{\"Hello\":{\"version\":-1}}",
        b"{\"Hello\":{\"version\":1,\"more\":1}}",
        b"\"Ready\" \"Ready\"",
        &long,
    ];
    for bytes in cases {
        let (here, there) = Link::pair().unwrap();
        send(&here, bytes, SendFlags::empty()).unwrap();
        assert!(
            matches!(there.receive::<Report>(), Err(Error::Malformed(_))),
            "{bytes:?}"
        );
    }
    // Deep nesting must end in an error, not in the end of the stack.
    let (here, there) = Link::pair().unwrap();
    send(&here, "[".repeat(LONGEST).as_bytes(), SendFlags::empty()).unwrap();
    assert!(matches!(
        there.receive::<Report>(),
        Err(Error::Malformed(_))
    ));
}

#[test]
fn the_end_of_the_link_is_told_both_ways() {
    let (here, there) = Link::pair().unwrap();
    drop(here);
    assert!(matches!(there.receive::<Report>(), Ok(Received::Closed)));
    assert!(matches!(
        there.send(&Report::Ready, &[]),
        Err(Error::Closed)
    ));
}

#[test]
fn a_link_that_does_not_block_says_so() {
    let (here, there) = Link::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    assert!(matches!(here.receive::<Report>(), Err(Error::WouldBlock)));
    // Nobody reads: sooner or later there is no room.
    let full = (0..100_000).find_map(|_| here.send(&Report::Ready, &[]).err());
    assert!(matches!(full, Some(Error::WouldBlock)));
    drop(there);
}

#[test]
fn a_time_out_ends_the_wait() {
    let (here, _there) = Link::pair().unwrap();
    here.set_timeout(Some(Duration::from_millis(10))).unwrap();
    assert!(matches!(here.receive::<Report>(), Err(Error::WouldBlock)));
}

#[test]
fn what_is_too_long_is_not_sent() {
    let (here, there) = Link::pair().unwrap();
    let path = PathBuf::from("x".repeat(LONGEST));
    let manifest = Manifest {
        items: vec![Item::File { path }],
        missing: Vec::new(),
    };
    assert!(matches!(
        here.send(&Order::Reload { manifest }, &[]),
        Err(Error::TooLong(_))
    ));
    let many = vec![here.as_fd(); MOST_FILES + 1];
    assert!(matches!(
        here.send(&Order::Pause, &many),
        Err(Error::TooLong(_))
    ));
    here.send(&Order::Pause, &many[..MOST_FILES]).unwrap();
    let (order, files): (Order, _) = receive(&there);
    assert_eq!((order, files.len()), (Order::Pause, MOST_FILES));
}

#[test]
fn more_files_than_a_packet_may_have_are_closed_again() {
    let (here, there) = Link::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let fds = vec![file.as_fd(); 253];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    let data = [IoSlice::new(b"\"Ready\"")];
    rustix::net::sendmsg(&here, &data, &mut ancillary, SendFlags::empty()).unwrap();
    assert!(matches!(
        there.receive::<Report>(),
        Err(Error::Malformed(_))
    ));
}

#[test]
fn the_other_end_is_known() {
    let (here, _there) = Link::pair().unwrap();
    let peer = here.peer().unwrap();
    assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
    assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
}
