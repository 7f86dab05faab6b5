//! Whole files: what is accepted, what is reported, and that the example is true.

#![expect(clippy::too_many_lines, reason = "tables of cases")]

use std::collections::BTreeSet;
use std::path::Path;

use hyper::Method;
use toml::de::{DeTable, DeValue};

use super::*;
use crate::paths::Environment;

const EXAMPLE: &str = include_str!("../../config.example.toml");
const HOME: &str = if cfg!(windows) { r"C:\u" } else { "/home/u" };

fn env() -> Environment {
    Environment::from_lookup(|name| matches!(name, "HOME" | "USERPROFILE").then(|| HOME.into()))
}

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("config.toml"), &env())
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn problems(text: &str) -> Vec<Problem> {
    read(text).map_or_else(|error| error.problems, |_| Vec::new())
}

/// The only problem of a file that has exactly one.
fn problem(text: &str) -> Problem {
    let mut problems = problems(text);
    assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
    problems.remove(0)
}

/// A file with one provider of type "static" and these lines in its table.
fn with_static(lines: &str) -> String {
    format!(
        "[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\napi_key_env = \
         \"X_KEY\"\n{lines}"
    )
}

/// The example with every key that has no default.
fn full_example() -> String {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c != ' ') => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The keys of a table and its subtables, without the names of providers.
fn keys(pattern: &str, table: &DeTable<'_>, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = match (pattern, name.get_ref().as_ref()) {
            ("", name) => name.to_owned(),
            ("providers", _) => "providers.<name>".to_owned(),
            (_, name) => format!("{pattern}.{name}"),
        };
        found.insert(key.clone());
        if let Some(table) = value.get_ref().as_table() {
            keys(&key, table, found);
        }
        for item in value
            .get_ref()
            .as_array()
            .into_iter()
            .flat_map(|a| a.iter())
        {
            if let DeValue::Table(table) = item.get_ref() {
                keys(&format!("{key}[]"), table, found);
            }
        }
    }
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(good(""), Config::default());
    assert_eq!(good("[guard]\n[limits]\n[providers]\n"), Config::default());
}

#[test]
fn the_example_is_the_default() {
    assert_eq!(good(EXAMPLE), Config::default());
}

#[test]
fn the_example_holds_every_key_and_no_other() {
    let text = full_example();
    let reading = file::read(&text, Path::new("config.example.toml"), &env());
    let config = reading.config.unwrap();
    assert_eq!((config.providers.len(), config.hooks.len()), (9, 2));
    assert_eq!(
        config.hooks[0],
        Hook::of_action(config.hooks[0].action.clone())
    );
    let mut shown = BTreeSet::new();
    keys("", DeTable::parse(&text).unwrap().get_ref(), &mut shown);
    let patterns =
        |keys: Vec<Key>| -> BTreeSet<_> { keys.into_iter().map(|key| key.pattern).collect() };
    assert_eq!(shown, patterns(reading.keys));
    assert_eq!(shown, patterns(shape()));
}

/// A file with every key that goes together.
const EVERY: &str = r#"
default_provider = "Work"
hermes_home = "~/agent"
default_model = "mini"
[[listen]]
address = "localhost:9000"
provider = "nous"
[[listen]]
address = "[::1]:0"
[[listen]]
address = "0.0.0.0:9001"
allow_unauthenticated = true
[[listen]]
address = "docker0:8645"
[[listen]]
unix = "~/run/proxy.sock"
mode = "0660"
auth = "keys"
[guard]
peer_check = false
allowed_hosts = ["My-Machine.lan", "[fd00::1]"]
allowed_origins = ["https://app.example:8443", "app://obsidian.md"]
[limits]
body = 1_000
headers = "8 KiB"
connections = 7
replay_body = 0
replay_total = "2MiB"
[timeouts]
headers = "1ms"
drain = "0s"
response_head = "1h"
[log]
level = "info,hermes_proxy::credentials=debug"
format = "json"
[[hooks]]
command = ["~/bin/tell", "~", ""]
events = ["login_ended", "login_not_saved"]
timeout = "1m"
[[hooks]]
url = "http://ha.lan:8123/api/webhook/x?y=1"
[aliases]
"gpt-4.1" = "mini"
mini = 'work/"small"'
[[route]]
paths = ["embeddings", "/v1/audio/speech/"]
provider = "Work"
[[route]]
models = ["grok-*", "x"]
paths = ["/chat/completions"]
provider = "nous"
model = "y"
[providers.work]
type = "static"
base_url = "http://localhost:11434/v1/"
api_key_file = "~/key"
extra_paths = ["/responses", "GET /files", "GET,POST /responses"]
forward_headers = ["X-Request-Tag"]
user_agent = "client"
append_done = true
keep_alive_comment = "15s"
translate = true
ca_file = "~/ca.pem"
token_timeout = "20s"
refresh_lead = "1m30s"
[providers.nous]
pool = "round_robin"
"#;

