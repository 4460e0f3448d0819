//! Carts, from the first line to the order that they become.
//!
//! A cart remembers what the shopper wants and which price was seen, never what it costs: that is
//! priced anew each time. Once a checkout has started the cart is frozen, so that the order is of
//! exactly these lines; it reopens when the order comes to nothing.

mod checkout;
mod contact;
mod edit;

pub use contact::{ADDRESS_FIELD_CHARS_MAX, Address, EMAIL_BYTES_MAX, FieldError, ShipTo, email_errors, is_country};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Root;
use crate::id::{CartKey, CouponId, CustomerId, LineId, MethodId, OrderId, PromotionId, SubjectId, VariantId};
use crate::money::{Currency, Money};
use crate::personal::Personal;

/// The most lines of a cart, unless the shop says otherwise.
pub const LINES_MAX: usize = 100;

/// The most units of a line, unless the shop says otherwise.
pub const LINE_QUANTITY_MAX: u32 = 999;

/// The most coupons of a cart.
pub const COUPONS_MAX: usize = 10;

/// How large a cart may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CartLimits {
    pub lines_max: usize,
    pub line_quantity_max: u32,
}

impl Default for CartLimits {
    fn default() -> Self {
        Self { lines_max: LINES_MAX, line_quantity_max: LINE_QUANTITY_MAX }
    }
}

