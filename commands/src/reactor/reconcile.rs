//! The provider's own list of operations, held against the log: what no answer and no webhook has told us is recorded, and money
//! that belongs to no payment of ours is parked for a person, with an alarm.

use std::time::Duration;

use domain::id::PaymentId;
use domain::payment::{Payment, PaymentCommand};
use infra::task::CancellationToken;
use sqlx::PgPool;

use super::{Reactor, record_told};
use crate::answer::{CommandError, Failure};
use crate::payment::{Reported, reported};
use crate::provider::{FactKind, ForeignOperation, OPERATIONS_PAGE_MAX, ProviderError, ProviderFact};

/// The only provider there is; its row in the tables.
const PROVIDER: &str = "sandbox";
/// The provider's answer when its list is not the one that was read before.
const CURSOR_UNKNOWN: &str = "cursor_unknown";

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("the database can't be used")]
    Database(#[from] sqlx::Error),
    #[error("the provider's list can't be read")]
    Provider(#[from] ProviderError),
    #[error("a payment can't be read")]
    Ours(#[from] Failure),
    #[error("an outcome can't be recorded")]
    Record(#[from] CommandError),
}

impl Reactor {
    pub(super) async fn reconcile(&self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.reconcile_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tokio::select! { () = stop.cancelled() => return, _ = ticks.tick() => {} }
            if !self.writer.is_active() || self.provider.is_none() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                reconciled = self.reconcile_all() => if let Err(error) = reconciled {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the provider's list was not reconciled; trying again");
                },
            }
        }
    }

    async fn reconcile_all(&self) -> Result<(), ReconcileError> {
        let Some(provider) = &self.provider else { return Ok(()) };
        let cursor: Option<i64> =
            sqlx::query_scalar("SELECT cursor FROM reconciliation WHERE provider = $1").bind(PROVIDER).fetch_optional(&self.pool).await?;
        let mut cursor = cursor.and_then(|cursor| u64::try_from(cursor).ok()).unwrap_or(0);
        loop {
            let page = match provider.operations_after(cursor, OPERATIONS_PAGE_MAX).await {
                Err(ProviderError::Rejected { code }) if code == CURSOR_UNKNOWN && cursor > 0 => {
                    tracing::error!(cursor, "the provider's list is shorter than it was; it is read from its beginning");
                    cursor = 0;
                    continue;
                }
                page => page?,
            };
            let mut known: Option<(PaymentId, Payment)> = None;
            for fact in &page.facts {
                self.reconcile_fact(fact, &mut known).await?;
            }
            for foreign in page.foreign.iter().filter(|foreign| foreign.moves_money) {
                park_unmatched(&self.pool, foreign).await?;
            }
            cursor = page.next_cursor;
            sqlx::query(
                "INSERT INTO reconciliation (provider, cursor, reconciled_at) VALUES ($1, $2, $3)
                 ON CONFLICT ON CONSTRAINT reconciliation_pk DO UPDATE SET cursor = EXCLUDED.cursor, reconciled_at = EXCLUDED.reconciled_at",
            )
            .bind(PROVIDER)
            .bind(i64::try_from(cursor).unwrap_or(i64::MAX))
            .bind(infra::clock::now())
            .execute(&self.pool)
            .await?;
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// Mostly known already, which the payment's own state says without the writer.
    async fn reconcile_fact(&self, fact: &ProviderFact, known: &mut Option<(PaymentId, Payment)>) -> Result<(), ReconcileError> {
        let payment_id = PaymentId::new(fact.merchant_reference);
        let payment = match known.take_if(|(known, _)| *known == payment_id) {
            Some((_, payment)) => payment,
            None => self.writer.loader().load::<Payment>(&payment_id.to_string()).await?.0,
        };
        if payment.created.is_none() || payment.is_another(&fact.provider_ref) {
            if moves_money(fact) {
                park_unmatched(&self.pool, &unmatched(fact)).await?;
            }
            return Ok(());
        }
        let Some(told) = reported(fact, "reconciliation") else {
            *known = Some((payment_id, payment));
            return Ok(());
        };
        if says_nothing_new(&payment, &told) {
            *known = Some((told.payment_id, payment));
            return Ok(());
        }
        tracing::info!(payment.id = %told.payment_id, "the provider's list says what nothing else has told");
        match record_told(&self.writer, &self.pool, told, self.late).await {
            // What can't be recorded now can't later: a person settles it, and the facts behind it are not kept waiting.
            Err(CommandError::Refused(refusal, _)) => {
                tracing::error!(payment.id = %payment_id, code = refusal.code, "what the provider's list says of a payment is refused");
                Ok(park_unmatched(&self.pool, &unmatched(fact)).await?)
            }
            recorded => Ok(recorded?),
        }
    }
}

fn says_nothing_new(payment: &Payment, told: &Reported) -> bool {
    let command = PaymentCommand::Record { evidence: told.evidence.clone(), fact: told.fact.clone() };
    payment.decide(command).is_ok_and(|events| events.is_empty())
}

/// What a statement about a payment that is not ours says of it.
#[must_use]
pub fn unmatched(fact: &ProviderFact) -> ForeignOperation {
    ForeignOperation {
        provider_ref: fact.provider_ref.clone(),
        merchant_reference: fact.merchant_reference.to_string(),
        amount: fact.amount,
        currency: fact.currency.clone(),
        moves_money: moves_money(fact),
    }
}

/// Whether money is set aside or taken by it: what failed or waits is nobody's loss.
#[must_use]
pub fn moves_money(fact: &ProviderFact) -> bool {
    matches!(fact.kind, FactKind::Authorized | FactKind::Captured)
}

/// Parks money that is not ours to move; an alarm the first time.
pub async fn park_unmatched(pool: &PgPool, foreign: &ForeignOperation) -> Result<(), sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO unmatched_payment (provider, provider_ref, merchant_reference, amount, currency, first_seen_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT ON CONSTRAINT unmatched_payment_pk DO NOTHING",
    )
    .bind(PROVIDER)
    .bind(&foreign.provider_ref)
    .bind(&foreign.merchant_reference)
    .bind(foreign.amount)
    .bind(&foreign.currency)
    .bind(infra::clock::now())
    .execute(pool)
    .await?;
    if inserted.rows_affected() > 0 {
        tracing::error!(
            provider_ref = foreign.provider_ref,
            "money moved at the provider for a payment that is not ours; settle it there, then in /v1/ops/unmatched"
        );
    }
    Ok(())
}

/// From seconds of the configuration.
pub(super) fn interval(seconds: u64) -> Duration {
    Duration::from_secs(seconds.max(1))
}