#[test]
fn every_setting_reaches_the_configuration() {
    let config = good(EVERY);
    let home = Path::new(HOME);
    let addresses: Vec<_> = config
        .listeners
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    let expected = ["127.0.0.1:9000", "[::1]:0", "0.0.0.0:9001", "docker0:8645"];
    assert_eq!(addresses[..4], expected);
    let path = home.join("run/proxy.sock");
    assert_eq!(
        config.listeners[4].address,
        ListenAddress::Unix { path, mode: 0o660 }
    );
    let keys: Vec<_> = config.listeners.iter().map(Listener::needs_key).collect();
    assert_eq!(keys, [false, false, false, true, true]);
    assert!(!config.guard.peer_check);
    assert_eq!(config.listeners[0].provider, Some(ProviderName::nous()));
    assert!(config.listeners[2].allow_unauthenticated);
    assert_eq!(config.hermes_home, Some(home.join("agent")));
    assert_eq!(config.guard.allowed_hosts, ["my-machine.lan", "[fd00::1]"]);
    assert_eq!(
        config.guard.allowed_origins,
        ["https://app.example:8443", "app://obsidian.md"]
    );
    assert_eq!((config.limits.body, config.limits.headers), (1000, 8192));
    assert_eq!(
        (config.limits.connections, config.limits.replay_body),
        (7, 0)
    );
    assert_eq!(config.limits.replay_total, 2 << 20);
    assert_eq!(config.timeouts.drain, Duration::ZERO);
    assert_eq!(config.timeouts.response_head, Duration::from_hours(1));
    assert_eq!(config.timeouts.idle, Timeouts::default().idle);
    assert_eq!(config.log.format, LogFormat::Json);
    let program = home.join("bin/tell").to_str().unwrap().to_owned();
    let command = Hook {
        events: vec![NoticeKind::LoginEnded, NoticeKind::LoginNotSaved],
        action: HookAction::Command(vec![program, "~".into(), String::new()]),
        timeout: Duration::from_mins(1),
    };
    let url = Url::parse("http://ha.lan:8123/api/webhook/x?y=1").unwrap();
    assert_eq!(
        config.hooks,
        [command, Hook::of_action(HookAction::Url(url))]
    );
    let route = |paths: &[&str], models: &[&str], provider: &str, model: Option<&str>| RouteRule {
        paths: paths.iter().map(ToString::to_string).collect(),
        models: models.iter().map(|text| ModelGlob::new(text)).collect(),
        provider: ProviderName::new(provider).unwrap(),
        model: model.map(str::to_owned),
    };
    let routes = [
        route(&["/embeddings", "/audio/speech"], &[], "work", None),
        route(&["/chat/completions"], &["grok-*", "x"], "nous", Some("y")),
    ];
    assert_eq!(config.routing.routes, routes);
    assert_eq!(config.routing.default_model.as_deref(), Some("mini"));
    assert_eq!(config.routing.without_alias("gpt-4.1"), "work/\"small\"");
    let names: Vec<_> = config.providers.keys().map(ProviderName::as_str).collect();
    assert_eq!(names, ["nous", "work"]);
    let path = AllowedPath::new;
    let work = Provider {
        implied: false,
        kind: ProviderKind::Static {
            api_key: KeySource::File(home.join("key")),
        },
        base_url: Some(Url::parse("http://localhost:11434/v1").unwrap()),
        extra_paths: vec![
            path("/responses", &[Method::POST, Method::GET]),
            path("/files", &[Method::GET]),
        ],
        forward_headers: vec![HeaderName::from_static("x-request-tag")],
        user_agent: UserAgent::Client,
        append_done: true,
        keep_alive_comment: Duration::from_secs(15),
        translate: true,
        ca_file: Some(home.join("ca.pem")),
        token_timeout: Duration::from_secs(20),
        refresh_lead: Duration::from_secs(90),
        pool: PoolStrategy::FillFirst,
    };
    assert_eq!(config.providers[&config.default_provider], work);
}

