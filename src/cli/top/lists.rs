//! The two lists of the screen: the providers, and the requests in flight. Pure.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::page::{MIDDLE, ScreenTone, TopScreen, WIDE, WIDEST, lines, tone};
use super::rates::Rate;
use super::table::{Cell, Column, ColumnTable, ColumnWidth, put};
use super::words::{age, bytes, rate, several, time};
use crate::cli::text::width;
use crate::control::human::{count, duration};
use crate::control::in_flight::{MOST, RequestInFlight, RequestPhase};
use crate::control::judge;
use crate::control::protocol::{Finding, ProviderStatus, QuotaWindow};

/// From this percentage on, a quota needs attention.
const NEARLY: u64 = 80;
const NOTHING: &str = "–";

impl TopScreen<'_> {
    pub(super) fn providers(&self, area: Rect, buffer: &mut Buffer) {
        let room = usize::from(area.width);
        let mut lines = lines(area).skip(1);
        let Some(head) = lines.next() else {
            return;
        };
        let providers = &self.0.now.status.providers;
        let names = providers.iter().map(|one| width(&one.name)).max();
        let name = names
            .unwrap_or_default()
            .clamp(9, if room >= WIDE { 20 } else { 12 });
        let mut columns = vec![
            Column::left("PROVIDERS", ColumnWidth::Fixed(name)),
            Column::left("", ColumnWidth::Part(1)),
        ];
        if room >= MIDDLE {
            columns.push(Column::right("SERVED", 7));
            columns.push(Column::right("FAILED", 6));
        }
        let quota = match room {
            WIDEST.. => 56,
            MIDDLE.. => 22,
            _ => 20,
        };
        columns.push(Column::left("QUOTA", ColumnWidth::Fixed(quota)));
        let table = ColumnTable::new(columns, room);
        let (first, style) = (
            self.style(ScreenTone::Heading),
            self.style(ScreenTone::Label),
        );
        table.head(first, style, head, buffer);
        let rows = usize::from(area.height).saturating_sub(2);
        let is_cut = providers.len() > rows;
        let shown = if is_cut { rows.saturating_sub(1) } else { rows };
        for (provider, line) in providers.iter().take(shown).zip(&mut lines) {
            table.row(&self.provider(provider, room), line, buffer);
        }
        let Some(line) = lines.next() else {
            return;
        };
        if providers.is_empty() {
            let text = "None is configured: `hermesctl setup` sets one up.";
            put(buffer, line, 0, text, self.style(ScreenTone::Label));
        } else if is_cut {
            let text = format!("… {} more", providers.len() - shown);
            put(buffer, line, 0, &text, self.style(ScreenTone::Label));
        }
    }

    fn provider(&self, provider: &ProviderStatus, room: usize) -> Vec<Cell> {
        let findings = judge::findings(&self.0.now.status);
        let worst = judge::about(&findings, &provider.name);
        let worst = worst.first().copied();
        let tone = worst.map_or(ScreenTone::Good, tone);
        let counts = provider.requests;
        let mut cells = vec![
            self.cell(ScreenTone::Plain, &*provider.name),
            self.cell(tone, state(provider, worst)),
        ];
        if room >= MIDDLE {
            let failed = if counts.failed > 0 {
                ScreenTone::Plain
            } else {
                ScreenTone::Label
            };
            cells.push(self.cell(ScreenTone::Plain, count(counts.served)));
            cells.push(self.cell(failed, count(counts.failed)));
        }
        let windows = provider.quota.iter().flat_map(|quota| &quota.windows);
        cells.push(match windows.max_by_key(|window| window.used_percent) {
            Some(window) => self.quota(window, room),
            None => self.cell(ScreenTone::Label, NOTHING),
        });
        cells
    }

    /// The most used window.
    fn quota(&self, window: &QuotaWindow, room: usize) -> Cell {
        let used = window.used_percent;
        let tone = match used {
            100.. => ScreenTone::Bad,
            NEARLY.. => ScreenTone::Waiting,
            _ => ScreenTone::Plain,
        };
        let length = window.length_seconds.filter(|_| window.limit.is_none());
        let name = length.map_or_else(|| window.name.replace('_', " "), duration);
        let again = window
            .resets_in_seconds
            .and_then(|left| u64::try_from(left).ok());
        let again = again.filter(|_| room >= WIDEST && used > 0);
        let again = again.map_or_else(String::new, |left| format!(", again in {}", duration(left)));
        self.cell(tone, format!("{used} % of {name}{again}"))
    }

    pub(super) fn requests(&self, area: Rect, buffer: &mut Buffer) {
        let room = usize::from(area.width);
        let mut lines = lines(area).skip(usize::from(area.height > 3));
        let Some(title) = lines.next() else {
            return;
        };
        let flights = &self.0.now.flights;
        let x = put(
            buffer,
            title,
            0,
            "IN FLIGHT",
            self.style(ScreenTone::Heading),
        );
        let rows = usize::from(area.height).saturating_sub(3);
        put(
            buffer,
            title,
            x,
            &self.summary(rows),
            self.style(ScreenTone::Label),
        );
        let Some(head) = lines.next() else {
            return;
        };
        if flights.requests.is_empty() {
            let next = "The next request appears here as soon as it is sent on.";
            let texts = std::iter::once(next.to_owned()).chain(self.how_to_connect());
            for (text, line) in texts.zip(std::iter::once(head).chain(lines)) {
                put(buffer, line, 0, &text, self.style(ScreenTone::Label));
            }
            return;
        }
        let has_logins = flights.requests.iter().any(|one| one.login.is_some());
        let has_logins = has_logins && room >= WIDE;
        let names = flights
            .requests
            .iter()
            .map(|one| width(&one.provider))
            .max();
        let name = names.unwrap_or_default().clamp(8, 14);
        let table = ColumnTable::new(columns(room, name, has_logins), room);
        let style = self.style(ScreenTone::Label);
        table.head(style, style, head, buffer);
        let requests = flights.requests.iter().skip(self.0.passed);
        for (request, line) in requests.zip(lines) {
            table.row(&self.request(request, room, has_logins), line, buffer);
        }
    }

    /// The numbers next to the title.
    fn summary(&self, rows: usize) -> String {
        let flights = &self.0.now.flights;
        let (listed, connections) = (flights.requests.len(), self.0.now.connections);
        let mut parts = vec![several(self.0.now.in_flight, "request")];
        if let Some(streams @ 1..) = flights.streams {
            parts.push(several(streams, "stream"));
        }
        parts.push(several(connections, "connection"));
        let most = match self.0.interval {
            // A screen asks only for what it shows, so more can be available.
            Some(_) => Some(u64::from(MOST)).filter(|most| self.0.now.in_flight > *most),
            None => u64::try_from(listed).ok().filter(|_| flights.unlisted > 0),
        };
        if let Some(most) = most {
            parts.push(format!("{most} listed"));
        }
        let passed = self.0.passed;
        if self.0.listable() > rows && rows > 0 {
            let last = (passed + rows).min(listed);
            parts.push(format!("{} to {last} shown", passed + 1));
        }
        if !flights.usage_counted && listed > 0 {
            parts.push("models unknown: usage is off".to_owned());
        }
        format!("  {}", parts.join(", "))
    }

    /// What to do if there is no request yet.
    fn how_to_connect(&self) -> Vec<String> {
        let status = &self.0.now.status;
        let served = |one: &ProviderStatus| one.requests.served + one.requests.failed;
        let is_new = status.providers.iter().map(served).sum::<u64>() == 0;
        match status.listeners.first().filter(|_| is_new) {
            Some(listener) => vec![
                format!("Apps use {}", listener.url),
                "`hermesctl connect` shows how.".to_owned(),
            ],
            None => Vec::new(),
        }
    }

    fn request(&self, request: &RequestInFlight, room: usize, has_logins: bool) -> Vec<Cell> {
        let known = |text: Option<&String>| match text {
            Some(text) => self.cell(ScreenTone::Plain, text.as_str()),
            None => self.cell(ScreenTone::Label, NOTHING),
        };
        let mut cells = vec![
            self.cell(ScreenTone::Plain, age(request.age_ms)),
            self.cell(ScreenTone::Plain, request.client.as_str()),
            known(request.model.as_ref()),
        ];
        if room >= MIDDLE {
            cells.push(self.cell(ScreenTone::Plain, request.provider.as_str()));
        }
        if has_logins {
            cells.push(known(request.login.as_ref()));
        }
        if room >= WIDEST {
            cells.push(self.cell(ScreenTone::Label, request.path.as_str()));
        }
        cells.push(match (&request.phase, request.first_byte_ms) {
            (_, Some(first)) => self.cell(ScreenTone::Plain, time(first)),
            (RequestPhase::Sending, None) => self.cell(ScreenTone::Waiting, "sending"),
            (
                RequestPhase::Waiting
                | RequestPhase::Streaming
                | RequestPhase::Answering
                | RequestPhase::Other(_),
                None,
            ) => self.cell(ScreenTone::Waiting, "waiting"),
        });
        cells.push(match self.0.rates.of(request) {
            Rate::Unknown => self.cell(ScreenTone::Label, NOTHING),
            Rate::Tokens(tenths) => self.cell(ScreenTone::Plain, rate(tenths) + " tok/s"),
            Rate::About(tenths) => self.cell(ScreenTone::Plain, format!("~{} tok/s", rate(tenths))),
            Rate::Events(tenths) => self.cell(ScreenTone::Plain, rate(tenths) + " ev/s"),
            Rate::Bytes(each) => self.cell(ScreenTone::Plain, bytes(each) + "/s"),
        });
        if room >= WIDE {
            cells.push(self.cell(ScreenTone::Plain, bytes(request.bytes_out)));
        }
        cells
    }
}

fn columns(room: usize, provider: usize, has_logins: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::right("AGE", 7),
        Column::left("CLIENT", ColumnWidth::Part(4)),
        Column::left("MODEL", ColumnWidth::Part(5)),
    ];
    if room >= MIDDLE {
        columns.push(Column::left("PROVIDER", ColumnWidth::Fixed(provider)));
    }
    if has_logins {
        columns.push(Column::left("LOGIN", ColumnWidth::Fixed(10)));
    }
    if room >= WIDEST {
        columns.push(Column::left("PATH", ColumnWidth::Fixed(17)));
    }
    columns.push(Column::right("TTFB", 7));
    columns.push(Column::right("RATE", 11));
    if room >= WIDE {
        columns.push(Column::right("SENT", 7));
    }
    columns
}

/// The provider's problem; without one, its state and the number of its logins.
fn state(provider: &ProviderStatus, worst: Option<&Finding>) -> String {
    if let Some(worst) = worst {
        return worst.text.clone();
    }
    let words = provider.state.in_words();
    match &provider.pool {
        Some(pool) if pool.logins > 1 => format!("{words}, {} logins", pool.logins),
        Some(_) | None => words.to_owned(),
    }
}
