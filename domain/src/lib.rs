//! The rules of the shop, and nothing else: events, commands, and the pure functions between them.
//!
//! This crate knows no clock, no database and no network. Time, ids, prices and randomness arrive
//! in a command; what comes out is events or a refusal. Read the modules in the order below.

/// The names of things: one newtype per kind of id.
pub mod id;

/// Integer money: currencies, rounding, allocation, tax arithmetic.
pub mod money;

/// Facts about people, which can be erased from a log that never forgets.
pub mod personal;

/// What every event can do: its stored name, version and payload.
#[macro_use]
pub mod event;

/// Unique keys (handle, sku, order number): one stream per key.
pub mod claim;

/// Products, their variants and prices, and the tree of categories.
pub mod catalog;

/// Stock of one variant over all its locations: holds, allocations, the ledger.
pub mod inventory;

/// Carts, from the first line to the order that they become.
pub mod cart;

/// Quotes: discounts, tax and shipping, summed line by line.
pub mod pricing;

/// The store's settings: locations, tax rates, shipping methods.
pub mod setting;

/// Promotions and coupons: what is taken off, and how often.
pub mod promotion;

/// Search results as a merchant wants them: pins, hidden products, boosts, synonyms.
pub mod merchandising;

/// Orders, from placing to completion.
pub mod order;

/// Payments: one attempt, its operations, and what the provider said about them.
pub mod payment;

/// Subjects: the people whom personal facts are about.
pub mod customer;

/// Old events in the form of today: pure JSON to JSON.
pub mod upcast;
