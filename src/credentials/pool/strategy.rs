//! The choice of a provider's login for a request. Pure.

use chrono::{DateTime, Utc};

/// How a pool's logins are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The first one that has something left.
    #[default]
    FillFirst,
    /// One after the other.
    RoundRobin,
}

/// What a strategy sees of a login.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoginView {
    pub(super) usable: Usable,
    pub(super) rests_until: Option<DateTime<Utc>>,
}

/// Whether a login has something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::credentials) enum Usable {
    /// A valid credential.
    Now,
    /// It is being renewed, or read.
    Soon,
    /// Only the user can help.
    No,
}

/// The choice for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StrategyChoice {
    /// The login at this place.
    Login(usize),
    /// None for now: all are cooling down, and the first of them is free at this time.
    AllRest(DateTime<Utc>),
    /// No login can be used.
    NoneUsable,
}

impl Strategy {
    /// The login of the next request; `turn` counts requests. A valid credential goes before one that has to be waited
    /// for.
    pub(super) fn choose(
        self,
        logins: impl Iterator<Item = LoginView> + Clone,
        turn: usize,
    ) -> StrategyChoice {
        let usable = logins
            .enumerate()
            .filter(|(_, login)| login.usable != Usable::No);
        let rested = usable
            .clone()
            .filter(|(_, login)| login.rests_until.is_none());
        if let Some(best) = rested.clone().map(|(_, login)| login.usable).min() {
            let mut best = rested.filter(|(_, login)| login.usable == best);
            let nth = match self {
                Self::FillFirst => 0,
                Self::RoundRobin => turn.checked_rem(best.clone().count()).unwrap_or_default(),
            };
            if let Some((place, _)) = best.nth(nth) {
                return StrategyChoice::Login(place);
            }
        }
        let soonest = usable.filter_map(|(_, login)| login.rests_until).min();
        soonest.map_or(StrategyChoice::NoneUsable, StrategyChoice::AllRest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-29T{time}Z").parse().unwrap()
    }

    fn login(usable: Usable, rests: Option<&str>) -> LoginView {
        LoginView {
            usable,
            rests_until: rests.map(at),
        }
    }

    #[test]
    fn the_first_login_that_has_something_left_is_asked_and_none_where_all_rest() {
        let (none, free) = (login(Usable::No, None), login(Usable::Now, None));
        let soon = login(Usable::Soon, None);
        let long = login(Usable::Now, Some("14:00:00"));
        let short = login(Usable::Now, Some("13:00:00"));
        for (logins, chosen) in [
            (vec![free, free], StrategyChoice::Login(0)),
            (vec![none, free], StrategyChoice::Login(1)),
            (vec![long, free, free], StrategyChoice::Login(1)),
            (vec![soon, free], StrategyChoice::Login(1)),
            (vec![soon, long], StrategyChoice::Login(0)),
            (vec![long, short], StrategyChoice::AllRest(at("13:00:00"))),
            (vec![none, long], StrategyChoice::AllRest(at("14:00:00"))),
            (vec![none, none], StrategyChoice::NoneUsable),
            (vec![], StrategyChoice::NoneUsable),
        ] {
            let choice = Strategy::FillFirst.choose(logins.iter().copied(), 1);
            assert_eq!(choice, chosen, "{logins:?}");
        }
    }

    #[test]
    fn each_in_its_turn_and_those_that_rest_are_passed_over() {
        let (none, free) = (login(Usable::No, None), login(Usable::Now, None));
        let rests = login(Usable::Now, Some("14:00:00"));
        let turns = |logins: &[LoginView]| -> Vec<_> {
            let choose = |turn| Strategy::RoundRobin.choose(logins.iter().copied(), turn);
            (3..7).map(choose).collect()
        };
        let places = |places: [usize; 4]| places.map(StrategyChoice::Login).to_vec();
        assert_eq!(turns(&[free, free, free]), places([0, 1, 2, 0]));
        assert_eq!(turns(&[free, rests, free]), places([2, 0, 2, 0]));
        assert_eq!(turns(&[none, free, free]), places([2, 1, 2, 1]));
        assert_eq!(turns(&[free]), places([0, 0, 0, 0]));
    }
}
