//! Gives a client and a worker the two ends of a pair. What they say to each other passes by posternd.

use std::os::fd::AsFd;

use postern_control::Link;
use postern_control::worker::Order;

use crate::link::Worker;

/// Hands one end to `worker` and returns the other. The error is a sentence.
pub(crate) fn introduce(worker: &Worker, uid: u32) -> Result<Link, String> {
    let (client, other) = Link::pair().map_err(|error| error.to_string())?;
    worker.order(&Order::Meet { uid }, &[other.as_fd()])?;
    Ok(client)
}
