//! Problem documents (RFC 9457): one table says what each code means; every refusal and failure goes through it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::answer::{CommandError, Failure, FieldError, Position, Refusal};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Seconds after which a caller that was turned away may try again.
pub const RETRY_AFTER_S: u64 = 1;

/// `code, status, title, what to do about it`: the whole table, and the text of `/problems/{code}`.
pub const CODES: &[(&str, u16, &str, &str)] = &[
    ("already_exists", 409, "It exists already", "Another object has this name or key. Choose another one, or change the existing object."),
    ("ambiguous_line", 409, "Several lines match", "The cart has several lines of this product. Use the line's id."),
    (
        "cart_changed",
        409,
        "The cart's total has changed",
        "Prices, tax or shipping have changed since the total was last shown. Show `current_total` and check out again with it as `expected_total`.",
    ),
    ("cart_closed", 409, "The cart is closed", "The cart was checked out or has expired. Start a new one."),
    ("cart_empty", 422, "The cart is empty", "Add a line first."),
    ("cart_incomplete", 422, "The cart is not complete", "Supply what `missing` names, then check out."),
    ("conflict", 409, "Somebody else was faster", "The object changed while the command was decided. Read it again and repeat."),
    (
        "coupon_exhausted",
        409,
        "All uses of the coupon are taken",
        "Remove the coupon, or check out with `current_total` as `expected_total`. `limit` says whether it is `total` or `per_subject`. Orders that are not paid give theirs back.",
    ),
    ("coupon_expired", 409, "The coupon is not valid any more", "Remove it, or check out with `current_total` as `expected_total`."),
    (
        "coupon_not_applicable",
        409,
        "The coupon takes nothing off this cart",
        "`reason` says why, `minimum` what it needs. Change the cart, or remove the coupon.",
    ),
    ("coupon_unknown", 404, "There is no such coupon", "Check how the code is written; few tries a minute are allowed."),
    (
        "dispute_open",
        409,
        "The money is disputed",
        "The shopper's bank is looking at it. Wait for its decision; nothing is refunded meanwhile.",
    ),
    ("forbidden", 403, "Not allowed", "The token's role may not do this. Use a token with a role that may."),
    ("idempotency_in_progress", 409, "The first call is still running", "Wait as long as `Retry-After` says and repeat the same call."),
    ("idempotency_key_reused", 422, "The key was used for another request", "Use a new `Idempotency-Key` for a new request."),
    ("insufficient_stock", 409, "Not enough in stock", "`lines` says what is left of each. Lower the quantities."),
    ("internal", 500, "A failure of ours", "Repeat later; tell us the `request_id` if it stays."),
    ("invalid_cursor", 400, "The cursor is not valid", "Use `next_cursor` of the previous answer as it is, or leave `cursor` out."),
    ("invalid_json", 400, "The body is not the JSON that was expected", "`detail` names the place. Send `Content-Type: application/json`."),
    ("invalid_parameter", 400, "A parameter is not valid", "`detail` names it and what it may be."),
    ("invalid_state", 409, "Not in this state", "The object's state does not allow the command; `detail` says what would."),
    ("invalid_text", 422, "A text has a character that can't be stored", "Remove U+0000."),
    ("invalid_token", 401, "The bearer token is not valid", "Log in again, or make a token with `daybook token`."),
    ("invalid_webhook", 401, "The webhook's signature is not valid", "Check the secret and the clock of the sender."),
    (
        "line_not_cancellable",
        409,
        "So many units can't be cancelled",
        "`cancellable` says how many can. What has left comes back by a return.",
    ),
    ("line_not_refundable", 409, "So many units can't be refunded", "`refundable` says how many units of `line_id` are left."),
    (
        "line_not_shippable",
        409,
        "So many units can't be shipped",
        "`shippable` says how many of `line_id` have neither left nor been cancelled.",
    ),
    ("location_closed", 409, "The location is closed", "It is closed for good. Name an open one of `GET /v1/admin/locations`, or add one."),
    (
        "location_in_use",
        409,
        "Something lies at the location or is promised there",
        "Transfer what lies there, receive what is on its way there, ship what is promised, set its safety stock to 0; then close it.",
    ),
    ("location_unknown", 422, "There is no such location", "Name one of `GET /v1/admin/locations` by its code or id, or leave it out."),
    ("method_not_allowed", 405, "The route has no such method", "See `/docs`."),
    ("not_found", 404, "Not found", "Check the id. Objects of others are not found either."),
    ("not_on_hand", 409, "There is not so much at the location", "`on_hand` says what is. Take away no more, or count what is there."),
    (
        "order_needs_no_payment",
        409,
        "The order needs no payment",
        "It is paid, being paid, or over. See its `status` and `payment_status`.",
    ),
    ("order_not_covered", 409, "The order is not paid for", "Its money was let go of. Have it paid anew: POST to its `payments`."),
    ("order_on_hold", 409, "The order is on hold", "Release it first: POST to the order's `release`."),
    ("order_shipped", 409, "A part of the order has left", "Cancel the lines that are left, or take the goods back by a return."),
    ("order_status", 409, "The order is not in this state", "`detail` names its status; see the order's life in `/docs`."),
    ("orders_open", 409, "The person has open orders", "Cancel or complete them first."),
    ("overloaded", 503, "Too much waits already", "Repeat after `Retry-After` seconds."),
    ("payload_too_large", 413, "The body is too large", "`detail` says the bound."),
    ("payment_already_captured", 409, "The money was taken", "It can't be let go of any more: refund it."),
    (
        "payment_attempts_exhausted",
        409,
        "Too many attempts to pay",
        "No more attempts are made for this order. Cancel it and check the cart out again.",
    ),
    ("payment_capture_in_progress", 409, "The money is being taken", "Wait for the capture's outcome, then refund it."),
    ("payment_in_progress", 409, "A payment is in progress", "Wait for its outcome; see the order's `payments`."),
    ("payment_not_capturable", 409, "So much can't be taken", "`capturable` says how much can, in minor units."),
    ("payment_not_refundable", 409, "So much can't be given back", "`refundable` says how much can, in minor units."),
    (
        "payment_not_voidable",
        409,
        "There is nothing to let go of",
        "The payment failed, has lapsed or was voided. See the order's `payments`.",
    ),
    ("position_unknown", 409, "The token is beyond the log", "The token names a position that was never written. Leave it out."),
    ("quantity_too_large", 422, "The quantity is too large", "A location holds no more than `max` of a variant. Lower the quantity."),
    ("read_model_behind", 503, "The read model has not come so far yet", "Repeat after `Retry-After` seconds, or raise `Prefer: wait`."),
    ("request_timeout", 503, "The request took too long", "Repeat after `Retry-After` seconds."),
    ("shipping_unavailable", 422, "No shipping to this address", "Choose one of the cart's shipping options, or another address."),
    ("subject_erased", 410, "The person's data was erased", "Nothing more can be stored for an erased person. Start anew."),
    ("too_large", 422, "Too large to be stored", "Shorten the texts."),
    ("too_many_requests", 429, "Too many requests", "Wait as long as `Retry-After` says."),
    (
        "transfer_quantity",
        422,
        "More than was sent",
        "`dispatched` says how many units are on their way. Receive no more; adjust the location by what came on top.",
    ),
    ("unauthenticated", 401, "A bearer token is needed", "Send `Authorization: Bearer …`."),
    ("unavailable", 503, "Not available now", "Repeat after `Retry-After` seconds with the same `Idempotency-Key`."),
    ("unsupported_currency", 422, "The currency is not offered", "Use one of the currencies of `GET /v1/store`."),
    ("unsupported_media_type", 415, "The content type is not taken", "Send `Content-Type: application/json`."),
    ("validation_failed", 422, "Some fields are not valid", "`errors` names each with its place."),
    ("version_conflict", 409, "The object has changed", "Read it again; `current_version` is its version now."),
    ("write_lost", 409, "The write was lost in a failover", "The log was restored from an older state. Read the object and write again."),
];

