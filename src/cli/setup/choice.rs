//! The provider to set up, if the command line does not name it.

use super::render;
use super::view::Offer;
use crate::cli::args::SetupFlags;
use crate::cli::connection::ask;
use crate::cli::output::{CommandFailure, CommandOutput};
use crate::cli::terminal::{Pick, picked};
use crate::control::protocol::Providers;
use crate::control::protocol::calls;

/// The provider that a person means, if that is not the default one. Asks only if there are several and a person
/// can answer.
pub(super) async fn choose(
    flags: &SetupFlags,
    is_first: bool,
    output: &CommandOutput,
) -> Result<Option<String>, CommandFailure> {
    if flags.yes || output.is_json() {
        return Ok(None);
    }
    // The following steps report faults.
    let Ok(all) = ask(None, async |daemon| daemon.call(calls::Providers).await).await else {
        return Ok(None);
    };
    let offers = offers(&all);
    let chosen = match meant(&offers, is_first) {
        Some(at) => Some(at),
        None => match picked(&render::offers(&offers), offers.len(), first(&offers)) {
            Pick::One(at) => Some(at),
            Pick::Unasked => None,
            Pick::Nothing => return Err(CommandFailure::new("Nothing has changed.")),
        },
    };
    let chosen = chosen.and_then(|at| offers.get(at));
    let chosen = chosen.filter(|offer| !offer.default);
    Ok(chosen.map(|offer| offer.name.clone()))
}

/// What is configured, and what is built in.
fn offers(all: &Providers) -> Vec<Offer> {
    let configured = all.providers.iter().map(|one| Offer {
        name: one.name.clone(),
        display_name: one.display_name.clone(),
        logged_in: one.logged_in,
        default: one.default,
    });
    let others = all.available.iter().map(|one| Offer {
        name: one.name.clone(),
        display_name: one.display_name.clone(),
        logged_in: false,
        default: false,
    });
    configured.chain(others).collect()
}

/// The one that is clearly meant: at the first time the only one with a login, later the default one while it has one.
fn meant(offers: &[Offer], is_first: bool) -> Option<usize> {
    let logged_in = |at: &usize| offers.get(*at).is_some_and(|offer| offer.logged_in);
    let default = offers.iter().position(|offer| offer.default);
    if !is_first {
        return default.filter(logged_in);
    }
    let mut all = (0..offers.len()).filter(logged_in);
    let one = all.next();
    one.filter(|_| all.next().is_none())
}

/// What Enter means: one with a login, else the default one.
fn first(offers: &[Offer]) -> usize {
    let logged_in = offers.iter().position(|offer| offer.logged_in);
    let default = || offers.iter().position(|offer| offer.default);
    logged_in.or_else(default).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(name: &str, logged_in: bool, default: bool) -> Offer {
        Offer {
            name: name.to_owned(),
            display_name: name.to_uppercase(),
            logged_in,
            default,
        }
    }

    #[test]
    fn one_that_is_clearly_meant_is_not_asked_for() {
        let all = |nous, xai| [offer("nous", nous, true), offer("xai", xai, false)];
        for (nous, xai, is_first, clear, enter) in [
            (false, false, true, None, 0),
            (true, false, true, Some(0), 0),
            (false, true, true, Some(1), 1),
            (true, true, true, None, 0),
            (true, true, false, Some(0), 0),
            (false, true, false, None, 1),
        ] {
            let all = all(nous, xai);
            assert_eq!(meant(&all, is_first), clear, "{nous} {xai} {is_first}");
            assert_eq!(first(&all), enter, "{nous} {xai}");
        }
    }
}
