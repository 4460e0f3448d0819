//! What we may ask of the provider: never more than there is, and never twice.

use super::{
    AuthorizationRequested, CaptureRequested, Operation, OperationKind, Outcome, Payment, PaymentCreated, PaymentEvent, PaymentRejection,
    RefundRequested, Start, VoidRequested,
};
use crate::money::Money;

impl Payment {
    pub(super) fn start(&self, start: Start) -> Result<Vec<PaymentEvent>, PaymentRejection> {
        let created = PaymentCreated {
            payment_id: start.payment_id,
            order_id: start.order_id,
            tender_id: start.tender_id,
            provider: start.provider,
            amount: start.amount,
            capture: start.capture,
        };
        match &self.created {
            Some(existing) if *existing == created => return Ok(vec![]),
            Some(_) => return Err(PaymentRejection::Exists),
            None => check_positive(start.amount)?,
        }
        let requested =
            AuthorizationRequested { operation_id: start.operation_id, idempotency_key: start.idempotency_key, amount: start.amount };
        Ok(vec![PaymentEvent::PaymentCreated(created), PaymentEvent::AuthorizationRequested(requested)])
    }

    /// Only what is authorised and not captured or asked for yet.
    pub(super) fn request_capture(
        &self,
        created: &PaymentCreated,
        wanted: CaptureRequested,
    ) -> Result<Vec<PaymentEvent>, PaymentRejection> {
        if self.operation(wanted.operation_id).is_some() {
            return Ok(vec![]);
        }
        check_positive(wanted.amount)?;
        let capturable = Money::new(self.capturable(), created.amount.currency())?;
        if wanted.amount.minus(capturable)?.amount() > 0 {
            return Err(PaymentRejection::NotCapturable { capturable });
        }
        Ok(vec![PaymentEvent::CaptureRequested(wanted)])
    }

    /// Also while the authorisation is still open: whatever comes of it is given up.
    pub(super) fn request_void(&self, wanted: VoidRequested) -> Result<Vec<PaymentEvent>, PaymentRejection> {
        if self.operation(wanted.operation_id).is_some() {
            return Ok(vec![]);
        }
        let voiding = |operation: &Operation| {
            operation.kind == OperationKind::Void && (operation.outcome.is_open() || operation.outcome == Outcome::Succeeded)
        };
        if self.operations.iter().any(voiding) {
            return Ok(vec![]);
        }
        if self.captured() > 0 {
            return Err(PaymentRejection::AlreadyCaptured);
        }
        if self.awaits(OperationKind::Capture) {
            return Err(PaymentRejection::CaptureInProgress);
        }
        let authorization_open = self.of_kind(OperationKind::Authorize).any(|operation| operation.outcome.is_open());
        if self.authorization_expired || (self.authorized() == 0 && !authorization_open) {
            return Err(PaymentRejection::NothingToVoid);
        }
        Ok(vec![PaymentEvent::VoidRequested(wanted)])
    }

    pub(super) fn request_refund(&self, created: &PaymentCreated, wanted: RefundRequested) -> Result<Vec<PaymentEvent>, PaymentRejection> {
        if self.operation(wanted.operation_id).is_some() {
            return Ok(vec![]);
        }
        check_positive(wanted.amount)?;
        if self.dispute_open() {
            return Err(PaymentRejection::DisputeOpen);
        }
        let currency = created.amount.currency();
        let refundable = Money::new(self.refundable(), currency)?;
        if wanted.amount.minus(refundable)?.amount() > 0 {
            return Err(PaymentRejection::NotRefundable { refundable });
        }
        let allocated = wanted.allocation.iter().flat_map(|line| [line.net, line.tax]);
        if !wanted.allocation.is_empty() && Money::sum(currency, allocated)? != wanted.amount {
            return Err(PaymentRejection::AllocationWrong);
        }
        Ok(vec![PaymentEvent::RefundRequested(wanted)])
    }
}

fn check_positive(amount: Money) -> Result<(), PaymentRejection> {
    if amount.amount() > 0 { Ok(()) } else { Err(PaymentRejection::AmountNotPositive) }
}
