//! The format of a log line: text or JSON, the same as tracing-subscriber's, so that log readers work with either. A
//! line is formatted in a buffer that its thread keeps, without an allocation.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::log_queue::{LogQueue, is_important};
use crate::clock::{self, Clock, SystemClock};
use crate::control::human::misleads;

/// The buffer size that a thread keeps, in bytes.
const KEPT: usize = 4 * 1024;
/// The length of `2026-11-23T19:44:00`.
const SECOND: usize = 19;
/// The prefix that `tracing-log` gives to the metadata fields of a record of the `log` crate.
const OF_LOG: &str = "log.";

thread_local! {
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The second that was formatted last: seconds since 1970, and its text.
    static WRITTEN: Cell<(u64, [u8; SECOND])> = const { Cell::new((u64::MAX, [0; SECOND])) };
}

/// Formats a line in the thread's buffer and passes it to `take`.
pub(super) fn make(write: impl FnOnce(&mut Vec<u8>), take: impl FnOnce(&[u8])) {
    // Formatting may itself log; that inner line then gets a new buffer.
    let mut line = LINE.try_with(Cell::take).unwrap_or_default();
    line.clear();
    write(&mut line);
    take(&line);
    line.clear();
    line.shrink_to(KEPT);
    // On a thread that is ending, the buffer is dropped.
    LINE.try_with(|kept| kept.set(line)).ok();
}

/// The format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogForm {
    Text,
    /// An object with the event's fields next to the standard ones.
    Json,
}

/// Formats each event as a line.
#[derive(Debug)]
pub(super) struct LineLayer {
    pub(super) form: LogForm,
    pub(super) queue: LogQueue,
}

/// A span's formatted fields.
struct SpanFields(Vec<u8>);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Vec::new();
            attributes.record(&mut LogFields::new(self.form, &mut fields));
            span.extensions_mut().replace(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut LogFields::new(self.form, fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let important = is_important(event.metadata());
        make(
            |line| match self.form {
                LogForm::Text => text(line, event, &context),
                LogForm::Json => json(line, event, &context),
            },
            |line| self.queue.push(line, important),
        );
    }
}

fn text<S>(line: &mut Vec<u8>, event: &Event<'_>, context: &Context<'_, S>)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    put_time(line);
    let level: &[u8] = match *event.metadata().level() {
        Level::ERROR => b" ERROR ",
        Level::WARN => b"  WARN ",
        Level::INFO => b"  INFO ",
        Level::DEBUG => b" DEBUG ",
        Level::TRACE => b" TRACE ",
    };
    line.extend_from_slice(level);
    if let Some(scope) = context.event_scope(event) {
        for span in scope.from_root() {
            line.extend_from_slice(span.name().as_bytes());
            of_span(&span, |fields| {
                line.push(b'{');
                line.extend_from_slice(fields);
                line.push(b'}');
            });
            line.push(b':');
        }
        line.push(b' ');
    }
    event.record(&mut LogFields::new(LogForm::Text, line));
    line.push(b'\n');
}

fn json<S>(line: &mut Vec<u8>, event: &Event<'_>, context: &Context<'_, S>)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let metadata = event.metadata();
    line.extend_from_slice(b"{\"timestamp\":\"");
    put_time(line);
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(metadata.level().as_str().as_bytes());
    line.push(b'"');
    let mut fields = LogFields::new(LogForm::Json, line);
    event.record(&mut fields);
    let target = fields.target.take();
    line.extend_from_slice(b",\"target\":");
    put_json(line, target.as_deref().unwrap_or(metadata.target()));
    if let Some(scope) = context.event_scope(event) {
        let object = |line: &mut Vec<u8>, span: &SpanRef<'_, S>| {
            line.push(b'{');
            of_span(span, |fields| {
                // Each field starts with a comma; drop the first.
                line.extend_from_slice(fields.get(1..).unwrap_or_default());
                line.push(b',');
            });
            line.extend_from_slice(b"\"name\":");
            put_json(line, span.name());
            line.push(b'}');
        };
        if let Some(span) = context.event_span(event) {
            line.extend_from_slice(b",\"span\":");
            object(line, &span);
        }
        line.extend_from_slice(b",\"spans\":");
        let mut before = b'[';
        for span in scope.from_root() {
            line.push(before);
            object(line, &span);
            before = b',';
        }
        line.push(b']');
    }
    line.extend_from_slice(b"}\n");
}

