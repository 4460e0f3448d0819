//! The catalogue: what the store is, its products, its categories.
//!
//! The search index says which products, in which order; the read models say what they are. Both are waited for when the
//! caller has a token, and `Read-Position` is the least of them.

mod listing;
pub mod render;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use commands::answer::Position;
use domain::catalog::{CategoryFacts, Product};
use domain::id::{CategoryId, ProductId, VariantId};
use domain::inventory::StockItem;
use infra::event_log;
use projections::product::is_published;
use projections::replica::ReplicaError;
use projections::search::{Marks, SearchError, SearchRequest};
use projections::state::Row;
use projections::stock::StockLevel;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::body::Query;
use super::caller::Caller;
use super::event::resolve;
use super::money::MoneyBody;
use super::problem::Problem;
use super::reading::Read;
use crate::app::App;
use crate::auth::Role;
use listing::{Listing, currency};
pub use render::{Around, Presentation, ProductBody, image_of, render_hit, render_product};

/// Seconds that anybody may keep an answer of the catalogue.
const CACHE_S: u32 = 5;
/// Seconds that anybody may keep what the store is: it changes with its configuration.
const STORE_CACHE_S: u32 = 60;
/// Products that are suggested to what was typed so far, and queries.
const SUGGESTIONS: usize = 8;
const POPULAR_QUERIES: i64 = 5;

