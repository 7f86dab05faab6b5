//! The login: made, kept fresh, never spent twice, never lost.

mod backups;
mod clock;
mod codex;
mod device_login;
mod disk;
mod end;
mod hermes_store;
mod logout;
mod oauth2;
mod refresh;
mod reload;
mod several;
mod side_by_side;
mod steps;
mod token_endpoint;
mod unreadable;
mod unsaved;
mod xai;
