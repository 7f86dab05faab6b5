//! Lines for the journal, in its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! tracing-journald sends from the thread that logs, and waits there for a journal that does not
//! read. So an event becomes a datagram here, which the log's own thread sends.

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::log_queue::{Line, LogQueue, Sink, is_important};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Of a value, so many bytes are logged, so that a line fits into a datagram.
const LONGEST: usize = 16 * 1024;

/// The journal's socket.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

/// Makes a datagram of each event. Our fields are called `HERMES_…`; a notice's `message_id` is the
/// journal's `MESSAGE_ID` too.
#[derive(Debug)]
pub(super) struct JournalLayer(pub(super) LogQueue);

impl Journal {
    /// Whether the journal is there; an empty datagram is one that it ignores.
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // One that does not read is there too.
        socket.set_nonblocking(true)?;
        match socket.send_to(&[], SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
        socket.set_nonblocking(false)?;
        Ok(Self(socket))
    }
}

impl Sink for Journal {
    fn write(&mut self, lines: &[Line]) -> usize {
        // By its path each time, so that a journal that was started again is found.
        let lost = lines
            .iter()
            .filter(|line| self.0.send_to(line, SOCKET).is_err());
        lost.count()
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields {
            bytes: Vec::with_capacity(512),
            text: String::new(),
            is_notice: metadata.target() == super::logging::NOTICES,
        };
        for span in context.event_scope(event).into_iter().flatten() {
            fields.put("SPAN_NAME", span.name());
        }
        fields.put("PRIORITY", priority(*metadata.level()));
        fields.put("TARGET", metadata.target());
        if let Some(file) = metadata.file() {
            fields.put("CODE_FILE", file);
        }
        if let Some(line) = metadata.line() {
            fields.put("CODE_LINE", &line.to_string());
        }
        fields.put("SYSLOG_IDENTIFIER", "hermes-proxyd");
        event.record(&mut fields);
        self.0.push(&fields.bytes, is_important(metadata));
    }
}

/// As tracing-journald has it, so that entries of older versions mean the same.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

struct Fields {
    bytes: Vec<u8>,
    /// For values that are formatted.
    text: String,
    is_notice: bool,
}

impl Fields {
    /// With the value's length before it, so that it may have line feeds.
    fn put(&mut self, name: &str, value: &str) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.put_value(value);
    }

    fn put_value(&mut self, value: &str) {
        let value = value.as_bytes();
        let value = value.get(..LONGEST).unwrap_or(value);
        self.bytes.push(b'\n');
        self.bytes
            .extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.put("MESSAGE", value);
        }
        if self.is_notice && field.name() == "message_id" {
            self.put("MESSAGE_ID", value);
        }
        self.bytes.extend_from_slice(b"HERMES_");
        let name = field.name().bytes();
        let name = name.map(|byte| match byte {
            b'a'..=b'z' => byte.to_ascii_uppercase(),
            b'A'..=b'Z' | b'0'..=b'9' => byte,
            _ => b'_',
        });
        self.bytes.extend(name);
        self.put_value(value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        write!(text, "{value:?}").ok();
        self.record_str(field, &text);
        self.text = text;
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Debug)]
    struct Nothing;

    impl Sink for Nothing {
        fn write(&mut self, _: &[Line]) -> usize {
            0
        }
    }

    fn field(name: &str, value: &str) -> Vec<u8> {
        let length = (value.len() as u64).to_le_bytes();
        [name.as_bytes(), b"\n", &length, value.as_bytes(), b"\n"].concat()
    }

    #[test]
    fn an_event_is_a_datagram_with_our_fields_and_what_the_journal_knows() {
        let queue = LogQueue::start(|| Ok(Nothing), |_| Nothing, true).unwrap();
        let subscriber = tracing_subscriber::registry().with(JournalLayer(queue.clone()));
        let heard = super::super::logging::heard_by(subscriber);
        {
            let span = tracing::info_span!("control");
            let _entered = span.enter();
            let long = "x".repeat(LONGEST + 1);
            tracing::warn!(
                message_id = "abc",
                text = "two\nlines",
                long,
                number = 7,
                "it is so"
            );
            tracing::info!(target: super::super::logging::NOTICES, message_id = "abc", "told");
        }
        drop(heard);
        let recent = queue.recent(0).unwrap();
        let has = |line: usize, name: &str, value: &str| {
            let field = field(name, value);
            recent.lines[line]
                .windows(field.len())
                .any(|window| window == field)
        };
        for (name, value) in [
            ("SPAN_NAME", "control"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "hermes-proxyd"),
            ("MESSAGE", "it is so"),
            ("HERMES_TEXT", "two\nlines"),
            ("HERMES_NUMBER", "7"),
            ("HERMES_MESSAGE_ID", "abc"),
        ] {
            assert!(has(0, name, value), "{name}");
        }
        assert!(has(0, "HERMES_LONG", &"x".repeat(LONGEST)));
        assert!(!has(0, "\nMESSAGE_ID", "abc"));
        assert!(has(1, "MESSAGE_ID", "abc") && has(1, "PRIORITY", "5"));
    }
}
