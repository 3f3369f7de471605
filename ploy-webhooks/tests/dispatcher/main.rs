//! The dispatcher: what is owed is carried out, whatever the runner does, and is on record.

mod outcomes;
mod scene;
