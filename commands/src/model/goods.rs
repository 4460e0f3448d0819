//! The values that the model's commands are given: one product, carts with one unit of it each, ids made of numbers.
//!
//! What the program takes from its callers, from the configuration and from the provider is made here and nowhere else in the
//! model.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use domain::cart::{Address, Cart, CartCommand, CartCreated, CartLimits, CartLine, ContactDraft};
use domain::catalog::{Price, Product, ProductCommand, ProductDraft, VariantDraft};
use domain::id::{CartKey, OperationId, OrderId, PaymentId, VariantId};
use domain::inventory::{StockCommand, StockItem, StockPolicy};
use domain::money::{Money, Rounding};
use domain::payment::{CaptureMode, Evidence, OperationKind};
use infra::sealing::MasterKey;
use uuid::Uuid;

use super::command::{Passed, Placing, Said, Told};
use super::provider::Amount;
use super::shop::{ATTEMPTS, CHECKOUTS, cart_of, order_of};
use crate::cart::CartAt;
use crate::checkout::{Attempt, Checkout};
use crate::inventory::first_location;
use crate::payment::{self, Completes, Late, Reported};
use crate::provider::{FactKind, ProviderFact};
use crate::terms::Terms;

/// What an order comes to.
pub(super) const TOTAL: Amount = 1_000;
const CURRENCY: &str = "EUR";
/// How long an order waits for its payment.
const PAYMENT_WINDOW: Duration = Duration::hours(1);
/// How long after that it waits for an outcome that is unknown, and may be revived by late money.
pub(super) const PATIENCE: Duration = Duration::hours(1);

pub(super) struct Goods {
    pub(super) product: Product,
    pub(super) variant_id: VariantId,
    /// As it is before anybody buys.
    pub(super) stock: StockItem,
    terms: Arc<Terms>,
    capture: CaptureMode,
}

impl Goods {
    pub(super) fn new(units: u32, capture: CaptureMode) -> Self {
        let (product, variant_id) = product();
        let location_id = first_location();
        let mut stock = StockItem::default();
        let open = StockCommand::Open { policy: StockPolicy::Deny, low_stock_threshold: None };
        let receive = StockCommand::Receive { receipt_id: id("receipt", 0).into(), location_id, quantity: units, unit_cost: None };
        for command in [open, receive] {
            for event in stock.decide(command).expect("stock can be opened and received") {
                stock.apply(&event);
            }
        }
        let terms = Terms {
            prices_include_tax: true,
            rounding: Rounding::HalfUp,
            tax_rates: vec![],
            shipping_methods: vec![],
            cart_limits: CartLimits::default(),
            allocation_order: vec![location_id],
            payment_window: PAYMENT_WINDOW,
            language: "en".to_owned(),
        };
        Self { product, variant_id, stock, terms: Arc::new(terms), capture }
    }

    /// A cart that is ready to be checked out.
    pub(super) fn cart(&self, cart: usize) -> Cart {
        let created = CartCreated {
            subject_id: id("subject", cart).into(),
            customer_id: None,
            channel: "storefront".to_owned(),
            currency: CURRENCY.parse().expect("a currency"),
            country: None,
            language: None,
        };
        let line = CartLine {
            line_id: id("line", cart).into(),
            variant_id: self.variant_id,
            sku: None,
            quantity: 1,
            price_seen: euros(TOTAL),
            parent_line_id: None,
            properties: None,
        };
        let address = Address {
            name: text("Ada"),
            line1: text("Way 1"),
            city: text("Berlin"),
            postal_code: text("10115"),
            country: text("DE"),
            ..Address::default()
        };
        let contact = ContactDraft { email: text("ada@example.org"), phone: None, shipping_address: address, billing_address: None };
        let commands = [
            CartCommand::Create(created),
            CartCommand::AddLine { line, limits: CartLimits::default() },
            CartCommand::SetContact(Box::new(contact)),
        ];
        let mut filled = Cart::default();
        for command in commands {
            for event in filled.decide(command).expect("a cart can be filled") {
                filled.apply(&event);
            }
        }
        filled
    }

    /// A checkout that would make this order and pay it so.
    pub(super) fn checkout(&self, Placing { cart, order, payment }: Placing) -> Checkout {
        Checkout {
            cart: CartAt { key: cart_key(cart), if_match: None },
            products: HashMap::from([(self.variant_id, Some(self.product.product_id))]),
            order_id: order_id(order),
            numbers: vec![format!("NUMBER{order}")],
            tender_id: id("tender", order).into(),
            attempt: payment.map(|payment| self.attempt(payment)),
            expected_total: None,
            promotions: Vec::new(),
            // Hashes addresses where a cart has coupons, and these have none.
            master: MasterKey::parse(&"A".repeat(43)).expect("43 characters are 32 bytes"),
            terms: Arc::clone(&self.terms),
            terms_seen: None,
            promotions_seen: None,
        }
    }

    pub(super) fn attempt(&self, payment: usize) -> Attempt {
        Attempt {
            payment_id: payment_id(payment),
            operation_id: id("authorize", payment).into(),
            provider: "sandbox".to_owned(),
            capture: self.capture,
            attempts_max: ATTEMPTS,
        }
    }
}

