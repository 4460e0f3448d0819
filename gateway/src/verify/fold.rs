//! Streams and read models: every stream is contiguous and can be read, every row is the fold of its stream.
//!
//! A page of streams, the rows of the same ids and the projection's checkpoint are read in one snapshot, so that a row can
//! be held against the stream as of the checkpoint while both go on. What is personal may be erased between two reads: a
//! page with a difference is looked at again before it is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::loader::version_number;
use domain::cart::Cart;
use domain::catalog::{Category, Product};
use domain::claim::Claim;
use domain::customer;
use domain::event::{Event, FINGERPRINT, Root};
use domain::inventory::StockItem;
use domain::merchandising::Merchandising;
use domain::order::Order;
use domain::payment::Payment;
use domain::promotion::Promotion;
use domain::setting::Settings;
use futures::TryStreamExt;
use infra::event_log::StoredEvent;
use infra::sealing::{SealError, Sealer};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use super::columns::{self, Columns};
use super::{Check, Discrepancy, Progress, Report, Subject, VerifyError, Watcher};

/// Streams whose states are held at once.
const PAGE_STREAMS_MAX: i64 = 500;
/// Events that are opened at once.
const OPEN_EVENTS_MAX: usize = 500;
/// Wait before a page with a difference is looked at again, and how many pages are.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_PAGES_MAX: u32 = 5;
/// Longest wait for the read models to come to the head.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
const CATCH_UP_POLL: Duration = Duration::from_millis(100);
/// Fields of a row that are named where it differs.
const FIELDS_NAMED_MAX: usize = 5;

/// The table that keeps the states of one aggregate type, and what its other columns must be.
struct Model<A> {
    projection: &'static str,
    table: &'static str,
    columns: Columns<A>,
}

/// Walks over all streams of the log, type by type.
pub(super) async fn read_models(subject: &Subject, head: i64, report: &mut Report, watch: Watcher<'_>) -> Result<(), VerifyError> {
    catch_up(&subject.pool, head, report).await?;
    let walk =
        &mut Walk { subject, report, watch, folded: 0, head: u64::try_from(head).unwrap_or(0), again: AGAIN_PAGES_MAX, known: Vec::new() };
    walk.streams::<Product>(Some(&Model { projection: "product", table: "product", columns: columns::product })).await?;
    walk.streams::<Category>(Some(&Model { projection: "product", table: "category", columns: columns::none })).await?;
    walk.streams::<StockItem>(Some(&Model { projection: "stock", table: "stock", columns: columns::stock })).await?;
    walk.streams::<Cart>(Some(&Model { projection: "cart", table: "cart", columns: columns::cart })).await?;
    walk.streams::<Order>(Some(&Model { projection: "order", table: "\"order\"", columns: columns::order })).await?;
    walk.streams::<Payment>(Some(&Model { projection: "order", table: "payment", columns: columns::payment })).await?;
    walk.streams::<Settings>(None).await?;
    walk.streams::<Promotion>(Some(&Model { projection: "promotion", table: "promotion", columns: columns::promotion })).await?;
    walk.streams::<Merchandising>(None).await?;
    walk.streams::<customer::Subject>(None).await?;
    walk.streams::<Claim>(None).await?;
    walk.other_types().await
}

/// Waits, within a bound, until the read models have come to `head`; says which have not.
async fn catch_up(pool: &PgPool, head: i64, report: &mut Report) -> Result<(), sqlx::Error> {
    let until = Instant::now() + CATCH_UP_TIMEOUT;
    loop {
        let behind: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT projection, position, status FROM checkpoint
             WHERE position < $1 AND projection = ANY ($2) ORDER BY projection",
        )
        .bind(head)
        .bind(projections::NAMES.as_slice())
        .fetch_all(pool)
        .await?;
        if behind.is_empty() || Instant::now() >= until {
            report.unchecked.extend(behind.into_iter().map(|(name, position, status)| {
                format!("the read model {name} beyond position {position}: it is {status} and does not come to {head}")
            }));
            return Ok(());
        }
        sleep(CATCH_UP_POLL).await;
    }
}

struct Walk<'a> {
    subject: &'a Subject,
    report: &'a mut Report,
    watch: Watcher<'a>,
    folded: u64,
    head: u64,
    /// Pages that may still be looked at again.
    again: u32,
    /// The types that were walked over.
    known: Vec<&'static str>,
}

