//! The control protocol between hermesctl and the daemon: messages, server and socket.

mod endpoint;
mod protocol;
mod server;
