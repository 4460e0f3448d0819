//! Personal data in the log: sealed before the append, opened after the load.
//!
//! A personal field stands in a payload as `{"$personal": value}`; sealed it is `{"$sealed": "<key id>.<base64>"}`, and
//! once its key is destroyed it opens as `{"$erased": true}`. AES-256-GCM; the associated data is stream, sequence and
//! field, so that a sealed value cannot be moved. Keys belong to a subject and a purpose and are wrapped by the master key.

mod fields;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use sqlx::PgPool;
use uuid::Uuid;

/// Most data keys held in memory.
pub const KEYS_CACHED_MAX: usize = 100_000;
/// Longest that a key may serve from memory after another process destroyed it.
pub const KEY_CACHE_TTL: Duration = Duration::from_secs(5);

/// What a subject's data is kept for, each with a key of its own.
const PURPOSES: [&str; 2] = ["account", "order"];
/// Times that a key is looked for which another process is just making.
const MAKE_ATTEMPTS_MAX: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the master key must be 32 bytes in base64")]
    MasterKey,
    #[error("the subject's data was erased; nothing more can be sealed for it")]
    Erased,
    #[error("a sealed value does not open: it was changed, moved, or sealed under another master key")]
    Broken,
    /// No event's fault: all that its subject has sealed is as unreadable, and most likely all that anybody has.
    #[error("a subject's key does not open: it was changed, or wrapped under another master key")]
    Key,
    #[error("the payload is not JSON, or nested too deeply")]
    Payload,
    #[error("the key table can't be reached")]
    Database(#[from] sqlx::Error),
}

impl From<fields::Malformed> for SealError {
    fn from(_: fields::Malformed) -> Self {
        Self::Payload
    }
}

/// The whole shop's secret: wraps data keys and hashes bearer secrets.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let text = text.trim().trim_end_matches('=');
        let bytes = BASE64.decode(text).map_err(|_| SealError::MasterKey)?;
        Ok(Self(bytes.try_into().map_err(|_| SealError::MasterKey)?))
    }

    /// A fresh key as text.
    pub fn generate() -> Result<String, SealError> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| SealError::MasterKey)?;
        Ok(BASE64.encode(key))
    }

    /// The keyed hash (HMAC-SHA256, hex) under which a bearer secret is stored; `kind` separates the uses.
    #[must_use]
    pub fn hash_secret(&self, kind: &str, secret: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{kind}\0{secret}").as_bytes());
        tag.as_ref().iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// Seals a secret that a running process needs again, such as a provider's token.
    pub fn seal_bytes(&self, secret: &[u8], bound_to: &str) -> Result<Vec<u8>, SealError> {
        encrypt(&self.0, secret, bound_to)
    }

    pub fn open_bytes(&self, sealed: &[u8], bound_to: &str) -> Result<Vec<u8>, SealError> {
        decrypt(&self.0, sealed, bound_to)
    }
}

/// Whose data a payload holds, and what for; each pair has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyScope {
    pub subject_id: Uuid,
    /// One of `PURPOSES`.
    pub purpose: &'static str,
}

#[derive(Clone)]
pub struct DataKey {
    key_id: Uuid,
    key: [u8; 32],
}

/// What a key id or scope is known to be, and since when.
struct Cached<T> {
    value: T,
    since: Instant,
}

impl<T> Cached<T> {
    fn fresh(&self) -> Option<&T> {
        (self.since.elapsed() < KEY_CACHE_TTL).then_some(&self.value)
    }
}

#[derive(Default)]
struct Cache {
    by_id: HashMap<Uuid, Cached<Option<[u8; 32]>>>,
    by_scope: HashMap<KeyScope, Cached<DataKey>>,
}

