//! One call to the provider: made with the operation's own key, asked about where its answer is missing, recorded.

use chrono::{DateTime, Utc};
use domain::id::PaymentId;
use domain::payment::{Evidence, Operation, OperationKind, Payment, ProviderFact};
use infra::fail_point;

use super::outcome::record_outcome;
use super::{Effect, RETRY_MAX_MS, RETRY_MIN_MS, Reactor, secret};
use crate::answer::{CommandError, Failure, Origin};
use crate::payment::{self, Completes, NOTHING_TO_VOID, Reported, is_given_up};
use crate::provider::{AuthorizeRequest, CaptureRequest, PaymentProvider, ProviderAnswer, ProviderError, RefundRequest, VoidRequest};

/// Why an authorisation that was given up came to nothing: the provider has never heard of it.
const NEVER_ARRIVED: &str = "never_arrived";

/// How far a call has come.
enum Progress {
    /// The outcome is in the log.
    Done,
    /// It is still to come: the provider is asked in a while.
    Open(Operation),
    /// The provider could not be asked.
    NotAsked(Operation),
}

/// What became of a call: the provider's own statement, or what its silence means.
enum Told {
    Fact(Box<Reported>),
    Domain(ProviderFact),
    /// It is being worked on.
    Pending,
}

impl Reactor {
    pub(super) async fn carry_out(&self, effect: Effect) {
        let rescheduled = match self.call_and_record(&effect).await {
            Ok(Progress::Done) => {
                self.done(&effect);
                return;
            }
            Ok(Progress::Open(operation)) => {
                self.park_if_old(&effect, &operation).await;
                self.again(&effect).await
            }
            Ok(Progress::NotAsked(operation)) => {
                self.park_if_old(&effect, &operation).await;
                self.put_off(&effect).await
            }
            Err(error) => {
                tracing::warn!(payment.id = %effect.payment_id, attempts = effect.attempts, error = &error as &dyn std::error::Error, "a payment operation is tried again later");
                self.put_off(&effect).await
            }
        };
        if let Err(error) = rescheduled {
            tracing::warn!(error = &error as &dyn std::error::Error, "a payment operation waits for its lease to end");
        }
    }

    async fn call_and_record(&self, effect: &Effect) -> Result<Progress, CommandError> {
        let payment = self.payment(effect).await.map_err(CommandError::Internal)?;
        let open = payment.operation(effect.operation_id).filter(|operation| operation.outcome.is_open()).cloned();
        let Some(operation) = open else { return Ok(Progress::Done) };
        let (kept, completes) = match operation.kind {
            OperationKind::Authorize => self.secret_and_checkout(&payment, effect.payment_id).await.map_err(CommandError::Internal)?,
            _ => (None, Completes::NotLookedUp),
        };
        let told = match self.ask(effect, &payment, &operation, kept).await {
            Ok(told) => told,
            Err(ProviderError::Unreachable(cause)) => {
                tracing::warn!(error = ?cause, "the payment provider can't be reached");
                return Ok(Progress::NotAsked(operation));
            }
            Err(ProviderError::Rejected { code }) => Told::Domain(rejected(&operation, code)),
            Err(ProviderError::Unknown { reason }) => {
                tracing::warn!(payment.id = %effect.payment_id, reason, "the outcome of a payment operation is unknown; it will be asked for");
                Told::Domain(ProviderFact::Unknown { operation: operation.kind })
            }
        };
        fail_point::after_of(operation.kind.as_str(), "called");
        let reported = match told {
            Told::Pending => return Ok(Progress::Open(operation)),
            Told::Fact(reported) => Reported { completes, ..*reported },
            Told::Domain(fact) => {
                let evidence = Evidence {
                    operation_id: effect.operation_id,
                    source: "response".to_owned(),
                    provider_event_id: None,
                    provider_ref: None,
                };
                Reported { payment_id: effect.payment_id, evidence, fact, completes, action_url: None }
            }
        };
        let is_open = matches!(
            reported.fact,
            ProviderFact::Unknown { .. } | ProviderFact::ActionRequired { .. } | ProviderFact::RefundPending { .. }
        );
        record_outcome(&self.writer, &self.pool, reported, effect.correlation_id, effect.causation_id, self.late).await?;
        fail_point::after_of(operation.kind.as_str(), "recorded");
        Ok(if is_open { Progress::Open(operation) } else { Progress::Done })
    }

