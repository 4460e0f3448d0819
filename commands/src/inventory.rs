//! Stock commands: opening, receiving, counting, adjusting. Selling is `checkout`.
//!
//! All stock lies at the store's first location, which is also where selling takes it from.

use domain::id::{LocationId, ReceiptId, VariantId};
use domain::inventory::{StockCommand, StockEvent, StockItem, StockPolicy, StockRejection};

use crate::answer::{FieldError, Refusal};
use crate::catalog::{check_version, named_id};
use crate::streams::{Stop, Streams};

/// The name of the store's first location.
pub const FIRST_LOCATION: &str = "main";
/// Why an import counts.
const IMPORT_REASON: &str = "import";

/// The id of a location by its name.
#[must_use]
pub fn location_id(name: &str) -> LocationId {
    named_id("location", name).into()
}

/// Where stock lies unless another location is named.
#[must_use]
pub fn first_location() -> LocationId {
    location_id(FIRST_LOCATION)
}

/// The stock item that a movement is about.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub variant_id: VariantId,
    pub location_id: LocationId,
    /// The version that the caller believes the item to have.
    pub expected_version: Option<i64>,
}

/// Goods have come in.
pub fn receive(streams: &mut Streams<'_>, at: &Target, receipt_id: ReceiptId, quantity: u32) -> Result<(), Stop> {
    let location_id = at.location_id;
    move_stock(streams, at, StockCommand::Receive { receipt_id, location_id, quantity, unit_cost: None })
}

/// Somebody has counted what lies there. A count is a fact even when it finds what was expected.
pub fn count(streams: &mut Streams<'_>, at: &Target, counted: u32, reason: &str) -> Result<(), Stop> {
    move_stock(streams, at, StockCommand::Count { location_id: at.location_id, counted, reason: reason.to_owned() })
}

/// Units were found or lost, for a reason.
pub fn adjust(streams: &mut Streams<'_>, at: &Target, delta: i64, reason: &str) -> Result<(), Stop> {
    let command = StockCommand::Adjust { location_id: at.location_id, delta, reason: reason.to_owned(), note: None };
    move_stock(streams, at, command)
}

/// What the stock of a new variant begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpeningStock {
    pub(crate) variant_id: VariantId,
    pub(crate) policy: StockPolicy,
    pub(crate) quantity: Option<u32>,
}

/// Opens a variant's stock unless it is open; `fresh` ones are not even looked for. Returns the number of events.
pub(crate) fn open(streams: &mut Streams<'_>, opening: &OpeningStock, fresh: bool) -> Result<usize, Stop> {
    let id = opening.variant_id.to_string();
    let item = if fresh { streams.create::<StockItem>(&id)? } else { streams.get::<StockItem>(&id)? };
    if item.opened {
        return Ok(0);
    }
    let mut item = item.clone();
    let mut events = decide_onto(&mut item, StockCommand::Open { policy: opening.policy, low_stock_threshold: None })?;
    if let Some(quantity @ 1..) = opening.quantity {
        // Made from the variant's id: a decision that is run again decides the same.
        let receipt_id = named_id("opening_receipt", &id).into();
        let location_id = first_location();
        events.extend(decide_onto(&mut item, StockCommand::Receive { receipt_id, location_id, quantity, unit_cost: None })?);
    }
    let number = events.len();
    streams.emit::<StockItem>(&id, events, None)?;
    Ok(number)
}

/// Changes whether a variant may be sold beyond what is there. Returns the number of events.
pub(crate) fn set_policy(streams: &mut Streams<'_>, variant_id: VariantId, policy: StockPolicy) -> Result<usize, Stop> {
    let command = StockCommand::ChangePolicy { policy, safety: vec![], low_stock_threshold: None };
    emit(streams, variant_id, command)
}

/// Makes the first location's stock what an import says; nothing when it is that already. Returns the number of events.
pub(crate) fn overwrite(streams: &mut Streams<'_>, variant_id: VariantId, quantity: u32) -> Result<usize, Stop> {
    let location_id = first_location();
    let on_hand = streams.get::<StockItem>(&variant_id.to_string())?.levels.at(location_id).on_hand;
    if on_hand == i64::from(quantity) {
        return Ok(0);
    }
    emit(streams, variant_id, StockCommand::Count { location_id, counted: quantity, reason: IMPORT_REASON.to_owned() })
}

fn move_stock(streams: &mut Streams<'_>, at: &Target, command: StockCommand) -> Result<(), Stop> {
    let id = at.variant_id.to_string();
    let version = streams.version::<StockItem>(&id)?;
    check_version(at.expected_version, version)?;
    streams.answer_with::<StockItem>(200, &id);
    emit(streams, at.variant_id, command)?;
    Ok(())
}

fn emit(streams: &mut Streams<'_>, variant_id: VariantId, command: StockCommand) -> Result<usize, Stop> {
    let id = variant_id.to_string();
    let events = streams.get::<StockItem>(&id)?.decide(command).map_err(|rejection| refusal(&rejection))?;
    let number = events.len();
    streams.emit::<StockItem>(&id, events, None)?;
    Ok(number)
}

fn decide_onto(item: &mut StockItem, command: StockCommand) -> Result<Vec<StockEvent>, Stop> {
    let events = item.decide(command).map_err(|rejection| refusal(&rejection))?;
    for event in &events {
        item.apply(event);
    }
    Ok(events)
}

fn refusal(rejection: &StockRejection) -> Refusal {
    let pointer = match rejection {
        StockRejection::NotFound => return Refusal::not_found("stock item"),
        StockRejection::InsufficientStock { available } => {
            return Refusal::new("insufficient_stock", rejection.to_string()).fact("available", *available);
        }
        StockRejection::NotOnHand { on_hand, .. } => {
            return invalid("/delta", rejection).fact("on_hand", *on_hand);
        }
        StockRejection::QuantityZero
        | StockRejection::QuantityTooLarge { .. }
        | StockRejection::TransferQuantity { .. }
        | StockRejection::NotAllocated { .. } => "/quantity",
        StockRejection::ReasonMissing => "/reason",
        StockRejection::LocationMissing => "/location",
        StockRejection::TransferToItself => "/to",
        StockRejection::HoldExists { .. }
        | StockRejection::HoldNotFound { .. }
        | StockRejection::HoldExpired { .. }
        | StockRejection::AllocationNotFound { .. }
        | StockRejection::TransferExists { .. }
        | StockRejection::TransferNotFound { .. } => {
            return Refusal::new("invalid_state", rejection.to_string());
        }
    };
    invalid(pointer, rejection)
}

fn invalid(pointer: &str, rejection: &StockRejection) -> Refusal {
    let detail = rejection.to_string();
    let error = FieldError { pointer: pointer.to_owned(), code: rejection.code().to_owned(), detail: detail.clone() };
    Refusal { errors: vec![error], ..Refusal::new("validation_failed", detail) }
}
