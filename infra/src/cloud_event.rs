//! CloudEvents 1.0: how an event looks outside, on the stream, over HTTP and in exports. Always as stored.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event_log::StoredEvent;

#[derive(Serialize, Deserialize)]
struct CloudEvent<'a> {
    specversion: &'a str,
    id: Uuid,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: String,
    datacontenttype: &'a str,
    dataschema: String,
    logepoch: String,
    position: String,
    sequence: String,
    eventversion: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    correlationid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    causationid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    actor: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The bounded context that an aggregate type belongs to.
#[must_use]
pub fn context_of(aggregate_type: &str) -> &str {
    match aggregate_type {
        "product" | "category" => "catalog",
        "stock" => "inventory",
        "subject" => "customer",
        other => other,
    }
}

/// One event as CloudEvents JSON, on one line.
pub fn to_json(event: &StoredEvent, epoch: i32) -> Result<String, serde_json::Error> {
    let metadata: serde_json::Value = serde_json::from_str(&event.metadata)?;
    let text = |name: &str| metadata.get(name).and_then(|v| v.as_str()).map(str::to_owned);
    let actor = metadata.get("actor").map(|a| {
        let part = |name: &str| a.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        format!("{}/{}", part("kind"), part("id"))
    });
    let payload: &RawValue = serde_json::from_str(&event.payload)?;
    serde_json::to_string(&CloudEvent {
        specversion: "1.0",
        id: event.event_id,
        source: "/daybook",
        kind: format!("{}.{}", context_of(&event.aggregate_type), event.event_type),
        subject: format!("{}/{}", event.aggregate_type, event.aggregate_id),
        time: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        datacontenttype: "application/json",
        dataschema: format!("/schemas/{}/{}", event.event_type, event.event_version),
        logepoch: format!("{epoch:010}"),
        position: format!("{:020}", event.position),
        sequence: format!("{:020}", event.sequence),
        eventversion: &event.event_version,
        correlationid: text("correlation_id"),
        causationid: text("causation_id"),
        actor,
        data: payload,
    })
}

/// Why a message of the stream can't be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("not a CloudEvent")]
    Json(#[from] serde_json::Error),
    #[error("the CloudEvent's {0} is not what Daybook writes")]
    Field(&'static str),
}

/// Reads back what [`to_json`] wrote; partition and metadata travel beside the body.
pub fn from_json(body: &[u8], partition: i16, metadata: String) -> Result<(i32, StoredEvent), ReadError> {
    let event: CloudEvent<'_> = serde_json::from_slice(body)?;
    let (aggregate_type, aggregate_id) = event.subject.split_once('/').ok_or(ReadError::Field("subject"))?;
    let event_type = event.kind.split_once('.').ok_or(ReadError::Field("type"))?.1;
    let recorded_at: DateTime<Utc> = event.time.parse().map_err(|_| ReadError::Field("time"))?;
    let stored = StoredEvent {
        position: event.position.parse().map_err(|_| ReadError::Field("position"))?,
        partition,
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: aggregate_id.to_owned(),
        sequence: event.sequence.parse().map_err(|_| ReadError::Field("sequence"))?,
        event_id: event.id,
        event_type: event_type.to_owned(),
        event_version: event.eventversion.to_owned(),
        payload: event.data.get().to_owned(),
        metadata,
        recorded_at,
    };
    Ok((event.logepoch.parse().map_err(|_| ReadError::Field("logepoch"))?, stored))
}
