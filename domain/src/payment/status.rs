//! The words for where the money is: of one attempt, and of an order with all its attempts.

use serde::{Deserialize, Serialize};

use super::{DisputeOutcome, Operation, OperationKind, Outcome, Payment};
use crate::id::LineId;
use crate::money::Money;

/// The words of the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// No payment.
    #[default]
    None,
    /// Asked for; nothing is known yet.
    Pending,
    /// The shopper has to do something.
    RequiresAction,
    Authorized,
    PartiallyPaid,
    Paid,
    PartiallyRefunded,
    Refunded,
    /// Given up, by us or by time.
    Voided,
    Failed,
    Disputed,
}

impl PaymentStatus {
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Pending,
        Self::RequiresAction,
        Self::Authorized,
        Self::PartiallyPaid,
        Self::Paid,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Voided,
        Self::Failed,
        Self::Disputed,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::RequiresAction => "requires_action",
            Self::Authorized => "authorized",
            Self::PartiallyPaid => "partially_paid",
            Self::Paid => "paid",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
            Self::Failed => "failed",
            Self::Disputed => "disputed",
        }
    }
}

/// What refunds have given back, or will, for one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefundedLine {
    pub units: u32,
    /// Minor units.
    pub net: i64,
    /// Minor units.
    pub tax: i64,
}

/// Where the money of an order is, given what it comes to and all its attempts, the first one first.
#[must_use]
pub fn order_payment_status<'a>(total: Money, payments: impl IntoIterator<Item = &'a Payment>) -> PaymentStatus {
    let payments: Vec<_> = payments.into_iter().collect();
    if payments.iter().any(|payment| payment.dispute_open()) {
        return PaymentStatus::Disputed;
    }
    let captured = payments.iter().map(|payment| payment.captured()).sum();
    let refunded = payments.iter().map(|payment| payment.refunded()).sum();
    if let Some(status) = paid_status(total.amount(), captured, refunded) {
        return status;
    }
    let statuses: Vec<_> = payments.iter().map(|payment| payment.status()).collect();
    let hopeful = [PaymentStatus::Authorized, PaymentStatus::RequiresAction, PaymentStatus::Pending];
    let hope = hopeful.into_iter().find(|status| statuses.contains(status));
    hope.or(statuses.last().copied()).unwrap_or_default()
}

impl Payment {
    /// Where the money of this attempt is.
    #[must_use]
    pub fn status(&self) -> PaymentStatus {
        let Some(created) = &self.created else {
            return PaymentStatus::None;
        };
        if self.dispute_open() {
            return PaymentStatus::Disputed;
        }
        if let Some(status) = paid_status(created.amount.amount(), self.captured(), self.refunded()) {
            return status;
        }
        if self.voided() {
            return PaymentStatus::Voided;
        }
        if self.authorized() > 0 {
            return PaymentStatus::Authorized;
        }
        let last = self.of_kind(OperationKind::Authorize).last();
        match last.map(|operation| &operation.outcome) {
            Some(Outcome::Failed { .. }) => PaymentStatus::Failed,
            Some(Outcome::ActionRequired { .. }) => PaymentStatus::RequiresAction,
            _ => PaymentStatus::Pending,
        }
    }

    /// The amount that the provider keeps for us, in minor units. What it captured it had authorised,
    /// whether we heard of that or not.
    #[must_use]
    pub fn authorized(&self) -> i64 {
        let known = self
            .of_kind(OperationKind::Authorize)
            .filter(|operation| operation.outcome == Outcome::Succeeded)
            .map(|operation| operation.amount.amount())
            .max();
        known.unwrap_or_default().max(self.captured())
    }

    #[must_use]
    pub fn captured(&self) -> i64 {
        self.sum(OperationKind::Capture, |outcome| *outcome == Outcome::Succeeded)
    }

    #[must_use]
    pub fn refunded(&self) -> i64 {
        self.sum(OperationKind::Refund, |outcome| *outcome == Outcome::Succeeded)
    }

