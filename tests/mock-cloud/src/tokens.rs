//! The tokens that the cloud has issued, and which are valid: families of single-use refresh
//! tokens, access tokens, agent keys, device codes.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::authorize::Authorized;
use crate::codex::Account;
use crate::options::Policy;

/// One login: every token that descends from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Family(pub(crate) u64);

/// What a grant hands out.
#[derive(Debug, Clone)]
pub struct Login {
    /// The login that it belongs to.
    pub family: Family,
    /// For inference, or to mint an agent key with.
    pub access_token: String,
    /// Good for one refresh.
    pub refresh_token: String,
    /// Seconds.
    pub expires_in: i64,
    /// When the access token ends.
    pub expires_at: DateTime<Utc>,
    /// The granted scope.
    pub scope: String,
}

/// What an agent-key request hands out.
#[derive(Debug, Clone)]
pub(crate) struct AgentKey {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) reused: bool,
}

/// What became of a refresh token that was presented.
#[derive(Debug)]
pub(crate) enum Presented {
    Rotated(Login),
    /// It was spent just now: the same answer again.
    Reissued(Login),
    /// It was spent before: the family is revoked now.
    Reused,
    Unknown,
}

#[derive(Debug, Clone)]
struct Bearer {
    family: Family,
    expires_at: DateTime<Utc>,
    inference: bool,
}

#[derive(Debug, Clone)]
struct FamilyState {
    alive: bool,
    refresh_token: String,
    ends_at: DateTime<Utc>,
    /// Whose it is, in Codex's dialect.
    account: Option<Account>,
}

#[derive(Debug, Clone)]
struct RefreshToken {
    family: Family,
    /// When it was spent, and what for.
    spent: Option<(DateTime<Utc>, Login)>,
}

/// A device code on its way to a login.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) user_code: String,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) interval: u64,
    pub(crate) last_poll: Option<DateTime<Utc>>,
    pub(crate) verdict: Option<bool>,
}

/// The cloud's memory of its tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    next: u64,
    families: HashMap<Family, FamilyState>,
    refresh: HashMap<String, RefreshToken>,
    access: HashMap<String, Bearer>,
    keys: HashMap<String, (Bearer, String)>,
    pub(crate) devices: HashMap<String, Device>,
    pub(crate) codes: HashMap<String, Authorized>,
    /// Authorization codes of Codex's device login, each with the verifier that belongs to it.
    pub(crate) device_codes: HashMap<String, String>,
    secrets: Vec<String>,
    last_used: Option<String>,
}

impl Tokens {
    /// A fresh grant, as after a login.
    pub(crate) fn login(&mut self, policy: &Policy, now: DateTime<Utc>) -> Login {
        self.next += 1;
        let family = Family(self.next);
        let ends_at = now + span(policy.grant_lifetime);
        let state = FamilyState {
            alive: true,
            refresh_token: String::new(),
            ends_at,
            account: policy.account.clone(),
        };
        self.families.insert(family, state);
        self.grant(family, policy, now, true)
    }

    /// Spends a refresh token. `rotate` is false for a portal that keeps them.
    pub(crate) fn present(
        &mut self,
        token: &str,
        policy: &Policy,
        now: DateTime<Utc>,
        rotate: bool,
    ) -> Presented {
        let Some(RefreshToken { family, spent }) = self.refresh.get(token).cloned() else {
            return Presented::Unknown;
        };
        let state = &self.families[&family];
        let good = state.alive && state.ends_at > now;
        if let Some((at, login)) = spent {
            let is_last = state.refresh_token == login.refresh_token;
            if good && is_last && now < at + span(policy.grace) {
                return Presented::Reissued(login);
            }
            self.revoke(family);
            return Presented::Reused;
        }
        if !good {
            return Presented::Unknown;
        }
        let login = self.grant(family, policy, now, rotate);
        if rotate {
            let spent = Some((now, login.clone()));
            let state = RefreshToken { family, spent };
            self.refresh.insert(token.to_owned(), state);
        }
        Presented::Rotated(login)
    }

    fn grant(
        &mut self,
        family: Family,
        policy: &Policy,
        now: DateTime<Utc>,
        rotate: bool,
    ) -> Login {
        let expires_at = now + span(policy.access_ttl);
        let access_token = self.access_token(family, policy, now, expires_at);
        let inference = policy.account.is_some()
            || (policy.opaque_tokens_infer || !policy.opaque_access_tokens)
                && policy.scope.contains(crate::SCOPE);
        self.access.insert(
            access_token.clone(),
            Bearer {
                family,
                expires_at,
                inference,
            },
        );
        let refresh_token = if rotate {
            let token = self.secret("rt");
            let fresh = RefreshToken {
                family,
                spent: None,
            };
            self.refresh.insert(token.clone(), fresh);
            let state = self.families.get_mut(&family).expect("a known family");
            state.refresh_token.clone_from(&token);
            token
        } else {
            self.families[&family].refresh_token.clone()
        };
        Login {
            family,
            access_token,
            refresh_token,
            expires_in: i64::try_from(policy.access_ttl.as_secs()).unwrap_or(i64::MAX),
            expires_at,
            scope: policy.scope.clone(),
        }
    }

