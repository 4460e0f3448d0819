//! Carts as they are read: the cart itself, found by the keyed hash of its public id.

use cqrs_es::Aggregate;
use domain::cart::Cart;
use infra::event_log::StoredEvent;
use sqlx::{PgConnection, PgPool};

use crate::projector::{ApplyError, Projection};
use crate::state::{self, Row, erase_personal, erased_subjects, fold_onto};

/// The table `cart`, one row to a cart.
#[derive(Debug, Clone, Copy, Default)]
pub struct CartProjection;

impl Projection for CartProjection {
    const NAME: &'static str = "cart";
    const VERSION: i32 = 1;
    const DDL: &'static str = include_str!("cart.sql");
    const TABLES: &'static [(&'static str, &'static str)] = &[(Cart::TYPE, "cart")];

    fn takes(aggregate_type: &str) -> bool {
        matches!(aggregate_type, "cart" | "subject")
    }

    async fn apply(&self, events: &[StoredEvent], connection: &mut PgConnection) -> Result<(), ApplyError> {
        put(events, connection).await?;
        let erased = erased_subjects(events, "account")?;
        erase_personal(connection, Cart::TYPE, "SELECT id, state::text FROM cart WHERE subject_id = ANY ($1)", &erased).await
    }
}

/// A cart, by the keyed hash of its public id.
pub async fn find(pool: &PgPool, key: &str) -> Result<Option<Row<Cart>>, sqlx::Error> {
    state::row(pool, "cart", key).await
}

async fn put(events: &[StoredEvent], connection: &mut PgConnection) -> Result<(), ApplyError> {
    let carts = fold_onto::<Cart>(events, connection, "cart").await?;
    if carts.is_empty() {
        return Ok(());
    }
    let states = carts.iter().map(state::Changed::state_json).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT INTO cart (id, version, position, state, subject_id, status, updated_at)
         SELECT id, version, position, state::json, subject_id, status, updated_at
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::timestamptz[])
              AS new (id, version, position, state, subject_id, status, updated_at)
         ON CONFLICT ON CONSTRAINT cart_pk DO UPDATE SET version = EXCLUDED.version, position = EXCLUDED.position,
             state = EXCLUDED.state, subject_id = EXCLUDED.subject_id, status = EXCLUDED.status, updated_at = EXCLUDED.updated_at",
    )
    .bind(carts.iter().map(|c| c.id.as_str()).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.version).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.position).collect::<Vec<_>>())
    .bind(states)
    .bind(carts.iter().map(|c| c.state.subject_id.uuid()).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.state.stage.as_str()).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.recorded_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
