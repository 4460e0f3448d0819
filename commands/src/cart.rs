//! Carts: what the shopper wants. Each function is a decision, to be run by the writer.

use domain::cart::{COUPONS_MAX, Cart, CartCommand, CartCreated, CartLimits, CartLine, CartRejection, CartStage};
use domain::catalog::{Price, Product, STOREFRONT, Stage, Variant};
use domain::claim::{Claim, ClaimCommand, ClaimKey};
use domain::customer::{Subject, SubjectCommand};
use domain::id::{CartKey, CustomerId, LineId, ProductId, SubjectId, VariantId};
use domain::money::Currency;
use domain::personal::Purpose;
use infra::sealing::KeyScope;

use crate::answer::{FieldError, Refusal};
use crate::catalog::check_version;
use crate::streams::{Stop, Streams};

/// A variant and the product whose stream it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sellable {
    pub product_id: ProductId,
    pub variant_id: VariantId,
}

/// Which line a caller means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineRef {
    Id(LineId),
    Sku(String),
}

/// A cart that must be there, at the version the caller has seen if it said one.
#[derive(Debug, Clone)]
pub struct CartAt {
    pub key: CartKey,
    pub if_match: Option<i64>,
}

/// A cart as a command has left it, and its version.
pub type Outcome = (Cart, i64);

pub fn create(streams: &mut Streams<'_>, key: &CartKey, created: &CartCreated) -> Result<Outcome, Stop> {
    let events = streams.create::<Cart>(key.as_str())?.decide(CartCommand::Create(created.clone())).map_err(refusal)?;
    emit(streams, key, created.subject_id, events)?;
    streams.answer_with::<Cart>(201, key.as_str());
    streams.outcome(key.as_str())
}

/// Adds units of a variant; they join a line of the same variant.
pub fn add_line(
    streams: &mut Streams<'_>,
    cart: &CartAt,
    sellable: Sellable,
    line_id: LineId,
    quantity: u32,
    limits: CartLimits,
) -> Result<Outcome, Stop> {
    let currency = currency_of(streams, cart)?;
    let now = streams.now;
    let product = streams.get::<Product>(&sellable.product_id.to_string())?;
    let variant = sellable_variant(product, sellable.variant_id)?;
    let price = price_of(variant, currency, quantity, now).map_err(|refusal| {
        let detail = refusal.detail.clone();
        refusal.error("", "unsupported_currency", detail)
    })?;
    let line = CartLine {
        line_id,
        variant_id: sellable.variant_id,
        sku: variant.sku.clone(),
        quantity,
        price_seen: price.price,
        parent_line_id: None,
        properties: None,
    };
    change(streams, cart, CartCommand::AddLine { line, limits })
}

/// Sets a line's quantity; 0 removes it.
pub fn set_quantity(streams: &mut Streams<'_>, cart: &CartAt, line: &LineRef, quantity: u32, limits: CartLimits) -> Result<Outcome, Stop> {
    let line_id = find_line(streams.get::<Cart>(cart.key.as_str())?, line)?;
    let command = match quantity {
        0 => CartCommand::RemoveLine { line_id, reason: "shopper".to_owned() },
        quantity => CartCommand::SetQuantity { line_id, quantity, limits },
    };
    change(streams, cart, command)
}

/// A customer's cart as a claim has left it: the one that was claimed, or the one that has taken its lines.
#[derive(Debug, Clone)]
pub struct Taken {
    pub key: CartKey,
    pub outcome: Outcome,
}

