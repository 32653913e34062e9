//! Checks and loads any tus 1.0 server over the network.