/// Passes on a span's fields, if it has any.
fn of_span<S>(span: &SpanRef<'_, S>, show: impl FnOnce(&[u8]))
where
    S: for<'span> LookupSpan<'span>,
{
    let extensions = span.extensions();
    let fields = extensions.get().map(|SpanFields(fields)| fields.as_slice());
    if let Some(fields @ [_, ..]) = fields {
        show(fields);
    }
}

/// The fields of an event or span in sequence. In JSON, a comma precedes each.
struct LogFields<'l> {
    form: LogForm,
    line: &'l mut Vec<u8>,
    /// Whether a space must precede the next field in text.
    follows: bool,
    /// The module that logged a record of the `log` crate.
    target: Option<String>,
}

impl<'l> LogFields<'l> {
    fn new(form: LogForm, line: &'l mut Vec<u8>) -> Self {
        let follows = line.last().is_some_and(|byte| !matches!(byte, b' '));
        Self {
            form,
            line,
            follows,
            target: None,
        }
    }

    /// Writes what precedes a value. In text, the message has no name, and `tracing-log`'s metadata is left out.
    fn begin(&mut self, name: &str) -> Option<Begun> {
        if self.form == LogForm::Json {
            self.line.push(b',');
            put_json(self.line, name);
            self.line.push(b':');
            return Some(Begun::Value);
        }
        if name.starts_with(OF_LOG) {
            return None;
        }
        if std::mem::replace(&mut self.follows, true) {
            self.line.push(b' ');
        }
        if name == "message" {
            return Some(Begun::Message);
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.line.extend_from_slice(name.as_bytes());
        self.line.push(b'=');
        Some(Begun::Value)
    }

    /// Writes a value that looks the same in text and JSON.
    fn plain(&mut self, field: &Field, put: impl FnOnce(&mut Vec<u8>)) {
        if self.begin(field.name()).is_some() {
            put(self.line);
        }
    }
}

/// The kind of field that was started.
enum Begun {
    Message,
    Value,
}

impl Visit for LogFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match (self.form, self.begin(field.name())) {
            (_, None) => {}
            (LogForm::Json, Some(_)) => {
                put_json(self.line, value);
                if field.name() == "log.target" {
                    self.target = Some(value.to_owned());
                }
            }
            (LogForm::Text, Some(Begun::Message)) => {
                Harmless(self.line).write_str(value).ok();
            }
            (LogForm::Text, Some(Begun::Value)) => put_quoted(self.line, value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, |line| put_number(line, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, |line| {
            if value < 0 {
                line.push(b'-');
            }
            put_number(line, value.unsigned_abs());
        });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.plain(field, |line| line.extend_from_slice(text));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let form = self.form;
        self.plain(field, |line| match form {
            // JSON has no NaN or infinity.
            LogForm::Json if !value.is_finite() => line.extend_from_slice(b"null"),
            LogForm::Json | LogForm::Text => {
                write!(Plain(line), "{value:?}").ok();
            }
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        match self.form {
            LogForm::Json => self.record_debug(field, &format_args!("{value}")),
            LogForm::Text => self.plain(field, |line| {
                write!(Harmless(line), "{value}").ok();
            }),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A value that fails to format ends its field, not the line.
        match (self.form, self.begin(field.name())) {
            (_, None) => {}
            (LogForm::Json, Some(_)) => {
                self.line.push(b'"');
                write!(JsonEscaped(self.line), "{value:?}").ok();
                self.line.push(b'"');
            }
            (LogForm::Text, Some(Begun::Message)) => {
                write!(Harmless(self.line), "{value:?}").ok();
            }
            (LogForm::Text, Some(Begun::Value)) => {
                write!(Plain(self.line), "{value:?}").ok();
            }
        }
    }
}

/// The current time in UTC, with microseconds.
fn put_time(line: &mut Vec<u8>) {
    let now = SystemClock.since_1970();
    let seconds = now.as_secs();
    let (of, mut text) = WRITTEN.get();
    if of != seconds {
        for (to, from) in text.iter_mut().zip(clock::iso_second(seconds).bytes()) {
            *to = from;
        }
        WRITTEN.set((seconds, text));
    }
    line.extend_from_slice(&text);
    let mut rest = now.subsec_micros();
    let mut micros = *b".000000Z";
    for digit in micros.iter_mut().rev().skip(1).take(6) {
        *digit = last_digit(u64::from(rest));
        rest /= 10;
    }
    line.extend_from_slice(&micros);
}

/// Writes a number in decimal.
pub(super) fn put_number(line: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut rest = value;
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        *digit = last_digit(rest);
        count += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

fn last_digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or_default()
}

/// Writes a quoted text, as `Debug` does.
fn put_quoted(line: &mut Vec<u8>, value: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if value.bytes().all(is_plain) {
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    } else {
        write!(Plain(line), "{value:?}").ok();
    }
}

/// Writes a text as a JSON string.
fn put_json(line: &mut Vec<u8>, value: &str) {
    line.push(b'"');
    JsonEscaped(line).write_str(value).ok();
    line.push(b'"');
}

/// Writes text unchanged.
struct Plain<'l>(&'l mut Vec<u8>);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Writes text for the inside of a JSON string (RFC 8259 §7). Terminal control characters are escaped as well.
struct JsonEscaped<'l>(&'l mut Vec<u8>);

impl fmt::Write for JsonEscaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if text.as_bytes().iter().all(is_plain) {
            self.0.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        for letter in text.chars() {
            let escape = match letter {
                '"' => b'"',
                '\\' => b'\\',
                '\n' => b'n',
                '\r' => b'r',
                '\t' => b't',
                '\x08' => b'b',
                '\x0c' => b'f',
                _ if misleads(letter) => {
                    write!(Plain(self.0), "\\u{:04x}", u32::from(letter))?;
                    continue;
                }
                _ => {
                    Plain(self.0).write_char(letter)?;
                    continue;
                }
            };
            self.0.extend_from_slice(&[b'\\', escape]);
        }
        Ok(())
    }
}

/// Writes text with terminal control characters escaped.
struct Harmless<'l>(&'l mut Vec<u8>);