#[derive(Debug, Serialize, ToSchema)]
pub struct StoreBody {
    name: String,
    /// The first one is the default.
    currencies: Vec<CurrencyBody>,
    /// Where the store ships to (ISO 3166-1 alpha-2).
    countries: Vec<String>,
    /// BCP 47; the first one is the default.
    languages: Vec<String>,
    /// Whether prices are shown with tax.
    prices_include_tax: bool,
    payment_providers: Vec<ProviderBody>,
    cart_lines_max: usize,
    line_quantity_max: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CurrencyBody {
    #[schema(example = "EUR")]
    code: String,
    exponent: u8,
    name: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderBody {
    /// What a payment names as its provider.
    #[schema(example = "sandbox")]
    id: &'static str,
    title: &'static str,
    /// For the provider's script in the browser; null when it needs none.
    public_key: Option<String>,
    /// No real money is moved.
    test: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProductList {
    items: Vec<ProductBody>,
    /// By field; a facet's own filter is left out of its counts.
    facets: BTreeMap<String, Vec<FacetBody>>,
    /// On all pages together.
    total: usize,
    next_cursor: Option<String>,
    did_you_mean: Option<String>,
    /// Few products have all the words, so those with some of them follow.
    relaxed: bool,
    /// What a click on a result names, see `POST /v1/search-clicks`; the same for everybody who searches for the same. Null where
    /// nothing is searched for.
    query_id: Option<Uuid>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FacetBody {
    /// For prices `min-max` in minor units, both inclusive.
    value: String,
    count: usize,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ProductQuery {
    /// BCP 47; counts before `Accept-Language`.
    lang: Option<String>,
    /// ISO 4217; the store's first one unless given.
    currency: Option<String>,
    /// A position, a token or a time (RFC 3339); for staff.
    as_of: Option<String>,
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CategoryQuery {
    /// BCP 47; counts before `Accept-Language`.
    lang: Option<String>,
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryList {
    items: Vec<CategoryBody>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryBody {
    id: Uuid,
    handle: String,
    title: String,
    #[schema(no_recursion)]
    children: Vec<CategoryBody>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SuggestQuery {
    /// What was typed so far.
    q: Option<String>,
    /// BCP 47; counts before `Accept-Language`.
    lang: Option<String>,
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SuggestionList {
    /// What others often search for that begins so.
    queries: Vec<String>,
    /// Products.
    items: Vec<SuggestionBody>,
    did_you_mean: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SuggestionBody {
    id: Uuid,
    handle: String,
    title: String,
    /// The title in HTML, what was found in `<mark>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    highlighted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

/// Currencies, countries, languages, how prices are shown, how to pay.
#[utoipa::path(get, path = "/store", operation_id = "show_store", tag = "shoppers", responses((status = 200, body = StoreBody)))]
pub async fn store(State(app): State<Arc<App>>) -> Result<Read<StoreBody>, Problem> {
    let head = event_log::head(&app.pool).await?;
    let settings = &app.settings;
    let currencies = settings.currencies.iter().map(|currency| CurrencyBody {
        code: currency.to_string(),
        exponent: currency.exponent(),
        name: currency.name(),
    });
    let sandbox = ProviderBody { id: "sandbox", title: "Sandbox: no real money", public_key: None, test: true };
    let body = StoreBody {
        name: app.config.store.name.clone(),
        currencies: currencies.collect(),
        countries: settings.countries.clone(),
        languages: settings.languages.clone(),
        prices_include_tax: app.terms(head.position).await?.prices_include_tax,
        payment_providers: app.config.payments.sandbox.then_some(sandbox).into_iter().collect(),
        cart_lines_max: settings.terms.cart_limits.lines_max,
        line_quantity_max: settings.terms.cart_limits.line_quantity_max,
    };
    Ok(Read::public(body, Position { epoch: head.epoch, position: head.position }, STORE_CACHE_S))
}

/// Search and browse. Attributes are parameters of their own: `attr.colour=red,blue`; `\,` is a comma within a value.
#[utoipa::path(
    get, path = "/products", operation_id = "list_products", tag = "shoppers",
    params(
        ("q" = Option<String>, Query, description = "Words, or an article number"),
        ("category" = Option<String>, Query, description = "A handle; includes its descendants"),
        ("attr.{name}" = Option<String>, Query, description = "Values of an attribute, separated by commas; `\\,` is a comma within one"),
        ("brand" = Option<String>, Query, description = "Brands, separated by commas; `\\,` is a comma within one"),
        ("sku" = Option<String>, Query, description = "Skus, separated by commas; not with `q`, `category` or `attr.…`"),
        ("price_min" = Option<i64>, Query, description = "In minor units, inclusive"),
        ("price_max" = Option<i64>, Query, description = "In minor units, inclusive"),
        ("in_stock" = Option<bool>, Query),
        ("sort" = Option<String>, Query, description = "`relevance`, `price_asc`, `price_desc`, `newest`, `popular`"),
        ("currency" = Option<String>, Query, description = "ISO 4217; the store's first one unless given"),
        ("lang" = Option<String>, Query, description = "BCP 47; counts before `Accept-Language`"),
        ("facets" = Option<String>, Query, description = "Fields to be counted", example = "brand,category,attr.colour,price"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous answer"),
        ("token_position" = Option<String>, Query, description = "A consistency token that the answer must have seen"),
    ),
    responses(
        (status = 200, body = ProductList),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
        (status = 409, description = "position_unknown or write_lost"),
        (status = 422, description = "unsupported_currency"),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Read<ProductList>, Problem> {
    let listing = Listing::parse(&parameters, &app.settings)?;
    let shown = Presentation::new(&app, &caller, listing.lang.as_deref(), listing.currency).await?;
    let position = searched_position(&app, &caller, listing.token.as_deref()).await?;
    let body = if listing.skus.is_empty() {
        search(&app, listing.search, &shown, position.position).await?
    } else {
        by_skus(&app, &listing, &shown, position.position).await?
    };
    Ok(kept(body, position, listing.token.is_some(), &caller))
}

/// One product with its variants, prices and live availability, by its id or handle.
#[utoipa::path(
    get, path = "/products/{id}", operation_id = "show_product", tag = "shoppers",
    params(("id" = String, Path, description = "Id or handle"), ProductQuery),
    responses(
        (status = 200, body = ProductBody),
        (status = 304, description = "Not modified since the `ETag` of `If-None-Match`"),
        (status = 401, description = "unauthenticated: `as_of` is for staff"),
        (status = 404, description = "not_found"),
        (status = 409, description = "position_unknown or write_lost"),
        (status = 422, description = "unsupported_currency"),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ProductQuery>,
) -> Result<Read<ProductBody>, Problem> {
    let currency = match &query.currency {
        Some(code) => currency(code, &app.settings)?,
        None => app.settings.default_currency(),
    };
    let shown = Presentation::new(&app, &caller, query.lang.as_deref(), currency).await?;
    if let Some(as_of) = &query.as_of {
        caller.require(Role::is_staff)?;
        return show_as_of(&app, &id, as_of, &shown).await;
    }
    let token = query.token_position.as_deref();
    let position = read_models_position(&app, &caller, token).await?;
    let found = app.cache.product(&id, position.position).await?;
    let row = found.filter(|row| caller.is_staff() || is_published(&row.state)).ok_or_else(|| Problem::not_found("product"))?;
    let position = app.rows_position::<Product>(&caller, token, "product", &[row.state.product_id.to_string()], position).await?;
    let variants: Vec<String> = row.state.variants.iter().map(|variant| variant.variant_id.to_string()).collect();
    let position = app.rows_position::<StockItem>(&caller, token, "stock", &variants, position).await?;
    let around = around(&app, [&row.state], position.position).await?;
    // Stock is a part of the answer, so its newest position is the version; prices by the clock have none.
    let newest = around.stock.values().map(|level| level.position).fold(row.position, i64::max);
    let body = render_product(&row.state, row.version, &around, &shown);
    let read = kept(body, position, query.token_position.is_some(), &caller);
    let has_clock = row.state.variants.iter().flat_map(|v| &v.prices).any(|p| p.valid_from.is_some() || p.valid_until.is_some());
    Ok(if has_clock { read } else { read.version(newest, &caller) })
}

/// The tree of categories.
#[utoipa::path(
    get, path = "/categories", operation_id = "list_categories", tag = "shoppers", params(CategoryQuery),
    responses((status = 200, body = CategoryList), (status = 503, description = "read_model_behind")),
)]
pub async fn categories(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<CategoryQuery>,
) -> Result<Read<CategoryList>, Problem> {
    let shown = Presentation::new(&app, &caller, query.lang.as_deref(), app.settings.default_currency()).await?;
    let position = app.read_position(&caller, query.token_position.as_deref(), "product").await?;
    let items = tree(&projections::product::categories(&app.pool).await?, &shown);
    Ok(kept(CategoryList { items, next_cursor: None }, position, query.token_position.is_some(), &caller))
}

/// Products to what was typed so far.
#[utoipa::path(
    get, path = "/suggest", operation_id = "suggest", tag = "shoppers", params(SuggestQuery),
    responses((status = 200, body = SuggestionList), (status = 503, description = "read_model_behind")),
)]
pub async fn suggest(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<SuggestQuery>,
) -> Result<Read<SuggestionList>, Problem> {
    let shown = Presentation::new(&app, &caller, query.lang.as_deref(), app.settings.default_currency()).await?;
    let position = searched_position(&app, &caller, query.token_position.as_deref()).await?;
    let mut body = SuggestionList { queries: Vec::new(), items: Vec::new(), did_you_mean: None };
    if let Some(q) = query.q.as_deref().filter(|q| !q.trim().is_empty()) {
        body.queries = app.query_log.popular_queries(q, spoken(&app, &shown), POPULAR_QUERIES).await?;
        let request = SearchRequest {
            q: query.q,
            lang: shown.languages[0].clone(),
            currency: shown.currency.to_string(),
            limit: SUGGESTIONS,
            ..SearchRequest::default()
        };
        let answer = found(app.search.search(request).await)?;
        body.did_you_mean = answer.did_you_mean;
        body.items = in_order(&app, &answer.product_ids, position.position)
            .await?
            .iter()
            .map(|row| suggestion(&row.state, &shown, &answer.marks))
            .collect();
    }
    Ok(kept(body, position, query.token_position.is_some(), &caller))
}

/// What products are shown with: the stock of their variants and the handles of their categories.
pub async fn around<'p>(app: &App, products: impl IntoIterator<Item = &'p Product>, position: i64) -> Result<Around, Problem> {
    let (mut variants, mut categories): (Vec<VariantId>, Vec<CategoryId>) = (Vec::new(), Vec::new());
    for product in products {
        variants.extend(product.variants.iter().map(|variant| variant.variant_id));
        categories.extend(&product.category_ids);
    }
    categories.sort_unstable();
    categories.dedup();
    let stock = app.cache.levels(&variants, position).await?;
    Ok(Around { stock, category_handles: app.cache.category_handles(&categories, position).await? })
}

async fn search(app: &App, mut request: SearchRequest, shown: &Presentation, position: i64) -> Result<ProductList, Problem> {
    request.lang.clone_from(&shown.languages[0]);
    let query = request.q.as_deref().and_then(|q| app.query_log.query(q, spoken(app, shown), shown.now));
    let is_first_page = request.cursor.is_none();
    let is_filtered = request.is_filtered();
    let answer = found(app.search.search(request).await)?;
    if let Some(query) = query.as_ref().filter(|_| is_first_page) {
        // What filters left nothing of says nothing about the query.
        app.query_log.searched(query, answer.total == 0 && !is_filtered);
    }
    let rows = in_order(app, &answer.product_ids, position).await?;
    let around = around(app, rows.iter().map(|row| &row.state), position).await?;
    let facets = answer.facets.into_iter().map(|(name, counts)| {
        let counts = counts.into_iter().map(|counted| FacetBody { value: counted.value, count: counted.count });
        (name, counts.collect())
    });
    Ok(ProductList {
        items: rows.iter().map(|row| render_hit(&row.state, row.version, &around, shown, &answer.marks)).collect(),
        facets: facets.collect(),
        total: answer.total,
        next_cursor: answer.next_cursor,
        did_you_mean: answer.did_you_mean,
        relaxed: answer.relaxed,
        query_id: query.map(|query| query.id),
    })
}

/// The language of the store's that a shopper wants most.
fn spoken<'a>(app: &'a App, shown: &Presentation) -> &'a str {
    let tongue = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let known = |wanted: &String| app.settings.languages.iter().find(|own| tongue(own) == tongue(wanted));
    shown.languages.iter().find_map(known).map_or("", String::as_str)
}

/// A list of articles that the caller knows: one page, in the order of the skus.
async fn by_skus(app: &App, listing: &Listing, shown: &Presentation, position: i64) -> Result<ProductList, Problem> {
    let search = &listing.search;
    if search.q.is_some() || search.category.is_some() || !search.attributes.is_empty() {
        return Err(Problem::new("invalid_parameter", "sku can't be combined with q, category or attr; send them apart"));
    }
    let variants = projections::product::variants_by_skus(&app.pool, &listing.skus).await?;
    let of_variant: HashMap<VariantId, ProductId> = variants.into_iter().collect();
    let ids: HashSet<ProductId> = of_variant.into_values().collect();
    let mut rows = app.cache.products(&ids.into_iter().collect::<Vec<_>>(), position).await?;
    rows.retain(|row| is_published(&row.state));
    rows.sort_by_key(|row| place_of(&row.state, &listing.skus));
    let around = around(app, rows.iter().map(|row| &row.state), position).await?;
    let mut items: Vec<ProductBody> = rows.iter().map(|row| render_product(&row.state, row.version, &around, shown)).collect();
    let price_in_range = |item: &ProductBody| {
        let amount = item.price_from.as_ref().map(MoneyBody::amount);
        search.price_min.is_none_or(|min| amount.is_some_and(|amount| amount >= min))
            && search.price_max.is_none_or(|max| amount.is_some_and(|amount| amount <= max))
    };
    items.retain(|item| {
        (search.brands.is_empty() || search.brands.contains(&item.brand))
            && search.in_stock.is_none_or(|in_stock| item.in_stock == in_stock)
            && price_in_range(item)
    });
    let total = items.len();
    Ok(ProductList { items, facets: BTreeMap::new(), total, next_cursor: None, did_you_mean: None, relaxed: false, query_id: None })
}

/// Where the first of these skus that the product has stands.
fn place_of(product: &Product, skus: &[String]) -> Option<usize> {
    let has = |sku: &String| {
        let wanted = domain::claim::ClaimKey::sku(sku);
        product.variants.iter().filter_map(|v| v.sku.as_deref()).any(|own| domain::claim::ClaimKey::sku(own) == wanted)
    };
    skus.iter().position(has)
}

/// The rows of these products in this order; one that the read model doesn't show (any more) is left out.
async fn in_order(app: &App, ids: &[Uuid], position: i64) -> Result<Vec<Arc<Row<Product>>>, Problem> {
    let ids: Vec<ProductId> = ids.iter().copied().map(ProductId::new).collect();
    let rows = app.cache.products(&ids, position).await?;
    let mut by_id: HashMap<ProductId, Arc<Row<Product>>> = rows.into_iter().map(|row| (row.state.product_id, row)).collect();
    Ok(ids.iter().filter_map(|id| by_id.remove(id)).filter(|row| is_published(&row.state)).collect())
}

async fn show_as_of(app: &App, id: &str, as_of: &str, shown: &Presentation) -> Result<Read<ProductBody>, Problem> {
    let position = resolve(&app.pool, "as_of", as_of).await?;
    let not_found = || Problem::not_found("product");
    let row = projections::product::find(&app.pool, id).await?;
    let id = row.map(|row| row.id).or_else(|| Some(id.parse::<Uuid>().ok()?.to_string())).ok_or_else(not_found)?;
    let (product, version) = app.loader.load_as_of::<Product>(&id, position).await?;
    if !product.exists() {
        return Err(not_found());
    }
    let mut around =
        Around { category_handles: projections::product::category_handles(&app.pool, &product.category_ids).await?, ..Around::default() };
    for variant in &product.variants {
        let (item, stock_version) = app.loader.load_as_of::<StockItem>(&variant.variant_id.to_string(), position).await?;
        if stock_version > 0 {
            around.stock.insert(variant.variant_id, StockLevel::of(variant.variant_id, position, &item));
        }
    }
    let epoch = event_log::epoch_at(&event_log::epochs(&app.pool).await?, position);
    Ok(Read::personal(render_product(&product, version, &around, shown), Position { epoch, position }))
}

fn tree(categories: &[CategoryFacts], shown: &Presentation) -> Vec<CategoryBody> {
    let known: HashSet<CategoryId> = categories.iter().map(|category| category.category_id).collect();
    let mut children: BTreeMap<Option<CategoryId>, Vec<&CategoryFacts>> = BTreeMap::new();
    for category in categories {
        // Where the parent is gone, the branch hangs at the root.
        children.entry(category.parent_id.filter(|id| known.contains(id))).or_default().push(category);
    }
    branch(None, &children, shown)
}

fn branch(
    parent: Option<CategoryId>,
    children: &BTreeMap<Option<CategoryId>, Vec<&CategoryFacts>>,
    shown: &Presentation,
) -> Vec<CategoryBody> {
    let of_parent = children.get(&parent).into_iter().flatten();
    let bodies = of_parent.map(|category| CategoryBody {
        id: category.category_id.uuid(),
        handle: category.handle.clone(),
        title: shown.text(&category.title).to_owned(),
        children: branch(Some(category.category_id), children, shown),
    });
    bodies.collect()
}

fn suggestion(product: &Product, shown: &Presentation, marks: &Marks) -> SuggestionBody {
    let image = product.variants.first().and_then(|variant| image_of(product, variant.variant_id));
    SuggestionBody {
        id: product.product_id.uuid(),
        handle: product.handle.clone(),
        title: shown.text(&product.title).to_owned(),
        highlighted: marks.highlighted(shown.text(&product.title)),
        image: image.map(str::to_owned),
    }
}

fn found<T>(answer: Result<T, ReplicaError>) -> Result<T, Problem> {
    answer.map_err(|error| match error {
        ReplicaError::Search(SearchError::Cursor) => {
            Problem::new("invalid_cursor", "use next_cursor of the previous answer with the same parameters")
        }
        error => Problem::failure(&error),
    })
}

/// Nobody but the caller keeps what staff see, or what was read after a write.
fn kept<T>(body: T, position: Position, has_token: bool, caller: &Caller) -> Read<T> {
    if has_token || caller.is_staff() || caller.header("consistency-token").is_some() {
        return Read::personal(body, position);
    }
    Read::public(body, position, CACHE_S)
}

/// Where products and stock stand, once both have seen the caller's token.
async fn read_models_position(app: &App, caller: &Caller, token: Option<&str>) -> Result<Position, Problem> {
    let (products, stock) = tokio::try_join!(app.read_position(caller, token, "product"), app.read_position(caller, token, "stock"))?;
    Ok(Position { epoch: products.epoch, position: products.position.min(stock.position) })
}

/// As [`read_models_position`], with the search index.
async fn searched_position(app: &App, caller: &Caller, token: Option<&str>) -> Result<Position, Problem> {
    let (read, searched) = tokio::try_join!(read_models_position(app, caller, token), index_position(app, caller, token))?;
    Ok(Position { epoch: read.epoch, position: read.position.min(searched) })
}

async fn index_position(app: &App, caller: &Caller, token: Option<&str>) -> Result<i64, Problem> {
    if !app.search.is_filled() {
        return Err(Problem::new("read_model_behind", "the search index is being filled from the catalogue; repeat shortly"));
    }
    if let Some(token) = caller.token(token)? {
        app.checkpoints.check(token).await?;
        let http = &app.config.http;
        let wait_ms = caller.wait_s().map_or(http.read_wait_ms, |s| s.saturating_mul(1_000)).min(http.read_wait_max_ms);
        if !app.search.wait_for(token.position, Duration::from_millis(wait_ms)).await {
            let detail = format!("the search index is at {}, the token is {token}; repeat shortly", app.search.position().1);
            return Err(Problem::new("read_model_behind", detail));
        }
    }
    Ok(app.search.position().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::catalog::Text;

    #[test]
    fn a_branch_whose_parent_is_gone_hangs_at_the_root() {
        let category = |id: u128, parent: Option<u128>| CategoryFacts {
            category_id: CategoryId::new(Uuid::from_u128(id)),
            handle: format!("c{id}"),
            title: Text::from([("en".to_owned(), format!("Category {id}"))]),
            parent_id: parent.map(|id| CategoryId::new(Uuid::from_u128(id))),
            position: 0,
        };
        let settings = crate::settings::Settings::try_from(&infra::config::Config::default()).unwrap();
        let shown = Presentation {
            languages: vec!["en".to_owned()],
            currency: settings.default_currency(),
            available_shown_max: 1,
            prices_include_tax: true,
            now: chrono::DateTime::UNIX_EPOCH,
        };
        let tree = tree(&[category(1, None), category(2, Some(1)), category(3, Some(2)), category(4, Some(9))], &shown);
        let handles: Vec<&str> = tree.iter().map(|category| category.handle.as_str()).collect();
        assert_eq!(handles, ["c1", "c4"]);
        assert_eq!(tree[0].children[0].children[0].handle, "c3");
    }
}
