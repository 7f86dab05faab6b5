//! How the login lies in the store: its tokens in a table of their own.

use std::time::Duration;

use serde_json::Value;

use super::super::token_client::seconds;
use crate::clock;
use crate::provider::{Layout, Login, Tokens};

/// The layout of the block `xai-oauth`.
pub(in crate::provider) const LAYOUT: &dyn Layout = &Block;

#[derive(Debug)]
struct Block;

/// The table that holds the tokens.
pub(super) fn inner(login: &Login) -> Login {
    let tokens = login.fields().get("tokens").and_then(Value::as_object);
    Login::new(tokens.cloned().unwrap_or_default(), LAYOUT)
}

fn edit(login: &mut Login, change: impl FnOnce(&mut Login)) {
    let mut tokens = inner(login);
    change(&mut tokens);
    login.set("tokens", tokens.into_fields());
}

impl Layout for Block {
    fn key(&self) -> &'static str {
        "xai-oauth"
    }

    fn is_in_root_only(&self) -> bool {
        true
    }

    fn tokens(&self, login: &Login) -> Tokens {
        let tokens = inner(login);
        let obtained = login.time("last_refresh");
        let life = seconds(tokens.fields().get("expires_in"));
        let expires = obtained.filter(|_| life > 0);
        Tokens {
            access: tokens.secret("access_token"),
            refresh: tokens.secret("refresh_token"),
            minted: None,
            obtained,
            expires: expires.map(|at| clock::after(at, Duration::from_secs(life))),
        }
    }

    fn put(&self, login: &mut Login, tokens: &Tokens) {
        edit(login, |inner| {
            for (key, token) in [
                ("access_token", &tokens.access),
                ("refresh_token", &tokens.refresh),
            ] {
                if let Some(token) = token {
                    inner.set(key, token.expose().to_owned());
                }
            }
        });
        if let Some(at) = tokens.obtained {
            login.set("last_refresh", at.to_rfc3339());
        }
    }

    fn remove_refresh(&self, login: &mut Login) {
        edit(login, |tokens| tokens.remove("refresh_token"));
    }

    fn remove_tokens(&self, login: &mut Login) {
        login.remove("tokens");
        login.remove("last_refresh");
    }

    fn remove_grant(&self, login: &mut Login) {
        self.remove_tokens(login);
        login.remove("auth_mode");
    }

    fn is_countdown(&self, _key: &str) -> bool {
        false
    }

    fn row_value<'l>(&self, login: &'l Login, key: &str) -> Option<&'l Value> {
        let tokens = login.fields().get("tokens");
        let token = tokens.and_then(|tokens| tokens.get(key));
        token.or_else(|| login.fields().get(key))
    }
}
