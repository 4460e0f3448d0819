//! Deciding: load → decide → append. A command is a closure over [`streams::Streams`]; the [`writer`] runs it and lands it.
//! Knows no read model; meets `projections` only in domain events.

pub mod answer;
pub mod cart;
pub mod catalog;
pub mod checkout;
pub mod cqrs;
pub mod customer;
pub mod inventory;
pub mod loader;
pub mod merchandising;
#[cfg(test)]
mod model;
pub mod order;
pub mod payment;
pub mod promotion;
pub mod provider;
pub mod quote;
pub mod reactor;
pub mod setting;
pub mod snapshot;
pub mod streams;
pub mod terms;
pub mod whole_order;
pub mod writer;
