//! Orders as they are read, and the payments of each.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::customer::Subject;
use domain::order::{Order, PlacedOrder};
use domain::payment::{Payment, PaymentStatus, order_payment_status};
use infra::event_log::StoredEvent;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::projector::{ApplyError, Projection, Step};
use crate::state::{Changed, Folded, Row, decode_row, erase_personal, erased_subjects, is_one_stride, json_bytes, strides};

/// The tables `order` and `payment`, one row to each aggregate.
#[derive(Debug, Clone, Copy, Default)]
pub struct OrderProjection;

impl Projection for OrderProjection {
    const NAME: &'static str = "order";
    const VERSION: i32 = 2;
    const DDL: &'static str = include_str!("order.sql");
    const TABLES: &'static [(&'static str, &'static str)] = &[(Order::TYPE, "\"order\""), (Payment::TYPE, "payment")];

    const TYPES: &'static [&'static str] = &[Order::TYPE, Payment::TYPE, Subject::TYPE];
    type States = OrderStates;

    async fn fold(events: &[StoredEvent], states: &mut OrderStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        states.orders.fold(events, connection, "\"order\"").await?;
        states.payments.fold(events, connection, "payment").await?;
        states.show_payments(events.last().map_or(0, |event| event.position), connection).await?;
        states.erased.extend(erased_subjects(events, "order")?);
        Ok(())
    }

    async fn write(states: &mut OrderStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let orders = states.orders.unwritten()?;
        for orders in strides(&orders) {
            put(orders, &[], &states.payments, &Step::TAKEN, connection).await?;
        }
        let payments = states.payments.unwritten()?;
        for payments in strides(&payments) {
            put(&[], payments, &states.payments, &Step::TAKEN, connection).await?;
        }
        let bytes = (json_bytes(&orders), json_bytes(&payments));
        states.written(bytes);
        if !states.erased.is_empty() {
            let select = "SELECT id, state::text FROM \"order\" WHERE subject_id = ANY ($1)";
            erase_personal(connection, Order::TYPE, select, &states.erased).await?;
            *states = OrderStates::default();
        }
        Ok(())
    }

    async fn write_with(states: &mut OrderStates, step: &Step, connection: &mut PgConnection) -> Result<Option<bool>, ApplyError> {
        let (orders, payments) = (states.orders.unwritten()?, states.payments.unwritten()?);
        if !states.erased.is_empty() || !is_one_stride(&orders) || !is_one_stride(&payments) {
            return Ok(None);
        }
        let taken = put(&orders, &payments, &states.payments, step, connection).await?;
        let bytes = (json_bytes(&orders), json_bytes(&payments));
        states.written(bytes);
        Ok(Some(taken))
    }
}

/// Orders and payments as they are folded, and the subjects whose data was erased since the last write.
#[derive(Debug, Default)]
pub struct OrderStates {
    orders: Folded<Order>,
    payments: Folded<Payment>,
    erased: Vec<Uuid>,
}

impl OrderStates {
    /// An order's row shows what became of its payments: those that have changed change it, and all of them are needed for it.
    async fn show_payments(&mut self, position: i64, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let order_of = |id: &str| self.payments.get(id)?.created.as_ref().map(|created| created.order_id.to_string());
        let changed: Vec<String> = self.payments.unwritten_ids().filter_map(order_of).collect();
        self.orders.hold(&changed.iter().map(String::as_str).collect::<Vec<_>>(), position, connection, "\"order\"").await?;
        for id in &changed {
            self.orders.touch(id);
        }
        let shown = self.orders.unwritten_ids().filter_map(|id| self.orders.get(id)?.placed());
        let needed: Vec<String> = shown.flat_map(|placed| placed.payments.iter().map(ToString::to_string)).collect();
        self.payments.hold(&needed.iter().map(String::as_str).collect::<Vec<_>>(), position, connection, "payment").await
    }

