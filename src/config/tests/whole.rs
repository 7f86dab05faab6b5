//! What a whole file is parsed into, and whether the example holds.

use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderName;
use toml::de::DeTable;
use url::Url;

use super::*;

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(good(""), Config::default());
    assert_eq!(good("[guard]\n[limits]\n[providers]\n"), Config::default());
}

/// When the reader finds top-level keys below a table, it advises to move all of them, except those that begin a table
/// of their own.
#[test]
fn the_keys_of_the_top_level_are_known_to_the_advice() {
    use crate::config::root::Top;
    use crate::config::table::Table as _;

    let keys = Top::KEYS.iter().chain(Routing::KEYS).map(|(key, _)| *key);
    let keys: BTreeSet<_> = keys.filter(|key| *key != "aliases").collect();
    assert_eq!(keys, reader::TOP.into());
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
        |keys: Vec<ConfigKey>| -> BTreeSet<_> { keys.into_iter().map(|key| key.pattern).collect() };
    assert_eq!(shown, patterns(reading.keys));
    assert_eq!(shown, patterns(shape()));
}

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
        events: vec![HookEvent::LoginEnded, HookEvent::LoginNotSaved],
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
        http: HttpVersion::Http2,
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

/// Values at their default are printed too, so that nothing stays hidden.
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
