//! The way of the log's lines to whatever takes them: a bounded buffer, and a thread that writes.
//!
//! A pipe that is not read, a stopped terminal or a hung file system stops that thread alone.
//! Requests, refreshes, control and signals never wait for it: when the buffer is full, lines are
//! dropped and counted, and one line tells how many once the log can be written again. The last
//! lines stay in memory for `hermesctl logs`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// What may wait, in bytes with what a line costs beside its text.
const LARGEST: usize = 1024 * 1024;
/// What only warnings and errors may take of it.
const RESERVE: usize = LARGEST / 8;
/// What a line costs beside its text: its counters, two pointers to it, and the allocation.
const COST: usize = 64;
/// Written at once.
const BATCH: usize = 64 * 1024;
/// The last lines, in bytes with their cost: some 700 requests.
const RECENT: usize = 256 * 1024;
/// After a batch, lines gather for so long: so a busy daemon makes one write of many lines.
const REST: Duration = Duration::from_millis(5);
/// How long a start waits until the log is open; then its lines wait instead.
const OPENS: Duration = Duration::from_secs(1);
/// How long the end waits for the log.
const FLUSH: Duration = Duration::from_secs(1);
/// The writer needs little.
const STACK: usize = 256 * 1024;

/// A formatted line, with its line feed where it has one.
pub(super) type Line = Arc<[u8]>;

/// Where lines go. Only the log's own thread uses it, so it may block.
pub(super) trait Sink: Send {
    /// Writes these lines; returns how many of them are lost.
    fn write(&mut self, lines: &[Line]) -> usize;

    /// Opens again what it writes to, because it may have been moved away.
    fn reopen(&mut self) {}
}

/// The log's lines on their way.
#[derive(Debug, Clone)]
pub(super) struct LogQueue(Arc<Shared>);

/// Waits at its end, panic or not, until the log is written, for a second at most.
#[derive(Debug)]
#[must_use = "what is still to be written is waited for when this is dropped"]
pub(super) struct Flush(LogQueue);

/// The last lines.
#[derive(Debug)]
pub(super) struct Recent {
    /// The number that the next line will have.
    pub(super) next: u64,
    /// The lines from the number that was asked for on, as far as they are still there.
    pub(super) lines: Vec<Line>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// For the writer.
    work: Condvar,
    /// For whoever waits for the writer.
    done: Condvar,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Line>,
    /// What waits and what is being written.
    bytes: usize,
    /// The writer sleeps until it is woken.
    parked: bool,
    /// The writer is at work.
    busy: bool,
    /// Lines that were dropped and not told of yet.
    dropped: u64,
    /// All that were dropped since the start.
    dropped_ever: u64,
    /// Somebody waits for the end, so the writer does not rest.
    hurry: bool,
    reopen: bool,
    opening: Opening,
    /// `None` where somebody else keeps them.
    recent: Option<Memory>,
}

#[derive(Debug, Default)]
enum Opening {
    #[default]
    Awaited,
    /// The start went on without it.
    Late,
    Open,
    Failed(io::Error),
}

#[derive(Debug, Default)]
struct Memory {
    lines: VecDeque<Line>,
    bytes: usize,
    next: u64,
}

