//! What needs the machine to itself: load, crashes, fuzzing, and figures in milliseconds.

mod crash;
mod floods;
mod fuzz;
mod interleavings;
mod leaving;
