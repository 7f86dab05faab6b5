//! `hermesctl doctor`: what it finds, and what it says of containers.

mod containers;
mod daemon;
mod diagnosis;
mod files;
mod login;
mod network;
mod worlds;
