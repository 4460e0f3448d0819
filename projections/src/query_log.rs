//! What shoppers search for: how often, with how many results, and what they choose from them. Sums by day, language and query;
//! nobody's name, address or session is with them.
//!
//! Not made from the event log, since a search is no fact of the business: it changes nothing that anybody could ask about later,
//! there are a thousand for each order, and what people type must not be kept for ever. So the gateway feeds it, by way of a
//! bounded buffer in memory that is written on a timer in one statement: no request waits for it, and what does not fit or can't
//! be written is dropped and counted. It has a schema of its own, which no rebuild empties, and days that are over are deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use domain::merchandising::normalised;
use infra::clock;
use infra::config;
use infra::task::CancellationToken;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

/// A query with more digits may be the number of somebody's card or account (ISO/IEC 7812: from 13 on), and is not counted.
const QUERY_DIGITS_MAX: usize = 12;
/// Characters of a query that are kept; what is longer is no query that anybody repeats, and is not counted.
pub const QUERY_CHARS_MAX: usize = 100;
/// The lowest place that a click may name.
pub const CLICK_POSITION_MAX: u32 = 10_000;
/// Searches that found something, from which on a query is popular: what one person typed is shown to nobody else.
pub const POPULAR_SEARCHES_MIN: i64 = 5;
/// Days that are looked at for popular queries.
const POPULAR_DAYS: u64 = 30;
/// How often days that are over are deleted.
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);
/// The root of all ids of queries.
const NAMESPACE: Uuid = Uuid::from_u128(0x7c2e_50b1_93d4_4f6a_8f0e_71d5_a3c9_6b18);

/// A query of a day as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedQuery {
    /// Made from the rest, the same for everybody who searches for the same: it tells of nobody, and a click is understood by any
    /// process, also after a restart.
    pub id: Uuid,
    day: NaiveDate,
    lang: String,
    query: String,
}

impl LoggedQuery {
    /// `None`: it is not counted, being blank, too long, or an e-mail address.
    fn of(q: &str, lang: &str, now: DateTime<Utc>) -> Option<Self> {
        let query = normalised(q);
        let digits = query.chars().filter(char::is_ascii_digit).count();
        if query.is_empty() || query.contains('@') || digits > QUERY_DIGITS_MAX || query.chars().count() > QUERY_CHARS_MAX {
            return None;
        }
        let (day, lang) = (now.date_naive(), lang.to_ascii_lowercase());
        let id = Uuid::new_v5(&NAMESPACE, format!("{day}\n{lang}\n{query}").as_bytes());
        Some(Self { id, day, lang, query })
    }
}

/// What came of a query in a span of days.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct QueryCount {
    pub lang: String,
    pub query: String,
    pub searches: i64,
    pub zero_results: i64,
    pub clicks: i64,
    /// The places that were clicked, summed.
    pub positions: i64,
    /// What the list is sorted by.
    pub rank: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuerySort {
    Searches,
    /// By clicks in a million searches.
    ClickThrough,
}

/// Which queries are asked for; both days are included.
#[derive(Debug, Clone)]
pub struct QueryFilter {
    pub from: NaiveDate,
    pub to: NaiveDate,
    /// Only those that found nothing at least once.
    pub zero_results: bool,
    pub sort: QuerySort,
    /// Rank, language and query of the last one of the page before.
    pub after: Option<(i64, String, String)>,
    pub limit: i64,
}

#[derive(Debug, Default)]
struct Buffer {
    searches: HashMap<Uuid, Counted>,
    /// By query and product: clicks, positions.
    clicks: HashMap<(Uuid, Uuid), (i64, i64)>,
}

#[derive(Debug)]
struct Counted {
    query: LoggedQuery,
    searches: i64,
    zero_results: i64,
}

/// Counts what this process is asked for, and reads what all have counted.
#[derive(Debug)]
pub struct QueryLog {
    pool: PgPool,
    settings: config::Search,
    buffer: Mutex<Buffer>,
}

/// Creates the schema and its tables where they are missing.
pub async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('query_log'))").execute(&mut *transaction).await?;
    sqlx::raw_sql(include_str!("query_log.sql")).execute(&mut *transaction).await?;
    transaction.commit().await
}

impl QueryLog {
    #[must_use]
    pub fn new(pool: PgPool, settings: config::Search) -> Self {
        Self { pool, settings, buffer: Mutex::default() }
    }

