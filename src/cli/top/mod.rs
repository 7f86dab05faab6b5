//! `hermesctl top`: current activity, in the terminal.

mod feed;
mod lists;
mod look;
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
use tokio::time::sleep;

use self::feed::{Feed, FeedUpdate, look};
pub(super) use self::look::TopOutput;
use self::scene::{PATIENCE, Scene};
use self::terminal::{KeyPress, Screen};
use super::args::TopFlags;
use super::connection::connect;
use super::output::{CommandFailure, CommandOutput, Exit};
use super::platform::{HeardSignal, interrupted, stop_here};
use super::screen;
use super::text::Style;
use crate::control::in_flight::InFlightQuery;

/// The clock on the screen advances at this rate, whatever the daemon does.
const TICK: Duration = Duration::from_secs(1);

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
    let scene = Scene::new(now, query.newest, interval, screen::style().is_coloured());
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
    let mut resumed = HeardSignal::resumed();
    let mut quit = HeardSignal::quit();
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
                    KeyPress::Suspend => screen.beside(stop_here)?,
                    KeyPress::Repaint => screen.repaint()?,
                    KeyPress::Order => scene.turn(),
                    KeyPress::Scroll(rows) => scene.scroll(rows),
                    KeyPress::Top => scene.scroll(isize::MIN),
                    KeyPress::Defect => defect(),
                }
            }
            // Another program may have painted meanwhile.
            () = resumed.next() => screen.again()?,
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

#[cfg(test)]
mod tests;
