//! `hermesctl top`: current activity, in the terminal.

mod feed;
mod lists;
mod page;
mod rates;
mod scene;
mod table;
mod terminal;
pub(super) mod words;

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use chrono::{Local, TimeZone};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use self::feed::{Feed, FeedUpdate, look};
use self::scene::Scene;
use self::terminal::{KeyPress, Screen};
use super::args::TopFlags;
use super::connection::connect;
use super::output::{CommandFailure, CommandOutput, Exit};
use super::platform::interrupted;
use super::screen;
use super::text::Style;
use crate::control::in_flight::{InFlightQuery, InFlightReport};
use crate::control::protocol::Status;

/// How long to wait for a daemon that is gone; most come back after a restart.
const PATIENCE: Duration = Duration::from_secs(30);

/// The clock on the screen advances at this rate, whatever the daemon does.
const TICK: Duration = Duration::from_secs(1);

/// The result of a poll, as `hermesctl top --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TopOutput {
    /// Requests in flight, listed or not.
    in_flight: u64,
    /// Open connections on all listeners.
    connections: u64,
    #[serde(flatten)]
    flights: InFlightReport,
    #[serde(skip)]
    status: Status,
}

/// Shows the screen once, or until the user quits.
pub(super) async fn top(
    flags: TopFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let is_once = flags.once || output.is_json();
    if !is_once {
        can_be_painted()?;
    }
    // A screen shows at most one row per line.
    let lines = screen::size().and_then(|(lines, _)| u32::try_from(lines).ok());
    let query = InFlightQuery {
        most: lines.filter(|_| !is_once),
        newest: flags.newest,
    };
    let mut client = connect().await?;
    let now = look(&mut client, query).await?;
    if is_once {
        output.answer(&now, |now, style| text(now, &Local, style))?;
        return Ok(Exit::Ok);
    }
    let interval = Duration::from_secs(flags.interval);
    let feed = Feed::start(client, query, interval);
    let scene = Scene::new(now, (query.newest, interval), screen::style().is_coloured());
    Box::pin(show(feed, scene)).await
}

/// Checks that standard output is a terminal that can show the screen.
fn can_be_painted() -> Result<(), CommandFailure> {
    let message = if !screen::is_read_by_a_person() {
        "`hermesctl top` needs a terminal, and standard output is not one."
    } else if screen::size().is_none() {
        "`hermesctl top` needs a terminal that can move its cursor; this one shows text only (TERM=dumb) or has no size."
    } else {
        return Ok(());
    };
    Err(CommandFailure::new(message)
        .with_code(Exit::Usage, "no_terminal")
        .with_hint(
            "`hermesctl top --once` prints it once, `hermesctl top --json` as JSON for a script; \
             `hermesctl proxy status` shows the state of the proxy.",
        ))
}

async fn show(mut feed: Feed, mut scene: Scene) -> Result<Exit, CommandFailure> {
    let mut ended = pin!(interrupted());
    let mut resumed = platform::HeardSignal::resumed();
    let mut quit = platform::HeardSignal::quit();
    let mut screen = Screen::open()?;
    loop {
        scene.clock = Local::now().format("%H:%M:%S").to_string();
        screen.draw(|frame| page::paint(&mut scene, frame.area(), frame.buffer_mut()))?;
        feed.ask(scene.query());
        tokio::select! {
            biased;
            () = &mut ended => return Ok(Exit::Interrupted),
            () = quit.next() => return Ok(Exit::Interrupted),
            Some(key) = screen.key() => {
                match key {
                    KeyPress::Quit => return Ok(Exit::Ok),
                    KeyPress::Interrupt => return Ok(Exit::Interrupted),
                    KeyPress::Suspend => platform::suspend(&mut screen)?,
                    KeyPress::Repaint => screen.repaint()?,
                    KeyPress::Order => scene.turn(),
                    KeyPress::Scroll(rows) => scene.scroll(rows),
                    KeyPress::Top => scene.scroll(isize::MIN),
                    KeyPress::Defect => defect(),
                }
            }
            () = resumed.next() => platform::again(&mut screen)?,
            Some(news) = feed.next() => take(&mut scene, news)?,
            () = sleep(TICK) => {}
        }
    }
}

/// Applies the result of a poll.
///
/// # Errors
/// When the daemon is gone and does not come back.
fn take(scene: &mut Scene, news: FeedUpdate) -> Result<(), CommandFailure> {
    match news {
        Ok(now) => scene.see(*now),
        Err(failure) => {
            let is_gone = failure.exit == Exit::NotRunning;
            let since = scene.misses(failure.message(), is_gone);
            if is_gone && since.elapsed() >= PATIENCE {
                return Err(failure);
            }
        }
    }
    Ok(())
}

#[expect(clippy::panic, reason = "it is asked for")]
fn defect() {
    panic!("F12 was pressed in a debug build")
}

impl TopOutput {
    /// Combines the daemon's replies.
    pub(super) fn of(status: Status, flights: InFlightReport) -> Self {
        let listed = u64::try_from(flights.requests.len()).unwrap_or(u64::MAX);
        let listeners = status.listeners.iter();
        Self {
            in_flight: listed.saturating_add(flights.unlisted),
            connections: listeners.map(|listener| listener.connections).sum(),
            flights,
            status,
        }
    }
}

/// A single result as text.
pub(super) fn text<Z>(now: &TopOutput, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let time = now.flights.now.0.with_timezone(zone);
    let clock = time.format("%Y-%m-%d %H:%M:%S").to_string();
    page::text(&Scene::once(now.clone(), clock), style)
}

/// How much longer to wait for a daemon that has been gone since then.
fn patience_left(since: Instant) -> Duration {
    PATIENCE.saturating_sub(since.elapsed())
}

#[cfg(unix)]
mod platform {
    use std::io;

    use rustix::process::{Signal, getpid, kill_process};
    use tokio::signal::unix::{self, SignalKind};

    use super::terminal::Screen;

    /// Suspends hermesctl, as Ctrl-Z does, until it is resumed.
    pub(super) fn suspend(screen: &mut Screen) -> io::Result<()> {
        screen.beside(|| {
            kill_process(getpid(), Signal::TSTP).ok();
        })
    }

    /// Repaints: another program may have used the terminal.
    pub(super) fn again(screen: &mut Screen) -> io::Result<()> {
        screen.again()
    }

    /// Waits for a signal.
    pub(super) struct HeardSignal(Option<unix::Signal>);

    impl HeardSignal {
        /// hermesctl was stopped and resumed.
        pub(super) fn resumed() -> Self {
            let kind = SignalKind::from_raw(Signal::CONT.as_raw());
            Self(unix::signal(kind).ok())
        }

        /// Handled here because the default would leave the alternate screen on.
        pub(super) fn quit() -> Self {
            Self(unix::signal(SignalKind::quit()).ok())
        }

        pub(super) async fn next(&mut self) {
            if let Some(signal) = &mut self.0
                && signal.recv().await.is_some()
            {
                return;
            }
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;

    use super::terminal::Screen;

    /// Windows has no background jobs.
    pub(super) fn suspend(screen: &mut Screen) -> io::Result<()> {
        screen.repaint()
    }

    pub(super) fn again(screen: &mut Screen) -> io::Result<()> {
        screen.repaint()
    }

    pub(super) struct Heard;

    impl HeardSignal {
        pub(super) fn resumed() -> Self {
            Self
        }

        pub(super) fn quit() -> Self {
            Self
        }

        pub(super) async fn next(&mut self) {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests;
