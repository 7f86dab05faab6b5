//! The terms by which a login is kept, and how a reload changes them while it is in use.
//!
//! A keeper outlives a reload: it owns tokens that must not be lost or spent twice. A reload changes its terms. A
//! handle for the new terms applies them at once; the keeper applies them after its current step, since a renewal
//! under way may have spent a token. Until then the handle judges the login behind the last snapshot itself, so
//! that no request waits for the keeper, and none goes where the former terms led.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::keeper_settings::KeeperSettings;
use super::pool::Strategy;
use super::standing::{Availability, Snapshot};
use crate::provider::{Adapter, Assessment};

/// By what a login is kept.
#[derive(Debug, Clone)]
pub struct KeeperContext {
    /// What knows the provider.
    pub adapter: Arc<dyn Adapter>,
    /// Durations, and the receiver of notices.
    pub settings: KeeperSettings,
    /// Nothing asks for the provider, so its missing login is not a problem.
    pub optional: bool,
    /// Which of its logins a request goes with.
    pub strategy: Strategy,
}

/// A keeper's terms, numbered from its first ones on.
#[derive(Debug)]
pub(super) struct Revision {
    pub(super) number: u64,
    pub(super) terms: KeeperContext,
}

impl Revision {
    /// The terms that a keeper begins with.
    pub(super) fn first(terms: KeeperContext) -> Self {
        Self { number: 0, terms }
    }

    /// Those that follow these.
    pub(super) fn next(&self, terms: KeeperContext) -> Self {
        Self {
            number: self.number.saturating_add(1),
            terms,
        }
    }

    /// The content of a snapshot that was made by other terms, by these terms.
    pub(super) fn judge(&self, snapshot: &Snapshot, now: DateTime<Utc>) -> Availability {
        let Availability::Credential(known) = &snapshot.standing else {
            return snapshot.standing.clone();
        };
        let Some(login) = &snapshot.login else {
            // A login outside the stores is read by the keeper alone. A key goes to the host that
            // it is for.
            return if snapshot.revision < self.number {
                Availability::Starting
            } else {
                snapshot.standing.clone()
            };
        };
        match self.terms.adapter.assess(login, now) {
            Assessment::Login {
                credential: Some(mut credential),
                ..
            } => {
                if credential.bearer.same(&known.bearer) {
                    credential.issued_at = known.issued_at;
                    credential.expires_at = known.expires_at;
                }
                Availability::Credential(Arc::new(credential))
            }
            // The keeper reports why.
            Assessment::Login {
                credential: None, ..
            }
            | Assessment::NoLogin { .. } => Availability::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use async_trait::async_trait;
    use serde_json::json;

    use super::super::Initiative;
    use super::*;
    use crate::config::{AllowedPath, ProviderName};
    use crate::provider::{
        BaseUrl, BearerKind, Credential, Grant, Layout, Login, Remedy, Renewal, TokenError,
    };
    use crate::secret::Secret;

    /// A provider at a place.
    #[derive(Debug)]
    struct At(ProviderName, &'static str);

    #[async_trait]
    impl Adapter for At {
        fn name(&self) -> &ProviderName {
            &self.0
        }

        fn display_name(&self) -> &'static str {
            self.1
        }

        fn allowed_paths(&self) -> &[AllowedPath] {
            &[]
        }

        fn remedy(&self) -> Remedy {
            Remedy::Run("log in".to_owned())
        }

        fn layout(&self) -> Option<&'static dyn Layout> {
            Some(super::super::tests::layout())
        }

        fn assess(&self, login: &Login, _now: DateTime<Utc>) -> Assessment {
            let bearer = login.secret("access_token");
            Assessment::Login {
                credential: bearer.map(|bearer| credential(bearer, self.1)),
                renewal: Renewal::Refresh,
            }
        }

        async fn renew(&self, _login: &Login, _renewal: Renewal) -> Result<Grant, TokenError> {
            Err(TokenError::AccessTokenRefused)
        }

        fn apply(&self, _login: &mut Login, _grant: Grant, _now: DateTime<Utc>) {}
    }

    fn credential(bearer: Secret, place: &str) -> Credential {
        Credential {
            authorization: bearer.authorization("Bearer").unwrap(),
            bearer,
            base_url: BaseUrl::new(&place.parse().unwrap()).unwrap(),
            kind: BearerKind::new("test", Renewal::Refresh),
            issued_at: None,
            expires_at: None,
            headers: Vec::new(),
        }
    }

    fn revision(number: u64, place: &'static str) -> Revision {
        Revision {
            number,
            terms: KeeperContext {
                adapter: Arc::new(At(ProviderName::new("test").unwrap(), place)),
                settings: KeeperSettings {
                    refresh_lead: Duration::from_mins(5),
                    token_timeout: Duration::from_secs(1),
                    wait: Duration::from_secs(1),
                    initiative: Initiative::Keeps,
                    audience: None,
                },
                optional: false,
                strategy: Strategy::default(),
            },
        }
    }

    /// By the first terms, at `http://127.0.0.1:1`.
    fn snapshot(revision: u64, login: Option<&str>, end: DateTime<Utc>) -> Snapshot {
        let fields = |token: &str| json!({"access_token": token}).as_object().cloned().unwrap();
        let login = login.map(|token| Login::new(fields(token), super::super::tests::layout()));
        let mut credential = credential(Secret::new("a".to_owned()), "http://127.0.0.1:1");
        credential.expires_at = Some(end);
        Snapshot {
            generation: 7,
            standing: Availability::Credential(Arc::new(credential)),
            revision,
            login: login.map(Arc::new),
            retry_at: None,
            proven: Arc::new(AtomicBool::new(true)),
            granted_at: None,
            row: Arc::default(),
        }
    }

    #[test]
    fn a_credential_by_other_terms_is_judged_anew_and_a_key_waits_for_its_reading() {
        let now: DateTime<Utc> = "2026-11-29T12:00:00Z".parse().unwrap();
        let place = |standing: Availability| {
            let Availability::Credential(one) = standing else {
                return None;
            };
            Some((one.base_url.to_string(), one.expires_at))
        };
        let old = || Some(("http://127.0.0.1:1".to_owned(), Some(now)));
        let newer = revision(1, "http://127.0.0.1:2");
        // The same token, whose lifetime counted from its receipt.
        let same = newer.judge(&snapshot(0, Some("a"), now), now);
        assert_eq!(
            place(same),
            Some(("http://127.0.0.1:2".to_owned(), Some(now)))
        );
        // Another one of the same login.
        let other = newer.judge(&snapshot(0, Some("b"), now), now);
        assert_eq!(place(other), Some(("http://127.0.0.1:2".to_owned(), None)));
        // The new host gets no key that was for the former one.
        let unread = newer.judge(&snapshot(0, None, now), now);
        assert!(matches!(unread, Availability::Starting), "{unread:?}");
        // A request from before the reload keeps to its own configuration, or gets a key for its host.
        let older = revision(1, "http://127.0.0.1:2");
        let before = older.judge(&snapshot(2, Some("a"), now), now);
        assert_eq!(
            place(before),
            Some(("http://127.0.0.1:2".to_owned(), Some(now)))
        );
        assert_eq!(place(older.judge(&snapshot(2, None, now), now)), old());
    }
}