    fn written(&mut self, (orders, payments): (usize, usize)) {
        self.orders.written(orders);
        self.payments.written(payments);
    }
}

/// An order and its payments, the first attempt first, all read in one snapshot.
#[derive(Debug, Clone)]
pub struct OrderRow {
    pub order: Row<Order>,
    pub payments: Vec<Row<Payment>>,
}

/// An order by its id.
pub async fn find(pool: &PgPool, id: &str) -> Result<Option<OrderRow>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, String, bool)> = sqlx::query_as(
        "SELECT id, version, position, state::text, false FROM payment WHERE order_id = $1
         UNION ALL SELECT id, version, position, state::text, true FROM \"order\" WHERE id = $1
         ORDER BY 5, 1",
    )
    .bind(id)
    .fetch_all(pool)
    .await?;
    let (mut order, mut payments) = (None, Vec::new());
    for (id, version, position, state, is_order) in rows {
        if is_order {
            order = Some(decode_row((id, version, position, state))?);
        } else {
            payments.push(decode_row((id, version, position, state))?);
        }
    }
    Ok(order.map(|order| OrderRow { order, payments }))
}

/// Which orders a list shows: those for which all that is named holds.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<String>,
    pub payment_status: Option<String>,
    pub fulfilment_status: Option<String>,
    pub on_hold: Option<bool>,
    pub number: Option<String>,
    pub placed_from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub placed_to: Option<DateTime<Utc>>,
}

/// One page of orders, the newest first; `before` is the last id of the page before.
pub async fn list(pool: &PgPool, filter: &Filter, before: Option<&str>, limit: i64) -> Result<Vec<Row<Order>>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, String)> = sqlx::query_as(
        "SELECT id, version, position, state::text FROM \"order\" o
         WHERE ($1::text IS NULL OR status = $1)
           AND ($2::text IS NULL OR (placed_at, id) < (SELECT b.placed_at, b.id FROM \"order\" b WHERE b.id = $2))
           AND ($4::text IS NULL OR payment_status = $4) AND ($5::text IS NULL OR fulfilment_status = $5)
           AND ($6::boolean IS NULL OR on_hold = $6) AND ($7::text IS NULL OR number = $7)
           AND ($8::timestamptz IS NULL OR placed_at >= $8) AND ($9::timestamptz IS NULL OR placed_at < $9)
         ORDER BY placed_at DESC, id DESC LIMIT $3",
    )
    .bind(&filter.status)
    .bind(before)
    .bind(limit)
    .bind(&filter.payment_status)
    .bind(&filter.fulfilment_status)
    .bind(filter.on_hold)
    .bind(&filter.number)
    .bind(filter.placed_from)
    .bind(filter.placed_to)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(decode_row::<Order>).collect()
}

/// The payments of several orders, by order, the first attempt first.
pub async fn payments_of(pool: &PgPool, order_ids: &[String]) -> Result<HashMap<String, Vec<Payment>>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, String, String)> =
        sqlx::query_as("SELECT id, version, position, state::text, order_id FROM payment WHERE order_id = ANY ($1) ORDER BY id")
            .bind(order_ids)
            .fetch_all(pool)
            .await?;
    let mut payments: HashMap<String, Vec<Payment>> = HashMap::new();
    for (id, version, position, state, order_id) in rows {
        let row = decode_row::<Payment>((id, version, position, state))?;
        payments.entry(order_id).or_default().push(row.state);
    }
    Ok(payments)
}

/// Whether a person has orders that are not ended.
pub async fn has_open(pool: &PgPool, subject_id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM \"order\" WHERE subject_id = $1 AND status IN ('pending_payment', 'confirmed'))")
        .bind(subject_id)
        .fetch_one(pool)
        .await
}

