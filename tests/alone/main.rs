//! What needs the machine to itself: load, crashes, fuzzing, and figures in milliseconds. Each test takes a turn, so
//! that only two for each processor run at once, except those that wait for seconds and do hardly anything else.

mod activation;
mod beside_trouble;
mod crash;
mod dead_connections;
mod floods;
mod fuzz;
mod interim_answers;
mod interleavings;
mod leaving;
mod lifecycle;
mod scrape;
