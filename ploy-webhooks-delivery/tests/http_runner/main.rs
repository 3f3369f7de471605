//! Runs that are carried out by engines on this machine, good ones and bad ones.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod requests;
