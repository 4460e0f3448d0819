//! Stock commands: opening, receiving, counting, adjusting, transferring, policies. Selling is `checkout`.
//!
//! Where a location is named, the store's settings are read as a part of the decision: goods never come to a place that was
//! closed meanwhile.

use domain::id::{LocationId, ReceiptId, TransferId, VariantId};
use domain::inventory::{
    SafetyStock, StockCommand, StockEvent, StockItem, StockPolicy, StockRejection, StockTransferDispatched, StockTransferReceived,
};

use crate::answer::Refusal;
use crate::catalog::{LocatedStock, check_version, named_id};
use crate::setting;
use crate::streams::{Stop, Streams};

/// The code of the location that a store has before any is set.
pub const FIRST_LOCATION: &str = "main";
/// Why an import counts.
const IMPORT_REASON: &str = "import";

/// The id of a location by its name.
#[must_use]
pub fn location_id(name: &str) -> LocationId {
    named_id("location", name).into()
}

/// Where all stock lies before any location is set.
#[must_use]
pub fn first_location() -> LocationId {
    location_id(FIRST_LOCATION)
}

/// The stock item that a command is about.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub variant_id: VariantId,
    /// The version that the caller believes the item to have.
    pub expected_version: Option<i64>,
}

/// Units on their way from one location to another, each by its code or id.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub transfer_id: TransferId,
    pub from: String,
    pub to: String,
    pub quantity: u32,
}

/// Whether and how far a variant is sold beyond what is there.
#[derive(Debug, Clone)]
pub struct Policy {
    pub policy: StockPolicy,
    /// Units never sold, by the location's code or id; others stay.
    pub safety: Vec<(String, u32)>,
    /// As it is, unless given.
    pub low_stock_threshold: Option<u32>,
}

/// Goods have come in, at the store's first location unless another one is named.
pub fn receive(streams: &mut Streams<'_>, at: Target, location: Option<&str>, receipt_id: ReceiptId, quantity: u32) -> Result<(), Stop> {
    let location_id = setting::open_location(streams, location, "/location")?;
    run(streams, at, StockCommand::Receive { receipt_id, location_id, quantity, unit_cost: None })
}

/// Somebody has counted what lies there. A count is a fact even when it finds what was expected.
pub fn count(streams: &mut Streams<'_>, at: Target, location: Option<&str>, counted: u32, reason: &str) -> Result<(), Stop> {
    let location_id = setting::location(streams, location, "/location")?.facts.location_id;
    run(streams, at, StockCommand::Count { location_id, counted, reason: reason.to_owned() })
}

/// Units were found or lost, for a reason.
pub fn adjust(streams: &mut Streams<'_>, at: Target, location: Option<&str>, delta: i64, reason: &str) -> Result<(), Stop> {
    let location_id = setting::location(streams, location, "/location")?.facts.location_id;
    run(streams, at, StockCommand::Adjust { location_id, delta, reason: reason.to_owned(), note: None })
}

/// Units are somewhere else, at once: they are at one location or at the other at every position of the log.
pub fn transfer(streams: &mut Streams<'_>, at: Target, transfer: &Transfer) -> Result<(), Stop> {
    let dispatched = dispatched(streams, transfer)?;
    run(streams, at, StockCommand::Transfer(dispatched))
}

/// Units have left for another location, where they can be sold once they are received.
pub fn dispatch(streams: &mut Streams<'_>, at: Target, transfer: &Transfer) -> Result<(), Stop> {
    let dispatched = dispatched(streams, transfer)?;
    run(streams, at, StockCommand::DispatchTransfer(dispatched))
}

/// A transfer has arrived; what is missing of it is lost.
pub fn receive_transfer(streams: &mut Streams<'_>, at: Target, transfer_id: TransferId, received: u32) -> Result<(), Stop> {
    let item = streams.get::<StockItem>(&at.variant_id.to_string())?;
    let sent = item.transfers.get(&transfer_id).map_or(received, |transfer| transfer.quantity);
    // More than was sent is refused by the item itself.
    let lost = sent.saturating_sub(received);
    run(streams, at, StockCommand::ReceiveTransfer(StockTransferReceived { transfer_id, received, lost }))
}

