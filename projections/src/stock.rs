//! Stock as it is read: what can be had of each variant, summed over its locations, and the whole item behind it.

use std::collections::HashMap;
use std::sync::LazyLock;

use cqrs_es::Aggregate;
use domain::event::Event;
use domain::id::{LocationId, VariantId};
use domain::inventory::{Level, Part, StockEvent, StockItem, StockPolicy};
use infra::event_log::StoredEvent;
use sqlx::{FromRow, PgConnection, PgPool};

use crate::projector::{ApplyError, Projection, Step};
use crate::state::{Changed, Folded, is_one_stride, json_bytes, strides};

/// The table `stock`, one row to a variant.
#[derive(Debug, Clone, Copy, Default)]
pub struct StockProjection;

impl Projection for StockProjection {
    const NAME: &'static str = "stock";
    const VERSION: i32 = 1;
    const DDL: &'static str = include_str!("stock.sql");
    const TABLES: &'static [(&'static str, &'static str)] = &[(StockItem::TYPE, "stock")];

    const TYPES: &'static [&'static str] = &[StockItem::TYPE];
    type States = StockStates;

    async fn fold(events: &[StoredEvent], states: &mut StockStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        states.items.fold(events, connection, "stock").await?;
        for event in events {
            let allocated = allocated(event)?;
            if allocated > 0 {
                *states.sold.entry(event.aggregate_id.clone()).or_default() += allocated;
            }
        }
        Ok(())
    }

    async fn write(states: &mut StockStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let items = states.items.unwritten()?;
        for items in strides(&items) {
            put(items, &states.sold, &Step::TAKEN, connection).await?;
        }
        let bytes = json_bytes(&items);
        states.written(bytes);
        Ok(())
    }

    async fn write_with(states: &mut StockStates, step: &Step, connection: &mut PgConnection) -> Result<Option<bool>, ApplyError> {
        let items = states.items.unwritten()?;
        if !is_one_stride(&items) {
            return Ok(None);
        }
        let taken = put(&items, &states.sold, step, connection).await?;
        let bytes = json_bytes(&items);
        states.written(bytes);
        Ok(Some(taken))
    }
}

/// Items as they are folded, and what was sold of them since the last write.
#[derive(Debug, Default)]
pub struct StockStates {
    items: Folded<StockItem>,
    /// Units given to orders, by variant.
    sold: HashMap<String, i64>,
}

impl StockStates {
    fn written(&mut self, bytes: usize) {
        self.items.written(bytes);
        self.sold.clear();
    }
}

/// The numbers of one variant, in units.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct StockLevel {
    /// The variant's id.
    pub id: String,
    /// Of the newest event behind these numbers.
    pub position: i64,
    pub on_hand: i64,
    pub allocated: i64,
    pub reserved: i64,
    /// Negative when more is promised than there is.
    pub available: i64,
    /// `deny`, `backorder` or `preorder`.
    pub policy: String,
    pub backorder_left: i64,
}

impl StockLevel {
    /// Of an item as of a position.
    #[must_use]
    pub fn of(variant_id: VariantId, position: i64, item: &StockItem) -> Self {
        let sum = |units: fn(&Level) -> i64| item.levels.iter().map(|(_, level)| units(level)).sum();
        let (policy, limit) = match item.policy {
            StockPolicy::Deny => ("deny", 0),
            StockPolicy::Backorder { limit } => ("backorder", limit.unwrap_or(u32::MAX)),
            StockPolicy::Preorder { limit } => ("preorder", limit.unwrap_or(u32::MAX)),
        };
        let promised = (-item.available()).max(0);
        Self {
            id: variant_id.to_string(),
            position,
            on_hand: sum(|level| level.on_hand),
            allocated: sum(|level| level.allocated),
            reserved: sum(|level| level.reserved),
            available: item.available(),
            policy: policy.to_owned(),
            backorder_left: (i64::from(limit) - promised).max(0),
        }
    }
}

/// Whether a variant can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    InStock,
    /// It can be ordered, but is not there.
    Backorder,
    OutOfStock,
}

impl Availability {
    /// Of a variant whose stock is counted; without a row none was ever taken in.
    #[must_use]
    pub fn of(level: Option<&StockLevel>) -> Self {
        match level {
            Some(level) if level.available > 0 => Self::InStock,
            Some(level) if level.backorder_left > 0 => Self::Backorder,
            _ => Self::OutOfStock,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InStock => "in_stock",
            Self::Backorder => "backorder",
            Self::OutOfStock => "out_of_stock",
        }
    }
}