    /// The payment that a call is of. Should it be closed meanwhile, the provider knows the call again and nothing new is recorded.
    async fn payment(&self, effect: &Effect) -> Result<Payment, Failure> {
        let id = effect.payment_id.to_string();
        let is_open = |payment: &Payment| payment.operation(effect.operation_id).is_some_and(|operation| operation.outcome.is_open());
        match self.writer.glimpse::<Payment>(&id).await.filter(is_open) {
            Some(payment) => Ok(payment),
            None => Ok(self.writer.loader().load::<Payment>(&id).await?.0),
        }
    }

    /// Calls the provider; after the first attempt, and for what was given up meanwhile, it is asked what became of the call before.
    async fn ask(
        &self,
        effect: &Effect,
        payment: &Payment,
        operation: &Operation,
        kept: Option<secret::Kept>,
    ) -> Result<Told, ProviderError> {
        let provider = self.provider.as_ref().ok_or(ProviderError::Unreachable(None))?;
        let is_given_up = operation.kind == OperationKind::Authorize && is_given_up(payment);
        let is_unnamed = operation.kind == OperationKind::Void && payment.provider_ref().is_none();
        let mut provider_ref = payment.provider_ref().map(str::to_owned);
        if effect.attempts > 1 || is_given_up || is_unnamed {
            match provider.find_by_reference(effect.payment_id.uuid()).await? {
                Some(found) => {
                    if let Some(fact) = found.fact_of(&effect.operation_id.to_string()) {
                        return Ok(payment::reported(fact, "query").map_or(Told::Pending, |reported| Told::Fact(Box::new(reported))));
                    }
                    provider_ref = provider_ref.or(Some(found.payment.provider_ref));
                }
                // It is not sent any more; should it arrive all the same, it is let go of then.
                None if is_given_up => {
                    let fact = ProviderFact::AuthorizationFailed { code: NEVER_ARRIVED.to_owned(), category: "lost".to_owned() };
                    return Ok(Told::Domain(fact));
                }
                // What is not there yet may still come, until the authorisation's own outcome is known.
                None if is_unnamed && payment.awaits(OperationKind::Authorize) => return Ok(Told::Pending),
                None if is_unnamed => return Ok(Told::Domain(ProviderFact::VoidFailed { code: NOTHING_TO_VOID.to_owned() })),
                None => {}
            }
        }
        let answer = self.call(provider, payment, operation, kept, provider_ref).await?;
        Ok(payment::reported(&answer.fact, "response").map_or(Told::Pending, |reported| Told::Fact(Box::new(reported))))
    }

    async fn call(
        &self,
        provider: &PaymentProvider,
        payment: &Payment,
        operation: &Operation,
        kept: Option<secret::Kept>,
        provider_ref: Option<String>,
    ) -> Result<ProviderAnswer, ProviderError> {
        let idempotency_key = operation.idempotency_key.clone().unwrap_or_else(|| operation.operation_id.to_string());
        let amount = operation.amount.amount();
        let provider_ref = provider_ref.ok_or(ProviderError::Rejected { code: "never_authorized".to_owned() });
        match operation.kind {
            OperationKind::Authorize => {
                let created = payment.created.as_ref().ok_or(ProviderError::Rejected { code: "not_created".to_owned() })?;
                let secret::Kept { token, return_url, .. } = kept.ok_or(ProviderError::Rejected { code: "token_missing".to_owned() })?;
                let request = AuthorizeRequest {
                    payment_id: created.payment_id.uuid(),
                    idempotency_key,
                    token,
                    amount,
                    currency: operation.amount.currency().as_str().to_owned(),
                    capture: false,
                    return_url: return_url.or_else(|| self.return_url.clone()),
                };
                provider.authorize(&request).await
            }
            OperationKind::Capture => {
                let is_final = operation.is_final;
                provider.capture(&CaptureRequest { provider_ref: provider_ref?, idempotency_key, amount, is_final }).await
            }
            OperationKind::Void => provider.void(&VoidRequest { provider_ref: provider_ref?, idempotency_key }).await,
            OperationKind::Refund => {
                let refund_id = operation.refund_id.map_or(operation.operation_id.uuid(), domain::id::RefundId::uuid);
                provider.refund(&RefundRequest { provider_ref: provider_ref?, idempotency_key, amount, refund_id }).await
            }
        }
    }