/// A customer takes a guest's cart. If the customer has an open one already, that takes the lines and coupons, as many as the limits
/// allow, and the guest's is over.
pub fn claim(streams: &mut Streams<'_>, cart: &CartAt, customer_id: CustomerId, limits: CartLimits) -> Result<Taken, Stop> {
    let id = cart.key.as_str();
    let version = streams.version::<Cart>(id)?;
    check_version(cart.if_match, version)?;
    let guest = streams.get::<Cart>(id)?.clone();
    guest.check_open().map_err(refusal)?;
    if guest.customer_id.is_some_and(|owner| owner != customer_id) {
        return Err(refusal(CartRejection::OtherCustomer).into());
    }
    let claim_id = ClaimKey::customer_cart(customer_id).stream_id();
    let holder = streams.get::<Claim>(&claim_id)?.holder.clone().map(CartKey::new);
    if let Some(own_key) = holder.clone().filter(|own_key| *own_key != cart.key) {
        let own = streams.get::<Cart>(own_key.as_str())?.clone();
        if own.stage == CartStage::Open {
            return merge(streams, (&own_key, own), (&cart.key, guest), limits);
        }
    }
    // Personal data that the cart has stay under the subject that they were sealed for.
    let subject_id = guest.subject_id;
    let events = guest.decide(CartCommand::Claim { customer_id, subject_id }).map_err(refusal)?;
    emit(streams, &cart.key, subject_id, events)?;
    link(streams, customer_id, subject_id)?;
    let releases = holder.filter(|holder| *holder != cart.key).map(|holder| ClaimCommand::Release { by: holder.to_string() });
    for command in releases.into_iter().chain([ClaimCommand::Take { by: cart.key.to_string() }]) {
        let events = streams.after::<Claim>(&claim_id)?.decide(command);
        streams.emit::<Claim>(&claim_id, events.map_err(|e| Refusal::new("conflict", e.to_string()))?, None)?;
    }
    streams.answer_with::<Cart>(200, id);
    Ok(Taken { key: cart.key.clone(), outcome: streams.outcome(id)? })
}

fn merge(
    streams: &mut Streams<'_>,
    (own_key, mut own): (&CartKey, Cart),
    (key, guest): (&CartKey, Cart),
    limits: CartLimits,
) -> Result<Taken, Stop> {
    let lines = guest.lines.clone();
    let mut commands = vec![CartCommand::Merge { from_cart: key.clone(), lines, limits }];
    let room = COUPONS_MAX.saturating_sub(own.coupons.len());
    let coupons = guest.coupons.iter().filter(|coupon| own.coupons.iter().all(|other| other.coupon_id != coupon.coupon_id));
    commands.extend(coupons.take(room).map(|c| CartCommand::ApplyCoupon { promotion_id: c.promotion_id, coupon_id: c.coupon_id }));
    let subject_id = own.subject_id;
    for command in commands {
        let events = own.decide(command).map_err(refusal)?;
        for event in &events {
            own.apply(event);
        }
        emit(streams, own_key, subject_id, events)?;
    }
    let over = guest.decide(CartCommand::Expire).map_err(refusal)?;
    emit(streams, key, guest.subject_id, over)?;
    streams.answer_with::<Cart>(200, own_key.as_str());
    Ok(Taken { key: own_key.clone(), outcome: streams.outcome(own_key.as_str())? })
}

/// The customer and the guest are one person.
fn link(streams: &mut Streams<'_>, customer_id: CustomerId, guest: SubjectId) -> Result<(), Stop> {
    let from = SubjectId::new(customer_id.uuid());
    if from == guest {
        return Ok(());
    }
    let id = from.to_string();
    let events = streams.get::<Subject>(&id)?.decide(SubjectCommand::Link { from, to: guest });
    streams.emit::<Subject>(&id, events.map_err(|e| Refusal::new("subject_erased", e.to_string()))?, None)
}

/// Runs one command of the cart's own on a cart that is there.
pub fn change(streams: &mut Streams<'_>, cart: &CartAt, command: CartCommand) -> Result<Outcome, Stop> {
    let id = cart.key.as_str();
    let version = streams.version::<Cart>(id)?;
    check_version(cart.if_match, version)?;
    let state = streams.get::<Cart>(id)?;
    let subject_id = state.subject_id;
    let events = state.decide(command).map_err(refusal)?;
    emit(streams, &cart.key, subject_id, events)?;
    streams.answer_with::<Cart>(200, id);
    streams.outcome(id)
}

pub(crate) fn emit(
    streams: &mut Streams<'_>,
    key: &CartKey,
    subject_id: SubjectId,
    events: Vec<domain::cart::CartEvent>,
) -> Result<(), Stop> {
    let scope = KeyScope { subject_id: subject_id.uuid(), purpose: Purpose::Account.as_str() };
    streams.emit::<Cart>(key.as_str(), events, Some(scope))
}

