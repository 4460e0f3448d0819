//! The search index: product documents in, answers out. It knows nothing of events; the projector
//! translates them into [`SearchIndex::put`], [`SearchIndex::remove`] and the setters of [`Columns`].
//!
//! What changes slowly (texts, brand, categories, attributes) lives in a tantivy index on disk, and
//! each commit carries the log position it was made from, so index and checkpoint are one atomic thing.
//! What changes with every sale (price, stock, popularity) lives in memory and is joined when a query
//! runs: selling the last unit shows at once, without a commit.
//!
//! Everything here is synchronous and uses the CPU: call it from a blocking thread.

mod analysis;
mod columns;
mod compounds;
mod facets;
mod fuzzy;
mod hits;
mod marks;
mod pinyin;
mod query;
pub mod rules;
mod schema;
#[cfg(test)]
mod tests;
mod text;
mod values;
mod words;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tantivy::{
    Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Searcher, SegmentReader, TantivyError, index::SegmentId,
    indexer::LogMergePolicy,
};
use uuid::Uuid;

pub use columns::Columns;
pub use facets::FacetCount;
pub use hits::Sort;
pub use marks::Marks;

use analysis::QueryAnalyser;
use rules::Merchandising;
use schema::Fields;
use values::{SegmentCounts, SegmentValues, Values};

/// Hits on one page.
pub const LIMIT_MAX: usize = 200;
/// Characters of `q` that are read; the rest is ignored.
pub const QUERY_CHARS_MAX: usize = 256;
/// Words of `q` that are read; the rest is ignored.
pub const QUERY_WORDS_MAX: usize = 20;
/// Facets of one request; the rest is ignored.
pub const FACETS_MAX: usize = 20;
/// Values answered for one facet, the most frequent first.
pub const FACET_VALUES_MAX: usize = 100;
/// Values accepted for one filter, and filters of one request; the rest is ignored.
pub const FILTER_VALUES_MAX: usize = 100;

/// Facets of what is browsed that are kept between two commits.
const FACETS_CACHED_MAX: usize = 1_000;
/// One worker keeps the documents in the order they were put; analysis is most of its work.
const WRITER_THREADS: usize = 1;
const WRITER_MEMORY_BYTES: usize = 64 << 20;
/// Longest wait for the lock of an index that was just closed: a child process that is being started holds a copy of the
/// lock's file until it runs its own program.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(10);
const MERGE_SEGMENTS_MIN: usize = 5;
const MERGE_DELETED_RATIO: f32 = 0.25;

/// What a shopper can find a product by. Texts are by language (`en`, `de-AT`, `zh`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductDocument {
    pub product_id: Uuid,
    pub handle: String,
    pub title: BTreeMap<String, String>,
    pub description: BTreeMap<String, String>,
    pub brand: Option<String>,
    pub kind: Option<String>,
    pub tags: Vec<String>,
    /// Handles, the ancestors' included: the filter on a category then finds its descendants.
    pub categories: Vec<String>,
    /// Key and value; a key may repeat.
    pub attributes: Vec<(String, String)>,
    pub skus: Vec<String>,
    pub created_at_us: i64,
}

/// What a shopper asks. Without a text and filters it browses.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// Any text is valid; nothing but white space browses.
    pub q: Option<String>,
    /// What the shopper speaks. Words of every language are found; this one's commonest words ("the")
    /// aren't insisted on.
    pub lang: String,
    /// A handle; its descendants' products carry it too.
    pub category: Option<String>,
    pub brands: Vec<String>,
    /// Values of one attribute are alternatives, different attributes must all match.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// Minor units of `currency`, inclusive.
    pub price_min: Option<i64>,
    /// Minor units of `currency`, inclusive.
    pub price_max: Option<i64>,
    pub currency: String,
    pub in_stock: Option<bool>,
    pub sort: Sort,
    /// `brand`, `category`, `price`, `in_stock`, `attr.<key>`; unknown names are left out of the answer.
    pub facets: Vec<String>,
    /// The `next_cursor` of an earlier answer to the same request.
    pub cursor: Option<String>,
    /// 1 to [`LIMIT_MAX`]; other values are clamped.
    pub limit: usize,
}

