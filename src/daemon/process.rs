//! What the process keeps from others: files are private, and its memory can't be read.

/// Closes the process. The first thing that a program does, before anything is opened.
///
/// Files and sockets are private unless they say otherwise (umask 077); hooks' programs inherit
/// that. There is no core dump, and on Linux no other process of the same user may read the memory
/// or the environment (`PR_SET_DUMPABLE` of prctl(2)); root may.
///
/// Failures are ignored: an old kernel or a sandbox must not keep the daemon from serving.
#[cfg(unix)]
pub(super) fn close() {
    use rustix::process::{Resource, Rlimit, setrlimit, umask};
    umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).ok();
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    }
}

#[cfg(not(unix))]
pub(super) fn close() {}

/// Starts this program again, with the same arguments and in the same process if the system can.
///
/// # Errors
/// The system's. Where it works on Unix, this does not return.
pub(super) fn start_again() -> std::io::Result<()> {
    let mut line = std::env::args_os();
    let program = line.next().unwrap_or_default();
    let mut command = std::process::Command::new(program);
    command.args(line);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        Err(command.exec())
    }
    #[cfg(not(unix))]
    command.spawn().map(drop)
}

/// A panic's one line in the log: its location, never its message, which may hold the data being
/// processed.
pub(super) fn log_defects() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        // A text of ours without any value in it.
        let what = panic.payload().downcast_ref::<&'static str>();
        tracing::error!(place, what, "a defect in hermes-proxyd; please report it");
    }));
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_defect_is_one_line_with_its_place_and_without_any_value() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(move || writer.clone())
            .finish();
        let before = std::panic::take_hook();
        log_defects();
        let bearer = String::from("xyz");
        let heard = super::super::logging::heard_by(subscriber);
        std::panic::catch_unwind(|| panic!("the bearer is {bearer}")).unwrap_err();
        drop(heard);
        std::panic::set_hook(before);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("\"level\":\"ERROR\"") && text.contains("process.rs:"),
            "{text}"
        );
        assert!(!text.contains("xyz"), "{text}");
    }
}
