//! The catalogue as it is read: products with their variants, and the tree of categories.
//!
//! A row keeps the aggregate; the columns beside it are the ways to find one. Relies on the log for keys being unique
//! (claims), so no index here enforces it: a rebuild reads what happened, it does not judge.

use std::collections::{BTreeMap, HashMap};

use cqrs_es::Aggregate;
use domain::catalog::{Attribute, Category, CategoryFacts, Product, STOREFRONT, Stage};
use domain::claim::ClaimKey;
use domain::id::{CategoryId, ProductId, VariantId};
use infra::event_log::StoredEvent;
use sqlx::{PgConnection, PgPool};

use crate::projector::{ApplyError, Projection};
use crate::state::{self, Changed, Folded, Row, json_bytes, strides};

/// Most categories that one answer holds.
pub const CATEGORIES_MAX: i64 = 10_000;
/// Longest tag or entity that is taken for one, in bytes.
const TAG_BYTES_MAX: usize = 2_048;
const ENTITY_BYTES_MAX: usize = 10;
/// Tags that stand within a line.
const INLINE_TAGS: [&str; 14] = ["a", "abbr", "b", "code", "em", "font", "i", "mark", "small", "span", "strong", "sub", "sup", "u"];

/// The tables `product`, `variant` and `category`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProductProjection;

impl Projection for ProductProjection {
    const NAME: &'static str = "product";
    const VERSION: i32 = 1;
    const DDL: &'static str = include_str!("product.sql");
    const TABLES: &'static [(&'static str, &'static str)] = &[(Product::TYPE, "product"), (Category::TYPE, "category")];

    const TYPES: &'static [&'static str] = &[Product::TYPE, Category::TYPE];
    type States = ProductStates;

    async fn fold(events: &[StoredEvent], states: &mut ProductStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        states.products.fold(events, connection, "product").await?;
        states.categories.fold(events, connection, "category").await
    }

    async fn write(states: &mut ProductStates, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let products = states.products.unwritten()?;
        for products in strides(&products) {
            put_products(products, connection).await?;
        }
        // Of all at once: a variant may have moved from one to another.
        if !products.is_empty() {
            remove_variants(&products, connection).await?;
            put_variants(&products, connection).await?;
        }
        let bytes = json_bytes(&products);
        states.products.written(bytes);
        let categories = states.categories.unwritten()?;
        for categories in strides(&categories) {
            put_categories(categories, connection).await?;
        }
        let bytes = json_bytes(&categories);
        states.categories.written(bytes);
        Ok(())
    }
}

/// Products and categories as they are folded.
#[derive(Debug, Default)]
pub struct ProductStates {
    products: Folded<Product>,
    categories: Folded<Category>,
}

/// On the storefront, and for sale.
#[must_use]
pub fn is_published(product: &Product) -> bool {
    product.stage == Stage::Live && product.channels.contains(STOREFRONT)
}

/// An attribute's value as answers, filters and facets write it.
#[must_use]
pub fn attribute_text(attribute: &Attribute) -> String {
    match &attribute.unit {
        Some(unit) => format!("{} {unit}", attribute.value),
        None => attribute.value.clone(),
    }
}

/// Whether a text has markup: a merchant's description is plain text or HTML.
#[must_use]
pub fn has_markup(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| tag(&text[at..]).is_some())
}

/// A text without its markup: tags that end a line become one, entities become what they stand for.
#[must_use]
pub fn plain_text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((name, after)) = tag(rest) {
            let is_code = matches!(name.as_str(), "script" | "style") && !rest.starts_with("</");
            rest = if is_code { after.find("</").map_or("", |end| &after[end..]) } else { after };
            if !INLINE_TAGS.contains(&name.as_str()) {
                plain.push('\n');
            }
        } else if let Some((character, after)) = entity(rest) {
            plain.push(character);
            rest = after;
        } else {
            plain.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    plain.push_str(rest);
    let lines = plain.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// A product by its id or its handle; archived ones have no handle any more.
pub async fn find(pool: &PgPool, id_or_handle: &str) -> Result<Option<Row<Product>>, sqlx::Error> {
    named(pool, id_or_handle).await?.map(state::decode_row).transpose()
}

/// As [`find`], the row as it is.
pub(crate) async fn named(pool: &PgPool, id_or_handle: &str) -> Result<Option<(String, i64, i64, String)>, sqlx::Error> {
    if !is_storable(id_or_handle) {
        return Ok(None);
    }
    sqlx::query_as(
        "SELECT id, version, position, state::text FROM product WHERE id = $1 OR handle = $2
         ORDER BY id = $1 DESC LIMIT 1",
    )
    .bind(id_or_handle.to_lowercase())
    .bind(ClaimKey::handle(id_or_handle).key)
    .fetch_optional(pool)
    .await
}

/// A live product, and the key that it is listed by.
#[derive(Debug)]
pub struct Listed {
    pub key: String,
    pub product: Product,
}

/// Products that are not archived, by handle, after a key.
pub async fn listed(pool: &PgPool, after: &str, limit: i64) -> Result<Vec<Listed>, sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT handle, state::text FROM product WHERE handle > $1 ORDER BY handle LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    let decode = |(key, state): (String, String)| {
        let product = serde_json::from_str(&state).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Listed { key, product })
    };
    rows.into_iter().map(decode).collect()
}

