//! The program from outside: started as a process, spoken to over its socket.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod events;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lifecycle;
