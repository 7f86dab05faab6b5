//! The status page and its JSON: the daemon's state, rendered. It judges nothing and asks no other module: the daemon
//! gathers a [`PageView`], [`html`] and [`json`] are made of it.
//!
//! The page works without scripts. Its style and its one script are part of it, and [`policy`] allows these two texts and
//! nothing else.

mod charts;
mod connect;
mod errors;
mod flat;
mod health;
mod markup;
mod overview;
mod providers;
mod time;
mod usage;
mod view;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::health::HealthLevel;
use self::markup::{Html, put};
pub use self::view::{ConnectHint, DailyCounts, FailedRequest, PageUsage, PageView};
use crate::control::judge;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page.
pub fn html(sight: &PageView) -> String {
    let findings = judge::findings(&sight.status);
    let level = HealthLevel::of(findings.iter());
    let mut page = Html::default();
    put!(
        &mut page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n<title>",
        title(level),
        "</title>\n"
    );
    page.markup(icon(level));
    page.markup("<style>");
    page.markup(STYLE);
    page.markup("</style>\n</head>\n<body>\n");
    overview::header(&mut page, sight);
    page.markup("<main id=\"main\">\n");
    overview::verdict(&mut page, sight, &findings);
    overview::figures(&mut page, sight);
    providers::section(&mut page, sight, &findings);
    usage::days(&mut page, sight);
    usage::models(&mut page, sight);
    usage::clients(&mut page, sight);
    errors::section(&mut page, sight);
    connect::section(&mut page, sight);
    page.markup("</main>\n");
    overview::footer(&mut page, sight);
    page.markup("<script>");
    page.markup(SCRIPT);
    page.markup("</script>\n</body>\n</html>\n");
    page.into_string()
}

/// The same in one flat object, whose names `docs/status-page.md` lists.
pub fn json(sight: &PageView) -> Value {
    flat::object(sight)
}

/// The `Content-Security-Policy` that the page needs, and no more.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            hash(STYLE),
            hash(SCRIPT)
        )
    });
    &POLICY
}

fn title(level: HealthLevel) -> String {
    let word = match level {
        HealthLevel::Good => "all is well",
        HealthLevel::Attention => "needs attention",
        HealthLevel::Bad => "failing",
    };
    format!("hermes-proxyd: {word}")
}

/// A dot for the browser's tab, in the verdict's colour and shape.
fn icon(level: HealthLevel) -> &'static str {
    match level {
        HealthLevel::Good => {
            "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%231a7f4b'/%3E%3C/svg%3E\">\n"
        }
        HealthLevel::Attention => {
            "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M8 1l7 14H1z' fill='%23b7791f'/%3E%3C/svg%3E\">\n"
        }
        HealthLevel::Bad => {
            "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 1h14v14H1z' fill='%23c5303a'/%3E%3C/svg%3E\">\n"
        }
    }
}
