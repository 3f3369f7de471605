//! Signatures through the public interface: what senders have published, what comes near to it,
//! and what nobody has thought of.

mod descriptions;
mod near_misses;
mod properties;
mod sent;
mod several;
mod vectors;
