//! What may be done to a payment, and what a request must look like.

use chrono::{DateTime, Utc};

use super::answer::{Balance, OperationKind, OperationStatus, PaymentStatus, Refusal};
use super::entry::OperationStarted;
use super::ledger::Ledger;
use super::operations::OpenPayment;
use super::token::Behaviour;

/// 2^53 - 1: what every JSON reader can hold.
const AMOUNT_MAX: i64 = (1 << 53) - 1;
const REFERENCE_CHARS_MAX: usize = 255;
const URL_CHARS_MAX: usize = 2_048;

// The rules. `Err` is the code with which the operation fails.
impl Ledger {
    pub fn capturable(&self, now: DateTime<Utc>, operation: usize) -> Result<i64, &'static str> {
        let OperationStarted { payment, amount, .. } = self.operations[operation].started;
        let payment = &self.payments[payment];
        match payment.balance.status {
            PaymentStatus::Authorized => {}
            PaymentStatus::Voided => return Err("already_voided"),
            _ => return Err("not_authorized"),
        }
        if now >= payment.opened.expires_at {
            return Err("authorization_expired");
        }
        let ends_it = |other: &OperationStarted| match other.kind {
            OperationKind::Void => true,
            OperationKind::Capture => other.is_final,
            OperationKind::Authorize | OperationKind::Refund => false,
        };
        if self.others_pending(operation).any(ends_it) {
            return Err("operation_pending");
        }
        if amount > self.open_amount(operation) {
            return Err("amount_too_large");
        }
        Ok(amount)
    }

    pub fn voidable(&self, operation: usize) -> Result<i64, &'static str> {
        let OperationStarted { payment, .. } = self.operations[operation].started;
        let balance = self.payments[payment].balance;
        let holds_it = |other: &OperationStarted| matches!(other.kind, OperationKind::Capture | OperationKind::Void);
        if self.others_pending(operation).any(holds_it) {
            return Err("operation_pending");
        }
        match balance.status {
            PaymentStatus::Pending | PaymentStatus::RequiresAction => Ok(0),
            PaymentStatus::Declined => Err("not_authorized"),
            PaymentStatus::Voided => Err("already_voided"),
            PaymentStatus::Authorized => match self.open_amount(operation) {
                0 => Err("already_captured"),
                open => Ok(open),
            },
        }
    }

    pub fn refundable(&self, operation: usize) -> Result<i64, &'static str> {
        let OperationStarted { payment, amount, .. } = self.operations[operation].started;
        let Balance { captured, refunded, .. } = self.payments[payment].balance;
        let refunds = self.others_pending(operation).filter(|op| op.kind == OperationKind::Refund);
        let open = captured - refunded - refunds.map(|other| other.amount).sum::<i64>();
        match captured {
            0 => Err("not_captured"),
            _ if amount > open => Err("amount_too_large"),
            _ => Ok(amount),
        }
    }

    /// What of the authorised amount is neither taken, nor let go, nor set aside by another capture.
    pub fn open_amount(&self, operation: usize) -> i64 {
        let OperationStarted { payment, .. } = self.operations[operation].started;
        let Balance { authorized, captured, voided, .. } = self.payments[payment].balance;
        let captures = self.others_pending(operation).filter(|op| op.kind == OperationKind::Capture);
        authorized - captured - voided - captures.map(|other| other.amount).sum::<i64>()
    }

    fn others_pending(&self, operation: usize) -> impl Iterator<Item = &OperationStarted> {
        let OperationStarted { payment, .. } = self.operations[operation].started;
        let others = self.payments[payment].operations.iter().copied();
        others
            .filter(move |&other| other != operation)
            .filter(|&other| self.status_of(other) == OperationStatus::Pending)
            .map(|other| &self.operations[other].started)
    }
}

pub(super) fn check(request: &OpenPayment) -> Result<Behaviour, Refusal> {
    check_reference("merchant_reference", &request.merchant_reference)?;
    check_amount(request.amount)?;
    let is_code = request.currency.len() == 3 && request.currency.bytes().all(|letter| letter.is_ascii_uppercase());
    if !is_code {
        return Err(invalid("currency is an ISO 4217 code"));
    }
    if let Some(url) = &request.return_url {
        let is_web = url.starts_with("http://") || url.starts_with("https://");
        if !is_web || url.len() > URL_CHARS_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("return_url is an http or https URL"));
        }
    }
    request.token.parse().map_err(|_| Refusal::InvalidToken)
}

pub(super) fn check_amount(amount: i64) -> Result<(), Refusal> {
    if (1..=AMOUNT_MAX).contains(&amount) {
        return Ok(());
    }
    Err(invalid("amount is minor units, above zero"))
}

pub(super) fn check_reference(name: &str, reference: &str) -> Result<(), Refusal> {
    if (1..=REFERENCE_CHARS_MAX).contains(&reference.len()) {
        return Ok(());
    }
    Err(invalid(&format!("{name} has 1 to {REFERENCE_CHARS_MAX} characters")))
}

fn invalid(reason: &str) -> Refusal {
    Refusal::InvalidRequest(reason.to_owned())
}