#[test]
fn the_strategy_of_a_pool_is_read_where_there_are_logins() {
    let nous = &good(EVERY).providers[&ProviderName::nous()];
    assert_eq!(nous.pool, PoolStrategy::RoundRobin);
}

#[test]
fn nous_is_there_where_something_asks_for_it() {
    let other = "[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\n\
                 api_key_env = \"A\"\n";
    let nous = ProviderName::nous();
    for (text, implied) in [
        (String::new(), false),
        (other.to_owned(), false),
        (format!("default_provider = \"x\"\n{other}"), true),
        (
            format!("default_provider = \"x\"\n{other}[providers.nous]\n"),
            false,
        ),
        (
            format!("default_provider = \"x\"\n[[listen]]\nprovider = \"nous\"\n{other}"),
            false,
        ),
        (
            format!(
                "default_provider = \"x\"\n[[route]]\npaths = [\"embeddings\"]\nprovider = \
                 \"nous\"\n{other}"
            ),
            false,
        ),
    ] {
        let config = good(&text);
        assert_eq!(config.providers[&nous].implied, implied, "{text}");
        let written = to_toml(&settings(&config), |_| None);
        assert_eq!(good(&written), config, "{written}");
    }
}

#[test]
fn what_is_written_reads_back_to_the_same() {
    let nothing = "[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\n\
                   api_key_env = \"A\"\n[[hooks]]\ncommand = [\"a\", \"\\u0007\\\"\\\\ \\n\\u007f\"]\n\
                   [providers.nous]\nportal_url = \"https://p.example\"\n";
    for text in ["", EVERY, &full_example(), nothing] {
        let config = good(text);
        let settings = settings(&config);
        for note in [None, Some("a note".to_owned())] {
            let written = to_toml(&settings, |_| note.clone());
            assert_eq!(good(&written), config, "{written}");
        }
    }
}

/// All that is at its default is written too, so that nothing is hidden.
#[test]
fn every_key_is_written_but_those_without_a_value() {
    let written: BTreeSet<_> = settings(&Config::default())
        .into_iter()
        .map(|setting| {
            setting
                .place
                .replace("[0]", "[]")
                .replace("nous.", "<name>.")
        })
        .collect();
    let silent = shape().into_iter().filter(|key| {
        let table = matches!(key.takes, Takes::Table | Takes::Tables | Takes::NamedTables);
        !table && !written.contains(&key.pattern)
    });
    let silent: Vec<_> = silent
        .map(|key| key.pattern)
        .filter(|key| !key.starts_with("hooks[].") && !key.starts_with("route[]."))
        .collect();
    let expected = [
        "hermes_home",
        "listen[].unix",
        "listen[].mode",
        "listen[].provider",
        "default_model",
        "providers.<name>.portal_url",
        "providers.<name>.issuer_url",
        "providers.<name>.token_url",
        "providers.<name>.device_url",
        "providers.<name>.authorize_url",
        "providers.<name>.allowed_hosts",
        "providers.<name>.flow",
        "providers.<name>.redirect_uri",
        "providers.<name>.client_id",
        "providers.<name>.client_secret_file",
        "providers.<name>.scopes",
        "providers.<name>.audience",
        "providers.<name>.form_fields",
        "providers.<name>.refresh_token_header",
        "providers.<name>.headers",
        "providers.<name>.api_key_file",
        "providers.<name>.api_key_env",
        "providers.<name>.api_key_credential",
        "providers.<name>.auth",
        "providers.<name>.base_url",
        "providers.<name>.ca_file",
    ];
    assert_eq!(silent, expected);
}

#[test]
fn the_lines_of_what_stands_in_a_file_are_known() {
    let text =
        "default_provider = \"nous\"\n\n[[listen]]\nprovider = \"nous\"\n[limits]\nbody = 1\n";
    let lines = file::read(text, Path::new("config.toml"), &env()).lines;
    let known = ["default_provider", "listen[0].provider", "limits.body"];
    assert_eq!(known.map(|key| lines[key]), [1, 4, 6]);
    assert!(!lines.contains_key("limits.headers"));
}

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
    // The second listener's address can't be read, so nothing is said about it being the first's.
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

