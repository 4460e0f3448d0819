//! The replica and the read models beside it, on a real log: what is written is found, what is sold is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::catalog::{
    CategoryEvent, CategoryFacts, PriceSet, ProductArchived, ProductCategorised, ProductCreated, ProductDetailsChanged, ProductEvent,
    ProductPublished, ProductUnpublished, STOREFRONT, Text, VariantAdded,
};
use domain::event::{Event, Root};
use domain::id::{CategoryId, HoldId, LineId, LocationId, OrderId, PriceListId, ProductId, ReceiptId, VariantId};
use domain::inventory::{
    HoldOwner, Part, StockAdjusted, StockAllocated, StockEvent, StockItemOpened, StockPolicy, StockReceived, StockReserved,
};
use domain::money::Money;
use infra::child_server::{ChildServers, Running, Tools};
use infra::config::variable;
use infra::event_store::{AppendCommand, EventStore, NewEvent, StreamId, StreamVersion};
use infra::sealing::{KeyScope, MasterKey, Sealer};
use infra::task::TaskGroup;
use infra::{clock, postgres};

use super::*;
use crate::product;
use crate::search::{FacetCount, Sort};
use crate::stock;

const WAIT: Duration = Duration::from_secs(20);

/// A log with its projections; ends with [`Log::stop`].
struct Log {
    dir: PathBuf,
    servers: ChildServers,
    pool: PgPool,
    feed: Feed,
    store: EventStore,
    sealer: Sealer,
    projecting: TaskGroup,
}

