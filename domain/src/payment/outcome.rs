//! What the provider says, and what it changes.
//!
//! A fact is written unless it is known already, or older than what is known: an operation that
//! succeeded is no longer pending, however late the word of its pending comes in.

use super::{
    AuthorizationExpired, CaptureFailed, Dispute, DisputeLost, DisputeOpened, DisputeOutcome, DisputeWon, Evidence, Operation,
    OperationKind, OperationOutcomeUnknown, Outcome, Payment, PaymentActionRequired, PaymentAuthorized, PaymentCaptured, PaymentEvent,
    PaymentFailed, PaymentVoided, ProviderFact, RefundOutcome, VoidFailed,
};
use crate::id::{DisputeId, OperationId, RefundId};
use crate::money::Money;

impl Payment {
    pub(super) fn record(&self, evidence: Evidence, fact: ProviderFact) -> Option<PaymentEvent> {
        if evidence.provider_event_id.as_ref().is_some_and(|id| self.seen.contains(id)) {
            return None;
        }
        let news = match &fact {
            ProviderFact::AuthorizationExpired { .. } => !self.authorization_expired,
            ProviderFact::DisputeOpened { dispute_id, .. } => self.known_dispute(*dispute_id).is_none(),
            ProviderFact::DisputeWon { dispute_id } => self.dispute_changes(*dispute_id, DisputeOutcome::Won),
            ProviderFact::DisputeLost { dispute_id, .. } => self.dispute_changes(*dispute_id, DisputeOutcome::Lost),
            _ => self.operation_changes(evidence.operation_id, &fact),
        };
        // Whether another capture follows is what was asked for: the provider's word on an operation of ours doesn't say it.
        let fact = match fact {
            ProviderFact::Captured { amount, is_final } => {
                let asked = self.operation(evidence.operation_id).map_or(is_final, |capture| capture.is_final);
                ProviderFact::Captured { amount, is_final: asked }
            }
            fact => fact,
        };
        news.then(|| into_event(evidence, fact))
    }

    /// Believes every event; an operation that was never asked for is one of the provider's own.
    pub fn apply(&mut self, event: &PaymentEvent) {
        match event {
            PaymentEvent::PaymentCreated(created) => self.created = Some(created.clone()),
            PaymentEvent::AuthorizationRequested(requested) => {
                self.ask(requested.operation_id, OperationKind::Authorize, &requested.idempotency_key, requested.amount);
            }
            PaymentEvent::CaptureRequested(requested) => {
                self.ask(requested.operation_id, OperationKind::Capture, &requested.idempotency_key, requested.amount);
                self.edit(requested.operation_id, |capture| capture.is_final = requested.is_final);
            }
            PaymentEvent::VoidRequested(requested) => {
                if let Some(amount) = self.created.as_ref().map(|created| created.amount) {
                    let key = &requested.idempotency_key;
                    self.ask(requested.operation_id, OperationKind::Void, key, amount);
                }
            }
            PaymentEvent::RefundRequested(requested) => {
                let key = &requested.idempotency_key;
                self.ask(requested.operation_id, OperationKind::Refund, key, requested.amount);
                self.edit(requested.operation_id, |refund| {
                    refund.refund_id = Some(requested.refund_id);
                    refund.allocation.clone_from(&requested.allocation);
                });
            }
            PaymentEvent::PaymentActionRequired(required) => {
                let outcome = Outcome::ActionRequired { kind: required.kind.clone() };
                self.settle(&required.evidence, OperationKind::Authorize, None, outcome);
            }
            PaymentEvent::PaymentAuthorized(authorized) => {
                self.expires_at = authorized.expires_at;
                self.succeed(&authorized.evidence, OperationKind::Authorize, authorized.amount);
            }
            PaymentEvent::PaymentFailed(failed) => {
                self.fail(&failed.evidence, OperationKind::Authorize, &failed.code);
            }
            PaymentEvent::PaymentCaptured(captured) => {
                self.succeed(&captured.evidence, OperationKind::Capture, captured.amount);
                self.edit(captured.evidence.operation_id, |capture| capture.is_final |= captured.is_final);
            }
            PaymentEvent::CaptureFailed(failed) => {
                self.fail(&failed.evidence, OperationKind::Capture, &failed.code);
            }
            PaymentEvent::PaymentVoided(voided) => {
                self.succeed(&voided.evidence, OperationKind::Void, voided.amount);
            }
            PaymentEvent::VoidFailed(failed) => {
                self.fail(&failed.evidence, OperationKind::Void, &failed.code);
            }
            PaymentEvent::AuthorizationExpired(expired) => {
                self.note(&expired.evidence);
                self.authorization_expired = true;
            }
            PaymentEvent::RefundPending(refund) => self.settle_refund(refund, Outcome::Pending),
            PaymentEvent::RefundSucceeded(refund) => self.settle_refund(refund, Outcome::Succeeded),
            PaymentEvent::RefundFailed(refund) => {
                let code = refund.code.clone().unwrap_or_default();
                self.settle_refund(refund, Outcome::Failed { code });
            }
            PaymentEvent::RefundReversed(refund) => self.settle_refund(refund, Outcome::Reversed),
            PaymentEvent::OperationOutcomeUnknown(unknown) => {
                self.note(&unknown.evidence);
                self.edit(unknown.evidence.operation_id, |operation| {
                    operation.outcome = Outcome::Unknown;
                });
            }
            PaymentEvent::DisputeOpened(opened) => {
                let amount = Some(opened.amount);
                self.dispute(&opened.evidence, opened.dispute_id, amount, DisputeOutcome::Open);
            }
            PaymentEvent::DisputeWon(won) => {
                self.dispute(&won.evidence, won.dispute_id, None, DisputeOutcome::Won);
            }
            PaymentEvent::DisputeLost(lost) => {
                let amount = Some(lost.amount);
                self.dispute(&lost.evidence, lost.dispute_id, amount, DisputeOutcome::Lost);
            }
        }
    }