impl LogQueue {
    /// A log that this opens, on a thread of its own. A place that fails within a second is an
    /// error; one that takes longer is waited for by the lines alone, and if it fails then, `instead`
    /// takes its place. `remembers` the last lines.
    pub(super) fn start<S: Sink + 'static>(
        open: impl FnOnce() -> io::Result<S> + Send + 'static,
        instead: impl FnOnce(io::Error) -> S + Send + 'static,
        remembers: bool,
    ) -> io::Result<Self> {
        let queue = Self::new(remembers);
        let shared = queue.0.clone();
        spawn(move || shared.open(open, instead))?;
        queue.0.await_opening()?;
        Ok(queue)
    }

    /// A log to what is open.
    pub(super) fn start_open(sink: impl Sink + 'static, remembers: bool) -> io::Result<Self> {
        let queue = Self::new(remembers);
        let shared = queue.0.clone();
        spawn(move || shared.run(sink))?;
        Ok(queue)
    }

    fn new(remembers: bool) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                recent: remembers.then(Memory::default),
                ..State::default()
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        }))
    }

    /// A line on its way; one that is `important` may use the reserve.
    pub(super) fn push(&self, line: &[u8], important: bool) {
        let line = Line::from(line);
        let mut state = self.0.lock();
        if let Some(recent) = &mut state.recent {
            recent.add(line.clone());
        }
        let most = if important {
            LARGEST
        } else {
            LARGEST - RESERVE
        };
        if state.bytes + line.len() + COST > most {
            state.dropped += 1;
            state.dropped_ever += 1;
            return;
        }
        state.bytes += line.len() + COST;
        state.waiting.push_back(line);
        if std::mem::take(&mut state.parked) {
            self.0.work.notify_one();
        }
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped_ever(&self) -> u64 {
        self.0.lock().dropped_ever
    }

    /// Opens the log's place again, because it may have been moved away.
    pub(super) fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.work.notify_one();
    }

    /// The last lines, from this number on; `None` where they are not kept.
    pub(super) fn recent(&self, from: u64) -> Option<Recent> {
        let state = self.0.lock();
        let recent = state.recent.as_ref()?;
        let first = recent.next - recent.lines.len() as u64;
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        Some(Recent {
            next: recent.next,
            lines: recent.lines.iter().skip(skip).cloned().collect(),
        })
    }

    /// For the end of whoever logs.
    pub(super) fn flush_at_end(&self) -> Flush {
        Flush(self.clone())
    }

    fn flush(&self) {
        let mut state = self.0.lock();
        state.hurry = true;
        self.0.work.notify_one();
        let waits = |state: &mut State| state.busy || !state.waiting.is_empty();
        let waited = self.0.done.wait_timeout_while(state, FLUSH, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.hurry = false;
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .stack_size(STACK);
    // It ends with the process, which must not wait for it.
    thread.spawn(work).map(drop)
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_opening(&self) -> io::Result<()> {
        let awaited = |state: &mut State| matches!(state.opening, Opening::Awaited);
        let waited = self.done.wait_timeout_while(self.lock(), OPENS, awaited);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut state.opening, Opening::Late) {
            Opening::Failed(error) => Err(error),
            Opening::Awaited | Opening::Late | Opening::Open => Ok(()),
        }
    }

    /// The writer's thread, with something to open first.
    fn open<S: Sink>(
        &self,
        open: impl FnOnce() -> io::Result<S>,
        instead: impl FnOnce(io::Error) -> S,
    ) {
        let opened = open();
        let mut state = self.lock();
        let late = match opened {
            Ok(sink) => {
                state.opening = Opening::Open;
                drop(state);
                self.done.notify_all();
                return self.run(sink);
            }
            Err(error) if matches!(state.opening, Opening::Awaited) => {
                state.opening = Opening::Failed(error);
                self.done.notify_all();
                return;
            }
            Err(error) => error,
        };
        drop(state);
        self.run(instead(late));
    }

    /// The writer's thread.
    fn run(&self, mut sink: impl Sink) {
        loop {
            self.step(&mut sink);
        }
    }

    /// Waits for lines, writes them, and rests.
    fn step(&self, sink: &mut impl Sink) {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.reopen {
            state.parked = true;
            let woken = self.work.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.parked = false;
        state.busy = true;
        let reopens = std::mem::take(&mut state.reopen);
        let (batch, bytes) = state.take_batch();
        drop(state);
        if reopens {
            sink.reopen();
        }
        let lost = if batch.is_empty() {
            0
        } else {
            sink.write(&batch)
        };
        drop(batch);
        let mut state = self.lock();
        state.bytes -= bytes;
        state.dropped += lost as u64;
        state.dropped_ever += lost as u64;
        // What can't be told now is told with what is dropped later.
        let dropped = if lost == 0 && bytes > 0 && state.bytes <= LARGEST / 2 {
            std::mem::take(&mut state.dropped)
        } else {
            0
        };
        drop(state);
        if dropped > 0 {
            tracing::warn!(
                lines = dropped,
                "the log could not be written; lines were dropped"
            );
        }
        let mut state = self.lock();
        state.busy = false;
        let rests = state.waiting.is_empty();
        self.done.notify_all();
        if rests {
            let idle = |state: &mut State| !state.hurry;
            drop(self.work.wait_timeout_while(state, REST, idle));
        }
    }
}

impl State {
    /// The first lines that wait, and what they cost.
    fn take_batch(&mut self) -> (Vec<Line>, usize) {
        let mut bytes = 0;
        let mut count = 0;
        for line in &self.waiting {
            if count > 0 && bytes + line.len() > BATCH {
                break;
            }
            bytes += line.len() + COST;
            count += 1;
        }
        let batch = self.waiting.drain(..count).collect();
        if self.waiting.is_empty() {
            // What a flood needed is given back.
            self.waiting.shrink_to(BATCH / COST);
        }
        (batch, bytes)
    }
}

impl Memory {
    fn add(&mut self, line: Line) {
        self.bytes += line.len() + COST;
        self.lines.push_back(line);
        self.next += 1;
        while self.bytes > RECENT
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len() + COST;
        }
    }
}