static PUT: LazyLock<String> = LazyLock::new(|| {
    Step::statement(
        "orders AS (
         INSERT INTO \"order\" (id, version, position, state, number, subject_id, status, placed_at, payment_status, fulfilment_status, on_hold)
         SELECT id, version, position, state::json, number, subject_id, status, placed_at, payment_status, fulfilment_status, on_hold
         FROM unnest($6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::uuid[], $12::text[], $13::timestamptz[],
                     $19::text[], $20::text[], $21::boolean[])
              AS new (id, version, position, state, number, subject_id, status, placed_at, payment_status, fulfilment_status, on_hold)
         WHERE (SELECT is_taken FROM step)
         ON CONFLICT ON CONSTRAINT order_pk DO UPDATE SET version = EXCLUDED.version, position = EXCLUDED.position,
             state = EXCLUDED.state, status = EXCLUDED.status, payment_status = EXCLUDED.payment_status,
             fulfilment_status = EXCLUDED.fulfilment_status, on_hold = EXCLUDED.on_hold),
         payments AS (
         INSERT INTO payment (id, version, position, state, order_id)
         SELECT id, version, position, state::json, order_id
         FROM unnest($14::text[], $15::bigint[], $16::bigint[], $17::text[], $18::text[]) AS new (id, version, position, state, order_id)
         WHERE (SELECT is_taken FROM step)
         ON CONFLICT ON CONSTRAINT payment_pk DO UPDATE SET version = EXCLUDED.version, position = EXCLUDED.position,
             state = EXCLUDED.state)",
    )
});

async fn put(
    orders: &[Changed<'_, Order>],
    payments: &[Changed<'_, Payment>],
    all_payments: &Folded<Payment>,
    step: &Step,
    connection: &mut PgConnection,
) -> Result<bool, ApplyError> {
    let placed: Vec<_> = orders.iter().filter_map(|changed| Some((changed, changed.state.placed()?))).collect();
    let created: Vec<_> = payments.iter().filter_map(|changed| Some((changed, changed.state.created.as_ref()?))).collect();
    let put = step
        .bind(&PUT)
        .bind(placed.iter().map(|(c, _)| c.id).collect::<Vec<_>>())
        .bind(placed.iter().map(|(c, _)| c.version).collect::<Vec<_>>())
        .bind(placed.iter().map(|(c, _)| c.position).collect::<Vec<_>>())
        .bind(placed.iter().map(|(c, _)| c.json.as_str()).collect::<Vec<_>>())
        .bind(placed.iter().map(|(_, p)| p.facts.number.as_str()).collect::<Vec<_>>())
        .bind(placed.iter().map(|(_, p)| p.facts.subject_id.uuid()).collect::<Vec<_>>())
        .bind(placed.iter().map(|(c, _)| c.state.status()).collect::<Vec<_>>())
        .bind(placed.iter().map(|(_, p)| p.facts.placed_at).collect::<Vec<_>>())
        .bind(created.iter().map(|(c, _)| c.id).collect::<Vec<_>>())
        .bind(created.iter().map(|(c, _)| c.version).collect::<Vec<_>>())
        .bind(created.iter().map(|(c, _)| c.position).collect::<Vec<_>>())
        .bind(created.iter().map(|(c, _)| c.json.as_str()).collect::<Vec<_>>())
        .bind(created.iter().map(|(_, p)| p.order_id.to_string()).collect::<Vec<_>>())
        .bind(placed.iter().map(|(_, p)| payment_status(p, all_payments).as_str()).collect::<Vec<_>>())
        .bind(placed.iter().map(|(_, p)| p.fulfilment_status().as_str()).collect::<Vec<_>>())
        .bind(placed.iter().map(|(_, p)| p.on_hold.is_some()).collect::<Vec<_>>());
    Ok(put.fetch_one(connection).await?)
}

fn payment_status(order: &PlacedOrder, payments: &Folded<Payment>) -> PaymentStatus {
    let attempts = order.payments.iter().filter_map(|payment_id| payments.get(&payment_id.to_string()));
    order_payment_status(order.amount_owed().unwrap_or(order.facts.totals.total), attempts)
}