    /// What can still be captured: not what is asked for already, and nothing once it is given up.
    #[must_use]
    pub fn capturable(&self) -> i64 {
        let voiding = self.of_kind(OperationKind::Void).any(|operation| operation.outcome.is_open());
        let is_last = |capture: &Operation| capture.is_final && capture.outcome == Outcome::Succeeded;
        if voiding || self.voided() || self.of_kind(OperationKind::Capture).any(is_last) {
            return 0;
        }
        let taken = self.captured() + self.sum(OperationKind::Capture, Outcome::is_open);
        (self.authorized() - taken).max(0)
    }

    /// What can still be refunded: not what is asked for already, nor what a lost dispute took.
    #[must_use]
    pub fn refundable(&self) -> i64 {
        let given = self.refunded() + self.sum(OperationKind::Refund, Outcome::is_open);
        (self.captured() - given - self.charged_back()).max(0)
    }

    /// What lost disputes took back, in minor units.
    #[must_use]
    pub fn charged_back(&self) -> i64 {
        let lost = self.disputes.iter().filter(|dispute| dispute.outcome == DisputeOutcome::Lost);
        lost.map(|dispute| dispute.amount.amount()).sum()
    }

    /// What stays with the shop if everything under way succeeds, in minor units.
    #[must_use]
    pub fn kept(&self) -> i64 {
        self.captured() - self.charged_back() - self.refunded() - self.sum(OperationKind::Refund, Outcome::is_open)
    }

    /// What was taken towards the order's price, in minor units: captured, without what went back, or is on its way, because the
    /// order did not need it. What a merchant gives back of goodwill stays paid for.
    #[must_use]
    pub fn covering(&self) -> i64 {
        let counts = |operation: &&Operation| operation.outcome.is_open() || operation.outcome == Outcome::Succeeded;
        let surplus = self.of_kind(OperationKind::Refund).filter(counts).filter(|refund| refund.is_surplus());
        self.captured() - self.charged_back() - surplus.map(|refund| refund.amount.amount()).sum::<i64>()
    }

    /// What is being taken right now, in minor units; what nobody knows the outcome of is not.
    #[must_use]
    pub fn being_captured(&self) -> i64 {
        self.sum(OperationKind::Capture, |outcome| matches!(outcome, Outcome::Requested | Outcome::Pending))
    }

    /// The units of a line that refunds are for, and their net and tax in minor units; failed ones don't count.
    #[must_use]
    pub fn refunded_of(&self, line_id: LineId) -> RefundedLine {
        let counts = |operation: &&Operation| operation.outcome.is_open() || operation.outcome == Outcome::Succeeded;
        let parts = self.of_kind(OperationKind::Refund).filter(counts).flat_map(|refund| &refund.allocation);
        parts.filter(|part| part.line_id == line_id).fold(RefundedLine::default(), |sum, part| RefundedLine {
            units: sum.units + part.quantity.unwrap_or_default(),
            net: sum.net + part.net.amount(),
            tax: sum.tax + part.tax.amount(),
        })
    }

    /// Whether an operation of this kind waits for its outcome.
    #[must_use]
    pub fn awaits(&self, kind: OperationKind) -> bool {
        self.of_kind(kind).any(|operation| operation.outcome.is_open())
    }

    #[must_use]
    pub fn dispute_open(&self) -> bool {
        self.disputes.iter().any(|dispute| dispute.outcome == DisputeOutcome::Open)
    }

    /// Given up, by us or by time.
    #[must_use]
    pub fn voided(&self) -> bool {
        let voided = |operation: &Operation| operation.outcome == Outcome::Succeeded;
        self.authorization_expired || self.of_kind(OperationKind::Void).any(voided)
    }

    fn sum(&self, kind: OperationKind, counts: impl Fn(&Outcome) -> bool) -> i64 {
        let counted = self.of_kind(kind).filter(|operation| counts(&operation.outcome));
        counted.map(|operation| operation.amount.amount()).sum()
    }
}

/// The status once anything was captured.
fn paid_status(total: i64, captured: i64, refunded: i64) -> Option<PaymentStatus> {
    if captured <= 0 {
        return None;
    }
    Some(if refunded >= captured {
        PaymentStatus::Refunded
    } else if refunded > 0 {
        PaymentStatus::PartiallyRefunded
    } else if captured >= total {
        PaymentStatus::Paid
    } else {
        PaymentStatus::PartiallyPaid
    })
}
