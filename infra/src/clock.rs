//! The one home of wall clock and fresh ids; everything else gets them as values.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Now, cut to the microseconds that Postgres stores.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock's one home")]
pub fn now() -> DateTime<Utc> {
    DateTime::<Utc>::from(std::time::SystemTime::now()).trunc_subsecs(6)
}

/// A fresh id; version 7, so that rows made together lie together.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one home of fresh ids")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
