//! Carts as they are read: the cart itself, found by the keyed hash of its public id.

use cqrs_es::Aggregate;
use domain::cart::Cart;
use domain::customer::Subject;
use infra::event_log::StoredEvent;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::projector::{ApplyError, Projection};
use crate::state::{self, Changed, Folded, Row, erase_personal, erased_subjects, json_bytes, strides};

/// The table `cart`, one row to a cart.
#[derive(Debug, Clone, Copy, Default)]
pub struct CartProjection;

impl Projection for CartProjection {
    const NAME: &'static str = "cart";
    const VERSION: i32 = 1;
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
            put(carts, connection).await?;
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

async fn put(carts: &[Changed<'_, Cart>], connection: &mut PgConnection) -> Result<(), ApplyError> {
    sqlx::query(
        "INSERT INTO cart (id, version, position, state, subject_id, status, updated_at)
         SELECT id, version, position, state::json, subject_id, status, updated_at
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::timestamptz[])
              AS new (id, version, position, state, subject_id, status, updated_at)
         ON CONFLICT ON CONSTRAINT cart_pk DO UPDATE SET version = EXCLUDED.version, position = EXCLUDED.position,
             state = EXCLUDED.state, subject_id = EXCLUDED.subject_id, status = EXCLUDED.status, updated_at = EXCLUDED.updated_at",
    )
    .bind(carts.iter().map(|c| c.id).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.version).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.position).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.json.as_str()).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.state.subject_id.uuid()).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.state.stage.as_str()).collect::<Vec<_>>())
    .bind(carts.iter().map(|c| c.recorded_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
