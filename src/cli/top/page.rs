//! The layout of `hermesctl top`'s screen. Pure.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

use super::scene::{DaemonLink, Scene, patience_left};
use super::table::{Cell, put};
use super::words::several;
use crate::cli::text as render;
use crate::cli::text::width;
use crate::control::human::{count, duration};
use crate::control::judge;
use crate::control::protocol::{Finding, Severity};

/// The height of the last hour's bars, in lines.
const BARS: u16 = 2;
/// From this width on, each request shows more, and a minute takes two columns.
pub(super) const MIDDLE: usize = 80;
pub(super) const WIDE: usize = 100;
pub(super) const WIDEST: usize = 120;
/// Up to this many providers are always shown.
const FEW: usize = 6;
/// The widest page as text.
const WIDEST_PAGE: u16 = 240;

/// The meaning of a text's colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScreenTone {
    Plain,
    Heading,
    Good,
    Waiting,
    Bad,
    Label,
}

/// The areas of the parts; a part without space has no lines.
struct ScreenLayout {
    head: Rect,
    hour: Rect,
    providers: Rect,
    requests: Rect,
    foot: Rect,
}

/// Paints the screen.
pub(super) fn paint(scene: &mut Scene, area: Rect, buffer: &mut Buffer) {
    let plan = ScreenLayout::of_a_screen(scene, area);
    let rows = usize::from(plan.requests.height.saturating_sub(3));
    scene.shows(rows);
    fill(scene, &plan, buffer);
}

/// The screen as text, as long as it gets.
pub(super) fn text(scene: &Scene, page: render::Style) -> String {
    let width = u16::try_from(page.columns()).unwrap_or(u16::MAX);
    let plan = ScreenLayout::of_a_page(scene, width.min(WIDEST_PAGE));
    let height = plan.requests.bottom();
    let mut buffer = Buffer::empty(Rect::new(0, 0, plan.requests.width, height));
    fill(scene, &plan, &mut buffer);
    let lines = (0..height).map(|y| line(&buffer, y, page));
    let text: String = lines.map(|line| line + "\n").collect();
    text.trim_end().to_owned() + "\n"
}

/// A line of the painted screen as text.
fn line(buffer: &Buffer, y: u16, page: render::Style) -> String {
    let mut runs: Vec<(ScreenTone, String)> = Vec::new();
    let mut hidden = 0;
    for x in 0..buffer.area().width {
        let Some(cell) = buffer.cell((x, y)) else {
            continue;
        };
        if hidden > 0 {
            // Hidden by the wide character before it.
            hidden -= 1;
            continue;
        }
        hidden = width(cell.symbol()).saturating_sub(1);
        let tone = ScreenTone::of(cell.fg, cell.modifier);
        match runs.last_mut() {
            Some((last, text)) if *last == tone || cell.symbol() == " " => *text += cell.symbol(),
            Some(_) | None => runs.push((tone, cell.symbol().to_owned())),
        }
    }
    if let Some((_, text)) = runs.last_mut() {
        text.truncate(text.trim_end().len());
    }
    let runs = runs.iter().map(|(tone, text)| {
        let words = text.trim_end();
        let blanks = text.get(words.len()..).unwrap_or_default();
        match tone.on_a_page() {
            Some(tone) if !words.is_empty() => page.paint(tone, words) + blanks,
            Some(_) | None => text.clone(),
        }
    });
    runs.collect()
}

/// The lines of the painted screen.
#[cfg(test)]
pub(super) fn rows(buffer: &Buffer) -> Vec<String> {
    let lines = 0..buffer.area().height;
    lines
        .map(|y| line(buffer, y, render::Style::PLAIN))
        .collect()
}

impl ScreenTone {
    /// The tone that a cell was painted in.
    fn of(colour: Color, modifier: Modifier) -> Self {
        if colour == Color::Green {
            Self::Good
        } else if colour == Color::Yellow {
            Self::Waiting
        } else if colour == Color::Red {
            Self::Bad
        } else if modifier.contains(Modifier::BOLD) {
            Self::Heading
        } else if modifier.contains(Modifier::DIM) {
            Self::Label
        } else {
            Self::Plain
        }
    }

    /// The same tone in the other commands' terms.
    fn on_a_page(self) -> Option<render::TextTone> {
        match self {
            Self::Plain => None,
            Self::Heading => Some(render::TextTone::Heading),
            Self::Good => Some(render::TextTone::Good),
            Self::Waiting => Some(render::TextTone::Waiting),
            Self::Bad => Some(render::TextTone::Bad),
            Self::Label => Some(render::TextTone::Label),
        }
    }
}

