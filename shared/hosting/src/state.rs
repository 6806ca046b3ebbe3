//! The state of a server as it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a server is in its life, as `postern status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Not running, and not wanted.
    Stopped,
    /// Its worker has been executed and has not yet said that it is ready.
    Starting,
    /// Accepting connections.
    Running,
    /// Running, while a new generation of its definition is being put together.
    Reloading,
    /// Answering new connections with 421; sessions and deliveries go on.
    Paused,
    /// A successor is getting ready while the worker serves on.
    Restarting,
    /// Its worker has been told to drain.
    Stopping,
    /// Its worker died; the next one is executed after a pause.
    Waiting,
    /// It cannot be started for a reason outside its definition: an address in use, a folder that cannot be made.
    Failed,
    /// Its definition is bad.
    Refused,
}

impl ServerState {
    /// The state as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerState::Stopped => "stopped",
            ServerState::Starting => "starting",
            ServerState::Running => "running",
            ServerState::Reloading => "reloading",
            ServerState::Paused => "paused",
            ServerState::Restarting => "restarting",
            ServerState::Stopping => "stopping",
            ServerState::Waiting => "waiting",
            ServerState::Failed => "failed",
            ServerState::Refused => "refused",
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
