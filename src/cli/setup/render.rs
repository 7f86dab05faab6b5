//! The last text of `hermesctl setup`.

use super::view::{Offer, SetUp};
use crate::cli::text::{Style, TextTone, inline, words};
use crate::control::protocol::ProviderStatus;

/// Whose login was found.
pub(in crate::cli) fn login(provider: &ProviderStatus) -> String {
    let name = inline(&provider.display_name);
    let Some(login) = &provider.login else {
        return format!("login of {name}");
    };
    let whose = if login.separate {
        "hermes-proxyd's own"
    } else {
        "shared with Hermes Agent"
    };
    let store = inline(&login.store.display().to_string());
    format!("login of {name}, {whose}, in {store}")
}

/// The providers to choose from, each with its number.
pub(in crate::cli) fn offers(offers: &[Offer]) -> String {
    let width = offers.iter().map(|one| one.display_name.chars().count());
    let width = width.max().unwrap_or_default();
    let lines = offers.iter().enumerate().map(|(at, one)| {
        let name = inline(&one.display_name);
        let state = if one.logged_in {
            "logged in"
        } else {
            "not logged in"
        };
        format!("  {}  {name:width$}  {state}\n", at + 1)
    });
    let lines: String = lines.collect();
    format!("Which provider?\n{lines}")
}

/// What an app is configured with, or what is still to be done.
pub(in crate::cli) fn outcome(outcome: &SetUp, style: Style) -> String {
    let Some(url) = &outcome.base_url else {
        let advice = "Start it with `hermesctl proxy start`, then run `hermesctl setup` again.";
        return format!("\n{}", style.prose(advice));
    };
    let mut text = String::new();
    for finding in &outcome.findings {
        text += &style.prose(&words(finding, style));
    }
    if outcome.findings.is_empty() {
        text = style.paint(TextTone::Good, "All is well.") + " ";
    }
    let url = inline(url);
    let key = match &outcome.key {
        Some(key) => format!("{} (it is shown only once)", inline(key.expose())),
        None if outcome.needs_key => "a client key: `hermesctl clients add NAME`".to_owned(),
        None => "anything".to_owned(),
    };
    format!(
        "\n{text}Apps use:\n  OPENAI_BASE_URL={url}\n  OPENAI_API_KEY={key}\n\
         For the settings of an app: `hermesctl connect APP`\n"
    )
}