/// A problem on its way out; boxed, since it travels in every handler's `Result`.
#[derive(Debug, Clone)]
pub struct Problem(Box<Said>);

#[derive(Debug, Clone)]
struct Said {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    detail: String,
    facts: Map<String, Value>,
    errors: Vec<FieldError>,
    position: Option<Position>,
    replayed: bool,
}

impl Problem {
    /// A problem of the table; a code that is not in it is a failure of ours.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let known = CODES.iter().find(|(known, ..)| *known == code);
        let Some(&(code, status, title, _)) = known else {
            tracing::error!(code, "a refusal has no entry in the table of problems");
            return Self::internal();
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self(Box::new(Said {
            code,
            status,
            title,
            detail: detail.into(),
            facts: Map::new(),
            errors: Vec::new(),
            position: None,
            replayed: false,
        }))
    }

    #[must_use]
    pub fn internal() -> Self {
        Self::new("internal", "the request could not be handled; repeat it later")
    }

    /// Logs a failure where it is dealt with; the client learns nothing of it.
    pub fn failure(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        Self::internal()
    }

    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Refusal::not_found(what).into()
    }

    /// As [`Refusal::invalid`].
    #[must_use]
    pub fn invalid(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        Refusal::invalid(pointer, code, detail).into()
    }

    #[must_use]
    pub fn error(mut self, pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        self.0.errors.push(FieldError { pointer: pointer.to_owned(), code: code.to_owned(), detail: detail.into() });
        self
    }

    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.0.position = Some(position);
        self
    }

    /// It was answered before to the same idempotency key.
    #[must_use]
    pub fn replayed(mut self) -> Self {
        self.0.replayed = true;
        self
    }

    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut problem = Self::new(&refusal.code, refusal.detail);
        problem.0.facts = refusal.facts;
        problem.0.errors = refusal.errors;
        problem
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal, position) => Self::from(*refusal).at(position),
            CommandError::Replayed(_) => Self::internal(),
            CommandError::KeyReused => {
                Self::new("idempotency_key_reused", "this Idempotency-Key came with another body before; use a new key")
            }
            CommandError::Overloaded => Self::new("overloaded", "too many commands wait; repeat shortly"),
            CommandError::Unavailable => Self::new("unavailable", "the log can't be written now; repeat with the same Idempotency-Key"),
            CommandError::Standby => {
                Self::new("unavailable", "this process does not write now: another one does, or JetStream can't be asked; repeat shortly")
            }
            CommandError::Contended | CommandError::Stale => Self::new("conflict", "other commands kept changing the same object; repeat"),
            CommandError::Internal(failure) => failure.into(),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Seal(infra::sealing::SealError::Erased) => Self::new("subject_erased", "this person's data was erased; start anew"),
            Failure::Database(error) => error.into(),
            Failure::Repository(reason) => {
                tracing::error!(reason, "the event repository failed");
                Self::new("unavailable", "the database can't be reached now; repeat with the same Idempotency-Key")
            }
            failure => Self::failure(&failure),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        // Classes 08 (connection), 53 (resources) and 57 (operator) come and go with the server.
        let passing = |e: &dyn sqlx::error::DatabaseError| e.code().is_some_and(|code| ["08", "53", "57"].contains(&&code[..2]));
        if matches!(&error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_))
            || matches!(&error, sqlx::Error::Database(e) if passing(e.as_ref()))
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database can't be reached");
            return Self::new("unavailable", "the database can't be reached now; repeat shortly");
        }
        Self::failure(&error)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::failure(&error)
    }
}

