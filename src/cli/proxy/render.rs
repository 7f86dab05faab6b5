//! Texts about the daemon: its providers, and what a stop, a restart or a reload did.

use super::view::StopOutput;
use crate::cli::text::{Style, TextTone, inline, title, words};
use crate::control::chat_apis::{ApiSupport, ChatApi, ChatApis};
use crate::control::protocol::{FindingCode, ProviderEntry, Providers, ReloadReport};

/// The providers with what is forwarded to them.
pub(in crate::cli) fn providers(providers: &Providers, style: Style) -> String {
    let configured = providers.providers.iter();
    let configured = configured.map(|provider| provider_entry(provider, style));
    let available = providers.available.iter().map(|one| {
        let command = format!("not set up: `{}`", inline(&one.command));
        let title = title(&one.name, &one.display_name, false, style);
        title + &style.row("  ", "login", 14, &command)
    });
    let blocks: Vec<String> = configured.chain(available).collect();
    if blocks.is_empty() {
        return "No providers are configured.\n".to_owned();
    }
    blocks.join("\n")
}

/// What a stop or a restart did.
pub(in crate::cli) fn ended(ended: &StopOutput, style: Style) -> String {
    let text = match ended.running {
        None => format!("hermes-proxyd (process {}) has stopped.", ended.pid),
        Some(pid) => format!("hermes-proxyd is running again, as process {pid}."),
    };
    style.prose(&text)
}

/// What a reload did.
pub(in crate::cli) fn reload(report: &ReloadReport, style: Style) -> String {
    let rows = [
        ("applied", &report.applied),
        ("needs restart", &report.needs_restart),
        ("reloaded", &report.providers_reloaded),
        ("unreadable", &report.providers_unreadable),
        ("finishing", &report.providers_finishing),
    ];
    let mut text = style.prose("The configuration and the logins were reloaded.");
    for (label, names) in rows.into_iter().filter(|(_, names)| !names.is_empty()) {
        text += &style.row("  ", label, 14, &inline(&names.join(", ")));
    }
    if !report.providers_unreadable.is_empty() {
        text +=
            &style.prose("Their logins or API keys can't be read: `hermesctl doctor` shows why.");
    }
    if !report.providers_finishing.is_empty() {
        let note = "A renewal with the earlier settings is still running there. Requests use the new settings.";
        text += &style.prose(note);
    }
    if !report.needs_restart.is_empty() {
        text += &style.prose("To apply the rest, run `hermesctl proxy restart`.");
    }
    text
}

fn provider_entry(provider: &ProviderEntry, style: Style) -> String {
    let mut text = title(
        &provider.name,
        &provider.display_name,
        provider.default,
        style,
    );
    let (label, there, absent) = if provider.no_key {
        ("API key", "not needed", "missing")
    } else if provider.api_key {
        ("API key", "set", "missing")
    } else {
        ("login", "logged in", "not logged in")
    };
    let login = match &provider.finding {
        Some(finding) if finding.code != FindingCode::LoginNeeded => words(finding, style),
        _ if provider.logged_in => style.paint(TextTone::Good, there),
        Some(finding) => {
            let command = finding.command.as_deref().map(inline);
            let command = command.map_or_else(String::new, |command| format!(": `{command}`"));
            style.paint(TextTone::Bad, &format!("{absent}{command}"))
        }
        None => style.paint(TextTone::Bad, absent),
    };
    text += &style.row("  ", label, 14, &login);
    if let Some(url) = &provider.app_url {
        text += &style.row("  ", "apps use", 14, &inline(url));
    }
    if let Some(url) = &provider.base_url {
        text += &style.row("  ", "base URL", 14, &inline(url));
    }
    if !provider.wires.is_empty() {
        text += &style.row("  ", "APIs", 14, &wires(&provider.wires));
    }
    for (position, entry) in provider.paths.iter().enumerate() {
        let label = if position == 0 { "paths" } else { "" };
        let body = entry.body.as_ref().map(|body| format!(" {body}"));
        let body = body.unwrap_or_default();
        let translated = entry.translated_to.as_ref();
        let translated = translated.map(|path| format!(", translated to {path}"));
        let translated = translated.unwrap_or_default();
        let methods = entry.methods.join(",");
        let path = inline(&format!("{methods} {}{body}{translated}", entry.path));
        text += &style.row("  ", label, 14, &path);
    }
    if !provider.models.is_empty() {
        text += &style.row("  ", "models", 14, &models(&provider.models));
    }
    text
}

/// The APIs for chats that apps can choose.
fn wires(wires: &ChatApis) -> String {
    let served = ChatApi::ALL.into_iter().filter_map(|wire| {
        let how = match wires.get(wire)? {
            ApiSupport::Native => "",
            ApiSupport::Translated => " (translated)",
            ApiSupport::Other(_) => " (in another way)",
        };
        let name = match wire {
            ChatApi::Chat => "Chat Completions",
            ChatApi::Responses => "Responses",
            ChatApi::Messages => "Anthropic's Messages",
        };
        Some(format!("{name}{how}"))
    });
    served.collect::<Vec<_>>().join(", ")
}

/// How many there are, and the first of them.
fn models(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<_> = ids.iter().take(SHOWN).map(|id| inline(id)).collect();
    let rest = if ids.len() > SHOWN { ", …" } else { "" };
    format!("{}: {}{rest}", ids.len(), first.join(", "))
}
