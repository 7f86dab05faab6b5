//! The terminal's alternate screen: entered, painted, and left in every case.

use std::fmt;
use std::io::{self, BufWriter, Stdout, stdout};
use std::panic;
use std::sync::Once;
use std::thread;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::{Frame, Terminal};
use tokio::sync::mpsc;

/// A screen is written in one piece, which helps on slow lines.
const BUFFER: usize = 32 * 1024;
/// A terminal that claims more cells is refused: each takes tens of bytes of memory.
const MOST_CELLS: u32 = 4_000_000;

/// The alternate screen; dropping it leaves it.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    keys: mpsc::Receiver<KeyPress>,
    _guard: TerminalGuard,
}

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPress {
    Quit,
    /// Ctrl-C, an ordinary key in raw mode.
    Interrupt,
    /// Ctrl-Z, an ordinary key in raw mode.
    Suspend,
    /// Reverse the order.
    Order,
    /// Scroll down by this many rows; up if negative.
    Scroll(isize),
    /// Scroll to the first row.
    Top,
    /// Repaint everything, for example after a resize.
    Repaint,
    /// Panic, to test what it leaves behind. Only debug builds have a key for it.
    Defect,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

/// Leaves the screen when dropped, even if entering it failed halfway.
struct TerminalGuard;

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        leave();
    }
}

impl Screen {
    /// Enters the alternate screen.
    pub(super) fn open() -> io::Result<Self> {
        leave_at_a_panic();
        can_be_held()?;
        let guard = TerminalGuard;
        enter()?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(BUFFER, stdout()));
        let terminal = Terminal::new(backend)?;
        let keys = listen();
        Ok(Self {
            terminal,
            keys,
            _guard: guard,
        })
    }

    /// Paints it.
    pub(super) fn draw(&mut self, paint: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        can_be_held()?;
        self.terminal.draw(paint).map(drop)
    }

    /// The next key; `None` when no more can come. Dropping the future loses nothing.
    pub(super) async fn key(&mut self) -> Option<KeyPress> {
        self.keys.recv().await
    }

    /// Clears the screen, so that the next painting writes every cell.
    pub(super) fn repaint(&mut self) -> io::Result<()> {
        can_be_held()?;
        // `Terminal::clear` asks for the cursor's position, and some terminals don't answer.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Leaves the screen while `work` runs.
    pub(super) fn beside(&mut self, work: impl FnOnce()) -> io::Result<()> {
        leave();
        work();
        self.again()
    }

    /// Enters the screen again after another program had the terminal.
    pub(super) fn again(&mut self) -> io::Result<()> {
        // A shell has ended raw mode in the meantime, and crossterm re-enters it only after leaving it itself.
        disable_raw_mode().ok();
        enter()?;
        self.repaint()
    }
}

/// Checks that the terminal's claimed size fits in memory.
///
/// # Errors
/// When it does not.
fn can_be_held() -> io::Result<()> {
    let (columns, rows) = size()?;
    if u32::from(columns) * u32::from(rows) <= MOST_CELLS {
        return Ok(());
    }
    let told = format!("the terminal says that it has {columns} columns and {rows} rows");
    Err(io::Error::other(told))
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

fn leave() {
    // If the terminal can't be written to, there is nothing left to restore.
    execute!(stdout(), LeaveAlternateScreen, Show).ok();
    disable_raw_mode().ok();
}

/// A panic's message would go to the alternate screen and vanish with it.
fn leave_at_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            leave();
            tell(about);
        }));
    });
}

/// Reads keys in a thread of its own, which ends with hermesctl.
fn listen() -> mpsc::Receiver<KeyPress> {
    let (sender, keys) = mpsc::channel(64);
    let listening = thread::Builder::new().name("keys".to_owned());
    let heard = listening.spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(key) = meaning(&event)
                && sender.blocking_send(key).is_err()
            {
                return;
            }
        }
    });
    // Without that thread, only signals end hermesctl.
    drop(heard);
    keys
}

fn meaning(event: &Event) -> Option<KeyPress> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => of_key(*key),
        Event::Resize(..) => Some(KeyPress::Repaint),
        Event::Key(_)
        | Event::FocusGained
        | Event::FocusLost
        | Event::Mouse(_)
        | Event::Paste(_) => None,
    }
}

fn of_key(key: KeyEvent) -> Option<KeyPress> {
    let is_held = |modifier| key.modifiers.contains(modifier);
    let is_alone = !key
        .modifiers
        .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SUPER);
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a keyboard has many other keys"
    )]
    Some(match key.code {
        KeyCode::Char('c') if is_held(KeyModifiers::CONTROL) => KeyPress::Interrupt,
        KeyCode::Char('z') if is_held(KeyModifiers::CONTROL) => KeyPress::Suspend,
        KeyCode::Char('l') if is_held(KeyModifiers::CONTROL) => KeyPress::Repaint,
        // Terminals use Ctrl-Q to continue after Ctrl-S.
        KeyCode::Char(_) if !is_alone => return None,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => KeyPress::Quit,
        KeyCode::Char('o') => KeyPress::Order,
        KeyCode::Up | KeyCode::Char('k') => KeyPress::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => KeyPress::Scroll(1),
        KeyCode::PageUp => KeyPress::Scroll(-10),
        KeyCode::PageDown | KeyCode::Char(' ') => KeyPress::Scroll(10),
        KeyCode::Home | KeyCode::Char('g') => KeyPress::Top,
        KeyCode::End | KeyCode::Char('G') => KeyPress::Scroll(isize::MAX),
        KeyCode::F(12) if cfg!(debug_assertions) => KeyPress::Defect,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_with_another_key_held_is_another_key() {
        for (letter, modifiers, meant) in [
            ('q', KeyModifiers::NONE, Some(KeyPress::Quit)),
            ('Q', KeyModifiers::SHIFT, Some(KeyPress::Quit)),
            ('q', KeyModifiers::CONTROL, None),
            ('o', KeyModifiers::CONTROL, None),
            ('o', KeyModifiers::ALT, None),
            ('G', KeyModifiers::SHIFT, Some(KeyPress::Scroll(isize::MAX))),
            ('c', KeyModifiers::CONTROL, Some(KeyPress::Interrupt)),
            ('c', KeyModifiers::NONE, None),
            ('z', KeyModifiers::CONTROL, Some(KeyPress::Suspend)),
        ] {
            let key = KeyEvent::new(KeyCode::Char(letter), modifiers);
            assert_eq!(of_key(key), meant, "{letter} {modifiers:?}");
        }
    }
}
