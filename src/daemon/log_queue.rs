//! Queues the log's lines for their destination: a bounded buffer and a writer thread.
//!
//! Requests, renewals, control calls and signals never wait for the log. A pipe that is not read, a stopped terminal or
//! a hung file system blocks only the writer, which retries every second on a full disk. If the buffer is full, lines
//! are dropped and counted, and one line reports their number once the log can be written again. The last lines stay in
//! memory for `hermesctl logs`.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::log_lines::{Batch, LogLines, Queued};

/// The buffer's limit in bytes, including the overhead per line.
const LARGEST: usize = 1024 * 1024;
/// The part of the buffer that is reserved for warnings and errors.
const RESERVE: usize = LARGEST / 8;
/// The overhead per line in bytes.
const COST: usize = size_of::<u32>();
/// The most bytes per write.
const BATCH: usize = 64 * 1024;
/// With this many bytes queued, the writer does not pause.
const MUCH: usize = BATCH / 2;
/// The last lines kept in memory, in bytes with overhead: some 700 requests.
const RECENT: usize = 256 * 1024;
/// Pause after a batch, so that a busy daemon writes many lines at once. The first line after a quiet time, warnings
/// and errors are written immediately.
const REST: Duration = Duration::from_millis(50);
/// Delay before a failed write is retried; shorter at the end.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_THE_END: Duration = Duration::from_millis(100);
/// How long the start waits for the log to open. After that only the lines wait.
const OPENS: Duration = Duration::from_secs(1);
/// How long the end waits for the log.
const FLUSH: Duration = Duration::from_secs(1);
/// The writer's stack in bytes; it needs little.
const STACK: usize = 256 * 1024;

/// The log's destination. Used only by the log's own thread, so it may block.
pub(super) trait LogSink: Send {
    /// Writes lines. Lines that are not done are passed again first, after a pause.
    fn write(&mut self, lines: LogLines<'_>) -> Taken;

    /// Opens the destination again, because it may have been moved.
    fn reopen(&mut self) {}
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many lines are done, counted from the first.
    pub(super) done: usize,
    /// How many of those were lost.
    pub(super) lost: usize,
    /// Whether more lines can be written right now.
    pub(super) takes_more: bool,
}

/// The queue of log lines.
#[derive(Debug, Clone)]
pub(super) struct LogQueue(Arc<SharedQueue>);

/// When dropped, even in a panic, waits up to a second until the log is written.
#[derive(Debug)]
#[must_use = "what is still to be written is waited for when this is dropped"]
pub(super) struct Flush(LogQueue);

/// The last lines kept in memory.
#[derive(Debug)]
pub(super) struct Recent {
    /// The number of the next line to come.
    pub(super) next: u64,
    /// The lines from the requested number on, as far as they are kept.
    pub(super) lines: Vec<Box<[u8]>>,
}

#[derive(Debug)]
struct SharedQueue {
    state: Mutex<QueueState>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes callers that wait for the writer.
    done: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Queued,
    /// Bytes queued or being written, including overhead.
    bytes: usize,
    writer: LogThread,
    /// Whether a queued line must be written immediately.
    urgent: bool,
    /// Dropped lines that were not reported yet.
    dropped: u64,
    /// Lines dropped since the start.
    dropped_ever: u64,
    /// Whether the process is ending, so that the writer must not pause.
    hurry: bool,
    reopen: bool,
    opening: Opening,
    /// `None` if the journal keeps the lines.
    recent: Option<QueueMemory>,
}

/// The state of the writer thread.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum LogThread {
    /// Writing, or about to check for lines before it sleeps.
    Busy,
    /// Pausing while lines accumulate.
    Rests,
    /// Asleep until a line arrives, or not started yet.
    #[default]
    Sleeps,
}

#[derive(Debug, Default)]
enum Opening {
    #[default]
    Awaited,
    /// The start continued without waiting for it.
    Late,
    Open,
    Failed(io::Error),
}

#[derive(Debug, Default)]
struct QueueMemory {
    lines: Queued,
    bytes: usize,
    next: u64,
}

impl Taken {
    /// All lines were written.
    pub(super) fn all(lines: LogLines<'_>) -> Self {
        Self {
            done: lines.count(),
            lost: 0,
            takes_more: true,
        }
    }
}

impl LogQueue {
    /// Starts a log that `open` opens on a thread of its own. A failure within a second is an error. If opening takes
    /// longer, only the lines wait; if it then fails, `instead` provides the destination. `remembers` keeps the last
    /// lines in memory.
    pub(super) fn start<S: LogSink + 'static>(
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

