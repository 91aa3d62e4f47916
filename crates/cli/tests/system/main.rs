//! The whole program against real servers, with stock programs as oracles: what a user types, and what is true afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod browser;
mod compare;
mod complaints;
mod concurrency;
mod damage;
mod faults;
mod garage;
mod interoperation;
mod live;
mod load;
mod operations;
mod program;
mod proxy;
mod repair;
mod replicas;
mod serve;
mod spoil;
mod stock;
mod values;
mod versions;
mod whole_project;
