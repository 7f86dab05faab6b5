//! hermesctl's output and its end.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};

use crate::causes::with_causes;
use crate::control::client::ClientError;
use crate::control::human::spelled_json;
use crate::control::protocol::{
    ControlError, ErrorCode, Finding, FindingCode, ProviderStatus, Severity,
};
use crate::tools::ToolError;

use super::screen;
use super::text::{Style, TextTone, printable};

/// `EX_CONFIG` of `sysexits.h`, of hermesctl and hermes-proxyd.
const EXIT_CONFIG: u8 = 78;

/// The code of a daemon that lives and is not found.
const UNREACHABLE: &str = "unreachable";

/// How hermesctl ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It worked.
    Ok,
    /// It failed.
    Failed,
    /// hermes-proxyd is not running.
    NotRunning,
    /// The default provider needs a login.
    LoginNeeded,
    /// The command line is wrong.
    Usage,
    /// The configuration is invalid.
    InvalidConfig,
    /// Ctrl-C ended it.
    Interrupted,
    /// As another program decided: the one that runs in hermesctl's place, or the argument parser.
    Passed(u8),
}

impl Exit {
    /// After a look at a daemon in which this was found.
    pub(super) fn after(findings: &[Finding], providers: &[ProviderStatus]) -> Self {
        let default = providers.iter().find(|one| one.default);
        let default = default.map(|one| one.name.as_str());
        let found = |code: FindingCode| {
            let mut findings = findings.iter();
            findings.any(|one| one.code == code && one.provider.as_deref() == default)
        };
        if found(FindingCode::LoginNeeded) {
            return Self::LoginNeeded;
        }
        let is_bad = |one: &Finding| one.severity == Severity::Bad;
        // A copy of it may still serve.
        if found(FindingCode::StoreUnreadable) || findings.iter().any(is_bad) {
            return Self::Failed;
        }
        Self::Ok
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            // As clap has it.
            Exit::Usage => 2,
            // As `systemctl status` has it.
            Exit::NotRunning => 3,
            // As `gh` has it.
            Exit::LoginNeeded => 4,
            Exit::InvalidConfig => EXIT_CONFIG,
            // 128 and the number of SIGINT, as shells have it.
            Exit::Interrupted => 130,
            Exit::Passed(code) => code,
        })
    }
}

/// Why a command did not work, for people and for programs.
#[derive(Debug)]
pub(super) struct CommandFailure {
    /// What hermesctl ends with.
    pub(super) exit: Exit,
    code: String,
    message: String,
    hint: Option<String>,
    /// The JSON form where it is not the usual one.
    json: Option<Box<Value>>,
    /// Whether stdout is gone, so that the rest is not wanted.
    reader_left: bool,
}

impl CommandFailure {
    /// A daemon lives, and its socket is elsewhere.
    pub(super) fn unreachable(address: &Path, pid: u32) -> Self {
        let message = format!(
            "hermes-proxyd is running (process {pid}), but nothing listens at {}.",
            address.display()
        );
        Self::new(message)
            .with_code(Exit::Failed, UNREACHABLE)
            .with_hint(format!(
                "Set the same XDG_RUNTIME_DIR here as for that process. If its folder was \
                 removed, `kill -HUP {pid}` recreates the socket. Don't start a second \
                 hermes-proxyd: both would use the same logins."
            ))
    }

    /// Whether it is that one.
    pub(super) fn is_unreachable(&self) -> bool {
        self.code == UNREACHABLE
    }

    /// A failure that no program needs to tell from others.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            code: "failed".into(),
            message: message.into(),
            hint: None,
            json: None,
            reader_left: false,
        }
    }

    /// A failure in the words of an error and of what caused it.
    pub(super) fn of_error(error: &dyn std::error::Error) -> Self {
        Self::new(capital(&ended(with_causes(error))))
    }

    /// Whether it has this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// The same with how to fix it.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same with one more sentence on how to fix it.
    pub(super) fn with_more_hint(self, more: &str) -> Self {
        let hint = self
            .hint
            .as_deref()
            .map(|hint| ended(hint.to_owned()) + " ");
        Self {
            hint: Some(hint.unwrap_or_default() + more),
            ..self
        }
    }

    /// The same with another JSON form.
    pub(super) fn with_json(self, json: Value) -> Self {
        Self {
            json: Some(Box::new(json)),
            ..self
        }
    }

    /// What a hermes-proxyd of our own said before it ended with this code.
    pub(super) fn of_daemon(code: Option<i32>, said: &str) -> Self {
        let failure = Self::new(ended(said.to_owned()));
        if code == Some(i32::from(EXIT_CONFIG)) {
            failure.with_code(Exit::InvalidConfig, "config_invalid")
        } else {
            failure
        }
    }

    /// The same with another end, and the code that a program branches on. An invalid
    /// configuration without a hint is given one.
    pub(super) fn with_code(self, exit: Exit, code: &str) -> Self {
        let invalid = exit == Exit::InvalidConfig;
        let check = "Correct it, then run `hermesctl config check`.";
        Self {
            exit,
            code: code.into(),
            hint: self.hint.or_else(|| invalid.then(|| check.to_owned())),
            ..self
        }
    }

    /// What a person reads.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The message and how to fix it.
    pub(super) fn to_text(&self, style: Style) -> String {
        let name = style.paint(TextTone::Bad, "hermesctl:");
        let message = style.prose(&format!("{name} {}", printable(&self.message)));
        let hint = self.hint.as_deref().map(printable);
        message + &hint.map(|hint| style.prose(&hint)).unwrap_or_default()
    }

    /// What a program reads.
    pub(super) fn to_json(&self) -> Value {
        if let Some(json) = &self.json {
            return Value::clone(json);
        }
        json!({"error": {"code": self.code, "message": self.message, "hint": self.hint}})
    }
}

