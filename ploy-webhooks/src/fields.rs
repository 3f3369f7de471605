//! Fields: values in a payload that an endpoint gives names of its own.

/// The fields of one event, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {}
