//! The user's pasted lines: standard input, read beside everything else.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

use crate::control::protocol::IssuedKey;

/// No address that a browser ends at is longer.
const LONGEST: usize = 16 * 1024;

/// Lines as they come. They may hold a code, so they are wiped.
#[derive(Debug)]
pub(super) struct PastedLines(mpsc::Receiver<IssuedKey>);

impl PastedLines {
    /// Reads standard input on a thread of its own, which ends with the process: nothing can wake it before.
    pub(super) fn of_process() -> Self {
        let (sender, lines) = mpsc::channel(4);
        let reading = move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                let line = IssuedKey::new(line);
                let text = line.expose().trim();
                if text.is_empty() || text.len() > LONGEST {
                    continue;
                }
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        };
        // Without it nothing can be pasted, and the browser may still come back.
        drop(std::thread::Builder::new().spawn(reading));
        Self(lines)
    }

    /// The next line that is available already.
    pub(super) fn next(&mut self) -> Option<IssuedKey> {
        self.0.try_recv().ok()
    }
}
