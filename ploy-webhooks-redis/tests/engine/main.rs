//! What the conformance suite cannot know of: the engine's own faults and limits, several nodes
//! on one, and Clusters.

mod activity;
mod destinations;
mod faults;
mod feed;
mod lanes;
mod layout;
mod nodes;
mod quotas;
mod retention;
mod run_pages;
mod runs;
mod scene;
mod search;
