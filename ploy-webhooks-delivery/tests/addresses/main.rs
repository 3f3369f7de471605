//! Where nothing is connected to, whatever the URL or the name server says: over real sockets,
//! which see every connection.

#[cfg(test)]
mod literals;
#[cfg(test)]
mod names;
#[cfg(test)]
mod surroundings;
