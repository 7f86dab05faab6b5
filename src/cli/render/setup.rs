//! What `hermesctl setup` says at its end.

use super::{Style, Tone, inline};
use crate::cli::setup::SetUp;
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

/// What an app is configured with, or what is still to be done.
pub(in crate::cli) fn outcome(outcome: &SetUp, style: Style) -> String {
    let Some(url) = &outcome.base_url else {
        let advice = "Start it with `hermesctl proxy start`, then run `hermesctl setup` again.";
        return format!("\n{}", style.prose(advice));
    };
    let mut text = String::new();
    for finding in &outcome.findings {
        text += &style.prose(&super::auth::words(finding, style));
    }
    if outcome.findings.is_empty() {
        text = style.paint(Tone::Good, "All is well.") + " ";
    }
    let url = inline(url);
    format!(
        "\n{text}Apps use:\n  OPENAI_BASE_URL={url}\n  OPENAI_API_KEY=anything\n\
         For the settings of an app: `hermesctl connect APP`\n"
    )
}
