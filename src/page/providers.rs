//! Each provider: its state, its logins and their ends, and the used part of its quota. Pure.

use super::PageView;
use super::health::{HealthLevel, pill};
use super::markup::{Html, put};
use super::time::time;
use crate::control::human;
use crate::control::judge;
use crate::control::pools::LoginEntry;
use crate::control::protocol::{Finding, ProviderStatus, QuotaStatus};

/// All of them.
pub(super) fn section(page: &mut Html, sight: &PageView, findings: &[Finding]) {
    page.markup("<section aria-labelledby=\"providers\">\n<h2 id=\"providers\">Providers</h2>\n");
    if sight.status.providers.is_empty() {
        page.markup("<p>None is configured. Run <code>hermesctl setup</code></p>\n");
    }
    page.markup("<div class=\"cards\">\n");
    for provider in &sight.status.providers {
        card(page, sight, provider, findings);
    }
    page.markup("</div>\n</section>\n");
}

fn card(page: &mut Html, sight: &PageView, provider: &ProviderStatus, findings: &[Finding]) {
    let level = HealthLevel::of(judge::about(findings, &provider.name));
    put!(
        page,
        "<article class=\"card\" data-provider=\"",
        provider.name,
        "\">\n<h3>",
        provider.display_name,
        " "
    );
    pill(page, level);
    page.markup("</h3>\n<dl>\n");
    put!(
        page,
        "<div><dt>State</dt><dd class=\"state\">",
        provider.state.in_words()
    );
    if provider.default {
        page.markup(", default");
    }
    page.markup("</dd></div>\n");
    let now = sight.now();
    let times = [
        ("Token expires", provider.expires_at),
        ("Next renewal", provider.next_refresh_at),
        (
            "Login ends",
            provider.login.as_ref().and_then(|login| login.ends_at),
        ),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            put!(page, "<div><dt>", name, "</dt><dd>");
            time(page, at.0, now);
            page.markup("</dd></div>\n");
        }
    }
    let requests = provider.requests;
    put!(
        page,
        "<div><dt>Since the start</dt><dd><span class=\"served\">",
        human::count(requests.served),
        "</span> served, <span class=\"failed\">",
        human::count(requests.failed),
        "</span> failed, <span class=\"in-flight\">",
        human::count(requests.in_flight),
        "</span> under way</dd></div>\n</dl>\n"
    );
    let logins: Vec<_> = sight
        .logins
        .iter()
        .filter(|login| login.provider == provider.name)
        .collect();
    if logins.len() > 1 {
        several(page, sight, provider, &logins);
    } else if let Some(quota) = &provider.quota {
        windows(page, sight, quota);
    }
    page.markup("</article>\n");
}

/// Each of several logins.
fn several(page: &mut Html, sight: &PageView, provider: &ProviderStatus, logins: &[&LoginEntry]) {
    put!(
        page,
        "<table>\n<caption>Logins of ",
        provider.display_name,
        "</caption>\n<thead><tr><th scope=\"col\">Login</th><th scope=\"col\">State</th></tr></thead>\n<tbody>\n"
    );
    for login in logins {
        let name = login.label.as_deref().unwrap_or("main login");
        put!(page, "<tr><th scope=\"row\">", name);
        if login.next {
            page.markup(" <span class=\"quiet\">next</span>");
        }
        page.markup("</th><td>");
        if let Some(cooldown) = &login.cooldown {
            page.markup("cooling down, used again ");
            time(page, cooldown.until.0, sight.now());
        } else {
            put!(page, login.state.in_words());
            if let Some(at) = login.expires_at {
                page.markup("; token expires ");
                time(page, at.0, sight.now());
            }
        }
        if let Some(quota) = &login.quota {
            windows(page, sight, quota);
        }
        page.markup("</td></tr>\n");
    }
    page.markup("</tbody>\n</table>\n");
}

/// How much of a quota is used.
fn windows(page: &mut Html, sight: &PageView, quota: &QuotaStatus) {
    page.markup("<dl class=\"quota\">\n");
    for window in &quota.windows {
        let used = window.used_percent.min(100);
        let level = match used {
            100 => HealthLevel::Bad,
            80.. => HealthLevel::Attention,
            _ => HealthLevel::Good,
        };
        put!(
            page,
            "<div><dt>Quota ",
            window.name,
            "</dt><dd><svg class=\"meter\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
            "<rect class=\"track\" width=\"100\" height=\"4\"/><rect class=\"",
            level.word(),
            "\" width=\"",
            used,
            "\" height=\"4\"/></svg><span class=\"used\">",
            window.used_percent,
            " %</span> used"
        );
        if let Some(at) = window.resets_at {
            page.markup(", begins again ");
            time(page, at.0, sight.now());
        }
        page.markup("</dd></div>\n");
    }
    page.markup("</dl>\n");
}
