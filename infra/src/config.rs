//! Configuration, and with it every bound: flags > environment > `daybook.toml` > defaults; all errors at once.
//!
//! A key `http.listen` of the file is `DAYBOOK_HTTP__LISTEN` in the environment; `DATABASE_URL` and `NATS_URL` are known
//! by their usual names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Postgres with the log and the read models.
    pub database_url: String,
    pub nats_url: String,
    /// 32 bytes in base64: wraps the keys of people and hashes bearer secrets. Losing it loses all personal data.
    pub master_key: String,
    /// Ed25519 private key (PKCS#8 in base64) that signs bearer tokens.
    pub token_key: String,
    /// Where the search index lies; it can be deleted at any time.
    pub search_dir: PathBuf,
    pub postgres: Postgres,
    pub http: Http,
    pub writer: Writer,
    pub rate: Rate,
    pub store: Store,
    pub search: Search,
    pub payments: Payments,
    pub tax: Vec<Tax>,
    pub shipping: Vec<Shipping>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Postgres {
    /// Connections of one process for queries; the writer and the projectors have their own.
    pub connections_max: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    pub listen: String,
    /// 0 takes a free port.
    pub metrics_listen: String,
    /// What links outside say, for example `https://shop.example`; empty: `http://` and `listen`.
    pub public_url: String,
    pub body_bytes_max: usize,
    pub import_bytes_max: usize,
    pub header_bytes_max: usize,
    pub header_timeout_ms: u64,
    pub request_timeout_ms: u64,
    /// A stream (events, imports) that moves nothing for so long is closed.
    pub stream_idle_timeout_ms: u64,
    pub connections_max: usize,
    pub cors_origins: Vec<String>,
    /// Addresses whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Longest that a read waits for its consistency token unless `Prefer: wait` says less or more.
    pub read_wait_ms: u64,
    pub read_wait_max_ms: u64,
    /// Longest that checkout waits for the payment's outcome.
    pub checkout_wait_ms: u64,
    /// Longest that a repetition waits for its first call to finish.
    pub idempotency_wait_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Writer {
    /// Commands that wait; one more is answered 503 `overloaded` at once.
    pub queue_max: usize,
    /// Commands to a batch, events to a batch, bytes of payload to a batch.
    pub batch_commands_max: usize,
    pub batch_events_max: usize,
    pub batch_bytes_max: usize,
    pub event_bytes_max: usize,
    /// Aggregates kept in memory.
    pub cache_aggregates_max: usize,
    /// Times that a command is decided again after a conflict.
    pub conflict_retries_max: u32,
    /// Longest that a command waits for its answer.
    pub command_timeout_ms: u64,
}

/// Requests a minute, by principal and by address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    pub principal_per_minute: u32,
    pub address_per_minute: u32,
    /// Tries of a coupon's code.
    pub coupon_per_minute: u32,
    /// `daybook up` sets it: requests from this machine are not counted.
    pub exempt_loopback: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    pub name: String,
    /// ISO 4217; the first one is the default.
    pub currencies: Vec<String>,
    /// ISO 3166-1 alpha-2; where the store ships to.
    pub countries: Vec<String>,
    /// BCP 47; the first one is the default.
    pub languages: Vec<String>,
    pub prices_include_tax: bool,
    /// `half_up` or `half_even`.
    pub rounding: String,
    pub cart_lines_max: u32,
    pub line_quantity_max: u32,
    /// How long an unpaid order holds its stock.
    pub payment_window_s: u64,
    /// How long an order that expired may be revived by money that comes late.
    pub reinstate_window_s: u64,
    /// After how long a cart that nobody changes expires.
    pub cart_ttl_s: u64,
    /// Most units that an answer admits to have.
    pub available_shown_max: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// Days that sums of what shoppers search for are kept, today included; 0: nothing is counted.
    pub query_log_days: u32,
    /// How often what was counted is written.
    pub query_log_flush_ms: u64,
    /// Most queries, and most clicked products, that are counted between two writes; others are dropped.
    pub query_log_buffer_max: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payments {
    /// The sandbox provider is offered, with a warning.
    pub sandbox: bool,
    pub sandbox_url: String,
    /// `whsec_…`: signs what the provider sends us.
    pub sandbox_webhook_secret: String,
    pub provider_timeout_ms: u64,
    pub webhook_tolerance_s: u64,
    /// An operation whose outcome is unknown is asked for again after so long, and then more and more seldom.
    pub query_after_ms: u64,
    /// `automatic`: the money is taken as soon as the order is confirmed; `manual`: when a merchant says so.
    pub capture: String,
    /// An outcome that can't be had for so long leaves the order to a person, on hold, its stock held.
    pub unknown_max_s: u64,
    /// Most attempts to pay one order.
    pub attempts_max: u32,
    /// The provider's list of operations is held against the log this often.
    pub reconcile_interval_s: u64,
}

/// One rate of tax: where, on what, how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tax {
    pub title: String,
    pub country: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The products' `tax_category`.
    pub category: String,
    /// Parts per million: 190000 is 19 %.
    pub rate_ppm: u32,
    /// Also on shipping.
    #[serde(default)]
    pub shipping: bool,
}