impl From<io::Error> for CommandFailure {
    fn from(error: io::Error) -> Self {
        Self {
            reader_left: error.kind() == ErrorKind::BrokenPipe,
            ..Self::new(format!("The output can't be written: {error}."))
        }
    }
}

impl From<ToolError> for CommandFailure {
    fn from(error: ToolError) -> Self {
        let hint = error.hint();
        Self::of_error(&error)
            .with_code(Exit::Failed, "tool_failed")
            .with_hint(hint)
    }
}

impl From<ClientError> for CommandFailure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(ended(with_causes(&error)));
        match error {
            ClientError::NotRunning { .. } => failure
                .with_code(Exit::NotRunning, "not_running")
                .with_hint(
                    "Start it with `hermesctl service start` if it is installed as a service, \
                     otherwise with `hermesctl proxy start`; `hermesctl setup` sets everything \
                     up.",
                ),
            ClientError::NoPermission { .. } => failure
                .with_code(Exit::Failed, "no_permission")
                .with_hint("Run hermesctl as the user that runs hermes-proxyd."),
            ClientError::Elsewhere { .. } => failure
                .with_code(Exit::Failed, UNREACHABLE)
                .with_hint("Run hermesctl there, such as with `kubectl exec`."),
            ClientError::ProtocolMismatch { .. } => failure
                .with_code(Exit::Failed, "protocol_mismatch")
                .with_hint(
                    "If hermes-proxyd was updated, restart it (`hermesctl service restart` if it \
                     is a service); otherwise update it.",
                ),
            ClientError::Daemon(error) => refused(error),
            ClientError::Timeout { pid, .. } => {
                let failure = failure.with_code(Exit::Failed, "timeout");
                let Some(pid) = pid else {
                    return failure.with_hint("Try again; `hermesctl doctor` shows what hangs.");
                };
                failure.with_hint(format!(
                    "Try again; if it still does not answer, run `hermesctl service restart` if it \
                     is a service, otherwise `kill {pid}` (`kill -9 {pid}` if it keeps running) \
                     and `hermesctl proxy start`."
                ))
            }
            ClientError::Broken(_) | ClientError::Confused(_) => failure
                .with_code(Exit::Failed, "broken")
                .with_hint("Try again; if it happens again, `hermesctl logs` may show why."),
        }
    }
}

fn refused(error: ControlError) -> CommandFailure {
    let exit = if error.code == ErrorCode::ConfigInvalid {
        Exit::InvalidConfig
    } else {
        Exit::Failed
    };
    let code = serde_json::to_value(&error.code).ok();
    let code = code.as_ref().and_then(Value::as_str).unwrap_or("failed");
    let failure = CommandFailure::new(error.message);
    let failure = CommandFailure {
        hint: error.hint,
        ..failure
    };
    failure.with_code(exit, code)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

fn ended(text: String) -> String {
    if text.ends_with('.') {
        text
    } else {
        text + "."
    }
}

/// Where a command's answer goes.
#[derive(Debug)]
pub(super) struct CommandOutput {
    json: bool,
    /// Whether each JSON value takes one line, because several come.
    lines: bool,
    style: Style,
}

impl CommandOutput {
    /// The process's stdout: coloured where a person looks and does not mind.
    pub(super) fn of_process(json: bool) -> Self {
        let style = screen::style();
        let lines = false;
        Self { json, lines, style }
    }

    /// Whether a program reads.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// From now on each JSON value takes one line.
    pub(super) fn in_lines(&mut self) {
        self.lines = true;
    }

    /// Prints the result of `render` for a person; a program gets nothing.
    pub(super) fn tell(&self, render: impl FnOnce(Style) -> String) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        write_out(&render(self.style))
    }

    /// Writes the answer: as JSON, or as the text that `render` makes of it.
    pub(super) fn answer<T: Serialize>(
        &mut self,
        data: &T,
        render: impl FnOnce(&T, Style) -> String,
    ) -> io::Result<()> {
        if self.json {
            self.write_json(data)
        } else {
            write_out(&render(data, self.style))
        }
    }

    /// Tells why the command failed, if it did, and how hermesctl ends.
    pub(super) fn finish(&mut self, result: Result<Exit, CommandFailure>) -> Exit {
        let failure = match result {
            Ok(exit) => return exit,
            Err(failure) if failure.reader_left => return Exit::Ok,
            Err(failure) => failure,
        };
        complain(&failure);
        self.tell_program(&failure);
        failure.exit
    }

    /// Tells a failure to a program, if one reads.
    pub(super) fn tell_program(&self, failure: &CommandFailure) {
        if self.json {
            // The exit code tells the failure to those who don't read.
            let _written = self.write_json(&failure.to_json());
        }
    }

    fn write_json<T: Serialize>(&self, data: &T) -> io::Result<()> {
        let text = if self.lines {
            serde_json::to_string(data)
        } else {
            serde_json::to_string_pretty(data)
        };
        write_out(&(spelled_json(text.map_err(io::Error::from)?) + "\n"))
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn complain(failure: &CommandFailure) {
    let text = failure.to_text(screen::error_style());
    // There is no other place to report a failed write.
    let _said = io::stderr().lock().write_all(text.as_bytes());
}
