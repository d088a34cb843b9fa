//! Endpoints on loopback, honest ones and others.

mod attackers;
mod lifetime;
mod setup;
mod sockets;
mod tls;
mod traffic;
mod upkeep;
