//! How the rows of a file become rows of products: as they stand, by a mapping file, or as `WooCommerce` writes them.

use super::mapping::Mapping;
use super::woocommerce::WooCommerce;

#[derive(Debug)]
pub enum Layout {
    /// Shopify's product CSV and ours.
    Plain,
    Mapped(Box<Mapping>),
    WooCommerce(Box<WooCommerce>),
}
