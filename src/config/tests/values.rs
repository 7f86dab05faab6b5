//! Every rejected value, with its message.

use super::*;

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
        (
            "http = \"3\"",
            "http",
            "is not one of \"auto\", \"1.1\", \"2\"",
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
