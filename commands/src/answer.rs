//! What a command can be answered: done, refused, or not now.

use domain::event::DecodeError;
use infra::sealing::SealError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A place in the log and the epoch it was written in: what a consistency token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub epoch: i32,
    pub position: i64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.position)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is an epoch and a position, such as 1.1200")]
pub struct NoPosition;

impl std::str::FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (epoch, position) = text.split_once('.').ok_or(NoPosition)?;
        let (epoch, position) = (epoch.parse().map_err(|_| NoPosition)?, position.parse().map_err(|_| NoPosition)?);
        if epoch > 0 && position >= 0 { Ok(Self { epoch, position }) } else { Err(NoPosition) }
    }
}

/// One invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request's body, `""` for the whole; of a parameter of the query `?` and its name.
    pub pointer: String,
    pub code: String,
    pub detail: String,
}

/// A normal "no": a stable code, a sentence that says the fix, and the facts it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Refusal {
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into(), facts: Map::new(), errors: Vec::new() }
    }

    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// A field of the request is not what the command takes.
    #[must_use]
    pub fn invalid(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new("validation_failed", detail.clone()).error(pointer, code, detail)
    }

    /// Names the place in the request that a refusal is about.
    #[must_use]
    pub fn error(mut self, pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: pointer.to_owned(), code: code.to_owned(), detail: detail.into() });
        self
    }

    /// Somebody's object, or nobody's: the caller learns no difference.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new("not_found", format!("there is no such {what}; check the id"))
    }
}

/// What was answered to the first call with the same idempotency key.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub running: bool,
    pub status: u16,
    pub refusal: Option<Refusal>,
    /// `(aggregate_type, aggregate_id)` that the body is rendered from, as of `position`.
    pub aggregate: Option<(String, String)>,
    pub position: Position,
}

/// Done: the decision's own output and where it stands in the log.
#[derive(Debug, Clone)]
pub struct Done<T> {
    pub output: T,
    pub position: Position,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("refused: {}", .0.code)]
    Refused(Box<Refusal>, Position),
    #[error("the idempotency key was answered before")]
    Replayed(Box<Recorded>),
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("too many commands wait; try again shortly")]
    Overloaded,
    #[error("the log can't be written now; try again shortly")]
    Unavailable,
    #[error("another process writes; this one stands by")]
    Standby,
    #[error("what the command was given is out of date; look it up again")]
    Stale,
    #[error("other commands keep changing what this one needs; try again")]
    Contended,
    #[error("a failure of ours")]
    Internal(#[source] Failure),
}

impl CommandError {
    /// Whether the command's events may be in the log, or may still get there, in spite of this answer.
    #[must_use]
    pub fn may_have_landed(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Internal(_))
    }
}

/// What went wrong on our side.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the database can't be read")]
    Database(#[from] sqlx::Error),
    #[error("a stored event can't be decoded")]
    Decode(#[from] DecodeError),
    #[error("personal data can't be sealed or opened")]
    Seal(#[from] SealError),
    #[error("an event can't be encoded")]
    Encode(#[from] serde_json::Error),
    #[error("the event repository failed: {0}")]
    Repository(String),
    #[error("the log refuses what this command wrote: {0}")]
    Poison(String),
    #[error("the writer has stopped")]
    Stopped,
    #[error("a decision ended by a panic")]
    Panicked,
}

/// Who caused a command and how it is traced; goes into the metadata of its events. Opaque ids only.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    pub actor: Actor,
    pub command_id: Uuid,
    pub correlation_id: Uuid,
    /// The event or command that led to this one.
    pub causation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// `guest`, `customer`, `staff`, `provider` or `system`.
    pub kind: &'static str,
    pub id: String,
}

impl Origin {
    /// A command that Daybook gives itself, in consequence of an event.
    #[must_use]
    pub fn system(name: &str, command_id: Uuid, correlation_id: Uuid, causation_id: Uuid) -> Self {
        let actor = Actor { kind: "system", id: name.to_owned() };
        Self { actor, command_id, correlation_id, causation_id, request_id: None, traceparent: None }
    }
}
