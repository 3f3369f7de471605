//! Templates: what may be set, and what events make of it.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod filled;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod set_up;
