//! Programs as runners: what they are given, what comes of them, and that nothing of them is
//! left.
#![cfg(unix)]

mod descendants;
mod endings;
mod given;
mod parent;
mod runner;
mod said;
mod scene;
