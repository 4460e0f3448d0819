//! An import at work: bytes in, products decided a bounded number at a time, lines of progress out.
//!
//! Nothing here runs by itself: the caller who reads the lines drives it, and whoever goes away ends it. What was handed to
//! the writer lands all the same, and is found unchanged by the next import.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use commands::answer::{CommandError, Origin, Position, Refusal};
use commands::catalog::{self, Put, PutOutcome, PutProduct};
use commands::setting::Change;
use commands::streams::Streams;
use domain::id::ProductId;
use domain::setting::{LocationAddress, NewLocation, SettingCommand};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use infra::event_log;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::category::Categories;
use super::columns::{Columns, Field};
use super::group::{Parsed, Products};
use super::layout::Layout;
use super::mapping::Mapping;
use super::product::{ImportedProduct, Terms};
use super::records::{Record, Records};
use super::woocommerce::WooCommerce;
use super::{ERRORS_TOLD_MAX, Format, Progress, Request, RowError, Stopped};
use crate::app::App;
use crate::http::problem::Problem;

/// Commands that are with the writer at a time: two of its batches, so that one fills while the other lands.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 512;
/// Products decided at a time when nothing is to be done: each reads the database by itself.
pub const REHEARSALS_IN_FLIGHT_MAX: usize = 8;
/// Products that are looked up in the log with one query.
pub const LOOKUP_PRODUCTS_MAX: usize = 256;
/// Silence between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// A command that finds the writer overloaded is sent again: after so long, then twice as long, and so often in all.
const RETRY_MIN: Duration = Duration::from_millis(20);
const ATTEMPTS_MAX: u32 = 10;
const NOT_STORED: &str = "this product could not be stored through a failure of ours; the server's log says why";

/// What became of one product.
struct Outcome {
    lines: Vec<u64>,
    skus: Vec<(String, u64)>,
    stored: Stored,
}

enum Stored {
    /// And where, unless it was only rehearsed.
    Put(Put, Option<Position>),
    Refused(Box<Refusal>),
    /// It isn't known, and the import can't go on.
    Failed(Stopped),
}

/// An import between two lines of its answer.
pub struct Import {
    app: Arc<App>,
    origin: Origin,
    request: Request,
    body: BodyDataStream,
    /// Since when nothing came although we waited for it.
    waiting_since: Option<Instant>,
    bytes: usize,
    body_ended: bool,
    records: Records,
    products: Products,
    /// Locations that the file names and the shop lacks; made, unless nothing is to be done.
    missing_locations: BTreeSet<String>,
    /// Not looked up yet.
    parsed: VecDeque<ImportedProduct>,
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// Slots of the rehearsals, when nothing is to be done.
    rehearsals: Option<Arc<Semaphore>>,
    /// The products of the file that have a SKU, when nothing is to be done; no larger than the file.
    rehearsed_skus: HashMap<String, ProductId>,
    progress: Progress,
    errors_told: u64,
    position: Position,
    reported_at: Instant,
    over: bool,
}

