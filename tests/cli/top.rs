//! `hermesctl top` in a terminal of its own: how it is left, what a restart and a standstill look like, and what it says
//! without a terminal.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and reads in threads of its own"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_cloud::Options;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, Winsize};
use support::{PATIENCE, World, program};

/// What is written to leave the other screen, and to show the cursor.
const LEFT: &str = "\u{1b}[?1049l";
const CURSOR: &str = "\u{1b}[?25h";

/// A terminal with `hermesctl top` in it.
struct Terminal {
    master: File,
    /// Held, so that its settings can be read when the program has ended.
    slave: File,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

/// A terminal with `hermesctl top` in it, both its ends, and the program.
fn begin(world: &World, size: (u16, u16), variables: &[(&str, &str)]) -> (File, File, Child) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    // A program that inherited it would hold it open.
    rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = || File::options().read(true).write(true).open(&name).unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    command.arg("top").env("TERM", "xterm-256color");
    command.envs(variables.iter().copied());
    command.stdin(slave()).stdout(slave()).stderr(slave());
    let (master, slave) = (File::from(master), slave());
    resize(&master, size);
    let child = command.spawn().unwrap();
    (master, slave, child)
}

impl Terminal {
    fn open(world: &World, size: (u16, u16), variables: &[(&str, &str)]) -> Self {
        let (master, slave, child) = begin(world, size, variables);
        let said = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, heard) = (master.try_clone().unwrap(), said.clone());
        std::thread::spawn(move || {
            let mut piece = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                heard.lock().unwrap().extend(&piece[..count]);
            }
        });
        Self {
            master,
            slave,
            child,
            said,
        }
    }

    /// Waits until this is on the screen.
    fn until(&self, text: &str) {
        self.when(text, |screen| screen.contains(text));
    }

    /// Waits until this has gone from the screen.
    fn until_gone(&self, text: &str) {
        self.when(text, |screen| !screen.contains(text));
    }

    fn when(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let screen = shown(&self.said());
            if holds(&screen) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{what:?}: {screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that was written.
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn is_raw(&self) -> bool {
        let settings = rustix::termios::tcgetattr(&self.slave).unwrap();
        !settings
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for the program's end: its code, and all that it wrote.
    fn ends(&mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it goes on: {:?}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        // The reader's thread may be behind.
        while !self.said().contains(LEFT) {
            assert!(started.elapsed() < PATIENCE, "it leaves the screen painted");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(!self.is_raw(), "the terminal stays raw");
        (status.code(), self.said())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The screen after all this was written, by as much of a terminal as that takes.
fn shown(said: &str) -> String {
    let mut screen: BTreeMap<(usize, usize), char> = BTreeMap::new();
    let (mut line, mut column) = (1, 1);
    let mut letters = said.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' if letters.next_if_eq(&'[').is_some() => {
                let mut words = String::new();
                let end = loop {
                    match letters.next() {
                        Some(letter) if letter.is_ascii_alphabetic() => break letter,
                        Some(letter) => words.push(letter),
                        // It was read in the middle of it.
                        None => break ' ',
                    }
                };
                let mut numbers = words.split(';').map(|word| word.parse().unwrap_or(1));
                match end {
                    'H' => {
                        line = numbers.next().unwrap_or(1);
                        column = numbers.next().unwrap_or(1);
                    }
                    'J' => screen.clear(),
                    _ => {}
                }
            }
            '\r' => column = 1,
            '\n' => line += 1,
            _ => {
                screen.insert((line, column), letter);
                column += 1;
            }
        }
    }
    let (mut text, mut at) = (String::new(), (1, 1));
    for ((line, column), letter) in screen {
        while at.0 < line {
            text.push('\n');
            at = (at.0 + 1, 1);
        }
        while at.1 < column {
            text.push(' ');
            at.1 += 1;
        }
        text.push(letter);
        at.1 += 1;
    }
    text
}

fn resize(terminal: &File, (columns, rows): (u16, u16)) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}

/// Whether the last thing that was written leaves the screen as it was.
fn is_left(said: &str) -> bool {
    said.starts_with("\u{1b}[?1049h")
        && said.rfind(LEFT) > said.rfind("\u{1b}[?1049h")
        && said.contains(CURSOR)
}

type Leave = fn(&mut Terminal);

#[tokio::test(flavor = "multi_thread")]
async fn it_is_left_by_keys_and_signals_and_leaves_the_terminal_as_it_was() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let ways: [(&str, Leave, i32); 8] = [
        ("q", |top| top.types("q"), 0),
        ("Esc", |top| top.types("\u{1b}"), 0),
        ("Ctrl-C", |top| top.types("\u{3}"), 130),
        ("SIGINT", |top| top.signal(Signal::INT), 130),
        ("SIGTERM", |top| top.signal(Signal::TERM), 130),
        ("SIGHUP", |top| top.signal(Signal::HUP), 130),
        ("SIGQUIT", |top| top.signal(Signal::QUIT), 130),
        (
            "a scroll before",
            |top| top.types("\u{1b}[A\u{1b}[6~ojkq"),
            0,
        ),
    ];
    for (way, leave, code) in ways {
        let mut top = Terminal::open(&world, (60, 24), &[]);
        top.until("q quit");
        assert!(top.is_raw());
        leave(&mut top);
        let (ended, said) = top.ends();
        assert_eq!(ended, Some(code), "{way}: {said:?}");
        assert!(is_left(&said), "{way}: {said:?}");
    }
}

/// As `kill -STOP` and then `fg` do: the shell takes raw mode away meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_from_outside_and_continued_it_hears_keys_again() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let mut top = Terminal::open(&world, (80, 24), &[]);
    top.until("q quit");
    top.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(100));
    let mut settings = rustix::termios::tcgetattr(&top.slave).unwrap();
    settings.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    let now = rustix::termios::OptionalActions::Now;
    rustix::termios::tcsetattr(&top.slave, now, &settings).unwrap();
    assert!(!top.is_raw());
    top.signal(Signal::CONT);
    let started = Instant::now();
    while !top.is_raw() {
        assert!(started.elapsed() < PATIENCE, "the terminal is not raw");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Ctrl-Q belongs to the terminal's flow control.
    top.types("\u{11}");
    std::thread::sleep(Duration::from_millis(300));
    assert!(top.child.try_wait().unwrap().is_none());
    top.types("q");
    assert_eq!(top.ends().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_of_an_absurd_size_is_left_as_it_was() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let mut top = Terminal::open(&world, (80, 24), &[]);
    top.until("q quit");
    resize(&top.master, (65_535, 65_535));
    top.signal(Signal::WINCH);
    let (code, said) = top.ends();
    assert_eq!(code, Some(1), "{said:?}");
    let (_, after) = said.rsplit_once(LEFT).unwrap();
    assert!(after.contains("65535 columns"), "{said:?}");
}

/// A debug build panics at F12, for this.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_leaves_the_terminal_as_it_was_and_its_words_to_be_read() {
    if !cfg!(debug_assertions) {
        return;
    }
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let mut top = Terminal::open(&world, (80, 24), &[]);
    top.until("q quit");
    top.types("\u{1b}[24~");
    let (code, said) = top.ends();
    assert_eq!(code, Some(101), "{said:?}");
    let (_, after) = said.split_once(LEFT).unwrap();
    assert!(after.contains("F12 was pressed"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_goes_away_ends_it() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let (mut master, slave, mut child) = begin(&world, (80, 24), &[]);
    let (mut said, mut piece) = (String::new(), vec![0; 4096]);
    while !said.contains("q quit") {
        let count = master.read(&mut piece).unwrap();
        said += &String::from_utf8_lossy(&piece[..count]);
    }
    // No signal tells it, since it has no session of its own.
    drop((master, slave));
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(
            started.elapsed() < PATIENCE,
            "it goes on without a terminal"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_the_size_and_wants_no_colours_where_none_are_wanted() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let mut top = Terminal::open(&world, (60, 24), &[("NO_COLOR", "1")]);
    top.until("q quit");
    top.until_gone("FAILED");
    let resize_to = |top: &Terminal, size| {
        resize(&top.master, size);
        top.signal(Signal::WINCH);
    };
    resize_to(&top, (120, 30));
    // There is room for two columns more.
    top.until("FAILED");
    resize_to(&top, (20, 5));
    top.until_gone("FAILED");
    top.until("IN FLIGHT");
    resize_to(&top, (1, 1));
    top.until_gone("IN FLIGHT");
    resize_to(&top, (80, 24));
    top.until("FAILED");
    top.types("q");
    let (code, said) = top.ends();
    assert_eq!(code, Some(0));
    for colour in ["38;", "48;"] {
        assert!(!said.contains(colour), "{colour:?} in {said:?}");
    }
    let mut top = Terminal::open(&world, (60, 24), &[]);
    top.until("✓ All is well");
    top.types("q");
    let (_, said) = top.ends();
    assert!(said.contains("38;5;2;49m✓ All is well"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_daemon_that_stands_still_and_for_one_that_restarts() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let mut top = Terminal::open(&world, (100, 30), &[]);
    top.until("All is well");
    daemon.signal(Signal::STOP);
    top.until("has not answered for");
    // Keys work meanwhile.
    top.types("o");
    top.until("oldest first");
    daemon.signal(Signal::CONT);
    top.until("All is well");
    daemon.stop();
    top.until("reconnecting");
    let again = world.daemon();
    top.until("All is well");
    drop(again);
    top.until("reconnecting");
    top.types("q");
    let (code, said) = top.ends();
    assert_eq!(code, Some(0), "{said:?}");
}

fn ends(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_says_what_a_script_uses() {
    let world = World::new(Options::default()).await;
    let top = |line: &[&str]| {
        let mut command = world.hermesctl(line);
        command.env("TERM", "xterm");
        let output = ends(command);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = top(&["top", "--once"]);
    assert_eq!(code, Some(3), "{said}");
    let _daemon = world.daemon();
    let (code, said) = top(&["top"]);
    assert_eq!(code, Some(2), "{said}");
    for words in [
        "hermesctl top --once",
        "hermesctl top --json",
        "hermesctl proxy status",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let (code, said) = top(&["top", "--once"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("IN FLIGHT  no request") && !said.contains('\u{1b}'),
        "{said}"
    );
    let (code, said) = top(&["top", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"in_flight\": 0"), "{said}");
    // A terminal that only knows text.
    let mut dumb = Terminal::open(&world, (80, 24), &[("TERM", "dumb")]);
    assert_eq!(dumb.child.wait().unwrap().code(), Some(2));
    dumb.until("hermesctl top --once");
    let said = dumb.said();
    assert!(
        said.contains("TERM=dumb") && !said.contains('\u{1b}'),
        "{said:?}"
    );
}

/// A daemon of before: it knows no such question.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_daemon_is_to_be_restarted() {
    let world = World::new(Options::default()).await;
    let mut command = world.hermesctl(&["top", "--once"]);
    let folder = world.home.path().join("run-of-before/hermes-proxyd");
    std::fs::create_dir_all(&folder).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&folder, private).unwrap();
    let old = UnixListener::bind(folder.join("control.sock")).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = old.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for answer in [
            r#"{"hello":{"protocol":1,"version":"0.0.9","pid":1}}"#,
            r#"{"id":1,"error":{"code":"unknown_operation","message":"hermes-proxyd 0.0.9 doesn't know the operation."}}"#,
        ] {
            lines.next().unwrap().unwrap();
            writeln!(&stream, "{answer}").unwrap();
        }
    });
    command.env("XDG_RUNTIME_DIR", folder.parent().unwrap());
    let output = ends(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("0.0.9 is older than this hermesctl"),
        "{said}"
    );
    assert!(said.contains("hermesctl proxy restart"), "{said}");
}
