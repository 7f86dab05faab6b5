use super::super::error::ErrorKind;
use super::*;

struct Fake<'a>(&'static str, &'a [AllowedPath]);

impl Serves for Fake<'_> {
    fn name(&self) -> &str {
        self.0
    }

    fn paths(&self) -> &[AllowedPath] {
        self.1
    }
}

fn path(path: &str, method: Method) -> AllowedPath {
    AllowedPath::new(path, &[method])
}

fn find_in(method: &Method, target: &str) -> Result<Route, ProxyError> {
    let nous = [
        path("/chat/completions", Method::POST),
        path("/models", Method::GET),
    ];
    let other = [path("/responses", Method::POST)];
    let providers = [Fake("nous", &nous), Fake("other", &other)];
    find(method, target, &providers, Some(0))
}

#[test]
fn what_apps_get_wrong_is_forgiven() {
    for target in [
        "/v1/chat/completions",
        "//v1//chat/completions",
        "/v1/chat/completions/",
        "/chat/completions",
        "/v1/v1/chat/completions",
        "/nous/v1/chat/completions",
        "/NOUS/v1/chat/completions",
        "/nous/chat/completions",
    ] {
        let route = find_in(&Method::POST, target);
        assert_eq!(
            route,
            Ok(Route::Forward {
                provider: 0,
                path: 0
            }),
            "{target}"
        );
    }
    let route = find_in(&Method::POST, "/other/v1/responses");
    assert_eq!(
        route,
        Ok(Route::Forward {
            provider: 1,
            path: 0
        })
    );
}

#[test]
fn a_path_with_a_place_takes_an_id_and_a_literal_one_goes_before_it() {
    let paths = [
        path("/files/{id}", Method::GET),
        path("/files/{id}/content", Method::GET),
        path("/files/search", Method::POST),
        path("/{a}/x", Method::GET),
        path("/files/{id}/{part}", Method::POST),
    ];
    let providers = [Fake("nous", &paths)];
    let at = |method: &Method, target: &str| {
        find(method, target, &providers, Some(0)).map(|route| match route {
            Route::Forward { path, .. } => path_upstream(&paths[path], target).into_owned(),
            other @ (Route::Local(_) | Route::Model { .. }) => panic!("{other:?}"),
        })
    };
    for (method, target, upstream) in [
        (Method::GET, "/v1/files/file-1", "/files/file-1"),
        (Method::HEAD, "/v1/files/file-1/", "/files/file-1"),
        (Method::GET, "/nous//v1//files/f.1", "/files/f.1"),
        (Method::GET, "/v1/files/f/content", "/files/f/content"),
        (Method::POST, "/v1/files/f/parts", "/files/f/parts"),
        (Method::POST, "/v1/files/search", "/files/search"),
    ] {
        assert_eq!(at(&method, target).as_deref(), Ok(upstream), "{target}");
    }
    // The path decides, then the method.
    for (method, target, allow) in [
        (Method::GET, "/v1/files/search", "POST"),
        (Method::POST, "/v1/files/file-1", "GET, HEAD"),
        (Method::POST, "/v1/files/f/content", "GET, HEAD"),
    ] {
        let error = at(&method, target).unwrap_err();
        assert_eq!(error.allow.as_deref(), Some(allow), "{target}");
    }
    for target in [
        "/v1/files/.",
        "/v1/files/..",
        "/v1/files/%2e%2e",
        "/v1/files/a%2fb",
        "/v1/files/a;b",
        "/v1/files/{id}",
        "/v1/files/{id}/content",
        "/v1/files",
        "/v1/files/a/content/b",
    ] {
        let error = at(&Method::GET, target).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{target}");
    }
}

