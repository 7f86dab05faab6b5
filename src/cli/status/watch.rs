//! `hermesctl proxy status --watch`: the home screen, again and again, also while the daemon restarts.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use chrono::Local;
use serde_json::Value;
use tokio::time::sleep;

use super::look::look;
use super::render;
use super::view::Home;
use crate::cli::output::{CommandFailure, CommandOutput, Exit};
use crate::cli::platform::interrupted;
use crate::cli::screen;
use crate::cli::text::{self, Style, TextTone};

/// Another screen, where nothing scrolls, without a cursor and without broken lines.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
/// What was there before.
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

/// Shows it every so many seconds until Ctrl-C.
pub(super) async fn watch(
    seconds: u64,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let pause = Duration::from_secs(seconds);
    let mut ended = pin!(interrupted());
    let mut canvas = if output.is_json() || screen::size().is_none() {
        None
    } else {
        Some(Canvas::open()?)
    };
    output.in_lines();
    let mut first = true;
    let mut told = Value::Null;
    loop {
        let home = tokio::select! {
            home = look() => home.unwrap_or_else(|failure| Home::unknown(&failure)),
            () = &mut ended => return Ok(Exit::Interrupted),
        };
        match &mut canvas {
            Some(canvas) => canvas.show(&home, seconds)?,
            None if output.is_json() => {
                let now = timeless(&home);
                if now != told {
                    output.answer(&home, |_, _| String::new())?;
                    told = now;
                }
            }
            None => block(&home, first, output)?,
        }
        first = false;
        tokio::select! {
            () = sleep(pause) => {}
            () = &mut ended => return Ok(Exit::Interrupted),
        }
    }
}

/// What of it changes by more than that time goes by.
fn timeless(home: &Home) -> Value {
    let mut value = serde_json::to_value(home).unwrap_or_default();
    // They are made of all the rest, and may have a relative time in them.
    if home.running
        && let Some(verdict) = value.get_mut("verdict").and_then(Value::as_object_mut)
    {
        verdict.remove("message");
    }
    let findings = value.get_mut("findings").and_then(Value::as_array_mut);
    for finding in findings.into_iter().flatten() {
        finding
            .as_object_mut()
            .map(|finding| finding.remove("text"));
    }
    without_clock(&mut value);
    value
}

fn without_clock(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, _| {
                let goes_on = key == "now" || key == "uptime_seconds";
                !goes_on && !key.ends_with("_in_seconds")
            });
            object.values_mut().for_each(without_clock);
        }
        Value::Array(items) => items.iter_mut().for_each(without_clock),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// In a pipe: blocks with an empty line between them.
fn block(home: &Home, first: bool, output: &mut CommandOutput) -> io::Result<()> {
    output.answer(home, |home, style| {
        let text = render::home(home, &Local, style);
        if first { text } else { format!("\n{text}") }
    })
}

/// A terminal's other screen. Dropping it brings the first one back.
struct Canvas;

impl Canvas {
    fn open() -> io::Result<Self> {
        // Made before it is entered, so that it is left in any case.
        let canvas = Self;
        write(ENTER)?;
        Ok(canvas)
    }

    #[expect(clippy::unused_self, reason = "only an open one can be painted")]
    fn show(&mut self, home: &Home, seconds: u64) -> io::Result<()> {
        let style = screen::style();
        let (rows, columns) = screen::size().unwrap_or((24, 80));
        let text = render::home(home, &Local, style);
        let now = Local::now().format("%H:%M:%S").to_string();
        let foot = render::foot(&now, seconds);
        write(&frame(&text, &foot, rows, columns, style))
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        // There is no other place to report a failed write.
        write(LEAVE).ok();
    }
}

/// The screen's content: as much of the text as there is room for, and the foot.
fn frame(text: &str, foot: &str, rows: usize, columns: usize, style: Style) -> String {
    let mut frame = String::from("\u{1b}[H");
    let room = rows.saturating_sub(2);
    let lines = text.lines().count();
    let shown = if lines > room {
        room.saturating_sub(1)
    } else {
        lines
    };
    for line in text.lines().take(shown) {
        frame += &text::cut(line, columns);
        // The rest of the line is what was there before.
        frame += "\u{1b}[0m\u{1b}[K\r\n";
    }
    if shown < lines {
        frame += "…\u{1b}[K\r\n";
    }
    frame += "\u{1b}[K\r\n";
    frame += &style.paint(TextTone::Label, &text::cut(foot, columns));
    frame += "\u{1b}[J";
    frame
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shown::samples;

    #[test]
    fn time_alone_is_no_news_to_a_program() {
        let status = samples::status_with_login;
        let home = |change: &dyn Fn(&mut crate::control::protocol::Status)| {
            let mut status = status();
            change(&mut status);
            timeless(&Home::of(Some(status), None))
        };
        let first = home(&|_| {});
        let later = home(&|status| {
            status.now = status.daemon.started_at;
            status.daemon.uptime_seconds += 60;
            for one in &mut status.providers {
                one.expires_in_seconds = Some(1);
                one.next_refresh_in_seconds = Some(2);
                if let Some(login) = &mut one.login {
                    login.ends_in_seconds = Some(3);
                }
            }
        });
        assert_eq!(first, later);
        assert_ne!(
            first,
            home(&|status| status.providers[0].requests.served += 1)
        );
        assert_ne!(first, home(&|status| status.listeners.clear()));
        assert_ne!(first, timeless(&Home::of(None, None)));
    }

    #[test]
    fn a_frame_has_room_on_the_screen_and_leaves_nothing_of_the_one_before() {
        let text = "one\ntwo\nthree\nfour\n";
        let whole = frame(text, "foot", 6, 80, Style::PLAIN);
        assert_eq!(whole.matches("\r\n").count(), 5);
        assert!(whole.contains("four\u{1b}[0m\u{1b}[K") && whole.ends_with("foot\u{1b}[J"));
        let cut = frame(text, "foot", 5, 80, Style::PLAIN);
        assert_eq!(cut.matches("\r\n").count(), 4);
        assert!(cut.contains("two") && !cut.contains("three") && cut.contains('…'));
        assert!(frame(text, "foot", 0, 80, Style::PLAIN).ends_with("foot\u{1b}[J"));
    }

    #[test]
    fn a_line_that_is_too_long_ends_in_an_ellipsis() {
        let text = "config      /home/user/.config/hermes-proxyd/config.toml\n";
        let cut = frame(text, "foot", 6, 20, Style::PLAIN);
        assert!(cut.contains("config      /home/u…"), "{cut:?}");
        assert!(!cut.contains("/home/us"), "{cut:?}");
    }
}
