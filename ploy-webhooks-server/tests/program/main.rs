//! The program from outside: started as a process, spoken to over its socket.

#[cfg(test)]
mod auth;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod console;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod destinations;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod events;
#[cfg(test)]
mod export;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod ploybooks;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod subscriptions;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod tenants;
