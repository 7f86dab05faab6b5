//! Mistakes in a file as a whole, and the suggestions for them.

use super::*;

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines() {
    let text = r#"default_provder = "nous"
[[listen]]
adress = "127.0.0.1:1"
[[listen]]
address = 8645
[limits]
body = "64MB"
connections = 0
[guard]
allowed_origins = [
  "https://ok.example",
  "*",
]
[lgo]
level = "info"
[providers.x]
type = "statik"
"#;
    let error = read(text).unwrap_err();
    let found: Vec<_> = error
        .problems
        .iter()
        .map(|p| (p.line, p.key.as_str()))
        .collect();
    let expected = [
        (1, "default_provder"),
        (3, "listen[0].adress"),
        (5, "listen[1].address"),
        (7, "limits.body"),
        (8, "limits.connections"),
        (12, "guard.allowed_origins[1]"),
        (14, "lgo"),
        (17, "providers.x.type"),
    ];
    // The second address can't be parsed, so it is not reported as a duplicate of the first.
    assert_eq!(found, expected, "{error}");
    let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(
        lines[0],
        "config.toml:1: default_provder: unknown key (did you mean \
         `default_provider`?)"
    );
    assert_eq!(lines.len(), error.problems.len());
}

#[test]
fn text_that_is_not_toml_is_reported_beside_other_mistakes() {
    let text = "[limits]\nbody = \nheaders = \"1KiB\"\n[timeouts\nidle = \"x\"\n[log]\nlevl = 1\n";
    let found: Vec<_> = problems(text)
        .into_iter()
        .map(|p| (p.line, p.key))
        .collect();
    for expected in [(2, ""), (3, "limits.headers"), (4, ""), (7, "log.levl")] {
        assert!(
            found.contains(&(expected.0, expected.1.to_owned())),
            "{found:?}"
        );
    }
    for (text, line) in [
        ("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", 3),
        (
            "[log]\nlevel = \"info\"\n[limits]\n[log]\nformat = \"json\"\n",
            4,
        ),
    ] {
        let twice = problem(text);
        assert_eq!(twice.line, line);
        assert!(twice.message.contains("keep one of the two"), "{twice}");
    }
}

#[test]
fn a_wrong_type_shows_a_right_value() {
    for (text, message) in [
        (
            "default_provider = 1",
            "expected a string such as default_provider = \"nous\", found an integer",
        ),
        (
            "limits.connections = \"many\"",
            "expected a whole number such as connections = 1, found a string",
        ),
        (
            "limits.body = true",
            "expected a size such as body = \"64MiB\" or a number of bytes, found a boolean",
        ),
        (
            "timeouts.idle = 10",
            "expected a string such as idle = \"10s\", found an integer",
        ),
        (
            "guard.allowed_hosts = \"x\"",
            "expected an array of strings such as allowed_hosts = [\"my-machine.lan\"], found a \
             string",
        ),
        (
            "guard.allowed_hosts = [1.5]",
            "expected an array of strings such as allowed_hosts = [\"my-machine.lan\"], found a \
             float",
        ),
        (
            "limits = 1",
            "expected a table that starts with [limits], found an integer",
        ),
        (
            "[[providers]]\nname = \"x\"",
            "expected a table that starts with [providers.NAME], found an array",
        ),
        (
            "providers = \"x\"",
            "expected a table that starts with [providers.NAME], found a string",
        ),
        (
            "providers.x = 1979-05-27",
            "expected a table that starts with [providers.x], found a date or time",
        ),
        (
            "[listen]\naddress = \"127.0.0.1:1\"",
            "expected tables that start with [[listen]], found a table",
        ),
        (
            "listen = [1]",
            "expected tables that start with [[listen]], found an integer",
        ),
        (
            "[[listen]]\nallow_unauthenticated = \"yes\"",
            "expected allow_unauthenticated = true or allow_unauthenticated = false, found a \
             string",
        ),
    ] {
        assert_eq!(problem(text).message, message, "{text}");
    }
}

/// Keys that users bring from another program's file.
#[test]
fn what_is_written_in_the_wrong_form_is_told_in_the_right_one() {
    let named = |name: &str| {
        format!(
            "[providers.{name}]\ntype = \"static\"\nbase_url = \"https://x.example\"\nauth = \"none\"\n"
        )
    };
    for (text, line, message) in [
        (
            "provider = \"xai\"\n".to_owned(),
            1,
            "default_provider = \"NAME\"",
        ),
        (
            "[guard]\npeer_check = True\n".to_owned(),
            2,
            "in lower case",
        ),
        (
            "default_provider = nous\n".to_owned(),
            1,
            "put \" before and after it",
        ),
        (
            "[timeouts]\nidle = 10s # long\n".to_owned(),
            2,
            "put \" before and after it",
        ),
        (
            "hermes_home = ~/agent\n".to_owned(),
            1,
            "put \" before and after it",
        ),
        (
            named("my.server"),
            1,
            "write [providers.my-server] instead of [providers.my.server]",
        ),
        (
            named("foo") + &named("Foo"),
            5,
            "is the same provider as [providers.foo] in line 1: upper and lower case don't count",
        ),
    ] {
        let found = problem(&text);
        assert!(found.to_string().contains(message), "{text}\n{found}");
        assert_eq!(found.line, line, "{text}\n{found}");
    }
    let secret = problem("api_key = sk-hunter2\n");
    assert!(!secret.to_string().contains("hunter2"), "{secret}");
}

