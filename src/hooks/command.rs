//! A hook that is a program: it gets the notice on its standard input, and is killed at its limit.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::files::FileWorker;

/// As much of what a program says is logged.
const LONGEST_SAYING: u64 = 200;
/// After a program's end, its output is still read for this long.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// A killed program is gone within this time.
const DEATH: Duration = Duration::from_secs(1);
/// The variables that the service manager sets for us alone.
const OURS: [&str; 4] = [
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Why a program did not get the notice.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandFault {
    /// There is no such program.
    #[error(
        "the program {0:?} was not found; write its full path, and each argument as a separate string"
    )]
    Missing(String),
    /// It can't be run.
    #[error("{0:?} can't be run: {1}")]
    Start(String, io::Error),
    /// It says that it failed.
    #[error(
        "{0:?} ended with {1}; run it by hand to see why, or set `log.level` to \"debug\" to see \
         its output in the log"
    )]
    Failed(String, ExitStatus),
    /// It took too long.
    #[error(
        "{0:?} did not finish within {1:?} and was killed; fix it, or raise the hook's `timeout`"
    )]
    TooLong(String, Duration),
}

/// A running program. Dropping it kills its whole process group.
#[derive(Debug)]
struct ProcessGroup(Child);

impl ProcessGroup {
    fn kill(&mut self) {
        // The id exists only until its end was seen, so it can't belong to another process.
        #[cfg(unix)]
        if let Some(pid) = self
            .0
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
        }
        self.0.start_kill().ok();
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program with `json` on its standard input, for `limit` at most. It is started off the serving threads.
///
/// # Errors
/// [`CommandFault`] says what to do about it.
pub(super) async fn run(
    launcher: &FileWorker,
    line: &[String],
    json: &str,
    hidden: &[String],
    limit: Duration,
) -> Result<(), CommandFault> {
    let Some((program, arguments)) = line.split_first() else {
        return Err(CommandFault::Missing(String::new()));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let (hidden, heard) = (hidden.to_owned(), tracing::enabled!(tracing::Level::DEBUG));
    // The program's file system may hang.
    let start = launcher.run(move || {
        surround(&mut command, &hidden, heard);
        command.spawn().map(ProcessGroup)
    });
    let end = Instant::now() + limit;
    let Ok(started) = timeout_at(end, start).await else {
        return Err(CommandFault::TooLong(program.clone(), limit));
    };
    let mut child = started.and_then(|started| started).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return CommandFault::Missing(program.clone());
        }
        CommandFault::Start(program.clone(), error)
    })?;
    tokio::select! {
        status = attend(&mut child.0, json) => match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CommandFault::Failed(program.clone(), status)),
            Err(error) => Err(CommandFault::Start(program.clone(), error)),
        },
        () = sleep_until(end) => {
            child.kill();
            timeout(DEATH, child.0.wait()).await.ok();
            Err(CommandFault::TooLong(program.clone(), limit))
        }
    }
}

/// The program's environment. If it is `heard`, its output is logged.
fn surround(command: &mut Command, hidden: &[String], heard: bool) {
    for name in OURS.into_iter().chain(hidden.iter().map(String::as_str)) {
        command.env_remove(name);
    }
    let home = std::env::home_dir().filter(|home| home.is_dir());
    command.current_dir(home.unwrap_or_else(|| "/".into()));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(if heard { Stdio::piped() } else { Stdio::null() })
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(windows)]
    {
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        command.creation_flags(CREATE_NO_WINDOW);
    }
}

/// Feeds the program and waits for its end; its children in the background may continue.
async fn attend(child: &mut Child, json: &str) -> io::Result<ExitStatus> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let mut said = Vec::new();
    let status = {
        let feed = async {
            if let Some(mut stdin) = stdin {
                let line = format!("{json}\n");
                // A program need not read it.
                stdin.write_all(line.as_bytes()).await.ok();
            }
        };
        let hear = async {
            if let Some(mut stderr) = stderr {
                let mut start = (&mut stderr).take(LONGEST_SAYING);
                start.read_to_end(&mut said).await.ok();
                tokio::io::copy(&mut stderr, &mut tokio::io::sink())
                    .await
                    .ok();
            }
        };
        let mut talk = std::pin::pin!(async { tokio::join!(feed, hear) });
        let mut end = std::pin::pin!(child.wait());
        tokio::select! {
            status = &mut end => {
                timeout(LAST_WORDS, talk).await.ok();
                status
            }
            _ = &mut talk => end.await,
        }
    };
    if !said.is_empty() {
        let said = String::from_utf8_lossy(&said);
        tracing::debug!(said = said.trim_end(), "output of a hook's program");
    }
    status
}
