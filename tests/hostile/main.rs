//! Guests, clients, peers and files made to do harm, against the real program. Each kind has
//! generated members, and a bound.
//!
//! Bounds of memory are limits of the system (`RLIMIT_DATA`): a program that goes beyond is
//! ended by it, whenever that happens. Nothing here waits for a time to pass.

#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod harness;

mod bodies;
mod components;
mod connections;
mod deputies;
mod memory;
mod peers;
mod requests;
mod support;
mod terminal;
mod time;