/// The numbers of these variants; those without stock are not in it.
pub async fn levels(pool: &PgPool, variant_ids: &[VariantId]) -> Result<HashMap<VariantId, StockLevel>, sqlx::Error> {
    let ids: Vec<String> = variant_ids.iter().map(ToString::to_string).collect();
    let found: Vec<StockLevel> = sqlx::query_as(
        "SELECT id, position, on_hand, allocated, reserved, available, policy, backorder_left
         FROM stock WHERE id = ANY ($1)",
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    found
        .into_iter()
        .map(|level| Ok((level.id.parse()?, level)))
        .collect::<Result<_, uuid::Error>>()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Of how many variants something lies at a location, is promised there, is on its way there or is kept back there.
pub async fn variants_at(pool: &PgPool, location_id: LocationId) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM stock, LATERAL (SELECT state -> 'levels' -> $1 AS level) l
         WHERE level IS NOT NULL
           AND EXISTS (SELECT FROM json_each_text(level) WHERE key IN ('on_hand', 'allocated', 'reserved', 'incoming', 'safety')
                       AND value <> '0')",
    )
    .bind(location_id.to_string())
    .fetch_one(pool)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Units that an event gives to an order.
pub(crate) fn allocated(event: &StoredEvent) -> Result<i64, ApplyError> {
    if event.event_type != "StockAllocated" {
        return Ok(0);
    }
    let version = event.event_version.parse().unwrap_or(u16::MAX);
    match StockEvent::from_payload(&event.event_type, version, &event.payload) {
        Ok(StockEvent::StockAllocated(allocated)) => Ok(units(&allocated.parts)),
        Ok(_) => Ok(0),
        Err(error) => Err(ApplyError::Poison { position: event.position, reason: error.to_string() }),
    }
}

fn units(parts: &[Part]) -> i64 {
    parts.iter().map(|part| i64::from(part.quantity)).sum()
}

fn level(item: &Changed<'_, StockItem>) -> Result<StockLevel, ApplyError> {
    let poison = |error: uuid::Error| ApplyError::Poison { position: item.position, reason: error.to_string() };
    Ok(StockLevel::of(item.id.parse().map_err(poison)?, item.position, item.state))
}

static PUT: LazyLock<String> = LazyLock::new(|| {
    Step::statement(
        "items AS (
         INSERT INTO stock (id, version, position, state, on_hand, allocated, reserved, available, policy,
                            backorder_left, sold, created_at)
         SELECT id, version, position, state::json, on_hand, allocated, reserved, available, policy,
                backorder_left, sold, created_at
         FROM unnest($6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[],
                     $13::bigint[], $14::text[], $15::bigint[], $16::bigint[], $17::timestamptz[])
              AS s(id, version, position, state, on_hand, allocated, reserved, available, policy,
                   backorder_left, sold, created_at)
         WHERE (SELECT is_taken FROM step)
         ON CONFLICT ON CONSTRAINT stock_pk DO UPDATE
         SET version = EXCLUDED.version, position = EXCLUDED.position, state = EXCLUDED.state,
             on_hand = EXCLUDED.on_hand, allocated = EXCLUDED.allocated, reserved = EXCLUDED.reserved,
             available = EXCLUDED.available, policy = EXCLUDED.policy,
             backorder_left = EXCLUDED.backorder_left, sold = stock.sold + EXCLUDED.sold)",
    )
});

async fn put(
    items: &[Changed<'_, StockItem>],
    sold: &HashMap<String, i64>,
    step: &Step,
    connection: &mut PgConnection,
) -> Result<bool, ApplyError> {
    let levels: Vec<StockLevel> = items.iter().map(level).collect::<Result<_, _>>()?;
    let put = step
        .bind(&PUT)
        .bind(items.iter().map(|i| i.id).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.version).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.position).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.json.as_str()).collect::<Vec<_>>())
        .bind(levels.iter().map(|l| l.on_hand).collect::<Vec<_>>())
        .bind(levels.iter().map(|l| l.allocated).collect::<Vec<_>>())
        .bind(levels.iter().map(|l| l.reserved).collect::<Vec<_>>())
        .bind(levels.iter().map(|l| l.available).collect::<Vec<_>>())
        .bind(levels.iter().map(|l| l.policy.as_str()).collect::<Vec<_>>())
        .bind(levels.iter().map(|l| l.backorder_left).collect::<Vec<_>>())
        .bind(items.iter().map(|i| sold.get(i.id).copied().unwrap_or(0)).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.first_recorded_at).collect::<Vec<_>>());
    Ok(put.fetch_one(connection).await?)
}