/// What a shopper adds to a line ("engraving: Ada"); personal, since it is free text.
pub type Properties = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartCreated {
    pub subject_id: SubjectId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    pub channel: String,
    pub currency: Currency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLineAdded {
    pub line_id: LineId,
    pub variant_id: VariantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    pub quantity: u32,
    pub price_seen: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_line_id: Option<LineId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Personal<Properties>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLineQuantityChanged {
    pub line_id: LineId,
    pub quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLineRemoved {
    pub line_id: LineId,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartCoupon {
    pub promotion_id: PromotionId,
    pub coupon_id: CouponId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartContactSet {
    pub subject_id: SubjectId,
    pub ship_to: ShipTo,
    pub email: Personal<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Personal<String>>,
    pub shipping_address: Personal<Address>,
    /// Without one the bill goes where the goods go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Personal<Address>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartShippingOptionChosen {
    pub option_id: MethodId,
    pub price_seen: Money,
}

/// Only the fields that changed are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartSettingsChanged {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartClaimed {
    pub customer_id: CustomerId,
    pub subject_id: SubjectId,
}

/// `lines` are the lines as they are after the merge, those only that it touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartMerged {
    pub from_cart: CartKey,
    pub lines: Vec<CartLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartCheckoutStarted {
    pub order_id: OrderId,
    /// Counts the checkouts of this cart from 1.
    pub checkout_no: u32,
    pub total: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartReopened {
    pub order_id: OrderId,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartCompleted {
    pub order_id: OrderId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartExpired {}

events! {
    /// What happened to a cart.
    pub enum CartEvent {
        CartCreated(CartCreated) = "CartCreated", 1;
        CartLineAdded(CartLineAdded) = "CartLineAdded", 1;
        CartLineQuantityChanged(CartLineQuantityChanged) = "CartLineQuantityChanged", 1;
        CartLineRemoved(CartLineRemoved) = "CartLineRemoved", 1;
        CartCouponApplied(CartCoupon) = "CartCouponApplied", 1;
        CartCouponRemoved(CartCoupon) = "CartCouponRemoved", 1;
        CartContactSet(Box<CartContactSet>) = "CartContactSet", 1;
        CartShippingOptionChosen(CartShippingOptionChosen) = "CartShippingOptionChosen", 1;
        CartSettingsChanged(CartSettingsChanged) = "CartSettingsChanged", 1;
        CartClaimed(CartClaimed) = "CartClaimed", 1;
        CartMerged(CartMerged) = "CartMerged", 1;
        CartCheckoutStarted(CartCheckoutStarted) = "CartCheckoutStarted", 1;
        CartReopened(CartReopened) = "CartReopened", 1;
        CartCompleted(CartCompleted) = "CartCompleted", 1;
        CartExpired(CartExpired) = "CartExpired", 1;
    }
}

/// A contact as it was typed in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactDraft {
    pub email: String,
    #[serde(default)]
    pub phone: Option<String>,
    pub shipping_address: Address,
    #[serde(default)]
    pub billing_address: Option<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CartCommand {
    Create(CartCreated),
    /// A line of the same variant, parent and properties grows instead.
    AddLine {
        line: CartLine,
        limits: CartLimits,
    },
    /// Zero removes the line.
    SetQuantity {
        line_id: LineId,
        quantity: u32,
        limits: CartLimits,
    },
    RemoveLine {
        line_id: LineId,
        reason: String,
    },
    ApplyCoupon {
        promotion_id: PromotionId,
        coupon_id: CouponId,
    },
    RemoveCoupon {
        coupon_id: CouponId,
        reason: Option<String>,
    },
    SetContact(Box<ContactDraft>),
    ChooseShippingOption {
        option_id: MethodId,
        price_seen: Money,
    },
    ChangeSettings(CartSettingsChanged),
    /// A customer takes a guest's cart.
    Claim {
        customer_id: CustomerId,
        subject_id: SubjectId,
    },
    /// The lines of another cart are added, as many as the limits allow.
    Merge {
        from_cart: CartKey,
        lines: Vec<CartLine>,
        limits: CartLimits,
    },
    /// Freezes the cart for an order; the number of the checkout is [`Cart::next_checkout_no`].
    StartCheckout {
        order_id: OrderId,
        total: Money,
        requires_shipping: bool,
    },
    Reopen {
        order_id: OrderId,
        reason: String,
    },
    Complete {
        order_id: OrderId,
    },
    Expire,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CartRejection {
    #[error("there is no such cart")]
    NotFound,
    #[error("the cart exists already")]
    Exists,
    #[error("the cart is being checked out as order {order_id}")]
    CheckoutInProgress { order_id: OrderId },
    #[error("the cart has become order {order_id}")]
    Completed { order_id: OrderId },
    #[error("the cart has expired")]
    Expired,
    #[error("the cart has no line {line_id}")]
    LineNotFound { line_id: LineId },
    #[error("a line of {line_id} exists already")]
    LineExists { line_id: LineId },
    #[error("a quantity must be at least one")]
    QuantityZero,
    #[error("a line holds at most {max}")]
    QuantityLimit { max: u32 },
    #[error("a cart holds at most {max} lines")]
    LineLimit { max: usize },
    #[error("a cart holds at most {COUPONS_MAX} coupons")]
    CouponLimit,
    #[error("the cart is in {currency}")]
    CurrencyMismatch { currency: Currency },
    #[error("the currency can't change while the cart has lines")]
    CurrencyFixed,
    #[error("{country} is not an ISO 3166-1 alpha-2 code")]
    CountryInvalid { country: String },
    #[error("the contact is not complete or not correct")]
    ContactInvalid { errors: Vec<FieldError> },
    #[error("the cart belongs to another customer")]
    OtherCustomer,
    #[error("the checkout needs more: {}", missing.join(", "))]
    CheckoutIncomplete { missing: Vec<&'static str> },
    #[error("order {order_id} is not of this cart")]
    OtherOrder { order_id: OrderId },
}

impl CartRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "cart_not_found",
            Self::Exists => "cart_exists",
            Self::CheckoutInProgress { .. } => "checkout_in_progress",
            Self::Completed { .. } => "cart_completed",
            Self::Expired => "cart_expired",
            Self::LineNotFound { .. } => "line_not_found",
            Self::LineExists { .. } => "line_exists",
            Self::QuantityZero => "quantity_zero",
            Self::QuantityLimit { .. } => "quantity_limit",
            Self::LineLimit { .. } => "line_limit",
            Self::CouponLimit => "coupon_limit",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::CurrencyFixed => "currency_fixed",
            Self::CountryInvalid { .. } => "country_invalid",
            Self::ContactInvalid { .. } => "contact_invalid",
            Self::OtherCustomer => "cart_of_other_customer",
            Self::CheckoutIncomplete { .. } => "checkout_incomplete",
            Self::OtherOrder { .. } => "order_of_other_cart",
        }
    }
}

/// Where a cart is in its life. `Completing`: an order was placed of it and waits for its payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum CartStage {
    #[default]
    Absent,
    Open,
    Completing {
        order_id: OrderId,
        total: Money,
    },
    Completed {
        order_id: OrderId,
    },
    Expired,
}

impl CartStage {
    /// The word of the interface; a cart that doesn't exist has none.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Open => "open",
            Self::Completing { .. } => "completing",
            Self::Completed { .. } => "completed",
            Self::Expired => "expired",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    pub line_id: LineId,
    pub variant_id: VariantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    pub quantity: u32,
    /// The unit price when the line was added.
    pub price_seen: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_line_id: Option<LineId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Personal<Properties>>,
}

impl CartLine {
    /// Whether two lines are of one thing and can be one.
    fn joins(&self, other: &Self) -> bool {
        self.variant_id == other.variant_id && self.parent_line_id == other.parent_line_id && self.properties == other.properties
    }
}

/// A cart as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    pub stage: CartStage,
    pub subject_id: SubjectId,
    pub customer_id: Option<CustomerId>,
    pub channel: String,
    /// Absent only before the cart exists.
    pub currency: Option<Currency>,
    pub country: Option<String>,
    pub language: Option<String>,
    pub lines: Vec<CartLine>,
    pub coupons: Vec<CartCoupon>,
    pub contact: Option<CartContactSet>,
    pub shipping_option: Option<CartShippingOptionChosen>,
    /// The checkouts that were started, the last one included.
    pub checkouts: u32,
    /// Of the last checkout.
    pub order_id: Option<OrderId>,
}

impl Cart {
    pub fn decide(&self, command: CartCommand) -> Result<Vec<CartEvent>, CartRejection> {
        match command {
            CartCommand::Create(created) => self.create(created),
            CartCommand::StartCheckout { order_id, total, requires_shipping } => self.start_checkout(order_id, total, requires_shipping),
            CartCommand::Reopen { order_id, reason } => self.reopen(order_id, reason),
            CartCommand::Complete { order_id } => self.complete(order_id),
            CartCommand::Expire if self.stage == CartStage::Expired => Ok(vec![]),
            edit => {
                self.check_open()?;
                self.edit(edit)
            }
        }
    }

    pub fn apply(&mut self, event: &CartEvent) {
        match event {
            CartEvent::CartCreated(created) => {
                *self = Self {
                    stage: CartStage::Open,
                    subject_id: created.subject_id,
                    customer_id: created.customer_id,
                    channel: created.channel.clone(),
                    currency: Some(created.currency),
                    country: created.country.clone(),
                    language: created.language.clone(),
                    ..Self::default()
                };
            }
            CartEvent::CartLineAdded(added) => self.lines.push(CartLine::from(added)),
            CartEvent::CartLineQuantityChanged(changed) => {
                if let Some(line) = self.lines.iter_mut().find(|line| line.line_id == changed.line_id) {
                    line.quantity = changed.quantity;
                }
            }
            CartEvent::CartLineRemoved(removed) => {
                self.lines.retain(|line| line.line_id != removed.line_id);
            }
            CartEvent::CartCouponApplied(coupon) => self.coupons.push(coupon.clone()),
            CartEvent::CartCouponRemoved(removed) => {
                self.coupons.retain(|coupon| coupon.coupon_id != removed.coupon_id);
            }
            CartEvent::CartContactSet(contact) => self.contact = Some((**contact).clone()),
            CartEvent::CartShippingOptionChosen(chosen) => {
                self.shipping_option = Some(chosen.clone());
            }
            CartEvent::CartSettingsChanged(changed) => {
                self.currency = changed.currency.or(self.currency);
                self.country = changed.country.clone().or(self.country.take());
                self.language = changed.language.clone().or(self.language.take());
            }
            CartEvent::CartClaimed(claimed) => {
                self.customer_id = Some(claimed.customer_id);
                self.subject_id = claimed.subject_id;
            }
            CartEvent::CartMerged(merged) => self.take_over(&merged.lines),
            CartEvent::CartCheckoutStarted(started) => {
                self.checkouts = started.checkout_no;
                self.order_id = Some(started.order_id);
                self.stage = CartStage::Completing { order_id: started.order_id, total: started.total };
            }
            CartEvent::CartReopened(_) => self.stage = CartStage::Open,
            CartEvent::CartCompleted(completed) => {
                self.stage = CartStage::Completed { order_id: completed.order_id };
            }
            CartEvent::CartExpired(_) => self.stage = CartStage::Expired,
        }
    }

    #[must_use]
    pub fn line(&self, line_id: LineId) -> Option<&CartLine> {
        self.lines.iter().find(|line| line.line_id == line_id)
    }

    /// Where it is to be delivered, if that is known.
    #[must_use]
    pub fn ship_to(&self) -> Option<&ShipTo> {
        self.contact.as_ref().map(|contact| &contact.ship_to)
    }

    /// The number that the next checkout gets.
    #[must_use]
    pub const fn next_checkout_no(&self) -> u32 {
        self.checkouts + 1
    }

    /// What a checkout still needs, by code.
    #[must_use]
    pub fn missing(&self, requires_shipping: bool) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.lines.is_empty() {
            missing.push("lines");
        }
        if self.contact.as_ref().and_then(|contact| contact.email.known()).is_none() {
            missing.push("contact");
        }
        if requires_shipping && self.shipping_option.is_none() {
            missing.push("shipping_option");
        }
        missing
    }

    fn create(&self, created: CartCreated) -> Result<Vec<CartEvent>, CartRejection> {
        if self.stage != CartStage::Absent {
            return Err(CartRejection::Exists);
        }
        check_country(created.country.as_ref())?;
        Ok(vec![CartEvent::CartCreated(created)])
    }

    /// Whether a shopper may change it.
    pub fn check_open(&self) -> Result<(), CartRejection> {
        match self.stage {
            CartStage::Open => Ok(()),
            CartStage::Absent => Err(CartRejection::NotFound),
            CartStage::Completing { order_id, .. } => Err(CartRejection::CheckoutInProgress { order_id }),
            CartStage::Completed { order_id } => Err(CartRejection::Completed { order_id }),
            CartStage::Expired => Err(CartRejection::Expired),
        }
    }

    fn take_over(&mut self, lines: &[CartLine]) {
        for line in lines {
            match self.lines.iter_mut().find(|current| current.line_id == line.line_id) {
                Some(current) => *current = line.clone(),
                None => self.lines.push(line.clone()),
            }
        }
    }

    fn existing(&self, line_id: LineId) -> Result<&CartLine, CartRejection> {
        self.line(line_id).ok_or(CartRejection::LineNotFound { line_id })
    }

    fn check_currency(&self, money: Money) -> Result<(), CartRejection> {
        match self.currency {
            Some(currency) if currency != money.currency() => Err(CartRejection::CurrencyMismatch { currency }),
            _ => Ok(()),
        }
    }
}

aggregate!(Cart = "cart", CartCommand => CartEvent, CartRejection);

impl Root for Cart {
    const CONTEXT: &'static str = "cart";
}

fn check_country(country: Option<&String>) -> Result<(), CartRejection> {
    match country {
        Some(country) if !is_country(country) => Err(CartRejection::CountryInvalid { country: country.clone() }),
        _ => Ok(()),
    }
}

impl From<&CartLineAdded> for CartLine {
    fn from(added: &CartLineAdded) -> Self {
        let added = added.clone();
        Self {
            line_id: added.line_id,
            variant_id: added.variant_id,
            sku: added.sku,
            quantity: added.quantity,
            price_seen: added.price_seen,
            parent_line_id: added.parent_line_id,
            properties: added.properties,
        }
    }
}

impl From<CartLine> for CartLineAdded {
    fn from(line: CartLine) -> Self {
        Self {
            line_id: line.line_id,
            variant_id: line.variant_id,
            sku: line.sku,
            quantity: line.quantity,
            price_seen: line.price_seen,
            parent_line_id: line.parent_line_id,
            properties: line.properties,
        }
    }
}
