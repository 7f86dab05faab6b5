//! The latest failures: the kind, when, and where; nothing of requests or answers. Pure.

use std::collections::BTreeMap;

use super::PageView;
use super::markup::{Html, put};
use super::time::time;
use crate::control::human;

/// So many kinds are listed.
const MOST_KINDS: usize = 10;

/// The last failures, and how many there were of each kind.
pub(super) fn section(page: &mut Html, sight: &PageView) {
    page.markup("<section aria-labelledby=\"errors\">\n<h2 id=\"errors\">Last errors</h2>\n");
    logins(page, sight);
    if sight.failures.is_empty() {
        page.markup("<p>No request has failed since the start.</p>\n");
    } else {
        page.markup(
            "<table id=\"errors-table\" class=\"card\">\n<caption>Requests that failed since the start, the latest first</caption>\n\
             <thead><tr><th scope=\"col\">Error</th><th scope=\"col\">Where</th><th scope=\"col\">When</th></tr></thead>\n<tbody>\n",
        );
        for failure in &sight.failures {
            put!(
                page,
                "<tr><th scope=\"row\"><code>",
                failure.code,
                "</code></th><td>"
            );
            let parts = [
                Some(&failure.provider),
                Some(&failure.client),
                failure.about.as_ref(),
            ];
            let parts: Vec<_> = parts
                .into_iter()
                .flatten()
                .filter(|part| !part.is_empty())
                .cloned()
                .collect();
            put!(page, parts.join(", "), "</td><td>");
            time(page, failure.at, sight.now());
            page.markup("</td></tr>\n");
        }
        page.markup("</tbody>\n</table>\n");
    }
    kinds(page, sight);
    page.markup("</section>\n");
}

/// What went wrong with logins last.
fn logins(page: &mut Html, sight: &PageView) {
    let providers = sight.status.providers.iter();
    let errors = providers.filter_map(|one| Some((one, one.last_error.as_ref()?)));
    let errors: Vec<_> = errors.collect();
    if errors.is_empty() {
        return;
    }
    page.markup("<ul class=\"plain\">\n");
    for (provider, error) in errors {
        put!(
            page,
            "<li>Login of ",
            provider.display_name,
            ": <code>",
            error.code,
            "</code>, "
        );
        time(page, error.at.0, sight.now());
        page.markup("</li>\n");
    }
    page.markup("</ul>\n");
}

fn kinds(page: &mut Html, sight: &PageView) {
    let Some(counts) = sight.counts() else {
        return;
    };
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &counts.clients_of_week.rows {
        for (kind, count) in &row.sums.errors {
            *kinds.entry(kind).or_default() += count;
        }
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if kinds.is_empty() {
        return;
    }
    page.markup("<p>In the last 7 days: ");
    for (at, (kind, count)) in kinds.into_iter().take(MOST_KINDS).enumerate() {
        if at > 0 {
            page.markup(", ");
        }
        put!(page, human::count(count), " × <code>", kind, "</code>");
    }
    page.markup("</p>\n");
}
