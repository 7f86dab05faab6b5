//! `hermesctl auth login`: show the code or the page, wait, report the result.

use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use chrono::Local;
use serde_json::json;
use tokio::signal::ctrl_c;
use tokio::time::{Interval, interval, sleep};

use super::pastes::PastedLines;
use super::waiting::Waiting;
use super::{browser, code_screen, page_screen, render};
use crate::cli::args::LoginFlags;
use crate::cli::connection::DaemonConnection;
use crate::cli::output::{CommandFailure, CommandOutput, Exit};
use crate::cli::terminal::{StderrReader, say};
use crate::cli::text::Style;
use crate::control::client::{ClientError, ControlClient};
use crate::control::protocol::calls;
use crate::control::protocol::{
    ErrorCode, ExistingLogin, LoginBegin, LoginBegun, LoginCode, LoginDone, LoginPage, LoginPaste,
    LoginProgress, LoginSession, LoginWay,
};

/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(120);

/// How long hermesctl rests before it asks again, however fast the answer comes.
const PAUSE: Duration = Duration::from_millis(100);

/// Logs in, with one JSON object per line where a program reads.
pub(super) async fn login(
    flags: LoginFlags,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    output.in_lines();
    let mut connection = DaemonConnection::open(config).await?;
    let begin = LoginBegin {
        provider: flags.provider,
        separate: flags.separate,
        force: flags.force,
        way: if flags.browser {
            LoginWay::Browser
        } else {
            LoginWay::Any
        },
        label: flags.label,
    };
    let reader = StderrReader::of_process(output.is_json());
    let opens = !flags.no_browser && reader.room().is_some();
    let mut interrupts = Interrupts::new();
    let begun = tokio::select! {
        begun = connection.client.call(calls::LoginBegin(begin)) => begun,
        () = interrupts.next() => return cancelled(output),
    };
    let ended = match begun {
        Ok(LoginBegun::Existing(existing)) => Ok(LoginEnd::Existing(existing)),
        Ok(LoginBegun::Code(code)) => {
            show(&code, reader, output)?;
            if opens {
                let page = code.verification_uri_complete.as_ref();
                browser::show(page.unwrap_or(&code.verification_uri), code.trusted_uri);
            }
            let waiting = Waiting::new(reader, code.expires_in_seconds);
            let mut watch = Watch::new(code.session, waiting, interrupts);
            watch.end(&mut connection.client).await
        }
        Ok(LoginBegun::Page(page)) => {
            show_page(&page, reader, output)?;
            if opens {
                browser::show(&page.url, page.trusted_uri);
            }
            // A line that is drawn over and over would erase what the user pastes.
            let waiting = Waiting::new(reader.in_lines(), page.expires_in_seconds);
            let mut watch = Watch {
                pastes: Some(PastedLines::of_process()),
                ..Watch::new(page.session, waiting, interrupts)
            };
            watch.end(&mut connection.client).await
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(LoginEnd::Unknown) => Err(not_waited_for()),
        Ok(end) => {
            connection.close().await;
            tell(end, output)
        }
        Err(error) => Err(connection.explain(error).await),
    }
}

/// How a login ends that does not fail.
enum LoginEnd {
    Existing(ExistingLogin),
    Done(LoginDone),
    Cancelled,
    /// The user did not wait for it.
    Unknown,
}

fn tell(end: LoginEnd, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    match end {
        LoginEnd::Existing(existing) => {
            output.answer(&LoginBegun::Existing(existing), render::login_begun)?;
            Ok(Exit::Ok)
        }
        LoginEnd::Done(done) => {
            output.answer(&LoginProgress::Done(done), |done, style| {
                render::login_done(done, &Local, style)
            })?;
            Ok(Exit::Ok)
        }
        LoginEnd::Cancelled => cancelled(output),
        LoginEnd::Unknown => Err(not_waited_for()),
    }
}

fn not_waited_for() -> CommandFailure {
    CommandFailure::new("hermesctl ended before hermes-proxyd had cancelled the login.")
        .with_code(Exit::Interrupted, "interrupted")
        .with_hint("`hermesctl auth status` shows whether you are logged in.")
}

fn show(
    code: &LoginCode,
    reader: StderrReader,
    output: &mut CommandOutput,
) -> Result<(), CommandFailure> {
    match reader.room() {
        Some((room, style)) => say(&code_screen::screen(code, room, style)),
        None if reader == StderrReader::Pipe => say(&code_screen::plain(code)),
        None => {
            let code = LoginBegun::Code(code.clone());
            output.answer(&code, render::login_begun)?;
        }
    }
    Ok(())
}

fn show_page(
    page: &LoginPage,
    reader: StderrReader,
    output: &mut CommandOutput,
) -> Result<(), CommandFailure> {
    match reader.room() {
        Some((_, style)) => say(&page_screen::screen(page, style)),
        None if reader == StderrReader::Pipe => say(&page_screen::screen(page, Style::PLAIN)),
        None => {
            let page = LoginBegun::Page(page.clone());
            output.answer(&page, render::login_begun)?;
        }
    }
    Ok(())
}

fn cancelled(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    output.answer(&json!({"cancelled": {}}), |_, _| {
        render::LOGIN_CANCELLED.to_owned()
    })?;
    Ok(Exit::Interrupted)
}

/// Presses of Ctrl-C; none is lost between two looks.
struct Interrupts(Pin<Box<dyn Future<Output = io::Result<()>>>>);

impl Interrupts {
    fn new() -> Self {
        Self(Box::pin(ctrl_c()))
    }

    async fn next(&mut self) {
        if self.0.as_mut().await.is_err() {
            // Then Ctrl-C ends hermesctl as it ends any program.
            std::future::pending::<()>().await;
        }
        *self = Self::new();
    }
}

/// Looks after a login that waits for the user.
struct Watch {
    session: LoginSession,
    waiting: Waiting,
    ticks: Interval,
    interrupts: Interrupts,
    given_up: bool,
    /// What the user pastes, where there is a page.
    pastes: Option<PastedLines>,
}

impl Watch {
    fn new(session: u64, waiting: Waiting, interrupts: Interrupts) -> Self {
        Self {
            session: LoginSession { session },
            waiting,
            ticks: interval(TICK),
            interrupts,
            given_up: false,
            pastes: None,
        }
    }

    /// Asks until the login has ended. Ctrl-C gives it up, and once more does not wait for that.
    async fn end(&mut self, client: &mut ControlClient) -> Result<LoginEnd, ClientError> {
        loop {
            match self.ask(client).await? {
                None => return Ok(LoginEnd::Unknown),
                Some(LoginProgress::Done(done)) => return Ok(LoginEnd::Done(done)),
                Some(LoginProgress::Pending(_)) if self.given_up => {
                    return give_up(client, self.session).await;
                }
                Some(LoginProgress::Pending(pending)) => {
                    self.waiting.news(pending.expires_in_seconds, pending.note);
                    self.paste(client).await?;
                }
            }
        }
    }

    /// Passes on what was pasted. A text that does not answer the login is reported, and the login
    /// continues.
    async fn paste(&mut self, client: &mut ControlClient) -> Result<(), ClientError> {
        let Some(text) = self.pastes.as_mut().and_then(PastedLines::next) else {
            return Ok(());
        };
        let session = self.session.session;
        match client
            .call(calls::LoginPaste(LoginPaste { session, text }))
            .await
        {
            Ok(_) => self.waiting.say("Got it. Logging in …"),
            Err(ClientError::Daemon(error)) if error.code == ErrorCode::LoginPasteRefused => {
                self.waiting.say(&error.message);
            }
            // The login was faster; the next question shows how it ended.
            Err(ClientError::Daemon(error)) if error.code == ErrorCode::NoSuchSession => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Asks once, and draws the line meanwhile. The answer is awaited even after Ctrl-C, as the
    /// login may be done; `None` after a second one.
    async fn ask(
        &mut self,
        client: &mut ControlClient,
    ) -> Result<Option<LoginProgress>, ClientError> {
        let mut asked = pin!(async {
            sleep(PAUSE).await;
            client.call(calls::LoginWait(self.session)).await
        });
        loop {
            tokio::select! {
                progress = &mut asked => return progress.map(Some),
                () = self.interrupts.next() => {
                    if self.given_up {
                        return Ok(None);
                    }
                    self.given_up = true;
                    self.waiting.cancelling();
                }
                _ = self.ticks.tick(), if !self.given_up => self.waiting.tick(),
            }
        }
    }
}

/// Cancels, unless the login was faster.
async fn give_up(
    client: &mut ControlClient,
    session: LoginSession,
) -> Result<LoginEnd, ClientError> {
    let Err(error) = client.call(calls::LoginCancel(session)).await else {
        return Ok(LoginEnd::Cancelled);
    };
    match client.call(calls::LoginWait(session)).await {
        Ok(LoginProgress::Done(done)) => Ok(LoginEnd::Done(done)),
        Err(ClientError::Daemon(end)) if end.code == ErrorCode::NoSuchSession => {
            Ok(LoginEnd::Cancelled)
        }
        Ok(LoginProgress::Pending(_)) | Err(_) => Err(error),
    }
}
