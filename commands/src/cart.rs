//! Carts: what the shopper wants. Each function is a decision, to be run by the writer.

use domain::cart::{Cart, CartCommand, CartCreated, CartLimits, CartLine, CartRejection};
use domain::catalog::{Price, Product, STOREFRONT, Stage, Variant};
use domain::id::{CartKey, LineId, ProductId, SubjectId, VariantId};
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
    let price = price_of(variant, currency, quantity, now)?;
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
    let invalid = |pointer: &str, code: &str| {
        let error = FieldError { pointer: pointer.to_owned(), code: code.to_owned(), detail: detail.clone() };
        Refusal { errors: vec![error], ..Refusal::new("validation_failed", format!("{pointer}: {detail}")) }
    };
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
