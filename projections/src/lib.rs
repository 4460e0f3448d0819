//! Read models: the projector that keeps them true to the log, their tables, and the search index.
//! Knows no command; meets `commands` only in domain events.

/// Follows the log and applies it, exactly once.
pub mod projector;

/// What could not be applied, and how it is after all.
pub mod parked;

/// Tables that keep the aggregate itself.
pub mod state;

/// Rows lately read, in memory.
pub mod cache;

/// Products, variants, categories.
pub mod product;

/// What can be had of each variant.
pub mod stock;

/// Carts.
pub mod cart;

/// Orders and their payments.
pub mod order;

/// Promotions and coupons.
pub mod promotion;

/// The index: documents in, answers out.
pub mod search;

/// What shoppers search for, in sums; fed by the gateway.
pub mod query_log;

/// The index kept true to the log, in one process.
pub mod replica;

use infra::feed::Feed;
use infra::sealing::Sealer;
use infra::task::TaskGroup;
use sqlx::PgPool;

use crate::cart::CartProjection;
use crate::order::OrderProjection;
use crate::parked::{Action, ParkedError, Released};
use crate::product::ProductProjection;
use crate::projector::{Progress, Projection, Projector};
use crate::promotion::PromotionProjection;
use crate::stock::StockProjection;

/// The projections that have tables, in the order of their schemas. A new one is entered in each function below.
pub const NAMES: [&str; 5] =
    [ProductProjection::NAME, StockProjection::NAME, CartProjection::NAME, OrderProjection::NAME, PromotionProjection::NAME];

/// Connections of the pool that [`spawn_all`] is given: to write and to read ahead for each projection, one to spare.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub const CONNECTIONS_MAX: u32 = 2 * NAMES.len() as u32 + 1;

/// The schemas that hold the live versions of all read models.
#[must_use]
pub fn search_path() -> Vec<String> {
    vec![
        projector::schema::<ProductProjection>(),
        projector::schema::<StockProjection>(),
        projector::schema::<CartProjection>(),
        projector::schema::<OrderProjection>(),
        projector::schema::<PromotionProjection>(),
    ]
}

/// Creates the schemas, tables and checkpoints that are missing.
pub async fn migrate_all(pool: &PgPool) -> Result<(), sqlx::Error> {
    projector::migrate::<ProductProjection>(pool).await?;
    projector::migrate::<StockProjection>(pool).await?;
    projector::migrate::<CartProjection>(pool).await?;
    projector::migrate::<OrderProjection>(pool).await?;
    projector::migrate::<PromotionProjection>(pool).await?;
    query_log::migrate(pool).await
}

/// Starts one task for each projection.
pub fn spawn_all(group: &mut TaskGroup, pool: &PgPool, feed: &Feed, sealer: &Sealer, progress: &Progress) {
    spawn::<ProductProjection>(group, pool, feed, sealer, progress);
    spawn::<StockProjection>(group, pool, feed, sealer, progress);
    spawn::<CartProjection>(group, pool, feed, sealer, progress);
    spawn::<OrderProjection>(group, pool, feed, sealer, progress);
    spawn::<PromotionProjection>(group, pool, feed, sealer, progress);
}

/// Sets a projection back to the log's beginning. `false`: there is none of this name.
pub async fn rebuild(pool: &PgPool, name: &str) -> Result<bool, sqlx::Error> {
    match name {
        ProductProjection::NAME => projector::rebuild::<ProductProjection>(pool).await?,
        StockProjection::NAME => projector::rebuild::<StockProjection>(pool).await?,
        CartProjection::NAME => projector::rebuild::<CartProjection>(pool).await?,
        OrderProjection::NAME => projector::rebuild::<OrderProjection>(pool).await?,
        PromotionProjection::NAME => projector::rebuild::<PromotionProjection>(pool).await?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Applies a projection's parked stream after all, from the event at `position` on.
pub async fn release(pool: &PgPool, sealer: &Sealer, name: &str, position: i64, action: Action) -> Result<Released, ParkedError> {
    match name {
        ProductProjection::NAME => parked::release::<ProductProjection>(pool, sealer, position, action).await,
        StockProjection::NAME => parked::release::<StockProjection>(pool, sealer, position, action).await,
        CartProjection::NAME => parked::release::<CartProjection>(pool, sealer, position, action).await,
        OrderProjection::NAME => parked::release::<OrderProjection>(pool, sealer, position, action).await,
        PromotionProjection::NAME => parked::release::<PromotionProjection>(pool, sealer, position, action).await,
        _ => Err(ParkedError::NotParked),
    }
}

fn spawn<P: Projection>(group: &mut TaskGroup, pool: &PgPool, feed: &Feed, sealer: &Sealer, progress: &Progress) {
    let projector = Projector::<P>::new(pool.clone(), feed.clone(), sealer.clone(), progress.clone());
    let stop = group.stop_signal();
    group.spawn(P::NAME, projector.run(stop));
}
