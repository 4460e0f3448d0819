//! The store's settings: what is in force, and commands that change it.
//!
//! As long as nothing was ever set the configuration is in force. The first change writes it down in the same append, so
//! that from then on the log alone says by what every order was placed.

use std::borrow::Cow;
use std::sync::Arc;

use domain::id::LocationId;
use domain::setting::{
    Location, LocationAddress, LocationChange, LocationFacts, NewLocation, STORE, SettingCommand, SettingEvent, SettingRejection, Settings,
    StoreFacts, StoreTermsSet,
};

use crate::answer::{FieldError, Refusal};
use crate::catalog::{PutOutcome, check_version};
use crate::inventory::{FIRST_LOCATION, first_location};
use crate::streams::{Stop, Streams};
use crate::terms::Terms;

/// What the store's first location is called until somebody calls it otherwise.
const FIRST_LOCATION_TITLE: &str = "Main location";

/// One change of the settings.
#[derive(Debug, Clone)]
pub struct Change {
    pub command: SettingCommand,
    /// What is in force as long as nothing was ever set.
    pub configured: Arc<Terms>,
    pub expected_version: Option<i64>,
    /// Of the answer.
    pub status: u16,
}

/// Changes the settings; returns them as they are then, and their version.
pub fn change(streams: &mut Streams<'_>, change: &Change) -> Result<(Settings, i64), Stop> {
    let version = streams.version::<Settings>(STORE)?;
    check_version(change.expected_version, version)?;
    let mut settings = streams.get::<Settings>(STORE)?.clone();
    let mut events = Vec::new();
    for command in [SettingCommand::Seed(Box::new(facts(&change.configured))), change.command.clone()] {
        let decided = settings.decide(command).map_err(refusal)?;
        for event in &decided {
            settings.apply(event);
        }
        events.push(decided);
    }
    streams.answer_with::<Settings>(change.status, STORE);
    // What changes nothing writes nothing down either.
    if events.last().is_some_and(|wanted| !wanted.is_empty()) {
        streams.emit::<Settings>(STORE, events.concat(), None)?;
    }
    let (_, version) = streams.outcome::<Settings>(STORE)?;
    Ok((settings, version))
}

/// Locations to be added, or changed where their codes are there already.
#[derive(Debug, Clone)]
pub struct PutLocations {
    pub locations: Vec<NewLocation>,
    /// What is in force as long as nothing was ever set.
    pub configured: Arc<Terms>,
}

/// What became of one location.
pub type LocationOutcome = Result<PutOutcome, Refusal>;

/// Puts locations in one decision; one that is refused does not keep the others out.
pub fn put_locations(streams: &mut Streams<'_>, put: &PutLocations) -> Result<Vec<LocationOutcome>, Stop> {
    let mut settings = streams.get::<Settings>(STORE)?.clone();
    let seeded = settings.decide(SettingCommand::Seed(Box::new(facts(&put.configured)))).map_err(refusal)?;
    for event in &seeded {
        settings.apply(event);
    }
    let (decided, outcomes) = put_onto(&settings, &put.locations);
    // What changes nothing writes nothing down either.
    if !decided.is_empty() {
        streams.emit::<Settings>(STORE, [seeded, decided].concat(), None)?;
    }
    Ok(outcomes)
}

/// What putting these locations comes to, one after the other.
pub fn put_onto<'l>(
    settings: &Settings,
    locations: impl IntoIterator<Item = &'l NewLocation>,
) -> (Vec<SettingEvent>, Vec<LocationOutcome>) {
    let (mut settings, mut events, mut outcomes) = (settings.clone(), Vec::new(), Vec::new());
    for new in locations {
        let known = settings.location(&new.code).filter(|known| !known.is_closed).map(|known| known.facts.location_id);
        let command = match known {
            None => SettingCommand::AddLocation(new.clone()),
            Some(location_id) => {
                let (title, address) = (Some(new.title.clone()), Some(new.address.clone()));
                let change = LocationChange { code: None, title, address, priority: new.priority };
                SettingCommand::ChangeLocation { location_id, change }
            }
        };
        outcomes.push(settings.decide(command).map_err(refusal).map(|decided| {
            let outcome = match (decided.is_empty(), known) {
                (true, _) => PutOutcome::Unchanged,
                (false, None) => PutOutcome::Created,
                (false, Some(_)) => PutOutcome::Changed,
            };
            for event in &decided {
                settings.apply(event);
            }
            events.extend(decided);
            outcome
        }));
    }
    (events, outcomes)
}

/// The terms by which a decision is made: it rests on the settings not changing before it lands.
pub fn in_force(streams: &mut Streams<'_>, configured: &Arc<Terms>) -> Result<Arc<Terms>, Stop> {
    Ok(terms(streams.get::<Settings>(STORE)?, configured))
}

/// The locations that stock may be promised at, first to last; a part of the decision, too.
pub(crate) fn allocation_order(streams: &mut Streams<'_>) -> Result<Vec<LocationId>, Stop> {
    let settings = streams.get::<Settings>(STORE)?;
    Ok(if settings.is_written { open_ids(settings) } else { vec![first_location()] })
}

