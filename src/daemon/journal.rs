//! Lines for the journal, in its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! tracing-journald sends from the thread that logs, and waits there for a journal that does not
//! read. So an event becomes a datagram here, which the log's own thread sends.

use std::fmt::{Debug, Write as _};
use std::io::{self, IoSlice};
use std::os::unix::net::UnixDatagram;

use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{
    MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketAddrUnix, sendmmsg,
};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::log_form::{make, put_number};
use super::log_lines::LogLines;
use super::log_queue::{LogQueue, LogSink, Taken, is_important};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Of a value, so many bytes are logged, so that a line fits into a datagram.
const LONGEST: usize = 16 * 1024;

/// Datagrams that are handed over in one call.
const TOGETHER: usize = 64;

/// The journal's socket, and its address.
#[derive(Debug)]
pub(super) struct JournalSocket(UnixDatagram, SocketAddrAny);

/// Makes a datagram of each event. Our fields are called `HERMES_…`; a notice's `message_id` is the
/// journal's `MESSAGE_ID` too.
#[derive(Debug)]
pub(super) struct JournalLayer(pub(super) LogQueue);

impl JournalSocket {
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
        let address = SocketAddrUnix::new(SOCKET)?;
        Ok(Self(socket, address.as_any()))
    }

    /// Sends the first of these datagrams, as many as go; an error is why the first does not.
    fn send(&self, datagrams: &[[IoSlice<'_>; 1]]) -> Result<usize, Errno> {
        let mut ancillary: Vec<_> = datagrams
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        // By its path each time, so that a journal that was started again is found.
        let mut messages: Vec<_> = datagrams
            .iter()
            .zip(&mut ancillary)
            .map(|(datagram, none)| MMsgHdr::new_with_addr(&self.1, datagram, none))
            .collect();
        loop {
            match sendmmsg(&self.0, &mut messages, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                sent => return sent,
            }
        }
    }
}

impl LogSink for JournalSocket {
    fn write(&mut self, lines: LogLines<'_>) -> Taken {
        let datagrams: Vec<_> = lines.iter().map(|line| [IoSlice::new(line)]).collect();
        let (mut done, mut lost) = (0, 0);
        while let Some(rest @ [_, ..]) = datagrams.get(done..) {
            let next = rest.get(..TOGETHER).unwrap_or(rest);
            match self.send(next) {
                Ok(sent @ 1..) => done += sent,
                Err(error) if is_away(error) => {
                    return Taken {
                        done,
                        lost,
                        takes_more: false,
                    };
                }
                // Such as one that is too long.
                Ok(0) | Err(_) => {
                    lost += 1;
                    done += 1;
                }
            }
        }
        Taken {
            lost,
            ..Taken::all(lines)
        }
    }
}

/// Whether the same datagram may go later: the journal is being started again, or the system lacks memory.
fn is_away(error: Errno) -> bool {
    [
        Errno::CONNREFUSED,
        Errno::NOENT,
        Errno::CONNRESET,
        Errno::NOTCONN,
        Errno::PIPE,
        Errno::NOBUFS,
        Errno::NOMEM,
    ]
    .contains(&error)
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let important = is_important(event.metadata());
        make(
            |line| entry(line, event, &context),
            |line| self.0.push(line, important),
        );
    }
}

/// Makes an event's datagram.
fn entry<S>(bytes: &mut Vec<u8>, event: &Event<'_>, context: &Context<'_, S>)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let metadata = event.metadata();
    let mut fields = JournalFields {
        bytes,
        text: String::new(),
        is_notice: metadata.target() == super::notices::NOTICES,
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
        fields.put_number("CODE_LINE", u64::from(line));
    }
    fields.put("SYSLOG_IDENTIFIER", "hermes-proxyd");
    event.record(&mut fields);
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

struct JournalFields<'l> {
    bytes: &'l mut Vec<u8>,
    /// For values that are formatted.
    text: String,
    is_notice: bool,
}

impl JournalFields<'_> {
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

    /// A value without a line feed has none before it, and no length.
    fn put_number(&mut self, name: &str, value: u64) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.put_digits(value);
    }

    fn put_digits(&mut self, value: u64) {
        self.bytes.push(b'=');
        put_number(self.bytes, value);
        self.bytes.push(b'\n');
    }

    fn put_name(&mut self, field: &Field) {
        self.bytes.extend_from_slice(b"HERMES_");
        let name = field.name().bytes();
        let name = name.map(|byte| match byte {
            b'a'..=b'z' => byte.to_ascii_uppercase(),
            b'A'..=b'Z' | b'0'..=b'9' => byte,
            _ => b'_',
        });
        self.bytes.extend(name);
    }
}

impl Visit for JournalFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.put("MESSAGE", value);
        }
        if self.is_notice && field.name() == "message_id" {
            self.put("MESSAGE_ID", value);
        }
        self.put_name(field);
        self.put_value(value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_name(field);
        self.put_digits(value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.record_debug(field, &value),
        }
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

    impl LogSink for Nothing {
        fn write(&mut self, lines: LogLines<'_>) -> Taken {
            Taken::all(lines)
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
                less = -7,
                most = u16::MAX,
                "it is so"
            );
            tracing::info!(target: super::super::notices::NOTICES, message_id = "abc", "told");
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
            ("HERMES_MESSAGE_ID", "abc"),
        ] {
            assert!(has(0, name, value), "{name}");
        }
        assert!(has(0, "HERMES_LESS", "-7"));
        for number in [
            "\nHERMES_NUMBER=7\n",
            "\nHERMES_MOST=65535\n",
            "\nCODE_LINE=",
        ] {
            let number = number.as_bytes();
            assert!(
                recent.lines[0]
                    .windows(number.len())
                    .any(|part| part == number)
            );
        }
        assert!(has(0, "HERMES_LONG", &"x".repeat(LONGEST)));
        assert!(!has(0, "\nMESSAGE_ID", "abc"));
        assert!(has(1, "MESSAGE_ID", "abc") && has(1, "PRIORITY", "5"));
    }
}
