//! Usage by day, by model and by client. Pure.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};

use super::PageView;
use super::charts::{Bar, bars, share};
use super::markup::{Html, put};
use super::time::time;
use crate::control::human;
use crate::control::protocol::ClientEntry;
use crate::control::usage::{UsageReport, UsageSums};

/// The days of a week, and the days that are shown.
const WEEK: usize = 7;
const SHOWN: u64 = 30;
/// So many models and clients are listed.
const MOST: usize = 12;

/// The sums of today, if requests are counted.
pub(super) fn today(sight: &PageView) -> Option<UsageSums> {
    let days = &sight.counts()?.days;
    let row = days.rows.iter().find(|row| row.name == days.to);
    Some(row.map_or_else(UsageSums::default, |row| row.sums.clone()))
}

/// Requests, tokens and failures of this many days.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DaySums {
    pub(super) requests: u64,
    pub(super) tokens: u64,
    pub(super) failed: u64,
}

impl DaySums {
    fn of<'s>(days: impl Iterator<Item = &'s UsageSums>) -> Self {
        days.fold(Self::default(), |sum, day| Self {
            requests: sum.requests + day.requests,
            tokens: sum.tokens + day.total_tokens,
            failed: sum.failed + day.failed,
        })
    }
}

/// Of the last week and of all days that are shown.
pub(super) fn of_week_and_month(sight: &PageView) -> Option<(DaySums, DaySums)> {
    let days = each_day(&sight.counts()?.days);
    let month = DaySums::of(days.iter().map(|(_, sums)| sums));
    let week = days.iter().rev().take(WEEK);
    Some((DaySums::of(week.map(|(_, sums)| sums)), month))
}

/// Every day, also those without requests.
fn each_day(report: &UsageReport) -> Vec<(NaiveDate, UsageSums)> {
    let Ok(last) = report.to.parse::<NaiveDate>() else {
        return Vec::new();
    };
    let known: BTreeMap<_, _> = report
        .rows
        .iter()
        .map(|row| (&*row.name, &row.sums))
        .collect();
    let days = (0..SHOWN)
        .rev()
        .filter_map(|ago| last.checked_sub_days(Days::new(ago)));
    days.map(|day| {
        let sums = known.get(day.to_string().as_str());
        (
            day,
            sums.map_or_else(UsageSums::default, |sums| (*sums).clone()),
        )
    })
    .collect()
}

/// Requests and tokens per day.
pub(super) fn days(page: &mut Html, sight: &PageView) {
    let (Some(counts), Some((week, month))) = (sight.counts(), of_week_and_month(sight)) else {
        return;
    };
    let days = each_day(&counts.days);
    page.markup("<section aria-labelledby=\"usage\">\n<h2 id=\"usage\">Usage</h2>\n<div class=\"charts\">\n");
    let bar = |value: u64, part: u64, day: NaiveDate| Bar {
        name: day,
        value,
        part,
    };
    let requests: Vec<_> = days
        .iter()
        .map(|(day, sums)| bar(sums.requests, sums.failed, *day))
        .collect();
    let tokens: Vec<_> = days
        .iter()
        .map(|(day, sums)| bar(sums.total_tokens, 0, *day))
        .collect();
    chart(page, "Requests", week.requests, month.requests, &requests);
    chart(page, "Tokens", week.tokens, month.tokens, &tokens);
    page.markup("</div>\n<details id=\"per-day\">\n<summary>Numbers per day</summary>\n");
    page.markup(
        "<table class=\"numbers\">\n<caption>Usage of the last 30 days</caption>\n<thead><tr><th scope=\"col\">Day</th>\
         <th scope=\"col\">Requests</th><th scope=\"col\">Failed</th><th scope=\"col\">Tokens</th></tr></thead>\n<tbody>\n",
    );
    for (day, sums) in days.iter().rev().filter(|(_, sums)| sums.requests > 0) {
        put!(
            page,
            "<tr><th scope=\"row\">",
            day.to_string(),
            "</th><td>",
            human::count(sums.requests),
            "</td><td>",
            human::count(sums.failed),
            "</td><td>",
            human::count(sums.total_tokens),
            "</td></tr>\n"
        );
    }
    page.markup("</tbody>\n</table>\n</details>\n</section>\n");
}

fn chart(page: &mut Html, name: &'static str, week: u64, month: u64, days: &[Bar]) {
    let failed: u64 = days.iter().map(|day| day.part).sum();
    put!(
        page,
        "<figure class=\"card\" data-chart=\"",
        name,
        "\">\n<figcaption><h3>",
        name,
        "</h3><p><span class=\"week\">",
        human::count(week),
        "</span> in 7 days, <span class=\"month\">",
        human::count(month),
        "</span> in 30 days"
    );
    if failed > 0 {
        put!(
            page,
            ", <span class=\"failures\">",
            human::count(failed),
            " failed</span>"
        );
    }
    page.markup("</p></figcaption>\n");
    bars(page, name, days);
    if let (Some(first), Some(last)) = (days.first(), days.last()) {
        put!(
            page,
            "<p class=\"axis\"><span>",
            first.name.format("%b %-d").to_string(),
            "</span><span>",
            last.name.format("%b %-d").to_string(),
            "</span></p>\n"
        );
    }
    page.markup("</figure>\n");
}

/// What one name used.
#[derive(Debug, Default)]
struct NamedUse<'u> {
    week: Option<&'u UsageSums>,
    month: Option<&'u UsageSums>,
}

fn find<'u>(report: &'u UsageReport, name: &str) -> Option<&'u UsageSums> {
    let row = report.rows.iter().find(|row| row.name == name);
    row.map(|row| &row.sums)
}

