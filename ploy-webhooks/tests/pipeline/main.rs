//! The pipeline through its public interface: the order of the checks, and what each answers.

mod answers;
mod bodies;
mod cache;
mod compose;
mod credentials;
mod intake;
mod order;
mod outages;
mod pieces;