/// A refusal or a failure (RFC 9457), with the facts it rests on beside the fields that all of them have.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A page that says what the code means and what to do.
    #[serde(rename = "type")]
    #[schema(example = "/problems/validation_failed")]
    kind: String,
    title: &'static str,
    /// The response's own status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// What is wrong here, and how to mend it.
    detail: String,
    /// Stable: what programs decide by.
    #[schema(example = "validation_failed")]
    code: &'static str,
    /// What is wrong with which field; there whenever a field is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldErrorBody>,
    /// Such as `available`, `current_total`, `current_version`: `/problems/{code}` names them.
    #[serde(flatten)]
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    facts: Map<String, Value>,
    /// As in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldErrorBody {
    /// Its place in the body (RFC 6901); of a parameter of the query `?` and its name.
    #[schema(example = "/quantity")]
    pointer: String,
    #[schema(example = "quantity_zero")]
    code: String,
    detail: String,
}

impl From<FieldError> for FieldErrorBody {
    fn from(FieldError { pointer, code, detail }: FieldError) -> Self {
        Self { pointer, code, detail }
    }
}

/// Where the request's id is put into the body by the middleware that knows it.
#[derive(Debug, Clone)]
pub struct ProblemBody(pub Map<String, Value>);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let said = *self.0;
        let document = ProblemDocument {
            kind: format!("/problems/{}", said.code),
            title: said.title,
            status: said.status.as_u16(),
            detail: said.detail,
            code: said.code,
            errors: said.errors.into_iter().map(FieldErrorBody::from).collect(),
            facts: said.facts,
            request_id: None,
        };
        let body = match serde_json::to_value(document) {
            Ok(Value::Object(body)) => body,
            _ => Map::new(),
        };
        let mut response = (said.status, Json(&body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(said.status.as_u16(), 429 | 503) || said.code == "idempotency_in_progress" {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if said.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(position) = said.position
            && let Ok(value) = HeaderValue::from_str(&position.to_string())
        {
            headers.insert("consistency-token", value);
        }
        if said.replayed {
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response.extensions_mut().insert(ProblemBody(body));
        response
    }
}
