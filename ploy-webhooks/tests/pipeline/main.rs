//! The pipeline through its public interface: the order of the checks, and what each answers.

mod answers;
mod bodies;
mod cache;
mod compose;
mod counts;
mod credentials;
mod handshakes;
mod intake;
mod observed;
mod order;
mod outages;
mod pieces;
mod rates;
mod replay;
mod signed;
mod signed_intake;
mod success;