#[test]
fn each_bad_value_is_refused_where_it_stands() {
    let cases = [
        (
            "default_provider = \"a b\"",
            "default_provider",
            "is not a provider's name",
        ),
        (
            "default_provider = \"work\"",
            "default_provider",
            "there is no provider `work`; there are: nous",
        ),
        (
            "default_provider = \"xai\"",
            "default_provider",
            "the provider `xai` has no table: add [providers.xai], or run `hermesctl setup --provider xai`",
        ),
        (
            "[[listen]]\nprovider = \"xai\"",
            "listen[0].provider",
            "add [providers.xai], or run `hermesctl setup --provider xai`",
        ),
        (
            "[[route]]\nmodels = [\"grok-*\"]\nprovider = \"xai\"",
            "route[0].provider",
            "add [providers.xai], or run `hermesctl setup --provider xai`",
        ),
        (
            "default_provider = \"codex\"",
            "default_provider",
            "there is no provider `codex`, and `openai-codex` has no table: add [providers.openai-codex]",
        ),
        ("hermes_home = \"agent\"", "hermes_home", "is not absolute"),
        ("listen = []", "listen", "at least one"),
        (
            "[[listen]]\naddress = \"8645\"",
            "listen[0].address",
            "with a port",
        ),
        (
            "[[listen]]\naddress = \"localhost\"",
            "listen[0].address",
            "with a port",
        ),
        (
            "[[listen]]\nprovider = \"work\"",
            "listen[0].provider",
            "there is no provider",
        ),
        (
            "[[listen]]\naddress = \"0.0.0.0:1\"\nauth = \"keys\"\nallow_unauthenticated = true",
            "listen[0].allow_unauthenticated",
            "contradicts",
        ),
        (
            "[[listen]]\naddress = \"docker0:0\"",
            "listen[0].address",
            "needs a fixed port",
        ),
        (
            "[[listen]]\naddress = \"my.host:80\"",
            "listen[0].address",
            "not an IP address or a network interface",
        ),
        (
            "[[listen]]\naddress = \"127.0.0.1:1\"\nunix = \"/x\"",
            "listen[0].unix",
            "not both",
        ),
        ("[[listen]]\nunix = \"x\"", "listen[0].unix", "not absolute"),
        (
            "[[listen]]\nunix = \"/x/\"",
            "listen[0].unix",
            "is a folder",
        ),
        (
            "[[listen]]\nunix = \"/x\"\nmode = \"0700\"",
            "listen[0].mode",
            "not a socket's mode",
        ),
        (
            "[[listen]]\nunix = \"/x\"\nmode = \"0666\"",
            "listen[0].mode",
            "everyone on this machine",
        ),
        (
            "[[listen]]\nmode = \"0600\"",
            "listen[0].mode",
            "only a Unix socket",
        ),
        (
            "[[listen]]\nunix = \"/x\"\n[[listen]]\nunix = \"/x\"",
            "listen[1].unix",
            "already the address of listen[0].unix",
        ),
        (
            "[[listen]]\n[[listen]]\naddress = \"localhost:8645\"",
            "listen[1].address",
            "already the address of listen[0].address",
        ),
        (
            "guard.allowed_hosts = [\"x:80\"]",
            "guard.allowed_hosts[0]",
            "omit the port",
        ),
        (
            "guard.allowed_hosts = [\"*\"]",
            "guard.allowed_hosts[0]",
            "no wildcards",
        ),
        (
            "guard.allowed_hosts = [\"\"]",
            "guard.allowed_hosts[0]",
            "is not a host name",
        ),
        (
            "guard.allowed_origins = [\"null\"]",
            "guard.allowed_origins[0]",
            "serve the page from an address",
        ),
        (
            "guard.allowed_origins = [\"https://*.x\"]",
            "guard.allowed_origins[0]",
            "no wildcards",
        ),
        ("limits.body = 0", "limits.body", "at least 1B"),
        ("limits.body = -1", "limits.body", "negative or too large"),
        (
            "limits.headers = \"4KiB\"",
            "limits.headers",
            "at least 8KiB",
        ),
        ("limits.connections = 0", "limits.connections", "at least 1"),
        (
            "limits.connections = 2_000_000",
            "limits.connections",
            "at most 1000000",
        ),
        (
            "limits.replay_body = \"65MiB\"",
            "limits.replay_body",
            "larger than replay_total (64MiB)",
        ),
        (
            "limits.replay_total = \"1KiB\"",
            "limits.replay_total",
            "replay_body (1MiB) must not",
        ),
        ("timeouts.idle = \"0s\"", "timeouts.idle", "at least 1ms"),
        (
            "timeouts.idle = \"10\"",
            "timeouts.idle",
            "is not a duration",
        ),
        (
            "timeouts.drain = \"721h\"",
            "timeouts.drain",
            "at most 720h",
        ),
        (
            "log.level = \"loud\"",
            "log.level",
            "is not one of error, warn",
        ),
        (
            "log.level = \"info,,\"",
            "log.level",
            "is not one of error, warn",
        ),
        (
            "log.format = \"xml\"",
            "log.format",
            "is not one of \"auto\", \"journald\"",
        ),
        (
            "[providers.v1]\ntype = \"static\"\nbase_url = \"https://a.example\"\napi_key_env = \
             \"X\"",
            "providers.v1",
            "taken by the path /v1",
        ),
        (
            "[providers.Chat]\ntype = \"static\"\nbase_url = \"https://a.example\"\napi_key_env = \
             \"X\"",
            "providers.Chat",
            "taken by the path /chat",
        ),
        (
            "[providers.\"ä b\"]\ntype = \"static\"\nbase_url = \"https://a.example\"\napi_key_env \
             = \"X\"",
            "providers.\"ä b\"",
            "is not a provider's name",
        ),
        (
            "[providers.work]\ntype = \"nous\"",
            "providers.work.type",
            "is only for the provider named nous",
        ),
        (
            "[providers.nous]\n[providers.Nous]",
            "providers.Nous",
            "is the same provider as",
        ),
        ("[providers.x]", "providers.x.type", "is missing"),
        (
            "providers.nous.api_key_env = \"X\"",
            "providers.nous.api_key_env",
            "of type \"static\"",
        ),
        (
            "[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\napi_key_env = \"A\"\n\
             pool = \"round_robin\"",
            "providers.x.pool",
            "only a provider of type \"nous\"",
        ),
        (
            "[providers.x]\ntype = \"static\"\napi_key_env = \"X\"",
            "providers.x.base_url",
            "is missing",
        ),
        (
            "[providers.x]\ntype = \"static\"\nbase_url = \"https://x\"",
            "providers.x.api_key_file",
            "is missing",
        ),
        (
            "providers.nous.refresh_lead = \"-1s\"",
            "providers.nous.refresh_lead",
            "is not a duration",
        ),
    ];
    for (text, key, message) in cases {
        let found = problem(text);
        assert_eq!(found.key, key, "{text}");
        assert!(found.message.contains(message), "{text}\n{}", found.message);
    }
    let cases = [
        ("api_key_file = \"~/k\"", "api_key_env", "not both"),
        (
            "portal_url = \"https://p\"",
            "portal_url",
            "of type \"nous\"",
        ),
        (
            "extra_paths = [\"responses\"]",
            "extra_paths[0]",
            "starts with a slash",
        ),
        (
            "extra_paths = [\"/a/../b\"]",
            "extra_paths[0]",
            "is not a path",
        ),
        (
            "extra_paths = [\"/a//b\"]",
            "extra_paths[0]",
            "is not a path",
        ),
        (
            "extra_paths = [\"/a%2fb\"]",
            "extra_paths[0]",
            "is not a path",
        ),
        (
            "extra_paths = [\"CONNECT /a\"]",
            "extra_paths[0]",
            "is not one of GET",
        ),
        (
            "extra_paths = [\"/v1/a\"]",
            "extra_paths[0]",
            "relative to /v1",
        ),
        (
            "forward_headers = [\"a b\"]",
            "forward_headers[0]",
            "is not a header's name",
        ),
        (
            "forward_headers = [\"User-Agent\"]",
            "forward_headers[0]",
            "user_agent = \"client\"",
        ),
        (
            "user_agent = \"mine\"",
            "user_agent",
            "is not one of \"own\", \"client\"",
        ),
        ("ca_file = \"ca.pem\"", "ca_file", "is not absolute"),
        ("token_timeout = \"0s\"", "token_timeout", "at least 1ms"),
    ];
    for (line, key, message) in cases {
        let found = problem(&with_static(line));
        assert_eq!(found.key, format!("providers.x.{key}"), "{line}");
        assert_eq!(
            found.line,
            if key == "api_key_env" { 4 } else { 5 },
            "{line}"
        );
        assert!(found.message.contains(message), "{line}\n{}", found.message);
    }
}

