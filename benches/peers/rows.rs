//! What is measured, row by row.

use std::time::Duration;

use super::upstream::Way;

/// What one turn of a contestant is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Whole answers to so many clients.
    Chats {
        clients: usize,
    },
    /// The first byte of a stream, one client.
    FirstByte,
    /// So many streams that are open at once.
    Streams(usize),
    /// Streams of 500 events, one client.
    Burst,
    /// A request's body of so many bytes, one client.
    Body(usize),
    /// A client connection for each request.
    Connect,
    Idle,
    Ready,
    /// The first byte over a long way, connections being there.
    FarWarm,
    /// The first request after a start, over a long way.
    FarCold,
    /// A refresh is due, and the portal does not answer.
    Portal,
    Size,
}

/// What a figure is, and how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    Kibibytes,
    Megabytes,
}

/// The most that it may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Times nginx's, of the same round.
    Ratio(f64),
    /// In the figure's unit.
    Figure(f64),
}

/// A figure of a measurement: a row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) label: &'static str,
    pub(crate) unit: Unit,
    pub(crate) goal: Option<Goal>,
}

/// What is measured at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    /// By which `--rows` chooses it, or all whose names begin like that.
    pub(crate) id: &'static str,
    pub(crate) way: Way,
    pub(crate) work: Work,
    pub(crate) rows: &'static [Row],
    pub(crate) when: When,
}

/// Whether it is measured when nothing is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// Not by `--quick`.
    Full,
    /// Only when it is named.
    Named,
}

impl Measurement {
    /// What changes little, or takes long, is measured less often.
    pub(crate) fn rounds(&self, rounds: usize) -> usize {
        match self.work {
            Work::Size => 1,
            Work::Streams(2000..) => rounds.min(2),
            Work::Streams(_) | Work::Portal | Work::FarWarm | Work::FarCold => rounds.min(3),
            Work::Chats { .. }
            | Work::FirstByte
            | Work::Burst
            | Work::Body(_)
            | Work::Connect
            | Work::Idle
            | Work::Ready => rounds,
        }
    }
}

/// Events in a burst.
pub(crate) const BURST: usize = 500;

/// All open streams together have so many events in a second.
const EVENTS: u64 = 10_000;

/// How long one of so many streams is quiet between two events.
pub(crate) fn pace(streams: usize) -> Duration {
    Duration::from_secs(streams as u64) / u32::try_from(EVENTS).unwrap_or(u32::MAX)
}

const fn row(label: &'static str, unit: Unit, goal: Option<Goal>) -> Row {
    Row { label, unit, goal }
}

macro_rules! measurements {
    ($($id:literal $when:ident $way:ident $work:expr => $([$label:literal $unit:ident $($goal:ident($most:literal))?])+)+) => {
        /// In the order of the table.
        pub(crate) const MEASUREMENTS: &[Measurement] = &[$(Measurement {
            id: $id,
            way: Way::$way,
            work: $work,
            rows: &[$(row($label, Unit::$unit, measurements!(@goal $($goal($most))?))),+],
            when: When::$when,
        }),+];
    };
    (@goal) => { None };
    (@goal $goal:ident($most:literal)) => { Some(Goal::$goal($most)) };
}

measurements! {
    "cpu-1-plain" Always Plain Work::Chats { clients: 1 } => ["CPU per request, 1 client, plain" Microseconds]
    "cpu-32-plain" Always Plain Work::Chats { clients: 32 } => ["CPU per request, 32 clients, plain" Microseconds Ratio(0.95)]
    "cpu-256-plain" Always Plain Work::Chats { clients: 256 } => ["CPU per request, 256 clients, plain" Microseconds Ratio(1.0)]
    "cpu-1-tls" Full Tls Work::Chats { clients: 1 } => ["CPU per request, 1 client, TLS" Microseconds]
    "cpu-32-tls" Always Tls Work::Chats { clients: 32 } => ["CPU per request, 32 clients, TLS" Microseconds Ratio(0.80)]
    "cpu-256-tls" Full Tls Work::Chats { clients: 256 } => ["CPU per request, 256 clients, TLS" Microseconds Ratio(0.75)]
    "cpu-32-http1" Full TlsHttp1 Work::Chats { clients: 32 } => ["CPU per request, 32 clients, TLS without HTTP/2" Microseconds]
    "cpu-256-http1" Full TlsHttp1 Work::Chats { clients: 256 } => ["CPU per request, 256 clients, TLS without HTTP/2" Microseconds]
    "first-byte-plain" Always Plain Work::FirstByte => ["first byte of a stream, plain" Microseconds Ratio(0.85)]
    "first-byte-tls" Always Tls Work::FirstByte => ["first byte of a stream, TLS" Microseconds Ratio(0.85)]
    "streams-1000-plain" Always Plain Work::Streams(1000) =>
        ["CPU per event, 1,000 streams, plain" Microseconds Ratio(0.95)] ["memory per stream, 1,000, plain" Kibibytes]
    "streams-1000-tls" Full Tls Work::Streams(1000) =>
        ["CPU per event, 1,000 streams, TLS" Microseconds Ratio(0.70)] ["memory per stream, 1,000, TLS" Kibibytes]
    "streams-5000-plain" Full Plain Work::Streams(5000) =>
        ["CPU per event, 5,000 streams, plain" Microseconds] ["memory per stream, 5,000, plain" Kibibytes Figure(8.0)]
    "streams-5000-tls" Full Tls Work::Streams(5000) =>
        ["CPU per event, 5,000 streams, TLS" Microseconds] ["memory per stream, 5,000, TLS" Kibibytes Figure(16.0)]
    "streams-10000-plain" Named Plain Work::Streams(10_000) =>
        ["CPU per event, 10,000 streams, plain" Microseconds] ["memory per stream, 10,000, plain" Kibibytes]
    "streams-10000-tls" Named Tls Work::Streams(10_000) =>
        ["CPU per event, 10,000 streams, TLS" Microseconds] ["memory per stream, 10,000, TLS" Kibibytes]
    "burst-plain" Always Plain Work::Burst => ["CPU for 500 events as fast as they come, plain" Microseconds Ratio(0.95)]
    "burst-tls" Full Tls Work::Burst => ["CPU for 500 events as fast as they come, TLS" Microseconds]
    "body-256k" Always Plain Work::Body(256 << 10) => ["CPU for a request of 256 KiB, plain" Microseconds]
    "body-4m" Full Plain Work::Body(4 << 20) => ["CPU for a request of 4 MiB, plain" Milliseconds]
    "connect" Always Plain Work::Connect => ["CPU per request, a client connection for each" Microseconds]
    "idle" Always Plain Work::Idle => ["memory when idle" Megabytes Figure(6.0)]
    "ready" Always Plain Work::Ready => ["from its start to its first answer" Milliseconds Figure(10.0)]
    "far-warm" Always Far Work::FarWarm => ["first byte over 40 ms of round trip, connected" Milliseconds Figure(43.0)]
    "far-cold" Always Far Work::FarCold => ["first byte over 40 ms of round trip, the first request" Milliseconds Figure(43.0)]
    "portal" Always Plain Work::Portal => ["slowest request while a refresh waits for the portal" Milliseconds]
    "size" Always Plain Work::Size => ["size of the program" Megabytes]
}
