//! Addresses that the user pastes from the browser.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::redirect::RedirectAnswer;
use crate::control::protocol::{ControlError, ErrorCode, IssuedKey};
use crate::provider::{BrowserAttempt, Stray};

/// Receives pasted addresses.
#[derive(Debug)]
pub(super) struct PasteReceiver {
    pub(super) attempt: Arc<BrowserAttempt>,
    pub(super) sender: mpsc::Sender<RedirectAnswer>,
}

impl PasteReceiver {
    /// Accepts an answer to the login.
    pub(super) fn take(&self, text: &IssuedKey) -> Result<(), ControlError> {
        let callback = self.attempt.pasted(text.expose());
        let callback = callback.map_err(refused)?;
        // If the queue is full, an answer has already arrived.
        drop(self.sender.try_send(RedirectAnswer {
            callback,
            browser: None,
        }));
        Ok(())
    }
}

fn refused(stray: Stray) -> ControlError {
    let message = format!("What you pasted can't be used: {stray}.");
    ControlError::new(ErrorCode::LoginPasteRefused, message)
        .with_hint("The login is still waiting: paste the address that the browser ends at.")
}
