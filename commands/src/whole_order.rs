//! An order with its payments, as one place in the log has them: what answers are made from.

use cqrs_es::Aggregate;
use domain::event::{Event, Root};
use domain::id::{OrderId, PaymentId};
use domain::order::{Order, OrderStage};
use domain::payment::{Payment, PaymentStatus};
use infra::event_log::StoredEvent;

use crate::answer::{Failure, Refusal};
use crate::checkout::order_key;
use crate::loader::{Loader, version_number};
use crate::streams::{Stop, Streams};

#[derive(Debug, Clone)]
pub struct WholeOrder {
    pub order_id: OrderId,
    pub order: Order,
    pub version: i64,
    payments: Vec<Attempted>,
}

#[derive(Debug, Clone)]
struct Attempted {
    payment_id: PaymentId,
    payment: Payment,
    version: i64,
}

impl WholeOrder {
    /// As a decision leaves it.
    pub(crate) fn after(streams: &mut Streams<'_>, order_id: OrderId) -> Result<Self, Stop> {
        let (order, version) = streams.outcome::<Order>(&order_key(order_id))?;
        let attempts = order.placed().ok_or_else(|| Refusal::not_found("order"))?.payments.clone();
        streams.need::<Payment>(attempts.iter().map(ToString::to_string))?;
        let mut payments = Vec::with_capacity(attempts.len());
        for payment_id in attempts {
            let (payment, version) = streams.outcome::<Payment>(&payment_id.to_string())?;
            payments.push(Attempted { payment_id, payment, version });
        }
        Ok(Self { order_id, order, version, payments })
    }

    /// As of a position of the log.
    pub async fn load_as_of(loader: &Loader, order_id: OrderId, position: i64) -> Result<Self, Failure> {
        let (order, version) = loader.load_as_of::<Order>(&order_key(order_id), position).await?;
        let attempts = order.placed().map(|placed| placed.payments.clone()).unwrap_or_default();
        let mut payments = Vec::with_capacity(attempts.len());
        for payment_id in attempts {
            let (payment, version) = loader.load_as_of::<Payment>(&payment_id.to_string(), position).await?;
            payments.push(Attempted { payment_id, payment, version });
        }
        Ok(Self { order_id, order, version, payments })
    }

    /// Its payments, the first attempt first.
    pub fn payments(&self) -> impl Iterator<Item = &Payment> {
        self.payments.iter().map(|attempted| &attempted.payment)
    }

    /// Whether the outcome of a payment decides what becomes of it, and nobody but the provider can bring it about.
    #[must_use]
    pub fn waits_for_payment(&self) -> bool {
        let Some(order) = self.order.placed().filter(|order| order.stage == OrderStage::PendingPayment) else { return false };
        let Some(live) = &order.live_payment else { return false };
        let attempted = self.payments.iter().find(|attempted| attempted.payment_id == live.payment_id);
        attempted.is_none_or(|attempted| attempted.payment.status() != PaymentStatus::RequiresAction)
    }

    /// Whether an event is one of its own.
    #[must_use]
    pub fn has(&self, event: &StoredEvent) -> bool {
        match event.aggregate_type.as_str() {
            Order::TYPE => event.aggregate_id == order_key(self.order_id),
            Payment::TYPE => {
                let attempts = self.order.placed().map(|placed| placed.payments.as_slice()).unwrap_or_default();
                event.aggregate_id.parse().is_ok_and(|payment_id: PaymentId| attempts.contains(&payment_id))
            }
            _ => false,
        }
    }

    /// Takes in its next event, opened; one that it has seen changes nothing. `false`: an earlier one is missing.
    pub fn apply(&mut self, event: &StoredEvent) -> Result<bool, Failure> {
        if event.aggregate_type == Order::TYPE {
            return next(&mut self.order, &mut self.version, event);
        }
        let Ok(payment_id) = event.aggregate_id.parse::<PaymentId>() else { return Ok(false) };
        let known = self.payments.iter().position(|attempted| attempted.payment_id == payment_id);
        let index = known.unwrap_or_else(|| {
            self.payments.push(Attempted { payment_id, payment: Payment::default(), version: 0 });
            self.payments.len() - 1
        });
        let Attempted { payment, version, .. } = &mut self.payments[index];
        next(payment, version, event)
    }
}

fn next<A: Root>(aggregate: &mut A, version: &mut i64, event: &StoredEvent) -> Result<bool, Failure> {
    if event.sequence == *version + 1 {
        aggregate.apply(A::Event::from_payload(&event.event_type, version_number(&event.event_version), &event.payload)?);
        *version = event.sequence;
    }
    Ok(event.sequence <= *version)
}
