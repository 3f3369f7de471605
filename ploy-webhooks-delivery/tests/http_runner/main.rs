//! Runs that are carried out by engines on this machine, good ones and bad ones.

mod answers;
mod engine;
mod environment;
mod faults;
mod requests;
