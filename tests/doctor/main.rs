//! `hermesctl doctor`: its findings, and its report on containers.

mod containers;
mod daemon;
mod diagnosis;
mod files;
mod login;
mod network;
mod worlds;
