//! What hermesctl asks of the system in another way on each: one interface, a file for Unix and one for Windows.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

#[cfg(unix)]
pub(super) use unix::*;
#[cfg(not(unix))]
pub(super) use windows::*;