    /// What an authorisation needs: what is kept sealed for it, and the checkout that waits for the outcome.
    async fn secret_and_checkout(&self, payment: &Payment, payment_id: PaymentId) -> Result<(Option<secret::Kept>, Completes), Failure> {
        let order_id = payment.created.as_ref().map(|created| created.order_id.to_string());
        let (sealed, checkout): (Option<Vec<u8>>, Option<uuid::Uuid>) = sqlx::query_as(
            "SELECT (SELECT sealed FROM sealed_secret WHERE secret_id = $1),
                    (SELECT key FROM idempotency WHERE state = 'running' AND aggregate_type = 'order' AND aggregate_id = $2 LIMIT 1)",
        )
        .bind(payment_id.uuid())
        .bind(order_id)
        .fetch_one(&self.pool)
        .await?;
        let kept = sealed.and_then(|sealed| secret::opened(&self.writer, payment_id, &sealed));
        Ok((kept, checkout.map_or(Completes::Nothing, Completes::Checkout)))
    }

    /// An outcome that can't be had for too long is somebody's business.
    async fn park_if_old(&self, effect: &Effect, operation: &Operation) {
        if requested_at(effect).is_none_or(|requested_at| requested_at + self.unknown_max > infra::clock::now()) {
            return;
        }
        tracing::error!(payment.id = %effect.payment_id, operation = operation.kind.as_str(), attempts = effect.attempts, "nobody knows what became of a payment operation; ask the provider");
        let origin = Origin::system("payments", infra::clock::new_id(), effect.correlation_id, effect.causation_id);
        let (payment_id, operation_id) = (effect.payment_id, effect.operation_id);
        let parked = self.writer.execute(&origin, None, move |streams| payment::park(streams, payment_id, operation_id)).await;
        if let Err(error) = parked {
            tracing::warn!(payment.id = %payment_id, error = &error as &dyn std::error::Error, "its order could not be put on hold; trying again");
        }
    }

    /// The outcome is still to come: ask in a while, more and more seldom.
    async fn again(&self, effect: &Effect) -> Result<(), sqlx::Error> {
        let exponent = u32::try_from((effect.attempts - 1).clamp(0, 16)).unwrap_or(0);
        let longest = self.query_after.max(chrono::Duration::milliseconds(RETRY_MAX_MS));
        let wait = self.query_after.checked_mul(1_i32 << exponent).map_or(longest, |wait| wait.min(longest));
        self.schedule(effect, infra::clock::now() + wait).await
    }

    async fn put_off(&self, effect: &Effect) -> Result<(), sqlx::Error> {
        let exponent = u32::try_from(effect.attempts.clamp(0, 16)).unwrap_or(0);
        let wait_ms = RETRY_MIN_MS.saturating_mul(1_i64 << exponent).min(RETRY_MAX_MS);
        self.schedule(effect, infra::clock::now() + chrono::Duration::milliseconds(wait_ms)).await
    }

    async fn schedule(&self, effect: &Effect, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE effect SET next_attempt_at = $2 WHERE effect_id = $1");
        update.bind(effect.operation_id.uuid()).bind(at).execute(&self.pool).await.map(|_| ())
    }
}

/// When a call was asked for: its event's id says it.
fn requested_at(effect: &Effect) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = effect.causation_id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

fn rejected(operation: &Operation, code: String) -> ProviderFact {
    match operation.kind {
        OperationKind::Authorize => ProviderFact::AuthorizationFailed { code, category: "rejected".to_owned() },
        OperationKind::Capture => ProviderFact::CaptureFailed { code },
        OperationKind::Void => ProviderFact::VoidFailed { code },
        OperationKind::Refund => {
            ProviderFact::RefundFailed { refund_id: operation.refund_id.unwrap_or_default(), amount: operation.amount, code: Some(code) }
        }
    }
}
