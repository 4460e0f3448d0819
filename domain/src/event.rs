//! What every event can do: its stored name, version and payload.
//!
//! A stored event is its type, its version and the plain JSON of its struct; the enum that gathers
//! the events of an aggregate leaves no trace in it. Names and versions are literals in [`events!`],
//! so that renaming a Rust type changes nothing that is stored. An event of an older version goes
//! through [`crate::upcast`] before it is decoded; an unknown one is an error and never skipped.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::upcast;

/// Changes with the source of this crate: a state that was folded under another fingerprint may have another shape or meaning.
pub const FINGERPRINT: &str = env!("DOMAIN_FINGERPRINT");

/// An event that can be written to the log and read back.
pub trait Event: cqrs_es::DomainEvent {
    /// Every type of this aggregate with the version that is written today.
    const TYPES: &'static [(&'static str, u16)];

    /// The stored name of the type, for ever the same.
    fn name(&self) -> &'static str;

    /// The version that is written today.
    fn version(&self) -> u16;

    /// The payload as it is stored: the JSON of the event's own struct.
    fn to_payload(&self) -> Result<String, serde_json::Error>;

    /// Reads a stored payload of this version or an older one.
    fn from_payload(name: &str, version: u16, payload: &str) -> Result<Self, DecodeError>;
}

/// An aggregate that has a stream in the log.
pub trait Root: cqrs_es::Aggregate<Event: Event> + Clone + Debug {
    /// The context it belongs to: its subject on the stream and its module in every crate.
    const CONTEXT: &'static str;

    /// Its streams grow for years, so its state is kept now and then. It holds nothing personal.
    const LONG_LIVED: bool = false;

    /// What its events are ordered by on the stream; `id` is the aggregate's own. Aggregates that are
    /// read together share a key, so that a projection sees their events in order.
    fn partition_key(&self, id: &str) -> String {
        id.to_owned()
    }
}

/// Why a stored event can't be read. Each is a fault of the program or the log, never of a caller.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown event type {name}")]
    UnknownType { name: String },
    #[error("{name} has version {version}, this program knows versions up to {known}")]
    NewerVersion { name: String, version: u16, known: u16 },
    #[error("{name} has no upcaster from version {version}")]
    NoUpcaster { name: String, version: u16 },
    #[error("{name} version {version} can't be decoded")]
    Payload {
        name: String,
        version: u16,
        #[source]
        source: serde_json::Error,
    },
}

/// Decodes one event struct whose current version is `known`; what [`events!`] calls per type.
pub fn decode<T: DeserializeOwned>(name: &str, version: u16, known: u16, payload: &str) -> Result<T, DecodeError> {
    let unreadable = |source| DecodeError::Payload { name: name.to_owned(), version, source };
    if version > known {
        return Err(DecodeError::NewerVersion { name: name.to_owned(), version, known });
    }
    if version == known {
        return serde_json::from_str(payload).map_err(unreadable);
    }
    let old: Value = serde_json::from_str(payload).map_err(unreadable)?;
    let current = upcast::upcast(upcast::STEPS, name, version, known, old)?;
    serde_json::from_value(current).map_err(unreadable)
}

/// The events of one aggregate: an enum, its [`Event`] and its `cqrs_es::DomainEvent`.
///
/// `Variant(Struct) = "StoredName", version;` per type. Variants that have the same fields may share
/// a struct.
#[macro_export]
macro_rules! events {
    (
        $(#[$doc:meta])*
        pub enum $enum:ident {
            $($variant:ident($payload:ty) = $name:literal, $version:literal;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $enum {
            $($variant($payload),)+
        }

        impl $crate::event::Event for $enum {
            const TYPES: &'static [(&'static str, u16)] = &[$(($name, $version)),+];

            fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }

            fn version(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $version,)+
                }
            }

            fn to_payload(&self) -> Result<String, ::serde_json::Error> {
                match self {
                    $(Self::$variant(event) => ::serde_json::to_string(event),)+
                }
            }

            fn from_payload(
                name: &str,
                version: u16,
                payload: &str,
            ) -> Result<Self, $crate::event::DecodeError> {
                match name {
                    $($name => $crate::event::decode(name, version, $version, payload).map(Self::$variant),)+
                    _ => Err($crate::event::DecodeError::UnknownType { name: name.to_owned() }),
                }
            }
        }

        impl ::cqrs_es::DomainEvent for $enum {
            fn event_type(&self) -> String {
                $crate::event::Event::name(self).to_owned()
            }

            fn event_version(&self) -> String {
                $crate::event::Event::version(self).to_string()
            }
        }
    };
}

/// `cqrs_es::Aggregate` for a type that has its own pure `decide` and `apply`.
macro_rules! aggregate {
    ($root:ty = $stream:literal, $command:ty => $event:ty, $rejection:ty) => {
        impl ::cqrs_es::Aggregate for $root {
            const TYPE: &'static str = $stream;
            type Command = $command;
            type Event = $event;
            type Error = $rejection;
            type Services = ();

            async fn handle(
                &mut self,
                command: $command,
                (): &(),
                sink: &::cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), $rejection> {
                for event in self.decide(command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: $event) {
                Self::apply(self, &event);
            }
        }
    };
}