#[test]
fn a_port_by_itself_is_told_where_it_belongs() {
    for (text, key) in [
        ("port = 8645", "port"),
        ("host = \"127.0.0.1\"", "host"),
        ("[[listen]]\nport = 8645", "listen[0].port"),
        ("[[listen]]\nbind = \"127.0.0.1\"", "listen[0].bind"),
    ] {
        let found = problem(text);
        assert_eq!(found.key, key);
        let says = "address = \"127.0.0.1:8645\" under [[listen]]";
        assert!(found.message.contains(says), "{found}");
    }
    let found = problem("address = \"127.0.0.1:1\"");
    assert!(found.message.contains("under [[listen]]"), "{found}");
}

#[test]
fn a_slip_says_what_was_meant() {
    for (text, meant) in [
        ("[limit]", "limits"),
        ("limits.conections = 1", "connections"),
        ("timeouts.response-head = \"1s\"", "response_head"),
        ("limits.body = \"64MB\"", "64MiB"),
        ("log.level = \"dbug\"", "debug"),
        ("log.format = \"jsno\"", "json"),
        (
            "[[hooks]]\nurl = \"https://x\"\nevents = [\"login_end\"]",
            "login_ended",
        ),
        ("[[hooks]]\nurl = \"https://x\"\nevent = []", "events"),
        ("[[hook]]", "hooks"),
        ("default_provider = \"nuos\"", "nous"),
        ("[providers.x]\ntype = \"Static\"", "static"),
        ("providers.nous.token_timout = \"1s\"", "token_timeout"),
    ] {
        assert_eq!(problem(text).suggestion.as_deref(), Some(meant), "{text}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_and_never_printed() {
    for key in [
        "api_key",
        "api-key",
        "API_KEY",
        "token",
        "password",
        "access_token",
    ] {
        let found = problem(&with_static(&format!("{key} = \"sk-hunter2\"")));
        assert!(found.message.contains("`api_key_file`"), "{key}");
        assert!(!found.to_string().contains("hunter2"), "{key}");
    }
    let text = with_static("").replace("X_KEY", "sk-hunter2");
    let found = problem(&text);
    assert!(found.message.contains("never the key itself"));
    assert!(!found.to_string().contains("hunter2"));
    problem("token = \"x\"");
}

#[test]
fn a_key_with_control_characters_is_printed_escaped() {
    let found = problem("\"\\u001b[2J\" = 1");
    assert!(!found.to_string().contains('\u{1b}'), "{found:?}");
}

#[test]
fn no_text_makes_the_loader_panic() {
    let full = full_example();
    let pieces: Vec<char> = "[]{}=\".,#'\\\n\t\0é~0-9:/*u".chars().collect();
    let mut random = fastrand::Rng::with_seed(8645);
    for _ in 0..3_000 {
        let mut text: Vec<char> = full.chars().collect();
        let start = random.usize(..text.len());
        text.drain(..start);
        text.truncate(random.usize(..600));
        for _ in 0..random.usize(..12) {
            let at = random.usize(..=text.len());
            let end = (at + random.usize(..8)).min(text.len());
            let piece = pieces[random.usize(..pieces.len())];
            text.splice(at..end, std::iter::repeat_n(piece, random.usize(..3)));
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = read(&text) {
            let lines = text.matches('\n').count() + 1;
            assert!(!error.problems.is_empty());
            assert!(
                error.problems.iter().all(|p| (1..=lines).contains(&p.line)),
                "{text}\n{error}"
            );
        }
    }
    for deep in [
        "[".repeat(100_000),
        "a.".repeat(100_000),
        format!("a={}", "[".repeat(100_000)),
    ] {
        assert!(read(&deep).is_err());
    }
}

/// TOML assigns lines below a table's header to that table.
#[test]
fn a_key_of_the_top_level_below_a_table_is_told_where_it_belongs() {
    for (text, key, advice) in [
        (
            "[providers.xai]\ndefault_model = \"grok-4\"\n",
            "providers.xai.default_model",
            "above its first [table]",
        ),
        (
            "[log]\ndefault_provider = \"nous\"\n",
            "log.default_provider",
            "above its first [table]",
        ),
        (
            "[aliases]\nmini = \"m\"\ndefault_model = \"m\"\n",
            "aliases.default_model",
            "above its first [table]",
        ),
        (
            "[providers.xai]\nmodel = \"grok-4\"\n",
            "providers.xai.model",
            "default_model = \"NAME\"",
        ),
        ("model = \"grok-4\"\n", "model", "default_model = \"NAME\""),
    ] {
        let problem = problem(text);
        assert_eq!(problem.key, key, "{problem}");
        assert!(problem.message.contains(advice), "{problem}");
        assert!(
            text.lines()
                .nth(problem.line - 1)
                .unwrap()
                .contains("model")
                || key.contains("provider")
        );
    }
}
