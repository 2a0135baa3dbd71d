//! The real program, from outside: what goes in, what comes out, what it says.

mod accounts;
mod arbitrary_bytes;
mod breaker;
mod chaos;
mod checkpoints;
mod cli;
mod configuration;
mod connectors;
mod dead_letters;
mod examples;
mod failures;
mod following;
mod formats;
mod graph;
mod harness;
mod http;
mod lifetime;
mod limits;
mod observability;
mod outputs;
mod restarts;
mod rotation;
mod same_records;
mod sqlite;
mod stages;
mod time;