/// Seals and opens payloads. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    pool: PgPool,
    master: MasterKey,
    cache: Arc<Mutex<Cache>>,
    /// Keys that this process has destroyed.
    destroyed: Arc<AtomicU64>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    #[must_use]
    pub fn new(pool: PgPool, master: MasterKey) -> Self {
        Self { pool, master, cache: Arc::default(), destroyed: Arc::default() }
    }

    #[must_use]
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    /// The data key of a scope, made on first use together with those of the subject's other purposes: whoever gives an address
    /// is about to order. A key that nothing is ever sealed with harms nothing.
    pub async fn key_for(&self, scope: KeyScope) -> Result<DataKey, SealError> {
        if let Some(key) = self.cache().by_scope.get(&scope).and_then(Cached::fresh) {
            return Ok(key.clone());
        }
        let mut fresh = PURPOSES.map(|_| (Uuid::nil(), Vec::new()));
        for (key_id, wrapped) in &mut fresh {
            let mut key = [0; 32];
            rand::fill(&mut key).map_err(|_| SealError::MasterKey)?;
            *key_id = crate::clock::new_id();
            *wrapped = encrypt(&self.master.0, &key, &key_id.to_string())?;
        }
        let (ids, wrapped): (Vec<Uuid>, Vec<Vec<u8>>) = fresh.into_iter().unzip();
        for _ in 0..MAKE_ATTEMPTS_MAX {
            let rows: Vec<(Uuid, String, Option<Vec<u8>>)> = sqlx::query_as(
                "WITH made AS (
                     INSERT INTO subject_key (key_id, subject_id, purpose, wrapped)
                     SELECT key_id, $1, purpose, wrapped FROM unnest($2::uuid[], $3::text[], $4::bytea[]) AS new (key_id, purpose, wrapped)
                     ON CONFLICT ON CONSTRAINT subject_key_subject_unique DO NOTHING RETURNING key_id, purpose, wrapped)
                 SELECT key_id, purpose, wrapped FROM made
                 UNION ALL SELECT key_id, purpose, wrapped FROM subject_key WHERE subject_id = $1",
            )
            .bind(scope.subject_id)
            .bind(&ids)
            .bind(PURPOSES.as_slice())
            .bind(&wrapped)
            .fetch_all(&self.pool)
            .await?;
            if let Some(key) = self.keep_keys(scope, &rows)? {
                return Ok(key);
            }
        }
        Err(SealError::Database(sqlx::Error::RowNotFound))
    }

    /// Keeps a subject's keys at hand; answers the one of `scope`. `None`: another process is just making it.
    fn keep_keys(&self, scope: KeyScope, rows: &[(Uuid, String, Option<Vec<u8>>)]) -> Result<Option<DataKey>, SealError> {
        let since = Instant::now();
        let mut found = None;
        for (key_id, purpose, wrapped) in rows {
            let Some(purpose) = PURPOSES.into_iter().find(|known| known == purpose) else { continue };
            let Some(wrapped) = wrapped else {
                if purpose == scope.purpose {
                    return Err(SealError::Erased);
                }
                continue;
            };
            let key = DataKey { key_id: *key_id, key: self.unwrap(*key_id, wrapped)? };
            if purpose == scope.purpose {
                found = Some(key.clone());
            }
            let mut cache = self.cache();
            if cache.by_scope.len().max(cache.by_id.len()) >= KEYS_CACHED_MAX {
                *cache = Cache::default();
            }
            // Whoever follows the log opens what is sealed with it in a moment.
            cache.by_id.insert(key.key_id, Cached { value: Some(key.key), since });
            cache.by_scope.insert(KeyScope { purpose, ..scope }, Cached { value: key, since });
        }
        Ok(found)
    }

    /// Replaces every personal field of a payload by its sealed form.
    pub fn seal(&self, payload: &str, key: &DataKey, stream: &str, sequence: i64) -> Result<String, SealError> {
        fields::replace(payload, "$personal", &mut |field, known| {
            let sealed = encrypt(&key.key, known.as_bytes(), &bound_to(stream, sequence, field))?;
            Ok(format!("{{\"$sealed\":\"{}.{}\"}}", key.key_id, BASE64.encode(sealed)))
        })
    }

    /// Opens every sealed field of the payloads, each given with its stream and sequence; keys are fetched in one read.
    pub async fn open_all(&self, events: &mut [crate::event_log::StoredEvent]) -> Result<(), SealError> {
        let mut wanted: Vec<Uuid> = events.iter().flat_map(|e| key_ids(&e.payload)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let keys = self.keys(&wanted).await?;
        for event in events.iter_mut().filter(|e| e.payload.contains(SEALED_MARK)) {
            let stream = format!("{}/{}", event.aggregate_type, event.aggregate_id);
            event.payload = open(&event.payload, &keys, &stream, event.sequence)?;
        }
        Ok(())
    }

    /// Whether a subject ever had a key; without one nothing of it was ever sealed.
    pub async fn knows(&self, subject_id: Uuid) -> Result<bool, SealError> {
        let known = sqlx::query_scalar("SELECT EXISTS (SELECT FROM subject_key WHERE subject_id = $1)");
        Ok(known.bind(subject_id).fetch_one(&self.pool).await?)
    }

    /// Destroys a key: what it sealed can never be opened again, here or in any copy.
    pub async fn destroy(&self, scope: KeyScope) -> Result<(), SealError> {
        sqlx::query(
            "INSERT INTO subject_key (key_id, subject_id, purpose, wrapped, destroyed_at) VALUES ($1, $2, $3, NULL, now())
             ON CONFLICT ON CONSTRAINT subject_key_subject_unique
             DO UPDATE SET wrapped = NULL, destroyed_at = coalesce(subject_key.destroyed_at, now())",
        )
        .bind(crate::clock::new_id())
        .bind(scope.subject_id)
        .bind(scope.purpose)
        .execute(&self.pool)
        .await?;
        let mut cache = self.cache();
        if let Some(key) = cache.by_scope.remove(&scope) {
            cache.by_id.remove(&key.value.key_id);
        }
        cache.by_id.clear();
        self.destroyed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// How many keys this process has destroyed: whoever holds something opened lets go of it when this counts up.
    #[must_use]
    pub fn destroyed(&self) -> u64 {
        self.destroyed.load(Ordering::SeqCst)
    }

    async fn keys(&self, wanted: &[Uuid]) -> Result<HashMap<Uuid, Option<[u8; 32]>>, SealError> {
        let mut found = HashMap::with_capacity(wanted.len());
        {
            let cache = self.cache();
            for id in wanted {
                if let Some(key) = cache.by_id.get(id).and_then(Cached::fresh) {
                    found.insert(*id, *key);
                }
            }
        }
        let missing: Vec<Uuid> = wanted.iter().filter(|id| !found.contains_key(id)).copied().collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let rows: Vec<(Uuid, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT key_id, wrapped FROM subject_key WHERE key_id = ANY ($1)").bind(&missing).fetch_all(&self.pool).await?;
        let mut loaded = HashMap::with_capacity(rows.len());
        for (id, wrapped) in rows {
            loaded.insert(id, wrapped.map(|w| self.unwrap(id, &w)).transpose()?);
        }
        let mut cache = self.cache();
        if cache.by_id.len() + missing.len() > KEYS_CACHED_MAX {
            cache.by_id.clear();
        }
        for id in missing {
            // A key id without a row was deleted with its subject: what it sealed is gone.
            let key = loaded.get(&id).copied().flatten();
            cache.by_id.insert(id, Cached { value: key, since: Instant::now() });
            found.insert(id, key);
        }
        Ok(found)
    }

    fn unwrap(&self, key_id: Uuid, wrapped: &[u8]) -> Result<[u8; 32], SealError> {
        let key = decrypt(&self.master.0, wrapped, &key_id.to_string()).map_err(|_| SealError::Key)?;
        key.try_into().map_err(|_| SealError::Key)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a payload with personal fields contains.
pub const PERSONAL_MARK: &str = "\"$personal\"";
pub const SEALED_MARK: &str = "\"$sealed\"";

fn key_ids(payload: &str) -> impl Iterator<Item = Uuid> + '_ {
    payload.match_indices("{\"$sealed\":\"").filter_map(|(at, mark)| {
        let start = at + mark.len();
        payload.get(start..start + 36).and_then(|id| id.parse().ok())
    })
}

fn open(payload: &str, keys: &HashMap<Uuid, Option<[u8; 32]>>, stream: &str, sequence: i64) -> Result<String, SealError> {
    fields::replace(payload, "$sealed", &mut |field, sealed| {
        let sealed = sealed.strip_prefix('"').and_then(|sealed| sealed.strip_suffix('"')).ok_or(SealError::Broken)?;
        let (key_id, text) = sealed.split_once('.').ok_or(SealError::Broken)?;
        let key_id: Uuid = key_id.parse().map_err(|_| SealError::Broken)?;
        let Some(key) = keys.get(&key_id).copied().flatten() else {
            return Ok(r#"{"$erased":true}"#.to_owned());
        };
        let bytes = BASE64.decode(text).map_err(|_| SealError::Broken)?;
        let clear = decrypt(&key, &bytes, &bound_to(stream, sequence, field))?;
        let clear = std::str::from_utf8(&clear).map_err(|_| SealError::Broken)?;
        Ok(format!("{{\"$personal\":{clear}}}"))
    })
}

fn bound_to(stream: &str, sequence: i64, field: &str) -> String {
    format!("{stream}#{sequence}{field}")
}

fn encrypt(key: &[u8; 32], clear: &[u8], bound_to: &str) -> Result<Vec<u8>, SealError> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::MasterKey)?);
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| SealError::MasterKey)?;
    let mut text = clear.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), &mut text).map_err(|_| SealError::Broken)?;
    Ok([nonce.as_slice(), &text].concat())
}