#[test]
fn headers_that_carry_a_login_or_frame_the_request_are_never_forwarded() {
    for name in [
        "Authorization",
        "cookie",
        "host",
        "connection",
        "proxy-authorization",
        "Proxy-Connection",
        "x-api-key",
        "content-length",
        "transfer-encoding",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
    ] {
        let found = problem(&with_static(&format!("forward_headers = [\"{name}\"]")));
        assert!(found.message.contains("is never forwarded"), "{name}");
    }
}

#[test]
fn a_url_goes_to_one_place_over_a_safe_line() {
    for (url, message) in [
        ("api.example.com/v1", "must start with https://"),
        ("localhost:8000/v1", "must start with https://"),
        ("not a url", "not a URL"),
        ("https:///v1", "has no host"),
        ("https:/v1", "has no host"),
        ("https://\\\\x.example/v1", "has no host"),
        ("http://api.example.com/v1", "use https://"),
        ("http://localhost.example.com", "use https://"),
        ("ftp://x.example", "must start with https://"),
        ("unix:/run/x", "has no host"),
        ("https://me:hunter2@x.example", "user name or password"),
        ("https://x.example/v1?key=hunter2", "no `?`"),
        ("https://x.example/v1#a", "no `#`"),
    ] {
        for key in ["base_url", "portal_url"] {
            let found = problem(&format!("providers.nous.{key} = \"{url}\""));
            assert!(found.message.contains(message), "{url}\n{}", found.message);
            assert!(!found.to_string().contains("hunter2"));
        }
    }
    for url in [
        "http://127.0.0.1:1/v1",
        "http://[::1]:1",
        "http://localhost",
        "https://x.example",
    ] {
        good(&format!("providers.nous.base_url = \"{url}\""));
    }
}

