//! Every metric of hermes-proxyd, in the order of the page. `docs/metrics.md` has a row for each.

use super::page::{Family, MetricKind};

macro_rules! families {
    ($($place:ident = $kind:ident $name:literal [$unit:literal] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $place: Family = Family {
                name: $name,
                kind: MetricKind::$kind,
                unit: $unit,
                help: $help,
            };
        )*

        /// All of them.
        pub static ALL: &[&Family] = &[$(&$place),*];
    };
}

families! {
    BUILD = Info "hermes_proxy_build" [""] "The version of hermes-proxyd.";
    PROCESS_CPU = Counter "process_cpu_seconds" ["seconds"] "Total user and system CPU time spent in seconds.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" ["bytes"] "Resident memory size in bytes.";
    PROCESS_FDS = Gauge "process_open_fds" [""] "Number of open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" [""] "Maximum number of open file descriptors.";
    PROCESS_START = Gauge "process_start_time_seconds" ["seconds"] "Start time of the process since unix epoch in seconds.";
    REQUESTS = Counter "hermes_proxy_requests" [""] "Requests to a provider that have ended, by how they ended and the class of the answer's status.";
    REQUESTS_IN_FLIGHT = Gauge "hermes_proxy_requests_in_flight" [""] "Requests to a provider that are in flight.";
    STREAMS_IN_FLIGHT = Gauge "hermes_proxy_streams_in_flight" [""] "Event streams from a provider that are in flight.";
    DURATION = Histogram "hermes_proxy_request_duration_seconds" ["seconds"] "Time from a request's head to the last byte of the provider's answer.";
    FIRST_BYTE = Histogram "hermes_proxy_time_to_first_byte_seconds" ["seconds"] "Time from a request's head to the first byte of the body of the provider's answer.";
    REQUEST_BYTES = Counter "hermes_proxy_request_body_bytes" ["bytes"] "Bytes of the bodies of requests.";
    RESPONSE_BYTES = Counter "hermes_proxy_response_body_bytes" ["bytes"] "Bytes of the bodies of answers.";
    TOKENS = Counter "hermes_proxy_tokens" [""] "Tokens by the usage that answers state; cached tokens are a part of prompt.";
    REFUSED = Counter "hermes_proxy_refused_requests" [""] "Requests that were refused before a provider was asked.";
    CLIENT_REQUESTS = Counter "hermes_proxy_client_requests" [""] "Requests with a client key that were let in.";
    CLIENT_IN_FLIGHT = Gauge "hermes_proxy_client_requests_in_flight" [""] "Requests with a client key that are in flight.";
    PROVIDER_READY = Gauge "hermes_proxy_provider_ready" [""] "Whether the provider's requests can be served, as /readyz says.";
    PROVIDER_FAILURES = Gauge "hermes_proxy_provider_consecutive_failures" [""] "Requests that the provider failed since one succeeded.";
    LOGIN_STATE = Gauge "hermes_proxy_login_state" [""] "1 for the state in which the login is, 0 for the others.";
    LOGIN_END = Gauge "hermes_proxy_login_expiry_timestamp_seconds" ["seconds"] "When the user must log in again at the latest, where that is known.";
    TOKEN_END = Gauge "hermes_proxy_access_token_expiry_timestamp_seconds" ["seconds"] "When the login's access token expires; it is refreshed before.";
    REFRESHES = Counter "hermes_proxy_refreshes" [""] "Refreshes of the login by their result.";
    QUOTA_USED = Gauge "hermes_proxy_quota_used_ratio" ["ratio"] "How much of the login's quota is used, from 0 to 1.";
    QUOTA_LIMIT = Gauge "hermes_proxy_quota_limit" [""] "All that the quota has, in requests or tokens, where the provider says so.";
    QUOTA_REMAINING = Gauge "hermes_proxy_quota_remaining" [""] "What is left of the quota, in requests or tokens, where the provider says so.";
    QUOTA_RESET = Gauge "hermes_proxy_quota_reset_timestamp_seconds" ["seconds"] "When the quota starts again, where the provider says so.";
    FINDINGS = Gauge "hermes_proxy_findings" [""] "What is wrong, as hermesctl status shows it: findings by code and severity.";
    UPSTREAM_CONNECTIONS = Gauge "hermes_proxy_upstream_connections" [""] "Open connections to the provider, with those from before a reload that still carry something.";
    CLIENT_CONNECTIONS = Gauge "hermes_proxy_client_connections" [""] "Open connections of apps.";
    USAGE_UNSAVED = Gauge "hermes_proxy_usage_unsaved" [""] "1 while the counts of usage can not be saved.";
    USAGE_DROPPED = Counter "hermes_proxy_usage_dropped_requests" [""] "Requests that are missing in the counts of usage.";
    LOG_DROPPED = Counter "hermes_proxy_log_dropped_lines" [""] "Lines of the log that could not be written.";
}
