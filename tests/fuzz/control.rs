//! Packets of all four vocabularies, as functions over bytes: whatever comes over a link is a packet or an error.

use postern_control::auth;
use postern_control::client::{Reply, Request};
use postern_control::query::{Answer, Question};
use postern_control::worker::{Order, Report};
use postern_control::{Link, Received};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Sends the bytes over a link, and receives them as each kind of packet.
pub(crate) fn packet(bytes: &[u8]) {
    over::<Order>(bytes);
    over::<Report>(bytes);
    over::<Request>(bytes);
    over::<Reply>(bytes);
    over::<Question>(bytes);
    over::<Answer>(bytes);
    over::<auth::Question>(bytes);
    over::<auth::Answer>(bytes);
}

/// What was understood is said again in the same way.
fn over<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let (here, there) = Link::pair().expect("a pair of sockets");
    if rustix::net::send(&here, bytes, rustix::net::SendFlags::empty()).is_err() {
        return;
    }
    if let Ok(Received::Packet(value, files)) = there.receive::<T>() {
        assert!(files.is_empty());
        here.send(&value, &[]).expect("what came in goes out");
        match there.receive::<T>() {
            Ok(Received::Packet(again, _)) => assert_eq!(value, again),
            other => panic!("{other:?}"),
        }
    }
}