    /// A query as it is counted; `None`: it is not, being blank, too long, or an e-mail address, or nothing is.
    #[must_use]
    pub fn query(&self, q: &str, lang: &str, now: DateTime<Utc>) -> Option<LoggedQuery> {
        if self.settings.query_log_days == 0 { None } else { LoggedQuery::of(q, lang, now) }
    }

    /// Counts a search, and whether it found nothing.
    pub fn searched(&self, query: &LoggedQuery, found_nothing: bool) {
        let mut buffer = self.lock();
        let is_full = buffer.searches.len() >= self.settings.query_log_buffer_max;
        if is_full && !buffer.searches.contains_key(&query.id) {
            return dropped(1);
        }
        let begun = || Counted { query: query.clone(), searches: 0, zero_results: 0 };
        let counted = buffer.searches.entry(query.id).or_insert_with(begun);
        counted.searches += 1;
        counted.zero_results += i64::from(found_nothing);
    }

    /// Counts that somebody has chosen the product at this place of a query's results.
    pub fn clicked(&self, query_id: Uuid, product_id: Uuid, position: u32) {
        if self.settings.query_log_days == 0 {
            return;
        }
        let mut buffer = self.lock();
        let is_full = buffer.clicks.len() >= self.settings.query_log_buffer_max;
        if is_full && !buffer.clicks.contains_key(&(query_id, product_id)) {
            return dropped(1);
        }
        let (clicks, positions) = buffer.clicks.entry((query_id, product_id)).or_default();
        *clicks += 1;
        *positions += i64::from(position);
    }

