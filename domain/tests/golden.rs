//! Events are forever: every payload that was ever written can be read, and says the same.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use domain::cart::CartEvent;
use domain::catalog::{CategoryEvent, ProductEvent};
use domain::claim::ClaimEvent;
use domain::customer::SubjectEvent;
use domain::event::{DecodeError, Event};
use domain::inventory::StockEvent;
use domain::merchandising::MerchandisingEvent;
use domain::order::OrderEvent;
use domain::payment::PaymentEvent;
use domain::promotion::PromotionEvent;
use domain::setting::SettingEvent;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The golden events in the folder, by name and version.
fn goldens() -> Vec<(String, u16, String)> {
    let mut goldens = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        if let Some((name, version)) = stem.split_once(".v") {
            let payload = fs::read_to_string(&file).unwrap();
            goldens.push((name.to_owned(), version.parse().unwrap(), payload));
        }
    }
    goldens
}

/// Reads a golden of this aggregate; what is of the newest version is written again the same.
fn check<E: Event>(name: &str, version: u16, payload: &str) -> bool {
    let Some((_, newest)) = E::TYPES.iter().find(|(known, _)| *known == name) else {
        return false;
    };
    let event = E::from_payload(name, version, payload)
        .unwrap_or_else(|error| panic!("{name} v{version}: {error}: {:?}", std::error::Error::source(&error)));
    assert_eq!(event.name(), name);
    assert_eq!(event.version(), *newest);
    assert_eq!(event.event_version(), newest.to_string());
    if version == *newest {
        let stored: Value = serde_json::from_str(payload).unwrap();
        let written: Value = serde_json::from_str(&event.to_payload().unwrap()).unwrap();
        assert_eq!(written, stored, "{name} v{version} is written differently now");
    }
    let tagged = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<E>(&tagged).unwrap(), event);
    true
}

#[test]
fn every_event_that_was_ever_written_can_be_read() {
    for (name, version, payload) in goldens() {
        let known = [
            check::<ProductEvent>,
            check::<CategoryEvent>,
            check::<StockEvent>,
            check::<CartEvent>,
            check::<OrderEvent>,
            check::<PaymentEvent>,
            check::<SettingEvent>,
            check::<PromotionEvent>,
            check::<MerchandisingEvent>,
            check::<SubjectEvent>,
            check::<ClaimEvent>,
        ];
        let readers = known.iter().filter(|read| read(&name, version, &payload)).count();
        assert_eq!(readers, 1, "{name} v{version} belongs to {readers} aggregates");
    }
}

#[test]
fn every_event_has_a_golden_file() {
    let types = [
        ProductEvent::TYPES,
        CategoryEvent::TYPES,
        StockEvent::TYPES,
        CartEvent::TYPES,
        OrderEvent::TYPES,
        PaymentEvent::TYPES,
        SettingEvent::TYPES,
        PromotionEvent::TYPES,
        MerchandisingEvent::TYPES,
        SubjectEvent::TYPES,
        ClaimEvent::TYPES,
    ];
    let there: BTreeSet<_> = goldens().into_iter().map(|(name, version, _)| (name, version)).collect();
    for (name, newest) in types.into_iter().flatten() {
        for version in 1..=*newest {
            assert!(there.contains(&((*name).to_owned(), version)), "golden/{name}.v{version}.json is missing");
        }
    }
}

#[test]
fn an_unknown_type_is_an_error() {
    let unknown = CartEvent::from_payload("CartSold", 1, "{}");
    assert!(matches!(unknown, Err(DecodeError::UnknownType { name }) if name == "CartSold"));
}

#[test]
fn a_version_of_a_newer_program_is_an_error() {
    let newer = CartEvent::from_payload("CartExpired", 2, "{}");
    assert!(matches!(newer, Err(DecodeError::NewerVersion { version: 2, known: 1, .. })));
}

#[test]
fn a_version_that_nobody_wrote_is_an_error() {
    let older = CartEvent::from_payload("CartExpired", 0, "{}");
    assert!(matches!(older, Err(DecodeError::NoUpcaster { version: 0, .. })));
}

#[test]
fn a_sealed_field_is_not_taken_for_an_open_one() {
    let sealed = r#"{"location_id": "01980000-0000-7000-8000-000000000801", "delta": 1, "reason": "found", "note": {"$sealed": "AAAA"}}"#;
    let refused = StockEvent::from_payload("StockAdjusted", 1, sealed);
    assert!(matches!(refused, Err(DecodeError::Payload { .. })));
}
