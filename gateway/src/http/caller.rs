//! What a request says about itself: who calls, what it follows, what it must not do twice, what it has seen.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use commands::answer::{Actor, Origin, Position};
use commands::writer::Idempotency;

use super::problem::Problem;
use crate::app::App;
use crate::auth::{Claims, Role};

/// Longest `Idempotency-Key`, in characters.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// The id that a request has in answers, logs and event metadata.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    claims: Option<Claims>,
    origin: Origin,
    method_and_path: String,
    headers: HeaderMap,
}

impl Caller {
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.claims.as_ref().map(|claims| claims.role)
    }

    #[must_use]
    pub fn is_staff(&self) -> bool {
        self.role().is_some_and(Role::is_staff)
    }

    /// Refuses callers whose role does not satisfy `may`.
    pub fn require(&self, may: impl Fn(Role) -> bool) -> Result<&Claims, Problem> {
        let claims = self
            .claims
            .as_ref()
            .ok_or_else(|| Problem::new("unauthenticated", "send `Authorization: Bearer …`; `daybook token --role …` prints one"))?;
        if may(claims.role) {
            return Ok(claims);
        }
        let role = serde_json::to_value(claims.role).unwrap_or_default();
        Err(Problem::new("forbidden", format!("the role {role} may not do this")))
    }

    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The principal that limits and idempotency keys are counted by.
    #[must_use]
    pub fn principal(&self) -> String {
        self.claims.as_ref().map_or_else(|| "anonymous".to_owned(), |claims| format!("{:?}:{}", claims.role, claims.sub))
    }

    /// The command's key, if the caller sent one; `resource` keeps anonymous callers of different objects apart.
    pub fn idempotency(&self, body: &impl serde::Serialize, running: bool) -> Result<Option<Idempotency>, Problem> {
        let Some(header) = self.headers.get("idempotency-key") else {
            return Ok(None);
        };
        let key = header.to_str().unwrap_or_default().trim_matches('"');
        if key.is_empty() || key.chars().count() > IDEMPOTENCY_KEY_CHARS_MAX {
            let detail = format!("Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible characters");
            return Err(Problem::new("invalid_parameter", detail));
        }
        let mut hash = blake3::Hasher::new();
        for part in [&self.principal(), &self.method_and_path, key] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        let fingerprint = *blake3::hash(&serde_json::to_vec(body)?).as_bytes();
        Ok(Some(Idempotency { key: uuid::Builder::from_custom_bytes(id).into_uuid(), fingerprint, running }))
    }

    /// The version that `If-Match` names.
    pub fn if_match(&self) -> Result<Option<i64>, Problem> {
        let Some(header) = self.headers.get("if-match") else {
            return Ok(None);
        };
        let text = header.to_str().unwrap_or_default().trim().trim_start_matches("W/").trim_matches('"');
        if text == "*" {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| Problem::new("invalid_parameter", "If-Match must be the ETag of an earlier answer"))
    }

    /// The position that a read must have seen.
    pub fn token(&self, query: Option<&str>) -> Result<Option<Position>, Problem> {
        let header = self.headers.get("consistency-token").map(|v| v.to_str().unwrap_or_default());
        let Some(text) = query.or(header) else {
            return Ok(None);
        };
        let token = text.parse().map(Some);
        token.map_err(|_| Problem::new("invalid_parameter", "Consistency-Token must be one that an answer carried"))
    }

    /// Seconds of `Prefer: wait=N`.
    #[must_use]
    pub fn wait_s(&self) -> Option<u64> {
        let prefer = self.headers.get("prefer")?.to_str().ok()?;
        prefer.split(',').find_map(|part| part.trim().strip_prefix("wait=")?.parse().ok())
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let claims = match parts.headers.get("authorization").map(HeaderValue::to_str) {
            None => None,
            Some(Ok(text)) if text.len() > 7 && text[..7].eq_ignore_ascii_case("bearer ") => {
                let checked = app.tokens.check(text[7..].trim());
                Some(checked.map_err(|_| Problem::new("invalid_token", "the token is expired or not ours; log in again"))?)
            }
            Some(_) => {
                return Err(Problem::new("invalid_token", "Authorization must be `Bearer …`"));
            }
        };
        let actor = match &claims {
            Some(claims) if claims.role.is_staff() => Actor { kind: "staff", id: claims.sub.clone() },
            Some(claims) => Actor { kind: "customer", id: claims.sub.clone() },
            None => Actor { kind: "guest", id: "-".to_owned() },
        };
        let command_id = infra::clock::new_id();
        let origin = Origin {
            actor,
            command_id,
            correlation_id: command_id,
            causation_id: command_id,
            request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()),
            traceparent: parts.headers.get("traceparent").and_then(|v| v.to_str().ok()).filter(|t| is_traceparent(t)).map(str::to_owned),
        };
        Ok(Self { claims, origin, method_and_path: format!("{} {}", parts.method, parts.uri.path()), headers: parts.headers.clone() })
    }
}

/// What a route asks of its callers: which roles may.
pub trait Duty: Send + Sync {
    fn may(role: Role) -> bool;
}

/// A caller who may do what `D` names. In a handler's signature it stands before path, query and body, so that nothing of a request
/// is read, let alone answered, before it is known that its caller may ask.
#[derive(Debug)]
pub struct Staff<D> {
    caller: Caller,
    role: Role,
    duty: PhantomData<D>,
}

impl<D> Staff<D> {
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}

impl<D> Deref for Staff<D> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<D: Duty> FromRequestParts<Arc<App>> for Staff<D> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let role = caller.require(D::may)?.role;
        Ok(Self { caller, role, duty: PhantomData })
    }
}

/// Sees orders, stock and promotions: everybody of the staff.
#[derive(Debug)]
pub struct Sees;

impl Duty for Sees {
    fn may(role: Role) -> bool {
        role.is_staff()
    }
}

/// Acts for shoppers.
#[derive(Debug)]
pub struct Serves;

impl Duty for Serves {
    fn may(role: Role) -> bool {
        role.serves()
    }
}

/// Sends orders.
#[derive(Debug)]
pub struct Ships;

impl Duty for Ships {
    fn may(role: Role) -> bool {
        role.ships()
    }
}

/// Changes catalogue, stock, promotions and settings.
#[derive(Debug)]
pub struct Manages;

impl Duty for Manages {
    fn may(role: Role) -> bool {
        role.manages()
    }
}

/// Reads the event log.
#[derive(Debug)]
pub struct Analyses;

impl Duty for Analyses {
    fn may(role: Role) -> bool {
        role.analyses()
    }
}

/// Runs the machine.
#[derive(Debug)]
pub struct Operates;

impl Duty for Operates {
    fn may(role: Role) -> bool {
        role.operates()
    }
}

/// Looks after money that belongs to no order.
#[derive(Debug)]
pub struct Reconciles;

impl Duty for Reconciles {
    fn may(role: Role) -> bool {
        role.operates() || role.serves()
    }
}

/// W3C Trace Context: `00-<32 hex>-<16 hex>-<2 hex>`.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts.as_slice(), [version, trace, span, flags] if hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2))
}

/// A fresh 256-bit secret as URL-safe text: cart ids, order tokens.
pub fn new_secret() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Problem::internal())?;
    Ok(base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes))
}