/// The variants that have these skus now, each with its product.
pub async fn variants_by_skus(pool: &PgPool, skus: &[String]) -> Result<Vec<(VariantId, ProductId)>, sqlx::Error> {
    let skus: Vec<String> = skus.iter().filter(|sku| is_storable(sku)).map(|sku| ClaimKey::sku(sku).key).collect();
    let select = sqlx::query_as("SELECT variant_id, product_id FROM variant WHERE sku = ANY ($1) ORDER BY variant_id");
    variants_and_products(&select.bind(skus).fetch_all(pool).await?)
}

/// Those of these variants that a product has, or had, each with its product.
pub async fn of_variants(pool: &PgPool, variant_ids: &[VariantId]) -> Result<Vec<(VariantId, ProductId)>, sqlx::Error> {
    let ids: Vec<String> = variant_ids.iter().map(ToString::to_string).collect();
    let select = sqlx::query_as("SELECT variant_id, product_id FROM variant WHERE variant_id = ANY ($1)");
    variants_and_products(&select.bind(ids).fetch_all(pool).await?)
}

fn variants_and_products(found: &[(String, String)]) -> Result<Vec<(VariantId, ProductId)>, sqlx::Error> {
    let decoded = found.iter().map(|(variant_id, product_id)| Ok((variant_id.parse()?, product_id.parse()?)));
    decoded.collect::<Result<_, uuid::Error>>().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// No text of the database has U+0000, and it refuses to be asked for one.
fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// All categories that are not archived: siblings in their order, each after its elder ones.
pub async fn categories(pool: &PgPool) -> Result<Vec<CategoryFacts>, sqlx::Error> {
    let found: Vec<(String, i64, i64, String)> =
        sqlx::query_as("SELECT id, version, position, state::text FROM category WHERE handle IS NOT NULL ORDER BY id LIMIT $1")
            .bind(CATEGORIES_MAX)
            .fetch_all(pool)
            .await?;
    let rows: Vec<Row<Category>> = found.into_iter().map(state::decode_row).collect::<Result<_, _>>()?;
    let mut live: Vec<CategoryFacts> = rows.into_iter().filter_map(|row| live_facts(row.state)).collect();
    live.sort_by(|a, b| (a.position, &a.handle).cmp(&(b.position, &b.handle)));
    Ok(live)
}

/// The handles of those categories that are not archived.
pub async fn category_handles(pool: &PgPool, ids: &[CategoryId]) -> Result<HashMap<CategoryId, String>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let found: Vec<Row<Category>> = state::rows(pool, "category", &ids).await?;
    let live = found.into_iter().filter_map(|row| live_facts(row.state));
    Ok(live.map(|facts| (facts.category_id, facts.handle)).collect())
}

/// What a category is, unless it is archived.
#[must_use]
pub fn live_facts(category: Category) -> Option<CategoryFacts> {
    match category {
        Category::Live(facts) => Some(facts),
        Category::Absent | Category::Archived(_) => None,
    }
}

/// The name of the tag or comment that a text begins with, in lower case, and what follows it.
fn tag(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('<')?;
    let name = inside.strip_prefix('/').unwrap_or(inside);
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '!') {
        return None;
    }
    let end = inside.bytes().take(TAG_BYTES_MAX).position(|byte| byte == b'>')?;
    let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
    Some((name.to_ascii_lowercase(), &inside[end + 1..]))
}

