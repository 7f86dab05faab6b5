//! The program that has a port, if the system tells.

use std::net::SocketAddr;

use listeners::{Protocol, get_process_by_port};

/// The process that listens on this port, as `name (pid 42)`. `None` if the system does not tell,
/// as for another user's process.
pub(super) fn name(address: SocketAddr) -> Option<String> {
    let process = get_process_by_port(address.port(), Protocol::TCP).ok()?;
    Some(format!("{} (pid {})", process.name, process.pid))
}
