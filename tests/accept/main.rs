//! Acceptance on real catalogues: what `DAYBOOK_DATA` names is read, never committed.

#[path = "../e2e/shop.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod shop;

#[path = "../e2e/dice.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod dice;

mod import;
mod recall;
mod relevance;
mod search;
mod typo;

use shop::Shop;

/// One shop for all of it: most of the time goes into the import.
#[tokio::test(flavor = "multi_thread")]
async fn nineteen_thousand_real_products_come_in_once_and_are_found() {
    let shop = Shop::empty().await;
    import::all_products_come_in(&shop).await;
    search::shoppers_find_what_they_mean(&shop).await;
    import::only_what_changed_comes_in_again(&shop).await;
}