#[test]
fn a_model_is_one_of_the_list_however_its_id_is_written() {
    for (target, id) in [
        ("/v1/models/gpt-5", "gpt-5"),
        ("/nous/v1/models/gpt-5/", "gpt-5"),
        (
            "//models/anthropic/claude-4.5:beta",
            "anthropic/claude-4.5:beta",
        ),
        (
            "/v1/models/anthropic%2Fclaude%3aBeta",
            "anthropic/claude:Beta",
        ),
        ("/v1/models/@cf/x", "@cf/x"),
        ("/v1/models/models/x", "models/x"),
    ] {
        let route = find_in(&Method::GET, target);
        assert_eq!(route, find_in(&Method::HEAD, target));
        let Ok(Route::Model {
            provider: 0,
            path: 1,
            before,
        }) = route
        else {
            panic!("{target}: {route:?}");
        };
        assert_eq!(model(target, before).as_deref(), Some(id), "{target}");
        let error = find_in(&Method::DELETE, target).unwrap_err();
        assert_eq!(error.allow.as_deref(), Some("GET, HEAD"));
    }
}

#[test]
fn everything_else_is_not_found() {
    for target in [
        "/v1",
        "/v1/",
        "/v1/embeddings",
        "/v1/models/..",
        "/v1/models/../x",
        "/v1/models/%2e%2e",
        "/v1/models/a%2F..%2Fb",
        "/v1/models/a%00",
        "/v1/models/a%",
        "/v1/models/a%2",
        "/v1/models/a%zz",
        "/v1/models/a;b",
        "/v1/models/a b",
        "/other/v1/models/x",
        "/v1/%6dodels",
        "/v1/./models",
        "/v1/../models",
        "/v1/models;a",
        "/v1\\models",
        "/v1/Models",
        "/V1/models",
        "/v1/v1/v1/models",
        "/v1/nous/models",
        "/other/v1/models",
        "*",
    ] {
        let error = find_in(&Method::GET, target).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{target}");
    }
    let error = find_in(&Method::GET, "/nope/v1/models").unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnknownProvider);
    assert!(error.message.contains("nous, other"));
}

#[test]
fn the_allowed_paths_are_listed_in_order() {
    let error = find_in(&Method::GET, "/v1/nope").unwrap_err();
    assert!(
        error.message.ends_with("/chat/completions, /models"),
        "{}",
        error.message
    );
}

#[test]
fn another_method_is_told_the_right_ones() {
    let error = find_in(&Method::GET, "/v1/chat/completions").unwrap_err();
    assert_eq!(error.kind, ErrorKind::MethodNotAllowed);
    assert_eq!(error.allow.as_deref(), Some("POST"));
    let error = find_in(&Method::POST, "/v1/models").unwrap_err();
    assert_eq!(error.allow.as_deref(), Some("GET, HEAD"));
    let error = find_in(&Method::HEAD, "/v1/chat/completions").unwrap_err();
    assert_eq!(error.kind, ErrorKind::MethodNotAllowed);
    let error = find_in(&Method::DELETE, "/health").unwrap_err();
    assert_eq!(error.allow.as_deref(), Some("GET, HEAD"));
}

#[test]
fn a_head_is_served_wherever_a_get_is() {
    let route = find_in(&Method::HEAD, "/v1/models");
    assert!(matches!(route, Ok(Route::Forward { .. })), "{route:?}");
    let get = path("/models", Method::GET);
    assert_eq!(method_upstream(&Method::HEAD, &get), Method::GET);
    assert_eq!(method_upstream(&Method::GET, &get), Method::GET);
    let head = path("/models", Method::HEAD);
    assert_eq!(method_upstream(&Method::HEAD, &head), Method::HEAD);
}

#[test]
fn anthropics_errors_are_for_its_paths_alone() {
    for path in [
        "/v1/messages",
        "//v1//messages/",
        "/messages",
        "/v1/v1/messages",
        "/nous/v1/messages",
        "/nous/messages",
        "/v1/messages/count_tokens",
        "/nous/v1/messages/count_tokens/",
        "/messages/count_tokens",
    ] {
        assert_eq!(error_format(path), ErrorFormat::Anthropic, "{path}");
    }
    for path in [
        "/",
        "/v1/chat/completions",
        "/v1/threads/x/messages",
        "/threads/x/messages",
        "/v1/x/messages",
        "/v1/chat/messages/count_tokens",
        "/v1/count_tokens",
        "/v1/xmessages",
        "/v1/messages/x/count_tokens",
    ] {
        assert_eq!(error_format(path), ErrorFormat::OpenAi, "{path}");
    }
}