/// The statement as it comes over the wire, read as the program reads it.
pub(super) fn reported(told: &Told) -> Reported {
    let kind = match told.said {
        Said::Authorized => FactKind::Authorized,
        Said::Declined => FactKind::Declined,
        Said::ActionRequired => FactKind::ActionRequired,
        Said::Captured => FactKind::Captured,
        Said::CaptureFailed => FactKind::CaptureFailed,
        Said::Voided => FactKind::Voided,
        Said::VoidFailed => FactKind::VoidFailed,
        Said::Refunded => FactKind::RefundSucceeded,
        Said::RefundFailed => FactKind::RefundFailed,
        Said::Unknown | Said::NeverArrived | Said::NothingToVoid => return concluded(told),
    };
    let fact = ProviderFact {
        provider_event_id: Some(format!("{}:{:?}", told.operation_id, told.said)),
        merchant_reference: payment_id(told.payment).uuid(),
        provider_ref: format!("pay_{}", told.payment),
        provider_operation_ref: format!("op_{}", told.operation_id),
        idempotency_key: told.operation_id.to_string(),
        kind,
        amount: i64::from(told.amount),
        currency: CURRENCY.to_owned(),
        code: None,
        next_action: None,
        expires_at: None,
        method: None,
        refund_reference: told.refund_id.map(|refund_id| refund_id.to_string()),
    };
    payment::reported(&fact, "webhook").expect("a final statement says something")
}

/// What the reactor concludes from no answer, or from a provider that has never heard of the payment.
fn concluded(told: &Told) -> Reported {
    let fact = match told.said {
        Said::NeverArrived => domain::payment::ProviderFact::AuthorizationFailed { code: text("never_arrived"), category: text("lost") },
        Said::NothingToVoid => domain::payment::ProviderFact::VoidFailed { code: text(payment::NOTHING_TO_VOID) },
        // Which operation it was is for people; the evidence names it.
        _ => domain::payment::ProviderFact::Unknown { operation: OperationKind::Authorize },
    };
    let evidence = Evidence { operation_id: told.operation_id, source: text("response"), provider_event_id: None, provider_ref: None };
    Reported { payment_id: payment_id(told.payment), evidence, fact, completes: Completes::Nothing, action_url: None }
}

/// The time of a decision on an order: orders are placed in the beginning, and that time passes is a step of its own.
pub(super) fn at(passed: Passed) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
        + match passed {
            Passed::Nothing => Duration::zero(),
            Passed::Deadline => PAYMENT_WINDOW,
            Passed::Patience => PAYMENT_WINDOW + PATIENCE + Duration::hours(1),
        }
}

/// How late money may come and still be of use.
pub(super) const fn late() -> Late {
    Late { reinstate_window: PATIENCE }
}

pub(super) fn cart_key(cart: usize) -> CartKey {
    CartKey::new(format!("cart-{}", cart_name(cart)))
}

pub(super) fn order_id(order: usize) -> OrderId {
    id("order", order).into()
}

pub(super) fn payment_id(payment: usize) -> PaymentId {
    id("payment", payment).into()
}

/// What a merchant asks for, the nth thing of a payment.
pub(super) fn merchants(payment: usize, place: usize) -> OperationId {
    id(&format!("merchant {place}"), payment).into()
}

pub(super) fn cart_name(cart: usize) -> &'static str {
    ["A", "B"][cart]
}

/// `A2`: the second order of cart A.
pub(super) fn order_name(order: usize) -> String {
    format!("{}{}", cart_name(cart_of(order)), order % CHECKOUTS + 1)
}

/// `A2.1`: the first attempt to pay order A2.
pub(super) fn payment_name(payment: usize) -> String {
    format!("{}.{}", order_name(order_of(payment)), payment % ATTEMPTS + 1)
}

/// The kind in letters, then the number: made in no time, and readable.
fn id(kind: &str, number: usize) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..kind.len()].copy_from_slice(kind.as_bytes());
    bytes[15] = u8::try_from(number).expect("a small model");
    Uuid::from_bytes(bytes)
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn euros(amount: Amount) -> Money {
    Money::new(i64::from(amount), CURRENCY.parse().expect("a currency")).expect("a small amount")
}

fn product() -> (Product, VariantId) {
    let variant_id = VariantId::from(id("variant", 0));
    let price = Price {
        price_list_id: id("price list", 0).into(),
        price: euros(TOTAL),
        compare_at: None,
        includes_tax: true,
        min_quantity: 1,
        valid_from: None,
        valid_until: None,
    };
    let variant = VariantDraft { variant_id, track_stock: true, prices: vec![price], ..VariantDraft::default() };
    let draft = ProductDraft {
        product_id: id("product", 0).into(),
        handle: "mug".to_owned(),
        title: BTreeMap::from([("en".to_owned(), "Mug".to_owned())]),
        description: BTreeMap::new(),
        brand: String::new(),
        kind: String::new(),
        tags: vec![],
        options: vec![],
        attributes: vec![],
        category_ids: vec![],
        tax_category: "standard".to_owned(),
        media: vec![],
        variants: vec![variant],
        published: true,
        source: None,
    };
    let mut product = Product::default();
    for event in product.decide(ProductCommand::Put(Box::new(draft))).expect("the product can be made") {
        product.apply(&event);
    }
    (product, variant_id)
}
