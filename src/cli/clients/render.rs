//! What is told about the keys of apps.

use std::fmt::Display;

use chrono::TimeZone;

use crate::cli::text::{ReaderClock, Style, TextTone, inline, title};
use crate::control::human::count;
use crate::control::protocol::{
    ClientChanged, ClientEntry, ClientImportReport, ClientImportResult, ClientLimits, ClientList,
    ClientRevoked, ImportOutcome, NewKey,
};

/// What a key is that was just made, or put in another's place.
pub(in crate::cli) fn about_key(new: &NewKey, is_new: bool, style: Style) -> String {
    let (what, more) = if is_new {
        ("the new key", " The old one no longer works.")
    } else {
        ("the key", "")
    };
    let name = inline(&new.client.name);
    let key = style.prose(&format!(
        "This is {what} of {name}, shown only once: set it as the app's API key.{more}"
    ));
    key + &notes(&new.notes, style)
}

/// What to look at again.
fn notes(notes: &[String], style: Style) -> String {
    let note = |note: &String| style.prose(&inline(note));
    notes.iter().map(note).collect()
}

/// A key with other limits.
pub(in crate::cli) fn changed<Z>(changed: &ClientChanged, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let clock = ReaderClock {
        now: changed.now,
        zone,
    };
    let told = style.prose("Its limits from the next request on; the key stays the same:");
    told + &client(&changed.client, &[], &clock, style) + &notes(&changed.notes, style)
}

/// All clients.
pub(in crate::cli) fn list<Z>(clients: &ClientList, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let clock = ReaderClock {
        now: clients.now,
        zone,
    };
    let blocks = clients.clients.iter();
    let unknown = &clients.unknown_providers;
    let block = |one| client(one, unknown, &clock, style);
    let blocks: Vec<String> = blocks.map(block).collect();
    if blocks.is_empty() {
        return "No app has a key. Make one with `hermesctl clients add NAME`.\n".to_owned();
    }
    blocks.join("\n")
}

/// A key that was revoked.
pub(in crate::cli) fn revoked(revoked: &ClientRevoked, style: Style) -> String {
    let name = inline(&revoked.name);
    let last = if revoked.was_last {
        "That was the last key; addresses that require one now reject everyone, and hermes-proxyd \
         can't start with them until you make another: hermesctl clients add NAME\n"
    } else {
        ""
    };
    let local = "At 127.0.0.1 apps need no key, so this app can still connect there without one: \
                 `auth = \"keys\"` under [[listen]] in the configuration changes that.\n";
    let local = if revoked.keyless { local } else { "" };
    style.prose(&format!(
        "The key of {name} no longer works.\n{local}{last}"
    ))
}

/// What became of each token.
pub(in crate::cli) fn imported(report: &ClientImportReport, style: Style) -> String {
    let results = &report.results;
    let width = results
        .iter()
        .map(|result| inline(&result.label).chars().count() + 2)
        .max()
        .unwrap_or_default();
    let row = |result: &ClientImportResult| {
        let label = inline(&result.label);
        style.row("", &label, width, &outcome(result, style))
    };
    let mut text: String = results.iter().map(row).collect();
    let imported = results
        .iter()
        .filter(|one| one.outcome == ImportOutcome::Imported);
    if imported.count() > 0 {
        text += &style.prose("The apps keep their tokens. `hermesctl clients list` shows them.");
    }
    text
}

fn outcome(result: &ClientImportResult, style: Style) -> String {
    let (tone, word) = match &result.outcome {
        ImportOutcome::Imported => (TextTone::Good, "imported"),
        ImportOutcome::Skipped => (TextTone::Waiting, "skipped"),
        ImportOutcome::Refused => (TextTone::Bad, "refused"),
        ImportOutcome::Other(word) => (TextTone::Waiting, word.as_str()),
    };
    let taken = result.outcome == ImportOutcome::Imported;
    let renamed = result.name.as_ref();
    let renamed = renamed.filter(|name| taken && **name != result.label);
    let renamed = renamed.map(|name| format!(" as {}", inline(name)));
    let detail = result.detail.as_ref();
    let detail = detail.map(|detail| format!(": {}", inline(detail)));
    [
        style.paint(tone, &inline(word)),
        renamed.unwrap_or_default(),
        detail.unwrap_or_default(),
    ]
    .concat()
}

fn client<Z>(
    client: &ClientEntry,
    unknown: &[String],
    clock: &ReaderClock<'_, Z>,
    style: Style,
) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let last_used = client.last_used_at.map(|at| clock.happened(at));
    let mut rows = vec![
        ("requests", count(client.requests)),
        ("last used", last_used.unwrap_or_else(|| "never".to_owned())),
    ];
    if !client.last_used_from.is_empty() {
        rows.push(("from", inline(&client.last_used_from.join(", "))));
    }
    let limits = &client.limits;
    let has_none = *limits == ClientLimits::default() && client.in_flight.is_none();
    if client.providers.is_empty() && client.paths.is_empty() && has_none {
        rows.push(("limits", "none".to_owned()));
    }
    if !client.providers.is_empty() {
        rows.push(("providers", inline(&client.providers.join(", "))));
        let gone = client
            .providers
            .iter()
            .filter(|name| unknown.contains(name));
        let gone: Vec<_> = gone.map(String::as_str).collect();
        if !gone.is_empty() {
            let told = format!(
                "{} is not configured: the key is of no use there",
                gone.join(", ")
            );
            rows.push(("problem", inline(&told)));
        }
    }
    for field in &client.unknown_fields {
        let told = format!("{field} in clients.json means nothing; a limit may be misspelled");
        rows.push(("problem", inline(&told)));
    }
    if !client.paths.is_empty() {
        rows.push(("paths", inline(&client.paths.join(", "))));
    }
    if let Some(limit) = client.in_flight {
        rows.push(("in flight", format!("{} at most", count(limit.into()))));
    }
    if !limits.models.is_empty() {
        rows.push(("models", inline(&limits.models.join(", "))));
    }
    let today = client.today.unwrap_or_default();
    if let Some(limit) = limits.requests_per_minute {
        rows.push((
            "per minute",
            format!("{} requests at most", count(limit.into())),
        ));
    }
    if let Some(limit) = limits.requests_per_day {
        let (used, limit) = (count(today.requests), count(limit.into()));
        rows.push(("today", format!("{used} of {limit} requests")));
    }
    if let Some(limit) = limits.tokens_per_day {
        let (used, limit) = (count(today.tokens), count(limit));
        let estimated = match today.estimated_tokens {
            0 => String::new(),
            tokens => format!(", {} of them estimated", count(tokens)),
        };
        rows.push(("tokens", format!("{used} of {limit} today{estimated}")));
    }
    for (label, at) in [("added", client.created_at), ("new key", client.rotated_at)] {
        if let Some(at) = at {
            rows.push((label, clock.happened(at)));
        }
    }
    let rows = rows
        .iter()
        .map(|(label, value)| style.row("  ", label, 14, value));
    title(&client.name, &client.name, false, style) + &rows.collect::<String>()
}
