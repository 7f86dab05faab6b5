//! What needs the machine to itself: load, crashes, fuzzing, and figures in milliseconds. Each test takes a turn, so that
//! only as many run at once as there are processors.

mod crash;
mod floods;
mod fuzz;
mod interleavings;
mod leaving;
mod lifecycle;
