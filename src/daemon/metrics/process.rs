//! Prometheus' standard process metrics; on Linux, from `/proc`.

use crate::metrics::{self, MetricsPage, Value};

/// The kernel's unit of CPU time for user space (`USER_HZ`), independent of its own ticks.
const TICKS_A_SECOND: u64 = 100;

/// Of this process.
pub(super) fn add_to(page: &mut MetricsPage, started_at: i64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    if let Some(ticks) = read("stat").as_deref().and_then(ticks) {
        let micros = ticks.saturating_mul(1_000_000 / TICKS_A_SECOND);
        page.family(&metrics::PROCESS_CPU)
            .add(&[], Value::Micros(micros));
    }
    if let Some(bytes) = read("status").as_deref().and_then(resident) {
        page.family(&metrics::PROCESS_MEMORY).add(&[], bytes);
    }
    if let Some(files) = open_files() {
        page.family(&metrics::PROCESS_FDS).add(&[], files);
    }
    if let Some(limit) = super::super::descriptors::limit() {
        page.family(&metrics::PROCESS_MAX_FDS).add(&[], limit);
    }
    page.family(&metrics::PROCESS_START)
        .add(&[], Value::Timestamp(started_at));
}

/// User and system time (`proc_pid_stat(5)`). The program's name, which may hold anything, is in parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Resident memory in bytes (`proc_pid_status(5)`).
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Since Linux 6.2 the folder's size is their number; before, they are counted.
fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    let size = std::fs::metadata(folder).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let files = std::fs::read_dir(folder).ok()?.count();
    // One of them is the folder's own.
    u64::try_from(files.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_read_from_the_kernels_texts() {
        let stat = "4711 (a) b (c) S 1 4711 4711 0 -1 4194560 1 2 3 4 250 50 6 7 20 0 3 0 99";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("4711 (a) S 1"), None);
        let status = "Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident(status), Some(1234 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