impl fmt::Write for Harmless<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let may_steer = |byte: &u8| matches!(byte, 7 | 8 | 12 | 27 | 127..);
        if !text.as_bytes().iter().any(may_steer) {
            self.0.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let mut line = Plain(self.0);
        for letter in text.chars() {
            match letter {
                '\x07' | '\x08' | '\x0c' | '\x1b' | '\x7f' => {
                    write!(line, "\\x{:02x}", u32::from(letter))?;
                }
                '\u{80}'..='\u{9f}' => write!(line, "\\u{{{:x}}}", u32::from(letter))?,
                _ => line.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt as theirs;
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::log_lines::LogLines;
    use super::super::log_queue::{LogSink, Taken};
    use super::*;
    use crate::control::human::spelled_json;

    struct Nothing;

    impl LogSink for Nothing {
        fn write(&mut self, lines: LogLines<'_>) -> Taken {
            Taken::all(lines)
        }
    }

    #[derive(Clone, Default)]
    struct Theirs(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Theirs {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("an \"error\"")]
    struct Trouble;

    /// Logs a field of every type.
    fn say_all(form: LogForm) {
        let missing: Option<&str> = None;
        tracing::info!(
            id = "49f2c0a5",
            by = missing,
            client = Some("editor"),
            path = "/chat/\u{e9}\"\\\n\u{1b}",
            status = 200_u16,
            most = u64::MAX,
            least = i64::MIN,
            none = 0_u64,
            wide = u128::MAX,
            half = 0.5,
            no_number = f64::NAN,
            is_so = true,
            list = ?["a", "b\n"],
            shown = %"two\nlines \u{7f} \u{202e}",
            error = &Trouble as &dyn Error,
            r#type = 1,
            "a message with \u{1b}[31m, a bell \u{7} and \u{9b}: {} {:?}",
            7,
            "\t"
        );
        tracing::warn!(message = "as a field", "first" = 1);
        tracing::error!("alone");
        tracing::debug!(target: "elsewhere", only = "fields");
        tracing::trace!("\u{1}\u{8}\u{c}\r");
        let outer = tracing::info_span!("outer", early = "/\"", late = tracing::field::Empty);
        let _outer = outer.enter();
        tracing::info!("in one");
        outer.record("late", 5);
        let _inner = tracing::info_span!("inner").entered();
        tracing::info!(within = 2, "in two");
        if form == LogForm::Text {
            // tracing-subscriber names the entered span in this case, too.
            tracing::info!(parent: &outer, "in the first");
            tracing::info!(parent: None, "in none");
        }
    }

    /// The lines, with their times replaced by a fixed one.
    fn timeless(text: &[u8]) -> Vec<String> {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let lines = text.lines().map(|line| {
            let json = line.strip_prefix("{\"timestamp\":\"");
            let from = line.len() - json.unwrap_or(line).len();
            match line.get(from..from + 27) {
                Some(time) if time.ends_with('Z') => line.replacen(time, "TIME", 1),
                _ => line.to_owned(),
            }
        });
        lines.collect()
    }

    #[test]
    fn lines_are_those_of_tracing_subscriber() {
        for form in [LogForm::Text, LogForm::Json] {
            let queue = LogQueue::start_open(Nothing, true).unwrap();
            let ours = LineLayer {
                form,
                queue: queue.clone(),
            };
            let written = Theirs::default();
            let writer = written.clone();
            let theirs = theirs::layer().with_writer(move || writer.clone());
            let theirs = match form {
                LogForm::Text => theirs.with_ansi(false).with_target(false).boxed(),
                LogForm::Json => theirs.json().flatten_event(true).boxed(),
            };
            let subscriber = tracing_subscriber::registry().with(ours).with(theirs);
            let heard = super::super::logging::heard_by(subscriber);
            say_all(form);
            drop(heard);
            let ours = timeless(&queue.recent(0).unwrap().lines.concat());
            let mut theirs = timeless(&written.0.lock().unwrap());
            if form == LogForm::Json {
                // tracing-subscriber does not escape terminal control characters.
                for line in &mut theirs {
                    *line = spelled_json(std::mem::take(line));
                }
                assert!(ours.concat().contains(r"\u009b") && ours.concat().contains(r"\u202e"));
            }
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs);
            }
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.len() >= 7 && ours[0].contains("TIME"), "{ours:?}");
        }
    }

    #[test]
    fn a_time_has_its_second_and_six_digits_behind_it() {
        let mut line = Vec::new();
        let before = SystemClock.now();
        put_time(&mut line);
        put_time(&mut line);
        let text = String::from_utf8(line).unwrap();
        let (one, other) = text.split_at(text.len() / 2);
        let time = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        assert!(time(one) >= clock::before(before, std::time::Duration::from_micros(1)));
        assert!(time(one) <= time(other) && time(other) <= SystemClock.now());
        assert_eq!(one.len(), 27, "{one}");
    }

    #[test]
    fn what_is_written_may_itself_log() {
        let mut lines = Vec::new();
        make(
            |line| {
                line.extend_from_slice(b"outer ");
                make(
                    |line| line.extend_from_slice(b"inner"),
                    |line| assert_eq!(line, b"inner"),
                );
            },
            |line| lines.push(line.to_vec()),
        );
        assert_eq!(lines, [b"outer "]);
        let capacity = || {
            let line = LINE.take();
            let capacity = line.capacity();
            LINE.set(line);
            capacity
        };
        make(|line| line.resize(100_000, b'x'), |_| {});
        assert!((1..=KEPT).contains(&capacity()));
    }
}
