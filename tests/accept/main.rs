//! Acceptance on real catalogues: what `DAYBOOK_DATA` names is read, never committed.

#[path = "../e2e/shop.rs"]
mod shop;

mod import;
