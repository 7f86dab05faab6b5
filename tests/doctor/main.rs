//! `hermesctl doctor`: what it finds, and what it says of containers.

mod checks;
mod containers;
