//! The plain tables of the file: `[guard]`, `[limits]`, `[timeouts]`, `[log]` and `[usage]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::form::{Count, Flag, Size, Text, Texts, Wait, Word};
use super::reader::TableReader;
use super::table::table;
use super::{units, values};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// hyper reads no header block into less than this.
const LEAST_HEADERS: u64 = 8 * KIB;
const MOST_HEADERS: u64 = 16 * MIB;
const MOST_CONNECTIONS: u64 = 1_000_000;
/// A hundred years.
const MOST_DAYS: u64 = 36_500;
const MONTH: Duration = Duration::from_hours(30 * 24);
/// A required wait.
pub(super) const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=MONTH;
/// A wait that may be zero.
pub(super) const OPTIONAL_WAIT: RangeInclusive<Duration> = Duration::ZERO..=MONTH;

table! {
    /// Who may ask, besides clients on loopback that use its own names.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Guard {
        /// Whether other users of this machine need a client key (Linux).
        pub peer_check: bool = Flag, or true, on reload;
        /// Host names, without a port, under which apps may reach the service without a client key. Don't
        /// list a name that another person could point at another machine: give the app a key instead.
        pub allowed_hosts: Vec<String> = Texts("my-machine.lan", values::host_name), or Vec::new(), on reload;
        /// Web pages that may use the service from a browser, such as `"https://app.example"`. There are no
        /// wildcards.
        pub allowed_origins: Vec<String> = Texts("https://app.example", values::origin), or Vec::new(), on reload;
    }
}

table! {
    /// Sizes in bytes, and counts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Limits {
        /// The largest request body; larger ones are answered with 413.
        pub body: u64 = Size(1..=TIB), or 64 << 20, on reload;
        /// The largest header block of a request; at least 8KiB.
        pub headers: usize = Size(LEAST_HEADERS..=MOST_HEADERS), or 64 << 10, on reload;
        /// The most open connections of apps, over all addresses; fewer if the open file limit is too low.
        pub connections: usize = Count(1..=MOST_CONNECTIONS), or 1024, on restart;
        /// How much of one request is kept, to repeat it with a fresh token after the provider's 401. Larger
        /// requests are not repeated.
        pub replay_body: usize = Size(0..=TIB), or 1 << 20, on reload;
        /// How much memory all requests together have for that, and for bodies that are translated. Requests
        /// take three quarters of it at most; the rest is for answers.
        pub replay_total: usize = Size(0..=TIB), or 64 << 20, on reload;
        /// How much of one request is read to find its model, if routes, aliases or `default_model` depend on it.
        /// If the model comes later, the answer is 413. It counts towards `replay_total`.
        pub route_body: usize = Size(1..=TIB), or 16 << 20, on reload;
    }
}

table! {
    /// When a wait ends.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Timeouts {
        /// An app must have sent its request's headers within this time.
        pub headers: Duration = Wait(WAIT), or Duration::from_secs(10), on reload;
        /// How long an app's connection stays open between two requests.
        pub keep_alive: Duration = Wait(WAIT), or Duration::from_secs(75), on reload;
        /// The longest silence while an app sends its request's body.
        pub body: Duration = Wait(WAIT), or Duration::from_mins(1), on reload;
        /// Connecting to the provider (DNS, TCP and TLS).
        pub connect: Duration = Wait(WAIT), or Duration::from_secs(10), on reload;
        /// How long a connection to the provider is used for new requests; then its name is looked up again.
        pub reuse: Duration = Wait(WAIT), or Duration::from_mins(5), on reload;
        /// From the end of a request to the start of the provider's answer; long, for reasoning models.
        pub response_head: Duration = Wait(WAIT), or Duration::from_mins(15), on reload;
        /// The longest silence within the provider's answer.
        pub idle: Duration = Wait(WAIT), or Duration::from_mins(10), on reload;
        /// How long a request waits for a new token when the old one has expired.
        pub credential: Duration = Wait(WAIT), or Duration::from_secs(10), on reload;
        /// How long a shutdown lets running requests finish; "0s" cuts them off.
        pub drain: Duration = Wait(OPTIONAL_WAIT), or Duration::from_secs(30), on reload;
    }
}

table! {
    /// What is logged, and how.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Log {
        /// error, warn, info, debug or trace; or a list such as `"info,hermes_proxy::credentials=debug"`.
        pub level: String = Text("info", values::log_level), or "info".to_owned(), on reload;
        /// auto, journald, pretty or json. auto is journald when systemd started the service, else pretty.
        pub format: LogFormat = Word(&LogFormat::NAMES), or LogFormat::Auto, on restart;
    }
}

table! {
    /// Counting who used how much.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Usage {
        /// Whether requests are counted.
        pub enabled: bool = Flag, or true, on restart;
        /// For how many days the counts are kept.
        pub keep_days: u32 = Count(1..=MOST_DAYS), or 400, on restart;
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// journald when systemd started us, else pretty.
    Auto,
    /// Fields to the journal.
    Journald,
    /// For a person at a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The formats by the names that the file and the command line use.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("journald", Self::Journald),
        ("pretty", Self::Pretty),
        ("json", Self::Json),
    ];
}

impl Limits {
    /// Refuses a share for one request that is larger than what all have together.
    pub(super) fn check(&self, table: &TableReader<'_>) {
        let place = table.right("replay_body");
        let place = place.or_else(|| table.right("replay_total"));
        if let Some(place) = place
            && self.replay_body > self.replay_total
        {
            let size = |bytes: usize| units::format_size(bytes as u64);
            let message = format!(
                "replay_body ({}) must not be larger than replay_total ({}), which all requests share",
                size(self.replay_body),
                size(self.replay_total)
            );
            table.report().add(&place, message);
        }
    }
}

/// Whether `guard.allowed_hosts` may name this host.
pub fn can_allow_host(name: &str) -> bool {
    values::host_name(name).is_ok()
}

/// Whether `guard.allowed_origins` may name this origin.
pub fn can_allow_origin(origin: &str) -> bool {
    values::origin(origin).is_ok()
}