impl Sink for Box<dyn Sink> {
    fn write(&mut self, lines: &[Line]) -> usize {
        self.as_mut().write(lines)
    }

    fn reopen(&mut self) {
        self.as_mut().reopen();
    }
}

/// Takes one line.
#[derive(Debug)]
pub(super) struct LineWriter<'q> {
    queue: &'q LogQueue,
    important: bool,
}

impl io::Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line, self.important);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'q> MakeWriter<'q> for LogQueue {
    type Writer = LineWriter<'q>;

    fn make_writer(&'q self) -> LineWriter<'q> {
        LineWriter {
            queue: self,
            important: false,
        }
    }

    fn make_writer_for(&'q self, of: &Metadata<'_>) -> LineWriter<'q> {
        LineWriter {
            important: is_important(of),
            ..self.make_writer()
        }
    }
}

/// Whether a line may use the reserve.
pub(super) fn is_important(of: &Metadata<'_>) -> bool {
    *of.level() <= Level::WARN
}

/// Writes lines to a stream that takes bytes as they come; returns how many are lost.
pub(super) fn write_lines(
    lines: &[Line],
    buffer: &mut Vec<u8>,
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
) -> usize {
    buffer.clear();
    buffer.shrink_to(BATCH);
    for line in lines {
        buffer.extend_from_slice(line);
    }
    let mut rest = buffer.as_slice();
    let mut written = 0;
    while !rest.is_empty() {
        match write(rest) {
            Ok(some @ 1..) => {
                written += some;
                rest = rest.get(some..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program that shares the terminal may have made it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => nap(),
            Ok(_) | Err(_) => break,
        }
    }
    let mut end = 0;
    let ends = lines.iter().map(|line| {
        end += line.len();
        end
    });
    ends.filter(|end| *end > written).count()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log's own thread, which no task runs on"
)]
fn nap() {
    std::thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Longer than anything that works takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Takes a batch whenever the test reads one.
    struct Slow(SyncSender<Vec<String>>);

    impl Sink for Slow {
        fn write(&mut self, lines: &[Line]) -> usize {
            let text = |line: &Line| String::from_utf8(line.to_vec()).unwrap();
            self.0
                .send(lines.iter().map(text).collect())
                .map_or(lines.len(), |()| 0)
        }
    }

    fn slow() -> (LogQueue, Receiver<Vec<String>>) {
        let (sender, read) = sync_channel(0);
        (LogQueue::start_open(Slow(sender), true).unwrap(), read)
    }

    fn next(read: &Receiver<Vec<String>>) -> Vec<String> {
        read.recv_timeout(PATIENCE).expect("the writer writes")
    }

    #[test]
    fn nobody_waits_for_a_log_that_is_not_read_and_its_memory_is_bounded() {
        let (queue, read) = slow();
        let line = format!("{}\n", "x".repeat(499));
        for _ in 0..100_000 {
            queue.push(line.as_bytes(), false);
        }
        queue.push(b"a warning\n", true);
        {
            let state = queue.0.lock();
            assert!(state.bytes <= LARGEST, "{}", state.bytes);
            let kept = state.bytes / (line.len() + COST);
            assert_eq!(state.dropped, 100_000 - kept as u64);
            let recent = state.recent.as_ref().unwrap();
            assert!(recent.bytes <= RECENT && recent.lines.len() > 400);
            assert_eq!(recent.next, 100_001);
        }
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != "a warning\n") {
            lines.extend(next(&read));
        }
        assert!(lines.len() > 1000 && lines.len() < LARGEST / line.len());
        // What a flood needed is given back.
        queue.push(b"later\n", false);
        assert_eq!(next(&read), ["later\n"]);
        assert!(queue.0.lock().waiting.capacity() <= BATCH / COST);
    }

    #[test]
    fn what_was_dropped_is_told_once_when_the_log_is_written_again() {
        let (queue, read) = slow();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(queue.clone())
            .finish();
        let mut sink = Slow(sync_channel(0).0);
        let heard = super::super::logging::heard_by(subscriber);
        let other = LogQueue::new(true);
        for _ in 0..10_000 {
            other.push(&[b'x'; 1000], false);
        }
        let dropped = other.0.lock().dropped;
        assert!(dropped > 9000, "{dropped}");
        // Nothing is told as long as it can't be written.
        sink.0 = sync_channel(0).0;
        other.0.step(&mut sink);
        let (sender, taken) = sync_channel(10_000);
        let mut sink = Slow(sender);
        while !other.0.lock().waiting.is_empty() {
            other.0.step(&mut sink);
        }
        drop(taken);
        drop(heard);
        let told = next(&read);
        assert_eq!(told.len(), 1, "{told:?}");
        let told: serde_json::Value = serde_json::from_str(&told[0]).unwrap();
        assert_eq!(told["level"], "WARN");
        assert!(told["fields"]["lines"].as_u64().unwrap() > 9000, "{told}");
    }

    #[test]
    fn the_end_waits_for_the_log_also_after_a_panic_and_not_for_ever() {
        let (sender, read) = sync_channel(1);
        let queue = LogQueue::start_open(Slow(sender), true).unwrap();
        let writer = queue.clone();
        let flush = queue.flush_at_end();
        std::panic::catch_unwind(move || {
            let _flush = flush;
            writer.push(b"the last word\n", false);
            panic!("at its end");
        })
        .unwrap_err();
        assert_eq!(read.try_recv().unwrap(), ["the last word\n"]);

        let (stuck, _read) = slow();
        stuck.push(b"never\n", false);
        drop(stuck.flush_at_end());
    }

    #[test]
    fn a_place_that_is_slow_to_open_is_not_waited_for_and_may_fail_later() {
        let (open, opens) = sync_channel::<()>(0);
        let (sender, read) = sync_channel(0);
        let instead = Slow(sender);
        let queue = LogQueue::start(
            move || {
                opens.recv().unwrap();
                Err(io::ErrorKind::NotFound.into())
            },
            move |_| instead,
            true,
        )
        .unwrap();
        queue.push(b"waits\n", false);
        open.send(()).unwrap();
        assert_eq!(next(&read), ["waits\n"]);
        let failed = LogQueue::start(
            || Err::<Slow, _>(io::ErrorKind::NotFound.into()),
            |_| panic!("it was waited for"),
            true,
        );
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_not_written_whole_is_counted_by_lines() {
        let line = |text: &str| Line::from(text.as_bytes());
        let lines = [line("one\n"), line("two\n"), line("three\n")];
        let mut room = 6;
        let lost = write_lines(&lines, &mut Vec::new(), |bytes| {
            let some = bytes.len().min(room).min(3);
            room -= some;
            if some == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(some)
        });
        assert_eq!(lost, 2);
    }

    #[test]
    fn the_last_lines_are_found_by_their_numbers() {
        let queue = LogQueue::new(true);
        for number in 0..5 {
            queue.push(format!("{number}").as_bytes(), false);
        }
        let recent = queue.recent(3).unwrap();
        let lines: Vec<&[u8]> = recent.lines.iter().map(|line| &**line).collect();
        assert_eq!((recent.next, lines), (5, vec![&b"3"[..], b"4"]));
        assert!(queue.recent(9).unwrap().lines.is_empty());
        assert!(LogQueue::new(false).recent(0).is_none());
    }
}
