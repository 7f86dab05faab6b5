//! Texts about routes.

use super::view::{DecidedBy, RouteView, RoutedRequest, Routes};
use crate::cli::text::{Style, inline};

/// All routes, or where one request goes.
pub(in crate::cli) fn routes(routes: &Routes, style: Style) -> String {
    match &routes.request {
        Some(request) => one(request, routes, style),
        None => all(routes, style),
    }
}

fn all(routes: &Routes, style: Style) -> String {
    let mut text = String::new();
    if routes.rules.is_empty() && routes.aliases.is_empty() && routes.default_model.is_none() {
        text += &style.prose("There are no routes: /v1 is the provider of its address.");
    }
    let mut row = |label: &str, value: &str| text += &style.row("", label, 16, value);
    for (index, route) in routes.rules.iter().enumerate() {
        row(&format!("route[{index}]"), &rule(route));
    }
    for alias in &routes.aliases {
        let told = format!("{} is {}", inline(&alias.name), inline(&alias.model));
        row("alias", &told);
    }
    if let Some(model) = &routes.default_model {
        row("default model", &inline(model));
    }
    row("all others", &inline(&routes.default_provider));
    text
}

/// What a route takes, and where that goes.
fn rule(route: &RouteView) -> String {
    let listed = |words: &[String]| inline(&words.join(", "));
    let mut parts = Vec::new();
    if !route.paths.is_empty() {
        parts.push(listed(&route.paths));
    }
    if !route.models.is_empty() {
        parts.push(format!("models {}", listed(&route.models)));
    }
    let to = format!("{} to {}", parts.join(" with "), inline(&route.provider));
    match &route.model {
        Some(model) => format!("{to} as {}", inline(model)),
        None => to,
    }
}

fn one(request: &RoutedRequest, routes: &Routes, style: Style) -> String {
    let (provider, path) = (inline(&request.provider), inline(&request.path));
    let mut text = style.prose(&format!("/v1{path} goes to {provider}."));
    let mut row = |label: &str, value: &str| text += &style.row("  ", label, 14, value);
    let decided = match (request.decided_by, request.route) {
        (DecidedBy::Route, Some(at)) => {
            let route = routes.rules.get(at).map(rule).unwrap_or_default();
            format!("route[{at}]: {route}")
        }
        (DecidedBy::Name, _) => "the provider's name in front of the model".to_owned(),
        (DecidedBy::Path, _) => "the provider's name in front of the path".to_owned(),
        (DecidedBy::Route | DecidedBy::Address, _) => "the provider of the address".to_owned(),
    };
    row("decided by", &decided);
    for one in &request.addresses {
        let told = format!("{} goes to {}", inline(&one.address), inline(&one.provider));
        row("but", &told);
    }
    if request.all_models {
        row(
            "answer",
            "the models of all providers that a request may go to",
        );
    }
    // An empty name does not count.
    let named = request.model.as_ref().filter(|model| !model.is_empty());
    match (named, &request.looked_at) {
        (Some(model), Some(meant)) if model != meant => {
            row("alias", &format!("{} is {}", inline(model), inline(meant)));
        }
        (None, Some(meant)) => row("default model", &inline(meant)),
        _ => {}
    }
    if let Some(model) = &request.sent_model {
        row("asks for", &inline(model));
    }
    let read = if request.reads_body {
        "until its model has come"
    } else {
        "not read"
    };
    row("body", read);
    if request.served == Some(false) {
        let told = format!("{provider} has no {path}: such a request gets a 404");
        row("problem", &told);
    }
    text
}