/// One way to ship, with its price by currency in minor units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shipping {
    pub id: String,
    pub title: String,
    pub countries: Vec<String>,
    pub price: std::collections::BTreeMap<String, i64>,
}

impl Default for Config {
    fn default() -> Self {
        let tax = |title: &str, country: &str, category: &str, rate_ppm, shipping| Tax {
            title: title.to_owned(),
            country: country.to_owned(),
            region: None,
            category: category.to_owned(),
            rate_ppm,
            shipping,
        };
        let shipping = |id: &str, title: &str, eur, usd| Shipping {
            id: id.to_owned(),
            title: title.to_owned(),
            countries: Store::default().countries,
            price: [("EUR".to_owned(), eur), ("USD".to_owned(), usd)].into(),
        };
        Self {
            database_url: String::new(),
            nats_url: String::new(),
            master_key: String::new(),
            token_key: String::new(),
            search_dir: PathBuf::from("./search"),
            postgres: Postgres::default(),
            http: Http::default(),
            writer: Writer::default(),
            rate: Rate::default(),
            store: Store::default(),
            search: Search::default(),
            payments: Payments::default(),
            tax: vec![
                tax("Umsatzsteuer 19 %", "DE", "standard", 190_000, true),
                tax("Umsatzsteuer 7 %", "DE", "reduced", 70_000, false),
                tax("Umsatzsteuer 20 %", "AT", "standard", 200_000, true),
                tax("Umsatzsteuer 10 %", "AT", "reduced", 100_000, false),
            ],
            shipping: vec![shipping("standard", "Standard, 2–4 days", 490, 590), shipping("express", "Express, next day", 1_290, 1_490)],
        }
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self { connections_max: 20 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            metrics_listen: "127.0.0.1:9464".to_owned(),
            public_url: String::new(),
            body_bytes_max: 1 << 20,
            import_bytes_max: 1 << 30,
            header_bytes_max: 16 << 10,
            header_timeout_ms: 10_000,
            request_timeout_ms: 30_000,
            stream_idle_timeout_ms: 60_000,
            connections_max: 10_000,
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            read_wait_ms: 2_000,
            read_wait_max_ms: 20_000,
            checkout_wait_ms: 5_000,
            idempotency_wait_ms: 5_000,
        }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            queue_max: 2_048,
            batch_commands_max: 256,
            batch_events_max: 4_096,
            batch_bytes_max: 8 << 20,
            event_bytes_max: 256 << 10,
            cache_aggregates_max: 100_000,
            conflict_retries_max: 10,
            command_timeout_ms: 15_000,
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self { principal_per_minute: 300, address_per_minute: 600, coupon_per_minute: 20, exempt_loopback: false }
    }
}

