//! Failures for a momentary lack of our own resources, such as descriptors: they say nothing about the
//! client or the provider, and are tried again.

use std::io;
use std::time::Duration;

use super::error::{ErrorKind, ProxyError};

/// When it may be worth another try.
const PAUSE: Duration = Duration::from_secs(1);

/// No descriptor is left, in this process or in the system.
#[cfg(unix)]
pub(super) fn is_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    is_one_of(error, &[Errno::MFILE, Errno::NFILE])
}

/// No descriptor or no memory is left.
#[cfg(unix)]
pub(super) fn is_of_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    is_of_descriptors(error) || is_one_of(error, &[Errno::NOMEM, Errno::NOBUFS])
}

#[cfg(unix)]
fn is_one_of(error: &io::Error, codes: &[rustix::io::Errno]) -> bool {
    let code = error.raw_os_error();
    codes.iter().any(|known| code == Some(known.raw_os_error()))
}

#[cfg(not(unix))]
pub(super) fn is_of_descriptors(_: &io::Error) -> bool {
    false
}

#[cfg(not(unix))]
pub(super) fn is_of_ours(_: &io::Error) -> bool {
    false
}

/// A connection that ended before it was accepted, as some systems report it: the next one is not to wait
/// for it.
pub(super) fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// The error for a momentary shortage.
pub(super) fn error(what: &str) -> ProxyError {
    let message = format!(
        "hermes-proxyd: short of file descriptors or memory right now, so {what}; try again in a \
         moment"
    );
    ProxyError::new(ErrorKind::Overloaded, message).retry_after(PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_was_gone_before_it_was_accepted_is_no_want() {
        for kind in [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
        ] {
            let error = kind.into();
            assert!(is_of_the_client(&error) && !is_of_descriptors(&error));
        }
        assert!(!is_of_the_client(&io::ErrorKind::OutOfMemory.into()));
    }
}
