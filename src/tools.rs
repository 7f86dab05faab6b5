//! Programs of the system, and our own daemon, run for their output: `systemctl`, `journalctl`,
//! `launchctl`, `schtasks`, `hermes-proxyd --check`.
//!
//! Every run has a limit: [`LIMIT`] unless [`ProgramCall::within`] says otherwise, counted from the start to
//! the program's end, or, if it is read line by line ([`ProgramCall::stream`]), the silence before its next
//! line. Then the program is killed. [`CAP`] bytes of each output stream are kept, and the rest is
//! read and discarded. Its input is empty and its language English.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// A program that is given no other limit ends within this time.
pub const LIMIT: Duration = Duration::from_secs(20);

/// So much is kept of what a program writes to one stream, in bytes. The longest answer that is read
/// here, 200 entries of a journal as JSON, takes a tenth.
pub const CAP: u64 = 4 * 1024 * 1024;

/// A program, its arguments, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramCall {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
    limit: Duration,
}

/// What the program said, whatever its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramOutput {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The first [`CAP`] bytes of its standard output.
    pub said: String,
    /// The first [`CAP`] bytes of its standard error.
    pub complained: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It can't be started.
    #[error("{program} can't be run for `{line}`: {source}")]
    Start {
        /// The program, by its name or its path.
        program: String,
        /// What was to be run.
        line: String,
        /// Why.
        source: io::Error,
    },
    /// What it says can't be read.
    #[error("the output of `{line}` can't be read: {source}")]
    Read {
        /// What was run.
        line: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long, and was killed.
    #[error("`{line}` did not end within {seconds} seconds")]
    TooLong {
        /// What was run.
        line: String,
        /// Its time limit.
        seconds: u64,
    },
    /// Its next line took too long, and it was killed.
    #[error("`{line}` printed nothing for {seconds} seconds")]
    Silent {
        /// What was run.
        line: String,
        /// How long its next line was waited for.
        seconds: u64,
    },
    /// It failed, as it said itself on our standard error.
    #[error("`{line}` failed ({status})")]
    Failed {
        /// What was run.
        line: String,
        /// How it ended.
        status: ExitStatus,
    },
}

impl ToolError {
    /// How to fix it.
    pub fn hint(&self) -> String {
        match self {
            Self::Start {
                program, source, ..
            } if source.kind() == io::ErrorKind::NotFound => {
                format!("Install {program}, or add its folder to PATH.")
            }
            Self::Start { line, .. } | Self::Read { line, .. } | Self::Failed { line, .. } => {
                format!("Run `{line}` to see what is missing.")
            }
            Self::TooLong { line, .. } | Self::Silent { line, .. } => {
                format!("Run `{line}` to see what it waits for.")
            }
        }
    }

    /// Whether there is no such program.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl ProgramCall {
    /// Of a program, by its name or its path, with [`LIMIT`].
    pub fn new<T: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = T>,
    ) -> Self {
        let arguments = arguments.into_iter();
        Self {
            program: program.as_ref().to_owned(),
            arguments: arguments
                .map(|argument| argument.as_ref().to_owned())
                .collect(),
            variables: Vec::new(),
            limit: LIMIT,
        }
    }

    /// The same with another time limit.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The same with these variables added to our own.
    #[must_use]
    pub fn with_variables(self, variables: &[(&'static str, String)]) -> Self {
        Self {
            variables: variables.to_owned(),
            ..self
        }
    }

    /// As a person would type it.
    pub fn line(&self) -> String {
        let words = [&self.program].into_iter().chain(&self.arguments);
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Errors
    /// [`ToolError::Start`], [`ToolError::Read`], or [`ToolError::TooLong`] at the limit.
    pub async fn run(&self) -> Result<ProgramOutput, ToolError> {
        let mut child = self.spawn(Stdio::piped())?;
        let ended = timeout(self.limit, attend(&mut child)).await;
        let ended = ended.map_err(|_| ToolError::TooLong {
            line: self.line(),
            seconds: self.limit.as_secs(),
        })?;
        ended.map_err(|source| ToolError::Read {
            line: self.line(),
            source,
        })
    }

    /// What it says when it succeeds; `None` when it is not there, fails or takes too long.
    pub async fn success(&self) -> Option<String> {
        let answer = self.run().await.ok()?;
        answer.ok.then_some(answer.said)
    }

    /// All that it says, complaints too, or a line on why it says nothing.
    pub async fn words(&self) -> String {
        match self.run().await {
            Ok(answer) => answer.said + &answer.complained,
            Err(error) => format!("{error}\n"),
        }
    }

    /// Starts it to be read while it runs. Its complaints go to our standard error.
    ///
    /// # Errors
    /// [`ToolError::Start`].
    pub fn stream(&self) -> Result<ProgramStream, ToolError> {
        let mut child = self.spawn(Stdio::inherit())?;
        Ok(ProgramStream {
            said: child.stdout.take().map(BufReader::new),
            child,
            line: self.line(),
            limit: self.limit,
        })
    }

    fn spawn(&self, complaints: Stdio) -> Result<Child, ToolError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .kill_on_drop(true);
        command.spawn().map_err(|source| ToolError::Start {
            program: self.program.to_string_lossy().into_owned(),
            line: self.line(),
            source,
        })
    }
}

/// A program that is read while it runs. Dropping it kills it.
#[derive(Debug)]
pub struct ProgramStream {
    child: Child,
    said: Option<BufReader<ChildStdout>>,
    line: String,
    limit: Duration,
}

impl ProgramStream {
    /// Adds the next line to `line`, with its end. How many bytes came; 0 after the last one, once the
    /// program has ended well.
    ///
    /// # Errors
    /// [`ToolError::Silent`] at the limit, unless it `waits` for what may never come;
    /// [`ToolError::Failed`] when the program ended with a failure; [`ToolError::Read`].
    pub async fn read_line(&mut self, line: &mut Vec<u8>, waits: bool) -> Result<usize, ToolError> {
        use tokio::io::AsyncBufReadExt;

        let Some(said) = &mut self.said else {
            return Ok(0);
        };
        let read = async {
            let count = said.read_until(b'\n', line).await?;
            let ended = if count == 0 {
                Some(self.child.wait().await?)
            } else {
                None
            };
            Ok((count, ended))
        };
        let read = if waits {
            Ok(read.await)
        } else {
            timeout(self.limit, read).await
        };
        let read = read.map_err(|_| ToolError::Silent {
            line: self.line.clone(),
            seconds: self.limit.as_secs(),
        })?;
        let (count, ended) = read.map_err(|source| ToolError::Read {
            line: self.line.clone(),
            source,
        })?;
        match ended {
            Some(status) if !status.success() => Err(ToolError::Failed {
                line: self.line.clone(),
                status,
            }),
            Some(_) | None => Ok(count),
        }
    }
}

/// Hears the program out and waits for its end.
async fn attend(child: &mut Child) -> io::Result<ProgramOutput> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (said, complained) = tokio::try_join!(hear(stdout), hear(stderr))?;
    let status = child.wait().await?;
    Ok(ProgramOutput {
        ok: status.success(),
        code: status.code(),
        said,
        complained,
    })
}

