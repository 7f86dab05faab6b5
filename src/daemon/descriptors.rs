//! File descriptors: how many the system gives, and how many connections that allows.
//!
//! The usual soft limit of 1024 exists for `select(2)`, which nothing here uses.

/// What is not for connections: the log, the control socket, the store and its locks, name look-ups,
/// hooks, and renewals.
const RESERVE: u64 = 64;
/// A client's connection, and the one to the provider that its request takes.
const EACH: u64 = 2;

/// The highest possible limit: without one, Darwin's `OPEN_MAX`, since `setrlimit` takes no
/// infinity there.
#[cfg(unix)]
fn highest(current: Option<u64>, maximum: Option<u64>) -> u64 {
    const OPEN_MAX: u64 = 10_240;
    let maximum = match maximum {
        Some(maximum) if cfg!(target_vendor = "apple") => maximum.min(OPEN_MAX),
        Some(maximum) => maximum,
        None => OPEN_MAX,
    };
    maximum.max(current.unwrap_or(OPEN_MAX))
}

/// Raises the limit as far as it goes.
#[cfg(unix)]
pub(super) fn raise() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(highest(limit.current, limit.maximum));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files could not be raised");
    }
}

#[cfg(not(unix))]
pub(super) fn raise() {}

/// How many of the places that were asked for there are descriptors for.
pub(super) fn places(wanted: usize) -> usize {
    let Some(limit) = limit() else {
        return wanted;
    };
    let places = enough_for(limit).min(wanted);
    if places < wanted {
        tracing::warn!(
            places,
            wanted,
            open_files = limit,
            "this process may open too few files for `limits.connections`; raise its limit \
             (`LimitNOFILE=` in the systemd unit, `ulimit -n` in a shell)"
        );
    }
    places
}

fn enough_for(limit: u64) -> usize {
    let reserve = RESERVE.min(limit / 2);
    let places = (limit - reserve) / EACH;
    usize::try_from(places).unwrap_or(usize::MAX).max(1)
}

/// How many this process may open, if there is a limit.
#[cfg(unix)]
pub(super) fn limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current
}

#[cfg(not(unix))]
pub(super) fn limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_places_for_what_descriptors_there_are() {
        for (limit, places) in [(0, 1), (40, 10), (256, 96), (1024, 480), (2112, 1024)] {
            assert_eq!(enough_for(limit), places, "{limit}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_infinite_limit_is_never_asked_for() {
        assert_eq!(highest(Some(256), None), 10_240);
        assert_eq!(highest(Some(20_000), None), 20_000);
        assert_eq!(highest(None, None), 10_240);
        assert_eq!(highest(Some(256), Some(4096)), 4096);
        let most = if cfg!(target_vendor = "apple") {
            10_240
        } else {
            524_288
        };
        assert_eq!(highest(Some(1024), Some(524_288)), most);
    }
}
