//! What needs the machine to itself: load, crashes, fuzzing, and figures in milliseconds. Each test takes a turn, so that
//! only as many run at once as there are processors; but for those of `dead_connections`, which only wait.

mod activation;
mod crash;
mod dead_connections;
mod floods;
mod fuzz;
mod interim_answers;
mod interleavings;
mod leaving;
mod lifecycle;