    fn access_token(
        &mut self,
        family: Family,
        policy: &Policy,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> String {
        let id = self.secret("at");
        if policy.opaque_access_tokens {
            return id;
        }
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"alg": "HS256", "typ": "JWT"}));
        let mut claims = json!({
            "sub": policy.subject.clone().unwrap_or_else(|| format!("user-{}", family.0)), "jti": id, "iat": now.timestamp(), "exp": expires_at.timestamp(),
            "scope": policy.scope,
        });
        if let Some(account) = &self.families[&family].account {
            claims["https://api.openai.com/auth"] = json!({
                "chatgpt_account_id": account.id, "chatgpt_plan_type": "plus",
                "chatgpt_data_residency": account.residency,
                "chatgpt_compute_residency": "no_constraint",
            });
        }
        let claims = part(claims);
        let signature = URL_SAFE_NO_PAD.encode(random_bytes());
        let token = format!("{header}.{claims}.{signature}");
        self.secrets.push(token.clone());
        token
    }

    /// A key for a valid access token. One that lives long enough is given again.
    pub(crate) fn mint(
        &mut self,
        access_token: &str,
        min_ttl: Duration,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> Option<AgentKey> {
        let family = self.valid_access(access_token, now)?;
        let until = now + span(min_ttl);
        let old = self
            .keys
            .iter()
            .find(|(_, (b, _))| b.family == family && b.expires_at > until);
        if let Some((key, (bearer, id))) = old {
            let (key, id, expires_at) = (key.clone(), id.clone(), bearer.expires_at);
            return Some(AgentKey {
                key,
                id,
                expires_at,
                reused: true,
            });
        }
        let key = self.secret("ak");
        let id = format!("key-{:08x}", fastrand::u32(..));
        let expires_at = now + span(ttl.max(min_ttl));
        let bearer = Bearer {
            family,
            expires_at,
            inference: true,
        };
        self.keys.insert(key.clone(), (bearer, id.clone()));
        Some(AgentKey {
            key,
            id,
            expires_at,
            reused: false,
        })
    }

    fn valid_access(&self, token: &str, now: DateTime<Utc>) -> Option<Family> {
        let bearer = self.access.get(token)?;
        (bearer.expires_at > now && self.families[&bearer.family].alive).then_some(bearer.family)
    }

    /// The bearer that the inference API took last.
    pub(crate) fn last_used(&self) -> Option<String> {
        self.last_used.clone()
    }

    /// Whether the inference API takes this bearer now.
    pub(crate) fn may_infer(&mut self, token: &str, now: DateTime<Utc>) -> bool {
        let bearer = self.access.get(token).filter(|bearer| bearer.inference);
        let bearer = bearer.or_else(|| self.keys.get(token).map(|(bearer, _)| bearer));
        let taken = bearer.is_some_and(|b| b.expires_at > now && self.families[&b.family].alive);
        if taken && self.last_used.as_deref() != Some(token) {
            self.last_used = Some(token.to_owned());
        }
        taken
    }

    /// Whose this access token is.
    pub(crate) fn account_of(&self, access_token: &str) -> Option<Account> {
        let bearer = self.access.get(access_token)?;
        self.families.get(&bearer.family)?.account.clone()
    }

    /// Ends a login and all its tokens.
    pub(crate) fn revoke(&mut self, family: Family) {
        self.families
            .get_mut(&family)
            .expect("a known family")
            .alive = false;
    }

    /// Ends one access token or key.
    pub(crate) fn revoke_bearer(&mut self, bearer: &str) {
        self.access.remove(bearer);
        self.keys.remove(bearer);
    }

    /// Ends all access tokens and keys; refresh tokens stay.
    pub(crate) fn revoke_bearers(&mut self) {
        self.access.clear();
        self.keys.clear();
    }

    pub(crate) fn is_alive(&self, family: Family) -> bool {
        self.families.get(&family).is_some_and(|state| state.alive)
    }

    pub(crate) fn current_refresh_token(&self, family: Family) -> Option<String> {
        self.families
            .get(&family)
            .map(|state| state.refresh_token.clone())
    }

    pub(crate) fn family_of(&self, refresh_token: &str) -> Option<Family> {
        Some(self.refresh.get(refresh_token)?.family)
    }

    pub(crate) fn issued(&self) -> Vec<String> {
        self.secrets.clone()
    }

    /// A new secret, remembered for the tests that look for it.
    pub(crate) fn secret(&mut self, kind: &str) -> String {
        let secret = format!("mock-{kind}-{}", URL_SAFE_NO_PAD.encode(random_bytes()));
        self.secrets.push(secret.clone());
        secret
    }
}

fn random_bytes() -> [u8; 24] {
    std::array::from_fn(|_| fastrand::u8(..))
}

pub(crate) fn span(duration: Duration) -> chrono::Duration {
    chrono::Duration::from_std(duration).unwrap_or(chrono::Duration::MAX)
}
