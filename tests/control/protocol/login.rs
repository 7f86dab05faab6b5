//! Logins.

use super::*;

fn several_logins() -> LoginList {
    let own = LoginEntry {
        provider: "xai".into(),
        display_name: "xAI Grok".into(),
        label: Some("me@example.org".into()),
        row: None,
        source: Some("device_code".into()),
        store: Some("/home/u/.hermes/auth.json".into()),
        separate: false,
        state: ProviderState::Ready,
        next: true,
        cooldown: None,
        expires_at: Some(at("2026-11-23T23:31:00Z")),
        expires_in_seconds: Some(10800),
        quota: None,
        error: None,
    };
    let work = LoginEntry {
        label: Some("work".into()),
        row: Some("ab12cd".into()),
        source: Some("manual:device_code".into()),
        next: false,
        cooldown: Some(Cooldown {
            until: at("2026-11-23T21:31:00Z"),
            in_seconds: 3600,
            status: Some(429),
            code: Some("free_usage_exhausted".into()),
            failures: 2,
        }),
        ..own.clone()
    };
    let gone = LoginEntry {
        label: Some("old".into()),
        row: Some("ef34ab".into()),
        state: ProviderState::LoginNeeded,
        cooldown: None,
        expires_at: None,
        expires_in_seconds: None,
        error: Some("the login has ended (invalid_grant)".into()),
        ..work.clone()
    };
    let api_key = LoginEntry {
        provider: "example".into(),
        display_name: "Example".into(),
        label: None,
        source: None,
        store: None,
        expires_at: None,
        expires_in_seconds: None,
        ..own.clone()
    };
    LoginList {
        now: at("2026-11-23T20:31:00Z"),
        logins: vec![own, work, gone, api_key],
    }
}

#[test]
fn the_answers_about_logins_on_a_page() {
    golden(
        "reply_login_page.json",
        &ok(LoginBegun::Page(LoginPage {
            session: 7,
            provider: "example".into(),
            display_name: "example".into(),
            url: "https://auth.example.com/authorize?response_type=code&client_id=me\
                  &redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcallback&state=s&code_challenge=c\
                  &code_challenge_method=S256"
                .into(),
            redirect_uri: "http://127.0.0.1:4711/callback".into(),
            deaf: None,
            expires_in_seconds: 900,
            trusted_uri: true,
        })),
    );
    golden("reply_login_paste_taken.json", &ok(LoginPasteTaken {}));
}

#[test]
fn the_answers_about_logins() {
    golden(
        "reply_login_existing.json",
        &ok(LoginBegun::Existing(ExistingLogin {
            provider: "nous".into(),
            display_name: "Nous Portal".into(),
            store: "/home/u/.hermes/auth.json".into(),
            separate: false,
            adopted: false,
            same_account_as: None,
        })),
    );
    golden(
        "reply_login_code.json",
        &ok(LoginBegun::Code(LoginCode {
            session: 7,
            provider: "nous".into(),
            display_name: "Nous Portal".into(),
            verification_uri: "https://portal.nousresearch.com/manage-subscription".into(),
            verification_uri_complete: Some(
                "https://portal.nousresearch.com/manage-subscription?code=WDJB-MJHT".into(),
            ),
            user_code: "WDJB-MJHT".into(),
            expires_in_seconds: 900,
            trusted_uri: true,
        })),
    );
    golden(
        "reply_login_pending.json",
        &ok(LoginProgress::Pending(LoginPending {
            expires_in_seconds: 898,
            note: Some("the portal is busy; still trying".into()),
        })),
    );
    golden(
        "reply_login_done.json",
        &ok(LoginProgress::Done(LoginDone {
            provider: "nous".into(),
            display_name: "Nous Portal".into(),
            store: "/home/u/.hermes/auth.json".into(),
            separate: false,
            ends_at: Some(at("2026-12-23T19:44:00Z")),
            label: None,
            same_account_as: None,
        })),
    );
    golden("reply_login_cancelled.json", &ok(LoginCancelled {}));
    golden("reply_logins.json", &ok(several_logins()));
    golden(
        "reply_login_reset.json",
        &ok(LoginResetReport {
            provider: "xai".into(),
            reset: vec!["work".into()],
        }),
    );
    golden(
        "reply_logout.json",
        &ok(LogoutReport {
            provider: "nous".into(),
            removed_from: vec![
                "/home/u/.hermes/auth.json".into(),
                "/home/u/.hermes/shared/nous_auth.json".into(),
            ],
            shared_with_hermes: true,
            still_logged_in: Some("/home/u/.local/state/hermes-proxyd/auth.json".into()),
            copies: vec!["/home/u/.hermes/auth.json.corrupt".into()],
            logins: None,
        }),
    );
    golden(
        "reply_refresh.json",
        &ok(RefreshOutcome {
            provider: "nous".into(),
            result: RefreshResult::Refreshed,
            detail: None,
            expires_at: Some(at("2026-11-23T20:44:00Z")),
        }),
    );
}

/// The status without a login, as daemons answered before there was one, is `reply_status.json`.
#[test]
fn the_answer_on_logins() {
    let mut status = status();
    status.providers[0].login = Some(LoginStatus {
        store: "/home/u/.hermes/auth.json".into(),
        separate: false,
        since: Some(at("2026-11-20T08:00:00Z")),
        ends_at: Some(at("2026-12-20T08:00:00Z")),
        ends_in_seconds: Some(2_290_560),
        ends_soon: false,
        may_be_spent: false,
    });
    golden("reply_status_login.json", &ok(status));
}
