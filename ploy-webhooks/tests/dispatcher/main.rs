//! The dispatcher: what is owed is carried out, whatever the runner does, and is on record.

mod faulty;
mod gates;
mod lanes;
mod leases;
mod observed;
mod outages;
mod outcomes;
mod scene;
mod stopping;
mod terms;
