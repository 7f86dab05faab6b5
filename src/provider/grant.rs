//! What a token endpoint granted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{LoginTokens, Renewal, jwt, token_client};

/// What the token endpoint granted. Its fields are merged into the login by
/// [`Adapter::apply`](super::Adapter::apply).
#[derive(Clone)]
pub struct Grant {
    answer: Map<String, Value>,
    renewal: Renewal,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("renewal", &self.renewal)
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// What the endpoint answered to a renewal of this way; an adapter makes it.
    pub fn new(answer: Map<String, Value>, renewal: Renewal) -> Self {
        Self { answer, renewal }
    }

    /// What the endpoint answered, to be merged into a login. Holds secrets.
    pub fn into_answer(self) -> Map<String, Value> {
        self.answer
    }

    /// The tokens alone, received at `now`.
    pub fn tokens(&self, now: DateTime<Utc>) -> LoginTokens {
        LoginTokens::of_answer(&self.answer, now)
    }

    /// What a login gave.
    pub(super) fn of_login(answer: Map<String, Value>) -> Self {
        let renewal = Renewal::Refresh;
        Self { answer, renewal }
    }

    /// How it was got.
    pub fn renewal(&self) -> Renewal {
        self.renewal
    }

    /// How long the bearer lives from its receipt, when the endpoint says so (`expires_in`, RFC
    /// 6749 §5.1). By the receiver's clock, so a clock that is wrong does no harm.
    pub fn lifetime(&self) -> Option<Duration> {
        let seconds = token_client::seconds(self.answer.get("expires_in"));
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// The same for an access token that is a JWT with its own lifetime: `expires_in` does not
    /// prolong it.
    pub(super) fn jwt_lifetime(&self) -> Option<Duration> {
        let told = self.lifetime();
        let token = self.answer.get("access_token").and_then(Value::as_str);
        let life = token
            .and_then(jwt::Claims::decode)
            .and_then(|claims| claims.life());
        match (told, life) {
            // A lifetime that has nothing to do with the token's own is a mistake.
            (Some(told), Some(life)) if told.saturating_mul(10) < life => Some(life),
            (Some(told), Some(life)) => Some(told.min(life)),
            (told, life) => told.or(life),
        }
    }
}