fn fill(scene: &Scene, plan: &ScreenLayout, buffer: &mut Buffer) {
    let page = TopScreen(scene);
    page.hour(plan.hour, buffer);
    page.providers(plan.providers, buffer);
    page.requests(plan.requests, buffer);
    if !page.is_alive() {
        let old = plan.hour.union(plan.providers).union(plan.requests);
        buffer.set_style(old, Style::new().add_modifier(Modifier::DIM));
    }
    page.head(plan.head, buffer);
    page.foot(plan.foot, buffer);
}

impl ScreenLayout {
    fn of_a_screen(scene: &Scene, area: Rect) -> Self {
        let height = usize::from(area.height);
        let head = if height < 6 { 0 } else { 2 };
        let hour = if height < 18 { 0 } else { BARS + 3 };
        let most = if height < 30 { FEW } else { height / 4 };
        let providers = scene.now.status.providers.len().clamp(1, most);
        let providers = match u16::try_from(providers) {
            Ok(rows) if height >= 12 => rows + 2,
            Ok(_) | Err(_) => 0,
        };
        let foot = u16::from(height >= 4);
        let heights = [
            Constraint::Length(head),
            Constraint::Length(hour),
            Constraint::Length(providers),
            Constraint::Min(1),
            Constraint::Length(foot),
        ];
        let [head, hour, providers, requests, foot] = Layout::vertical(heights).areas(area);
        Self {
            head,
            hour,
            providers,
            requests,
            foot,
        }
    }

    fn of_a_page(scene: &Scene, width: u16) -> Self {
        let rows = |count: usize| u16::try_from(count).unwrap_or(1000).clamp(1, 1000);
        let mut y = 0;
        let mut next = |height: u16| {
            let part = Rect::new(0, y, width, height);
            y += height;
            part
        };
        Self {
            head: next(2),
            hour: next(BARS + 3),
            providers: next(rows(scene.now.status.providers.len()) + 2),
            requests: next(rows(scene.now.flights.requests.len()) + 5),
            foot: next(0),
        }
    }
}

/// The lines of an area, from the top.
pub(super) fn lines(area: Rect) -> impl Iterator<Item = Rect> {
    area.rows()
}

pub(super) struct TopScreen<'s>(pub(super) &'s Scene);

