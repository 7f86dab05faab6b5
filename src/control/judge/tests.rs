//! One row for each world: what is wrong in it, and for whom.

use serde_json::{Value, json};

use super::*;

/// A daemon with two providers, both of which work; `edit` is merged into its status.
fn status(edit: Value) -> Status {
    let provider = |name: &str, default: bool| {
        json!({
            "name": name, "display_name": name, "default": default, "state": "ready",
            "unsaved": false, "requests": {"in_flight": 0, "served": 0, "failed": 0},
            "login": {"store": "/h/auth.json", "separate": false, "ends_soon": false,
                      "may_be_spent": false},
        })
    };
    let listener = |address: &str| {
        json!({"address": address, "url": format!("http://{address}/v1"), "provider": "nous",
               "connections": 0})
    };
    let mut status = json!({
        "now": "2026-11-26T12:00:00Z",
        "daemon": {"version": "0.1.0", "pid": 1, "started_at": "2026-11-26T11:00:00Z",
                   "uptime_seconds": 3600, "config_file": null},
        "listeners": [listener("127.0.0.1:8645"), listener("10.0.0.1:8645")],
        "providers": [provider("nous", true), provider("local", false)],
        "client_keys": 0,
    });
    merge(&mut status, edit);
    serde_json::from_value(status).unwrap()
}