/// The terms that these settings are.
#[must_use]
pub fn terms(settings: &Settings, configured: &Arc<Terms>) -> Arc<Terms> {
    if !settings.is_written {
        return Arc::clone(configured);
    }
    Arc::new(Terms {
        prices_include_tax: settings.prices_include_tax,
        rounding: settings.rounding,
        tax_rates: settings.tax_rates.clone(),
        shipping_methods: settings.shipping_methods.clone(),
        allocation_order: open_ids(settings),
        ..Terms::clone(configured)
    })
}

/// The settings as they would be, had the configuration been written down.
#[must_use]
pub fn effective<'a>(settings: &'a Settings, configured: &Terms) -> Cow<'a, Settings> {
    if settings.is_written {
        return Cow::Borrowed(settings);
    }
    let mut written = settings.clone();
    let seeded = settings.decide(SettingCommand::Seed(Box::new(facts(configured))));
    for event in seeded.iter().flatten() {
        written.apply(event);
    }
    Cow::Owned(written)
}

/// A location by its code or id, the first to be sold from unless one is named. Read as a part of the decision.
pub(crate) fn location(streams: &mut Streams<'_>, wanted: Option<&str>, pointer: &str) -> Result<Location, Stop> {
    let settings = streams.get::<Settings>(STORE)?;
    let found = match wanted {
        None if settings.is_written => settings.first_location().cloned(),
        Some(wanted) if settings.is_written => settings.location(wanted).cloned(),
        None => Some(first()),
        Some(wanted) => Some(first()).filter(|first| first.facts.has_code(wanted) || wanted.parse() == Ok(first.facts.location_id)),
    };
    found.ok_or_else(|| {
        let detail = format!("the store has no location {:?}; see /v1/admin/locations, or leave it out", wanted.unwrap_or_default());
        Refusal::new("location_unknown", detail.clone()).error(pointer, "location_unknown", detail).into()
    })
}

/// As [`location`], one that goods may come to.
pub(crate) fn open_location(streams: &mut Streams<'_>, wanted: Option<&str>, pointer: &str) -> Result<LocationId, Stop> {
    let location = location(streams, wanted, pointer)?;
    if location.is_closed {
        return Err(closed(&location.facts.code).into());
    }
    Ok(location.facts.location_id)
}

fn open_ids(settings: &Settings) -> Vec<LocationId> {
    settings.open_locations().iter().map(|location| location.facts.location_id).collect()
}

fn first() -> Location {
    Location { facts: first_facts(), is_closed: false }
}

fn first_facts() -> LocationFacts {
    LocationFacts {
        location_id: first_location(),
        code: FIRST_LOCATION.to_owned(),
        title: FIRST_LOCATION_TITLE.to_owned(),
        address: LocationAddress::default(),
        priority: 0,
    }
}

fn facts(configured: &Terms) -> StoreFacts {
    StoreFacts {
        terms: StoreTermsSet { prices_include_tax: configured.prices_include_tax, rounding: configured.rounding },
        locations: vec![first_facts()],
        tax_rates: configured.tax_rates.clone(),
        shipping_methods: configured.shipping_methods.clone(),
    }
}

fn closed(code: &str) -> Refusal {
    Refusal::new("location_closed", format!("the location {code} is closed for good; name an open one of /v1/admin/locations"))
}

/// A domain's "no" in the words of the interface.
fn refusal(rejection: SettingRejection) -> Refusal {
    let detail = rejection.to_string();
    match rejection {
        SettingRejection::LocationNotFound => Refusal::not_found("location"),
        SettingRejection::TaxRateNotFound => Refusal::not_found("tax rate"),
        SettingRejection::ShippingMethodNotFound => Refusal::not_found("shipping method"),
        SettingRejection::LocationCodeTaken { .. } => {
            let refusal = Refusal::new("already_exists", format!("{detail}; choose another code"));
            refusal.error("/code", "location_code_taken", detail)
        }
        SettingRejection::TaxRateExists { tax_id } => {
            let detail = format!("{detail}; change that one, or give this one another title, place or category");
            Refusal::new("already_exists", detail).fact("held_by", tax_id.to_string())
        }
        SettingRejection::LocationClosed { code } => closed(&code),
        SettingRejection::LocationInUse { variants } => {
            let detail = format!(
                "{detail}; transfer it, receive what is on its way, ship what is promised, set its safety stock to 0, then close it"
            );
            Refusal::new("location_in_use", detail).fact("variants", variants)
        }
        SettingRejection::LastLocation => Refusal::new("invalid_state", format!("{detail}; add another one first")),
        SettingRejection::TooMany { max } => Refusal::new("invalid_state", format!("{detail}; remove one first")).fact("max", max),
        SettingRejection::Invalid { errors } => {
            let errors = errors.into_iter().map(|e| FieldError { pointer: e.pointer, code: e.code, detail: e.detail });
            Refusal { errors: errors.collect(), ..Refusal::new("validation_failed", format!("{detail}; see errors")) }
        }
    }
}