impl Default for Store {
    fn default() -> Self {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Self {
            name: "Daybook Mercantile".to_owned(),
            currencies: texts(&["EUR", "USD"]),
            countries: texts(&["DE", "AT", "CH", "FR", "NL", "GB", "US", "CN"]),
            languages: texts(&["en", "de", "zh"]),
            prices_include_tax: true,
            rounding: "half_up".to_owned(),
            cart_lines_max: 100,
            line_quantity_max: 999,
            payment_window_s: 1_800,
            reinstate_window_s: 86_400,
            cart_ttl_s: 30 * 86_400,
            available_shown_max: 999,
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self { query_log_days: 90, query_log_flush_ms: 2_000, query_log_buffer_max: 10_000 }
    }
}

impl Default for Payments {
    fn default() -> Self {
        Self {
            sandbox: false,
            sandbox_url: String::new(),
            sandbox_webhook_secret: String::new(),
            provider_timeout_ms: 10_000,
            webhook_tolerance_s: 300,
            query_after_ms: 5_000,
            capture: "automatic".to_owned(),
            unknown_max_s: 3_600,
            attempts_max: 10,
            reconcile_interval_s: 60,
        }
    }
}

/// Everything that is wrong with the configuration, each with its fix.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} error(s):\n  {}", .0.len(), .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

/// Reads the file (its absence is fine unless it was named), then the environment, and checks what was read.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let mut errors = Vec::new();
    let mut table = match (file, std::fs::read_to_string(file.unwrap_or(Path::new("daybook.toml")))) {
        (_, Ok(text)) => text.parse::<Table>().unwrap_or_else(|error| {
            errors.push(format!("{}: {}", file.unwrap_or(Path::new("daybook.toml")).display(), error.message()));
            Table::new()
        }),
        (None, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Table::new(),
        (path, Err(error)) => {
            errors.push(format!("{}: {error}", path.unwrap_or(Path::new("daybook.toml")).display()));
            Table::new()
        }
    };
    for (name, text) in environment() {
        set(&mut table, &name, &text);
    }
    let known = Table::try_from(Config::default()).unwrap_or_default();
    unknown_keys(&table, &known, "", &mut errors);
    drop_wrong_types(&mut table, &known, &mut errors);
    let config = table.try_into::<Config>().map_err(|error| errors.push(error.message().to_owned())).unwrap_or_default();
    check(&config, &mut errors);
    if errors.is_empty() { Ok(config) } else { Err(ConfigError(errors)) }
}

/// `(dotted key, value)` of every variable that is ours.
fn environment() -> Vec<(String, String)> {
    let others = [
        "DAYBOOK_DATA",
        "DAYBOOK_DATA_DIR",
        "DAYBOOK_LOG",
        "DAYBOOK_LOG_FORMAT",
        "DAYBOOK_NATS_SERVER",
        "DAYBOOK_PG_BIN_DIR",
        "DAYBOOK_TOKEN",
        "DAYBOOK_URL",
    ];
    std::env::vars()
        .filter_map(|(name, value)| match name.as_str() {
            "DATABASE_URL" | "NATS_URL" => Some((name.to_lowercase(), value)),
            name if others.contains(&name) || name.starts_with("DAYBOOK_TEST_") => None,
            name => name.strip_prefix("DAYBOOK_").map(|key| (key.to_lowercase().replace("__", "."), value.clone())),
        })
        .collect()
}

/// One variable of the environment that is not configuration (`DAYBOOK_DATA_DIR`, tool paths).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one home of the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn set(table: &mut Table, key: &str, text: &str) {
    let value = text.parse::<i64>().map(Value::Integer).or_else(|_| text.parse::<bool>().map(Value::Boolean));
    let value = value.unwrap_or_else(|_| match format!("v = {text}").parse::<Table>() {
        Ok(mut parsed) if text.starts_with(['[', '{']) => parsed.remove("v").unwrap_or(Value::String(text.to_owned())),
        _ => Value::String(text.to_owned()),
    });
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let entry = table.entry(section.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = entry {
                set(inner, rest, text);
            }
        }
    }
}

fn unknown_keys(table: &Table, known: &Table, prefix: &str, errors: &mut Vec<String>) {
    for (key, value) in table {
        match (known.get(key), value) {
            (Some(Value::Table(inner_known)), Value::Table(inner)) => {
                unknown_keys(inner, inner_known, &format!("{prefix}{key}."), errors);
            }
            (Some(_), _) => {}
            (None, _) => {
                let nearest = known.keys().min_by_key(|candidate| distance(key, candidate));
                let hint = nearest.map(|n| format!("; did you mean `{prefix}{n}`?")).unwrap_or_default();
                errors.push(format!("`{prefix}{key}` is not a setting{hint}"));
            }
        }
    }
}

