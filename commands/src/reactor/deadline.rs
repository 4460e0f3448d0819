//! What is due at a time: a deadline is a row beside the log, deleted after its consequence has landed.

use chrono::{DateTime, Utc};
use domain::id::OrderId;
use infra::fail_point;
use uuid::Uuid;

use super::{NAME, Reactor};
use crate::answer::Origin;
use crate::checkout::PAYMENT_DEADLINE;
use crate::order::{self, Due};

/// Deadlines taken up at once.
const DEADLINES_MAX: i64 = 100;
/// Namespace of the ids of the reactor's own commands.
const COMMANDS: Uuid = Uuid::from_u128(0x8d3c_5b1e_0f7a_4c56_b9d2_7265_6163_746f);

impl Reactor {
    /// Expires orders whose payment is overdue. A deadline is due when this clock and the database's say so: one that jumps ahead
    /// takes nobody's time.
    pub(super) async fn fire_deadlines(&self) -> Result<(), sqlx::Error> {
        let due: Vec<(Uuid, String, String)> = sqlx::query_as(
            "SELECT deadline_id, kind, aggregate_id FROM deadline WHERE due_at <= least($1, clock_timestamp()) ORDER BY due_at LIMIT $2",
        )
        .bind(infra::clock::now())
        .bind(DEADLINES_MAX)
        .fetch_all(&self.pool)
        .await?;
        for (deadline_id, kind, id) in due {
            if kind != PAYMENT_DEADLINE {
                tracing::error!(kind, "a deadline of an unknown kind is due");
                continue;
            }
            let Ok(order_id) = id.parse::<OrderId>() else {
                continue;
            };
            let origin = Origin::system(NAME, Uuid::new_v5(&COMMANDS, deadline_id.as_bytes()), order_id.uuid(), deadline_id);
            let unknown_max = self.unknown_max;
            match self.writer.execute(&origin, None, move |streams| order::expire(streams, order_id, unknown_max)).await {
                Ok(done) => {
                    fail_point::after("expiry.decided");
                    self.settle_deadline(deadline_id, done.output).await?;
                    fail_point::after("expiry.settled");
                }
                Err(error) => {
                    tracing::warn!(order.id = id, error = &error as &dyn std::error::Error, "an order could not be expired; trying again");
                }
            }
        }
        Ok(())
    }

    async fn settle_deadline(&self, deadline_id: Uuid, due: Due) -> Result<(), sqlx::Error> {
        let later: Option<DateTime<Utc>> = match due {
            Due::Done => None,
            Due::LookAgain(at) => Some(at),
        };
        sqlx::query(
            "WITH later AS (UPDATE deadline SET due_at = $2 WHERE deadline_id = $1 AND $2 IS NOT NULL)
             DELETE FROM deadline WHERE deadline_id = $1 AND $2 IS NULL",
        )
        .bind(deadline_id)
        .bind(later)
        .execute(&self.pool)
        .await
        .map(|_| ())
    }
}
