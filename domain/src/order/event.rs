//! The events of an order, and the shapes that they carry.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cart::{Address, ShipTo};
use crate::id::{
    CancellationId, CartKey, CouponId, CustomerId, FulfilmentId, HoldId, LineId, OrderId, PaymentId, ProductId, PromotionId, SubjectId,
    TenderId, VariantId,
};
use crate::inventory::Part;
use crate::money::{Currency, Money, Rounding};
use crate::personal::Personal;
use crate::pricing::{Discount, LineDiscount, LineTax, QuoteLine, ShippingLine, Tax, Totals};

/// The whole order as it was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order_id: OrderId,
    /// For people; unique, and no secret.
    pub number: String,
    /// `checkout`, `manual`, `import`.
    pub source: String,
    pub channel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cart: Option<CartKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout_no: Option<u32>,
    pub subject_id: SubjectId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    pub placed_at: DateTime<Utc>,
    pub language: String,
    pub currency: Currency,
    pub prices_include_tax: bool,
    pub rounding: Rounding,
    pub ship_to: ShipTo,
    pub lines: Vec<OrderLine>,
    pub shipping_lines: Vec<ShippingLine>,
    pub discounts: Vec<Discount>,
    /// The uses of coupons that were reserved with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<OrderCoupon>,
    pub taxes: Vec<Tax>,
    pub fees: Vec<Fee>,
    pub totals: Totals,
    pub holds: Vec<OrderHold>,
    pub tenders: Vec<Tender>,
    /// [`PREPAID`] or [`PAY_LATER`].
    pub terms: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_deadline: Option<DateTime<Utc>>,
    pub email: Personal<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Personal<String>>,
    pub shipping_address: Personal<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Personal<Address>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Personal<String>>,
}

/// A use of a coupon by an order. `subject_ref` is the keyed hash of the buyer's e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCoupon {
    pub promotion_id: PromotionId,
    pub coupon_id: CouponId,
    pub reservation_id: Uuid,
    pub subject_ref: String,
    /// Which of the uses that one person may make it is; absent where that isn't limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_no: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub line_id: LineId,
    /// `product` today.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant_id: Option<VariantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<ProductId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    pub title: String,
    pub options: Vec<LineOption>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_line_id: Option<LineId>,
    pub quantity: u32,
    pub unit_price: Money,
    /// `price_list`, `manual`.
    pub price_source: String,
    pub tax_category: String,
    pub requires_shipping: bool,
    pub subtotal: Money,
    pub discounts: Vec<LineDiscount>,
    pub taxes: Vec<LineTax>,
    pub net: Money,
    pub tax: Money,
    pub gross: Money,
}

/// An option as it was shown: "Colour: red".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineOption {
    pub name: String,
    pub value: String,
}

/// What a quoted line is of: with it, it becomes an order's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderItem {
    pub kind: String,
    pub variant_id: Option<VariantId>,
    pub product_id: Option<ProductId>,
    pub sku: Option<String>,
    pub title: String,
    pub options: Vec<LineOption>,
    pub parent_line_id: Option<LineId>,
    pub price_source: String,
}

impl OrderLine {
    #[must_use]
    pub fn new(item: OrderItem, quoted: QuoteLine) -> Self {
        Self {
            line_id: quoted.line_id,
            kind: item.kind,
            variant_id: item.variant_id,
            product_id: item.product_id,
            sku: item.sku,
            title: item.title,
            options: item.options,
            parent_line_id: item.parent_line_id,
            quantity: quoted.quantity,
            unit_price: quoted.unit_price,
            price_source: item.price_source,
            tax_category: quoted.tax_category,
            requires_shipping: quoted.requires_shipping,
            subtotal: quoted.subtotal,
            discounts: quoted.discounts,
            taxes: quoted.taxes,
            net: quoted.net,
            tax: quoted.tax,
            gross: quoted.gross,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fee {
    pub kind: String,
    pub title: String,
    pub net: Money,
    pub tax: Money,
    pub gross: Money,
}

/// The stock that is held for a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderHold {
    pub line_id: LineId,
    pub hold_id: HoldId,
    pub parts: Vec<Part>,
}

/// A part of the total and how it is to be paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tender {
    pub tender_id: TenderId,
    /// `payment` today.
    pub kind: String,
    /// What the kind refers to, such as the provider's name.
    #[serde(rename = "ref")]
    pub reference: String,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaymentOpened {
    pub payment_id: PaymentId,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaymentClosed {
    pub payment_id: PaymentId,
    /// `authorized`, `failed`, `voided`.
    pub outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub covered_by: Vec<Cover>,
}

/// How much of the total a tender covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    pub tender_id: TenderId,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderExpired {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReinstated {
    pub payment_id: PaymentId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLinesCancelled {
    pub cancellation_id: CancellationId,
    pub lines: Vec<CancelledLine>,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Personal<String>>,
}

/// Cancelled units and what they were worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledLine {
    pub line_id: LineId,
    pub quantity: u32,
    pub net: Money,
    pub tax: Money,
    pub gross: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub reason: String,
    /// `shopper`, `merchant`, `system`.
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderHeld {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReleased {
    pub reason: String,
}

/// Only the fields that were corrected are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderContactCorrected {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Personal<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Personal<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Personal<Address>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Personal<Address>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCompleted {}

/// Units have left together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLinesShipped {
    pub fulfilment_id: FulfilmentId,
    pub lines: Vec<ShippedLine>,
    /// The carrier's number or address of the parcel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<Personal<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippedLine {
    pub line_id: LineId,
    pub quantity: u32,
}

/// What had left has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipmentDelivered {
    pub fulfilment_id: FulfilmentId,
}

events! {
    /// What happened to an order.
    pub enum OrderEvent {
        OrderPlaced(Box<OrderPlaced>) = "OrderPlaced", 1;
        OrderPaymentOpened(OrderPaymentOpened) = "OrderPaymentOpened", 1;
        OrderPaymentClosed(OrderPaymentClosed) = "OrderPaymentClosed", 1;
        OrderConfirmed(OrderConfirmed) = "OrderConfirmed", 1;
        OrderExpired(OrderExpired) = "OrderExpired", 1;
        OrderReinstated(OrderReinstated) = "OrderReinstated", 1;
        OrderLinesCancelled(OrderLinesCancelled) = "OrderLinesCancelled", 1;
        OrderCancelled(OrderCancelled) = "OrderCancelled", 1;
        OrderHeld(OrderHeld) = "OrderHeld", 1;
        OrderReleased(OrderReleased) = "OrderReleased", 1;
        OrderContactCorrected(Box<OrderContactCorrected>) = "OrderContactCorrected", 1;
        OrderCompleted(OrderCompleted) = "OrderCompleted", 1;
        OrderLinesShipped(OrderLinesShipped) = "OrderLinesShipped", 1;
        OrderShipmentDelivered(OrderShipmentDelivered) = "OrderShipmentDelivered", 1;
    }
}