/// Takes out each setting whose value is of the wrong type, and says which and why; the default stands for it meanwhile.
fn drop_wrong_types(table: &mut Table, known: &Table, errors: &mut Vec<String>) {
    let why = |alone: Table| alone.try_into::<Config>().err().map(|error| error.message().trim().to_owned());
    table.retain(|section, value| match (value, known.get(section)) {
        (Value::Table(settings), Some(Value::Table(_))) => {
            settings.retain(|key, value| {
                let alone = Table::from_iter([(key.to_owned(), value.clone())]);
                let wrong = why(Table::from_iter([(section.to_owned(), Value::Table(alone))]));
                errors.extend(wrong.iter().map(|why| format!("`{section}.{key}`: {why}")));
                wrong.is_none()
            });
            true
        }
        (value, _) => {
            let wrong = why(Table::from_iter([(section.to_owned(), value.clone())]));
            errors.extend(wrong.iter().map(|why| format!("`{section}`: {why}")));
            wrong.is_none()
        }
    });
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn check(config: &Config, errors: &mut Vec<String>) {
    let mut must = |holds: bool, message: &str| {
        if !holds {
            errors.push(message.to_owned());
        }
    };
    must(!config.store.currencies.is_empty(), "`store.currencies` must name at least one ISO 4217 code");
    must(!config.store.languages.is_empty(), "`store.languages` must name at least one language");
    must(matches!(config.store.rounding.as_str(), "half_up" | "half_even"), "`store.rounding` must be `half_up` or `half_even`");
    must(matches!(config.payments.capture.as_str(), "automatic" | "manual"), "`payments.capture` must be `automatic` or `manual`");
    must(config.payments.attempts_max > 0, "`payments.attempts_max` must be at least 1");
    must(config.payments.query_after_ms > 0, "`payments.query_after_ms` must be at least 1");
    must(
        (1..=3_650 * 86_400).contains(&config.store.cart_ttl_s),
        "`store.cart_ttl_s` must be at least 1 and at most 315360000 (ten years)",
    );
    must(config.search.query_log_flush_ms > 0, "`search.query_log_flush_ms` must be at least 1");
    must(config.search.query_log_days <= 3_650, "`search.query_log_days` must be at most 3650 (ten years)");
    must(config.writer.batch_commands_max > 0, "`writer.batch_commands_max` must be at least 1");
    must(config.writer.queue_max > 0, "`writer.queue_max` must be at least 1");
    must(config.http.request_timeout_ms > 0, "`http.request_timeout_ms` must be at least 1");
    must(config.http.header_timeout_ms > 0, "`http.header_timeout_ms` must be at least 1");
    must(config.http.connections_max > 0, "`http.connections_max` must be at least 1");
    must(config.postgres.connections_max > 0, "`postgres.connections_max` must be at least 1");
    must(config.http.listen.parse::<std::net::SocketAddr>().is_ok(), "`http.listen` must be an address and port like `127.0.0.1:8080`");
    must(
        config.http.metrics_listen.parse::<std::net::SocketAddr>().is_ok(),
        "`http.metrics_listen` must be an address and port like `127.0.0.1:9464`",
    );
    must(config.tax.iter().all(|t| t.rate_ppm <= 1_000_000), "`tax.rate_ppm` must be at most 1000000 (100 %)");
    must(config.shipping.iter().all(|s| s.price.values().all(|&p| p >= 0)), "`shipping.price` must not be negative");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        let table: Table = "[http]\nlistn = \"x\"".parse().unwrap();
        let mut errors = Vec::new();
        unknown_keys(&table, &Table::try_from(Config::default()).unwrap(), "", &mut errors);
        assert_eq!(errors, ["`http.listn` is not a setting; did you mean `http.listen`?"]);
    }

    #[test]
    fn each_value_of_a_wrong_type_is_named() {
        let mut table: Table = "[http]\nlisten = \"x\"\nconnections_max = \"many\"\n[store]\nname = 3".parse().unwrap();
        let mut errors = Vec::new();
        drop_wrong_types(&mut table, &Table::try_from(Config::default()).unwrap(), &mut errors);
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("`http.connections_max`: invalid type") && errors[1].starts_with("`store.name`: "), "{errors:?}");
        assert!(table["http"].get("listen").is_some() && table["http"].get("connections_max").is_none());
    }

    #[test]
    fn a_variable_sets_one_key_of_a_section() {
        let mut table = Table::new();
        set(&mut table, "store.currencies", "[\"JPY\"]");
        set(&mut table, "http.listen", "127.0.0.1:1");
        let config: Config = table.try_into().unwrap();
        assert_eq!(config.store.currencies, ["JPY"]);
        assert_eq!(config.http.listen, "127.0.0.1:1");
        assert_eq!(config.http.body_bytes_max, 1 << 20);
    }
}