impl SearchRequest {
    /// Whether anything but the text decides what is found.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        let by_text = self.category.is_some() || !self.brands.is_empty() || !self.attributes.is_empty();
        by_text || self.price_min.is_some() || self.price_max.is_some() || self.in_stock.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchAnswer {
    pub product_ids: Vec<Uuid>,
    /// How many products all pages together hold.
    pub total: usize,
    /// Few products have all the words, so those with some of them follow.
    pub relaxed: bool,
    pub facets: BTreeMap<String, Vec<FacetCount>>,
    pub next_cursor: Option<String>,
    pub did_you_mean: Option<String>,
    /// What was found in the texts.
    pub marks: Marks,
    /// Epoch and log position of the commit that answered; the columns may be ahead of it.
    pub position: (i32, i64),
}

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The client sent a cursor that this request never got.
    #[error("cursor is not one of this search")]
    Cursor,
    /// tantivy stopped; its writer may be dead, so drop the index and open it again.
    #[error("search index failed")]
    Index(#[from] TantivyError),
    #[error("search index directory failed")]
    Directory(#[from] std::io::Error),
}

/// The index of one process; a lock in its directory keeps a second one out.
pub struct SearchIndex {
    fields: Fields,
    /// Cloned for each query: its parts are shared, its buffers are not.
    analyser: QueryAnalyser,
    /// Documents and commits are rare next to queries, which never take this lock.
    writer: Mutex<IndexWriter>,
    reader: IndexReader,
    columns: Columns,
    /// Replaced as a whole when a merchant changes anything of it.
    merchandising: RwLock<Arc<Merchandising>>,
    /// Replaced as a whole at a commit, so that a query sees one commit and its position.
    view: RwLock<Arc<View>>,
    /// See [`Self::built`].
    built: Mutex<(i32, i64)>,
    /// What answers while this index is built.
    predecessor: Mutex<Option<Predecessor>>,
    /// Of schema and analysis: an index with another one can't be written to by this program.
    format: String,
}

impl SearchIndex {
    /// Opens the index of this program's format below `dir`, or creates it: [`SearchIndex::built`] is then 0 and the caller puts
    /// everything again. What another version of the schema or of the analysis has built answers until this one has come as far,
    /// then it is deleted.
    pub fn open(dir: &Path) -> Result<Self, SearchError> {
        let (schema, fields) = schema::build();
        let format = schema::fingerprint(&schema)?;
        let own = dir.join(&format);
        fs::create_dir_all(&own)?;
        let (index, built) = match open_existing(&own, &format) {
            Ok(opened) => opened,
            Err(reason) => {
                empty(&own)?;
                fs::create_dir_all(&own)?;
                tracing::info!(reason, "search index starts empty");
                let index = Index::builder().schema(schema).settings(IndexSettings::default()).create_in_dir(&own)?;
                (index, (0, 0))
            }
        };
        analysis::register(index.tokenizers());

        let writer = self::writer(&index)?;
        let mut merging = LogMergePolicy::default();
        merging.set_min_num_segments(MERGE_SEGMENTS_MIN);
        merging.set_del_docs_ratio_before_merge(MERGE_DELETED_RATIO);
        writer.set_merge_policy(Box::new(merging));

        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let columns = Columns::default();
        let predecessor = predecessor(dir, &own, built)?;
        let view = match &predecessor {
            Some(predecessor) => {
                tracing::info!(
                    position = predecessor.position.1,
                    built = built.1,
                    "an index of another format answers while this one is built"
                );
                View::of(&predecessor.reader, predecessor.fields, &columns, None, predecessor.position)?
            }
            None => View::of(&reader, fields, &columns, None, built)?,
        };
        Ok(Self {
            fields,
            analyser: QueryAnalyser::new(),
            writer: Mutex::new(writer),
            reader,
            columns,
            merchandising: RwLock::default(),
            view: RwLock::new(Arc::new(view)),
            built: Mutex::new(built),
            predecessor: Mutex::new(predecessor),
            format,
        })
    }

    /// Epoch and log position of the last commit of this program's format, (0, 0) before the first: what comes after it is put
    /// next.
    pub fn built(&self) -> (i32, i64) {
        *self.built.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Epoch and log position of what queries see.
    pub fn position(&self) -> (i32, i64) {
        self.view().position
    }

    /// Products in the last commit.
    pub fn product_count(&self) -> u64 {
        self.view().searcher.num_docs()
    }

    /// Price, stock and popularity, visible to queries as soon as they are set.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Rules and synonyms as the next query sees them.
    pub fn merchandising(&self) -> Arc<Merchandising> {
        Arc::clone(&self.merchandising.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules and synonyms in force, at once.
    pub fn set_merchandising(&self, state: &domain::merchandising::Merchandising) {
        let mut analyser = self.analyser.clone();
        let words = |phrase: &str| analyser.words(phrase, "").into_iter().map(|word| word.plain).collect();
        let made = Arc::new(Merchandising::of(state, words));
        *self.merchandising.write().unwrap_or_else(PoisonError::into_inner) = made;
    }

    /// Replaces the product's document at the next commit. Waits while the writer is full.
    pub fn put(&self, product: &ProductDocument) -> Result<(), SearchError> {
        let document = self.fields.document(product);
        let writer = self.writer();
        writer.delete_term(self.fields.product_term(product.product_id));
        writer.add_document(document)?;
        Ok(())
    }

    /// Takes the product out at the next commit; its columns stay, should it come back.
    pub fn remove(&self, product_id: Uuid) {
        self.writer().delete_term(self.fields.product_term(product_id));
    }

    /// Makes what was put and removed durable and visible, as of `position` of the log.
    pub fn commit(&self, epoch: i32, position: i64) -> Result<(), SearchError> {
        let payload = Payload { epoch, position, format: self.format.clone() };
        let payload = serde_json::to_string(&payload).map_err(std::io::Error::from)?;
        let mut writer = self.writer();
        let mut prepared = writer.prepare_commit()?;
        prepared.set_payload(&payload);
        prepared.commit()?;
        self.reader.reload()?;
        *self.built.lock().unwrap_or_else(PoisonError::into_inner) = (epoch, position);
        self.show((epoch, position))
    }

    /// Everything up to `position` is committed, though the last commit says less: an index that answers in this one's place is
    /// left behind once this one is as far.
    pub fn reached(&self, epoch: i32, position: i64) -> Result<(), SearchError> {
        let is_built_beside = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_built_beside { self.show((epoch, position)) } else { Ok(()) }
    }

    /// Shows the last commit, unless an index of another format is further.
    fn show(&self, position: (i32, i64)) -> Result<(), SearchError> {
        let mut predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner);
        if predecessor.as_ref().is_some_and(|predecessor| position < predecessor.position) {
            return Ok(());
        }
        let earlier = self.view();
        let view = View::of(&self.reader, self.fields, &self.columns, Some(&earlier), position)?;
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        if let Some(left) = predecessor.take() {
            tracing::info!(position = position.1, "the index is as far as the one of another format, which is deleted");
            left.delete()?;
        }
        Ok(())
    }

    pub fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, SearchError> {
        query::search(self, request)
    }

    /// Finishes the merges under way; what was put since the last commit is dropped.
    pub fn close(self) -> Result<(), SearchError> {
        let writer = self.writer.into_inner();
        let writer = writer.unwrap_or_else(PoisonError::into_inner);
        Ok(writer.wait_merging_threads()?)
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A writer whose last user panicked holds whole documents only, so the poison says nothing.
    fn writer(&self) -> MutexGuard<'_, IndexWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One commit as queries see it.
struct View {
    searcher: Searcher,
    /// Of the index that is shown.
    fields: Fields,
    segments: HashMap<SegmentId, Arc<Segment>>,
    values: Arc<Values>,
    /// Facets of what is browsed, by what identifies them.
    counted: Mutex<HashMap<String, Vec<FacetCount>>>,
    position: (i32, i64),
}

/// What queries need of a segment beside the index. Segments never change, so it is made once.
struct Segment {
    /// The product of each document; hits of one rank are in the order of their ids.
    product_ids: Arc<[Uuid]>,
    /// The place in the columns of each document.
    slots: Arc<[u32]>,
    values: SegmentValues,
}

impl View {
    fn of(
        reader: &IndexReader,
        fields: Fields,
        columns: &Columns,
        earlier: Option<&View>,
        position: (i32, i64),
    ) -> Result<Self, SearchError> {
        let searcher = reader.searcher();
        let values = earlier.map(|view| Arc::clone(&view.values)).unwrap_or_default();
        let mut segments = HashMap::new();
        for segment in searcher.segment_readers() {
            let id = segment.segment_id();
            let known = earlier.and_then(|view| view.segments.get(&id));
            let of_segment = if let Some(known) = known {
                Arc::clone(known)
            } else {
                let product_ids = schema::product_ids(segment)?;
                let slots = product_ids.iter().map(|product_id| columns.slot(*product_id)).collect();
                Arc::new(Segment { product_ids, slots, values: SegmentValues::read_ahead(segment, &values)? })
            };
            segments.insert(id, of_segment);
        }
        Ok(Self { searcher, fields, segments, values, counted: Mutex::default(), position })
    }

    fn cached(&self, key: &str) -> Option<Vec<FacetCount>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps counts until the next commit; of too many, those that come later are counted each time.
    fn cache(&self, key: String, counts: &[FacetCount]) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() < FACETS_CACHED_MAX {
            counted.insert(key, counts.to_vec());
        }
    }

    /// Product and place of each document.
    fn products_of(&self, segment: &SegmentReader) -> (Arc<[Uuid]>, Arc<[u32]>) {
        let known = self.segments.get(&segment.segment_id());
        known.map(|segment| (Arc::clone(&segment.product_ids), Arc::clone(&segment.slots))).unwrap_or_default()
    }

    fn counts_of(&self, segment: &SegmentReader, column: &str) -> tantivy::Result<SegmentCounts> {
        match self.segments.get(&segment.segment_id()) {
            Some(known) => known.values.counts(segment, column, &self.values),
            None => SegmentValues::default().counts(segment, column, &self.values),
        }
    }
}

/// What a commit says of itself.
#[derive(Serialize, Deserialize)]
struct Payload {
    epoch: i32,
    position: i64,
    format: String,
}

/// The index and its position, or why the directory holds none that this program can use.
fn open_existing(dir: &Path, format: &str) -> Result<(Index, (i32, i64)), String> {
    let index = Index::open_in_dir(dir).map_err(|error| error.to_string())?;
    let metas = index.load_metas().map_err(|error| error.to_string())?;
    let payload: Payload =
        metas.payload.as_deref().and_then(|payload| serde_json::from_str(payload).ok()).ok_or("nothing was committed yet")?;
    if payload.format != format {
        return Err("schema or analysis changed".to_owned());
    }
    // A damaged file shows only when it is read, and ends a merge by a panic.
    let damaged = index.validate_checksum().map_err(|error| error.to_string())?;
    if !damaged.is_empty() {
        return Err(format!("{} of its files are damaged", damaged.len()));
    }
    Ok((index, (payload.epoch, payload.position)))
}

/// An index of another format that can be asked by this program's queries, whatever its analysis has made of the texts.
struct Predecessor {
    /// Its own folder, or the one above all, where the first versions had it.
    dir: PathBuf,
    reader: IndexReader,
    fields: Fields,
    position: (i32, i64),
}

impl Predecessor {
    fn open(dir: &Path) -> Result<Self, String> {
        let index = Index::open_in_dir(dir).map_err(|error| error.to_string())?;
        let metas = index.load_metas().map_err(|error| error.to_string())?;
        let payload: Option<Payload> = metas.payload.as_deref().and_then(|payload| serde_json::from_str(payload).ok());
        let payload = payload.ok_or("nothing was committed")?;
        let fields = Fields::of(&index.schema()).ok_or("its fields are others")?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        let reader = reader.map_err(|error: TantivyError| error.to_string())?;
        Ok(Self { dir: dir.to_owned(), reader, fields, position: (payload.epoch, payload.position) })
    }

    fn delete(self) -> Result<(), std::io::Error> {
        drop(self.reader);
        empty(&self.dir)
    }
}

/// The index of another format that has come the furthest, if it is further than what is built. The others are deleted.
fn predecessor(dir: &Path, own: &Path, built: (i32, i64)) -> Result<Option<Predecessor>, std::io::Error> {
    let mut dirs = vec![dir.to_owned()];
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.path() != own {
            dirs.push(entry.path());
        }
    }
    let mut furthest: Option<Predecessor> = None;
    for dir in dirs {
        match Predecessor::open(&dir) {
            Ok(found) if found.position > furthest.as_ref().map_or(built, |furthest| furthest.position) => {
                if let Some(lesser) = furthest.replace(found) {
                    lesser.delete()?;
                }
            }
            Ok(_) | Err(_) => empty(&dir)?,
        }
    }
    Ok(furthest)
}

/// The index's one writer. Blocks for a bounded time while the lock is on its way out.
fn writer(index: &Index) -> Result<IndexWriter, TantivyError> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match index.writer_with_num_threads(WRITER_THREADS, WRITER_MEMORY_BYTES) {
            Err(TantivyError::LockFailure(..)) if Instant::now() < until => std::thread::sleep(LOCK_POLL),
            ended => return ended,
        }
    }
}

/// The directory itself stays where it holds others: it may be a mount point.
fn empty(dir: &Path) -> Result<(), std::io::Error> {
    let mut is_alone = true;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        } else {
            is_alone = false;
        }
    }
    if is_alone { fs::remove_dir(dir) } else { Ok(()) }
}
