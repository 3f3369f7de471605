//! Several nodes on one database: each promise holds across them as it does on one.

mod scene;

mod nodes {
    mod change;
    mod dedup;
    mod destinations;
    mod feed;
    mod generations;
    mod migration;
    mod open;
    mod outbox;
    mod rates;
    mod runs;
    mod search;
    mod vanishing;
    mod wake;
}
