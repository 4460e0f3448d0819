//! Promotions as they are read: each with its coupons and how often they were used.

use std::sync::LazyLock;

use cqrs_es::Aggregate;
use domain::promotion::Promotion;
use infra::event_log::StoredEvent;
use sqlx::{PgConnection, PgPool};

use crate::projector::{ApplyError, Projection, Step};
use crate::state::{Changed, Folded, Row, decode_row, is_one_stride, json_bytes, strides};

/// The table `promotion`, one row to a promotion.
#[derive(Debug, Clone, Copy, Default)]
pub struct PromotionProjection;

impl Projection for PromotionProjection {
    const NAME: &'static str = "promotion";
    const VERSION: i32 = 1;
    const DDL: &'static str = include_str!("promotion.sql");
    const TABLES: &'static [(&'static str, &'static str)] = &[(Promotion::TYPE, "promotion")];

    const TYPES: &'static [&'static str] = &[Promotion::TYPE];
    type States = Folded<Promotion>;

    async fn fold(events: &[StoredEvent], states: &mut Self::States, connection: &mut PgConnection) -> Result<(), ApplyError> {
        states.fold(events, connection, "promotion").await
    }

    async fn write(states: &mut Self::States, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let promotions = states.unwritten()?;
        for promotions in strides(&promotions) {
            put(promotions, &Step::TAKEN, connection).await?;
        }
        let bytes = json_bytes(&promotions);
        states.written(bytes);
        Ok(())
    }

    async fn write_with(states: &mut Self::States, step: &Step, connection: &mut PgConnection) -> Result<Option<bool>, ApplyError> {
        let promotions = states.unwritten()?;
        if !is_one_stride(&promotions) {
            return Ok(None);
        }
        let taken = put(&promotions, step, connection).await?;
        let bytes = json_bytes(&promotions);
        states.written(bytes);
        Ok(Some(taken))
    }
}

/// One page of all promotions, the newest first; `before` is the last id of the page before.
pub async fn list(pool: &PgPool, before: Option<&str>, limit: i64) -> Result<Vec<Row<Promotion>>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, String)> = sqlx::query_as(
        "SELECT id, version, position, state::text FROM promotion WHERE $1::text IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(decode_row).collect()
}

/// The automatic promotions that have not ended, the oldest first, at most so many.
pub async fn automatic(pool: &PgPool, limit: i64) -> Result<Vec<Row<Promotion>>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, String)> =
        sqlx::query_as("SELECT id, version, position, state::text FROM promotion WHERE is_automatic ORDER BY id LIMIT $1")
            .bind(limit)
            .fetch_all(pool)
            .await?;
    rows.into_iter().map(decode_row).collect()
}

/// Promotions by their ids, in no order.
pub async fn find(pool: &PgPool, ids: &[String]) -> Result<Vec<Row<Promotion>>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, String)> =
        sqlx::query_as("SELECT id, version, position, state::text FROM promotion WHERE id = ANY ($1)").bind(ids).fetch_all(pool).await?;
    rows.into_iter().map(decode_row).collect()
}

static PUT: LazyLock<String> = LazyLock::new(|| {
    Step::statement(
        "promotions AS (
         INSERT INTO promotion (id, version, position, state, is_automatic)
         SELECT id, version, position, state::json, is_automatic
         FROM unnest($6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::boolean[]) AS new (id, version, position, state, is_automatic)
         WHERE (SELECT is_taken FROM step)
         ON CONFLICT ON CONSTRAINT promotion_pk DO UPDATE SET version = EXCLUDED.version, position = EXCLUDED.position,
             state = EXCLUDED.state, is_automatic = EXCLUDED.is_automatic)",
    )
});

async fn put(promotions: &[Changed<'_, Promotion>], step: &Step, connection: &mut PgConnection) -> Result<bool, ApplyError> {
    let put = step
        .bind(&PUT)
        .bind(promotions.iter().map(|c| c.id).collect::<Vec<_>>())
        .bind(promotions.iter().map(|c| c.version).collect::<Vec<_>>())
        .bind(promotions.iter().map(|c| c.position).collect::<Vec<_>>())
        .bind(promotions.iter().map(|c| c.json.as_str()).collect::<Vec<_>>())
        .bind(promotions.iter().map(|c| c.state.is_automatic()).collect::<Vec<_>>());
    Ok(put.fetch_one(connection).await?)
}
