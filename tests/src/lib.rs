//! Reeve tried from outside: a lab of network namespaces, a house with the daemons in it, and what is played there.
//!
//! Model: [`lab`] makes two tenants, a router (the node) and an internet out of network namespaces, and runs real tools in
//! them. [`house`] adds the programs under test: controller, agent and the operators' command line, always as their own
//! processes, told apart from the outside by nothing but their command lines. [`demo`] and [`bench`] are what
//! `reeve-lab` plays; the integration tests beside this crate use the same two rooms.
//!
//! Deliberately left out: any link to the crates under test. What is checked here is what an operator would see,
//! and the packets that a neighbour would receive.

pub mod bench;
pub mod dashboard;
pub mod demo;
pub mod house;
pub mod lab;
pub mod preset;
pub mod street;
pub mod wait;