/// What one look at a page of ids found.
#[derive(Default)]
struct Page {
    last_id: Option<String>,
    streams: u64,
    rows: u64,
    events: u64,
    discrepancies: Vec<Discrepancy>,
}

impl Walk<'_> {
    async fn streams<A: Root>(&mut self, model: Option<&Model<A>>) -> Result<(), VerifyError> {
        self.known.push(A::TYPE);
        let mut after = String::new();
        loop {
            let mut page = page::<A>(self.subject, model, &after).await?;
            if !page.discrepancies.is_empty() && self.again > 0 {
                self.again -= 1;
                sleep(AGAIN_AFTER).await;
                page = self::page::<A>(self.subject, model, &after).await?;
            }
            self.report.streams += page.streams;
            self.report.rows += page.rows;
            self.report.add(page.discrepancies);
            self.folded += page.events;
            (self.watch)(Progress { step: "streams and read models", done: self.head + self.folded.min(self.head), total: 2 * self.head });
            match page.last_id {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Every aggregate type of the log must be one that this program folds.
    async fn other_types(&mut self) -> Result<(), VerifyError> {
        let mut after = String::new();
        loop {
            let next: Option<String> = sqlx::query_scalar("SELECT min(aggregate_type) FROM events WHERE aggregate_type > $1")
                .bind(&after)
                .fetch_one(&self.subject.pool)
                .await?;
            let Some(next) = next else { return Ok(()) };
            if !self.known.contains(&next.as_str()) {
                self.report.add([Discrepancy::new(Check::Stream, next.as_str(), "this program knows no such aggregate type")]);
            }
            after = next;
        }
    }
}

/// A stream as of the checkpoint.
#[derive(Debug, Default)]
struct Folded {
    version: i64,
    position: i64,
    state: Value,
    columns: Value,
}

/// A row of a state table.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: String,
    version: i64,
    position: i64,
    state: String,
    /// All others.
    columns: Value,
}

/// Where a projection stands, and how its table is called in SQL.
struct Standing {
    position: i64,
    table: String,
}

impl Standing {
    fn place(&self, id: &str) -> String {
        format!("{}/{id}", self.table.replace('"', ""))
    }
}

async fn page<A: Root>(subject: &Subject, model: Option<&Model<A>>, after: &str) -> Result<Page, VerifyError> {
    let mut transaction = subject.pool.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *transaction).await?;
    let mut standing = None;
    if let Some(model) = model {
        standing = self::standing(&mut transaction, model.projection, model.table).await?;
        if standing.is_none() {
            let missing = Discrepancy::new(Check::ReadModel, model.projection, "the projection has no checkpoint");
            return Ok(Page { discrepancies: vec![missing], ..Page::default() });
        }
    }
    let ids = ids(&mut transaction, A::TYPE, standing.as_ref(), after).await?;
    let Some(last_id) = ids.last().cloned() else {
        return Ok(Page::default());
    };
    let mut page = Page { last_id: Some(last_id.clone()), ..Page::default() };
    let until = standing.as_ref().map_or(i64::MAX, |standing| standing.position);
    let columns = model.map_or(columns::none::<A> as Columns<A>, |model| model.columns);
    let mut folded = fold::<A>(subject, &mut transaction, (after, &last_id), until, columns, &mut page).await?;
    if let (Some(standing), Some(model)) = (standing, model) {
        let parked = parked(&mut transaction, model.projection, A::TYPE, (after, &last_id)).await?;
        for row in rows(&mut transaction, &standing.table, (after, &last_id)).await? {
            page.rows += 1;
            let expected = folded.remove(&row.id);
            if !parked.contains_key(&row.id) {
                page.discrepancies.extend(difference(&standing, &row, expected));
            }
        }
        folded.retain(|id, folded| folded.version > 0 && !parked.contains_key(id));
        let missing = folded.keys().map(|id| Discrepancy::new(Check::ReadModel, standing.place(id), "the row is missing"));
        page.discrepancies.extend(missing);
        page.discrepancies.extend(parked.iter().map(|(id, position)| {
            let detail = format!("{} has parked the stream at position {position}", model.projection);
            Discrepancy::new(Check::ReadModel, format!("{}/{id}", A::TYPE), detail)
        }));
    }
    transaction.commit().await?;
    Ok(page)
}