    /// Writes what was counted, on a timer and at the end; deletes days that are over.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let interval = Duration::from_millis(self.settings.query_log_flush_ms);
        let mut pruned_at: Option<Instant> = None;
        while !stop.is_cancelled() {
            if pruned_at.is_none_or(|at| at.elapsed() >= PRUNE_INTERVAL) {
                pruned_at = Some(Instant::now());
                if let Err(error) = self.prune(clock::now()).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "old days of the query log can't be deleted now");
                }
            }
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(interval) => {} }
            self.flush().await;
        }
    }

    async fn flush(&self) {
        let Buffer { searches, clicks } = std::mem::take(&mut *self.lock());
        if searches.is_empty() && clicks.is_empty() {
            return;
        }
        let counted = searches.len() + clicks.len();
        if let Err(error) = self.write(searches.into_values().collect(), clicks.into_iter().collect()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, counted, "what shoppers searched for can't be kept and is dropped");
            dropped(counted);
        }
    }

    /// A click on a query that nobody has counted is dropped, too. Rows are written in the order of their keys, so that two
    /// processes don't wait for each other.
    async fn write(&self, mut searches: Vec<Counted>, mut clicks: Vec<((Uuid, Uuid), (i64, i64))>) -> Result<(), sqlx::Error> {
        searches.sort_unstable_by_key(|counted| counted.query.id);
        clicks.sort_unstable();
        let of = |each: fn(&Counted) -> i64| searches.iter().map(each).collect::<Vec<_>>();
        sqlx::query(
            "WITH searched AS (
                 INSERT INTO query_log.query_day AS known (query_id, day, lang, query, searches, zero_results)
                 SELECT * FROM unnest($1::uuid[], $2::date[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                 ON CONFLICT ON CONSTRAINT query_day_pk DO UPDATE
                 SET searches = known.searches + EXCLUDED.searches, zero_results = known.zero_results + EXCLUDED.zero_results)
             INSERT INTO query_log.query_click AS known (query_id, product_id, clicks, positions)
             SELECT new.* FROM unnest($7::uuid[], $8::uuid[], $9::bigint[], $10::bigint[]) AS new (query_id, product_id, clicks, positions)
             WHERE new.query_id = ANY ($1) OR EXISTS (SELECT FROM query_log.query_day d WHERE d.query_id = new.query_id)
             ON CONFLICT ON CONSTRAINT query_click_pk DO UPDATE
             SET clicks = known.clicks + EXCLUDED.clicks, positions = known.positions + EXCLUDED.positions",
        )
        .bind(searches.iter().map(|counted| counted.query.id).collect::<Vec<_>>())
        .bind(searches.iter().map(|counted| counted.query.day).collect::<Vec<_>>())
        .bind(searches.iter().map(|counted| counted.query.lang.as_str()).collect::<Vec<_>>())
        .bind(searches.iter().map(|counted| counted.query.query.as_str()).collect::<Vec<_>>())
        .bind(of(|counted| counted.searches))
        .bind(of(|counted| counted.zero_results))
        .bind(clicks.iter().map(|((query_id, _), _)| *query_id).collect::<Vec<_>>())
        .bind(clicks.iter().map(|((_, product_id), _)| *product_id).collect::<Vec<_>>())
        .bind(clicks.iter().map(|(_, (clicks, _))| *clicks).collect::<Vec<_>>())
        .bind(clicks.iter().map(|(_, (_, positions))| *positions).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Deletes the days that are kept no longer.
    async fn prune(&self, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let Some(first) = now.date_naive().checked_sub_days(Days::new(self.settings.query_log_days.into())) else {
            return Ok(());
        };
        sqlx::query(
            "WITH gone AS (DELETE FROM query_log.query_day WHERE day <= $1 RETURNING query_id)
             DELETE FROM query_log.query_click c USING gone WHERE c.query_id = gone.query_id",
        )
        .bind(first)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was searched for in a span of days, one page of it.
    pub async fn queries(&self, filter: &QueryFilter) -> Result<Vec<QueryCount>, sqlx::Error> {
        let (rank, lang, query) =
            filter.after.clone().map_or((None, None, None), |(rank, lang, query)| (Some(rank), Some(lang), Some(query)));
        sqlx::query_as(
            "WITH counted AS (
                 SELECT lang, query, sum(searches)::bigint AS searches, sum(zero_results)::bigint AS zero_results,
                        coalesce(sum(c.clicks), 0)::bigint AS clicks, coalesce(sum(c.positions), 0)::bigint AS positions
                 FROM query_log.query_day d, LATERAL
                      (SELECT sum(clicks) AS clicks, sum(positions) AS positions FROM query_log.query_click WHERE query_id = d.query_id) c
                 WHERE day BETWEEN $1 AND $2 GROUP BY lang, query),
             ranked AS (
                 SELECT *, CASE WHEN $3 THEN clicks * 1000000 / searches ELSE searches END AS rank
                 FROM counted WHERE NOT $4 OR zero_results > 0)
             SELECT lang, query, searches, zero_results, clicks, positions, rank FROM ranked
             WHERE $5::bigint IS NULL OR rank < $5 OR (rank = $5 AND (query, lang) > ($6, $7))
             ORDER BY rank DESC, query, lang LIMIT $8",
        )
        .bind(filter.from)
        .bind(filter.to)
        .bind(filter.sort == QuerySort::ClickThrough)
        .bind(filter.zero_results)
        .bind(rank)
        .bind(query)
        .bind(lang)
        .bind(filter.limit)
        .fetch_all(&self.pool)
        .await
    }

    /// Queries of lately that begin so and found something for several people, the most frequent first.
    pub async fn popular_queries(&self, prefix: &str, lang: &str, limit: i64) -> Result<Vec<String>, sqlx::Error> {
        let since = clock::now().date_naive().checked_sub_days(Days::new(POPULAR_DAYS)).unwrap_or(NaiveDate::MIN);
        // The last character that there is ends what begins with the prefix.
        let begins = normalised(prefix);
        let ends = format!("{begins}\u{10ffff}");
        sqlx::query_scalar(
            "SELECT query FROM query_log.query_day
             WHERE lang = $1 AND query >= $2 AND query < $3 AND day >= $4
             GROUP BY query HAVING sum(searches - zero_results) >= $5
             ORDER BY sum(searches - zero_results) DESC, query LIMIT $6",
        )
        .bind(lang.to_ascii_lowercase())
        .bind(begins)
        .bind(ends)
        .bind(since)
        .bind(POPULAR_SEARCHES_MIN)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dropped(count: usize) {
    metrics::counter!("daybook_query_log_dropped_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use infra::child_server::{ChildServers, Running, Tools};
    use infra::config::variable;
    use infra::postgres;

    use super::*;

    fn today() -> DateTime<Utc> {
        clock::now()
    }

    fn filter(days: u64) -> QueryFilter {
        let to = today().date_naive();
        let from = to.checked_sub_days(Days::new(days)).unwrap();
        QueryFilter { from, to, zero_results: false, sort: QuerySort::Searches, after: None, limit: 10 }
    }

    #[test]
    fn a_query_is_the_same_for_all_who_search_for_the_same_on_a_day() {
        let of = |q: &str, lang: &str, at: &str| LoggedQuery::of(q, lang, at.parse().unwrap());
        let query = of(" Desk\u{3000}LAMP\0", "EN", "2026-11-10T00:00:00Z").unwrap();
        assert_eq!((query.query.as_str(), query.lang.as_str()), ("desk lamp", "en"));
        assert_eq!(of("desk lamp", "en", "2026-11-10T23:59:59Z").unwrap(), query);
        for (q, lang, at) in [
            ("desk lamps", "en", "2026-11-10T12:00:00Z"),
            ("desk lamp", "de", "2026-11-10T12:00:00Z"),
            ("desk lamp", "en", "2026-11-11T00:00:00Z"),
        ] {
            assert_ne!(of(q, lang, at).unwrap().id, query.id);
        }
        for q in ["", " \t", "mira@example.org", "4111 1111 1111 1111", "DE89370400440532013000", &"x".repeat(QUERY_CHARS_MAX + 1)] {
            assert_eq!(of(q, "en", "2026-11-10T12:00:00Z"), None, "{q}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_counted_is_written_once_and_deleted_when_its_days_are_over() {
        let dir = std::env::temp_dir().join(format!("daybook-query-log-{}", clock::new_id()));
        let tools = Tools {
            postgres_bin_dir: variable("DAYBOOK_PG_BIN_DIR").map(PathBuf::from),
            nats_server: variable("DAYBOOK_NATS_SERVER").map(PathBuf::from),
        };
        let servers = ChildServers::start(&dir, &tools, &Running::default(), |_| {}).await.unwrap();
        let pool = postgres::connect(&servers.database_url, 4, &[]).await.unwrap();
        migrate(&pool).await.unwrap();
        migrate(&pool).await.unwrap();
        let log = QueryLog::new(pool.clone(), config::Search { query_log_buffer_max: 3, ..config::Search::default() });
        let search = |q: &str, times: usize, results: usize| {
            let query = log.query(q, "en", today()).unwrap();
            (0..times).for_each(|_| log.searched(&query, results == 0));
            query.id
        };

        // Two processes count the same, a third query too many is dropped, a click on what nobody searched for too.
        let lamp = search("lamp", 4, 7);
        search("lamps 100%", 5, 1);
        search("larch", 9, 0);
        search("one too many", 1, 0);
        log.clicked(lamp, Uuid::from_u128(1), 3);
        log.clicked(Uuid::from_u128(9), Uuid::from_u128(1), 3);
        log.flush().await;
        let lamp = search("Lamp", 2, 0);
        log.clicked(lamp, Uuid::from_u128(1), 1);
        log.clicked(lamp, Uuid::from_u128(2), 8);
        log.flush().await;
        log.flush().await;
        let shown = async |filter: QueryFilter| -> Vec<_> {
            let found = log.queries(&filter).await.unwrap();
            found.into_iter().map(|q| (q.query, q.searches, q.zero_results, q.clicks, q.positions)).collect()
        };
        let lamp = ("lamp".to_owned(), 6, 2, 3, 12);
        let larch = ("larch".to_owned(), 9, 9, 0, 0);
        assert_eq!(shown(filter(0)).await, [larch, lamp.clone(), ("lamps 100%".to_owned(), 5, 0, 0, 0)]);
        let by_clicks = QueryFilter { sort: QuerySort::ClickThrough, limit: 1, ..filter(0) };
        assert_eq!(shown(by_clicks).await, [lamp]);
        let clicks: i64 = sqlx::query_scalar("SELECT count(*) FROM query_log.query_click").fetch_one(&pool).await.unwrap();
        assert_eq!(clicks, 2, "one row to a product");

        // Popular is what found something for several.
        assert_eq!(log.popular_queries("LA", "en", 5).await.unwrap(), ["lamps 100%"]);
        search("lamp", 1, 7);
        log.flush().await;
        assert_eq!(log.popular_queries("la", "EN", 5).await.unwrap(), ["lamp", "lamps 100%"]);
        assert_eq!(log.popular_queries("lamps", "en", 5).await.unwrap(), ["lamps 100%"]);
        assert_eq!(log.popular_queries("%", "en", 5).await.unwrap(), [""; 0]);
        assert_eq!(log.popular_queries("la", "de", 5).await.unwrap(), [""; 0]);

        // The last of ninety days is kept.
        log.prune(today() + chrono::Duration::days(89)).await.unwrap();
        assert_eq!(shown(filter(0)).await.len(), 3);
        log.prune(today() + chrono::Duration::days(90)).await.unwrap();
        assert_eq!(shown(filter(0)).await, []);
        let clicks: i64 = sqlx::query_scalar("SELECT count(*) FROM query_log.query_click").fetch_one(&pool).await.unwrap();
        assert_eq!(clicks, 0);
        pool.close().await;
        servers.stop().await.unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