/// The models that were used most.
pub(super) fn models(page: &mut Html, sight: &PageView) {
    let Some(counts) = sight
        .counts()
        .filter(|counts| !counts.models_of_month.rows.is_empty())
    else {
        return;
    };
    page.markup("<section aria-labelledby=\"models\">\n<h2 id=\"models\">Models</h2>\n");
    head(
        page,
        "models-table",
        "Tokens by model, and requests below them",
        "Model",
    );
    let most = most_tokens(&counts.models_of_month);
    for row in counts.models_of_month.rows.iter().take(MOST) {
        let name = if row.name.is_empty() {
            "(unknown)"
        } else {
            &row.name
        };
        put!(
            page,
            "<tr><th scope=\"row\"><span class=\"name\">",
            name,
            "</span>"
        );
        share(page, row.sums.total_tokens, most);
        page.markup("</th>");
        let week = find(&counts.models_of_week, &row.name);
        cells(
            page,
            &NamedUse {
                week,
                month: Some(&row.sums),
            },
        );
    }
    page.markup("</tbody>\n</table>\n");
    rest(
        page,
        &counts.models_of_month,
        "hermesctl usage --by model --since 30d",
    );
    page.markup("</section>\n");
}

/// The apps: those that have a key, and those that name themselves.
pub(super) fn clients(page: &mut Html, sight: &PageView) {
    let none = UsageReport::default();
    let counts = sight.counts();
    let month = counts.map_or(&none, |counts| &counts.clients_of_month);
    let unused = sight
        .clients
        .iter()
        .filter(|client| find(month, &client.name).is_none());
    page.markup("<section aria-labelledby=\"clients\">\n<h2 id=\"clients\">Clients</h2>\n");
    if month.rows.is_empty() && sight.clients.is_empty() {
        page.markup("<p>None so far.</p>\n</section>\n");
        return;
    }
    head(
        page,
        "clients-table",
        "Tokens by client, and requests below them",
        "Client",
    );
    let most = most_tokens(month);
    for row in month.rows.iter().take(MOST) {
        let key = sight.clients.iter().find(|client| client.name == row.name);
        client(
            page,
            sight,
            &row.name,
            key,
            Some((row.sums.total_tokens, most)),
        );
        let week = counts.and_then(|counts| find(&counts.clients_of_week, &row.name));
        cells(
            page,
            &NamedUse {
                week,
                month: Some(&row.sums),
            },
        );
    }
    for key in unused.take(MOST) {
        client(page, sight, &key.name, Some(key), None);
        cells(page, &NamedUse::default());
    }
    page.markup("</tbody>\n</table>\n");
    rest(page, month, "hermesctl usage --by client --since 30d");
    page.markup("</section>\n");
}

/// A client's name and when it was used last: to the second with a key, by days without one.
fn client(
    page: &mut Html,
    sight: &PageView,
    name: &str,
    key: Option<&ClientEntry>,
    used: Option<(u64, u64)>,
) {
    put!(
        page,
        "<tr><th scope=\"row\"><span class=\"name\">",
        name,
        "</span>"
    );
    if let Some((tokens, most)) = used {
        share(page, tokens, most);
    }
    page.markup("<span class=\"quiet\">");
    let is_in = |report: &UsageReport| find(report, name).is_some();
    match (key.and_then(|key| key.last_used_at), sight.counts()) {
        (Some(at), _) => {
            page.markup("used ");
            time(page, at.0, sight.now());
        }
        (None, _) if used.is_none() => page.markup("never used"),
        (None, Some(counts)) if is_in(&counts.clients_today) => page.markup("used today"),
        (None, Some(counts)) if is_in(&counts.clients_of_week) => {
            page.markup("used in the last 7 days");
        }
        (None, _) => page.markup("used in the last 30 days"),
    }
    page.markup("</span></th>");
}

fn most_tokens(report: &UsageReport) -> u64 {
    report
        .rows
        .iter()
        .map(|row| row.sums.total_tokens)
        .max()
        .unwrap_or(0)
}

fn head(page: &mut Html, id: &'static str, caption: &'static str, what: &'static str) {
    put!(
        page,
        "<table id=\"",
        id,
        "\" class=\"numbers card\">\n<caption>",
        caption,
        "</caption>\n<thead><tr><th scope=\"col\">",
        what,
        "</th><th scope=\"col\">7 days</th><th scope=\"col\">30 days</th></tr></thead>\n<tbody>\n"
    );
}

fn cells(page: &mut Html, used: &NamedUse<'_>) {
    for sums in [used.week, used.month] {
        let (tokens, requests) = sums.map_or((0, 0), |sums| (sums.total_tokens, sums.requests));
        page.markup("<td><span class=\"tokens\">");
        number(page, tokens, " token");
        page.markup("<br><span class=\"quiet\"><span class=\"requests\">");
        number(page, requests, " request");
        page.markup("</span></td>");
    }
    page.markup("</tr>\n");
}

/// The rest of an element with a number, and its unit after it, for which a phone has no room.
fn number(page: &mut Html, number: u64, unit: &'static str) {
    put!(
        page,
        human::count(number),
        "</span><span class=\"unit\">",
        unit
    );
    page.markup(if number == 1 { "" } else { "s" });
    page.markup("</span>");
}

/// How many names are not listed, and the command that lists them.
fn rest(page: &mut Html, report: &UsageReport, command: &'static str) {
    let beyond = report.rows.len().saturating_sub(MOST) as u64 + report.unlisted;
    if beyond > 0 {
        put!(
            page,
            "<p class=\"quiet\">And ",
            human::count(beyond),
            " more: <code>",
            command,
            "</code></p>\n"
        );
    }
}