#[test]
fn a_url_without_its_scheme_is_told_with_the_one_that_is_meant() {
    for (url, meant) in [
        ("api.example.com/v1", "https://api.example.com/v1"),
        ("api.example.com:8443/v1", "https://api.example.com:8443/v1"),
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
    ] {
        let found = problem(&format!("providers.nous.base_url = \"{url}\""));
        assert_eq!(found.suggestion.as_deref(), Some(meant), "{url}");
    }
    for url in ["me:hunter2@x.example/v1", "x.example/v1?key=hunter2"] {
        let found = problem(&format!("providers.nous.base_url = \"{url}\""));
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }
}

#[test]
fn a_base_url_that_ends_with_a_requests_path_is_told_without_it() {
    for end in [
        "/chat/completions",
        "/completions",
        "/responses",
        "/messages",
    ] {
        for slash in ["", "/"] {
            let text = format!("providers.nous.base_url = \"https://x.example/v1{end}{slash}\"");
            let found = problem(&text);
            let told = format!("must end before {end},");
            assert!(found.message.contains(&told), "{found}");
            assert_eq!(found.suggestion.as_deref(), Some("https://x.example/v1"));
        }
    }
    for path in ["/v1", "/my-responses", "/responses/v1", "/models"] {
        let text = format!("providers.nous.base_url = \"https://x.example{path}\"");
        assert!(read(&text).is_ok(), "{path}");
    }
}

/// What people write who know another program's file.
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

