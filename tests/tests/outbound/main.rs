//! Deliveries through the whole program: what is published or taken in at one end is looked at where
//! it arrives, on sockets of this machine, and on record.
//!
//! The flows are those of the systems that people wire up. The long ones are played on one store, the
//! others on all of them.

mod clay;
mod crm;
mod kills;
mod plutio;
mod rate;
mod receiver;
mod relay;
mod safety;
mod scene;
mod senders;
mod toolplex;
