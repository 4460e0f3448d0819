//! The shop's terms as a decision needs them: limits, tax rates, shipping methods. Values: as configured, or with what the
//! store's settings say ([`crate::setting::in_force`]).

use domain::cart::CartLimits;
use domain::id::LocationId;
use domain::money::Rounding;
use domain::pricing::{ShippingMethod, TaxRate};

/// What a cart is priced and an order is placed by.
#[derive(Debug, Clone)]
pub struct Terms {
    pub prices_include_tax: bool,
    pub rounding: Rounding,
    pub tax_rates: Vec<TaxRate>,
    pub shipping_methods: Vec<ShippingMethod>,
    pub cart_limits: CartLimits,
    /// Where stock is taken from, first to last.
    pub allocation_order: Vec<LocationId>,
    /// How long an unpaid order holds its stock.
    pub payment_window: chrono::Duration,
    /// BCP 47; what an order is written in when the cart names none.
    pub language: String,
}