fn decrypt(key: &[u8; 32], sealed: &[u8], bound_to: &str) -> Result<Vec<u8>, SealError> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::MasterKey)?);
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
    let mut text = text.to_vec();
    let length = key.open_in_place(nonce, Aad::from(bound_to), &mut text).map_err(|_| SealError::Broken)?.len();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_where_it_was_sealed() {
        let key = [7; 32];
        let sealed = encrypt(&key, b"\"mira@example.org\"", "order/1#1/email").unwrap();
        assert_eq!(decrypt(&key, &sealed, "order/1#1/email").unwrap(), b"\"mira@example.org\"");
        assert!(matches!(decrypt(&key, &sealed, "order/2#1/email"), Err(SealError::Broken)));
        assert!(!sealed.windows(4).any(|w| w == b"mira"));
    }

    #[test]
    fn a_destroyed_key_opens_as_erased() {
        let id = Uuid::from_u128(5);
        let payload = format!(r#"{{"email":{{"$sealed":"{id}.AAAA"}},"total":3}}"#);
        let opened = open(&payload, &HashMap::from([(id, None)]), "order/1", 1).unwrap();
        assert_eq!(opened, r#"{"email":{"$erased":true},"total":3}"#);
        assert_eq!(key_ids(&payload).collect::<Vec<_>>(), [id]);
    }
}