/// Folds the streams of a range of ids, one event after the other; says what can't be folded.
async fn fold<A: Root>(
    subject: &Subject,
    connection: &mut PgConnection,
    (after, last): (&str, &str),
    until: i64,
    columns: Columns<A>,
    page: &mut Page,
) -> Result<BTreeMap<String, Folded>, VerifyError> {
    let mut kept = kept(connection, A::TYPE, (after, last)).await?;
    let mut events = sqlx::query_as::<_, StoredEvent>(
        "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events WHERE aggregate_type = $1 AND aggregate_id > $2 AND aggregate_id <= $3 ORDER BY aggregate_id, sequence",
    )
    .bind(A::TYPE)
    .bind(after)
    .bind(last)
    .fetch(connection)
    .try_chunks(OPEN_EVENTS_MAX);
    let mut folded = BTreeMap::new();
    let mut current: Option<Stream<A>> = None;
    while let Some(mut chunk) = events.try_next().await.map_err(|error| error.1)? {
        let unopened = open(&subject.sealer, &mut chunk).await?;
        page.events += chunk.len() as u64;
        for event in chunk {
            if current.as_ref().is_none_or(|stream| stream.id != event.aggregate_id)
                && let Some(ended) = current.replace(Stream::new(&event.aggregate_id, kept.remove(&event.aggregate_id)))
            {
                ended.end(columns, &mut folded, page)?;
            }
            if let Some(stream) = &mut current {
                if unopened.contains(&event.position) {
                    stream
                        .fault
                        .get_or_insert_with(|| format!("personal data of the event at position {} can't be opened", event.position));
                }
                stream.take(&event, until)?;
            }
        }
    }
    if let Some(ended) = current {
        ended.end(columns, &mut folded, page)?;
    }
    page.discrepancies
        .extend(kept.keys().map(|id| Discrepancy::new(Check::Snapshot, format!("{}/{id}", A::TYPE), "there is no such stream")));
    Ok(folded)
}