impl TopScreen<'_> {
    pub(super) fn style(&self, tone: ScreenTone) -> Style {
        let style = Style::new();
        let coloured = |style: Style, color| {
            if self.0.is_coloured {
                style.fg(color)
            } else {
                style
            }
        };
        match tone {
            ScreenTone::Plain => style,
            ScreenTone::Heading => style.add_modifier(Modifier::BOLD),
            ScreenTone::Good => coloured(style, Color::Green),
            ScreenTone::Waiting => coloured(style, Color::Yellow),
            ScreenTone::Bad => coloured(style, Color::Red),
            ScreenTone::Label => style.add_modifier(Modifier::DIM),
        }
    }

    pub(super) fn cell(&self, tone: ScreenTone, text: impl Into<String>) -> Cell {
        (text.into(), self.style(tone))
    }

    /// Whether the last poll was answered in time.
    fn is_alive(&self) -> bool {
        self.0.link == DaemonLink::Alive && self.0.lateness().is_none()
    }

    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let mut lines = lines(area);
        let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
            return;
        };
        let daemon = &self.0.now.status.daemon;
        let name = format!("hermes-proxyd {}", daemon.version);
        let x = put(buffer, first, 0, &name, self.style(ScreenTone::Heading));
        let up = format!("  up {}", duration(daemon.uptime_seconds));
        let x = put(buffer, first, x, &up, self.style(ScreenTone::Label));
        let clock = &self.0.clock;
        let at = usize::from(first.width).saturating_sub(width(clock));
        if at > x {
            put(buffer, first, at, clock, self.style(ScreenTone::Label));
        }
        let (tone, text) = self.verdict();
        put(buffer, second, 0, &text, self.style(tone));
    }

    /// The overall state in one line.
    fn verdict(&self) -> (ScreenTone, String) {
        if let DaemonLink::Lost {
            since,
            why,
            is_gone,
        } = &self.0.link
        {
            let left = patience_left(*since).as_secs();
            let text = if *is_gone {
                format!("… reconnecting ({left} s more): the daemon is not running")
            } else {
                format!("… reconnecting: {why}")
            };
            return (ScreenTone::Waiting, text);
        }
        if let Some(late) = self.0.lateness() {
            let (pid, seconds) = (self.0.now.status.daemon.pid, late.as_secs());
            let text = format!("… hermes-proxyd (process {pid}) has not answered for {seconds} s");
            return (ScreenTone::Waiting, text);
        }
        let findings = judge::findings(&self.0.now.status);
        let Some(worst) = findings.first() else {
            return (ScreenTone::Good, "✓ All is well".to_owned());
        };
        let command = worst.command.as_ref();
        let command = command.map_or_else(String::new, |command| format!(": `{command}`"));
        (
            tone(worst),
            format!("{} {}{command}", mark(worst), worst.text),
        )
    }

    fn hour(&self, area: Rect, buffer: &mut Buffer) {
        let mut lines = lines(area).skip(1);
        let Some(title) = lines.next() else {
            return;
        };
        let hour = &self.0.now.flights.last_hour;
        let sum = |numbers: &[u32]| numbers.iter().map(|number| u64::from(*number)).sum::<u64>();
        let (all, failed) = (sum(&hour.requests), sum(&hour.failed));
        let peak = hour.requests.iter().copied().max().unwrap_or_default();
        let x = put(
            buffer,
            title,
            0,
            "LAST HOUR",
            self.style(ScreenTone::Heading),
        );
        let text = format!("  {}", several(all, "request"));
        let x = put(buffer, title, x, &text, self.style(ScreenTone::Label));
        if all + failed > 0 {
            let tone = if failed > 0 {
                ScreenTone::Bad
            } else {
                ScreenTone::Label
            };
            let x = put(buffer, title, x, ", ", self.style(ScreenTone::Label));
            let text = format!("{} failed", count(failed));
            let x = put(buffer, title, x, &text, self.style(tone));
            let text = format!(", at most {} a minute", count(u64::from(peak)));
            put(buffer, title, x, &text, self.style(ScreenTone::Label));
        }
        let each = if usize::from(area.width) >= WIDEST {
            2
        } else {
            1
        };
        let room = usize::from(area.width) / each;
        let skipped = hour.requests.len().saturating_sub(room);
        let known = self.0.now.status.daemon.uptime_seconds / 60 + 1;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let unknown = hour.requests.len().saturating_sub(known);
        for row in 0..BARS {
            let Some(line) = lines.next() else {
                return;
            };
            let minutes = hour.requests.iter().enumerate().skip(skipped);
            for (place, number) in minutes {
                let failed = hour.failed.get(place).copied().unwrap_or_default();
                let symbol = bar_at(*number, peak, BARS - 1 - row);
                let (symbol, tone) = match (*number, failed) {
                    (0, 0) if place < unknown => {
                        (if row + 1 == BARS { " " } else { "" }, ScreenTone::Label)
                    }
                    (0, 0) => (
                        if row + 1 == BARS { bar::ONE_EIGHTH } else { "" },
                        ScreenTone::Label,
                    ),
                    (0, _) => (
                        if row + 1 == BARS { bar::ONE_EIGHTH } else { "" },
                        ScreenTone::Bad,
                    ),
                    (_, 0) => (symbol, ScreenTone::Good),
                    (_, _) => (symbol, ScreenTone::Bad),
                };
                let x = (place - skipped) * each;
                put(buffer, line, x, &symbol.repeat(each), self.style(tone));
            }
        }
        if let Some(axis) = lines.next() {
            let shown = hour.requests.len() - skipped;
            let from = format!("{shown} min ago");
            put(buffer, axis, 0, &from, self.style(ScreenTone::Label));
            let end = (shown * each).saturating_sub(3);
            put(buffer, axis, end, "now", self.style(ScreenTone::Label));
        }
    }

    fn foot(&self, area: Rect, buffer: &mut Buffer) {
        let Some(line) = lines(area).next() else {
            return;
        };
        let order = if self.0.is_newest_first {
            "oldest"
        } else {
            "newest"
        };
        let keys = format!("q quit   o {order} first   ↑ ↓ scroll");
        let x = put(buffer, line, 0, &keys, self.style(ScreenTone::Label));
        let every = self.0.interval.map_or(0, |interval| interval.as_secs());
        let every = format!("every {every} s");
        let at = usize::from(line.width).saturating_sub(width(&every));
        if at > x {
            put(buffer, line, at, &every, self.style(ScreenTone::Label));
        }
    }
}

/// The part of a bar on this line, the lowest being 0. A value above zero is always visible.
fn bar_at(number: u32, peak: u32, line: u16) -> &'static str {
    let eighths = (u64::from(number) * u64::from(BARS) * 8).div_ceil(u64::from(peak.max(1)));
    match eighths.saturating_sub(u64::from(line) * 8) {
        0 => "",
        1 => bar::ONE_EIGHTH,
        2 => bar::ONE_QUARTER,
        3 => bar::THREE_EIGHTHS,
        4 => bar::HALF,
        5 => bar::FIVE_EIGHTHS,
        6 => bar::THREE_QUARTERS,
        7 => bar::SEVEN_EIGHTHS,
        _ => bar::FULL,
    }
}

pub(super) fn tone(finding: &Finding) -> ScreenTone {
    match finding.severity {
        Severity::Bad => ScreenTone::Bad,
        Severity::Attention | Severity::Other(_) => ScreenTone::Waiting,
    }
}

fn mark(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Bad => "✗",
        Severity::Attention | Severity::Other(_) => "!",
    }
}