impl Import {
    /// Reads the header. What is wrong with the request or the header is a problem; after that the answer has begun.
    pub async fn begin(app: Arc<App>, origin: Origin, request: Request, body: Body) -> Result<Self, Problem> {
        let currency = app.settings.currency(&request.currency).ok_or_else(|| {
            let offered = app.config.store.currencies.join(", ");
            let detail = format!("`currency` may be {offered}, not {:?}", request.currency);
            Problem::new("unsupported_currency", detail.clone()).error("?currency", "unsupported_currency", detail)
        })?;
        let idle = Duration::from_millis(app.config.http.stream_idle_timeout_ms);
        let mut body = body.into_data_stream();
        let mut records = Records::new();
        let mut bytes = 0;
        let (header, body_ended) = loop {
            if let Some(record) = records.next_record() {
                break (record, false);
            }
            match timeout_at(Instant::now() + idle, body.next()).await {
                Ok(Some(Ok(piece))) => {
                    bytes += piece.len();
                    records.push(&piece);
                }
                Ok(None) => {
                    records.end();
                    let header = records.next_record();
                    break (header.ok_or_else(|| unreadable("the file is empty; send a CSV file with a header"))?, true);
                }
                Ok(Some(Err(_))) | Err(_) => {
                    return Err(Problem::new("invalid_json", "the body could not be read to its end; send it again"));
                }
            }
        };
        let header: Record = header.map_err(|fault| unreadable(&format!("the header can't be read: {}", fault.reason)))?;
        let language = request.language.clone().unwrap_or_else(|| app.settings.default_language().to_owned());
        let (layout, columns) = layout(&request.format, &header, &language).map_err(|detail| unreadable(&detail))?;
        let terms = Terms { currency, language, prices_include_tax: app.terms(0).await?.prices_include_tax };
        let head = event_log::head(&app.pool).await?;
        let codes: BTreeSet<&str> =
            [Field::Quantity, Field::SafetyStock].iter().flat_map(|f| columns.tagged(*f)).map(|(code, _)| code).collect();
        let missing_locations = missing_locations(&app, &codes, head.position).await?;
        if !request.dry_run {
            for code in &missing_locations {
                add_location(&app, &origin, code).await?;
            }
        }
        let mut categories = Categories::default();
        if columns.has(Field::Categories) || columns.has(Field::CategoryPaths) {
            app.reach_head("product").await?;
            categories = Categories::new(&projections::product::categories(&app.pool).await?);
        }
        let headers = header.cells.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
        let now = Instant::now();
        Ok(Self {
            position: Position { epoch: head.epoch, position: head.position },
            products: Products::new(headers, layout, columns, terms, categories).with_raw_cells(request.raw_cells),
            missing_locations,
            app,
            origin,
            body,
            waiting_since: None,
            bytes,
            body_ended,
            records,
            parsed: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            rehearsed_skus: HashMap::new(),
            rehearsals: request.dry_run.then(|| Arc::new(Semaphore::new(REHEARSALS_IN_FLIGHT_MAX))),
            progress: Progress::default(),
            errors_told: 0,
            reported_at: now,
            over: false,
            request,
        })
    }

