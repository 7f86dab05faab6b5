//! `[[hooks]]`.

use super::*;

#[test]
fn a_hook_does_one_thing_and_its_mistakes_are_told() {
    for (lines, key, message) in [
        ("", "command", "is missing: name the program"),
        (
            "command = [\"x\"]\nurl = \"https://x\"",
            "url",
            "set this or `command`, not both",
        ),
        ("command = []", "command", "the program is missing"),
        (
            "command = [\" \", \"x\"]",
            "command",
            "the program is missing",
        ),
        (
            "command = \"notify-send\"",
            "command",
            "expected an array of strings such as command = [\"notify-send\"]",
        ),
        (
            "command = [\"x\", 1]",
            "command[1]",
            "expected an array of strings",
        ),
        ("command = [\"a\\u0000\"]", "command[0]", "NUL"),
        (
            "command = [\"x\"]\nevents = []",
            "events",
            "at least one event",
        ),
        (
            "command = [\"x\"]\nevents = [\"login\"]",
            "events[0]",
            "is not one of \"login_ended\"",
        ),
        (
            "command = [\"x\"]\ntimeout = \"0s\"",
            "timeout",
            "at least 1ms",
        ),
        (
            "command = [\"x\"]\ntimeout = \"1h\"",
            "timeout",
            "at most 5m",
        ),
        ("url = \"hunter2.example\"", "url", "https:// or http://"),
        ("url = \"ftp://x/hunter2\"", "url", "https:// or http://"),
        (
            "url = \"https://me:hunter2@x\"",
            "url",
            "user name or password",
        ),
        ("url = \"https://hunter2@x\"", "url", "user name"),
    ] {
        let text = format!("[[hooks]]\n{lines}");
        let all = problems(&text);
        let found = all.first().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(found.key, format!("hooks[0].{key}"), "{text}");
        assert!(found.message.contains(message), "{text}\n{}", found.message);
        assert!(!found.to_string().contains("hunter2"), "{text}");
    }
    for command in ["notify-send", "./tell", "/bin/tell", "../tell"] {
        good(&format!("[[hooks]]\ncommand = [\"{command}\", \"{{}}\"]"));
    }
    assert!(good("hooks = []").hooks.is_empty());
}

#[test]
fn what_may_be_a_token_is_not_in_a_hooks_debug_form() {
    let config = good(
        "[[hooks]]\nurl = \"https://ntfy.example/hunter2?t=hunter2\"\n[[hooks]]\ncommand = \
         [\"curl\", \"hunter2\"]",
    );
    let shown = format!("{config:?}");
    assert!(shown.contains("ntfy.example") && shown.contains("curl"));
    assert!(!shown.contains("hunter2"), "{shown}");
}