/// Changes how far a variant is sold beyond what is there, what is kept back, and when it counts as low.
pub fn change_policy(streams: &mut Streams<'_>, at: Target, wanted: &Policy) -> Result<(), Stop> {
    let mut safety = Vec::with_capacity(wanted.safety.len());
    for (index, (location, quantity)) in wanted.safety.iter().enumerate() {
        let pointer = format!("/safety/{index}/location");
        let location_id = setting::location(streams, Some(location), &pointer)?.facts.location_id;
        safety.push(SafetyStock { location_id, quantity: *quantity });
    }
    let low_stock_threshold = wanted.low_stock_threshold;
    run(streams, at, StockCommand::ChangePolicy { policy: wanted.policy, safety, low_stock_threshold })
}

fn dispatched(streams: &mut Streams<'_>, transfer: &Transfer) -> Result<StockTransferDispatched, Stop> {
    let from = setting::location(streams, Some(&transfer.from), "/from")?.facts.location_id;
    let to = setting::open_location(streams, Some(&transfer.to), "/to")?;
    Ok(StockTransferDispatched { transfer_id: transfer.transfer_id, from, to, quantity: transfer.quantity })
}

/// What the stock of a new variant begins with.
#[derive(Debug, Clone)]
pub(crate) struct OpeningStock {
    pub(crate) variant_id: VariantId,
    pub(crate) policy: StockPolicy,
    /// At the store's first location.
    pub(crate) quantity: Option<u32>,
    pub(crate) low_stock_threshold: Option<u32>,
    pub(crate) located: Vec<LocatedStock>,
}

