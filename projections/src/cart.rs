//! Carts as they are read: the cart itself, found by the keyed hash of its public id.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::cart::Cart;
use domain::customer::Subject;
use infra::event_log::StoredEvent;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::projector::{ApplyError, Projection, Step};
use crate::state::{self, Changed, Folded, Row, erase_personal, erased_subjects, is_one_stride, json_bytes, strides};

/// The table `cart`, one row to a cart.
#[derive(Debug, Clone, Copy, Default)]
pub struct CartProjection;

impl Projection for CartProjection {
    const NAME: &'static str = "cart";
    const VERSION: i32 = 2;
    const DDL: &'static str = include_str!("cart.sql");
    const TABLES: &'static [(&'static str, &'static str)] = &[(Cart::TYPE, "cart")];

    const TYPES: &'static [&'static str] = &[Cart::TYPE, Subject::TYPE];
    type States = CartStates;

    async fn fold(events: &[StoredEvent], states: &mut CartStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        states.carts.fold(events, connection, "cart").await?;
        states.erased.extend(erased_subjects(events, "account")?);
        Ok(())
    }

    async fn write(states: &mut CartStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let carts = states.carts.unwritten()?;
        for carts in strides(&carts) {
            put(carts, &Step::TAKEN, connection).await?;
        }
        let bytes = json_bytes(&carts);
        states.carts.written(bytes);
        if !states.erased.is_empty() {
            let select = "SELECT id, state::text FROM cart WHERE subject_id = ANY ($1)";
            erase_personal(connection, Cart::TYPE, select, &states.erased).await?;
            *states = CartStates::default();
        }
        Ok(())
    }

    async fn write_with(states: &mut CartStates, step: &Step, connection: &mut PgConnection) -> Result<Option<bool>, ApplyError> {
        let carts = states.carts.unwritten()?;
        if !states.erased.is_empty() || !is_one_stride(&carts) {
            return Ok(None);
        }
        let taken = put(&carts, step, connection).await?;
        let bytes = json_bytes(&carts);
        states.carts.written(bytes);
        Ok(Some(taken))
    }
}

/// Carts as they are folded, and the subjects whose data was erased since the last write.
#[derive(Debug, Default)]
pub struct CartStates {
    carts: Folded<Cart>,
    erased: Vec<Uuid>,
}

/// A cart, by the keyed hash of its public id.
pub async fn find(pool: &PgPool, key: &str) -> Result<Option<Row<Cart>>, sqlx::Error> {
    state::row(pool, "cart", key).await
}

/// Open carts that nobody has changed since then, with their versions, those first that wait longest.
pub async fn untouched_since(pool: &PgPool, since: DateTime<Utc>, limit: i64) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT id, version FROM cart WHERE status = 'open' AND updated_at < $1 ORDER BY updated_at LIMIT $2")
        .bind(since)
        .bind(limit)
        .fetch_all(pool)
        .await
}

static PUT: LazyLock<String> = LazyLock::new(|| {
    Step::statement(
        "carts AS (
         INSERT INTO cart (id, version, position, state, subject_id, status, updated_at)
         SELECT id, version, position, state::json, subject_id, status, updated_at
         FROM unnest($6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::uuid[], $11::text[], $12::timestamptz[])
              AS new (id, version, position, state, subject_id, status, updated_at)
         WHERE (SELECT is_taken FROM step)
         ON CONFLICT ON CONSTRAINT cart_pk DO UPDATE SET version = EXCLUDED.version, position = EXCLUDED.position,
             state = EXCLUDED.state, subject_id = EXCLUDED.subject_id, status = EXCLUDED.status, updated_at = EXCLUDED.updated_at)",
    )
});

async fn put(carts: &[Changed<'_, Cart>], step: &Step, connection: &mut PgConnection) -> Result<bool, ApplyError> {
    let put = step
        .bind(&PUT)
        .bind(carts.iter().map(|c| c.id).collect::<Vec<_>>())
        .bind(carts.iter().map(|c| c.version).collect::<Vec<_>>())
        .bind(carts.iter().map(|c| c.position).collect::<Vec<_>>())
        .bind(carts.iter().map(|c| c.json.as_str()).collect::<Vec<_>>())
        .bind(carts.iter().map(|c| c.state.subject_id.uuid()).collect::<Vec<_>>())
        .bind(carts.iter().map(|c| c.state.stage.as_str()).collect::<Vec<_>>())
        .bind(carts.iter().map(|c| c.recorded_at).collect::<Vec<_>>());
    Ok(put.fetch_one(connection).await?)
}