fn currency_of(streams: &mut Streams<'_>, cart: &CartAt) -> Result<Currency, Stop> {
    let state = streams.get::<Cart>(cart.key.as_str())?;
    state.currency.ok_or_else(|| Refusal::not_found("cart").into())
}

/// The line that a caller means.
pub fn find_line(cart: &Cart, line: &LineRef) -> Result<LineId, Refusal> {
    match line {
        LineRef::Id(line_id) => Ok(*line_id),
        LineRef::Sku(sku) => {
            let mut found = cart.lines.iter().filter(|l| l.sku.as_deref() == Some(sku));
            match (found.next(), found.next()) {
                (Some(line), None) => Ok(line.line_id),
                (Some(_), Some(_)) => Err(Refusal::new("ambiguous_line", format!("several lines have the SKU {sku}; use the line's id"))),
                (None, _) => Err(Refusal::not_found("line")),
            }
        }
    }
}

/// A variant that shoppers may buy: of a published product.
pub(crate) fn sellable_variant(product: &Product, variant_id: VariantId) -> Result<&Variant, Refusal> {
    let published = product.stage == Stage::Live && product.channels.contains(STOREFRONT);
    product.variant(variant_id).filter(|_| published).ok_or_else(|| Refusal::not_found("product on sale"))
}

/// The price in a currency, of the prices that hold now.
pub fn price_of(variant: &Variant, currency: Currency, quantity: u32, now: chrono::DateTime<chrono::Utc>) -> Result<&Price, Refusal> {
    let in_currency = variant.prices.iter().filter(|p| p.price.currency() == currency && p.min_quantity <= quantity.max(1));
    let price = in_currency.filter(|p| p.holds_at(now)).max_by_key(|p| p.min_quantity);
    price.ok_or_else(|| {
        let sku = variant.sku.as_deref().unwrap_or("this variant");
        Refusal::new("unsupported_currency", format!("{sku} has no price in {currency}; choose another currency"))
    })
}

/// A domain's "no" in the words of the interface.
#[must_use]
pub fn refusal(rejection: CartRejection) -> Refusal {
    let detail = rejection.to_string();
    let invalid =
        |pointer: &str, code: &str| Refusal::new("validation_failed", format!("{pointer}: {detail}")).error(pointer, code, detail.clone());
    match rejection {
        // Somebody else's cart is not there, as far as the caller learns.
        CartRejection::NotFound | CartRejection::OtherCustomer => Refusal::not_found("cart"),
        CartRejection::LineNotFound { .. } => Refusal::not_found("line"),
        CartRejection::CheckoutInProgress { order_id } | CartRejection::Completed { order_id } => {
            Refusal::new("cart_closed", format!("{detail}; start a new cart")).fact("order_id", order_id.to_string())
        }
        CartRejection::Expired => Refusal::new("cart_closed", format!("{detail}; start a new cart")),
        CartRejection::Exists | CartRejection::LineExists { .. } => Refusal::new("already_exists", detail),
        CartRejection::QuantityZero | CartRejection::QuantityLimit { .. } => invalid("/quantity", rejection.code()),
        CartRejection::LineLimit { .. } => invalid("", rejection.code()),
        CartRejection::CouponLimit => invalid("/code", rejection.code()),
        CartRejection::CurrencyMismatch { .. } | CartRejection::CurrencyFixed => invalid("/currency", rejection.code()),
        CartRejection::CountryInvalid { .. } => invalid("/country", rejection.code()),
        CartRejection::ContactInvalid { errors } => {
            let errors = errors.into_iter().map(|e| FieldError { pointer: e.pointer, code: e.code, detail: e.detail });
            Refusal {
                errors: errors.collect(),
                ..Refusal::new("validation_failed", "some fields of the contact are missing or wrong; see errors")
            }
        }
        CartRejection::CheckoutIncomplete { missing } => {
            Refusal::new("cart_incomplete", format!("{detail}; supply it, then check out")).fact("missing", missing)
        }
        CartRejection::OtherOrder { .. } => Refusal::new("invalid_state", detail),
    }
}