    /// The next line of the answer; `None` after the last.
    pub async fn next_line(&mut self) -> Option<Progress> {
        if self.over {
            return None;
        }
        self.read_records();
        loop {
            while self.may_submit() {
                if let Err(stopped) = self.submit().await {
                    return Some(self.last_line(Some(stopped)));
                }
            }
            if self.body_ended && self.parsed.is_empty() && self.in_flight.is_empty() {
                return Some(self.last_line(None));
            }
            let wants_more = !self.body_ended && self.parsed.len() < LOOKUP_PRODUCTS_MAX;
            let idle = Duration::from_millis(self.app.config.http.stream_idle_timeout_ms);
            if wants_more && self.waiting_since.is_none() {
                self.waiting_since = Some(Instant::now());
            }
            let given_up_at = self.waiting_since.unwrap_or_else(Instant::now) + idle;
            tokio::select! {
                Some(outcome) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    if let Err(stopped) = self.count(&outcome) {
                        return Some(self.last_line(Some(stopped)));
                    }
                }
                piece = timeout_at(given_up_at, self.body.next()), if wants_more => {
                    let piece = piece.map_err(|_elapsed| "nothing of the file came for too long");
                    let piece = piece.and_then(|piece| piece.transpose().map_err(|_| "the file was not sent to its end"));
                    if let Err(stopped) = piece.map_err(|detail| stopped("import_broken_off", detail)).and_then(|piece| self.take(piece)) {
                        return Some(self.last_line(Some(stopped)));
                    }
                }
                () = sleep_until(self.reported_at + PROGRESS_INTERVAL) => return Some(self.line()),
            }
        }
    }

    /// Takes a piece of the file, or its end.
    fn take(&mut self, piece: Option<Bytes>) -> Result<(), Stopped> {
        self.waiting_since = None;
        if let Some(piece) = piece {
            self.bytes += piece.len();
            let max = self.app.config.http.import_bytes_max;
            if self.bytes > max {
                return Err(stopped("payload_too_large", &format!("the file is larger than {max} bytes; split it")));
            }
            self.records.push(&piece);
        } else {
            self.records.end();
            self.body_ended = true;
        }
        self.read_records();
        Ok(())
    }

    fn read_records(&mut self) {
        while let Some(record) = self.records.next_record() {
            self.progress.rows += 1;
            for parsed in self.products.push(record) {
                self.sort(parsed);
            }
        }
        if self.body_ended {
            for parsed in self.products.finish() {
                self.sort(parsed);
            }
        }
    }

    fn sort(&mut self, parsed: Parsed) {
        match parsed {
            Parsed::Product(product) => self.parsed.push_back(*product),
            Parsed::Refused { rows, errors } => {
                self.progress.refused += rows;
                for error in errors {
                    self.tell(error);
                }
            }
        }
    }

    fn tell_all(&mut self, errors: Vec<RowError>, lines: &[u64]) {
        for error in RowError::naming(errors, lines) {
            self.tell(error);
        }
    }

    fn tell(&mut self, error: RowError) {
        if self.errors_told < ERRORS_TOLD_MAX {
            self.errors_told += 1;
            self.progress.errors.push(error);
        } else {
            self.progress.errors_omitted += 1;
        }
    }

    fn may_submit(&self) -> bool {
        let enough = self.parsed.len() >= LOOKUP_PRODUCTS_MAX || self.body_ended && !self.parsed.is_empty();
        enough && self.in_flight.len() + LOOKUP_PRODUCTS_MAX <= COMMANDS_IN_FLIGHT_MAX
    }

    /// Looks some products up in the log and hands on those that are new or differ from their last import. What the log
    /// says is committed: a product that equals its last import there needs no decision.
    async fn submit(&mut self) -> Result<(), Stopped> {
        let products: Vec<ImportedProduct> = self.parsed.drain(..self.parsed.len().min(LOOKUP_PRODUCTS_MAX)).collect();
        let ids: Vec<_> = products.iter().map(|product| product.put.draft.product_id).collect();
        let stored = catalog::stored(&self.app.loader, &ids).await.map_err(|failure| failed(&failure))?;
        self.make_categories().await?;
        let has_variants = self.products.columns.has_variants();
        for mut product in products {
            let known = stored.get(&product.put.draft.product_id);
            let hash = product.put.draft.source.as_ref().map(|source| &source.hash);
            if known.is_some_and(|known| known.import_hash.as_ref() == hash) && !self.request.overwrite_stock {
                self.progress.unchanged += 1;
                continue;
            }
            if known.is_none() && !has_variants {
                self.progress.refused += product.lines.len() as u64;
                let column = self.products.columns.name(Field::Handle);
                let reason = "the shop has no product with this handle; a file without prices only changes products that are there";
                let line = product.lines.first().copied().unwrap_or_default();
                self.tell_all(vec![RowError::new(line, column, "product_unknown", reason)], &product.lines);
                continue;
            }
            if self.request.dry_run {
                for stock in &mut product.put.stock {
                    stock.located.retain(|located| !self.missing_locations.contains(&located.location));
                }
                if let Some((line, sku)) = self.sku_of_another(&product) {
                    self.progress.refused += product.lines.len() as u64;
                    let reason = format!("the sku {sku} belongs to a product further up; choose another one");
                    let error = RowError::new(line, self.products.columns.name(Field::Sku), "claim_taken", reason);
                    self.tell_all(vec![error], &product.lines);
                    continue;
                }
            }
            product.put.known = known.is_some();
            product.put.overwrite_stock = self.request.overwrite_stock;
            let command_id = infra::clock::new_id();
            let origin = Origin { command_id, causation_id: self.origin.command_id, ..self.origin.clone() };
            self.in_flight.push(Box::pin(put(Arc::clone(&self.app), origin, product, self.rehearsals.clone())));
        }
        Ok(())
    }

    /// What a file without a dry run learns from the claims that its earlier products have landed.
    fn sku_of_another(&mut self, product: &ImportedProduct) -> Option<(u64, String)> {
        let product_id = product.put.draft.product_id;
        let claimed = |claims: &HashMap<String, ProductId>, sku: &str| claims.get(sku).is_some_and(|of| *of != product_id);
        if let Some((sku, line)) = product.skus.iter().find(|(sku, _)| claimed(&self.rehearsed_skus, sku)) {
            return Some((*line, sku.clone()));
        }
        self.rehearsed_skus.extend(product.skus.iter().map(|(sku, _)| (sku.clone(), product_id)));
        None
    }

    /// Makes the categories that products name and the shop lacks, parents first.
    async fn make_categories(&mut self) -> Result<(), Stopped> {
        for facts in self.products.categories.take_wanted() {
            if self.request.dry_run {
                continue;
            }
            let facts = Arc::new(facts);
            let decide = move |streams: &mut Streams<'_>| catalog::add_category(streams, &facts);
            match self.app.writer.execute(&self.origin, None, decide).await {
                Ok(done) => self.progress.events += done.output.events as u64,
                Err(CommandError::Refused(refusal, _)) => return Err(stopped(&refusal.code, &format!("a category: {}", refusal.detail))),
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(())
    }

    fn count(&mut self, outcome: &Outcome) -> Result<(), Stopped> {
        match &outcome.stored {
            Stored::Put(put, position) => {
                match put.outcome {
                    PutOutcome::Created => self.progress.created += 1,
                    PutOutcome::Changed => self.progress.changed += 1,
                    PutOutcome::Unchanged => self.progress.unchanged += 1,
                }
                self.progress.events += put.events as u64;
                if let Some(position) = position {
                    self.position = Position { position: position.position.max(self.position.position), ..*position };
                }
            }
            Stored::Refused(refusal) => {
                self.progress.refused += outcome.lines.len() as u64;
                self.tell_all(vec![self.row_error(outcome, refusal)], &outcome.lines);
            }
            Stored::Failed(stopped) => return Err(stopped.clone()),
        }
        Ok(())
    }

    /// A refusal of the whole product, shown in the column that it is about: at the row of the SKU that it names, else at
    /// the product's first row.
    fn row_error(&self, outcome: &Outcome, refusal: &Refusal) -> RowError {
        let named = refusal.facts.get("sku").and_then(|sku| sku.as_str());
        let at_sku = outcome.skus.iter().find(|(sku, _)| Some(sku.as_str()) == named);
        let line = at_sku.map(|(_, line)| *line).or(outcome.lines.first().copied()).unwrap_or_default();
        let Some(error) = refusal.errors.first() else {
            return RowError::new(line, None, &refusal.code, refusal.detail.as_str());
        };
        let field = match error.pointer.as_str() {
            "/handle" => Some(Field::Handle),
            "/title" => Some(Field::Title),
            "/variants/sku" => Some(Field::Sku),
            "/variants/options" => Some(Field::OptionValue(1)),
            "/variants/price" => Some(Field::Price),
            "/variants/compare_at" => Some(Field::CompareAt),
            _ => None,
        };
        let column = field.and_then(|field| self.products.columns.name(field));
        RowError::new(line, column, &error.code, error.detail.as_str())
    }

    fn line(&mut self) -> Progress {
        self.reported_at = Instant::now();
        let line = self.progress.clone();
        self.progress.errors.clear();
        line
    }

    fn last_line(&mut self, problem: Option<Stopped>) -> Progress {
        self.over = true;
        let ignored_columns = std::mem::take(&mut self.products.columns.ignored);
        let position = Some(self.position.to_string());
        Progress { done: problem.is_none(), problem, position, ignored_columns, ..self.line() }
    }
}

/// How the file's rows are read, and what its columns are.
fn layout(format: &Format, header: &Record, language: &str) -> Result<(Layout, Columns), String> {
    if let Some(separator) = header.other_separator() {
        return Err(format!("the file separates its cells by {separator}; save it as CSV that is separated by commas"));
    }
    let headers: Vec<String> = header.cells.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
    Ok(match format {
        Format::Shopify => (Layout::Plain, Columns::read(header)?),
        Format::WooCommerce => {
            let (woo, columns) = WooCommerce::read(&headers, language)?;
            (Layout::WooCommerce(Box::new(woo)), columns)
        }
        Format::Mapped(text) => {
            let (mapping, columns) = Mapping::read(text, &headers)?;
            (Layout::Mapped(Box::new(mapping)), columns)
        }
    })
}

/// Those of the locations that the shop does not have.
async fn missing_locations(app: &App, codes: &BTreeSet<&str>, position: i64) -> Result<BTreeSet<String>, Problem> {
    if codes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (settings, _) = app.settings_as_of(position).await?;
    let is_there = |code: &str| settings.location(code).is_some_and(|location| !location.is_closed);
    Ok(codes.iter().filter(|code| !is_there(code)).map(|code| (*code).to_owned()).collect())
}

/// A location that has nothing but a code yet.
async fn add_location(app: &App, origin: &Origin, code: &str) -> Result<(), Problem> {
    let location_id = infra::clock::new_id().into();
    let (code, title) = (code.to_owned(), code.to_owned());
    let new = NewLocation { location_id, code, title, address: LocationAddress::default(), priority: None };
    let configured = Arc::clone(&app.settings.terms);
    let change = Change { command: SettingCommand::AddLocation(new), configured, expected_version: None, status: 201 };
    app.writer.execute(origin, None, move |streams| commands::setting::change(streams, &change)).await?;
    Ok(())
}

/// Decides one product; only rehearses it where there are slots for that.
async fn put(app: Arc<App>, origin: Origin, product: ImportedProduct, rehearsals: Option<Arc<Semaphore>>) -> Outcome {
    let ImportedProduct { lines, skus, put } = product;
    let stored = match rehearsals {
        Some(slots) => {
            let _slot = slots.acquire().await;
            rehearse(&app, &put).await
        }
        None => store(&app, &origin, put).await,
    };
    Outcome { lines, skus, stored }
}

async fn rehearse(app: &App, put: &PutProduct) -> Stored {
    match catalog::rehearse_put(&app.loader, put).await {
        Ok(Ok(put)) => Stored::Put(put, None),
        Ok(Err(refusal)) => Stored::Refused(refusal),
        Err(failure) => Stored::Failed(failed(&failure)),
    }
}

/// Decides one product, again while the writer is overloaded: a put that has landed already is a no-op.
async fn store(app: &App, origin: &Origin, put: PutProduct) -> Stored {
    let put = Arc::new(put);
    let mut wait = RETRY_MIN;
    let mut attempts = 1;
    loop {
        let decided = Arc::clone(&put);
        let error = match app.writer.execute(origin, None, move |streams| catalog::put_product(streams, &decided)).await {
            Ok(done) => return Stored::Put(done.output, Some(done.position)),
            Err(CommandError::Refused(refusal, _)) => return Stored::Refused(refusal),
            // The writer has logged it; the other products go in.
            Err(CommandError::Internal(_)) => return Stored::Refused(Box::new(Refusal::new("internal", NOT_STORED))),
            Err(error) => error,
        };
        if attempts == ATTEMPTS_MAX {
            return Stored::Failed(failed(&error));
        }
        attempts += 1;
        sleep(wait).await;
        wait *= 2;
    }
}

fn unreadable(detail: &str) -> Problem {
    Problem::invalid("", "header_invalid", detail)
}

fn stopped(code: &str, detail: &str) -> Stopped {
    Stopped { code: code.to_owned(), detail: detail.to_owned() }
}

/// A failure of ours, logged where it ends the import.
fn failed(error: &(dyn std::error::Error + 'static)) -> Stopped {
    tracing::error!(error, "an import ended early");
    stopped("unavailable", "the import could not go on; send the same file again, what went in already stays as it is")
}