/// Opens a variant's stock unless it is open; `fresh` ones are not even looked for. Returns the number of events.
pub(crate) fn open(streams: &mut Streams<'_>, opening: &OpeningStock, fresh: bool) -> Result<usize, Stop> {
    let id = opening.variant_id.to_string();
    let item = if fresh { streams.create::<StockItem>(&id)? } else { streams.get::<StockItem>(&id)? };
    if item.opened {
        return Ok(0);
    }
    let mut item = item.clone();
    let policy = opening.policy;
    let mut events = decide_onto(&mut item, StockCommand::Open { policy, low_stock_threshold: opening.low_stock_threshold })?;
    let mut safety = Vec::new();
    let first = opening.quantity.map(|quantity| (None, quantity));
    for (location, quantity) in
        first.into_iter().chain(opening.located.iter().filter_map(|at| Some((Some(at.location.as_str()), at.quantity?))))
    {
        if quantity == 0 {
            continue;
        }
        // Made from the ids: a decision that is run again decides the same.
        let name = location.map_or_else(|| id.clone(), |location| format!("{id}/{location}"));
        let receipt_id = named_id("opening_receipt", &name).into();
        let location_id = setting::open_location(streams, location, "/location")?;
        events.extend(decide_onto(&mut item, StockCommand::Receive { receipt_id, location_id, quantity, unit_cost: None })?);
    }
    for located in &opening.located {
        if let Some(quantity @ 1..) = located.safety {
            let location_id = setting::open_location(streams, Some(&located.location), "/location")?;
            safety.push(SafetyStock { location_id, quantity });
        }
    }
    if !safety.is_empty() {
        events.extend(decide_onto(&mut item, StockCommand::ChangePolicy { policy, safety, low_stock_threshold: None })?);
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

/// Makes the stock what an import says, at every location that it names; nothing when it is that already. Returns the number of events.
pub(crate) fn overwrite(streams: &mut Streams<'_>, wanted: &OpeningStock) -> Result<usize, Stop> {
    let mut count = 0;
    let first = wanted.quantity.map(|quantity| (None, quantity));
    for (location, counted) in
        first.into_iter().chain(wanted.located.iter().filter_map(|at| Some((Some(at.location.as_str()), at.quantity?))))
    {
        let location_id = setting::open_location(streams, location, "/location")?;
        let on_hand = streams.get::<StockItem>(&wanted.variant_id.to_string())?.levels.at(location_id).on_hand;
        if on_hand != i64::from(counted) {
            count += emit(streams, wanted.variant_id, StockCommand::Count { location_id, counted, reason: IMPORT_REASON.to_owned() })?;
        }
    }
    Ok(count)
}

fn run(streams: &mut Streams<'_>, at: Target, command: StockCommand) -> Result<(), Stop> {
    let id = at.variant_id.to_string();
    let version = streams.version::<StockItem>(&id)?;
    check_version(at.expected_version, version)?;
    streams.answer_with::<StockItem>(200, &id);
    emit(streams, at.variant_id, command)?;
    Ok(())
}

fn emit(streams: &mut Streams<'_>, variant_id: VariantId, command: StockCommand) -> Result<usize, Stop> {
    let id = variant_id.to_string();
    let quantity = quantity_field(&command);
    let events = streams.get::<StockItem>(&id)?.decide(command).map_err(|rejection| refusal(&rejection, quantity))?;
    let number = events.len();
    streams.emit::<StockItem>(&id, events, None)?;
    Ok(number)
}

fn decide_onto(item: &mut StockItem, command: StockCommand) -> Result<Vec<StockEvent>, Stop> {
    let quantity = quantity_field(&command);
    let events = item.decide(command).map_err(|rejection| refusal(&rejection, quantity))?;
    for event in &events {
        item.apply(event);
    }
    Ok(events)
}

/// Where a request says how much a command is about.
const fn quantity_field(command: &StockCommand) -> &'static str {
    match command {
        StockCommand::Adjust { .. } => "/delta",
        StockCommand::ReceiveTransfer(_) => "/received",
        _ => "/quantity",
    }
}

/// A domain's "no" in the words of the interface; `quantity` is the field that says how much.
fn refusal(rejection: &StockRejection, quantity: &str) -> Refusal {
    let detail = rejection.to_string();
    let invalid = |pointer: &str| Refusal::invalid(pointer, rejection.code(), rejection.to_string());
    match rejection {
        StockRejection::NotFound => Refusal::not_found("stock item"),
        StockRejection::InsufficientStock { available } => {
            Refusal::new("insufficient_stock", format!("{detail}; lower the quantity")).fact("available", *available)
        }
        StockRejection::NotOnHand { on_hand, .. } => {
            Refusal::new("not_on_hand", format!("{detail}; take away no more than that, or count what is there")).fact("on_hand", *on_hand)
        }
        StockRejection::QuantityTooLarge { max } => {
            let refusal = Refusal::new("quantity_too_large", format!("{detail}; lower the quantity")).fact("max", *max);
            refusal.error(quantity, rejection.code(), detail)
        }
        StockRejection::TransferNotFound { .. } => Refusal::not_found("transfer on its way"),
        StockRejection::TransferExists { .. } => Refusal::new("already_exists", detail),
        StockRejection::TransferQuantity { dispatched } => {
            let fix = format!("{detail}; receive no more than that, and count or adjust what came on top");
            Refusal::new("transfer_quantity", fix).fact("dispatched", *dispatched).error(quantity, rejection.code(), detail)
        }
        StockRejection::QuantityZero | StockRejection::NotAllocated { .. } => invalid(quantity),
        StockRejection::ReasonMissing => invalid("/reason"),
        StockRejection::LocationMissing => invalid("/location"),
        StockRejection::TransferToItself => invalid("/to"),
        StockRejection::HoldExists { .. }
        | StockRejection::HoldNotFound { .. }
        | StockRejection::HoldExpired { .. }
        | StockRejection::AllocationNotFound { .. } => Refusal::new("invalid_state", detail),
    }
}