#[test]
fn an_origin_is_what_a_browser_sends() {
    for (origin, meant) in [
        ("https://App.example", Some("https://app.example")),
        ("https://app.example/", Some("https://app.example")),
        ("https://app.example:443", Some("https://app.example")),
        ("http://app.example/page?x", Some("http://app.example")),
        ("https://app.example:99999", None),
        ("https://a b", None),
        ("://x", None),
    ] {
        let found = problem(&format!("guard.allowed_origins = [\"{origin}\"]"));
        assert_eq!(found.suggestion.as_deref(), meant, "{origin}");
    }
    for origin in [
        "http://localhost:3000",
        "http://[::1]:3000",
        "chrome-extension://abcdef",
        "file://",
    ] {
        good(&format!("guard.allowed_origins = [\"{origin}\"]"));
    }
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
fn without_a_home_a_tilde_is_refused() {
    let file = Path::new("config.toml");
    let error = parse("hermes_home = \"~/x\"", file, &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("home folder is unknown"));
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

#[test]
fn plain_http_goes_to_this_network_alone_and_only_without_a_key() {
    let with = |auth: &str, url: &str| {
        read(&format!(
            "[providers.nas]\ntype = \"static\"\nbase_url = {url:?}\n{auth}\n"
        ))
    };
    let (none, key) = ("auth = \"none\"", "api_key_env = \"K\"");
    for (url, near) in [
        ("http://nas:11434/v1", true),
        ("http://10.1.2.3/v1", true),
        ("http://172.16.0.1/v1", true),
        ("http://192.168.1.5:8080/v1", true),
        ("http://169.254.1.1/v1", true),
        ("http://[fd12::1]/v1", true),
        ("http://[fe80::1]/v1", true),
        ("http://[::ffff:10.0.0.1]/v1", true),
        ("http://nas.lan/v1", false),
        ("http://nas./v1", false),
        ("http://172.32.0.1/v1", false),
        ("http://8.8.8.8/v1", false),
        ("http://0x08080808/v1", false),
        ("http://[2001:db8::1]/v1", false),
        ("http://[::ffff:8.8.8.8]/v1", false),
        ("http://user@nas/v1", false),
    ] {
        assert_eq!(with(none, url).is_ok(), near, "{url}");
        assert!(with(key, url).is_err(), "{url} with a key");
    }
    for auth in [none, key] {
        for url in [
            "https://api.example/v1",
            "http://127.0.0.1:1/v1",
            "http://localhost/v1",
        ] {
            assert!(with(auth, url).is_ok(), "{auth} {url}");
        }
    }
    let both = format!("{none}\n{key}");
    let error = with(&both, "http://nas/v1").unwrap_err();
    assert_eq!(error.problems[0].key, "providers.nas.api_key_env");
    let two = format!("{key}\napi_key_credential = \"k\"");
    let error = with(&two, "https://a.example").unwrap_err();
    assert_eq!(error.problems[0].key, "providers.nas.api_key_credential");
    for name in ["../key", ".key", "", "a/b", "a b"] {
        let error = with(
            &format!("api_key_credential = {name:?}"),
            "https://a.example",
        );
        assert_eq!(error.unwrap_err().problems.len(), 1, "{name}");
    }
    // Only a server without a login can do without a key.
    let error = with(key, "http://nas/v1").unwrap_err();
    assert!(error.to_string().contains("auth = \"none\""), "{error}");
    for url in ["issuer_url", "token_url", "base_url"] {
        let login = format!(
            "[providers.acme]\ntype = \"oauth2\"\nclient_id = \"me\"\n{url} = \"http://auth.acme.example\"\n"
        );
        let error = read(&login).unwrap_err().to_string();
        assert!(
            error.contains("127.0.0.1, [::1] and localhost only)"),
            "{error}"
        );
        assert!(!error.contains("auth = \"none\""), "{error}");
    }
    let elsewhere = "[providers.acme]\ntype = \"oauth2\"\nbase_url = \"http://nas/v1\"\nauth = \"none\"\n\
                     client_id = \"me\"\nissuer_url = \"https://a.example\"\n";
    let problems = read(elsewhere).unwrap_err().problems;
    let keys: Vec<_> = problems.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["providers.acme.base_url", "providers.acme.auth"]);
}

#[test]
fn a_route_that_can_match_nothing_is_a_mistake_with_its_line() {
    for (text, line, key, message) in [
        (
            "[[route]]\nmodels = [\"x\"]\nprovider = \"nuos\"\n",
            3,
            "route[0].provider",
            "there is no provider `nuos`; there are: nous (did you mean `nous`?)",
        ),
        (
            "[[route]]\nmodels = [\"x\"]\n",
            1,
            "route[0].provider",
            "is missing: name the provider that these requests go to",
        ),
        (
            "[[route]]\nprovider = \"nous\"\n",
            1,
            "route[0]",
            "name `paths`, `models` or both; the provider of all other requests is \
             `default_provider`",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = []\n",
            3,
            "route[0].models",
            "name at least one, or remove the key",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = [\n\"ok\",\n\"\"]\n",
            5,
            "route[0].models[1]",
            "\"\" can't match a model: it is empty, longer than 512 bytes, or has blanks around it or \
             control characters",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = [\"grok-?\"]\n",
            3,
            "route[0].models[0]",
            "\"grok-?\" can't match a model: `?` has no meaning here; `*` stands for any text",
        ),
        (
            "[[route]]\nprovider = \"nous\"\npaths = [\"a b\"]\n",
            3,
            "route[0].paths[0]",
            "\"a b\" is not a path below /v1, such as \"embeddings\" or \"chat/completions\"",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = [\"*\"]\nmodel = \"x*\"\n",
            4,
            "route[0].model",
            "\"x*\" is not the name of a model: only the `models` of a [[route]] may contain `*`",
        ),
        (
            "[aliases]\nmini = \"x\"\n[[route]]\nprovider = \"nous\"\nmodels = [\"mini\"]\n",
            5,
            "route[0].models[0]",
            "matches nothing: \"mini\" is an alias under [aliases], and routes look at the model it \
             stands for, \"x\"",
        ),
        (
            "default_model = \" x\"\n",
            1,
            "default_model",
            "\" x\" is not the name of a model: remove the blanks around it and the control characters \
             in it",
        ),
        (
            "[aliases]\ngpt-4.1 = \"x\"\n",
            2,
            "aliases.gpt-4",
            "expected a string; a name with a dot in it needs quotes, found a table",
        ),
        (
            "aliases = [\"x\"]\n",
            1,
            "aliases",
            "expected lines such as \"gpt-5-mini\" = \"grok-4\" under [aliases], found an array",
        ),
    ] {
        let problem = problem(text);
        assert_eq!((problem.line, problem.key.as_str()), (line, key), "{text}");
        let found = Problem {
            key: String::new(),
            ..problem
        };
        assert_eq!(found.to_string(), message, "{text}");
    }
}

#[test]
fn aliases_that_go_round_are_a_mistake() {
    let text = "[aliases]\na = \"b\"\nb = \"c\"\nc = \"b\"\nd = \"d\"\n";
    let problems = problems(text);
    let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "aliases.b: is an alias of itself: b -> c -> b",
        "aliases.d: is an alias of itself: d -> d",
    ];
    assert_eq!(found, expected);
}

/// Each name was followed to its end for each name before it: a minute and more.
#[test]
fn a_long_chain_of_aliases_is_read_at_once_and_a_long_ring_is_told_in_short() {
    let chain = |end: &str| {
        let alias = |at: usize| format!("\"x/{at}\" = \"x/{}\"\n", at + 1);
        let aliases: String = (0..15_000).map(alias).collect();
        format!("[aliases]\n{aliases}\"x/15000\" = \"{end}\"\n")
    };
    let config = good(&chain("x/end"));
    assert_eq!(config.routing.without_alias("x/0"), "x/end");
    config.routing.warnings(&["nous"]);
    let ring = problem(&chain("x/0")).to_string();
    assert!(ring.contains(" -> … -> ") && ring.len() < 300, "{ring}");
}

/// TOML assigns the lines below a table's header to that table.
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

#[test]
fn an_alias_to_a_provider_that_is_not_configured_is_warned_of() {
    const WORK: &str = "[providers.work]\ntype = \"static\"\nbase_url = \"https://w.example/v1\"\napi_key_env = \"W\"\n";
    for (text, expected) in [
        (
            "[aliases]\nfast = \"xai/grok-4\"\n",
            Some(("aliases.fast", "add [providers.xai]")),
        ),
        (
            "default_model = \"xai/grok-4\"\n",
            Some(("default_model", "add [providers.xai]")),
        ),
        (
            "[aliases]\n\"a.b\" = \"fast\"\nfast = \"wrok/m\"\n",
            Some(("aliases.fast", "`work/…`")),
        ),
        ("[aliases]\nfast = \"xai/grok-4\"\n[providers.xai]\n", None),
        ("[aliases]\nfast = \"nous/m\"\n", None),
        ("[aliases]\nfast = \"anthropic/claude\"\n", None),
        ("[aliases]\nfast = \"work/m\"\n", None),
        (
            "[aliases]\nfast = \"xai/grok-4\"\n[[route]]\nmodels = [\"xai/*\"]\nprovider = \"work\"\n",
            None,
        ),
    ] {
        let warnings = good(&format!("{text}{WORK}")).routing_warnings();
        let found: Vec<_> = warnings.iter().map(|(key, _)| key.as_str()).collect();
        let expected_keys: Vec<_> = expected.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, expected_keys, "{text}");
        for ((_, fault), (_, words)) in warnings.iter().zip(expected) {
            assert!(fault.contains(words), "{fault}");
        }
    }
}

/// A comment after each millisecond would be load, and 0 is no short time.
#[test]
fn a_comment_comes_after_a_second_at_least_or_never() {
    let of = |value: &str| format!("[providers.nous]\nkeep_alive_comment = \"{value}\"\n");
    for value in ["1ms", "999ms"] {
        let told = format!("{:?}", problem(&of(value)));
        assert!(
            told.contains("must be at least 1s, or 0s for never"),
            "{told}"
        );
    }
    for value in ["0s", "1s", "10m"] {
        good(&of(value));
    }
}