    /// Whether a fact says something new about its operation. The last word of an operation stands
    /// against earlier ones that come late; only a capture or refund may still fall through after it
    /// succeeded, and a refund come back.
    fn operation_changes(&self, operation_id: OperationId, fact: &ProviderFact) -> bool {
        let Some(operation) = self.operation(operation_id) else {
            return !matches!(fact, ProviderFact::Unknown { .. });
        };
        let current = &operation.outcome;
        match fact {
            ProviderFact::Unknown { .. } => *current == Outcome::Requested,
            ProviderFact::RefundPending { .. } => {
                matches!(current, Outcome::Requested | Outcome::Unknown)
            }
            ProviderFact::ActionRequired { kind, .. } => {
                let known = Outcome::ActionRequired { kind: kind.clone() };
                current.is_open() && *current != known
            }
            ProviderFact::Authorized { amount, .. }
            | ProviderFact::Captured { amount, .. }
            | ProviderFact::Voided { amount }
            | ProviderFact::RefundSucceeded { amount, .. } => {
                // A refund that came back doesn't succeed again.
                *current != Outcome::Reversed && (*current != Outcome::Succeeded || operation.amount != *amount)
            }
            ProviderFact::AuthorizationFailed { .. } | ProviderFact::VoidFailed { .. } => current.is_open(),
            ProviderFact::CaptureFailed { .. } | ProviderFact::RefundFailed { .. } => current.is_open() || *current == Outcome::Succeeded,
            ProviderFact::RefundReversed { .. } => *current != Outcome::Reversed,
            // These are not of one operation.
            ProviderFact::AuthorizationExpired { .. }
            | ProviderFact::DisputeOpened { .. }
            | ProviderFact::DisputeWon { .. }
            | ProviderFact::DisputeLost { .. } => true,
        }
    }

    fn known_dispute(&self, dispute_id: DisputeId) -> Option<&Dispute> {
        self.disputes.iter().find(|dispute| dispute.dispute_id == dispute_id)
    }

    fn dispute_changes(&self, dispute_id: DisputeId, outcome: DisputeOutcome) -> bool {
        self.known_dispute(dispute_id).is_none_or(|dispute| dispute.outcome != outcome)
    }

    /// A dispute may be closed before we hear of its opening.
    fn dispute(&mut self, evidence: &Evidence, dispute_id: DisputeId, amount: Option<Money>, outcome: DisputeOutcome) {
        self.note(evidence);
        if let Some(dispute) = self.disputes.iter_mut().find(|dispute| dispute.dispute_id == dispute_id) {
            dispute.outcome = outcome;
            dispute.amount = amount.unwrap_or(dispute.amount);
        } else if let Some(created) = &self.created {
            let amount = amount.unwrap_or(Money::zero(created.amount.currency()));
            self.disputes.push(Dispute { dispute_id, amount, outcome });
        }
    }

    fn ask(&mut self, operation_id: OperationId, kind: OperationKind, idempotency_key: &str, amount: Money) {
        self.operations.push(Operation {
            operation_id,
            kind,
            idempotency_key: Some(idempotency_key.to_owned()),
            amount,
            outcome: Outcome::Requested,
            provider_ref: None,
            refund_id: None,
            is_final: false,
            allocation: Vec::new(),
        });
    }