/// The character that the entity at the beginning of a text stands for, and what follows it.
fn entity(text: &str) -> Option<(char, &str)> {
    let inside = text.strip_prefix('&')?;
    let end = inside.bytes().take(ENTITY_BYTES_MAX).position(|byte| byte == b';')?;
    let character = match &inside[..end] {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        name => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((character, &inside[end + 1..]))
}

async fn put_products(products: &[Changed<'_, Product>], connection: &mut PgConnection) -> Result<(), ApplyError> {
    sqlx::query(
        "INSERT INTO product (id, version, position, state, handle, published, created_at)
         SELECT id, version, position, state::json, handle, published, created_at
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[])
              AS p(id, version, position, state, handle, published, created_at)
         ON CONFLICT ON CONSTRAINT product_pk DO UPDATE
         SET version = EXCLUDED.version, position = EXCLUDED.position, state = EXCLUDED.state,
             handle = EXCLUDED.handle, published = EXCLUDED.published",
    )
    .bind(products.iter().map(|p| p.id).collect::<Vec<_>>())
    .bind(products.iter().map(|p| p.version).collect::<Vec<_>>())
    .bind(products.iter().map(|p| p.position).collect::<Vec<_>>())
    .bind(products.iter().map(|p| p.json.as_str()).collect::<Vec<_>>())
    .bind(products.iter().map(|p| handle(p.state)).collect::<Vec<_>>())
    .bind(products.iter().map(|p| is_published(p.state)).collect::<Vec<_>>())
    .bind(products.iter().map(|p| p.first_recorded_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn handle(product: &Product) -> Option<String> {
    (product.stage == Stage::Live).then(|| ClaimKey::handle(&product.handle).key)
}

/// Takes out the variants that their product no longer has.
async fn remove_variants(products: &[Changed<'_, Product>], connection: &mut PgConnection) -> Result<(), ApplyError> {
    let begun_before: Vec<&str> = products.iter().filter(|product| product.version > 1).map(|product| product.id).collect();
    if begun_before.is_empty() {
        return Ok(());
    }
    let kept = products.iter().flat_map(|product| &product.state.variants).map(|variant| variant.variant_id.to_string());
    // By a hash of what is kept, however the statement is planned: a rebuild has tens of thousands of them.
    sqlx::query(
        "DELETE FROM variant v WHERE v.product_id = ANY ($1)
         AND NOT EXISTS (SELECT FROM unnest($2::text[]) AS kept (variant_id) WHERE kept.variant_id = v.variant_id)",
    )
    .bind(begun_before)
    .bind(kept.collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_variants(products: &[Changed<'_, Product>], connection: &mut PgConnection) -> Result<(), ApplyError> {
    // Where a variant moves from an archived product to a new one within a batch, it is the living one's.
    let mut rows: BTreeMap<VariantId, (bool, i64, &str, Option<String>)> = BTreeMap::new();
    for product in products {
        let is_live = product.state.stage == Stage::Live;
        for variant in &product.state.variants {
            let sku = variant.sku.as_deref().filter(|_| is_live).map(|sku| ClaimKey::sku(sku).key);
            let row = (is_live, product.position, product.id, sku);
            let kept = rows.entry(variant.variant_id).or_insert_with(|| row.clone());
            if (row.0, row.1) > (kept.0, kept.1) {
                *kept = row;
            }
        }
    }
    sqlx::query(
        "INSERT INTO variant (variant_id, product_id, sku)
         SELECT variant_id, product_id, sku FROM unnest($1::text[], $2::text[], $3::text[]) AS v(variant_id, product_id, sku)
         ON CONFLICT ON CONSTRAINT variant_pk DO UPDATE SET product_id = EXCLUDED.product_id, sku = EXCLUDED.sku
         WHERE (variant.product_id, variant.sku) IS DISTINCT FROM (EXCLUDED.product_id, EXCLUDED.sku)",
    )
    .bind(rows.keys().map(ToString::to_string).collect::<Vec<_>>())
    .bind(rows.values().map(|row| row.2).collect::<Vec<_>>())
    .bind(rows.values().map(|row| row.3.as_deref()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_categories(categories: &[Changed<'_, Category>], connection: &mut PgConnection) -> Result<(), ApplyError> {
    let live: Vec<Option<CategoryFacts>> = categories.iter().map(|c| live_facts(c.state.clone())).collect();
    let parent = |facts: &CategoryFacts| facts.parent_id.map(|id| id.to_string());
    sqlx::query(
        "INSERT INTO category (id, version, position, state, handle, parent_id)
         SELECT id, version, position, state::json, handle, parent_id
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
              AS c(id, version, position, state, handle, parent_id)
         ON CONFLICT ON CONSTRAINT category_pk DO UPDATE
         SET version = EXCLUDED.version, position = EXCLUDED.position, state = EXCLUDED.state,
             handle = EXCLUDED.handle, parent_id = EXCLUDED.parent_id",
    )
    .bind(categories.iter().map(|c| c.id).collect::<Vec<_>>())
    .bind(categories.iter().map(|c| c.version).collect::<Vec<_>>())
    .bind(categories.iter().map(|c| c.position).collect::<Vec<_>>())
    .bind(categories.iter().map(|c| c.json.as_str()).collect::<Vec<_>>())
    .bind(live.iter().map(|c| c.as_ref().map(|c| ClaimKey::category_handle(&c.handle).key)).collect::<Vec<_>>())
    .bind(live.iter().map(|c| c.as_ref().and_then(parent)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_without_its_markup() {
        let html = "<div><p>Cold&nbsp;brew, <b>H<sub>2</sub>O</b> &amp; ice&#33;</p><style>p{x:1}</style><BR/>5 < 6 &c &#xe9;</div>";
        assert_eq!(plain_text(html), "Cold brew, H2O & ice!\n5 < 6 &c é");
        assert!(has_markup(html));
        assert!(!has_markup("5 < 6 & 7 > 2"));
        assert_eq!(plain_text("二 <br>三"), "二\n三");
    }
}