/// What comes, up to the cap; the rest is read, so that the program can end.
async fn hear(stream: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut stream) = stream else {
        return Ok(String::new());
    };
    let mut heard = Vec::new();
    (&mut stream).take(CAP).read_to_end(&mut heard).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&heard).into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn shell(script: &str) -> ProgramCall {
        ProgramCall::new("sh", ["-c", script])
    }

    #[tokio::test]
    async fn both_streams_and_the_end_are_told() {
        let answer = shell("echo $LC_ALL $MORE; echo why >&2; exit 3")
            .with_variables(&[("MORE", "more".to_owned())])
            .run()
            .await
            .unwrap();
        let expected = ProgramOutput {
            ok: false,
            code: Some(3),
            said: "C more\n".to_owned(),
            complained: "why\n".to_owned(),
        };
        assert_eq!(answer, expected);
    }

    #[tokio::test]
    async fn what_hangs_is_killed_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        // The shell becomes the sleeper, so its number is the one that must be gone.
        let script = format!("echo $$ > {}; exec sleep 60", note.display());
        let started = Instant::now();
        let error = shell(&script)
            .within(Duration::from_millis(500))
            .run()
            .await;
        let error = error.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(matches!(error, ToolError::TooLong { .. }), "{error}");
        assert!(error.hint().contains("`sh -c echo"), "{}", error.hint());
        let pid = std::fs::read_to_string(note).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while rustix::process::test_kill_process(pid).is_ok() {
            assert!(Instant::now() < deadline, "it lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_flood_is_cut_and_read_to_its_end() {
        let bytes = 3 * CAP;
        let answer = shell(&format!("head -c {bytes} /dev/zero; echo done >&2"))
            .run()
            .await
            .unwrap();
        assert_eq!(answer.said.len() as u64, CAP);
        assert_eq!(answer.complained, "done\n");
    }

    #[tokio::test]
    async fn what_is_not_there_is_named_with_what_mends_it() {
        let error = ProgramCall::new("no-such-tool-1", ["show"])
            .run()
            .await
            .unwrap_err();
        assert!(error.is_absence());
        let said = error.to_string();
        assert!(said.starts_with("no-such-tool-1 can't be run for `no-such-tool-1 show`: "));
        let mends = "Install no-such-tool-1, or add its folder to PATH.";
        assert_eq!(error.hint(), mends);
    }

    #[tokio::test]
    async fn a_stream_ends_in_order_in_silence_or_with_a_failure() {
        let mut line = Vec::new();
        let mut stream = shell("echo one; echo two").stream().unwrap();
        while stream.read_line(&mut line, false).await.unwrap() > 0 {}
        assert_eq!(line, b"one\ntwo\n");

        let silent = shell("echo one; exec sleep 60").within(Duration::from_millis(500));
        let mut stream = silent.stream().unwrap();
        assert_eq!(stream.read_line(&mut line, false).await.unwrap(), 4);
        let error = stream.read_line(&mut line, false).await.unwrap_err();
        assert!(matches!(error, ToolError::Silent { .. }), "{error}");

        // One that hides its end is not better.
        let silent = shell("exec 1>&-; exec sleep 60").within(Duration::from_millis(500));
        let error = silent.stream().unwrap().read_line(&mut line, false).await;
        assert!(matches!(error, Err(ToolError::Silent { .. })), "{error:?}");

        let mut stream = shell("exit 3").stream().unwrap();
        let error = stream.read_line(&mut line, true).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
