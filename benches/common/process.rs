//! A process, and what the system says of it and of those that it has started.

use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::Duration;

/// Longer than anything that works takes, under valgrind too.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A child process; dropping it ends it, and what it has started.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(child.unwrap_or_else(|error| panic_of(command, &error)))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// The processor time that it has used, in the kernel and out of it. `None` where the
    /// system has no `/proc`.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.all().into_iter().map(cpu_of).sum()
    }

    /// The memory that it has in RAM, in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        self.all().into_iter().map(resident_of).sum()
    }

    /// Itself and its children, which are a server's workers.
    fn all(&self) -> Vec<u32> {
        let own = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        std::iter::once(own).chain(children).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};

            // A server's workers would outlive it.
            for pid in self.all().into_iter().skip(1) {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                if let Some(pid) = pid {
                    kill_process(pid, Signal::KILL).ok();
                }
            }
        }
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[expect(clippy::panic, reason = "a measurement may fail loudly")]
fn panic_of(command: &Command, error: &std::io::Error) -> ! {
    panic!("{command:?}: {error}")
}

fn cpu_of(pid: u32) -> Option<Duration> {
    let text = proc_file(pid, "stat")?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    // Linux counts in hundredths of a second to programs, on every machine.
    Some(Duration::from_millis(10) * (ticks(11)? + ticks(12)?))
}

fn resident_of(pid: u32) -> Option<u64> {
    let text = proc_file(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn proc_file(pid: u32, name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Thousands of streams are twice as many sockets to a proxy, which inherits our limit.
pub(crate) fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        const ENOUGH: u64 = 30_000;
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = |maximum: Option<u64>| Rlimit {
            current: Some(maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH))),
            maximum,
        };
        // Only root may raise the highest one.
        setrlimit(
            Resource::Nofile,
            limit(maximum.map(|maximum| maximum.max(ENOUGH))),
        )
        .or_else(|_| setrlimit(Resource::Nofile, limit(maximum)))
        .ok();
    }
}
