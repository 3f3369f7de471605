//! What the store does when its server, its network or its neighbours misbehave: it says so in
//! bounded time, loses nothing that it has acknowledged, and goes on when the cause has gone.

mod scene;

mod faults {
    mod connections;
    mod deafness;
    mod freeze;
    mod kill;
    mod load;
    mod locks;
    mod neighbours;
    mod network;
    mod refusals;
    mod settling;
}