const ONE_VERSION: &str = "Set the app's base URL to one that ends in a single /v1: ";

#[test]
fn a_404_begins_with_what_to_choose_in_the_app() {
    for (target, begins) in [
        (
            "/v1/responses",
            "Set the app's base URL to one that ends in /other/v1: the provider other serves \
                 /responses; or choose Chat Completions in the app",
        ),
        ("/responses/x/cancel", "Set the app's base URL to one"),
        (
            "/v1/messages",
            "Choose OpenAI's Chat Completions in the app",
        ),
        ("/v1/messages/count_tokens", "Choose OpenAI's Chat"),
        ("/v1/messages/batches", "Choose single requests"),
        ("/v1/realtime", "Choose Chat Completions"),
        ("/v1/audio/speech", "Choose another service"),
        (
            "/api/v1/chat/completions",
            "Set the app's base URL to one that ends in /v1, without /api.",
        ),
        (
            "/openai/deployments/a/chat/completions",
            "Choose \"OpenAI\"",
        ),
        ("/api/tags", "Choose \"OpenAI compatible\""),
        (
            "/v1beta/models/x:generateContent",
            "Choose \"OpenAI compatible\"",
        ),
        (
            "/v1/chat/completions/chat/completions",
            "Set the app's base URL to one that ends in /v1, without /chat/completions:",
        ),
        ("/v1/chat/completions/v1/models", "Set the app's base URL"),
        ("/v1/models/models", "Set the app's base URL"),
        ("/v1/responses/models", "Set the app's base URL"),
        ("/nous/v1/chat/completions/models", "Set the app's base URL"),
        ("/v1/v1/v1/chat/completions", ONE_VERSION),
        ("/nous/v1/v1/v1/models", ONE_VERSION),
        ("/v1/v1/v1/v1/v1", ONE_VERSION),
        ("/v1/models/..", "Path /v1/models/.. is not"),
        ("/a/b", "Path /a/b is not"),
    ] {
        let error = find_in(&Method::GET, target).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{target}");
        assert!(error.message.starts_with(begins), "{}", error.message);
        assert!(error.message.ends_with("/chat/completions, /models"));
    }
    let error = find_in(&Method::GET, "/groq/v1/models").unwrap_err();
    assert!(error.message.starts_with("Set the app's base URL"));
    let error = find_in(&Method::GET, &"/v1/a".repeat(1000)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PathNotAllowed);
}

#[test]
fn our_own_paths_are_found() {
    for target in [
        "/favicon.ico",
        "//favicon.svg",
        "/apple-touch-icon-76x76.png",
        "/apple-touch-icon.png",
        "/robots.txt",
    ] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(find_in(&method, target), Ok(Route::Local(Local::Nothing)));
        }
        let error = find_in(&Method::POST, target).unwrap_err();
        assert_eq!(error.kind, ErrorKind::MethodNotAllowed);
    }
    for (target, local) in [
        ("//", Local::Root),
        ("/health/", Local::Health),
        ("//livez", Local::Live),
        ("///readyz//", Local::Ready),
    ] {
        assert_eq!(find_in(&Method::GET, target), Ok(Route::Local(local)));
    }
    assert!(find_in(&Method::GET, "/v1/favicon.ico").is_err());
    for (target, local) in Local::ALL {
        assert_eq!(find_in(&Method::GET, target), Ok(Route::Local(local)));
        assert_eq!(find_in(&Method::HEAD, target), Ok(Route::Local(local)));
    }
}
