//! Acceptance on real catalogues: what `DAYBOOK_DATA` names is read, never committed.

#[path = "../e2e/shop.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod shop;

mod import;
