//! The page's top and end: the verdict with its fix, and the numbers of today. Pure.

use super::health::{HealthLevel, pill};
use super::markup::{Html, put};
use super::{PageUsage, PageView, usage};
use crate::control::human;
use crate::control::judge;
use crate::control::protocol::{Finding, Timestamp};

/// Name and version, and since when it runs.
pub(super) fn header(page: &mut Html, sight: &PageView) {
    let daemon = &sight.status.daemon;
    put!(
        page,
        "<header>\n<h1>hermes-proxyd <span class=\"version\">",
        daemon.version,
        "</span></h1>\n<p class=\"quiet\">Up for ",
        human::duration(daemon.uptime_seconds),
        "</p>\n</header>\n"
    );
}

/// How all is: the judge's findings with the commands that fix them.
pub(super) fn verdict(page: &mut Html, sight: &PageView, findings: &[Finding]) {
    let level = HealthLevel::of(findings);
    put!(
        page,
        "<section class=\"verdict ",
        level.word(),
        "\" aria-labelledby=\"verdict\">\n<h2 id=\"verdict\">"
    );
    match level {
        HealthLevel::Good => page.markup("All is well"),
        HealthLevel::Attention => page.markup("It works, but needs attention"),
        HealthLevel::Bad => page.markup("Apps get errors, or will soon"),
    }
    page.markup("</h2>\n");
    if findings.is_empty() {
        put!(page, "<p>", ready(sight), "</p>\n");
    } else {
        page.markup("<ul class=\"findings\">\n");
        for finding in findings {
            page.markup("<li>");
            pill(page, HealthLevel::of([finding]));
            put!(page, " <span>", finding.text, ".");
            if let Some(command) = &finding.command {
                put!(page, " Run <code>", command, "</code>");
            }
            page.markup("</span></li>\n");
        }
        page.markup("</ul>\n");
    }
    page.markup("</section>\n");
}

fn ready(sight: &PageView) -> String {
    let providers = sight.status.providers.iter();
    let names: Vec<_> = providers.map(|one| &*one.display_name).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("{one} is ready."),
        [rest @ .., last] => format!("{} and {last} are ready.", rest.join(", ")),
    }
}

/// How many providers serve requests, and how many there are.
pub(super) fn providers_ready(sight: &PageView) -> (usize, usize) {
    let findings = judge::findings(&sight.status);
    let providers = &sight.status.providers;
    let serves = |name: &str| !judge::about(&findings, name).iter().any(|one| one.blocks);
    let ready = providers.iter().filter(|one| serves(&one.name)).count();
    (ready, providers.len())
}

/// Requests that are under way.
pub(super) fn under_way(sight: &PageView) -> u64 {
    sight
        .status
        .providers
        .iter()
        .map(|one| one.requests.in_flight)
        .sum()
}

/// The numbers of today.
pub(super) fn figures(page: &mut Html, sight: &PageView) {
    let (ready, all) = providers_ready(sight);
    page.markup("<section aria-labelledby=\"today\">\n<h2 id=\"today\">Today</h2>\n<dl class=\"figures\">\n");
    if let Some(today) = usage::today(sight) {
        figure(
            page,
            "requests-today",
            "Requests",
            &human::count(today.requests),
        );
        figure(
            page,
            "tokens-today",
            "Tokens",
            &human::count(today.total_tokens),
        );
        figure(page, "failed-today", "Failed", &human::count(today.failed));
    }
    figure(
        page,
        "under-way",
        "Under way",
        &human::count(under_way(sight)),
    );
    figure(
        page,
        "providers-ready",
        "Providers ready",
        &format!("{ready} of {all}"),
    );
    page.markup("</dl>\n");
    match &sight.usage {
        PageUsage::Off => page.markup(
            "<p class=\"quiet\">Usage is not counted: set <code>enabled = true</code> under <code>[usage]</code> in the \
             configuration.</p>\n",
        ),
        PageUsage::Unknown(why) => put_fault(page, why),
        PageUsage::Hidden => {}
        PageUsage::Known(counts) => {
            if let Some(fault) = &counts.days.fault {
                put!(page, "<p class=\"quiet\">The last requests are not saved: ", fault, ".</p>\n");
            }
        }
    }
    page.markup("</section>\n");
}

fn put_fault(page: &mut Html, why: &str) {
    put!(page, "<p class=\"quiet\">", why, "</p>\n");
}

fn figure(page: &mut Html, id: &'static str, name: &'static str, value: &str) {
    put!(
        page,
        "<div><dt>",
        name,
        "</dt><dd id=\"",
        id,
        "\">",
        value,
        "</dd></div>\n"
    );
}

/// When the page was made.
pub(super) fn footer(page: &mut Html, sight: &PageView) {
    put!(
        page,
        "<footer>\n<p>As of <time id=\"as-of\" datetime=\"",
        Timestamp(sight.now()),
        "\">",
        sight.now().format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        "</time>. <span id=\"refresh\">Reload the page for newer numbers.</span></p>\n</footer>\n"
    );
}
