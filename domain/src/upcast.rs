//! Old events in the form of today: pure JSON to JSON.
//!
//! A step raises one event type by one version. Steps are only ever added, each with the golden file
//! of the version that it reads. Readers of the log get events as they were stored; upcasting is for
//! the fold.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::Value;

use crate::event::DecodeError;

/// Raises the payload of one event type from one version to the next.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub event_type: &'static str,
    pub from: u16,
    pub upcast: fn(Value) -> Value,
}

/// All steps there are. Version 1 of every event is the newest yet.
pub const STEPS: &[Step] = &[];

/// The steps for readers that go through the repositories of `cqrs-es`.
#[must_use]
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    STEPS.iter().map(|step| Box::new(*step) as Box<dyn EventUpcaster>).collect()
}

/// Raises `payload` from `version` to `known`, one step after the other.
pub fn upcast(steps: &[Step], name: &str, version: u16, known: u16, payload: Value) -> Result<Value, DecodeError> {
    let mut payload = payload;
    for from in version..known {
        let step = steps
            .iter()
            .find(|step| step.event_type == name && step.from == from)
            .ok_or_else(|| DecodeError::NoUpcaster { name: name.to_owned(), version: from })?;
        payload = (step.upcast)(payload);
    }
    Ok(payload)
}

impl EventUpcaster for Step {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        event_type == self.event_type && event_version == self.from.to_string()
    }

    fn upcast(&self, event: SerializedEvent) -> SerializedEvent {
        SerializedEvent { event_version: (self.from + 1).to_string(), payload: (self.upcast)(event.payload), ..event }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The worked example: version 2 renamed a field, version 3 added one whose value for old events is known. Its golden
    /// files stand in `golden/upcast/`, each raised from the one before.
    const RENAME_AND_ADD: &[Step] = &[
        Step { event_type: "ThingMoved", from: 1, upcast: |old| json!({"place": old["spot"]}) },
        Step {
            event_type: "ThingMoved",
            from: 2,
            upcast: |mut old| {
                old["floor"] = json!(0);
                old
            },
        },
    ];

    #[test]
    fn an_old_event_takes_every_step_up_to_the_newest_version() {
        let golden = |version: u16| -> Value {
            let path = format!("{}/golden/upcast/ThingMoved.v{version}.json", env!("CARGO_MANIFEST_DIR"));
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        for (from, to) in [(1, 2), (2, 3), (1, 3), (3, 3)] {
            assert_eq!(upcast(RENAME_AND_ADD, "ThingMoved", from, to, golden(from)).unwrap(), golden(to), "{from} to {to}");
        }
    }

    #[test]
    fn a_missing_step_is_an_error() {
        let refused = upcast(RENAME_AND_ADD, "ThingMoved", 0, 3, json!({}));
        assert!(matches!(refused, Err(DecodeError::NoUpcaster { version: 0, .. })));
    }

    #[test]
    fn a_step_raises_the_version_of_a_serialised_event() {
        let step = RENAME_AND_ADD[0];
        let event = SerializedEvent::new(
            "7".to_owned(),
            1,
            "thing".to_owned(),
            "ThingMoved".to_owned(),
            "1".to_owned(),
            json!({"spot": "A7"}),
            json!({}),
        );
        assert!(step.can_upcast("ThingMoved", "1"));
        assert!(!step.can_upcast("ThingMoved", "2"));
        assert!(!step.can_upcast("ThingSold", "1"));
        let raised = EventUpcaster::upcast(&step, event);
        assert_eq!(raised.event_version, "2");
        assert_eq!(raised.payload, json!({"place": "A7"}));
    }
}