    /// Starts a log to a destination that is already open.
    pub(super) fn start_open(sink: impl LogSink + 'static, remembers: bool) -> io::Result<Self> {
        let queue = Self::new(remembers);
        let shared = queue.0.clone();
        spawn(move || shared.run(sink))?;
        Ok(queue)
    }

    fn new(remembers: bool) -> Self {
        Self(Arc::new(SharedQueue {
            state: Mutex::new(QueueState {
                recent: remembers.then(QueueMemory::default),
                ..QueueState::default()
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        }))
    }

    /// Queues a line. An `important` one may use the reserve and is written immediately.
    pub(super) fn push(&self, line: &[u8], important: bool) {
        let mut state = self.0.lock();
        if let Some(recent) = &mut state.recent {
            recent.add(line);
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
        state.waiting.push(line);
        state.urgent |= important;
        let wakes = match state.writer {
            LogThread::Busy => false,
            LogThread::Rests => state.is_pressing(),
            LogThread::Sleeps => true,
        };
        if wakes {
            state.writer = LogThread::Busy;
            drop(state);
            self.0.work.notify_one();
        }
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped_ever(&self) -> u64 {
        self.0.lock().dropped_ever
    }

    /// Opens the log's destination again, because it may have been moved.
    pub(super) fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.work.notify_one();
    }

    /// The last lines from this number on; `None` if they are not kept.
    pub(super) fn recent(&self, from: u64) -> Option<Recent> {
        let state = self.0.lock();
        let recent = state.recent.as_ref()?;
        let first = recent.next - recent.lines.count() as u64;
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        Some(Recent {
            next: recent.next,
            lines: recent.lines.rest(skip),
        })
    }

    /// A guard that flushes the log when it is dropped.
    pub(super) fn flush_at_end(&self) -> Flush {
        Flush(self.clone())
    }

    fn flush(&self) {
        let mut state = self.0.lock();
        state.hurry = true;
        self.0.work.notify_one();
        let waits = |state: &mut QueueState| state.bytes > 0 || state.writer == LogThread::Busy;
        let waited = self.0.done.wait_timeout_while(state, FLUSH, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.hurry = false;
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .stack_size(STACK);
    // Not joined: the thread ends with the process, which must not wait for it.
    thread.spawn(work).map(drop)
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush();
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_opening(&self) -> io::Result<()> {
        let awaited = |state: &mut QueueState| matches!(state.opening, Opening::Awaited);
        let waited = self.done.wait_timeout_while(self.lock(), OPENS, awaited);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut state.opening, Opening::Late) {
            Opening::Failed(error) => Err(error),
            Opening::Awaited | Opening::Late | Opening::Open => Ok(()),
        }
    }

    /// The writer thread, opening its destination first.
    fn open<S: LogSink>(
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

    /// The writer thread.
    fn run(&self, mut sink: impl LogSink) {
        let mut batch = Batch::default();
        loop {
            self.step(&mut sink, &mut batch);
        }
    }

    /// Waits for lines, writes them and pauses. Unwritten lines stay in the batch.
    fn step(&self, sink: &mut impl LogSink, batch: &mut Batch) {
        let mut state = if batch.lines().is_empty() {
            self.await_lines()
        } else {
            self.await_another_attempt()
        };
        state.writer = LogThread::Busy;
        let reopens = std::mem::take(&mut state.reopen);
        if batch.lines().is_empty() {
            state.take_batch(batch);
        }
        drop(state);
        if reopens {
            sink.reopen();
        }
        let lines = batch.lines();
        if lines.is_empty() {
            return self.rest(self.lock());
        }
        let taken = sink.write(lines);
        let size = batch.drop_first(taken.done);
        let mut state = self.lock();
        state.bytes -= size + taken.done * COST;
        state.dropped += taken.lost as u64;
        state.dropped_ever += taken.lost as u64;
        // If they can't be reported now, they are reported with the next dropped lines.
        if taken.takes_more && state.bytes <= LARGEST / 2 && state.dropped > 0 {
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            tracing::warn!(
                lines = dropped,
                "the log could not be written; lines were dropped"
            );
            state = self.lock();
        }
        if batch.lines().is_empty() {
            self.rest(state);
        }
    }

    fn await_lines(&self) -> MutexGuard<'_, QueueState> {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.reopen {
            state.writer = LogThread::Sleeps;
            let woken = self.work.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Lines that arrive during this wait do not wake the writer.
    fn await_another_attempt(&self) -> MutexGuard<'_, QueueState> {
        let state = self.lock();
        let hurry = state.hurry;
        let pause = if hurry { AGAIN_AT_THE_END } else { AGAIN };
        let waits = |state: &mut QueueState| state.hurry == hurry && !state.reopen;
        let waited = self.work.wait_timeout_while(state, pause, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Lets lines accumulate, unless some are pressing.
    fn rest(&self, mut state: MutexGuard<'_, QueueState>) {
        if state.is_pressing() {
            return;
        }
        state.writer = LogThread::Rests;
        self.done.notify_all();
        let rests = |state: &mut QueueState| {
            state.writer == LogThread::Rests && !state.hurry && !state.reopen
        };
        drop(self.work.wait_timeout_while(state, REST, rests));
    }
}

impl QueueState {
    /// Whether queued lines must be written without a pause.
    fn is_pressing(&self) -> bool {
        self.urgent || self.bytes >= MUCH
    }

    /// Moves queued lines into the batch.
    fn take_batch(&mut self, batch: &mut Batch) {
        batch.clear(BATCH);
        self.waiting.take(BATCH, batch);
        if self.waiting.is_empty() {
            self.urgent = false;
            // Release what a flood of lines needed.
            self.waiting.shrink_to(BATCH);
        }
    }
}

impl QueueMemory {
    fn add(&mut self, line: &[u8]) {
        self.bytes += line.len() + COST;
        self.lines.push(line);
        self.next += 1;
        while self.bytes > RECENT
            && let Some(size) = self.lines.drop_first()
        {
            self.bytes -= size + COST;
        }
    }
}

impl LogSink for Box<dyn LogSink> {
    fn write(&mut self, lines: LogLines<'_>) -> Taken {
        self.as_mut().write(lines)
    }

    fn reopen(&mut self) {
        self.as_mut().reopen();
    }
}

/// Remembers a line, dropping the oldest ones.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use tokio::time::Instant;

    use super::super::log_lines::WriteProgress;
    use super::*;

    /// Far longer than any step takes when it works.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Accepts a batch whenever the test reads one.
    struct Slow(SyncSender<Vec<String>>);

    impl LogSink for Slow {
        fn write(&mut self, lines: LogLines<'_>) -> Taken {
            let text = |line: &[u8]| String::from_utf8(line.to_vec()).unwrap();
            self.0.send(lines.iter().map(text).collect()).unwrap();
            Taken::all(lines)
        }
    }

    /// Has room for a number of bytes, and keeps what it accepted.
    #[derive(Default)]
    struct Full {
        room: usize,
        taken: Vec<u8>,
        attempts: usize,
        progress: WriteProgress,
    }

    impl LogSink for Full {
        fn write(&mut self, lines: LogLines<'_>) -> Taken {
            self.attempts += 1;
            let Self { room, taken, .. } = self;
            let attempt = self.progress.write(lines, |bytes| {
                let some = bytes.len().min(*room);
                *room -= some;
                taken.extend_from_slice(bytes.get(..some).unwrap_or_default());
                if some == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Ok(some)
            });
            Taken {
                done: attempt.lines,
                lost: 0,
                takes_more: attempt.error.is_none(),
            }
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
            assert!(recent.bytes <= RECENT && recent.lines.count() > 400);
            assert_eq!(recent.next, 100_001);
        }
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != "a warning\n") {
            lines.extend(next(&read));
        }
        assert!(lines.len() > 1000 && lines.len() <= LARGEST / line.len());
        // What the flood needed is released.
        queue.push(b"later\n", false);
        assert_eq!(next(&read), ["later\n"]);
        assert!(queue.0.lock().waiting.capacity() <= BATCH);
    }

    #[test]
    fn lines_that_come_soon_after_each_other_go_out_together_and_in_order() {
        let (queue, read) = slow();
        queue.push(b"first\n", false);
        // After a quiet time the writer does not pause.
        assert_eq!(next(&read), ["first\n"]);
        let all: Vec<String> = (0..1000).map(|number| format!("{number}\n")).collect();
        for line in &all {
            queue.push(line.as_bytes(), false);
        }
        let (mut lines, mut batches) = (Vec::new(), 0);
        while lines.len() < all.len() {
            lines.extend(next(&read));
            batches += 1;
        }
        assert_eq!(lines, all);
        assert!(batches <= 20, "{batches} writes");
    }

    #[test]
    fn a_warning_and_many_lines_end_the_rest_at_once() {
        let queue = LogQueue::new(false);
        let resting = || queue.0.lock().writer = LogThread::Rests;
        let rests = || queue.0.lock().writer == LogThread::Rests;
        resting();
        queue.push(b"a line\n", false);
        assert!(rests());
        queue.push(b"a warning\n", true);
        assert!(!rests());
        queue.0.lock().take_batch(&mut Batch::default());
        resting();
        queue.0.lock().bytes = 0;
        for _ in 0..MUCH / 1000 {
            assert!(rests());
            queue.push(&[b'x'; 1000], false);
        }
        queue.push(&[b'x'; 1000], false);
        assert!(!rests());
    }

    #[test]
    fn on_a_full_disk_lines_are_kept_up_to_a_limit_and_what_was_dropped_is_told_without_another_line()
     {
        let (told, read) = slow();
        let subscriber = tracing_subscriber::fmt().json().with_writer(told).finish();
        let queue = LogQueue::new(false);
        let line = |number: usize| format!("{number:0499}\n");
        for number in 0..10_000 {
            queue.push(line(number).as_bytes(), false);
        }
        let dropped = queue.0.lock().dropped;
        let kept = 10_000 - usize::try_from(dropped).unwrap();
        assert!((1_700..2_100).contains(&kept), "{kept}");
        let (mut sink, mut batch) = (Full::default(), Batch::default());
        let heard = super::super::logging::heard_by(subscriber);
        queue.0.step(&mut sink, &mut batch);
        // A partly written line survives like the others.
        sink.room = 700;
        queue.0.step(&mut sink, &mut batch);
        assert_eq!((sink.taken.len(), sink.attempts), (700, 2));
        assert!(
            read.try_recv().is_err(),
            "nothing is told that can't be written"
        );
        sink.room = usize::MAX;
        while queue.0.lock().bytes > 0 {
            queue.0.step(&mut sink, &mut batch);
        }
        drop(heard);
        let expected: String = (0..kept).map(line).collect();
        assert!(sink.taken == expected.as_bytes());
        let told = next(&read);
        assert_eq!(told.len(), 1, "{told:?}");
        let told: serde_json::Value = serde_json::from_str(&told[0]).unwrap();
        assert_eq!(told["level"], "WARN");
        assert_eq!(told["fields"]["lines"], dropped);
        assert!(read.try_recv().is_err());
    }

    #[test]
    fn a_full_disk_is_tried_again_each_second_and_at_the_end_for_a_second() {
        let (queue, mut sink) = (LogQueue::new(false), Full::default());
        let mut batch = Batch::default();
        queue.push(b"kept\n", true);
        let begun = Instant::now();
        queue.0.step(&mut sink, &mut batch);
        // A line that arrives meanwhile does not trigger a retry.
        queue.push(b"another\n", true);
        assert!(begun.elapsed() < AGAIN);
        queue.0.step(&mut sink, &mut batch);
        assert!(begun.elapsed() >= AGAIN);
        let ending = queue.clone();
        let end = std::thread::spawn(move || ending.flush());
        while !end.is_finished() {
            queue.0.step(&mut sink, &mut batch);
        }
        assert!((3..=15).contains(&sink.attempts), "{}", sink.attempts);
        sink.room = 100;
        queue.0.step(&mut sink, &mut batch);
        queue.0.step(&mut sink, &mut batch);
        assert_eq!(sink.taken, b"kept\nanother\n");
    }

    #[test]
    fn what_can_never_be_written_is_counted_and_told_by_what_can() {
        /// Loses lines that start with an `x`, or every line once its flag is down.
        struct Picky(bool);

        impl LogSink for Picky {
            fn write(&mut self, lines: LogLines<'_>) -> Taken {
                let lost = lines
                    .iter()
                    .filter(|line| !self.0 || line.starts_with(b"x"));
                Taken {
                    lost: lost.count(),
                    takes_more: self.0,
                    ..Taken::all(lines)
                }
            }
        }

        let (told, read) = slow();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(told)
            .finish();
        let queue = LogQueue::new(false);
        let mut batch = Batch::default();
        let heard = super::super::logging::heard_by(subscriber);
        for is_open in [false, true] {
            queue.push(b"x\n", true);
            queue.0.step(&mut Picky(is_open), &mut batch);
            assert_eq!(queue.0.lock().bytes, 0);
            assert_eq!(queue.dropped_ever(), 1 + u64::from(is_open));
            if !is_open {
                assert!(read.try_recv().is_err());
            }
        }
        drop(heard);
        assert!(next(&read)[0].contains("lines=2"));
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
    fn the_last_lines_are_found_by_their_numbers() {
        let queue = LogQueue::new(true);
        for number in 0..5 {
            queue.push(format!("{number}").as_bytes(), false);
        }
        let recent = queue.recent(3).unwrap();
        let lines: Vec<&[u8]> = recent.lines.iter().map(AsRef::as_ref).collect();
        assert_eq!((recent.next, lines), (5, vec![&b"3"[..], b"4"]));
        assert!(queue.recent(9).unwrap().lines.is_empty());
        assert!(LogQueue::new(false).recent(0).is_none());
    }
}