/// Opens a chunk's personal data; answers the positions where that can't be done, which says that a value was changed or moved.
async fn open(sealer: &Sealer, chunk: &mut [StoredEvent]) -> Result<BTreeSet<i64>, SealError> {
    let mut unopened = BTreeSet::new();
    match sealer.open_all(chunk).await {
        Err(SealError::Broken | SealError::Key | SealError::Payload) => {}
        opened => return opened.map(|()| unopened),
    }
    for event in chunk {
        match sealer.open_all(std::slice::from_mut(event)).await {
            Ok(()) => {}
            Err(SealError::Broken | SealError::Key | SealError::Payload) => {
                unopened.insert(event.position);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(unopened)
}

/// One stream on its way through [`fold`].
struct Stream<A> {
    id: String,
    /// Of the last event that was seen.
    sequence: i64,
    position: i64,
    state: A,
    /// Of the last event that was applied.
    folded: (i64, i64),
    /// Units that its events gave to orders.
    sold: i64,
    fault: Option<String>,
    /// Its snapshots by version, until they have been compared.
    kept: Kept,
    wrong: Vec<String>,
}

/// Snapshots of a stream: by version, the position and the state.
type Kept = BTreeMap<i64, (i64, String)>;

impl<A: Root> Stream<A> {
    fn new(id: &str, kept: Option<Kept>) -> Self {
        Self {
            id: id.to_owned(),
            sequence: 0,
            position: 0,
            state: A::default(),
            folded: (0, 0),
            sold: 0,
            fault: None,
            kept: kept.unwrap_or_default(),
            wrong: Vec::new(),
        }
    }

    /// Applies an event that is at or before `until`; after its first fault a stream is not folded on.
    fn take(&mut self, event: &StoredEvent, until: i64) -> Result<(), serde_json::Error> {
        let StoredEvent { sequence, position, event_type, event_version, .. } = event;
        let (before, position_before) = (self.sequence, self.position);
        (self.sequence, self.position) = (*sequence, *position);
        if self.fault.is_some() {
            return Ok(());
        }
        if *sequence != before + 1 {
            self.fault = Some(format!("sequence {sequence} follows {before}"));
        } else if *position <= position_before {
            self.fault = Some(format!("sequence {sequence} is at position {position}, the one before at {position_before}"));
        } else if *position <= until {
            match A::Event::from_payload(event_type, version_number(event_version), &event.payload) {
                Ok(decoded) => {
                    self.state.apply(decoded);
                    self.folded = (*sequence, *position);
                    self.sold += columns::units_allocated(event);
                    self.compare_snapshot()?;
                }
                Err(error) => {
                    self.fault = Some(format!("the event at position {position} can't be read: {error}"));
                }
            }
        }
        Ok(())
    }

    /// What was kept of the version that the fold has come to.
    fn compare_snapshot(&mut self) -> Result<(), serde_json::Error> {
        let (version, position) = self.folded;
        let Some((kept_position, kept)) = self.kept.remove(&version) else { return Ok(()) };
        let mut fields = Vec::new();
        match serde_json::from_str(&kept) {
            Ok(kept) => differing(&kept, &serde_json::to_value(&self.state)?, &mut String::new(), &mut fields),
            Err(_) => fields.push("/".to_owned()),
        }
        if kept_position != position {
            fields.push("its position".to_owned());
        }
        if !fields.is_empty() {
            self.wrong.push(format!("version {version} differs from the fold of its stream in {}", fields.join(", ")));
        }
        Ok(())
    }

    fn end(self, columns: Columns<A>, folded: &mut BTreeMap<String, Folded>, page: &mut Page) -> Result<(), VerifyError> {
        page.streams += 1;
        let place = format!("{}/{}", A::TYPE, self.id);
        let ahead = self.kept.keys().filter(|version| **version > self.sequence);
        let ahead = ahead.map(|version| format!("the stream has no version {version}"));
        page.discrepancies
            .extend(self.wrong.into_iter().chain(ahead).map(|wrong| Discrepancy::new(Check::Snapshot, place.as_str(), wrong)));
        if let Some(fault) = self.fault {
            page.discrepancies.push(Discrepancy::new(Check::Stream, place, fault));
        }
        let (version, position) = self.folded;
        let columns = columns(&self.state, self.sold);
        folded.insert(self.id, Folded { version, position, state: serde_json::to_value(self.state)?, columns });
        Ok(())
    }
}

/// What a row has otherwise than its stream as of the checkpoint.
fn difference(standing: &Standing, row: &Row, expected: Option<Folded>) -> Option<Discrepancy> {
    let expected = expected.unwrap_or_default();
    let detail = if expected.version == 0 {
        "there is no such stream".to_owned()
    } else if (row.version, row.position) != (expected.version, expected.position) {
        let Folded { version, position, .. } = expected;
        let at = standing.position;
        format!(
            "the row is at version {}, position {}; as of the checkpoint {at} the stream is at {version}, {position}",
            row.version, row.position
        )
    } else {
        match serde_json::from_str(&row.state) {
            Err(_) => "its state is not JSON".to_owned(),
            Ok(state) => {
                let mut fields = Vec::new();
                differing(&state, &expected.state, &mut String::new(), &mut fields);
                for (name, value) in expected.columns.as_object().into_iter().flatten() {
                    differing(&row.columns[name], value, &mut format!("column {name}"), &mut fields);
                }
                if fields.is_empty() {
                    return None;
                }
                format!("version {} differs from the fold of its stream in {}", row.version, fields.join(", "))
            }
        }
    };
    Some(Discrepancy::new(Check::ReadModel, standing.place(&row.id), detail))
}

/// JSON pointers to the first fields in which two states differ.
fn differing(row: &Value, fold: &Value, path: &mut String, fields: &mut Vec<String>) {
    if fields.len() >= FIELDS_NAMED_MAX || row == fold {
        return;
    }
    let before = path.len();
    let mut descend = |key: &str, row: &Value, fold: &Value| {
        path.push('/');
        path.push_str(key);
        differing(row, fold, path, fields);
        path.truncate(before);
    };
    match (row, fold) {
        (Value::Object(row), Value::Object(fold)) => {
            for key in row.keys().chain(fold.keys().filter(|key| !row.contains_key(*key))) {
                descend(key, row.get(key).unwrap_or(&Value::Null), fold.get(key).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(row), Value::Array(fold)) if row.len() == fold.len() => {
            for (index, (row, fold)) in row.iter().zip(fold).enumerate() {
                descend(&index.to_string(), row, fold);
            }
        }
        _ => fields.push(if path.is_empty() { "/".to_owned() } else { path.clone() }),
    }
}

async fn standing(connection: &mut PgConnection, projection: &str, table: &str) -> Result<Option<Standing>, sqlx::Error> {
    let found: Option<(i32, i64)> = sqlx::query_as("SELECT version, position FROM checkpoint WHERE projection = $1")
        .bind(projection)
        .fetch_optional(connection)
        .await?;
    Ok(found.map(|(version, position)| Standing { position, table: format!("{projection}_v{version}.{table}") }))
}

/// The next ids of a type: those with a stream, and those with a row.
async fn ids(connection: &mut PgConnection, kind: &str, standing: Option<&Standing>, after: &str) -> Result<Vec<String>, sqlx::Error> {
    let of_rows = standing
        .map_or_else(String::new, |standing| format!("UNION (SELECT id FROM {} WHERE id > $2 ORDER BY id LIMIT $3)", standing.table));
    let ids = format!(
        "SELECT id FROM ((SELECT DISTINCT aggregate_id AS id FROM events WHERE aggregate_type = $1 AND aggregate_id > $2
                          ORDER BY aggregate_id LIMIT $3) {of_rows}) AS ids
         ORDER BY id LIMIT $3"
    );
    sqlx::query_scalar(&ids).bind(kind).bind(after).bind(PAGE_STREAMS_MAX).fetch_all(connection).await
}

/// The snapshots that decisions may be made on.
async fn kept(connection: &mut PgConnection, kind: &str, (after, last): (&str, &str)) -> Result<BTreeMap<String, Kept>, sqlx::Error> {
    let found: Vec<(String, i64, i64, String)> = sqlx::query_as(
        "SELECT aggregate_id, version, position, state::text FROM snapshot
         WHERE aggregate_type = $1 AND aggregate_id > $2 AND aggregate_id <= $3 AND fingerprint = $4",
    )
    .bind(kind)
    .bind(after)
    .bind(last)
    .bind(FINGERPRINT)
    .fetch_all(connection)
    .await?;
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    for (id, version, position, state) in found {
        kept.entry(id).or_default().insert(version, (position, state));
    }
    Ok(kept)
}

async fn rows(connection: &mut PgConnection, table: &str, (after, last): (&str, &str)) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(&format!(
        "SELECT id, version, position, state::text AS state, to_jsonb(t) - 'state' AS columns FROM {table} t
         WHERE id > $1 AND id <= $2 ORDER BY id"
    ))
    .bind(after)
    .bind(last)
    .fetch_all(connection)
    .await
}

/// The streams that a projection has parked, each with its first parked position: their rows are behind, and known to be.
async fn parked(
    connection: &mut PgConnection,
    projection: &str,
    kind: &str,
    (after, last): (&str, &str),
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let found: Vec<(String, i64)> = sqlx::query_as(
        r#"SELECT aggregate_id, min(position) FROM parked_event
           WHERE projection = $1 AND aggregate_type = $2 AND aggregate_id COLLATE "C" > $3 AND aggregate_id COLLATE "C" <= $4
           GROUP BY aggregate_id"#,
    )
    .bind(projection)
    .bind(kind)
    .bind(after)
    .bind(last)
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(row: &Value, fold: &Value) -> Vec<String> {
        let mut fields = Vec::new();
        differing(row, fold, &mut String::new(), &mut fields);
        fields.sort_unstable();
        fields
    }

    #[test]
    fn the_fields_that_differ_are_named_and_their_values_are_not() {
        let row = json!({ "status": "open", "lines": [{ "quantity": 1 }], "contact": { "$personal": "ada" } });
        let fold = json!({ "status": "open", "lines": [{ "quantity": 2 }], "contact": { "$erased": true } });
        assert_eq!(named(&row, &fold), ["/contact/$erased", "/contact/$personal", "/lines/0/quantity"]);
        assert!(named(&row, &row).is_empty());
        assert_eq!(named(&json!([1]), &json!([1, 2])), ["/"]);
    }

    #[test]
    fn a_row_is_held_against_its_stream_as_of_the_checkpoint() {
        let standing = Standing { position: 9, table: "order_v2.order".to_owned() };
        let row = Row { id: "1".to_owned(), version: 2, position: 8, state: "{}".to_owned(), columns: json!({ "status": "open" }) };
        let folded = |version, state| Some(Folded { version, position: 8, state, columns: json!({ "status": "open" }) });
        assert_eq!(difference(&standing, &row, folded(2, json!({}))), None);
        let closed = Folded { columns: json!({ "status": "closed" }), ..folded(2, json!({})).unwrap() };
        assert!(difference(&standing, &row, Some(closed)).unwrap().detail.ends_with("column status"));
        assert!(difference(&standing, &row, folded(3, json!({}))).is_some());
        assert!(difference(&standing, &row, folded(2, json!({ "total": 1 }))).is_some());
        assert!(difference(&standing, &row, None).is_some());
    }
}
