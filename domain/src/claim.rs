//! Unique keys: a handle, a sku, an order number belongs to one thing at a time.
//!
//! Each key is a stream of its own, named `kind:key`. Taking it is an event in the same append as the
//! command that needs it, so that two takers clash on the stream's version and never both win.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Root;
use crate::id::{CouponId, CustomerId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Who holds the key: an aggregate's id, or another opaque reference.
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimReleased {
    pub by: String,
}

events! {
    /// The life of one key.
    pub enum ClaimEvent {
        Claimed(Claimed) = "Claimed", 1;
        ClaimReleased(ClaimReleased) = "ClaimReleased", 1;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimCommand {
    Take { by: String },
    Release { by: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRejection {
    #[error("the key is held by {by}")]
    Taken { by: String },
}

impl ClaimRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "claim_taken",
        }
    }
}

/// One key and who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub holder: Option<String>,
}

impl Claim {
    /// Taking what one holds and releasing what one doesn't hold are no-ops.
    pub fn decide(&self, command: ClaimCommand) -> Result<Vec<ClaimEvent>, ClaimRejection> {
        match (command, &self.holder) {
            (ClaimCommand::Take { by }, None) => Ok(vec![ClaimEvent::Claimed(Claimed { by })]),
            (ClaimCommand::Take { by }, Some(holder)) if *holder == by => Ok(vec![]),
            (ClaimCommand::Take { .. }, Some(holder)) => Err(ClaimRejection::Taken { by: holder.clone() }),
            (ClaimCommand::Release { by }, Some(holder)) if *holder == by => Ok(vec![ClaimEvent::ClaimReleased(ClaimReleased { by })]),
            (ClaimCommand::Release { .. }, _) => Ok(vec![]),
        }
    }

    pub fn apply(&mut self, event: &ClaimEvent) {
        match event {
            ClaimEvent::Claimed(Claimed { by }) => self.holder = Some(by.clone()),
            ClaimEvent::ClaimReleased(_) => self.holder = None,
        }
    }
}

aggregate!(Claim = "claim", ClaimCommand => ClaimEvent, ClaimRejection);

impl Root for Claim {
    const CONTEXT: &'static str = "claim";
}

/// The name of a key's stream. Keys are compared without case and surrounding space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClaimKey {
    pub kind: String,
    pub key: String,
}

impl ClaimKey {
    #[must_use]
    pub fn new(kind: &str, key: &str) -> Self {
        Self { kind: kind.to_owned(), key: key.trim().to_lowercase() }
    }

    /// A product's handle.
    #[must_use]
    pub fn handle(handle: &str) -> Self {
        Self::new("handle", handle)
    }

    /// A category's handle; it may equal a product's.
    #[must_use]
    pub fn category_handle(handle: &str) -> Self {
        Self::new("category_handle", handle)
    }

    #[must_use]
    pub fn sku(sku: &str) -> Self {
        Self::new("sku", sku)
    }

    #[must_use]
    pub fn order_number(number: &str) -> Self {
        Self::new("order_number", number)
    }

    /// A coupon's code, by its keyed hash: held by the coupon and its promotion.
    #[must_use]
    pub fn coupon(code_hash: &str) -> Self {
        Self::new("coupon", code_hash)
    }

    /// The `n`th use of a coupon by one person: held by the order.
    #[must_use]
    pub fn coupon_use(coupon_id: CouponId, subject_ref: &str, n: u32) -> Self {
        Self::new("coupon_use", &format!("{coupon_id}:{subject_ref}:{n}"))
    }

    /// A customer's cart: held by the cart.
    #[must_use]
    pub fn customer_cart(customer_id: CustomerId) -> Self {
        Self::new("customer_cart", &customer_id.to_string())
    }

    /// The id of the claim's stream.
    #[must_use]
    pub fn stream_id(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.key)
    }
}

/// What an append has to take and to release along with its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimChanges {
    pub take: Vec<ClaimKey>,
    pub release: Vec<ClaimKey>,
}

impl ClaimChanges {
    /// The way from one set of held keys to another.
    #[must_use]
    pub fn between(before: &BTreeSet<ClaimKey>, after: &BTreeSet<ClaimKey>) -> Self {
        Self { take: after.difference(before).cloned().collect(), release: before.difference(after).cloned().collect() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.take.is_empty() && self.release.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn claimed(by: &str) -> ClaimEvent {
        ClaimEvent::Claimed(Claimed { by: by.to_owned() })
    }

    #[test]
    fn a_free_key_can_be_taken() {
        TestFramework::<Claim>::with(())
            .given_no_previous_events()
            .when(ClaimCommand::Take { by: "a".to_owned() })
            .then_expect_events(vec![claimed("a")]);
    }

    #[test]
    fn a_taken_key_is_refused_to_others_and_names_its_holder() {
        TestFramework::<Claim>::with(())
            .given(vec![claimed("a")])
            .when(ClaimCommand::Take { by: "b".to_owned() })
            .then_expect_error(ClaimRejection::Taken { by: "a".to_owned() });
    }

    #[test]
    fn a_released_key_can_be_taken_again() {
        let released = ClaimEvent::ClaimReleased(ClaimReleased { by: "a".to_owned() });
        TestFramework::<Claim>::with(())
            .given(vec![claimed("a"), released])
            .when(ClaimCommand::Take { by: "b".to_owned() })
            .then_expect_events(vec![claimed("b")]);
    }

    #[test]
    fn only_the_holder_releases_a_key() {
        TestFramework::<Claim>::with(())
            .given(vec![claimed("a")])
            .when(ClaimCommand::Release { by: "b".to_owned() })
            .then_expect_events(vec![]);
    }

    #[test]
    fn keys_are_compared_without_case_and_space() {
        assert_eq!(ClaimKey::sku(" ABC-1 ").stream_id(), "sku:abc-1");
    }

    #[test]
    fn what_is_unique_of_its_kind_has_a_stream_of_its_own() {
        let n = uuid::Uuid::from_u128(1);
        let keys = [
            (ClaimKey::handle("pot"), "handle:pot"),
            (ClaimKey::category_handle("pot"), "category_handle:pot"),
            (ClaimKey::sku("pot"), "sku:pot"),
            (ClaimKey::order_number("7Q2M"), "order_number:7q2m"),
            (ClaimKey::coupon("5f"), "coupon:5f"),
            (ClaimKey::coupon_use(n.into(), "a1", 2), "coupon_use:00000000-0000-0000-0000-000000000001:a1:2"),
            (ClaimKey::customer_cart(n.into()), "customer_cart:00000000-0000-0000-0000-000000000001"),
        ];
        for (key, stream) in keys {
            assert_eq!(key.stream_id(), stream);
        }
    }

    #[test]
    fn only_what_changes_hands_is_taken_or_released() {
        let keys = |names: &[&str]| names.iter().map(|name| ClaimKey::sku(name)).collect::<BTreeSet<_>>();
        let change = |before: &[&str], after: &[&str]| ClaimChanges::between(&keys(before), &keys(after));
        let (take, release) = (vec![ClaimKey::sku("c")], vec![ClaimKey::sku("a")]);
        assert_eq!(change(&["a", "b"], &["b", "c"]), ClaimChanges { take, release });
        assert!(change(&["a"], &["a"]).is_empty());
        assert!(!change(&[], &["a"]).is_empty());
        assert!(!change(&["a"], &[]).is_empty());
    }
}