fn merge(into: &mut Value, edit: Value) {
    match (into, edit) {
        (Value::Object(into), Value::Object(edit)) => {
            for (key, value) in edit {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(edit)) => {
            for (one, value) in into.iter_mut().zip(edit) {
                merge(one, value);
            }
        }
        (into, edit) => *into = edit,
    }
}

fn first(edit: Value) -> Status {
    status(json!({ "providers": Value::Array(vec![edit]) }))
}

fn other(edit: Value) -> Status {
    status(json!({ "providers": Value::Array(vec![json!({}), edit]) }))
}

/// `code`, with `!` where apps get errors and `#` where no request can be served.
fn told(findings: &[Finding]) -> String {
    let told = findings.iter().map(|one| {
        let bad = if one.severity == Severity::Bad {
            "!"
        } else {
            ""
        };
        let blocks = if one.blocks { "#" } else { "" };
        format!("{bad}{blocks}{}", one.code.as_str())
    });
    told.collect::<Vec<_>>().join(" ")
}

fn at(text: &str) -> Value {
    format!("2026-11-26T{text}Z").into()
}

fn mishap(count: u64, time: &str) -> Value {
    json!({"count": count, "at": at(time), "code": "http_429", "request_id": "49f2c0a51be7d386",
           "from": "172.17.0.2", "about": "nas.lan"})
}

fn error(code: &str, time: &str) -> Value {
    json!({"at": at(time), "code": code, "message": "the file is empty; restore it."})
}

type World = (Status, &'static str);

#[test]
fn each_world_has_its_code() {
    let worlds = worlds_of_logins().into_iter().chain(worlds_of_pools());
    let worlds = worlds
        .chain(other_worlds())
        .chain(worlds_of_the_whole_daemon());
    for (status, expected) in worlds {
        let found = judge(&status);
        assert_eq!(told(&found), expected, "{status:#?}");
    }
}

fn worlds_of_logins() -> Vec<World> {
    let unreadable = |copied: bool| {
        json!({"unreadable": {"at": at("11:59:00"), "reason": "/h/auth.json is empty",
               "command": "mv a b", "copied": copied}})
    };
    let needed = json!({"state": "login_needed", "login_command": "hermesctl auth login nous"});
    let failed_at = |time| json!({"last_error": error("token_endpoint", time)});
    let mut renewed_since = failed_at("11:00:00");
    merge(
        &mut renewed_since,
        json!({"last_refresh": {"at": at("11:30:00"), "result": "refreshed", "detail": null}}),
    );
    let mut expired = failed_at("11:00:00");
    expired["state"] = "unavailable".into();
    expired["failing"] = mishap(9, "11:59:00");
    let ends = |left: i64| json!({"login": {"ends_soon": true, "ends_in_seconds": left}});
    vec![
        (status(json!({})), ""),
        (first(json!({"state": "refreshing"})), ""),
        (first(json!({"state": "of_tomorrow"})), ""),
        (first(needed.clone()), "!#login_needed"),
        (other(needed), "#login_needed"),
        (first(json!({"state": "login_needed"})), "!#login_needed"),
        (first(expired), "!#unavailable"),
        (first(json!({"state": "starting"})), "#starting"),
        (
            first(json!({"state": "store_unreadable"})),
            "!#store_unreadable",
        ),
        (first(unreadable(false)), "!#store_unreadable"),
        (other(unreadable(false)), "#store_unreadable"),
        (first(unreadable(true)), "store_unreadable"),
        // An old daemon's word for it.
        (
            first(json!({"last_error": error("store_unreadable", "11:00:00")})),
            "store_unreadable",
        ),
        (first(failed_at("11:00:00")), "login_trouble"),
        (first(renewed_since), ""),
        (
            first(json!({
                "last_error": error("store_unusable", "11:00:00"),
                "unsavable": {"at": at("11:59:00"), "reason": "the disk is full", "command": null},
            })),
            "!#store_unusable",
        ),
        (first(json!({"unsaved": true})), "unsaved"),
        (first(ends(86_400)), "login_ends_soon"),
        (
            first(json!({"login": {"may_be_spent": true}})),
            "login_may_be_spent",
        ),
    ]
}

fn worlds_of_pools() -> Vec<World> {
    let quota = |used: u64| {
        json!({"at": "2026-11-26T12:00:00Z", "windows": [
            {"name": "minute", "used_percent": 3, "length_seconds": 60, "resets_at": null,
             "resets_in_seconds": null},
            {"name": "week", "used_percent": used, "length_seconds": 604_800,
             "resets_at": "2026-11-27T12:00:00Z", "resets_in_seconds": 86_400}]})
    };
    vec![
        (first(json!({"quota": quota(100)})), "quota_spent"),
        (other(json!({"quota": quota(100)})), "quota_spent"),
        (first(json!({"quota": quota(99)})), ""),
        // Of several, the others serve, and it cools down where it is asked in vain.
        (
            first(json!({"quota": quota(100), "pool": {"logins": 2}})),
            "",
        ),
        (
            first(json!({"pool": {"logins": 3, "cooling_down": ["work"], "ended": ["old"]}})),
            "login_cooling_down login_ended",
        ),
        (
            first(json!({"pool": {"logins": 2, "cooling_down": ["a", "b"],
                                  "used_again_at": "2026-11-26T12:10:00Z"}})),
            "!#logins_cooling_down",
        ),
        (
            other(json!({"pool": {"logins": 2, "cooling_down": ["a", "b"],
                                  "used_again_at": "2026-11-26T12:10:00Z"}})),
            "#logins_cooling_down",
        ),
        (
            first(json!({"state": "login_needed", "login_command": "log in",
                         "pool": {"logins": 2, "ended": ["a", "b"]}})),
            "!#login_needed",
        ),
    ]
}

fn other_worlds() -> Vec<World> {
    let key = json!({"needs_key": true});
    let waiting = json!({"waiting": true});
    vec![
        (
            first(json!({"failing": mishap(1, "11:59:00")})),
            "requests_fail",
        ),
        (
            first(json!({"failing": mishap(3, "11:59:00")})),
            "!requests_fail",
        ),
        // Long ago, and of a provider that no app gets without asking for it.
        (
            first(json!({"failing": mishap(3, "10:00:00")})),
            "requests_fail",
        ),
        (
            other(json!({"failing": mishap(3, "11:59:00")})),
            "requests_fail",
        ),
        (
            status(json!({"refused_apps": mishap(1, "11:55:00")})),
            "requests_refused",
        ),
        (status(json!({"refused_apps": mishap(1, "11:49:00")})), ""),
        (status(json!({"refused": mishap(1, "11:59:00")})), ""),
        (status(json!({"listeners": [waiting]})), "address_missing"),
        (
            status(json!({"listeners": [{"waiting": true, "address": "unix:/run/x"}]})),
            "socket_missing",
        ),
        (
            status(json!({"listeners": [waiting, waiting]})),
            "!#listens_nowhere",
        ),
        (first(json!({"client_keys": 0})), "!#no_client_keys"),
        (other(json!({"client_keys": 0})), "#no_client_keys"),
        (other(json!({"client_keys": 1})), ""),
        (
            status(json!({"listeners": [key], "providers": [{"client_keys": 0}]})),
            "no_client_keys",
        ),
        (status(json!({"listeners": [key]})), "no_client_keys"),
        (status(json!({"listeners": [key, key]})), "!no_client_keys"),
        (
            status(json!({"listeners": [key, waiting]})),
            "!no_client_keys address_missing",
        ),
        (status(json!({"listeners": [key], "client_keys": 1})), ""),
        (status(json!({"listeners": [key], "client_keys": null})), ""),
    ]
}

fn worlds_of_the_whole_daemon() -> Vec<World> {
    let needed = json!({"state": "login_needed", "login_command": "hermesctl auth login nous"});
    let waiting = json!({"waiting": true});
    let both_down = json!({"providers": [needed, needed], "listeners": [waiting, waiting]});
    vec![
        (
            status(json!({"client_keys_fault": "it is empty; restore it"})),
            "client_keys_unreadable",
        ),
        (
            status(json!({"usage_fault": "usage.db: disk is full"})),
            "usage_unsaved",
        ),
        (first(json!({"clock_ahead_seconds": 300})), ""),
        (first(json!({"clock_ahead_seconds": -301})), "clock_wrong"),
        (
            other(json!({"clock_ahead_seconds": 315_360_000})),
            "clock_wrong",
        ),
        (
            status(json!({"daemon": {"needs_restart": ["listen"]}})),
            "restart_needed",
        ),
        // The worst first, the default provider before others, and what is over last.
        (
            status(json!({
                "providers": [{"unsaved": true}, {"state": "store_unreadable"}],
                "daemon": {"needs_restart": ["listen"]},
                "refused_apps": mishap(1, "11:59:00"),
            })),
            "unsaved #store_unreadable restart_needed requests_refused",
        ),
        (
            status(both_down),
            "!#login_needed !#listens_nowhere #login_needed",
        ),
    ]
}

/// What blocks the other provider is bad for its own apps.
#[test]
fn a_provider_is_judged_for_its_own_apps_too() {
    let status = other(json!({
        "state": "login_needed", "login_command": "hermesctl auth login nous",
        "clock_ahead_seconds": 900,
    }));
    assert_eq!(told(&judge_for(&status, "local")), "!#login_needed");
    assert_eq!(judge_for(&status, "local")[0].text, "Login needed");
    assert_eq!(judge(&status)[0].text, "Login needed for local");
    assert_eq!(told(&judge_for(&status, "nous")), "");
    assert_eq!(told(&judge_for(&status, "gone")), "");
    assert!(needs_login(&status, "local") && !needs_login(&status, "nous"));
}

#[test]
fn the_texts_name_the_cause_and_the_command() {
    let table = [
        (
            first(json!({"last_error": error("store", "11:00:00")})),
            "The login of nous works, but can't be kept fresh: its file or the lock beside it \
             can't be used",
            Some("hermesctl doctor"),
        ),
        (
            first(json!({"login": {"ends_soon": true, "ends_in_seconds": -60, "separate": true}})),
            "The login of nous ended 1 min ago",
            Some("hermesctl auth login nous --separate --force"),
        ),
        (
            other(
                json!({"unreadable": {"at": at("11:59:00"), "reason": "/h/auth.json is empty",
                "command": "mv a b", "copied": false}}),
            ),
            "The login can't be read for local: /h/auth.json is empty",
            Some("mv a b"),
        ),
        (
            first(json!({"state": "login_needed", "last_error": error("key_missing", "11:00:00")})),
            "There is no usable API key: the file is empty",
            Some("hermesctl doctor"),
        ),
        (
            status(json!({"refused_apps": mishap(1, "11:58:00")})),
            "A request from 172.17.0.2 was refused 2 min ago, http_429 (nas.lan)",
            Some("hermesctl logs --request 49f2c0a51be7d386"),
        ),
        (
            first(json!({"clock_ahead_seconds": -315_360_000})),
            "This machine's clock is 3650 d behind that of nous",
            Some("hermesctl doctor"),
        ),
    ];
    for (status, text, command) in table {
        let found = judge(&status);
        assert_eq!(found[0].text, text);
        assert_eq!(found[0].command.as_deref(), command);
    }
}

#[test]
fn what_only_hermesctl_knows_takes_its_place() {
    let keys = || vec!["listen".to_owned()];
    let idle = |last_failure| IdleService {
        installed: true,
        last_failure,
    };
    let commands = [
        (
            of_file(&ConfigDrift::Broken, false),
            "hermesctl config check",
        ),
        (
            of_file(&ConfigDrift::Reload, false),
            "hermesctl proxy reload",
        ),
        (
            of_file(&ConfigDrift::Restart(keys()), false),
            "hermesctl proxy restart",
        ),
        (
            of_file(&ConfigDrift::Restart(keys()), true),
            "hermesctl service restart",
        ),
        (not_running(Some(idle(None))), "hermesctl service start"),
        (
            not_running(Some(idle(Some("exited with 78")))),
            "hermesctl config check",
        ),
        (
            not_running(Some(idle(Some("exited with 1")))),
            "hermesctl doctor",
        ),
    ];
    for (finding, command) in commands {
        assert_eq!(finding.command.as_deref(), Some(command));
    }
    assert_eq!(not_running(None).command, None);
    // A restart would lose what is in use.
    assert_eq!(of_file(&ConfigDrift::Gone, true).command, None);

    let mut status = status(json!({
        "daemon": {"needs_restart": ["log.format"]}, "refused_apps": mishap(1, "11:59:00"),
    }));
    let more = of_file(&ConfigDrift::Restart(keys()), true);
    let found = with(&status, Some(more));
    assert_eq!(told(&found), "restart_needed requests_refused");
    assert!(found[0].text.ends_with("listen"), "{}", found[0].text);
    // What a newer daemon finds is shown as it is.
    let strange = json!({"code": "of_tomorrow", "severity": "dire", "text": "The moon is full"});
    status.findings = Some(vec![serde_json::from_value(strange).unwrap()]);
    let found = with(&status, Some(of_file(&ConfigDrift::Broken, false)));
    assert_eq!(told(&found), "of_tomorrow config_broken");
}

#[test]
fn each_code_is_the_same_in_json_and_in_words() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/control/finding_codes.json"
    );
    let codes: Vec<String> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for word in codes {
        let code: FindingCode = serde_json::from_value(word.clone().into()).unwrap();
        assert_eq!(code.as_str(), word);
        assert_eq!(serde_json::to_value(&code).unwrap(), word);
    }
}