    fn succeed(&mut self, evidence: &Evidence, kind: OperationKind, amount: Money) {
        self.settle(evidence, kind, Some(amount), Outcome::Succeeded);
    }

    fn fail(&mut self, evidence: &Evidence, kind: OperationKind, code: &str) {
        self.settle(evidence, kind, None, Outcome::Failed { code: code.to_owned() });
    }

    fn settle_refund(&mut self, refund: &RefundOutcome, outcome: Outcome) {
        self.settle(&refund.evidence, OperationKind::Refund, Some(refund.amount), outcome);
        self.edit(refund.evidence.operation_id, |operation| {
            operation.refund_id = Some(refund.refund_id);
        });
    }

    fn settle(&mut self, evidence: &Evidence, kind: OperationKind, amount: Option<Money>, outcome: Outcome) {
        self.note(evidence);
        if self.operation(evidence.operation_id).is_none()
            && let Some(created) = &self.created
        {
            self.operations.push(Operation {
                operation_id: evidence.operation_id,
                kind,
                idempotency_key: None,
                amount: amount.unwrap_or(created.amount),
                outcome: Outcome::Requested,
                provider_ref: None,
                refund_id: None,
                is_final: false,
                allocation: Vec::new(),
            });
        }
        self.edit(evidence.operation_id, |operation| {
            operation.outcome = outcome;
            operation.amount = amount.unwrap_or(operation.amount);
            operation.provider_ref = evidence.provider_ref.clone().or(operation.provider_ref.take());
        });
    }

    fn note(&mut self, evidence: &Evidence) {
        self.seen.extend(evidence.provider_event_id.clone());
    }

    fn edit(&mut self, operation_id: OperationId, change: impl FnOnce(&mut Operation)) {
        if let Some(operation) = self.operations.iter_mut().find(|o| o.operation_id == operation_id) {
            change(operation);
        }
    }
}

fn into_event(evidence: Evidence, fact: ProviderFact) -> PaymentEvent {
    match fact {
        ProviderFact::ActionRequired { kind, expires_at } => {
            PaymentEvent::PaymentActionRequired(PaymentActionRequired { evidence, kind, expires_at })
        }
        ProviderFact::Authorized { amount, expires_at, method, last4 } => {
            PaymentEvent::PaymentAuthorized(PaymentAuthorized { evidence, amount, expires_at, method, last4 })
        }
        ProviderFact::AuthorizationFailed { code, category } => PaymentEvent::PaymentFailed(PaymentFailed { evidence, code, category }),
        ProviderFact::AuthorizationExpired { amount } => PaymentEvent::AuthorizationExpired(AuthorizationExpired { evidence, amount }),
        ProviderFact::Captured { amount, is_final } => PaymentEvent::PaymentCaptured(PaymentCaptured { evidence, amount, is_final }),
        ProviderFact::CaptureFailed { code } => PaymentEvent::CaptureFailed(CaptureFailed { evidence, code }),
        ProviderFact::Voided { amount } => PaymentEvent::PaymentVoided(PaymentVoided { evidence, amount }),
        ProviderFact::VoidFailed { code } => PaymentEvent::VoidFailed(VoidFailed { evidence, code }),
        ProviderFact::RefundPending { refund_id, amount } => PaymentEvent::RefundPending(refund(evidence, refund_id, amount, None)),
        ProviderFact::RefundSucceeded { refund_id, amount } => PaymentEvent::RefundSucceeded(refund(evidence, refund_id, amount, None)),
        ProviderFact::RefundFailed { refund_id, amount, code } => PaymentEvent::RefundFailed(refund(evidence, refund_id, amount, code)),
        ProviderFact::RefundReversed { refund_id, amount, code } => PaymentEvent::RefundReversed(refund(evidence, refund_id, amount, code)),
        ProviderFact::Unknown { operation } => {
            let operation = operation.as_str().to_owned();
            PaymentEvent::OperationOutcomeUnknown(OperationOutcomeUnknown { evidence, operation })
        }
        ProviderFact::DisputeOpened { dispute_id, amount, reason, due_at } => {
            PaymentEvent::DisputeOpened(DisputeOpened { evidence, dispute_id, amount, reason, due_at })
        }
        ProviderFact::DisputeWon { dispute_id } => PaymentEvent::DisputeWon(DisputeWon { evidence, dispute_id }),
        ProviderFact::DisputeLost { dispute_id, amount, fee } => {
            PaymentEvent::DisputeLost(DisputeLost { evidence, dispute_id, amount, fee })
        }
    }
}

const fn refund(evidence: Evidence, refund_id: RefundId, amount: Money, code: Option<String>) -> RefundOutcome {
    RefundOutcome { evidence, refund_id, amount, code }
}