impl Log {
    async fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("daybook-replica-{}", clock::new_id()));
        let tools = Tools {
            postgres_bin_dir: variable("DAYBOOK_PG_BIN_DIR").map(PathBuf::from),
            nats_server: variable("DAYBOOK_NATS_SERVER").map(PathBuf::from),
        };
        let servers = ChildServers::start(&dir, &tools, &Running::default(), |_| {}).await.unwrap();
        let paths = crate::search_path();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let pool = postgres::connect(&servers.database_url, 10, &paths).await.unwrap();
        postgres::MIGRATOR.run(&pool).await.unwrap();
        crate::migrate_all(&pool).await.unwrap();
        let feed = Feed::new(pool.clone());
        let sealer = Sealer::new(pool.clone(), MasterKey::parse(&MasterKey::generate().unwrap()).unwrap());
        let mut projecting = TaskGroup::default();
        crate::spawn_all(&mut projecting, &pool, &feed, &sealer, &crate::projector::Progress::default());
        let store = EventStore::new(pool.clone(), clock::new_id());
        Self { dir, servers, pool, feed, store, sealer, projecting }
    }

    async fn replica(&self) -> Arc<SearchReplica> {
        let dir = self.dir.join("search");
        Arc::new(SearchReplica::open(&dir, self.pool.clone(), self.feed.clone()).await.unwrap())
    }

    /// Appends to a stream that has `version` events, and answers the last position.
    async fn append<A: Root>(&mut self, id: &impl ToString, version: i64, events: &[A::Event]) -> i64 {
        let stream = StreamId { aggregate_type: A::TYPE, aggregate_id: id.to_string() };
        let key = self.sealer.key_for(KeyScope { subject_id: uuid::Uuid::nil(), purpose: "account" }).await.unwrap();
        let seal = |sequence, payload: &str| self.sealer.seal(payload, &key, &stream.to_string(), sequence).unwrap();
        let events = (version + 1..).zip(events).map(|(sequence, event)| NewEvent {
            stream: stream.clone(),
            sequence,
            event_id: clock::new_id(),
            event_type: event.name(),
            event_version: event.version(),
            payload: seal(sequence, &event.to_payload().unwrap()),
            metadata: "{}".to_owned(),
            partition: 0,
        });
        let decided_on = vec![StreamVersion { stream: stream.clone(), version }];
        let command = AppendCommand { events: events.collect(), decided_on, ..AppendCommand::default() };
        self.store.append(&[command]).await.unwrap().last_position
    }

    async fn stop(self) {
        self.projecting.shut_down().await;
        self.pool.close().await;
        self.servers.stop().await.unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn id<T: From<uuid::Uuid>>(number: u128) -> T {
    uuid::Uuid::from_u128(number).into()
}

fn text(text: &str) -> Text {
    BTreeMap::from([("en".to_owned(), text.to_owned())])
}

fn created(number: u128, title: &str, category_ids: Vec<CategoryId>) -> ProductEvent {
    ProductEvent::ProductCreated(ProductCreated {
        product_id: id(number),
        handle: format!("Product-{number}"),
        title: text(title),
        description: text("<p>Made for <b>tests</b></p>"),
        brand: "Acme".to_owned(),
        kind: "Lamps".to_owned(),
        tags: vec![],
        options: vec![],
        attributes: vec![],
        category_ids,
        tax_category: "standard".to_owned(),
        source: None,
    })
}

fn variant(number: u128) -> ProductEvent {
    ProductEvent::VariantAdded(VariantAdded {
        variant_id: id(number),
        sku: Some(format!("SKU-{number}")),
        barcode: None,
        option_values: BTreeMap::new(),
        weight_g: None,
        requires_shipping: true,
        track_stock: true,
        attributes: vec![],
        source_hash: None,
    })
}

fn price(number: u128, amount: i64) -> ProductEvent {
    ProductEvent::PriceSet(PriceSet {
        variant_id: id(number),
        price_list_id: id::<PriceListId>(1),
        price: Money::new(amount, "EUR".parse().unwrap()).unwrap(),
        compare_at: None,
        includes_tax: true,
        min_quantity: 1,
        valid_from: None,
        valid_until: None,
        source_hash: None,
    })
}

fn published() -> ProductEvent {
    ProductEvent::ProductPublished(ProductPublished { channel: STOREFRONT.to_owned(), source_hash: None })
}

fn category(number: u128, handle: &str, parent: Option<u128>) -> CategoryFacts {
    let parent_id = parent.map(id);
    CategoryFacts { category_id: id(number), handle: handle.to_owned(), title: text(handle), parent_id, position: 0 }
}

fn opened() -> StockEvent {
    StockEvent::StockItemOpened(StockItemOpened { policy: StockPolicy::Deny, low_stock_threshold: None })
}

fn received(quantity: u32) -> StockEvent {
    StockEvent::StockReceived(StockReceived { receipt_id: id::<ReceiptId>(1), location_id: id(1), quantity, unit_cost: None })
}

fn parts(quantity: u32) -> Vec<Part> {
    vec![Part { location_id: id::<LocationId>(1), quantity, backordered: false }]
}

async fn found(replica: &SearchReplica, request: SearchRequest) -> Vec<u128> {
    let request = SearchRequest { currency: "EUR".to_owned(), lang: "en".to_owned(), limit: 50, ..request };
    let answer = replica.search(request).await.unwrap();
    answer.product_ids.iter().map(uuid::Uuid::as_u128).collect()
}

fn q(text: &str) -> SearchRequest {
    SearchRequest { q: Some(text.to_owned()), ..SearchRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_is_found_sold_changed_and_found_again_after_a_restart() {
    use domain::catalog::{Category, Product};
    use domain::inventory::StockItem;

    let mut log = Log::start().await;
    let replica = log.replica().await;
    let mut following = TaskGroup::default();
    following.spawn("search", Arc::clone(&replica).run(following.stop_signal()));

    // Products under a category whose parent comes later.
    let lamps = category(11, "lamps", Some(10));
    log.append::<Category>(&id::<CategoryId>(11), 0, &[CategoryEvent::CategoryCreated(lamps)]).await;
    let desk = [created(1, "Desk lamp", vec![id(11)]), variant(101), price(101, 4_000), published()];
    log.append::<Product>(&id::<ProductId>(1), 0, &desk).await;
    let floor = [created(2, "Floor lamp", vec![id(11)]), variant(102), price(102, 9_000), published()];
    log.append::<Product>(&id::<ProductId>(2), 0, &floor).await;
    log.append::<StockItem>(&id::<VariantId>(101), 0, &[opened(), received(2)]).await;
    log.append::<StockItem>(&id::<VariantId>(102), 0, &[opened()]).await;
    let home = CategoryEvent::CategoryCreated(category(10, "home", None));
    let at = log.append::<Category>(&id::<CategoryId>(10), 0, &[home]).await;
    assert!(replica.wait_for(at, WAIT).await);
    let by_price = SearchRequest { sort: Sort::PriceAsc, ..SearchRequest::default() };
    assert_eq!(found(&replica, by_price.clone()).await, [1, 2]);
    assert_eq!(found(&replica, q("tests")).await.len(), 2, "descriptions are searched without their markup");
    assert!(found(&replica, q("strong")).await.is_empty());
    let in_stock = SearchRequest { in_stock: Some(true), ..SearchRequest::default() };
    assert_eq!(found(&replica, in_stock.clone()).await, [1]);
    let below_home = SearchRequest { category: Some("home".to_owned()), ..SearchRequest::default() };
    assert_eq!(found(&replica, below_home.clone()).await.len(), 2);

    // The last units are held and sold: gone at once, though no text was committed.
    let hold_id = id::<HoldId>(5);
    let owner = HoldOwner { kind: "cart".to_owned(), id: "c".to_owned(), line_id: None };
    let reserved = StockReserved { hold_id, owner, parts: parts(2), expires_at: None };
    let (order_id, line_id) = (id::<OrderId>(6), id::<LineId>(7));
    let allocated = StockAllocated { allocation_id: id(8), hold_id: Some(hold_id), order_id, line_id, parts: parts(2) };
    let sold = [StockEvent::StockReserved(reserved), StockEvent::StockAllocated(allocated)];
    let at = log.append::<StockItem>(&id::<VariantId>(101), 2, &sold).await;
    assert!(replica.wait_for(at, WAIT).await);
    assert!(found(&replica, in_stock.clone()).await.is_empty());
    assert_eq!(found(&replica, SearchRequest { sort: Sort::Popular, ..SearchRequest::default() }).await, [1, 2]);

    // A note that is sealed is none of the index's business.
    let note = Some(domain::personal::Personal::Known("a name".to_owned()));
    let adjusted = StockAdjusted { location_id: id(1), delta: 3, reason: "found".to_owned(), note };
    log.append::<StockItem>(&id::<VariantId>(102), 1, &[StockEvent::StockAdjusted(adjusted)]).await;
    // A price, a title, a category that moves, a product that is not shown any more.
    log.append::<Product>(&id::<ProductId>(2), 4, &[price(102, 3_000)]).await;
    let renamed = ProductDetailsChanged { title: Some(text("Standing lamp")), ..ProductDetailsChanged::default() };
    log.append::<Product>(&id::<ProductId>(2), 5, &[ProductEvent::ProductDetailsChanged(renamed)]).await;
    let moved = CategoryEvent::CategoryMoved(category(11, "lamps", None));
    let at = log.append::<Category>(&id::<CategoryId>(11), 1, &[moved]).await;
    assert!(replica.wait_for(at, WAIT).await);
    assert_eq!(found(&replica, in_stock.clone()).await, [2]);
    assert_eq!(found(&replica, by_price.clone()).await, [2, 1]);
    assert_eq!(found(&replica, q("standing")).await, [2]);
    assert!(found(&replica, below_home).await.is_empty());
    let hidden = ProductUnpublished { channel: STOREFRONT.to_owned(), source_hash: None };
    log.append::<Product>(&id::<ProductId>(1), 4, &[ProductEvent::ProductUnpublished(hidden)]).await;
    let at = log
        .append::<Product>(
            &id::<ProductId>(2),
            6,
            &[ProductEvent::ProductCategorised(ProductCategorised { category_ids: vec![], source_hash: None })],
        )
        .await;
    assert!(replica.wait_for(at, WAIT).await);
    assert_eq!(found(&replica, by_price.clone()).await, [2]);
    following.shut_down().await;
    drop(replica);

    // What happens while the index is closed is read when it opens; the columns come from the read models.
    let at = log.append::<Product>(&id::<ProductId>(1), 5, &[published(), price(101, 1_000)]).await;
    let replica = log.replica().await;
    assert_eq!(found(&replica, in_stock).await, [2]);
    let mut following = TaskGroup::default();
    following.spawn("search", Arc::clone(&replica).run(following.stop_signal()));
    assert!(replica.wait_for(at, WAIT).await);
    assert_eq!(found(&replica, by_price.clone()).await, [1, 2]);
    let request = SearchRequest { facets: vec!["brand".to_owned()], ..SearchRequest::default() };
    let facets = replica.search(request).await.unwrap().facets;
    assert_eq!(facets["brand"], [FacetCount { value: "Acme".to_owned(), count: 2 }]);

    // Read models: keys find what has them now, archived products lose theirs.
    until_projected(&log.pool, at).await;
    let row = product::find(&log.pool, "product-1").await.unwrap().unwrap();
    assert_eq!((row.version, row.position), (7, at));
    let level = &stock::levels(&log.pool, &[id(101)]).await.unwrap()[&id(101)];
    assert_eq!((level.on_hand, level.allocated, level.reserved, level.available), (2, 2, 0, 0));
    let at = log.append::<Product>(&id::<ProductId>(1), 7, &[ProductEvent::ProductArchived(ProductArchived {})]).await;
    replica.rebuild();
    assert!(replica.wait_for(at, WAIT).await);
    assert_eq!(found(&replica, by_price).await, [2]);
    until_projected(&log.pool, at).await;
    assert!(product::find(&log.pool, "product-1").await.unwrap().is_none());
    assert!(product::variants_by_skus(&log.pool, &["sku-101".to_owned()]).await.unwrap().is_empty());
    let skus = product::variants_by_skus(&log.pool, &[" sku-102".to_owned()]).await.unwrap();
    assert_eq!(skus, [(id::<VariantId>(102), id::<ProductId>(2))]);
    assert_eq!(product::of_variants(&log.pool, &[id(101)]).await.unwrap().len(), 1);
    let handles: Vec<String> = product::categories(&log.pool).await.unwrap().into_iter().map(|c| c.handle).collect();
    assert_eq!(handles, ["home", "lamps"]);

    following.shut_down().await;
    drop(replica);
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_in_force_for_whoever_has_seen_it_and_after_a_restart() {
    use domain::catalog::Product;
    use domain::merchandising::{Condition, Merchandising, MerchandisingEvent, STORE, SearchRule, SearchRuleEnded};

    let mut log = Log::start().await;
    let replica = log.replica().await;
    let mut following = TaskGroup::default();
    following.spawn("search", Arc::clone(&replica).run(following.stop_signal()));
    for n in [1, 2] {
        let lamp = [created(n, "Lamp", vec![]), variant(100 + n), published()];
        log.append::<Product>(&id::<ProductId>(n), 0, &lamp).await;
    }
    let (condition, title) = (Condition::Everywhere, "Not this one".to_owned());
    let hidden = vec![id(1)];
    let rule = SearchRule { rule_id: id(1), title, condition, valid_from: None, valid_until: None, pins: vec![], hidden, boosts: vec![] };
    let at = log.append::<Merchandising>(&STORE, 0, &[MerchandisingEvent::SearchRuleCreated(Box::new(rule))]).await;
    assert!(replica.wait_for(at, WAIT).await);
    assert_eq!(found(&replica, q("lamp")).await, [2]);
    following.shut_down().await;
    drop(replica);

    let replica = log.replica().await;
    assert_eq!(found(&replica, q("lamp")).await, [2], "before it follows anything");
    let mut following = TaskGroup::default();
    following.spawn("search", Arc::clone(&replica).run(following.stop_signal()));
    let ended = SearchRuleEnded { rule_id: id(1), ended_at: clock::now() };
    let at = log.append::<Merchandising>(&STORE, 1, &[MerchandisingEvent::SearchRuleEnded(ended)]).await;
    assert!(replica.wait_for(at, WAIT).await);
    assert_eq!(found(&replica, q("lamp")).await.len(), 2);
    following.shut_down().await;
    drop(replica);
    log.stop().await;
}

/// An index that is far behind is filled from the read model: the same is found as after all events, and what comes later, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_far_behind_is_filled_from_the_read_model() {
    use domain::catalog::{Category, Product};

    let mut log = Log::start().await;
    let home = CategoryEvent::CategoryCreated(category(10, "home", None));
    log.append::<Category>(&id::<CategoryId>(10), 0, &[home]).await;
    for number in 1..=40 {
        let title = if number % 2 == 0 { "Desk lamp" } else { "Floor lamp" };
        let events = [created(number, title, vec![id(10)]), variant(100 + number), price(100 + number, 4_000), published()];
        log.append::<Product>(&id::<ProductId>(number), 0, &events).await;
    }
    let hidden = ProductUnpublished { channel: STOREFRONT.to_owned(), source_hash: None };
    let at = log.append::<Product>(&id::<ProductId>(2), 4, &[ProductEvent::ProductUnpublished(hidden)]).await;
    until_projected(&log.pool, at).await;

    let replica = log.replica().await;
    let mut documents = Documents::load(&mut log.pool.acquire().await.unwrap(), 0).await.unwrap();
    assert!(!replica.is_filled(), "an empty index is not the catalogue");
    assert_eq!(documents.take_read_model(&replica, &CancellationToken::new()).await.unwrap(), Some(at));
    let below_home = SearchRequest { category: Some("home".to_owned()), ..q("desk") };
    let expected: Vec<u128> = (2..=20).map(|half| 2 * half).collect();
    assert_eq!((replica.position().1, found(&replica, below_home.clone()).await), (at, expected.clone()));
    assert_eq!(documents.take_read_model(&replica, &CancellationToken::new()).await.unwrap(), None, "it is up to date");
    assert!(replica.is_filled());
    documents.begin_anew(&replica);
    assert!(replica.is_filled(), "what is there stays to be found while it is put again");

    let mut following = TaskGroup::default();
    following.spawn("search", Arc::clone(&replica).run(following.stop_signal()));
    let later = log.append::<Product>(&id::<ProductId>(2), 5, &[published()]).await;
    assert!(replica.wait_for(later, WAIT).await);
    assert_eq!(found(&replica, below_home).await, [vec![2], expected].concat());
    following.shut_down().await;
    drop(replica);
    log.stop().await;
}

/// An index of a log that was restored from an older state is of no use.
#[test]
fn an_index_ahead_of_its_log_is_made_anew() {
    let dir = std::env::temp_dir().join(format!("daybook-ahead-{}", clock::new_id()));
    let ahead = |dir: &Path| open_index(dir, 10).unwrap();
    let index = ahead(&dir);
    index.commit(1, 10).unwrap();
    drop(index);
    assert_eq!(ahead(&dir).position(), (1, 10));
    assert_eq!(open_index(&dir, 9).unwrap().position(), (0, 0));
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn until_projected(pool: &PgPool, position: i64) {
    let behind = "SELECT count(*) FROM checkpoint WHERE position < $1";
    let caught_up = async {
        while sqlx::query_scalar::<_, i64>(behind).bind(position).fetch_one(pool).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, caught_up).await.unwrap();
}
