//! The login: made, kept fresh, never spent twice, never lost.

mod clock;
mod device_login;
mod disk;
mod refresh;
mod side_by_side;
mod token_endpoint;
mod xai;
