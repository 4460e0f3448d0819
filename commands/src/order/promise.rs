//! The stock that an order holds: allocated when it is confirmed, given back when it ends, had again when late money revives it.

use std::collections::BTreeMap;

use domain::id::{AllocationId, FulfilmentId, HoldId, LineId, LocationId, VariantId};
use domain::inventory::{HoldOwner, Reserve, StockCommand, StockEvent, StockItem, StockRejection};
use domain::order::{OrderHold, OrderPlaced};
use uuid::Uuid;

use crate::answer::{Failure, Refusal};
use crate::setting;
use crate::streams::{Stop, Streams};

/// Turns an order's holds into allocations.
pub(crate) fn allocate(streams: &mut Streams<'_>, facts: &OrderPlaced) -> Result<(), Stop> {
    each(streams, facts, |_, hold| {
        Some(StockCommand::Allocate {
            allocation_id: allocation_id(facts, hold.line_id),
            hold_id: hold.hold_id,
            order_id: facts.order_id,
            line_id: hold.line_id,
        })
    })
}

/// Gives all back that an order still holds: reserved while it was unpaid, allocated since.
pub(crate) fn give_back(streams: &mut Streams<'_>, facts: &OrderPlaced, reason: &str) -> Result<(), Stop> {
    each(streams, facts, |item, hold| {
        let allocation_id = allocation_id(facts, hold.line_id);
        let reason = reason.to_owned();
        let is_allocated = item.allocations.contains_key(&allocation_id);
        Some(if is_allocated {
            StockCommand::ReleaseAllocation { allocation_id, quantity: None, reason }
        } else {
            StockCommand::ReleaseReservation { hold_id: hold.hold_id, reason }
        })
    })
}

/// Gives some allocated units of some lines back.
pub(crate) fn give_back_units(
    streams: &mut Streams<'_>,
    facts: &OrderPlaced,
    lines: &BTreeMap<LineId, u32>,
    reason: &str,
) -> Result<(), Stop> {
    each(streams, facts, |_, hold| {
        let quantity = Some(*lines.get(&hold.line_id)?);
        let allocation_id = allocation_id(facts, hold.line_id);
        Some(StockCommand::ReleaseAllocation { allocation_id, quantity, reason: reason.to_owned() })
    })
}

/// Takes units out of the store: they leave from where they were allocated.
pub(crate) fn ship(
    streams: &mut Streams<'_>,
    facts: &OrderPlaced,
    fulfilment_id: FulfilmentId,
    lines: &BTreeMap<LineId, u32>,
) -> Result<(), Stop> {
    need(streams, facts)?;
    for hold in &facts.holds {
        let (Some(quantity), Some(variant_id)) = (lines.get(&hold.line_id), variant_of(facts, hold)) else { continue };
        let id = variant_id.to_string();
        let allocation_id = allocation_id(facts, hold.line_id);
        let command = StockCommand::Ship { allocation_id, fulfilment_id, quantity: *quantity, forced: false };
        let events = streams.after::<StockItem>(&id)?.decide(command).map_err(|rejection| match rejection {
            StockRejection::NotOnHand { on_hand, .. } => {
                let detail = format!("only {on_hand} of them lie there by the books; count the stock, then ship");
                Refusal::new("not_on_hand", detail).fact("line_id", hold.line_id.to_string()).fact("on_hand", on_hand).into()
            }
            rejection => impossible(variant_id, &rejection),
        })?;
        streams.emit::<StockItem>(&id, events, None)?;
    }
    Ok(())
}

/// Allocates an expired order's units anew, all of them or, where they can't be had any more, none (`false`).
pub(crate) fn have_again(streams: &mut Streams<'_>, facts: &OrderPlaced) -> Result<bool, Stop> {
    need(streams, facts)?;
    let open = setting::allocation_order(streams)?;
    let mut items: Vec<(VariantId, StockItem, Vec<StockEvent>)> = Vec::new();
    for hold in &facts.holds {
        let Some(variant_id) = variant_of(facts, hold) else { continue };
        let known = items.iter().position(|(known, ..)| *known == variant_id);
        let index = if let Some(index) = known {
            index
        } else {
            let item = streams.after::<StockItem>(&variant_id.to_string())?;
            items.push((variant_id, item, Vec::new()));
            items.len() - 1
        };
        let (_, item, events) = &mut items[index];
        let hold_id = HoldId::new(Uuid::new_v5(&facts.order_id.uuid(), format!("again:{}", hold.line_id).as_bytes()));
        let reserve = StockCommand::Reserve(Reserve {
            hold_id,
            owner: HoldOwner::order(facts.order_id, hold.line_id),
            quantity: hold.parts.iter().map(|part| part.quantity).sum(),
            expires_at: None,
            allocation_order: locations(hold, &open),
            now: streams.now,
        });
        let allocate = StockCommand::Allocate {
            allocation_id: allocation_id(facts, hold.line_id),
            hold_id,
            order_id: facts.order_id,
            line_id: hold.line_id,
        };
        for command in [reserve, allocate] {
            let decided = match item.decide(command) {
                Ok(decided) => decided,
                Err(StockRejection::InsufficientStock { .. } | StockRejection::NotFound) => return Ok(false),
                Err(rejection) => return Err(impossible(variant_id, &rejection)),
            };
            for event in &decided {
                item.apply(event);
            }
            events.extend(decided);
        }
    }
    for (variant_id, _, events) in items {
        streams.emit::<StockItem>(&variant_id.to_string(), events, None)?;
    }
    Ok(true)
}

/// Where it was held before comes first, then the other locations in their order; none that was closed meanwhile.
fn locations(hold: &OrderHold, open: &[LocationId]) -> Vec<LocationId> {
    let before = hold.parts.iter().map(|part| part.location_id).filter(|location_id| open.contains(location_id));
    before.chain(open.iter().copied()).collect()
}

fn each(
    streams: &mut Streams<'_>,
    facts: &OrderPlaced,
    command: impl Fn(&StockItem, &OrderHold) -> Option<StockCommand>,
) -> Result<(), Stop> {
    need(streams, facts)?;
    let decide = |item: &StockItem, hold: &OrderHold| command(item, hold).map_or_else(|| Ok(Vec::new()), |command| item.decide(command));
    for hold in &facts.holds {
        let Some(variant_id) = variant_of(facts, hold) else { continue };
        let id = variant_id.to_string();
        // A copy only where this decision has changed it: a hot item has thousands of holds.
        let decided = if streams.touched::<StockItem>(&id) {
            decide(&streams.after::<StockItem>(&id)?, hold)
        } else {
            decide(streams.get(&id)?, hold)
        };
        streams.emit::<StockItem>(&id, decided.map_err(|rejection| impossible(variant_id, &rejection))?, None)?;
    }
    Ok(())
}

fn need(streams: &mut Streams<'_>, facts: &OrderPlaced) -> Result<(), Stop> {
    let variants = facts.lines.iter().filter_map(|line| line.variant_id);
    streams.need::<StockItem>(variants.map(|variant_id| variant_id.to_string()))
}

fn variant_of(facts: &OrderPlaced, hold: &OrderHold) -> Option<VariantId> {
    facts.lines.iter().find(|line| line.line_id == hold.line_id)?.variant_id
}

fn allocation_id(facts: &OrderPlaced, line_id: LineId) -> AllocationId {
    AllocationId::new(Uuid::new_v5(&facts.order_id.uuid(), format!("allocation:{line_id}").as_bytes()))
}

fn impossible(variant_id: VariantId, rejection: &StockRejection) -> Stop {
    Stop::Failed(Failure::Repository(format!("stock/{variant_id}: {rejection}")))
}
